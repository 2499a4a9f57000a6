"""Predicates as Python closures: from the rule's JSON tree to a function from an event to true or false.

Law: two values, never three. A missing field makes a comparison false, and its `not` therefore true. Sigma strings
ignore the case of ASCII letters only, since Unicode case folding differs between engines. Regular expressions run on
RE2, whose time is linear in the text, so no pattern can be made to hang; with `|re|i` RE2's own folding applies, in
which two letters outside ASCII (the Kelvin sign and the long s) fold into it. Addresses are compared as numbers.
Sigma specification 2.1; RE2 syntax. No I/O.
"""

from collections.abc import Callable, Iterable
from functools import lru_cache
from operator import attrgetter, eq, ge, gt, le, lt, ne
from typing import Any, Final

import re2  # type: ignore[import-untyped]  # google-re2 ships no types

from guard.detect.address import canonical, in_network, network
from guard.detect.event import FIELDS, KEYWORD_VIEWS, Column, Event
from guard.detect.translate import ANY, Pred
from guard.errors import InvalidRule

Test = Callable[[Event], bool]
Getter = Callable[[Event], Any]
TextTest = Callable[[str], bool]

MAX_PATTERN_CHARS: Final = 2000
"""Longer regular expressions are lists in disguise, which Sigma can write as lists."""

MAX_REGEX_MEMORY: Final = 8 << 20
"""Bytes that one compiled pattern may take (RE2's own default)."""

MEMO_ENTRIES: Final = 8192
MAX_MEMO_CHARS: Final = 1024
"""Costly tests remember this many short texts: real traffic repeats its paths and agents."""

MEMO_FROM_PATTERNS: Final = 3
"""With fewer literal patterns the test costs no more than the look-up."""

_OPERATORS: Final = {"lt": lt, "lte": le, "gt": gt, "gte": ge, "neq": ne, "eq": eq}
_ASCII_FOLD: Final = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}
# The order in which the parts of an and/or are tried; the result does not depend on it.
_COST: Final = {
    "eq": 0, "in": 0, "cmp": 0, "null": 0, "exists": 0, "cidr": 1, "fieldref": 2,
    "like": 3, "likes": 3, "not": 4, "and": 4, "or": 5, "keyword": 6, "re": 7, "res": 7, "keyword_re": 8,
}  # fmt: skip


def fold(text: str) -> str:
    """Lower-case ASCII letters; all other characters unchanged."""
    return text.lower() if text.isascii() else text.translate(_ASCII_FOLD)


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
            return _on_texts(_views(body), _text_test(node, body))
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
            pattern = _contained(body["parts"]) if node == "keyword" else body["parts"]
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


def _text_test(node: str, body: Pred) -> TextTest:
    if node in {"re", "keyword_re"}:
        return _remembering(_regex([(body["pattern"], body["flags"])]))
    if node == "res":
        return _remembering(_regex(body["patterns"]))
    if node == "like":
        return _patterns([body["parts"]], cased=body["cased"])
    if node == "keyword":
        return _patterns([_contained(body["parts"])], cased=body["cased"])
    return _patterns(body["patterns"], cased=body["cased"])


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


def _remembering(test: TextTest) -> TextTest:
    remembered = lru_cache(maxsize=MEMO_ENTRIES)(test)
    return lambda text: remembered(text) if len(text) <= MAX_MEMO_CHARS else test(text)


def _regex(patterns: list[tuple[str, str]]) -> TextTest:
    """Whether one of the (pattern, flags) is found anywhere in the text."""
    pieces = [f"(?{flags}:{_checked(pattern)})" for pattern, flags in patterns]
    compiled = _re2("|".join(pieces))
    return lambda text: compiled.search(_encodable(text)) is not None


def _checked(pattern: str) -> str:
    if len(pattern) > MAX_PATTERN_CHARS:
        raise InvalidRule(f"a regular expression has {len(pattern)} characters; at most {MAX_PATTERN_CHARS} are taken")
    _re2(pattern)
    return pattern


def _re2(pattern: str) -> Any:
    options = re2.Options()
    options.max_mem = MAX_REGEX_MEMORY
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error:
        raise InvalidRule(
            "a regular expression is none of RE2, which has no look-around and no backreference"
        ) from None


def _encodable(text: str) -> str:
    """RE2 works on UTF-8, which has no lone surrogates; they can come from JSON."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _contained(parts: list[str | int]) -> list[str | int]:
    """A keyword is searched anywhere in the text."""
    return [*([] if parts[:1] == [ANY] else [ANY]), *parts, *([] if parts[-1:] == [ANY] else [ANY])]


def _patterns(patterns: list[list[str | int]], *, cased: bool) -> TextTest:
    """True if the text matches one of the wildcard patterns, whole; sorted into the cheapest test for each."""
    inner, starts, ends, exact, rest = [], [], [], set(), []
    for parts in patterns:
        folded = parts if cased else [fold(part) if isinstance(part, str) else part for part in parts]
        match folded:
            case [str(text)]:
                exact.add(text)
            case [0, str(text), 0]:
                inner.append(text)
            case [str(text), 0]:
                starts.append(text)
            case [0, str(text)]:
                ends.append(text)
            case _:
                rest.append(_wildcards(folded))
    test = _one_of(inner, tuple(starts), tuple(ends), frozenset(exact), rest)
    whole = test if cased else lambda text: test(fold(text))
    return _remembering(whole) if len(patterns) >= MEMO_FROM_PATTERNS or rest else whole


def _one_of(
    inner: list[str], starts: tuple[str, ...], ends: tuple[str, ...], exact: frozenset[str], rest: list[TextTest]
) -> TextTest:
    if inner and not (starts or ends or exact or rest):
        return lambda text: any(map(text.__contains__, inner))
    return lambda text: (
        text in exact
        or text.startswith(starts)
        or text.endswith(ends)
        or any(map(text.__contains__, inner))
        or any(test(text) for test in rest)
    )


def _wildcards(parts: list[str | int]) -> TextTest:
    pieces = [re2.escape(part) if isinstance(part, str) else ".*" if part == ANY else "." for part in parts]
    compiled = _re2("(?s)" + "".join(pieces))
    return lambda text: compiled.fullmatch(_encodable(text)) is not None


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
