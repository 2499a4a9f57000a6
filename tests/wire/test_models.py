"""Every wire model: frozen, strict, closed, without floats, bounded where it is taken, and documented."""

import importlib
import pkgutil
import typing
from types import UnionType

import pytest
from pydantic import ValidationError

import guard.wire
from guard.catalogue import collect
from guard.rooms import ROOMS
from guard.wire.model import MAX_INTEGER, Model

CATALOGUE = collect(ROOMS)
MODULES = [importlib.import_module(f"guard.wire.{found.name}") for found in pkgutil.iter_modules(guard.wire.__path__)]
MODELS = sorted(
    {
        item
        for module in MODULES
        for item in vars(module).values()
        if isinstance(item, type) and issubclass(item, Model) and item is not Model
    },
    key=lambda model: model.__name__,
)
TAKEN = {entry.name: entry.takes for entry in CATALOGUE.values() if entry.path}


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
class TestModel:
    def test_it_is_frozen_strict_and_closed(self, model):
        config = model.model_config
        assert (config["frozen"], config["extra"], config["strict"]) == (True, "forbid", True)
        assert config["hide_input_in_errors"] is True

    def test_it_has_no_float(self, model):
        assert float not in set(parts_of(model))
        assert "number" not in set(types_in(model.model_json_schema()))

    def test_it_is_documented_and_its_times_and_sizes_name_their_unit(self, model):
        assert (model.__doc__ or "").strip().endswith((".", "?"))
        for name in model.model_fields:
            assert not name.endswith(("_ms", "_seconds_us", "_time", "_at", "_ns", "timestamp"))
            assert name == name.lower()

    def test_an_unknown_member_is_refused(self, model):
        with pytest.raises(ValidationError) as refusal:
            model.model_validate({"no_such_member": 1})
        assert "extra_forbidden" in {error["type"] for error in refusal.value.errors()}

    def test_its_schema_can_be_written(self, model):
        assert model.model_json_schema()["type"] == "object"


def parts_of(model):
    """Every type that the annotations of *model* mention, at any depth."""
    waiting = [field.annotation for field in model.model_fields.values()]
    while waiting:
        part = waiting.pop()
        yield part
        if isinstance(part, UnionType) or typing.get_origin(part) is not None:
            waiting += typing.get_args(part)
        if isinstance(part, type) and hasattr(part, "__annotations__") and not issubclass(part, Model):
            waiting += typing.get_type_hints(part).values()


def types_in(node):
    if isinstance(node, dict):
        if isinstance(node.get("type"), str):
            yield node["type"]
        for value in node.values():
            yield from types_in(value)
    elif isinstance(node, list):
        for value in node:
            yield from types_in(value)


def unbounded(schema, definitions, where):
    """Yield each place of a schema that may grow without limit.

    Values of maps (a context, the inputs of a plan, the answers of a form) are checked by their rooms, one by one.
    """
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rsplit("/", 1)[-1]]
    for union in ("anyOf", "oneOf"):
        for one in schema.get(union, ()):
            yield from unbounded(one, definitions, where)
    kind = schema.get("type")
    if "enum" in schema or "const" in schema:
        return
    if kind == "integer" and not -MAX_INTEGER <= schema.get("maximum", MAX_INTEGER + 1) <= MAX_INTEGER:
        yield f"{where}: integer"
    if kind == "integer" and "minimum" not in schema:
        yield f"{where}: integer downwards"
    if kind == "string" and not {"maxLength", "pattern"} & schema.keys():
        yield f"{where}: string"
    if kind == "array":
        if "maxItems" not in schema:
            yield f"{where}: array"
        yield from unbounded(schema["items"], definitions, f"{where}[]")
    for name, part in schema.get("properties", {}).items():
        yield from unbounded(part, definitions, f"{where}.{name}")


@pytest.mark.parametrize("name", sorted(TAKEN))
def test_what_an_operation_takes_is_bounded(name):
    schema = TAKEN[name].model_json_schema()
    assert list(unbounded(schema, schema.get("$defs", {}), name)) == []


@pytest.mark.parametrize("name", sorted(TAKEN))
def test_a_pattern_reads_a_whole_text_and_no_newline_after_it(name):
    schema = TAKEN[name].model_json_schema()
    patterns = [node["pattern"] for node in nodes(schema) if isinstance(node.get("pattern"), str)]
    for pattern in patterns:
        assert pattern.startswith("^")
        assert pattern.endswith("$")


def nodes(node):
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from nodes(value)
    elif isinstance(node, list):
        for value in node:
            yield from nodes(value)


@pytest.mark.parametrize(
    ("name", "member", "value"),
    [
        ("tenants.create", "tenant", "acme\n"),
        ("keys.read", "key", "customers.email\n"),
        ("tokens.revoke", "handle", "0123456789AB\n"),
        ("grants.add", "role", "role:support\n"),
        ("events.push", "stream", "shop\n"),
        ("exports.download", "export", "exp_1\n"),
    ],
)
def test_a_newline_after_a_name_is_refused(name, member, value):
    with pytest.raises(ValidationError):
        TAKEN[name].model_validate(dict(CATALOGUE[name].example) | {member: value})


def test_no_two_models_share_a_name_in_the_published_document():
    names = [model.__name__ for model in MODELS]
    assert len(names) == len(set(names))
