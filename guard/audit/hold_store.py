"""Rows of legal holds. Transaction first."""

from dataclasses import dataclass

from sqlalchemy import insert, select, update

from guard.db.engine import Tx
from guard.db.schema import audit_holds
from guard.wire.audit_privacy import HoldView

STANDING = ("active", "releasing")  # a release that nobody has approved yet releases nothing
PLATFORM_WIDE = "log"


@dataclass(frozen=True, slots=True)
class Hold:
    """A hold that stands: what it covers."""

    id: str
    tenant: str
    scope: str
    target: str


def standing(tx: Tx, tenant: str | None = None) -> list[Hold]:
    """Holds that forbid deletion in a tenant, or anywhere; a hold on the log forbids it in every tenant."""
    here = select(audit_holds).where(audit_holds.c.state.in_(STANDING))
    if tenant is not None:
        here = here.where((audit_holds.c.tenant == tenant) | (audit_holds.c.scope == PLATFORM_WIDE))
    return [Hold(row.id, row.tenant, row.scope, row.target) for row in tx.execute(here.order_by(audit_holds.c.id))]


def add(tx: Tx, view: HoldView) -> None:
    """Insert a hold."""
    tx.execute(insert(audit_holds).values(**view.model_dump()))


def find(tx: Tx, tenant: str, hold: str) -> HoldView | None:
    """A hold of this tenant."""
    here = select(audit_holds).where(audit_holds.c.tenant == tenant, audit_holds.c.id == hold)
    row = tx.execute(here).mappings().first()
    return None if row is None else HoldView(**row)


def listed(tx: Tx, tenant: str, limit: int) -> list[HoldView]:
    """Holds of this tenant, newest first."""
    here = select(audit_holds).where(audit_holds.c.tenant == tenant).order_by(audit_holds.c.id.desc()).limit(limit)
    return [HoldView(**row) for row in tx.execute(here).mappings()]


def write(tx: Tx, view: HoldView) -> None:
    """Store the state of a hold."""
    tx.execute(update(audit_holds).where(audit_holds.c.id == view.id).values(**view.model_dump()))
