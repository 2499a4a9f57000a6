"""Rows of what is planted. Transaction first. Law: a row holds a mark, by which nobody finds what is planted."""

from sqlalchemy import insert, select, update

from guard.db.engine import Tx
from guard.db.token_schema import honeys
from guard.wire.honey import HoneyView

_C = honeys.c


def add(tx: Tx, tenant: str, view: HoneyView, mark: bytes) -> None:
    """Insert what was planted."""
    tx.execute(insert(honeys).values(tenant=tenant, mark=mark, removed_us=None, **view.model_dump()))


def marks(tx: Tx) -> list[tuple[str, bytes]]:
    """Tenants and marks of all that stands planted."""
    wanted = select(_C.tenant, _C.mark).where(_C.removed_us.is_(None))
    return [(row.tenant, row.mark) for row in tx.execute(wanted)]


def find(tx: Tx, tenant: str, mark: bytes) -> HoneyView | None:
    """What stands planted under a mark."""
    return next(iter(_views(tx, (_C.tenant == tenant) & (_C.mark == mark), 1)), None)


def listed(tx: Tx, tenant: str, limit: int) -> list[HoneyView]:
    """What stands planted, newest first."""
    return _views(tx, _C.tenant == tenant, limit)


def remove(tx: Tx, tenant: str, honey: str, now_us: int) -> bool:
    """Watch it no more; False where there is no such thing."""
    here = (_C.tenant == tenant) & (_C.id == honey) & _C.removed_us.is_(None)
    return tx.execute(update(honeys).where(here).values(removed_us=now_us)).rowcount == 1


def _views(tx: Tx, here: object, limit: int) -> list[HoneyView]:
    names = HoneyView.model_fields
    wanted = select(*(_C[name] for name in names)).where(here, _C.removed_us.is_(None))  # type: ignore[arg-type]
    return [HoneyView(**row) for row in tx.execute(wanted.order_by(_C.id.desc()).limit(limit)).mappings()]
