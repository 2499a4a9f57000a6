"""Rows of alerts, decisions, streams and rejected lines."""

import json
from collections.abc import Mapping, Sequence

from sqlalchemy import func, insert, select, update

from guard.db.engine import Tx
from guard.db.schema import detect_alerts, detect_decisions, detect_rejects, detect_streams
from guard.detect.alert import Alert
from guard.detect.decide import Decision
from guard.detect.event import inert
from guard.detect.standing import Standing
from guard.wire.detect import AlertView, DecisionView, ListDecisions, RejectView, StreamView

FOREVER_US = 1 << 62
MAX_REJECTS = 1000  # kept lines of a stream; their number is counted beyond that
MAX_KEPT_BYTES = 2048
SHOWN_CHARACTERS = 200
COUNTS = ("lines", "strict", "lenient", "rejected", "matched", "repeated")


def has_alert(tx: Tx, alert_id: str) -> bool:
    """Whether the alert is stored."""
    return tx.execute(select(detect_alerts.c.id).where(detect_alerts.c.id == alert_id)).first() is not None


def add_alert(tx: Tx, alert: Alert, stream: str, level: str, phase: str, outcome: str, now_us: int) -> None:
    """Insert an alert."""
    tx.execute(
        insert(detect_alerts).values(
            id=str(alert.id),
            tenant=alert.tenant,
            stream=stream,
            rule=alert.rule,
            rule_hash=alert.rule_hash.hex(),
            level=level,
            key=json.dumps(dict(alert.key), ensure_ascii=False),
            t0_us=alert.t0_us,
            t1_us=alert.t1_us,
            peak=alert.peak,
            phase=phase,
            exact=int(alert.exact),
            outcome=outcome,
            evidence=json.dumps([eid.hex() for eid in alert.evidence]),
            created_us=now_us,
        )
    )


def extend_alert(tx: Tx, alert: Alert, phase: str) -> None:
    """An alert that lasts longer or became final."""
    here = detect_alerts.c.id == str(alert.id)
    tx.execute(
        update(detect_alerts)
        .where(here)
        .values(
            t1_us=func.max(detect_alerts.c.t1_us, alert.t1_us),
            peak=func.max(detect_alerts.c.peak, alert.peak),
            phase=phase,
            exact=int(alert.exact),
        )
    )


def settle(tx: Tx, replaced: Sequence[str], by: str) -> None:
    """Provisional alerts turned out to be part of the final alert *by*; their decisions go with them."""
    tx.execute(update(detect_alerts).where(detect_alerts.c.id.in_(replaced)).values(phase="settled"))
    tx.execute(update(detect_decisions).where(detect_decisions.c.alert_id.in_(replaced)).values(alert_id=by))


def list_alerts(tx: Tx, tenant: str, limit: int) -> list[AlertView]:
    """Alerts that are not settled by another one, newest first."""
    here = (detect_alerts.c.tenant == tenant) & (detect_alerts.c.phase != "settled")
    rows = tx.execute(select(detect_alerts).where(here).order_by(detect_alerts.c.t0_us.desc()).limit(limit))
    return [
        AlertView(
            id=row.id,
            stream=row.stream,
            rule=row.rule,
            level=row.level,
            key=", ".join(f"{name} {inert(value)}" for name, value in json.loads(row.key).items()),
            t0_us=row.t0_us,
            t1_us=row.t1_us,
            peak=row.peak,
            phase=row.phase,
            exact=bool(row.exact),
            outcome=row.outcome,
        )
        for row in rows
    ]


# decisions


def strikes(tx: Tx, decision: Decision, at_us: int) -> int:
    """Earlier decisions on the same value by the same rule that are not forgotten at *at_us*."""
    here = (
        (detect_decisions.c.tenant == decision.tenant)
        & (detect_decisions.c.scope == decision.scope.value)
        & (detect_decisions.c.value == decision.value)
        & (detect_decisions.c.rule == decision.scenario)
        & (detect_decisions.c.until_us + decision.decay_us > at_us)
        & (detect_decisions.c.state != "revoked")
    )
    found: int = tx.execute(select(func.count()).select_from(detect_decisions).where(here)).scalar_one()
    return found


def going_on(tx: Tx, decision: Decision, alert: Alert, stream: str, span_us: int) -> str | None:
    """The decided alert of the same stream whose episode *alert* goes on with, if there is one.

    An engine knows by itself what goes on; after a restart, or where a new file begins, it does not, and one attack
    would count as two.
    """
    here = (
        (detect_decisions.c.tenant == decision.tenant)
        & (detect_decisions.c.scope == decision.scope.value)
        & (detect_decisions.c.value == decision.value)
        & (detect_decisions.c.rule == decision.scenario)
        & (detect_alerts.c.rule_hash == alert.rule_hash.hex())
        & (detect_alerts.c.stream == stream)
        & (detect_alerts.c.t1_us >= alert.t0_us - span_us)
        & (detect_alerts.c.t0_us <= alert.t1_us + span_us)
    )
    joined = detect_decisions.join(detect_alerts, detect_decisions.c.alert_id == detect_alerts.c.id)
    found: str | None = tx.execute(select(detect_alerts.c.id).select_from(joined).where(here).limit(1)).scalar()
    return found


def add_decision(tx: Tx, decision_id: str, decision: Decision, created_by: str, now_us: int) -> None:
    """Insert a decision of a rule."""
    tx.execute(
        insert(detect_decisions).values(
            id=decision_id,
            tenant=decision.tenant,
            scope=decision.scope.value,
            value=decision.value,
            type=decision.type.value,
            rule=decision.scenario,
            origin="guard",
            step=decision.step,
            shadow=int(decision.shadow),
            from_us=decision.from_us,
            until_us=FOREVER_US if decision.until_us is None else decision.until_us,
            alert_id=str(decision.alert_id),
            state="active",
            created_by=created_by,
            reason="",
            created_us=now_us,
        )
    )


def add_manual(tx: Tx, tenant: str, view: DecisionView, now_us: int) -> None:
    """Insert a decision made by hand."""
    values = view.model_dump(exclude={"alert", "shadow"})
    tx.execute(
        insert(detect_decisions).values(
            tenant=tenant, alert_id=None, shadow=int(view.shadow), created_us=now_us, **values
        )
    )


def prolong(tx: Tx, alert_id: str, by_us: int) -> int:
    """An episode lasts longer: its decisions end *by_us* after its last event, if that is later."""
    here = (detect_decisions.c.alert_id == alert_id) & (detect_decisions.c.until_us < by_us)
    return tx.execute(update(detect_decisions).where(here).values(until_us=by_us)).rowcount


def decided(tx: Tx, alert_id: str) -> int | None:
    """The ladder step of the decision for this alert, or None."""
    here = detect_decisions.c.alert_id == alert_id
    found: int | None = tx.execute(select(detect_decisions.c.step).where(here).limit(1)).scalar()
    return found


def revoke(tx: Tx, tenant: str, decision_id: str, by: str, now_us: int) -> bool:
    """Lift a decision; False where there is none in force."""
    here = (
        (detect_decisions.c.tenant == tenant)
        & (detect_decisions.c.id == decision_id)
        & (detect_decisions.c.state == "active")
    )
    values = {"state": "revoked", "revoked_us": now_us, "revoked_by": by}
    return tx.execute(update(detect_decisions).where(here).values(**values)).rowcount == 1


def list_decisions(tx: Tx, tenant: str, wanted: ListDecisions, now_us: int) -> list[DecisionView]:
    """Decisions, newest first."""
    here = detect_decisions.c.tenant == tenant
    if wanted.active:
        here &= (detect_decisions.c.state == "active") & (detect_decisions.c.until_us > now_us)
    rows = tx.execute(
        select(detect_decisions).where(here).order_by(detect_decisions.c.created_us.desc()).limit(wanted.limit)
    )
    names = set(DecisionView.model_fields) - {"alert", "shadow", "state"}
    return [
        DecisionView(
            alert=row["alert_id"],
            shadow=bool(row["shadow"]),
            state="expired" if row["state"] == "active" and row["until_us"] <= now_us else row["state"],
            **{name: row[name] for name in names},
        )
        for row in rows.mappings()
    ]


def standing(tx: Tx, now_us: int) -> list[Standing]:
    """Everything that an enforcement point applies now."""
    here = (detect_decisions.c.state == "active") & (detect_decisions.c.shadow == 0)
    rows = tx.execute(select(detect_decisions).where(here & (detect_decisions.c.until_us > now_us)))
    return [
        Standing(row.id, row.tenant, row.scope, row.value, row.type, row.until_us)
        for row in rows
        if row.type not in {"observe", "incident"}
    ]


# streams


def count_lines(tx: Tx, tenant: str, stream: str, counts: Mapping[str, int], span: tuple[int, int] | None) -> None:
    """Add to a stream's counts and widen its span of times."""
    here = (detect_streams.c.tenant == tenant) & (detect_streams.c.stream == stream)
    row = tx.execute(select(detect_streams).where(here)).mappings().first()
    first_us, last_us = span or (None, None)
    if row is None:
        values = {name: counts[name] for name in COUNTS}
        tx.execute(
            insert(detect_streams).values(tenant=tenant, stream=stream, first_us=first_us, last_us=last_us, **values)
        )
        return
    values = {name: row[name] + counts[name] for name in COUNTS}
    if span:
        values["first_us"] = min(one for one in (row["first_us"], first_us) if one is not None)
        values["last_us"] = max(one for one in (row["last_us"], last_us) if one is not None)
    tx.execute(update(detect_streams).where(here).values(**values))


def list_streams(tx: Tx, tenant: str) -> list[StreamView]:
    """The tenant's streams by name."""
    rows = tx.execute(
        select(detect_streams).where(detect_streams.c.tenant == tenant).order_by(detect_streams.c.stream)
    ).mappings()
    names = StreamView.model_fields
    return [StreamView(**{name: row[name] for name in names}) for row in rows]


def keep_rejects(
    tx: Tx, tenant: str, stream: str, rejects: Sequence[tuple[bytes, int, str, bytes]], now_us: int
) -> None:
    """Keep lines that did not parse, for sight, up to a thousand a stream: (event id, offset, reason, line)."""
    here = (detect_rejects.c.tenant == tenant) & (detect_rejects.c.stream == stream)
    kept = tx.execute(select(func.count()).select_from(detect_rejects).where(here)).scalar_one()
    wanted = rejects[: max(MAX_REJECTS - kept, 0)]
    known = set(tx.execute(select(detect_rejects.c.eid).where(here)).scalars())
    rows = [
        {
            "eid": eid.hex(),
            "tenant": tenant,
            "stream": stream,
            "position": str(offset),
            "reason": reason,
            "line": line[:MAX_KEPT_BYTES],
            "created_us": now_us,
        }
        for eid, offset, reason, line in wanted
        if eid.hex() not in known
    ]
    if rows:
        tx.execute(insert(detect_rejects), rows)


def list_rejects(tx: Tx, tenant: str, stream: str, limit: int) -> list[RejectView]:
    """Kept lines of a stream, oldest first."""
    here = (detect_rejects.c.tenant == tenant) & (detect_rejects.c.stream == stream)
    rows = tx.execute(select(detect_rejects).where(here).order_by(detect_rejects.c.created_us).limit(limit))
    return [RejectView(position=row.position, reason=row.reason, beginning=beginning(row.line)) for row in rows]


def beginning(line: bytes) -> str:
    """The first 200 characters of a line, harmless to a terminal and a page."""
    return inert(line[:MAX_KEPT_BYTES].decode("utf-8", "backslashreplace"))[:SHOWN_CHARACTERS]
