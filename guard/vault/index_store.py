"""Rows of blind indexes in guard's own store: how each version is defined, and values that are claimed as unique."""

from collections.abc import Iterable

from sqlalchemy import ColumnElement, Table, delete, func, insert, select

from guard.db.engine import Tx
from guard.db.index_schema import index_definitions, unique_claims
from guard.db.schema import index_keys

Place = tuple[str, str, int]
"""Tenant, name of the index, version."""


def add_definition(tx: Tx, place: Place, text: str) -> None:
    """Keep how a version is defined."""
    tenant, name, version = place
    tx.execute(insert(index_definitions).values(tenant=tenant, name=name, version=version, definition=text))


def list_definitions(tx: Tx) -> dict[Place, str]:
    """How every version is defined."""
    return {(row.tenant, row.name, row.version): row.definition for row in tx.execute(select(index_definitions))}


def remove_version(tx: Tx, place: Place) -> bool:
    """Remove a version with its key; False where it was gone."""
    for table in (index_definitions, index_keys):
        gone = tx.execute(delete(table).where(*_here(table, place))).rowcount
    return bool(gone == 1)


def claimant(tx: Tx, tenant: str, name: str, tokens: Iterable[tuple[int, bytes]]) -> str | None:
    """The row that claimed one of these (version, token), if any did."""
    for version, token in tokens:
        here = (*_here(unique_claims, (tenant, name, version)), unique_claims.c.token == token)
        found: str | None = tx.execute(select(unique_claims.c.row).where(*here)).scalar()
        if found is not None:
            return found
    return None


def claim(tx: Tx, tenant: str, name: str, tokens: Iterable[tuple[int, bytes]], row: str, now_us: int) -> int:
    """Let *row* claim these tokens in place of those it had; how many there are."""
    release(tx, tenant, name, row)
    values = [
        {"tenant": tenant, "name": name, "version": version, "token": token, "row": row, "created_us": now_us}
        for version, token in tokens
    ]
    tx.execute(insert(unique_claims), values)
    return len(values)


def release(tx: Tx, tenant: str, name: str, row: str) -> int:
    """Give up a row's claim; how many tokens it had."""
    claims = unique_claims.c
    return tx.execute(
        delete(unique_claims).where(claims.tenant == tenant, claims.name == name, claims.row == row)
    ).rowcount


def claims_without(tx: Tx, tenant: str, name: str, version: int) -> int:
    """How many rows have a claim, but none under *version*."""
    claims = unique_claims.c
    of_index = select(claims.row).where(claims.tenant == tenant, claims.name == name)
    newest = of_index.where(claims.version == version)
    left = of_index.where(claims.row.not_in(newest)).distinct().subquery()
    return int(tx.execute(select(func.count()).select_from(left)).scalar_one())


def drop_claims(tx: Tx, place: Place) -> None:
    """Remove the tokens of one version."""
    tx.execute(delete(unique_claims).where(*_here(unique_claims, place)))


def _here(table: Table, place: Place) -> tuple[ColumnElement[bool], ...]:
    columns = table.c
    return columns.tenant == place[0], columns.name == place[1], columns.version == place[2]
