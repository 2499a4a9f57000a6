"""What evidence needs beside records: who handled a matter, and time-stamps of checkpoints. Transaction first."""

from sqlalchemy import select

from guard.audit.search import Hit
from guard.db.engine import Tx
from guard.db.schema import audit_anchors, audit_index

HANDLING = ("evidence.create", "evidence.download")


def handling(tx: Tx, tenant: str, matter: str, readers: list[str], size: int, limit: int) -> list[Hit]:
    """The records below *size* of handling a matter of *tenant*, among those of the tenants *readers*, in order."""
    columns = audit_index.c
    named = (columns.resource == f"audit/{tenant}/evidence/{matter}") & columns.tenant.in_(readers)
    own = (columns.resource == f"audit/~/evidence/{matter}") & (columns.tenant == tenant)
    here = columns.tenant.in_({*readers, tenant}) & columns.action.in_(HANDLING) & (named | own)
    rows = tx.execute(select(audit_index).where(here & (columns.idx < size)).order_by(columns.idx).limit(limit))
    return [Hit(**row) for row in rows.mappings()]


def stamps(tx: Tx, size: int) -> dict[int, tuple[bytes, bytes]]:
    """The time-stamp over the checkpoint of this size, as size -> (exact note, RFC 3161 answer), if there is one."""
    columns = audit_anchors.c
    here = (columns.size == size) & columns.proof.is_not(None)
    row = tx.execute(select(columns.note, columns.proof).where(here).order_by(columns.kind)).first()
    return {} if row is None else {size: (row.note.encode(), row.proof)}


def last_stamped(tx: Tx) -> int | None:
    """The largest size of a checkpoint that was stamped."""
    columns = audit_anchors.c
    here = select(columns.size).where(columns.proof.is_not(None)).order_by(columns.size.desc()).limit(1)
    found: int | None = tx.execute(here).scalar()
    return found
