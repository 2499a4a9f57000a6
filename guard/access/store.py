"""Rows of tenants, tokens and grants. Functions take the transaction first; no row leaves this file."""

from dataclasses import dataclass
from functools import cached_property

from sqlalchemy import func, insert, select, update

from guard.access.policy import Grant
from guard.catalogue import Actor
from guard.db.engine import Tx
from guard.db.schema import grants, meta, tenants, tokens
from guard.wire.access import GrantView, TenantView, TokenView

VERSION = "access_version"


@dataclass(frozen=True)
class StoredToken:
    """A token as it is kept: its MAC, never its value."""

    handle: str
    kind: str
    tenant: str
    subject: str
    mac: bytes
    expires_us: int

    @cached_property
    def actor(self) -> Actor:
        """Whom the token stands for."""
        return Actor(self.subject, self.tenant, self.kind, self.handle)


def add_tenant(tx: Tx, tenant: str, title: str, now_us: int) -> None:
    """Insert a tenant; a duplicate raises the database's IntegrityError, so ask `has_tenant` first."""
    tx.execute(insert(tenants).values(tenant=tenant, title=title, created_us=now_us))


def has_tenant(tx: Tx, tenant: str) -> bool:
    """Whether the tenant exists."""
    return tx.execute(select(tenants.c.tenant).where(tenants.c.tenant == tenant)).first() is not None


def list_tenants(tx: Tx) -> list[TenantView]:
    """All tenants by name."""
    rows = tx.execute(select(tenants).order_by(tenants.c.tenant))
    return [TenantView(tenant=row.tenant, title=row.title, created_us=row.created_us) for row in rows]


def add_token(tx: Tx, token: StoredToken, note: str, created_by: str, now_us: int) -> None:
    """Insert a token's handle and MAC."""
    tx.execute(
        insert(tokens).values(
            handle=token.handle,
            kind=token.kind,
            tenant=token.tenant,
            subject=token.subject,
            mac=token.mac,
            pepper_version=1,
            note=note,
            created_by=created_by,
            created_us=now_us,
            expires_us=token.expires_us,
        )
    )


def revoke_token(tx: Tx, tenant: str, handle: str, now_us: int) -> bool:
    """Mark a live token of *tenant* revoked; False where there is none."""
    live = (tokens.c.tenant == tenant) & (tokens.c.handle == handle) & tokens.c.revoked_us.is_(None)
    return tx.execute(update(tokens).where(live).values(revoked_us=now_us)).rowcount == 1


def list_tokens(tx: Tx, tenant: str, limit: int) -> list[TokenView]:
    """Tokens of *tenant*, newest first."""
    rows = tx.execute(select(tokens).where(tokens.c.tenant == tenant).order_by(tokens.c.created_us.desc()).limit(limit))
    return [
        TokenView(
            handle=row.handle,
            kind=row.kind,
            subject=row.subject,
            note=row.note,
            created_by=row.created_by,
            created_us=row.created_us,
            expires_us=row.expires_us,
            revoked_us=row.revoked_us,
        )
        for row in rows
    ]


def live_tokens(tx: Tx, now_us: int) -> list[StoredToken]:
    """Every token that could still be used."""
    usable = tokens.c.revoked_us.is_(None) & (tokens.c.expires_us > now_us)
    return [
        StoredToken(row.handle, row.kind, row.tenant, row.subject, row.mac, row.expires_us)
        for row in tx.execute(select(tokens).where(usable))
    ]


def add_grant(tx: Tx, grant: Grant, created_by: str, now_us: int) -> None:
    """Insert a grant."""
    tx.execute(
        insert(grants).values(
            id=grant.id,
            tenant=grant.tenant,
            member=grant.member,
            role=grant.role,
            created_by=created_by,
            created_us=now_us,
            expires_us=grant.expires_us,
        )
    )


def find_grant(tx: Tx, tenant: str, grant_id: str) -> Grant | None:
    """A live grant of *tenant* by id."""
    here = (grants.c.tenant == tenant) & (grants.c.id == grant_id) & grants.c.removed_us.is_(None)
    row = tx.execute(select(grants).where(here)).first()
    return None if row is None else Grant(row.id, row.tenant, row.member, row.role, row.expires_us)


def remove_grant(tx: Tx, grant_id: str, removed_by: str, now_us: int) -> None:
    """Mark a grant removed; the row stays as history."""
    tx.execute(update(grants).where(grants.c.id == grant_id).values(removed_by=removed_by, removed_us=now_us))


def live_grants(tx: Tx, now_us: int) -> list[Grant]:
    """Every grant that holds now or later."""
    live = grants.c.removed_us.is_(None) & (grants.c.expires_us.is_(None) | (grants.c.expires_us > now_us))
    rows = tx.execute(select(grants).where(live).order_by(grants.c.created_us, grants.c.id))
    return [Grant(row.id, row.tenant, row.member, row.role, row.expires_us) for row in rows]


def list_grants(tx: Tx, tenant: str, limit: int, now_us: int) -> list[GrantView]:
    """Live grants of *tenant*, oldest first."""
    live = grants.c.removed_us.is_(None) & (grants.c.expires_us.is_(None) | (grants.c.expires_us > now_us))
    here = select(grants).where(live & (grants.c.tenant == tenant)).order_by(grants.c.created_us).limit(limit)
    return [
        GrantView(
            id=row.id,
            member=row.member,
            role=row.role,
            created_by=row.created_by,
            created_us=row.created_us,
            expires_us=row.expires_us,
        )
        for row in tx.execute(here)
    ]


def next_version(tx: Tx) -> int:
    """Raise the policy version by one, in the transaction of the change it numbers."""
    current = tx.execute(select(func.max(meta.c.value)).where(meta.c.name == VERSION)).scalar()
    if current is None:
        tx.execute(insert(meta).values(name=VERSION, value="1"))
        return 1
    tx.execute(update(meta).where(meta.c.name == VERSION).values(value=str(int(current) + 1)))
    return int(current) + 1


def version(tx: Tx) -> int:
    """The current policy version; 0 before the first change."""
    current = tx.execute(select(meta.c.value).where(meta.c.name == VERSION)).scalar()
    return 0 if current is None else int(current)
