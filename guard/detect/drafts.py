"""Drafts: one document of a rule file, parsed by pySigma and checked for what pySigma lets through. No I/O.

Law: every refusal names the file and the document. What other tools may misread in silence is refused: a misspelt
`guard`, an empty list, a condition that can never be true. Sigma specification 2.1.
"""

from difflib import get_close_matches
from typing import Any, Final

from sigma.correlations import SigmaCorrelationRule
from sigma.exceptions import SigmaError
from sigma.filters import SigmaFilter
from sigma.policy.profiles import SafePolicy
from sigma.rule import SigmaRule

from guard.detect.block import parse_block
from guard.detect.episodes import OPERATORS
from guard.errors import InvalidRule

MAX_THRESHOLD: Final = 1_000_000
MAX_DISTINCT: Final = 4_096
"""Distinct values kept per key; a threshold above could never be reached."""

# What pySigma lets through from rules of the wrong form, beside its own errors.
MALFORMED: Final = (SigmaError, AttributeError, TypeError, ValueError, KeyError, IndexError, RecursionError)


class Draft:
    """One document on its way to a rule; every refusal names the file and the document."""

    def __init__(self, file: str, number: int, raw: dict[str, Any]) -> None:
        self.file = file
        self.label = str(raw.get("title") or raw.get("id") or f"document {number}")
        self.raw = dict(raw)
        self.has_block = "guard" in raw
        self.conditions: list[list[Any]] = []
        try:
            self._check_keys()
            self.block = parse_block(self.raw.pop("guard", {}))
            self.sigma = self._parse()
        except InvalidRule as error:
            raise self.refusal(error.detail) from None
        except MALFORMED as error:
            raise self.refusal(f"not valid Sigma: {one_line(error)}") from None

    def refusal(self, reason: str) -> InvalidRule:
        """The error that says why this document is not taken."""
        return InvalidRule(f"{self.file}: rule {self.label!r}: {reason.rstrip('.')}.", file=self.file, rule=self.label)

    def _check_keys(self) -> None:
        for key in self.raw:
            if key != "guard" and get_close_matches(str(key).lower(), ["guard"]):
                raise InvalidRule(f"the key {key!r} looks like guard, and what stands there would be ignored")
        if "action" in self.raw:
            raise InvalidRule("the collection key 'action' is not supported; write each rule out")

    def _parse(self) -> SigmaRule | SigmaCorrelationRule | SigmaFilter:
        if "correlation" in self.raw:
            return self._correlation()
        if "filter" in self.raw:
            if self.has_block:
                raise InvalidRule("a filter has no guard block; put it into the rule")
            return SigmaFilter.from_dict(self.raw, policy=SafePolicy)
        _refuse_empty_lists(self.raw.get("detection"))
        return SigmaRule.from_dict(self.raw, policy=SafePolicy)

    def _correlation(self) -> SigmaCorrelationRule:
        raw = self.raw["correlation"]
        kind = raw.get("type") if isinstance(raw, dict) else None
        if kind not in {"event_count", "value_count"}:
            raise InvalidRule(f"the correlation type {kind!r} is not supported; it is event_count or value_count")
        if raw.get("aliases"):
            raise InvalidRule("correlation aliases are not supported; request logs have one name per field")
        condition = raw.get("condition")
        self.conditions = _conditions(condition, kind)
        # pySigma takes one comparison; a range, which Sigma allows, is held in `conditions`.
        one = {key: condition[key] for key in ("field", self.conditions[0][0]) if key in condition}
        return SigmaCorrelationRule.from_dict({**self.raw, "correlation": {**raw, "condition": one}}, policy=SafePolicy)


def one_line(error: Exception) -> str:
    """The words of a parser's error in one line."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def _refuse_empty_lists(raw: Any) -> None:
    """An empty list is null to pySigma, so a list emptied by hand would match what it never named."""
    parts = list(raw.values()) if isinstance(raw, dict) else raw if isinstance(raw, list) else []
    if any(part in ([], {}) for part in parts):
        raise InvalidRule("a detection has an empty list, which says nothing; write null if the field must be absent")
    for part in parts:
        _refuse_empty_lists(part)


def _conditions(raw: Any, kind: str) -> list[list[Any]]:
    """The comparisons of `{gte: 5, lte: 9}` as `[["lte", 9], ["gte", 5]]`, satisfiable and within the caps."""
    if not isinstance(raw, dict):
        raise InvalidRule("the correlation condition is a mapping such as {gte: 20}")
    found = [[op, raw[op]] for op in OPERATORS if op in raw]
    if not found or set(raw) - {*OPERATORS, "field"}:
        raise InvalidRule("the correlation condition has one or more of lt, lte, gt, gte, eq, neq, and field")
    if isinstance(raw.get("field"), str) != (kind == "value_count") or ("field" in raw) != (kind == "value_count"):
        raise InvalidRule("value_count counts the values of one field, condition.field, and event_count has none")
    most = MAX_DISTINCT if kind == "value_count" else MAX_THRESHOLD
    for op, count in found:
        least = 1 if op in {"gte", "lt"} else 0
        if not isinstance(count, int) or isinstance(count, bool) or not least <= count <= most:
            raise InvalidRule(f"the count of {op} is a whole number from {least} to {most}")
    if not _can_hold(found, least=0 if kind == "value_count" else 1):
        raise InvalidRule("the correlation condition can never be true")
    return found


def _can_hold(conditions: list[list[Any]], least: int) -> bool:
    """Whether some count fulfils all comparisons; only those next to a bound need be tried."""
    near = {least, *(bound + step for _, bound in conditions for step in (-1, 0, 1))}
    return any(all(OPERATORS[op](n, bound) for op, bound in conditions) for n in near if n >= least)
