"""Inputs of a run and their places in a plan, written `__name__:value`.

Law: substitution is one typed pass, and what it puts in is never scanned again, so a value that looks like a reference
stays text. A reference that is a whole value keeps its type; inside a text it becomes text. Source: CACAO Security
Playbooks 2.0 section 10.18 (variables); a name without `:value` is plain text. Pure.
"""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from guard.errors import InvalidRequest
from guard.runbook.canonical import MAX_INTEGER

Scalar = str | int | bool

MAX_VALUE_CHARACTERS: Final = 1000
"""An input names a thing (a host, a key, an incident); longer text belongs into an answer or into evidence."""

NAME: Final = re.compile(r"__[a-zA-Z_][a-zA-Z0-9_-]{0,199}__")
_REFERENCE: Final = re.compile(r"(__[a-zA-Z_][a-zA-Z0-9_-]{0,199}__):value")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""Control characters and line separators could forge a second line in a timeline or a log."""

TYPES: Final = frozenset({"string", "integer", "bool", "ipv4-addr", "ipv6-addr", "uuid"})


@dataclass(frozen=True, slots=True)
class Input:
    """A declared variable: `external` ones come with the start of a run, others have `value` from the plan."""

    name: str
    type: str
    external: bool
    value: Scalar | None
    text: Mapping[str, str]


def references(text: str) -> tuple[str, ...]:
    """The names that *text* refers to, in order."""
    return tuple(_REFERENCE.findall(text))


def fill(text: str, values: Mapping[str, Scalar]) -> str:
    """*text* with each reference replaced by its value as text; unknown names stay as they are."""
    return _REFERENCE.sub(lambda match: _shown(values.get(match[1], match[0])), text)


def render(value: object, values: Mapping[str, Scalar]) -> object:
    """A copy of *value* (scalars, lists, mappings; keys are left alone) with each reference replaced.

    The depth of *value* is that of a plan, at most 32.
    """
    if isinstance(value, str):
        whole = _REFERENCE.fullmatch(value)
        return values.get(whole[1], value) if whole else fill(value, values)
    if isinstance(value, Mapping):
        return {key: render(item, values) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [render(item, values) for item in value]
    return value


def bind(declared: Mapping[str, Input], given: Mapping[str, object]) -> dict[str, Scalar]:
    """The values of a run: what was given, checked against the declared types, and the plan's own.

    Raises:
        InvalidRequest: an undeclared or constant name was given, an external one is missing, or a value does not fit
            its type; `extra["errors"]` names the variables, never a value.
    """
    faults = [_fault(name, "not an external input of this plan") for name in given if not _is_external(declared, name)]
    bound: dict[str, Scalar] = {}
    for name, variable in declared.items():
        value = given.get(name) if variable.external else variable.value
        checked = typed(variable.type, value)
        if checked is None:
            faults.append(_fault(name, "missing" if value is None else f"not of type {variable.type}"))
        else:
            bound[name] = checked
    if faults:
        first = faults[0]
        raise InvalidRequest(
            f"The inputs do not fit the plan: {first['pointer']} is {first['message']}.", errors=faults
        )
    return bound


def typed(type_name: str, value: object) -> Scalar | None:
    """*value* if it is of the declared type, else None. Addresses and UUIDs come back as they were written."""
    if type_name == "bool":
        return value if isinstance(value, bool) else None
    if type_name == "integer":
        fits = isinstance(value, int) and not isinstance(value, bool) and abs(value) <= MAX_INTEGER
        return value if fits and isinstance(value, int) else None
    if not isinstance(value, str) or not 0 < len(value) <= MAX_VALUE_CHARACTERS or _CONTROL.search(value):
        return None
    return value if _parses(type_name, value) else None


def _parses(type_name: str, value: str) -> bool:
    parser = {"ipv4-addr": ipaddress.IPv4Address, "ipv6-addr": ipaddress.IPv6Address, "uuid": UUID}.get(type_name)
    if parser is None:
        return True
    try:
        parser(value)
    except ValueError:
        return False
    return True


def _is_external(declared: Mapping[str, Input], name: str) -> bool:
    return name in declared and declared[name].external


def _fault(name: str, message: str) -> dict[str, str]:
    shown = name if NAME.fullmatch(name) else "a name that is no variable"
    return {"pointer": f"/inputs/{shown}", "code": "input", "message": message}


def _shown(value: Scalar) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
