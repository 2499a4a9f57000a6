"""Rows of erasures. Transaction first.

Law: the subject stands in clear only while somebody has to judge the request; from its approval on the row holds the
pseudonym, which is the random id of the key that was destroyed.
"""

from sqlalchemy import insert, select, update

from guard.db.engine import Tx
from guard.db.schema import audit_erasures
from guard.wire.audit_privacy import ErasureView


def add(tx: Tx, view: ErasureView) -> None:
    """Insert an erasure."""
    tx.execute(insert(audit_erasures).values(**view.model_dump()))


def find(tx: Tx, tenant: str, erasure: str) -> ErasureView | None:
    """An erasure of this tenant."""
    here = select(audit_erasures).where(audit_erasures.c.tenant == tenant, audit_erasures.c.id == erasure)
    row = tx.execute(here).mappings().first()
    return None if row is None else ErasureView(**row)


def requested(tx: Tx, tenant: str, subject: str) -> ErasureView | None:
    """The request about this subject that waits for its approval."""
    here = (audit_erasures.c.tenant == tenant) & (audit_erasures.c.subject == subject)
    row = tx.execute(select(audit_erasures).where(here, audit_erasures.c.state == "requested")).mappings().first()
    return None if row is None else ErasureView(**row)


def listed(tx: Tx, tenant: str, limit: int) -> list[ErasureView]:
    """Erasures of this tenant, newest first."""
    here = select(audit_erasures).where(audit_erasures.c.tenant == tenant).order_by(audit_erasures.c.id.desc())
    return [ErasureView(**row) for row in tx.execute(here.limit(limit)).mappings()]


def executing(tx: Tx) -> list[tuple[str, str]]:
    """(tenant, erasure) of every erasure that is under way."""
    here = select(audit_erasures).where(audit_erasures.c.state == "executing").order_by(audit_erasures.c.id)
    return [(row.tenant, row.id) for row in tx.execute(here)]


def write(tx: Tx, view: ErasureView) -> None:
    """Store the state of an erasure."""
    tx.execute(update(audit_erasures).where(audit_erasures.c.id == view.id).values(**view.model_dump()))
