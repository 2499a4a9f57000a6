"""A request's bytes, path and query -> its wire model. Strict I-JSON (RFC 7493). No I/O.

Law: a duplicate member is refused (a proxy may have checked the other one), as are NaN, lone surrogates and nesting
that exhausts the parser. Nothing of what was submitted stands in an error.
"""

import json
from collections.abc import Mapping
from typing import Any

import orjson
from pydantic import ValidationError

from guard.catalogue import Operation
from guard.errors import BodyTooLarge, InvalidRequest, MalformedBody, UnsupportedMedia
from guard.wire.problems import misfit

JSON = "application/json"
MAX_DIGITS = 16  # of a number in a path: beyond 2^53 nothing of guard counts


def media_type(content_type: str, body: bytes) -> None:
    """Check the Content-Type of a body that is there.

    Raises:
        UnsupportedMedia: absent, or neither JSON nor `+json`.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if body and kind != JSON and not (kind.startswith("application/") and kind.endswith("+json")):
        raise UnsupportedMedia("Expected a body of type application/json, got another type; set Content-Type.")


def size(length: int, limit: int) -> None:
    """Check a body's size in bytes.

    Raises:
        BodyTooLarge: over the limit.
    """
    if length > limit:
        raise BodyTooLarge(f"Expected a body of at most {limit} bytes, got more; send smaller batches.")


def parse(operation: Operation, body: bytes, path: Mapping[str, str], query: Mapping[str, str]) -> Any:
    """The request of *operation* from the JSON *body*, *path* parameters and *query* parameters.

    Raises:
        MalformedBody: no strict JSON object.
        InvalidRequest: does not fit the schema, or a path parameter stands in the body or query too.
    """
    validator = operation.takes.__pydantic_validator__
    try:
        if operation.method == "GET":
            _apart(path, query, "query")
            texts: dict[str, Any] = dict(query) | dict(path)
            return validator.validate_strings(texts)
        members = _object(body) if body else {}
        if path:
            _apart(path, members, "body")
            members.update({name: _from_path(operation, name, text) for name, text in path.items()})
        return validator.validate_python(members)
    except ValidationError as error:
        raise misfit(operation.name, error, operation.takes) from None


def _apart(path: Mapping[str, str], members: Mapping[str, Any], where: str) -> None:
    if not path.keys().isdisjoint(members):
        raise InvalidRequest(f"Expected the path's parameters in the path only, got them in the {where} too.")


def _from_path(operation: Operation, name: str, text: str) -> str | int:
    """A path parameter is text; where the schema wants a number it is one, or the schema refuses the text."""
    wants_number = operation.takes.model_fields[name].annotation is int
    return int(text) if wants_number and text.isdecimal() and len(text) <= MAX_DIGITS else text


def _object(body: bytes) -> dict[str, Any]:
    found = _faithful(body)
    if found is None:
        found = _strict(body)
    if not isinstance(found, dict):
        raise MalformedBody("Expected a JSON object, got another JSON value; wrap it in braces.")
    return found


def _faithful(body: bytes) -> Any:
    """The value of compact JSON, which most clients send; None for any other text, valid or not.

    If writing the value again gives the very bytes, then no member was dropped as a duplicate and nothing was read
    loosely. This costs a third of asking about every object while parsing.
    """
    try:
        found = orjson.loads(body)
        return found if orjson.dumps(found) == body else None
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return None


def _strict(body: bytes) -> Any:
    try:
        return json.loads(body.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except RecursionError:
        raise MalformedBody("Expected JSON of moderate depth, got deeper nesting; flatten it.") from None
    except ValueError:  # bad UTF-8, bad JSON, a duplicate member, NaN, or an integer of thousands of digits
        raise MalformedBody("Expected a strict UTF-8 JSON object without duplicates; correct the body.") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError
    return members


def _no_constant(_name: str) -> float:
    raise ValueError
