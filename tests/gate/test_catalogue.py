"""One entry declares an operation: names, duplicates, resources, tenants, and what every real entry keeps to."""

import re
from types import ModuleType

import pytest

from guard.catalogue import PLATFORM, Actor, Context, Effect, collect, operation
from guard.client.operations import OPERATIONS
from guard.errors import InternalError, NotFound
from guard.rooms import ROOMS
from guard.wire.model import Model, Nothing

CATALOGUE = collect(ROOMS)
C2SP = {"heads.read", "tiles.read", "bundles.read"}  # whose paths are those of c2sp.org/tlog-tiles
PARAMETER = re.compile(r"\{([a-z_]+)\}")


class Taken(Model):
    """A request of this file."""

    key: str = "k"
    tenant: str = "~"


def made(name="notes.keep", route="POST /api/v1/notes", resource="notes/all", **more):
    def run(ctx, request):
        """Keep a note.

        At length.
        """

    given = {"takes": Taken, "gives": Nothing, "effect": Effect.WRITE, "resource": resource} | more
    return operation(name, route, **given)(run)


def room(*operations):
    module = ModuleType("room")
    for number, item in enumerate(operations):
        setattr(module, f"item{number}", item)
    module.helper = len
    return module


@pytest.mark.parametrize(
    "name", ["", "keys", "Keys.rotate", "keys.rotate.now", "keys rotate", "keys.", "keys.rotate\n", "1keys.x"]
)
def test_a_name_that_is_no_noun_and_verb_is_refused(name):
    with pytest.raises(InternalError, match=r"noun\.verb"):
        made(name)


def test_an_entry_gives_its_permission_its_id_and_its_first_line():
    found = made(hot=True)
    assert (found.permission, found.operation_id, found.summary) == ("notes.keep", "notes_keep", "Keep a note.")
    assert (found.method, found.path, found.hot, found.hides, found.exempt) == (
        "POST",
        "/api/v1/notes",
        True,
        False,
        "",
    )


def test_an_entry_without_a_route_is_internal():
    assert (made(route=None).method, made(route=None).path) == (None, None)


@pytest.mark.parametrize(
    ("resource", "request_", "expected"),
    [
        ("notes/all", Taken(), ("notes/all",)),
        ("notes/{key}", Taken(key="x"), ("notes/x",)),
        ("tenants/{tenant}/notes/{key}", Taken(), ("tenants/~/notes/k",)),
        (lambda request: ("a", request.key), Taken(), ("a", "k")),
        ("notes/{key}", Taken(key="{tenant}"), ("notes/{tenant}",)),
    ],
)
def test_resources_come_from_the_request(resource, request_, expected):
    assert made(resource=resource).resources(request_) == expected


def test_collecting_sorts_by_name_and_passes_what_is_no_operation():
    found = collect([room(made("b.x", "GET /b")), room(made("a.x", "GET /a"))])
    assert list(found) == ["a.x", "b.x"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (made("a.x", "GET /a"), made("a.x", "GET /b")),
        (made("a.x", "GET /a"), made("b.x", "GET /a")),
        (made("a.x", None), made("a.x", None)),
    ],
)
def test_a_name_or_a_route_twice_is_refused_wherever_it_stands(first, second):
    with pytest.raises(InternalError, match="declared twice"):
        collect([room(first), room(second)])
    with pytest.raises(InternalError, match="declared twice"):
        collect([room(first, second)])


def test_one_path_may_have_several_methods_and_internal_ones_share_none():
    found = collect([room(made("a.x", "GET /a"), made("a.y", "POST /a"), made("a.z", None), made("a.w", None))])
    assert len(found) == 4


# every real entry


@pytest.mark.parametrize("entry", CATALOGUE.values(), ids=list(CATALOGUE))
class TestEntry:
    def test_its_path_parameters_are_members_of_what_it_takes(self, entry):
        assert set(PARAMETER.findall(entry.path or "")) <= entry.takes.model_fields.keys()

    def test_what_it_records_in_clear_are_members_of_what_it_takes(self, entry):
        assert set(entry.audit) <= entry.takes.model_fields.keys()

    def test_its_route_is_below_the_api_and_fits_its_effect(self, entry):
        if entry.path is None:
            return
        assert entry.path.startswith("/api/v1/") or entry.name in C2SP
        assert entry.method in {"GET", "POST"}
        assert entry.method == "POST" or entry.effect in {Effect.NONE, Effect.READ}

    def test_it_is_public_only_where_it_reads_and_leaves_no_record_of_anybody(self, entry):
        assert not entry.public or (entry.exempt and entry.effect is Effect.READ and entry.method == "GET")
        assert not entry.public or entry.name in {"heads.read", "tiles.read"}

    def test_it_is_documented_and_hot_only_where_it_may_be(self, entry):
        assert entry.summary.endswith(".")
        assert not entry.hot or (entry.effect is Effect.NONE and entry.method == "POST" and "{" not in entry.path)

    def test_the_client_knows_its_route(self, entry):
        known = OPERATIONS.get(entry.name)
        assert known == ((entry.method, entry.path) if entry.path else None)


def test_the_client_knows_no_operation_that_is_not_there():
    assert OPERATIONS.keys() <= CATALOGUE.keys()


# the context


def context(tenant="acme", **more):
    return Context(Actor("svc:x", tenant, "pat"), "req", 1_790_000_000_000_000, bytes, {}, lambda *_: None, **more)


@pytest.mark.parametrize(
    ("tenant", "asked", "expected"),
    [("acme", "~", "acme"), ("acme", "acme", "acme"), (PLATFORM, "acme", "acme"), (PLATFORM, "~", PLATFORM)],
)
def test_a_tenant_that_may_be_named(tenant, asked, expected):
    assert context(tenant).tenant_for(asked) == expected


@pytest.mark.parametrize("asked", ["globex", PLATFORM, "acme2", "acm", "", "ACME", "~acme"])
def test_another_tenant_is_not_found_whether_it_exists_or_not(asked):
    with pytest.raises(NotFound, match="only the platform's roles act across tenants"):
        context("acme").tenant_for(asked)


def test_an_operation_without_a_transaction_that_asks_for_one_is_a_defect():
    with pytest.raises(InternalError, match="declare effect READ or WRITE"):
        _ = context().tx


def test_ids_are_prefixed_and_of_the_context_s_time():
    assert context().new_id("grt").startswith("grt_01a0")
