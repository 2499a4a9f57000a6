"""Rows of what each principal used of its budget in each index."""

import json
from dataclasses import dataclass

from sqlalchemy import ColumnElement, delete, insert, select, update

from guard.db.engine import Tx
from guard.db.index_schema import search_budgets
from guard.vault.budget import DAY_US, Spent

KEPT_US = 2 * DAY_US  # after it no window of a row can still run

Place = tuple[str, str, str]
"""Tenant, principal, index."""


@dataclass(frozen=True, slots=True)
class Row:
    """One principal in one index."""

    principal: str
    index: str
    spent: Spent


def find(tx: Tx, place: Place) -> Spent | None:
    """What was stored of a principal in an index."""
    text = tx.execute(select(search_budgets.c.spent).where(*_here(place))).scalar()
    return None if text is None else Spent(**json.loads(text))


def save(tx: Tx, place: Place, spent: Spent, now_us: int) -> None:
    """Store it. Where it is new, those that nobody needs any more go: the table has who searched in two days."""
    values = {"spent": json.dumps(spent.numbers()), "frozen_us": spent.frozen_us, "changed_us": now_us}
    if tx.execute(update(search_budgets).where(*_here(place)).values(**values)).rowcount == 0:
        old = (search_budgets.c.changed_us < now_us - KEPT_US, search_budgets.c.frozen_us == 0)
        tx.execute(delete(search_budgets).where(*old))
        tenant, principal, name = place
        tx.execute(insert(search_budgets).values(tenant=tenant, principal=principal, name=name, **values))


def of_tenant(tx: Tx, tenant: str, limit: int) -> list[Row]:
    """Those in use, frozen ones first, then the last changed."""
    columns = search_budgets.c
    wanted = select(search_budgets).where(columns.tenant == tenant)
    rows = tx.execute(wanted.order_by(columns.frozen_us.desc(), columns.changed_us.desc()).limit(limit))
    return [Row(row.principal, row.name, Spent(**json.loads(row.spent))) for row in rows]


def remove(tx: Tx, place: Place) -> bool:
    """Forget what a principal used; False where nothing was stored."""
    return tx.execute(delete(search_budgets).where(*_here(place))).rowcount == 1


def _here(place: Place) -> tuple[ColumnElement[bool], ...]:
    columns = search_budgets.c
    return columns.tenant == place[0], columns.principal == place[1], columns.name == place[2]
