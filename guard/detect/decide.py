"""Decisions: from an alert to what is done to whom and until when, or to the reason why nothing is. No I/O, no clock.

Law: an allow entry always beats a ban. The end is counted from the episode's last time in the log, not from the clock,
so old logs ban nobody today. The length is the ladder's step for the number of live strikes; a strike counts once per
final alert and is forgotten `decay` after its decision ended. A rule in shadow decides the same and touches nobody.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final
from uuid import UUID

from guard.detect.address import NeverBan, NeverBanEntry, network
from guard.detect.alert import Alert
from guard.detect.block import ActionType
from guard.detect.rules import Rule

SPARED_WIDE: Final = "the range holds too many protected addresses to be split"


class Scope(StrEnum):
    """What kind of thing `Decision.value` names; spelt as bouncers expect it."""

    IP = "Ip"
    RANGE = "Range"
    USER = "User"
    TENANT = "Tenant"


@dataclass(frozen=True, slots=True)
class Decision:
    """What is done to one value. `until_us` None is for good; `step` is the ladder's, from 0.

    `entities`: what else took part (the values that the rule counted). `runbook`: the incident to open, if any.
    """

    tenant: str
    scope: Scope
    value: str = field(repr=False)
    type: ActionType
    scenario: str
    rule_hash: bytes
    level: str
    alert_id: UUID
    from_us: int
    until_us: int | None
    step: int
    decay_us: int
    entities: tuple[str, ...] = field(repr=False)
    shadow: bool
    runbook: str | None

    @property
    def forgotten_us(self) -> int | None:
        """When the strike behind this decision dies; None for a decision for good."""
        return None if self.until_us is None else self.until_us + self.decay_us

    def is_in_force(self, now_us: int) -> bool:
        """Whether an enforcement point applies it now."""
        return not self.shadow and self.type.is_enforced and (self.until_us is None or self.until_us > now_us)


@dataclass(frozen=True, slots=True)
class Spared:
    """An alert that led to no decision because the client is in the never-ban set."""

    tenant: str
    scope: Scope
    value: str = field(repr=False)
    type: ActionType
    scenario: str
    rule_hash: bytes
    alert_id: UUID
    reason: str


def decide(alert: Alert, rule: Rule, live_strikes: int, never_ban: NeverBan) -> tuple[Decision, ...] | Spared:
    """What the rule's action means for this alert.

    `live_strikes` counts the entity's earlier strikes under this rule that are not yet forgotten. One decision as a
    rule; several where the client's IPv6 network holds protected addresses and is split around them. The caller must
    apply the never-ban set again wherever decisions are enforced, since it may have grown.
    """
    scope, value = _entity(alert, rule)
    if not rule.action.type.is_enforced or scope not in {Scope.IP, Scope.RANGE}:
        return (_decision(alert, rule, scope, value, live_strikes),)
    net = network(value)
    parts = never_ban.carve(net)
    if not parts:
        return _spared(alert, rule, scope, value, never_ban.overlaps(net) if parts is not None else None)
    if len(parts) == 1:
        return (_decision(alert, rule, scope, value, live_strikes),)
    return tuple(_decision(alert, rule, Scope.RANGE, str(part), live_strikes) for part in parts)


def _entity(alert: Alert, rule: Rule) -> tuple[Scope, str]:
    value = dict(alert.key).get(rule.entity or "")
    if rule.entity == "c-ip" and value is not None:
        return (Scope.RANGE if "/" in value else Scope.IP), value
    if rule.entity == "cs-username" and value is not None:
        return Scope.USER, value
    return Scope.TENANT, alert.tenant


def _decision(alert: Alert, rule: Rule, scope: Scope, value: str, live_strikes: int) -> Decision:
    ladder = rule.action.ladder_us
    step = min(max(live_strikes, 0), len(ladder) - 1)
    length_us = ladder[step]
    return Decision(
        tenant=alert.tenant,
        scope=scope,
        value=value,
        type=rule.action.type,
        scenario=rule.name,
        rule_hash=rule.rule_hash,
        level=rule.level,
        alert_id=alert.id,
        from_us=alert.t0_us,
        until_us=None if length_us is None else alert.t1_us + length_us,
        step=step,
        decay_us=rule.action.decay_us,
        entities=alert.entities,
        shadow=rule.shadow.covers(alert.tenant, value),
        runbook=rule.action.runbook,
    )


def _spared(alert: Alert, rule: Rule, scope: Scope, value: str, entry: NeverBanEntry | None) -> Spared:
    return Spared(
        tenant=alert.tenant,
        scope=scope,
        value=value,
        type=rule.action.type,
        scenario=rule.name,
        rule_hash=rule.rule_hash,
        alert_id=alert.id,
        reason=entry.reason if entry else SPARED_WIDE,
    )
