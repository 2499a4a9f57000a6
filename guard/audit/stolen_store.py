"""Keys that others may have: up to which size they are believed, and which secret signs receipts since.

Law: of what a stolen key signed only that is believed for which somebody else vouched before the theft: witnesses, a
time-stamp authority, the bucket with Object Lock. Our own clock and store are what is left where nobody did, and the
log says so. Earlier incarnations had the same private keys under other names, so they are stolen with it.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, func, insert, select, update

from guard.audit.checkpoint_store import log_keys
from guard.audit.note import Kind, VerifierKey
from guard.audit.signers import RECEIPT_KEY
from guard.audit.tree import EMPTY_ROOT
from guard.db.engine import Tx
from guard.db.schema import audit_anchors, audit_checkpoints, audit_cosignatures, audit_log_keys, audit_receipt_keys

OWN_STORE = "own store"
NOBODY = "nobody"


@dataclass(frozen=True, slots=True)
class Frozen:
    """Where a log whose keys were stolen ends: the last checkpoint that is believed, and who vouched for it."""

    size: int
    root: bytes
    by: str


def freeze(tx: Tx, names: Sequence[str], quorum: int, since_us: int, first: int) -> Frozen:
    """The last checkpoint of at least *first* records for which others vouched before *since_us*.

    Where nobody did, the last one that this store holds from before.
    """
    notes = {row.size: row for row in tx.execute(select(audit_checkpoints).where(audit_checkpoints.c.note != ""))}
    vouched = {size: by for size, by in _vouched(tx, names, max(quorum, 1), since_us) if size in notes}
    own = {size: OWN_STORE for size, row in notes.items() if row.time_us < since_us}
    for found in (vouched, own):
        sizes = [size for size in found if size >= first]
        if sizes:
            return Frozen(max(sizes), notes[max(sizes)].root, found[max(sizes)])
    return Frozen(0, EMPTY_ROOT, NOBODY)


def _vouched(tx: Tx, names: Sequence[str], quorum: int, since_us: int) -> list[tuple[int, str]]:
    stamps = select(audit_anchors).where(audit_anchors.c.time_us < since_us).order_by(audit_anchors.c.kind)
    found = [(row.size, row.kind) for row in tx.execute(stamps)]
    cosigned: dict[int, list[str]] = {}
    for row in tx.execute(select(audit_cosignatures).where(audit_cosignatures.c.name.in_(names))):
        if _stated_us(row.line) < since_us:
            cosigned.setdefault(row.size, []).append(row.name)
    return found + [(size, "witnesses") for size, by in cosigned.items() if len(by) >= quorum]


def _stated_us(line: str) -> int:
    """The time that a cosignature states under its signature; not when it came, which our own store says."""
    data = base64.b64decode(line.split(" ")[2])
    return int.from_bytes(data[4:12], "big") * 1_000_000


def mark(tx: Tx, origin: str, frozen: Frozen, since_us: int, now_us: int) -> list[str]:
    """The keys of the incarnation that ends sign nothing above *frozen*; their names `name+id`, which tell enough.

    A key that came after what is believed is believed for nothing but the empty log.
    """
    keys = log_keys(tx, origin)
    for row in keys:
        last = frozen.size if row.to_size is None else min(frozen.size, row.to_size)
        sizes = (row.from_size, last) if row.from_size <= last else (0, 0)
        root = frozen.root if last == frozen.size and sizes[1] else None
        here = audit_log_keys.c.vkey == row.vkey
        values = {"from_size": sizes[0], "to_size": sizes[1], "until_us": now_us, "frozen_root": root}
        tx.execute(update(audit_log_keys).where(here).values(**values, stolen_us=since_us))
    earlier = and_(audit_log_keys.c.secret.in_([row.secret for row in keys]), audit_log_keys.c.stolen_us.is_(None))
    tx.execute(update(audit_log_keys).where(earlier).values(stolen_us=since_us))
    return ["+".join(row.vkey.split("+")[:2]) for row in keys]


def publics(tx: Tx) -> frozenset[bytes]:
    """Every public Ed25519 key of the log that others may have."""
    keys = [VerifierKey.decode(row.vkey) for row in log_keys(tx) if row.stolen_us is not None]
    return frozenset(key.public for key in keys if key.kind is Kind.ED25519)


# receipts


def receipt_secret(tx: Tx) -> str:
    """The name of the secret that signs receipts."""
    here = select(audit_receipt_keys.c.secret).where(audit_receipt_keys.c.stolen_us.is_(None))
    found = tx.execute(here.order_by(audit_receipt_keys.c.from_us.desc())).scalars().first()
    return RECEIPT_KEY if found is None else str(found)


def replace_receipts(tx: Tx, old: VerifierKey, new: VerifierKey, secret: str, since_us: int, now_us: int) -> None:
    """Receipts are signed under *secret* from now on; those of *old* promise nothing any more."""
    stolen = {"vkey": old.encode(), "secret": receipt_secret(tx), "from_us": _first_us(tx), "stolen_us": since_us}
    here = audit_receipt_keys.c.stolen_us.is_(None)
    tx.execute(audit_receipt_keys.delete().where(here))
    tx.execute(insert(audit_receipt_keys).values(stolen))
    tx.execute(insert(audit_receipt_keys).values(vkey=new.encode(), secret=secret, from_us=now_us, stolen_us=None))


def _first_us(tx: Tx) -> int:
    found = tx.execute(select(func.max(audit_receipt_keys.c.from_us))).scalar()
    return int(found or 0)


def stolen_receipt_keys(tx: Tx) -> list[tuple[VerifierKey, int]]:
    """The receipt keys that others may have, each with the time since when."""
    here = select(audit_receipt_keys).where(audit_receipt_keys.c.stolen_us.is_not(None))
    return [(VerifierKey.decode(row.vkey), row.stolen_us) for row in tx.execute(here)]


def stolen_receipts(tx: Tx) -> dict[str, dict[str, Any]]:
    """The same for `ranges.json`: such a key signs no checkpoint, so it has no sizes."""
    return {
        key.encode(): {"from_size": 0, "to_size": 0, "stolen_us": since_us} for key, since_us in stolen_receipt_keys(tx)
    }
