"""The `guard:` block of a rule: what to do when it fires. Other Sigma tools may ignore it; guard ignores nothing in it.

Law: an unknown key, a contradiction or a value of another form is refused, since a typing error in a ban rule would
otherwise become a default. A rule acts only when it says so: `action.type` is `observe` and `shadow` is true unless
written otherwise. No I/O.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Any, Final, TypeVar

from guard.detect.durations import UNITS_US, parse_duration_us
from guard.errors import InvalidInput, InvalidRule


class ActionType(StrEnum):
    """What an alert of the rule leads to."""

    OBSERVE = "observe"
    THROTTLE = "throttle"
    CAPTCHA = "captcha"
    STEP_UP = "step_up"
    BAN = "ban"
    INCIDENT = "incident"

    @property
    def is_enforced(self) -> bool:
        """Whether a client meets it: observing and opening an incident touch nobody."""
        return self not in {ActionType.OBSERVE, ActionType.INCIDENT}


PERMANENT: Final = "permanent"
DAY_US: Final = UNITS_US["d"]
DEFAULT_LADDER: Final = (15 * UNITS_US["m"], UNITS_US["h"], 4 * UNITS_US["h"], DAY_US, 7 * DAY_US)
DEFAULT_DECAY_US: Final = 30 * DAY_US
DEFAULT_MAX_GROUPS: Final = 100_000
MAX_GROUPS: Final = 1_000_000
"""A million keys in a dictionary take about 100 MB."""
MAX_LADDER_STEPS: Final = 16
MAX_EVIDENCE_LINES: Final = 20
MAX_TESTS: Final = 50
MAX_TEST_LINES: Final = 5_000
"""Rule tests run at every load in CI; a rule that needs more lines has a threshold that nobody can test."""

ENFORCEABLE: Final = frozenset({"c-ip", "cs-username"})
"""The entities that an enforcement point can recognise: addresses and accounts."""

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_PERCENT: Final = 100
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Action:
    """What to do, for how long by the number of live strikes (None is for good), and when a strike is forgotten."""

    type: ActionType = ActionType.OBSERVE
    ladder_us: tuple[int | None, ...] = DEFAULT_LADDER
    decay_us: int = DEFAULT_DECAY_US
    runbook: str | None = None


@dataclass(frozen=True, slots=True)
class Shadow:
    """For whom the rule only watches: everybody, nobody, or all but a stable share of entities and some tenants."""

    acting_percent: int = 0
    acting_tenants: frozenset[str] = frozenset()

    def covers(self, tenant: str, entity: str) -> bool:
        """Whether the rule is in shadow for this entity, whose place does not change while the percentage grows."""
        if tenant in self.acting_tenants:
            return False
        place = int.from_bytes(sha256(entity.encode()).digest()[:8], "big") % _PERCENT
        return place >= self.acting_percent


@dataclass(frozen=True, slots=True)
class TestLine:
    """`count` log lines from one text: `{n}` is 0, 1, 2..., `{time}` the time, `every_ms` apart from `at_ms` on."""

    __test__ = False  # no test case, though its name begins like one

    text: str
    at_ms: int = 0
    every_ms: int = 0
    count: int = 1


@dataclass(frozen=True, slots=True)
class Expected:
    """One alert: its key, and, where given, its first time (from the test's start) and its peak."""

    key: tuple[str, ...]
    t0_ms: int | None = None
    count: int | None = None


@dataclass(frozen=True, slots=True)
class RuleTest:
    """Lines and exactly the alerts that they must give."""

    name: str
    lines: tuple[TestLine, ...]
    expect: tuple[Expected, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """A parsed `guard:` block."""

    entity: str | None = None
    ipv6_prefix: int = 64
    max_groups: int = DEFAULT_MAX_GROUPS
    action: Action = Action()
    shadow: Shadow = Shadow()
    evidence_lines: int = MAX_EVIDENCE_LINES
    tests: tuple[RuleTest, ...] = ()


def parse_block(raw: object) -> Block:
    """A `guard:` block as YAML gave it.

    Raises:
        InvalidRule: an unknown key or a value that is not allowed; the message is the reason alone.
    """
    block = _mapping(
        raw, "guard", {"window", "entity", "ipv6_prefix", "max_groups", "action", "shadow", "evidence", "tests"}
    )
    if block.get("window", "sliding") != "sliding":
        raise InvalidRule("guard.window is sliding; other windows are not supported")
    entity = block.get("entity")
    if entity is not None and not isinstance(entity, str):
        raise InvalidRule("guard.entity is a field name, such as c-ip")
    evidence = _mapping(block.get("evidence", {}), "guard.evidence", {"lines"})
    return Block(
        entity=entity,
        ipv6_prefix=_whole(block.get("ipv6_prefix", 64), "guard.ipv6_prefix", 48, 64),
        max_groups=_whole(block.get("max_groups", DEFAULT_MAX_GROUPS), "guard.max_groups", 1, MAX_GROUPS),
        action=_action(block.get("action", {})),
        shadow=_shadow(block.get("shadow", True)),
        evidence_lines=_whole(evidence.get("lines", MAX_EVIDENCE_LINES), "guard.evidence.lines", 1, MAX_EVIDENCE_LINES),
        tests=tuple(_list(block.get("tests", []), "guard.tests", MAX_TESTS, _test)),
    )


def _mapping(raw: object, place: str, keys: set[str]) -> Mapping[str, Any]:
    if not isinstance(raw, dict):
        raise InvalidRule(f"{place} is a mapping, found {type(raw).__name__}")
    if unknown := [str(key) for key in raw if key not in keys]:
        raise InvalidRule(f"{place} has the unknown key {unknown[0]!r}; known are {', '.join(sorted(keys))}")
    return raw


def _list(raw: object, place: str, most: int, read: Callable[[object, str], T]) -> list[T]:
    if not isinstance(raw, list) or len(raw) > most:
        raise InvalidRule(f"{place} is a list of at most {most} entries")
    return [read(item, f"{place}[{i}]") for i, item in enumerate(raw)]


def _whole(raw: object, place: str, least: int, most: int) -> int:
    if not isinstance(raw, int) or isinstance(raw, bool) or not least <= raw <= most:
        raise InvalidRule(f"{place} is a whole number from {least} to {most}")
    return raw


def _duration_us(raw: object, place: str) -> int:
    try:
        return parse_duration_us(raw)
    except InvalidInput as error:
        raise InvalidRule(f"{place}: {error.detail.rstrip('.')}") from None


def _action(raw: object) -> Action:
    block = _mapping(raw, "guard.action", {"type", "ladder", "decay", "runbook"})
    try:
        kind = ActionType(block.get("type", ActionType.OBSERVE))
    except ValueError:
        raise InvalidRule(f"guard.action.type is one of {', '.join(ActionType)}") from None
    if not kind.is_enforced and ("ladder" in block or "decay" in block):
        raise InvalidRule(f"guard.action.ladder and decay have no meaning with the type {kind}")
    runbook = block.get("runbook")
    if runbook is not None and not (isinstance(runbook, str) and _NAME.fullmatch(runbook)):
        raise InvalidRule("guard.action.runbook is a runbook's name in lower case, digits, - and _")
    if (kind is ActionType.INCIDENT) != (runbook is not None) and not kind.is_enforced:
        raise InvalidRule("guard.action.runbook goes with the type incident, which needs it, and with enforced types")
    ladder = _list(block["ladder"], "guard.action.ladder", MAX_LADDER_STEPS, _step) if "ladder" in block else None
    return Action(
        type=kind,
        ladder_us=DEFAULT_LADDER if ladder is None else _ladder(ladder),
        decay_us=_duration_us(block["decay"], "guard.action.decay") if "decay" in block else DEFAULT_DECAY_US,
        runbook=runbook,
    )


def _step(raw: object, place: str) -> int | None:
    return None if raw == PERMANENT else _duration_us(raw, place)


def _ladder(steps: list[int | None]) -> tuple[int | None, ...]:
    finite = [step for step in steps if step is not None]
    if not steps or None in steps[:-1] or finite != sorted(finite):
        raise InvalidRule("guard.action.ladder has growing steps, and permanent only as the last one")
    return tuple(steps)


def _shadow(raw: object) -> Shadow:
    if isinstance(raw, bool):
        return Shadow(acting_percent=0 if raw else _PERCENT)
    block = _mapping(raw, "guard.shadow", {"percent", "tenants"})
    if not block:
        raise InvalidRule("guard.shadow is true, false, or a mapping with percent or tenants")
    return Shadow(
        acting_percent=_whole(block.get("percent", 0), "guard.shadow.percent", 0, _PERCENT),
        acting_tenants=frozenset(_list(block.get("tenants", []), "guard.shadow.tenants", 10_000, _text)),
    )


def _text(raw: object, place: str) -> str:
    if not isinstance(raw, str) or not raw:
        raise InvalidRule(f"{place} is a text")
    return raw


def _test(raw: object, place: str) -> RuleTest:
    block = _mapping(raw, place, {"name", "lines", "expect"})
    lines = _list(block.get("lines"), f"{place}.lines", MAX_TEST_LINES, _test_line)
    if sum(line.count for line in lines) > MAX_TEST_LINES:
        raise InvalidRule(f"{place} has more than {MAX_TEST_LINES} lines")
    name = _text(block.get("name", place), f"{place}.name")
    return RuleTest(name, tuple(lines), tuple(_list(block.get("expect"), f"{place}.expect", MAX_TEST_LINES, _expected)))


def _test_line(raw: object, place: str) -> TestLine:
    if isinstance(raw, str):
        return TestLine(raw)
    block = _mapping(raw, place, {"text", "at_ms", "every_ms", "count"})
    return TestLine(
        text=_text(block.get("text"), f"{place}.text"),
        at_ms=_whole(block.get("at_ms", 0), f"{place}.at_ms", 0, 30 * 86_400_000),
        every_ms=_whole(block.get("every_ms", 0), f"{place}.every_ms", 0, 86_400_000),
        count=_whole(block.get("count", 1), f"{place}.count", 1, MAX_TEST_LINES),
    )


def _expected(raw: object, place: str) -> Expected:
    block = _mapping(raw, place, {"key", "t0_ms", "count"})
    key = block.get("key")
    t0_ms, count = block.get("t0_ms"), block.get("count")
    return Expected(
        key=tuple(_list(key if isinstance(key, list) else [key], f"{place}.key", 16, _text)),
        t0_ms=None if t0_ms is None else _whole(t0_ms, f"{place}.t0_ms", 0, 60 * 86_400_000),
        count=None if count is None else _whole(count, f"{place}.count", 0, MAX_TEST_LINES),
    )
