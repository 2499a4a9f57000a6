"""Predicates as Python closures: from the rule's JSON tree to a function from an event to true or false.

Law: two values, never three. A missing field makes a comparison false, and its `not` therefore true. Addresses are
compared as numbers, never as text. Sigma specification 2.1. No I/O.
"""

from collections.abc import Callable, Iterable
from operator import attrgetter, eq, ge, gt, le, lt, ne
from typing import Any, Final

from guard.detect.address import canonical, in_network, network
from guard.detect.event import FIELDS, KEYWORD_VIEWS, Column, Event
from guard.detect.texts import TextTest, contained, fold, text_test
from guard.detect.translate import Pred
from guard.errors import InvalidRule

Test = Callable[[Event], bool]
Getter = Callable[[Event], Any]

_OPERATORS: Final = {"lt": lt, "lte": le, "gt": gt, "gte": ge, "neq": ne, "eq": eq}
# The order in which the parts of an and/or are tried; the result does not depend on it.
_COST: Final = {
    "eq": 0, "in": 0, "cmp": 0, "null": 0, "exists": 0, "cidr": 1, "fieldref": 2,
    "like": 3, "likes": 3, "not": 4, "and": 4, "or": 5, "keyword": 6, "re": 7, "res": 7, "keyword_re": 8,
}  # fmt: skip


def compile_predicate(pred: Pred) -> Test:
    """A predicate's tree as a function.

    Raises:
        InvalidRule: a regular expression that RE2 does not accept, or an unknown node.
    """
    ((node, body),) = pred.items()
    match node:
        case "and":
            return _all([compile_predicate(part) for part in _cheap_first(body)])
        case "or":
            return _any([compile_predicate(part) for part in _cheap_first(_grouped(body))])
        case "not":
            return _not(compile_predicate(body))
        case "true":
            return lambda _event: True
        case "keyword" | "keyword_re" | "likes" | "res" | "re" | "like":
            return _on_texts(_views(body), text_test(node, body))
        case _:
            return _on_field(node, body)


def _cheap_first(parts: Iterable[Pred]) -> list[Pred]:
    return sorted(parts, key=lambda part: _COST.get(next(iter(part)), 9))


def _all(tests: list[Test]) -> Test:
    if len(tests) == 2:  # noqa: PLR2004 - the common pair, without a generator
        first, second = tests
        return lambda event: first(event) and second(event)
    return lambda event: all(test(event) for test in tests)


def _any(tests: list[Test]) -> Test:
    if len(tests) == 1:
        return tests[0]
    return lambda event: any(test(event) for test in tests)


def _not(test: Test) -> Test:
    return lambda event: not test(event)


# Texts


def _grouped(parts: list[Pred]) -> list[Pred]:
    """The parts of an or, with all patterns on one field (or all keywords) as one node that is tested in one pass."""
    groups: dict[tuple[str, str | None, bool], list[Any]] = {}
    others: list[Pred] = []
    for part in parts:
        ((node, body),) = part.items()
        if node in {"like", "keyword"}:
            pattern = contained(body["parts"]) if node == "keyword" else body["parts"]
            groups.setdefault(("likes", body.get("field"), body["cased"]), []).append(pattern)
        elif node in {"re", "keyword_re"}:
            groups.setdefault(("res", body.get("field"), True), []).append((body["pattern"], body["flags"]))
        else:
            others.append(part)
    return others + [
        {node: {"field": field, "patterns": patterns, "cased": cased}}
        for (node, field, cased), patterns in groups.items()
    ]


def _views(body: Pred) -> tuple[str, ...]:
    field = body.get("field")
    return KEYWORD_VIEWS if field is None else FIELDS[field].views


def _on_texts(views: tuple[str, ...], test: TextTest) -> Test:
    """True if the test holds for any of the attributes; numbers are tested by their digits."""
    getters = [attrgetter(view) for view in views]

    def holds(event: Event) -> bool:
        last = None
        for get in getters:
            value = get(event)
            # Most targets have nothing to decode, and the test then need not run twice.
            if value is not None and value != last and test(value if isinstance(value, str) else str(value)):
                return True
            last = value
        return False

    return holds


# Other leaves


def _on_field(node: str, body: Pred) -> Test:
    field = FIELDS[body["field"]]
    getters: list[Getter] = [attrgetter(view) for view in field.views]
    match node:
        case "null":
            return _missing(getters[0], expected=True)
        case "exists":
            return _missing(getters[0], expected=not body["value"])
        case "fieldref":
            return _fieldref(getters, body)
        case "cidr":
            return _cidr(getters[0], body["network"])
        case "cmp":
            return _compare(getters[0], _OPERATORS[body["op"]], body["value"])
        case "eq":
            return _member(getters, field.column, [body["value"]], cased=body["cased"])
        case "in":
            return _member(getters, field.column, body["values"], cased=body["cased"])
    raise InvalidRule(f"the predicate {node!r} is unknown")


def _missing(get: Getter, *, expected: bool) -> Test:
    return lambda event: (get(event) is None) is expected


def _member(getters: list[Getter], column: Column, values: list[Any], *, cased: bool) -> Test:
    if column is Column.TEXT and not cased:
        wanted = frozenset(fold(value) for value in values)
        return lambda event: any((text := get(event)) is not None and fold(text) in wanted for get in getters)
    plain = frozenset(values)
    first = getters[0]
    if len(getters) == 1:
        return lambda event: first(event) in plain
    return lambda event: any(get(event) in plain for get in getters)


def _compare(get: Getter, operator: Callable[[Any, Any], bool], bound: int) -> Test:
    return lambda event: (value := get(event)) is not None and operator(value, bound)


def _cidr(get: Getter, text: str) -> Test:
    net = network(text)
    return lambda event: in_network(canonical(get(event)).number, net)


def _fieldref(getters: list[Getter], body: Pred) -> Test:
    others: list[Getter] = [attrgetter(view) for view in FIELDS[body["other"]].views]
    starts, ends = body["starts"], body["ends"]

    def related(value: str, other: str) -> bool:
        if starts and ends:
            return other in value
        if starts:
            return value.startswith(other)
        return value.endswith(other) if ends else value == other

    def holds(event: Event) -> bool:
        values = [fold(str(value)) for get in getters if (value := get(event)) is not None]
        against = [fold(str(value)) for get in others if (value := get(event)) is not None]
        return any(related(value, other) for value in values for other in against)

    return holds


def statuses_of(pred: Pred) -> frozenset[int] | None:
    """The response statuses without which the predicate cannot hold; None if it may hold with any.

    A pre-filter: it may keep an event that the predicate then refuses, never the reverse.
    """
    ((node, body),) = pred.items()
    if node in {"eq", "in"} and body["field"] == "sc-status":
        return frozenset([body["value"]] if node == "eq" else body["values"])
    if node == "and":
        known = [found for part in body if (found := statuses_of(part)) is not None]
        return frozenset.intersection(*known) if known else None
    if node == "or":
        parts = [statuses_of(part) for part in body]
        known = [found for found in parts if found is not None]
        return frozenset.union(*known) if len(known) == len(parts) else None
    return None


def fields_of(pred: Pred) -> frozenset[str]:
    """The Sigma fields that a predicate looks at; `*` stands for the keyword search over several."""
    ((node, body),) = pred.items()
    if node in {"and", "or"}:
        return frozenset().union(*(fields_of(part) for part in body))
    if node == "not":
        return fields_of(body)
    if node == "true" or (node in {"exists", "null"} and body["field"] == "c-ip"):  # an event always has an address
        return frozenset()
    return frozenset({body.get("field", "*"), body.get("other", body.get("field", "*"))})
