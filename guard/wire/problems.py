"""Schema errors as RFC 9457 members: pointer, code and message of each, never a submitted name or value. No I/O.

Law: pydantic's own texts quote the input, and an unknown member's *name* can be personal data too; so pointers are cut
at the first part that the schema does not know, and messages come from the table below, with the schema's own limits.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import ValidationError

from guard.errors import InvalidRequest
from guard.wire.model import Model

MAX_PROBLEMS = 20  # enough to mend a body; a hostile one has a thousand
MESSAGES = {
    "missing": "This member is required.",
    "extra_forbidden": "A member here is not known; remove it.",
    "string_pattern_mismatch": "The text does not have the required form ({pattern}).",
    "string_too_long": "The text is too long; at most {max_length} characters.",
    "string_too_short": "The text is too short; at least {min_length} characters.",
    "too_long": "There are too many items; at most {max_length}.",
    "too_short": "There are too few items; at least {min_length}.",
    "json_invalid": "This is not valid JSON.",
    "greater_than_equal": "The number is too small; at least {ge}.",
    "less_than_equal": "The number is too large; at most {le}.",
    "literal_error": "The text is none of the allowed words: {expected}.",
    "string_type": "Expected text.",
    "int_type": "Expected a whole number.",
    "bool_type": "Expected true or false.",
    "dict_type": "Expected an object.",
    "list_type": "Expected an array.",
    "model_type": "Expected an object.",
}


def problems(error: ValidationError, takes: type[Model]) -> list[dict[str, str]]:
    """The errors of *error* against the schema of *takes*, at most 20: `{pointer (RFC 6901), code, message}` each."""
    known = _member_names(takes)
    found = []
    for item in error.errors(include_input=False, include_url=False)[:MAX_PROBLEMS]:
        pointer = ""
        for part in item["loc"]:
            if isinstance(part, str) and part not in known:
                break
            pointer += f"/{part}"
        # Of the context only what the templates name is used: limits of the schema, nothing that was submitted.
        template = MESSAGES.get(item["type"], f"The value is not of the required kind ({item['type']}).")
        message = template.format_map(item.get("ctx", {}))
        found.append({"pointer": pointer or "/", "code": item["type"], "message": message})
    return found


def misfit(name: str, error: ValidationError, takes: type[Model]) -> InvalidRequest:
    """The error of a request that does not fit the schema of operation *name*; its sentence names the first fault."""
    found = problems(error, takes)
    first, more = found[0], len(found) - 1
    rest = f" {more} more in errors." if more else ""
    return InvalidRequest(
        f"The request does not fit {name} at {first['pointer']}: {first['message']}{rest}", errors=found
    )


@cache
def _member_names(takes: type[Model]) -> frozenset[str]:
    names: set[str] = set()
    stack: list[Any] = [takes.model_json_schema()]
    while stack:
        node = stack.pop()
        if isinstance(node, Mapping):
            names.update(node.get("properties", {}))
            stack.extend(node.values())
        elif isinstance(node, list):
            stack.extend(node)
    return frozenset(names)
