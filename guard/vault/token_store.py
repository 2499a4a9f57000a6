"""Rows of vaulted tokens and of reveals that wait for a second person. Transaction first.

Law: a row is found by the keyed hash of a token, in its own tenant only. What is over loses its value and its index in
the same statement, so that no later key opens it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, RowMapping, Select, bindparam, delete, func, insert, or_, select, update

from guard.db.engine import Tx
from guard.db.token_schema import token_requests, vault_tokens
from guard.vault.tokens import Life
from guard.wire.tokens import IssuedView, RevealRequest

EMPTY = {"sealed": None, "value_index": None}
_T, _R = vault_tokens.c, token_requests.c


@dataclass(frozen=True, slots=True)
class TokenRow:
    """A token's row; `sealed` holds token and value under the key `dek_id`."""

    id: str
    tenant: str
    field: str
    domain: str
    index_version: int
    reference: bytes
    value_index: bytes | None
    dek_id: bytes
    sealed: str | None
    single_use: bool
    expires_us: int | None
    issued_by: str
    issued_us: int
    reveals: int = 0
    used_us: int | None = None
    revoked_us: int | None = None

    @property
    def life(self) -> Life:
        """What decides how the token stands."""
        return Life(self.sealed is not None, self.single_use, self.expires_us, self.revoked_us, self.used_us)


_NAMES = tuple(TokenRow.__slots__)
# Built once: building a statement takes longer than running it.
_ADD = insert(vault_tokens)
_BY_REFERENCE = select(vault_tokens).where(
    _T.tenant == bindparam("tenant"), _T.reference.in_(bindparam("hashes", expanding=True))
)
_BY_VALUE = select(vault_tokens).where(
    _T.tenant == bindparam("tenant"), _T.value_index.in_(bindparam("hashes", expanding=True))
)
_UNUSED = or_(_T.single_use == 0, _T.used_us.is_(None))
_USABLE = (_T.id == bindparam("row")) & _T.revoked_us.is_(None) & _T.sealed.is_not(None) & _UNUSED
_USE = update(vault_tokens).where(_USABLE).values(reveals=_T.reveals + 1, used_us=bindparam("now"))
_USE_UP = _USE.values(**EMPTY)


def add(tx: Tx, row: TokenRow) -> None:
    """Insert a token."""
    values = {name: getattr(row, name) for name in _NAMES} | {"single_use": int(row.single_use)}
    tx.execute(_ADD, values)


def by_reference(tx: Tx, tenant: str, references: Sequence[bytes]) -> TokenRow | None:
    """The row of a token, by its hash under any live version of the index key."""
    return _first(tx, _BY_REFERENCE, tenant, references)


def by_value(tx: Tx, tenant: str, indexes: Sequence[bytes]) -> TokenRow | None:
    """The row of a value's token in a domain."""
    return _first(tx, _BY_VALUE, tenant, indexes)


def set_end(tx: Tx, row: TokenRow, expires_us: int | None) -> None:
    """The token lives until then; None is for ever."""
    tx.execute(update(vault_tokens).where(_T.id == row.id).values(expires_us=expires_us))


def forget_value(tx: Tx, row: TokenRow) -> None:
    """Nobody gets this token for its value any more."""
    tx.execute(update(vault_tokens).where(_T.id == row.id).values(value_index=None))


def use(tx: Tx, row: TokenRow, now_us: int) -> bool:
    """Count a reveal; False where a one-time token was used, or any was revoked or emptied, before this."""
    return tx.execute(_USE_UP if row.single_use else _USE, {"row": row.id, "now": now_us}).rowcount == 1


def empty(tx: Tx, row: TokenRow) -> None:
    """Its value leaves the vault."""
    tx.execute(update(vault_tokens).where(_T.id == row.id).values(**EMPTY))


def revoke(tx: Tx, row: TokenRow, now_us: int) -> None:
    """Nothing opens it any more."""
    tx.execute(update(vault_tokens).where(_T.id == row.id).values(revoked_us=now_us, **EMPTY))


def sweep(tx: Tx, now_us: int, limit: int) -> int:
    """Empty rows of tokens that are over, and drop requests that are; how many tokens were."""
    over = select(_T.id).where(_T.expires_us <= now_us, _T.sealed.is_not(None)).limit(limit)
    tx.execute(delete(token_requests).where(_R.expires_us <= now_us))
    return tx.execute(update(vault_tokens).where(_T.id.in_(over)).values(**EMPTY)).rowcount


def has_expired(tx: Tx, now_us: int) -> bool:
    """Whether `sweep` has something to do."""
    over = select(_T.id).where(_T.expires_us <= now_us, _T.sealed.is_not(None)).limit(1)
    waited = select(_R.id).where(_R.expires_us <= now_us).limit(1)
    return any(tx.execute(wanted).first() is not None for wanted in (over, waited))


def listed(tx: Tx, tenant: str, field: str, limit: int, now_us: int) -> list[IssuedView]:
    """Tokens of a tenant, of one field or of all, newest first."""
    here = _T.tenant == tenant
    if field:
        here &= _T.field == field
    names = ("id", "field", "domain", "single_use", "issued_by", "issued_us", "expires_us", "reveals", "used_us")
    wanted = select(vault_tokens).where(here).order_by(_T.issued_us.desc(), _T.id.desc()).limit(limit)
    return [
        IssuedView(**{name: getattr(row, name) for name in names}, state=row.life.standing(now_us).value)
        for row in map(_row, tx.execute(wanted).mappings())
    ]


def last_issuer(tx: Tx, tenant: str, field: str, domain: str) -> str:
    """Who issued a tenant's newest token, of this domain and then field before others; "" where there is none."""
    same_field = _T.field == field
    order = ((same_field & (_T.domain == domain)).desc(), same_field.desc(), _T.issued_us.desc())
    wanted = select(_T.issued_by).where(_T.tenant == tenant).order_by(*order).limit(1)
    return str(tx.execute(wanted).scalar() or "")


def counts_of(tx: Tx, tenant: str, dek_id: bytes) -> list[tuple[str, str, int]]:
    """(field, domain, how many) of a person's values that are held."""
    held = select(_T.field, _T.domain, func.count()).where(_of(tenant, dek_id)).group_by(_T.field, _T.domain)
    return [(row[0], row[1], row[2]) for row in tx.execute(held.order_by(_T.field, _T.domain))]


def of_person(tx: Tx, tenant: str, dek_id: bytes, after: str, limit: int) -> list[TokenRow]:
    """A person's tokens whose values are held, by id."""
    wanted = select(vault_tokens).where(_of(tenant, dek_id), _T.id > after).order_by(_T.id).limit(limit)
    return [_row(row) for row in tx.execute(wanted).mappings()]


def _of(tenant: str, dek_id: bytes) -> ColumnElement[bool]:
    return (_T.tenant == tenant) & (_T.dek_id == dek_id) & _T.sealed.is_not(None)


def _first(tx: Tx, wanted: Select[tuple[object, ...]], tenant: str, hashes: Sequence[bytes]) -> TokenRow | None:
    row = tx.execute(wanted, {"tenant": tenant, "hashes": list(hashes)}).mappings().first()
    return None if row is None else _row(row)


def _row(row: RowMapping) -> TokenRow:
    return TokenRow(**(dict(row) | {"single_use": bool(row["single_use"])}))


# reveals that need a second person


def ask(tx: Tx, tenant: str, request: RevealRequest, covers: bytes) -> None:
    """Insert a request; *covers* is the hash of the ids of its tokens."""
    tx.execute(insert(token_requests).values(tenant=tenant, covers=covers, **request.model_dump()))


def asked(tx: Tx, tenant: str, asked_by: str, purpose: str, covers: bytes, now_us: int) -> RevealRequest | None:
    """The unused request of this person for exactly these tokens, an approved one before others."""
    here = (_R.tenant == tenant) & (_R.covers == covers) & (_R.purpose == purpose) & (_R.asked_by == asked_by)
    found = _requests(tx, here & _R.used_us.is_(None) & (_R.expires_us > now_us), 2)
    return next((one for one in found if one.approved_by is not None), found[0] if found else None)


def find_request(tx: Tx, tenant: str, request: str, now_us: int) -> RevealRequest | None:
    """An unused request that is not over."""
    here = (_R.tenant == tenant) & (_R.id == request) & _R.used_us.is_(None) & (_R.expires_us > now_us)
    return next(iter(_requests(tx, here, 1)), None)


def waiting(tx: Tx, tenant: str, limit: int, now_us: int) -> list[RevealRequest]:
    """Requests that nobody has approved yet, newest first."""
    here = (_R.tenant == tenant) & _R.approved_by.is_(None) & _R.used_us.is_(None) & (_R.expires_us > now_us)
    return _requests(tx, here, limit)


def approve(tx: Tx, request: str, approved_by: str, expires_us: int) -> None:
    """Somebody else agrees, until then."""
    values = {"approved_by": approved_by, "expires_us": expires_us}
    tx.execute(update(token_requests).where(_R.id == request).values(**values))


def use_request(tx: Tx, request: str, now_us: int) -> bool:
    """An approval is for one reveal; False where it was used before."""
    here = (_R.id == request) & _R.used_us.is_(None)
    return tx.execute(update(token_requests).where(here).values(used_us=now_us)).rowcount == 1


def _requests(tx: Tx, here: object, limit: int) -> list[RevealRequest]:
    names = RevealRequest.model_fields
    wanted = select(*(_R[name] for name in names)).where(here).order_by(_R.id.desc()).limit(limit)  # type: ignore[arg-type]
    return [RevealRequest(**row) for row in tx.execute(wanted).mappings()]
