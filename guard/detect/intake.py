"""From a piece of a log to stored alerts, decisions and incidents.

Law: lines in = strict + lenient + rejected, on every piece; an alert is stored once, whoever reads the log again; the
decision for it is made when it is first stored and prolonged while its episode lasts.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from uuid import UUID

from guard.catalogue import Actor, Context
from guard.detect import store
from guard.detect.alert import AlertChange
from guard.detect.decide import Decision, Spared, decide
from guard.detect.engine import Engine
from guard.detect.event import Event, Fields, LineIds, Parse, event_of
from guard.detect.formats import Rejected
from guard.detect.rules import Rule
from guard.detect.watch import Watch
from guard.errors import GuardError

Parser = Callable[[bytes], Fields | Rejected]
SEVERITY = {"critical": 2, "high": 3}
LOWEST_SEVERITY = 4


@dataclass(slots=True)
class Read:
    """Lines as read: parsed ones as (offset, fields, line), rejected ones as (number, offset, reason, line)."""

    lines: int = 0
    strict: int = 0
    lenient: int = 0
    parsed: list[tuple[int, Fields, bytes]] = field(default_factory=list)
    rejects: list[tuple[int, int, str, bytes]] = field(default_factory=list)

    @property
    def span(self) -> tuple[int, int] | None:
        """First and last time; None where no line parsed."""
        times = [fields.ts for _, fields, _ in self.parsed]
        return (min(times), max(times)) if times else None


def read(data: bytes, parse: Parser) -> Read:
    """Parse whole lines; offsets count from the beginning of *data*."""
    found = Read()
    offset = 0
    # Only LF ends a line: splitlines() would also split at bytes that an attacker puts into a request.
    for line in data.split(b"\n")[:-1]:
        found.lines += 1
        fields = parse(line)
        if isinstance(fields, Rejected):
            found.rejects.append((found.lines, offset, fields.reason.value, line))
        else:
            found.strict += fields.parse is Parse.STRICT
            found.lenient += fields.parse is Parse.LENIENT
            found.parsed.append((offset, fields, line))
        offset += len(line) + 1
    return found


def feed(
    engine: Engine, tenant: str, stream: str, fingerprint: bytes, offset: int, found: Read, now_us: int
) -> dict[str, int]:
    """Give parsed lines to the engine; how many matched a rule, came again, or came too late."""
    ids = LineIds(tenant, stream, fingerprint)
    before = engine.counts.get((tenant, stream))
    events: list[Event] = [
        event_of(ids.at(offset + at, line), tenant, stream, fields) for at, fields, line in found.parsed
    ]
    engine.feed(events, now_us)
    after = engine.counts.get((tenant, stream))
    if after is None:
        return {"matched": 0, "repeated": 0, "late": 0}
    old = (before.matched, before.duplicate, before.late) if before else (0, 0, 0)
    return {
        "matched": after.matched - old[0],
        "repeated": after.duplicate - old[1],
        "late": after.late - old[2],
    }


def rejected(
    tenant: str, stream: str, fingerprint: bytes, offset: int, found: Read
) -> list[tuple[bytes, int, str, bytes]]:
    """Rejected lines with their ids, so that reading them again keeps none twice."""
    ids = LineIds(tenant, stream, fingerprint)
    return [(ids.at(offset + at, line), offset + at, reason, line) for _, at, reason, line in found.rejects]


def settle(ctx: Context, watch: Watch, stream: str, change: AlertChange, runbook: Actor) -> dict[str, int]:
    """Store one piece of news and what follows from it; counts of what is new."""
    alert, rule, phase = change.alert, watch.rules[change.alert.rule_hash], change.stage.value
    if change.replaces:
        store.settle(ctx.tx, [str(one) for one in change.replaces], str(alert.id))
    if store.has_alert(ctx.tx, str(alert.id)):
        return _last(ctx, rule, change)
    verdict = decide(alert, rule, 0, watch.never_ban)
    if isinstance(verdict, Spared):
        store.add_alert(ctx.tx, alert, stream, rule.level, phase, f"spared: {verdict.reason}", ctx.now_us)
        return {"alerts": 1, "spared": 1}
    if store.decided(ctx.tx, str(alert.id)) is not None:  # it took over the decision of a provisional alert
        store.add_alert(ctx.tx, alert, stream, rule.level, phase, _outcome(verdict[0]), ctx.now_us)
        return _last(ctx, rule, change)
    earlier = store.going_on(ctx.tx, verdict[0], alert, stream, rule.ir["window"]["span_us"])
    if earlier is not None:
        return _last(ctx, rule, replace(change, alert=replace(alert, id=UUID(earlier))))
    return _act(ctx, watch, stream, change, store.strikes(ctx.tx, verdict[0], alert.t1_us), runbook)


def _last(ctx: Context, rule: Rule, change: AlertChange) -> dict[str, int]:
    """A known episode goes on or became final: its decisions end later."""
    alert_id = str(change.alert.id)
    store.extend_alert(ctx.tx, change.alert, change.stage.value)
    step = store.decided(ctx.tx, alert_id)
    length_us = None if step is None else rule.action.ladder_us[min(step, len(rule.action.ladder_us) - 1)]
    if length_us is not None:
        store.prolong(ctx.tx, alert_id, change.alert.t1_us + length_us)
    return {}


def _act(ctx: Context, watch: Watch, stream: str, change: AlertChange, strikes: int, runbook: Actor) -> dict[str, int]:
    """A new episode: store it, decide, and open its incident."""
    alert, rule = change.alert, watch.rules[change.alert.rule_hash]
    verdict = decide(alert, rule, strikes, watch.never_ban)
    decisions = verdict if isinstance(verdict, tuple) else ()
    enforced = [one for one in decisions if one.type.is_enforced]
    store.add_alert(ctx.tx, alert, stream, rule.level, change.stage.value, _outcome(decisions[0]), ctx.now_us)
    for decision in enforced:
        store.add_decision(ctx.tx, ctx.new_id("dec"), decision, ctx.actor.subject, ctx.now_us)
    incidents = _incident(ctx, rule, decisions[0], runbook)
    return {"alerts": 1, "decisions": len(enforced), "incidents": incidents}


def _outcome(decision: Decision) -> str:
    if not decision.type.is_enforced:
        return "observed"
    return "shadow" if decision.shadow else "decided"


def _incident(ctx: Context, rule: Rule, decision: Decision, runbook: Actor) -> int:
    if decision.runbook is None or decision.shadow:
        return 0
    request = {
        "title": rule.title,
        "severity": SEVERITY.get(rule.level, LOWEST_SEVERITY),
        "rule": rule.name,
        "entity": decision.value,
        "plan": decision.runbook,
    }
    try:
        opened = ctx.call("incidents.open", request, runbook)
    except GuardError:
        return 0  # refused and on record; the alert and its decision stand
    return 1 if opened.occurrences == 1 else 0
