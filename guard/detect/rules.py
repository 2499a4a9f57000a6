"""Rules: from Sigma text to the form that every engine evaluates, its hash, and what the rule does.

Law: a rule is loaded exactly or refused by name with the reason; nothing in it is guessed or left out in silence.
`rule_hash` is SHA-256 of the canonical JSON of what the rule means: a new title is not a new rule, a new threshold is.
A plain rule fires for one matching event and counts as one episode until `SINGLE_EVENT_SPAN_US` pass without another.
Sigma specification 2.1: rules, correlations (`event_count`, `value_count`) and filters. pySigma is the parser only.
No I/O.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

from sigma.correlations import SigmaCorrelationRule, SigmaCorrelationType
from sigma.filters import SigmaFilter
from sigma.rule import SigmaDetections, SigmaLogSource, SigmaRule

from guard.detect.block import ENFORCEABLE, Action, Block, RuleTest, Shadow
from guard.detect.documents import read_documents
from guard.detect.drafts import MALFORMED, MAX_DISTINCT, Draft, one_line
from guard.detect.durations import UNITS_US
from guard.detect.event import FIELDS
from guard.detect.predicate import compile_predicate
from guard.detect.translate import Pred, predicate_of
from guard.errors import InvalidRule

SINGLE_EVENT_SPAN_US: Final = 5 * UNITS_US["m"]
MAX_SPAN_US: Final = 30 * UNITS_US["d"]
"""Windows are held in memory; longer questions are asked of stored events."""

_WEB_PRODUCTS: Final = frozenset({"apache", "nginx"})


@dataclass(frozen=True, slots=True)
class Rule:
    """One detection. `ir` is its meaning as JSON; `name` is unique among loaded rules; `entity` is what it acts on."""

    name: str
    title: str
    id: str | None
    file: str
    description: str
    level: str
    references: tuple[str, ...]
    falsepositives: tuple[str, ...]
    ir: Mapping[str, Any] = field(hash=False, repr=False)
    rule_hash: bytes
    entity: str | None
    action: Action
    shadow: Shadow
    evidence_lines: int
    tests: tuple[RuleTest, ...] = field(repr=False)


def canonical_json(value: Any) -> bytes:
    """JSON with sorted keys and no spaces, of texts, whole numbers, booleans, null, lists and mappings."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


def parse_rules(text: str, file: str) -> tuple[Rule, ...]:
    """The rules of one file; correlations and filters refer to rules of the same file.

    Raises:
        InvalidRule: see `load_rules`.
    """
    return load_rules([(file, text)])


def load_rules(files: Iterable[tuple[str, str]]) -> tuple[Rule, ...]:
    """The rules of several files, as pairs of name and text, in order; they may refer to one another.

    Rules that a correlation refers to are its inputs and fire on their own only with a `guard:` block or `generate`.

    Raises:
        InvalidRule: the first rule that cannot be evaluated exactly; the message names file, rule and reason.
    """
    drafts = [Draft(file, number, raw) for file, text in files for number, raw in read_documents(text, file)]
    book = _Book(drafts)
    rules = [book.rule(draft) for draft in drafts if book.fires(draft)]
    seen: dict[bytes | str, Rule] = {}
    for rule in rules:
        for what, words in ((rule.rule_hash, "it means the same as"), (rule.name, "it has the name of")):
            twin = seen.setdefault(what, rule)
            if twin is not rule:
                raise InvalidRule(
                    f"{rule.file}: rule {rule.title!r}: {words} {twin.title!r}; keep one of them.",
                    file=rule.file,
                    rule=rule.title,
                )
    return tuple(rules)


@dataclass(frozen=True, slots=True)
class _Meaning:
    """Inputs, key and counting of a rule, before they become JSON."""

    inputs: list[Pred]
    key: list[str]
    span_us: int
    counts: str
    field: str | None
    conditions: list[list[Any]]


class _Book:
    """All documents of a load, by id and name, with the filters put in force."""

    def __init__(self, drafts: list[Draft]) -> None:
        self._by_reference: dict[str, Draft] = {}
        self._inputs: set[int] = set()
        for draft in drafts:
            self._register(draft)
        self._filters = [draft.sigma for draft in drafts if isinstance(draft.sigma, SigmaFilter)]
        for draft in drafts:
            if isinstance(draft.sigma, SigmaCorrelationRule) and not draft.sigma.generate:
                self._inputs.update(id(self._input(draft, ref.reference)) for ref in draft.sigma.rules or ())
            elif isinstance(draft.sigma, SigmaFilter):
                self._check_filter(draft, draft.sigma)

    def _register(self, draft: Draft) -> None:
        for reference in {str(draft.sigma.id), draft.sigma.name} - {"None", None}:
            if self._by_reference.setdefault(str(reference), draft) is not draft:
                raise draft.refusal(f"its id or name {reference!r} is taken by another rule")

    def _input(self, draft: Draft, reference: str) -> Draft:
        found = self._by_reference.get(str(reference))
        if found is None or not isinstance(found.sigma, SigmaRule):
            raise draft.refusal(f"it refers to {reference!r}, which is no plain rule in the loaded files")
        return found

    def _check_filter(self, draft: Draft, sigma: SigmaFilter) -> None:
        for reference in [] if isinstance(sigma.filter.rules, str) else sigma.filter.rules:
            target = self._input(draft, reference.reference)
            if isinstance(target.sigma, SigmaRule) and target.sigma.logsource not in sigma.logsource:
                raise draft.refusal(
                    f"its logsource differs from that of {reference.reference!r}, so it would do nothing"
                )

    def fires(self, draft: Draft) -> bool:
        """Whether the document is a rule of its own."""
        if isinstance(draft.sigma, SigmaFilter):
            return False
        return isinstance(draft.sigma, SigmaCorrelationRule) or draft.has_block or id(draft) not in self._inputs

    def rule(self, draft: Draft) -> Rule:
        """The finished rule."""
        try:
            return _finished(draft, self._meaning(draft))
        except InvalidRule as error:
            raise error if "file" in error.extra else draft.refusal(error.detail) from None
        except MALFORMED as error:
            raise draft.refusal(f"not valid Sigma: {one_line(error)}") from None

    def _meaning(self, draft: Draft) -> _Meaning:
        sigma = draft.sigma
        if isinstance(sigma, SigmaCorrelationRule):
            inputs = [self._predicate(self._input(draft, ref.reference)) for ref in sigma.rules or ()]
            counts = "value_count" if sigma.type is SigmaCorrelationType.VALUE_COUNT else "event_count"
            field_name = draft.raw["correlation"]["condition"].get("field")
            span_us = sigma.timespan.seconds * UNITS_US["s"]
            return _Meaning(inputs, list(sigma.group_by or ()), span_us, counts, field_name, draft.conditions)
        key = [draft.block.entity or "c-ip"]
        return _Meaning([self._predicate(draft)], key, SINGLE_EVENT_SPAN_US, "event_count", None, [["gte", 1]])

    def _predicate(self, draft: Draft) -> Pred:
        sigma = draft.sigma
        assert isinstance(sigma, SigmaRule)
        try:
            _check_logsource(sigma.logsource)
            pred = _detection(sigma.detection)
            filters = [_detection(each.filter) for each in self._filters_on(draft)]
            if filters:
                pred = {"and": [pred, *sorted(filters, key=canonical_json)]}
            compile_predicate(pred)
        except InvalidRule as error:
            raise draft.refusal(error.detail) from None
        except MALFORMED as error:
            raise draft.refusal(f"not valid Sigma: {one_line(error)}") from None
        return pred

    def _filters_on(self, draft: Draft) -> Iterator[SigmaFilter]:
        for filtering in self._filters:
            chosen = filtering.filter.rules
            if isinstance(chosen, str):
                if isinstance(draft.sigma, SigmaRule) and draft.sigma.logsource in filtering.logsource:
                    yield filtering
            elif any(self._by_reference.get(str(ref.reference)) is draft for ref in chosen):
                yield filtering


def _detection(detections: SigmaDetections) -> Pred:
    """Several conditions of one rule are alternatives."""
    parts = [predicate_of(condition.parsed) for condition in detections.parsed_condition]
    return parts[0] if len(parts) == 1 else {"or": parts}


def _check_logsource(logsource: SigmaLogSource) -> None:
    if logsource.category != "webserver" and logsource.product not in _WEB_PRODUCTS:
        raise InvalidRule("its logsource is not category webserver, so request logs cannot answer it")


def _finished(draft: Draft, meaning: _Meaning) -> Rule:
    for name in [*meaning.key, *([meaning.field] if meaning.field is not None else [])]:
        if name not in FIELDS or FIELDS[name].value is None:
            raise InvalidRule(f"the field {name!r} is none to group by or to count")
    if len(set(meaning.key)) != len(meaning.key):
        raise InvalidRule("group-by names a field twice")
    if meaning.span_us > MAX_SPAN_US:
        raise InvalidRule("its timespan is longer than 30 days")
    if not meaning.inputs:
        raise InvalidRule("it names no rules")
    entity = _entity(draft.block, meaning.key)
    ir = _ir(draft.block, meaning)
    sigma = draft.sigma
    return Rule(
        name=sigma.name or (str(sigma.id) if sigma.id else sigma.title),
        title=sigma.title,
        id=str(sigma.id) if sigma.id else None,
        file=draft.file,
        description=sigma.description or "",
        level=sigma.level.name.lower() if sigma.level else "medium",
        references=tuple(map(str, draft.raw.get("references") or ())),
        falsepositives=tuple(map(str, draft.raw.get("falsepositives") or ())),
        ir=ir,
        rule_hash=sha256(canonical_json(ir)).digest(),
        entity=entity,
        action=draft.block.action,
        shadow=draft.block.shadow,
        evidence_lines=draft.block.evidence_lines,
        tests=draft.block.tests,
    )


def _entity(block: Block, key: list[str]) -> str | None:
    entity = block.entity or (key[0] if key else None)
    if entity is not None and entity not in key:
        raise InvalidRule(f"guard.entity {entity!r} is not among the group-by fields")
    if block.action.type.is_enforced and entity not in ENFORCEABLE:
        raise InvalidRule(f"the action {block.action.type} needs c-ip or cs-username as its entity")
    return entity


def _ir(block: Block, meaning: _Meaning) -> dict[str, Any]:
    inputs = sorted(meaning.inputs, key=canonical_json)
    return {
        "inputs": [{"name": str(i), "pred": pred} for i, pred in enumerate(inputs)],
        "key": meaning.key,
        "ipv6_prefix": block.ipv6_prefix,
        "window": {"kind": "sliding", "span_us": meaning.span_us, "gap_us": None},
        "agg": {"fn": meaning.counts, "field": meaning.field},
        "cond": meaning.conditions,
        "caps": {"max_groups": block.max_groups, "max_distinct": MAX_DISTINCT},
        "approx": False,
    }
