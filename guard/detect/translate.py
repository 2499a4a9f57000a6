"""From pySigma's parse tree to guard's predicates. pySigma parses and expands modifiers; it decides nothing here.

Law: what cannot be said exactly is refused with a reason; no node is approximated or left out. The predicate tree is
plain JSON with the nodes and, or, not, eq, in, like, re, cmp, cidr, exists, null, fieldref, keyword, keyword_re, of
which every leaf about a field names it. `like` patterns are lists of literal strings, `"*"` as 0 and `"?"` as 1.
Sigma specification 2.1 (detections, modifiers). No I/O.
"""

from typing import Any, Final

from sigma.conditions import (
    ConditionAND,
    ConditionFieldEqualsValueExpression,
    ConditionNOT,
    ConditionOR,
    ConditionValueExpression,
)
from sigma.types import (
    SigmaCasedString,
    SigmaCIDRExpression,
    SigmaCompareExpression,
    SigmaExists,
    SigmaExpansion,
    SigmaFieldReference,
    SigmaNull,
    SigmaNumber,
    SigmaRegularExpression,
    SigmaRegularExpressionFlag,
    SigmaString,
    SigmaTimestampPart,
    SpecialChars,
)

from guard.detect.address import canonical, network
from guard.detect.event import FIELDS, Column
from guard.errors import InvalidInput, InvalidRule

Pred = dict[str, Any]

MAX_DEPTH: Final = 64
"""Nesting of and/or/not; rules written by people stay below ten."""

ANY: Final = 0
ONE: Final = 1

_WILDCARDS: Final = {SpecialChars.WILDCARD_MULTI: ANY, SpecialChars.WILDCARD_SINGLE: ONE}
_FLAGS: Final = {
    SigmaRegularExpressionFlag.IGNORECASE: "i",
    SigmaRegularExpressionFlag.MULTILINE: "m",
    SigmaRegularExpressionFlag.DOTALL: "s",
}


def predicate_of(node: Any, depth: int = 0) -> Pred:
    """One parsed Sigma condition as a predicate.

    Raises:
        InvalidRule: a field, value or modifier that guard cannot evaluate; the message is the reason alone.
    """
    if depth > MAX_DEPTH:
        raise InvalidRule(f"its condition is nested more than {MAX_DEPTH} deep")
    match node:
        case ConditionAND():
            return {"and": [predicate_of(part, depth + 1) for part in node.args]}
        case ConditionOR():
            return _any_of([predicate_of(part, depth + 1) for part in node.args])
        case ConditionNOT():
            return {"not": predicate_of(node.args[0], depth + 1)}
        case ConditionFieldEqualsValueExpression():
            return _field(node.field, node.value)
        case ConditionValueExpression():
            return _keyword(node.value)
    raise InvalidRule("its condition is empty or of a form that is not supported")


def _any_of(parts: list[Pred]) -> Pred:
    """An or; of equalities on one field, an `in`, so that two spellings of one list are one rule."""
    leaves = [part.get("eq") for part in parts]
    first = leaves[0]
    if first and all(leaf and leaf["field"] == first["field"] and leaf["cased"] == first["cased"] for leaf in leaves):
        values = sorted({leaf["value"] for leaf in leaves if leaf}, key=str)
        return {"in": {"field": first["field"], "values": values, "cased": first["cased"]}}
    return {"or": parts}


def _column(field: str) -> Column:
    known = FIELDS.get(field)
    if known is None:
        raise InvalidRule(f"the field {field!r} is none that request logs carry")
    return known.column


def _field(field: str, value: Any) -> Pred:
    column = _column(field)
    match value:
        case SigmaExpansion():
            return _any_of([_field(field, part) for part in value.values])
        case SigmaNull():
            return {"null": {"field": field}}
        case SigmaExists():
            return {"exists": {"field": field, "value": value.exists}}
        case SigmaFieldReference():
            return _fieldref(field, column, value)
        case SigmaCIDRExpression():
            return _cidr(field, column, value)
        case SigmaCompareExpression():
            return _compare(field, column, value)
        case SigmaRegularExpression():
            return {"re": {"field": field, **_regex(value, column)}}
        case SigmaNumber():
            return _number(field, column, value)
        case SigmaString():
            return _string(field, column, value)
    raise InvalidRule(f"a value of the kind {type(value).__name__} on {field!r} is not supported")


def _fieldref(field: str, column: Column, value: SigmaFieldReference) -> Pred:
    if _column(value.field) is not column:
        raise InvalidRule(f"{field!r} and {value.field!r} are of different kinds and cannot be compared")
    return {"fieldref": {"field": field, "other": value.field, "starts": value.starts_with, "ends": value.ends_with}}


def _cidr(field: str, column: Column, value: SigmaCIDRExpression) -> Pred:
    if column is not Column.ADDRESS:
        raise InvalidRule(f"|cidr is for addresses, and {field!r} holds none")
    try:
        return {"cidr": {"field": field, "network": str(network(value.cidr))}}
    except InvalidInput as error:
        raise InvalidRule(f"the network of {field!r} is none: {error.detail}") from None


def _whole(value: SigmaNumber, field: str) -> int:
    if isinstance(value.number, int):
        return value.number
    raise InvalidRule(f"{field!r} is compared with a fraction; only whole numbers are supported")


def _compare(field: str, column: Column, value: SigmaCompareExpression) -> Pred:
    if column is not Column.NUMBER:
        raise InvalidRule(f"|{value.op.name.lower()} is for numbers, and {field!r} holds none")
    return {"cmp": {"field": field, "op": value.op.name.lower(), "value": _whole(value.number, field)}}


def _number(field: str, column: Column, value: SigmaNumber) -> Pred:
    if isinstance(value, SigmaTimestampPart):
        raise InvalidRule(f"the time modifiers on {field!r} are not supported")
    number = _whole(value, field)
    return {"eq": {"field": field, "value": number if column is Column.NUMBER else str(number), "cased": False}}


def _string(field: str, column: Column, value: SigmaString) -> Pred:
    cased = isinstance(value, SigmaCasedString)
    parts = _parts(value)
    if any(isinstance(part, int) for part in parts):
        return {"like": {"field": field, "parts": parts, "cased": cased}}
    text = str(parts[0]) if parts else ""
    if column is Column.NUMBER:
        if not (text.isascii() and text.isdigit()):
            raise InvalidRule(f"{field!r} is a number and can never equal that text")
        return {"eq": {"field": field, "value": int(text), "cased": False}}
    if column is Column.ADDRESS:
        text = _address(field, text)
    return {"eq": {"field": field, "value": text, "cased": cased}}


def _address(field: str, text: str) -> str:
    try:
        return canonical(text).text
    except InvalidInput as error:
        raise InvalidRule(f"{field!r} can never equal that: {error.detail}") from None


def _parts(value: SigmaString) -> list[str | int]:
    parts: list[str | int] = []
    for part in value.s:
        if isinstance(part, str):
            parts.append(part)
        elif isinstance(part, SpecialChars):
            parts.append(_WILDCARDS[part])
        else:
            raise InvalidRule("placeholders (|expand) are not supported; write the values out")
    return parts


def _regex(value: SigmaRegularExpression, column: Column = Column.TEXT) -> Pred:
    if column is not Column.TEXT:
        raise InvalidRule("|re is for texts; use the value, a comparison or |cidr here")
    if value.regexp.contains_placeholder():
        raise InvalidRule("placeholders (|expand) are not supported; write the values out")
    return {"pattern": str(value.regexp), "flags": "".join(sorted(_FLAGS[flag] for flag in value.flags))}


def _keyword(value: Any) -> Pred:
    match value:
        case SigmaExpansion():
            return _any_of([_keyword(part) for part in value.values])
        case SigmaRegularExpression():
            return {"keyword_re": _regex(value)}
        case SigmaNumber() if not isinstance(value, SigmaTimestampPart):
            return {"keyword": {"parts": [str(value.number)], "cased": False}}
        case SigmaString():
            return {"keyword": {"parts": _parts(value), "cased": isinstance(value, SigmaCasedString)}}
    raise InvalidRule(f"a keyword of the kind {type(value).__name__} is not supported")
