"""Rows of plan versions, incidents, runs, their events and their commands."""

import json
from collections.abc import Sequence

from sqlalchemy import insert, select, update

from guard.db.engine import Tx
from guard.db.schema import incidents, plan_versions, run_commands, run_events, runs
from guard.runbook import events as ev
from guard.runbook.incident import OPEN, Incident, IncidentKind, IncidentState, Severity
from guard.wire.runbook import IncidentView, RunSummary


def keep_plan(tx: Tx, sha256: str, plan: str, document: str, now_us: int) -> None:
    """Store a plan's text under its hash, once."""
    if tx.execute(select(plan_versions.c.sha256).where(plan_versions.c.sha256 == sha256)).first() is None:
        tx.execute(insert(plan_versions).values(sha256=sha256, plan=plan, document=document, created_us=now_us))


def plan_text(tx: Tx, sha256: str) -> str | None:
    """The text that a run pinned."""
    found: str | None = tx.execute(select(plan_versions.c.document).where(plan_versions.c.sha256 == sha256)).scalar()
    return found


# incidents


def add_incident(tx: Tx, tenant: str, incident: Incident, title: str, opened_by: str, now_us: int) -> None:
    """Insert an incident."""
    tx.execute(
        insert(incidents).values(
            id=incident.id,
            tenant=tenant,
            kind=incident.kind.value,
            severity=int(incident.severity),
            state=incident.state.value,
            title=title,
            dedupe_key=incident.dedupe_key or None,
            triggers=incident.occurrences,
            opened_by=opened_by,
            opened_us=now_us,
            changed_us=now_us,
            version=incident.version,
        )
    )


def save_incident(tx: Tx, tenant: str, incident: Incident, now_us: int) -> bool:
    """Store the next version of an incident; False where somebody else wrote it meanwhile."""
    here = (
        (incidents.c.tenant == tenant) & (incidents.c.id == incident.id) & (incidents.c.version == incident.version - 1)
    )
    values = {
        "severity": int(incident.severity),
        "state": incident.state.value,
        "triggers": incident.occurrences,
        "version": incident.version,
    }
    return tx.execute(update(incidents).where(here).values(changed_us=now_us, **values)).rowcount == 1


def find_incident(tx: Tx, tenant: str, incident_id: str) -> Incident | None:
    """An incident of this tenant."""
    here = (incidents.c.tenant == tenant) & (incidents.c.id == incident_id)
    return next(iter(_incidents(tx, here)), None)


def open_incidents(tx: Tx, tenant: str, dedupe_key: str) -> list[Incident]:
    """Open incidents with this key."""
    states = [state.value for state in OPEN]
    here = (incidents.c.tenant == tenant) & (incidents.c.dedupe_key == dedupe_key) & incidents.c.state.in_(states)
    return _incidents(tx, here)


def incident_views(tx: Tx, tenant: str, limit: int, incident_id: str | None = None) -> list[IncidentView]:
    """Incidents with the ids of their runs, newest first."""
    here = incidents.c.tenant == tenant
    if incident_id is not None:
        here &= incidents.c.id == incident_id
    rows = tx.execute(select(incidents).where(here).order_by(incidents.c.opened_us.desc()).limit(limit)).all()
    found: dict[str, list[str]] = {row.id: [] for row in rows}
    for run in tx.execute(
        select(runs.c.id, runs.c.incident).where(runs.c.incident.in_(found)).order_by(runs.c.started_us)
    ):
        found[run.incident].append(run.id)
    return [
        IncidentView(
            id=row.id,
            kind=row.kind,
            severity=row.severity,
            state=row.state,
            title=row.title,
            occurrences=row.triggers,
            opened_by=row.opened_by,
            opened_us=row.opened_us,
            changed_us=row.changed_us,
            version=row.version,
            runs=found[row.id],
        )
        for row in rows
    ]


def _incidents(tx: Tx, here: object) -> list[Incident]:
    rows = tx.execute(select(incidents).where(here))  # type: ignore[arg-type]
    return [
        Incident(
            row.id,
            IncidentKind(row.kind),
            Severity(row.severity),
            IncidentState(row.state),
            row.dedupe_key or "",
            row.triggers,
            "",
            row.version,
        )
        for row in rows
    ]


# runs


def add_run(tx: Tx, tenant: str, summary: RunSummary, plan_sha256: str) -> None:
    """Insert a run before its first event."""
    values = summary.model_dump(exclude={"run"})
    tx.execute(insert(runs).values(id=summary.run, tenant=tenant, plan_sha256=plan_sha256, due_us=None, **values))


def save_run(tx: Tx, run: str, old_version: int, version: int, state: str, due_us: int | None, now_us: int) -> bool:
    """Move a run on from *old_version*; False where somebody else did meanwhile."""
    here = (runs.c.id == run) & (runs.c.version == old_version)
    values = {"version": version, "state": state, "due_us": due_us, "changed_us": now_us}
    return tx.execute(update(runs).where(here).values(**values)).rowcount == 1


def find_run(tx: Tx, tenant: str, run: str) -> tuple[RunSummary, str] | None:
    """A run of this tenant and the hash of its plan."""
    row = tx.execute(select(runs).where((runs.c.tenant == tenant) & (runs.c.id == run))).mappings().first()
    return None if row is None else (_summary(dict(row)), row["plan_sha256"])


def list_runs(tx: Tx, tenant: str, limit: int) -> list[RunSummary]:
    """Runs, newest first."""
    rows = tx.execute(select(runs).where(runs.c.tenant == tenant).order_by(runs.c.started_us.desc()).limit(limit))
    return [_summary(dict(row)) for row in rows.mappings()]


def due_runs(tx: Tx) -> list[tuple[str, str, int]]:
    """(tenant, run, due time) of every run that waits for a time or has an automatic step to do."""
    wanted = select(runs.c.tenant, runs.c.id, runs.c.due_us).where(runs.c.due_us.is_not(None))
    return [(row.tenant, row.id, row.due_us) for row in tx.execute(wanted)]


def append_events(tx: Tx, run: str, events: Sequence[ev.AnyEvent], ids: Sequence[str], now_us: int) -> None:
    """Append events to a run's hash chain."""
    before = select(run_events.c.hash).where(run_events.c.run == run).order_by(run_events.c.seq.desc()).limit(1)
    previous = tx.execute(before).scalar() or ev.GENESIS
    for event, event_id in zip(events, ids, strict=True):
        row = ev.row(run, event_id, event, now_us, previous)
        tx.execute(
            insert(run_events).values(
                run=run,
                seq=row.seq,
                event_id=row.event_id,
                type=row.type,
                actor=row.actor,
                at_us=row.at_us,
                recorded_us=row.recorded_at_us,
                command_id=row.command_id,
                payload=json.dumps(row.payload, ensure_ascii=False),
                prev_hash=row.prev_hash,
                hash=row.hash,
            )
        )
        previous = row.hash


def read_events(tx: Tx, run: str) -> list[ev.EventRow]:
    """All events of a run in order, their chain verified.

    Raises:
        VerificationFailed: a row is missing or was changed; the message names it.
    """
    rows = [
        ev.EventRow(
            run_id=row.run,
            seq=row.seq,
            event_id=row.event_id,
            type=row.type,
            actor=row.actor,
            at_us=row.at_us,
            recorded_at_us=row.recorded_us,
            command_id=row.command_id,
            payload=json.loads(row.payload),
            prev_hash=row.prev_hash,
            hash=row.hash,
        )
        for row in tx.execute(select(run_events).where(run_events.c.run == run).order_by(run_events.c.seq))
    ]
    ev.verify_chain(rows)
    return rows


def find_command(tx: Tx, run: str, command_id: str) -> str | None:
    """The hash that was kept of a command, or None."""
    here = (run_commands.c.run == run) & (run_commands.c.command_id == command_id)
    found: str | None = tx.execute(select(run_commands.c.body_sha256).where(here)).scalar()
    return found


def keep_command(tx: Tx, run: str, command_id: str, body_sha256: str) -> None:
    """Remember a command, so that its repetition is known."""
    tx.execute(insert(run_commands).values(run=run, command_id=command_id, body_sha256=body_sha256))


def _summary(row: dict[str, object]) -> RunSummary:
    names = set(RunSummary.model_fields) - {"run"}
    return RunSummary.model_validate({"run": row["id"], **{name: row[name] for name in names}})
