"""Typed forms of human steps: a small part of JSON Schema (draft 2020-12), checked without an engine.

Law: a form means the same here as in any JSON Schema validator, except that unknown fields are always refused; a
message names the field and never quotes what was typed. Keywords: type, required, properties; per field type, enum,
format (date-time), maxLength and a title per locale. Pure.
"""

import math
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

from guard.errors import InvalidRequest
from guard.runbook.canonical import MAX_INTEGER

MAX_FIELDS: Final = 50
"""Nobody fills in more under pressure; further ones belong into a second step."""
MAX_LENGTH: Final = 10_000
"""Characters of a text field where the form sets no smaller limit; longer material is evidence, not an answer."""
MAX_CHOICES: Final = 200
"""A longer list is not chosen from but searched, which a form cannot do."""

TYPES: Final = ("string", "integer", "number", "boolean")
_FIELD: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}", re.ASCII)
_KEYWORDS: Final = frozenset({"type", "enum", "format", "maxLength", "title"})
_MOMENT: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]([0-9]{2}:[0-9]{2}):([0-9]{2})(?:\.[0-9]{1,9})?(?:([Zz])|([+-][0-9]{2}:[0-9]{2}))",
    re.ASCII,
)

Fault = tuple[tuple[str, ...], str]
"""A path inside the form and what is wrong there."""


def faults(form: Mapping[str, object]) -> Iterator[Fault]:
    """Yield what keeps *form* from being used; nothing means that `check` can use it."""
    if form.get("type") != "object":
        yield ("type",), "A form has 'type: object'."
    for key in form.keys() - {"type", "required", "properties"}:
        yield (key,), "A form has the keys type, required and properties; this one is unknown."
    fields = form.get("properties")
    if not isinstance(fields, dict) or not 0 < len(fields) <= MAX_FIELDS:
        yield ("properties",), f"A form has 1 to {MAX_FIELDS} properties."
        return
    required = form.get("required", [])
    if not isinstance(required, list) or not all(isinstance(name, str) and name in fields for name in required):
        yield ("required",), "'required' lists names of properties."
    for name, rules in fields.items():
        yield from (((("properties", name, *path)), message) for path, message in _field_faults(name, rules))


def _field_faults(name: str, rules: object) -> Iterator[Fault]:
    if not _FIELD.fullmatch(name):
        yield (), "A field's name has letters, digits and _, at most 64, first a letter."
    if not isinstance(rules, dict):
        yield (), "A field is a mapping with at least 'type'."
        return
    for key in rules.keys() - _KEYWORDS:
        yield (key,), f"A field has the keys {', '.join(sorted(_KEYWORDS))}; this one is unknown."
    kind = rules.get("type")
    if kind not in TYPES:
        yield ("type",), f"A field's type is one of {', '.join(TYPES)}."
        return
    if "format" in rules and (kind != "string" or rules["format"] != "date-time"):
        yield ("format",), "The only format is date-time, of a string."
    if "maxLength" in rules and (kind != "string" or not _is_whole(rules["maxLength"], 1, MAX_LENGTH)):
        yield ("maxLength",), f"'maxLength' is a whole number from 1 to {MAX_LENGTH}, of a string."
    if "enum" in rules and not _are_choices(rules["enum"], str(kind)):
        yield ("enum",), f"'enum' lists 1 to {MAX_CHOICES} different values of the field's type."
    if not isinstance(rules.get("title", {}), dict):
        yield ("title",), "A title is a map of locale to text."


def check(form: Mapping[str, object] | None, answer: object) -> dict[str, object]:
    """The answer as it is recorded; *form* must have no `faults`, and without a form only an empty answer fits.

    A number with a fraction comes back as decimal text, since recorded values hold no fractions; a whole one as an
    integer.

    Raises:
        InvalidRequest: an unknown or missing field, or a value that does not fit; `extra["errors"]` lists them all.
    """
    fields, required = _parts(form)
    if not isinstance(answer, Mapping):
        raise InvalidRequest("An answer is a mapping of field to value; something else came.", errors=[])
    errors = [_error(key, "unknown", "no field of this form") for key in answer if key not in fields]
    errors += [_error(key, "required", "missing") for key in required if key not in answer]
    kept: dict[str, object] = {}
    for key, rules in fields.items():
        if key in answer:
            wrong = _wrong(rules, answer[key])
            kept[key] = _recorded(answer[key]) if not wrong else None
            errors += [_error(key, wrong[0], wrong[1])] if wrong else []
    if errors:
        first = errors[0]
        raise InvalidRequest(
            f"The answer does not fit the form: {first['pointer']} is {first['message']}.", errors=errors
        )
    return kept


def _parts(form: Mapping[str, object] | None) -> tuple[dict[str, dict[str, object]], list[str]]:
    if form is None:
        return {}, []
    fields, required = form["properties"], form.get("required", [])
    if not isinstance(fields, dict) or not isinstance(required, list):
        raise InvalidRequest("The form of this step is unusable; correct the plan.", errors=[])
    return fields, required


def _wrong(rules: Mapping[str, object], value: object) -> tuple[str, str] | None:
    """Code and clause of what is wrong with a value, or None."""
    kind = str(rules["type"])
    if not _is_of(kind, value):
        return "type", f"not of type {kind}"
    if isinstance(value, str):
        limit = rules.get("maxLength", MAX_LENGTH)
        if isinstance(limit, int) and len(value) > limit:
            return "maxLength", f"longer than {limit} characters"
        if not _is_clean(value):
            return "text", "not readable text (it holds a NUL or a lone surrogate)"
        if rules.get("format") == "date-time" and not is_moment(value):
            return "format", "not a time with offset such as 2027-03-31T09:30:00+02:00"
    choices = rules.get("enum")
    # Python takes True for 1; the type was compared above, so a choice is looked up among values of its own type.
    if isinstance(choices, list) and value not in choices:
        return "enum", "not one of the choices"
    return None


def is_moment(text: str) -> bool:
    """Whether *text* is a date-time of RFC 3339 section 5.6, leap second included; an offset is required."""
    match = _MOMENT.fullmatch(text)
    if match is None:
        return False
    day, minute, second, _, offset = match.groups()
    leap = second == "60"
    try:
        moment = datetime.fromisoformat(f"{day}T{minute}:{'59' if leap else second}{offset or '+00:00'}").astimezone(
            UTC
        )
    except (ValueError, OverflowError):
        return False
    return not leap or (moment.hour, moment.minute) == (23, 59)


def _is_of(kind: str, value: object) -> bool:
    if kind == "boolean" or isinstance(value, bool):
        return kind == "boolean" and isinstance(value, bool)
    if kind == "string":
        return isinstance(value, str)
    if isinstance(value, float):
        return math.isfinite(value) and abs(value) <= MAX_INTEGER and (kind == "number" or value.is_integer())
    return isinstance(value, int) and abs(value) <= MAX_INTEGER


def _is_clean(text: str) -> bool:
    return "\0" not in text and not any("\ud800" <= sign <= "\udfff" for sign in text)


def _is_whole(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _are_choices(value: object, kind: str) -> bool:
    if not isinstance(value, list) or not 0 < len(value) <= MAX_CHOICES:
        return False
    return all(_is_of(kind, item) for item in value) and len(set(value)) == len(value)


def _recorded(value: object) -> object:
    if not isinstance(value, float):
        return value
    return int(value) if value.is_integer() else repr(value)


def _error(field: str, code: str, message: str) -> dict[str, str]:
    shown = field if _FIELD.fullmatch(field) else "a field of no valid name"
    return {"pointer": f"/{shown}", "code": code, "message": message}
