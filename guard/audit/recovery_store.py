"""Rows of a log that is put together again from copies: its tail, the last checkpoint, its keys. Transaction first."""

from collections.abc import Iterable, Sequence

from sqlalchemy import delete, func, insert, select, update

from guard.audit import archive_store, checkpoint_store, store
from guard.audit.checkpoint import Head
from guard.audit.checkpoint_store import KeyRow
from guard.audit.note import VerifierKey
from guard.db.engine import Tx
from guard.db.schema import audit_archive, audit_entries, audit_head, audit_log_keys


def is_empty(tx: Tx) -> bool:
    """Whether the store holds no log at all."""
    return not any(tx.execute(select(func.count()).select_from(one)).scalar() for one in (audit_head, audit_entries))


def put_log(tx: Tx, origin: str, start: int, tail: Sequence[bytes], signed: Head, note: str) -> None:
    """The tail of a log whose records below *start* are in files and copied, and its signed checkpoint."""
    archive_store.create(tx, origin)
    here = audit_archive.c.origin == origin
    tx.execute(update(audit_archive).where(here).values(archived_size=start, copied=start))
    for index, entry in enumerate(tail, start):
        tx.execute(insert(audit_entries).values(idx=index, entry=entry))
    store.add_checkpoint(tx, signed, note)


def put_keys(tx: Tx, origin: str, old: Iterable[VerifierKey], size: int, now_us: int) -> list[str]:
    """The log had these keys up to *size*; those of this store sign from there on. The vkeys of the latter."""
    fresh = [row for row in checkpoint_store.log_keys(tx) if row.to_size is None]
    tx.execute(delete(audit_log_keys).where(audit_log_keys.c.to_size.is_(None)))
    for key in old:
        checkpoint_store.add_log_key(tx, KeyRow(key.encode(), "", 0, size, now_us), now_us)
    vkeys = []
    for row in fresh:
        known = VerifierKey.decode(row.vkey)
        vkeys.append(VerifierKey(origin, known.kind, known.public).encode())
        checkpoint_store.add_log_key(tx, KeyRow(vkeys[-1], row.secret, size, None, None), now_us)
    return vkeys
