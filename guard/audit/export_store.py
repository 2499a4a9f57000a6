"""Rows of exports and their parts, and the checkpoints that go along. Transaction first."""

import base64
import json
import re
from collections.abc import Sequence
from itertools import takewhile
from typing import Any

from sqlalchemy import Row, func, insert, select, update

from guard.audit.export_job import OPEN, Job, Part
from guard.audit.selection import Filter
from guard.catalogue import PLATFORM
from guard.db.engine import Tx
from guard.db.schema import audit_checkpoints, audit_export_jobs, audit_export_parts

ERASED = "It named a person who was erased; ask anew without the name."
MAX_CHECKPOINTS = 4096  # older ones beside an export; a log of a year has millions, and they are kept evenly spread


def add_job(tx: Tx, job: Job) -> None:
    """Insert a job."""
    values = {name: getattr(job, name) for name in Job.__dataclass_fields__}
    values |= {
        "filter": json.dumps(dict(job.filter.given())),
        "prove": json.dumps(job.prove),
        "root": base64.b64encode(job.root).decode("ascii"),
    }
    tx.execute(insert(audit_export_jobs).values(**values))


def update_job(tx: Tx, job: Job) -> None:
    """Store what a step changed."""
    names = ("state", "matched", "detail", "manifest", "sha256", "changed_us")
    here = audit_export_jobs.c.id == job.id
    tx.execute(update(audit_export_jobs).where(here).values({name: getattr(job, name) for name in names}))


def find_job(tx: Tx, tenant: str, export: str) -> Job | None:
    """The export of this id, if it is this tenant's."""
    here = (audit_export_jobs.c.tenant == tenant) & (audit_export_jobs.c.id == export)
    row = tx.execute(select(audit_export_jobs).where(here)).first()
    return None if row is None else _job(row)


def list_jobs(tx: Tx, tenant: str) -> list[tuple[Job, int]]:
    """Exports of a tenant with the number of their parts, newest first."""
    parts = select(func.count()).where(audit_export_parts.c.export == audit_export_jobs.c.id).scalar_subquery()
    here = select(audit_export_jobs, parts.label("done")).where(audit_export_jobs.c.tenant == tenant)
    newest = here.order_by(audit_export_jobs.c.created_us.desc(), audit_export_jobs.c.id.desc())
    return [(_job(row), row.done) for row in tx.execute(newest)]


def fail_open(tx: Tx, detail: str, now_us: int) -> list[str]:
    """Let every export that is at work fail: the log that it was made of has ended. Their ids."""
    here = audit_export_jobs.c.state.in_(OPEN)
    ids = list(tx.execute(select(audit_export_jobs.c.id).where(here)).scalars())
    tx.execute(update(audit_export_jobs).where(here).values(state="failed", detail=detail, changed_us=now_us))
    return ids


def forget(tx: Tx, tenant: str, subject: str, now_us: int) -> list[str]:
    """Cancel the exports that name *subject* as an actor or in their purpose, and blank the name; their ids.

    The platform's exports of this tenant, or of all, are among them; those of other tenants mean somebody else.
    """
    named = re.compile(rf"(?<!\w){re.escape(subject)}(?!\w)", re.IGNORECASE)
    here = select(audit_export_jobs).where(audit_export_jobs.c.tenant.in_([tenant, PLATFORM]))
    found = []
    for row in tx.execute(here):
        given = json.loads(row.filter)
        ours = row.tenant == tenant or given.get("tenant", tenant) == tenant
        if ours and any(named.search(str(text)) for text in (row.purpose, *given.values())):
            found.append(row.id)
    gone = {"filter": "{}", "purpose": "", "state": "cancelled", "detail": ERASED, "changed_us": now_us}
    tx.execute(update(audit_export_jobs).where(audit_export_jobs.c.id.in_(found)).values(**gone))
    return found


def known_jobs(tx: Tx) -> dict[str, tuple[str, str]]:
    """Every export: its tenant and its state."""
    rows = tx.execute(select(audit_export_jobs.c.id, audit_export_jobs.c.tenant, audit_export_jobs.c.state))
    return {row.id: (row.tenant, row.state) for row in rows}


def add_part(tx: Tx, export: str, n: int, part: Part) -> None:
    """Insert a part, whose file is durable."""
    values = {name: getattr(part, name) for name in ("first", "last", "matched", "sha256", "edge")}
    tx.execute(insert(audit_export_parts).values(export=export, n=n, bytes=part.length, **values))


def list_parts(tx: Tx, export: str) -> list[Part]:
    """The parts of an export in order, up to the first that is missing."""
    here = select(audit_export_parts).where(audit_export_parts.c.export == export)
    rows = takewhile(lambda at: at[0] == at[1].n, enumerate(tx.execute(here.order_by(audit_export_parts.c.n))))
    return [Part(row.first, row.last, row.matched, row.sha256, row.bytes, row.edge) for _, row in rows]


def older_checkpoints(tx: Tx, size: int) -> list[tuple[int, str]]:
    """(size, note) of at most 4,096 checkpoints below *size* whose notes were kept, spread evenly over them."""
    here = select(audit_checkpoints.c.size).where((audit_checkpoints.c.size < size) & (audit_checkpoints.c.note != ""))
    sizes: Sequence[int] = tx.execute(here.order_by(audit_checkpoints.c.size)).scalars().all()
    step = -(-len(sizes) // MAX_CHECKPOINTS) or 1
    return [(one, _note(tx, one)) for one in sizes[::-step][::-1]]


def _note(tx: Tx, size: int) -> str:
    found: str = tx.execute(select(audit_checkpoints.c.note).where(audit_checkpoints.c.size == size)).scalar_one()
    return found


def _job(row: Row[Any]) -> Job:
    values = {name: row._mapping[name] for name in Job.__dataclass_fields__}  # noqa: SLF001  SQLAlchemy's public name
    values |= {
        "filter": Filter(**json.loads(row.filter)),
        "prove": tuple(json.loads(row.prove)),
        "root": base64.b64decode(row.root),
    }
    return Job(**values)
