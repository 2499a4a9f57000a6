"""Rows of message counters: how many numbers of a key were reserved. A block is used after the commit, never before."""

from sqlalchemy import delete, insert, select, update

from guard.db.engine import Tx
from guard.db.schema import gcm_counters
from guard.errors import KeyStateConflict
from guard.vault.gcm96 import BLOCK, Block, next_block


def reserve(tx: Tx, key_id: bytes, now_us: int, size: int = BLOCK) -> Block:
    """Reserve the next block of a key in this transaction; nothing that it is used for leaves before the commit.

    Raises:
        KeyStateConflict: the key has sealed all the messages that it may, or another process reserved meanwhile.
    """
    row = gcm_counters.c.key_id == key_id
    found = tx.execute(select(gcm_counters.c.reserved).where(row)).scalar()
    block = next_block(found or 0, size)
    if found is None:
        tx.execute(insert(gcm_counters).values(key_id=key_id, reserved=block.end, changed_us=now_us))
        return block
    # Compare and swap: a database that lets two writers read first must not give both the same block.
    swap = (
        update(gcm_counters).where(row, gcm_counters.c.reserved == found).values(reserved=block.end, changed_us=now_us)
    )
    if tx.execute(swap).rowcount != 1:
        raise KeyStateConflict("Another process reserved numbers of this key meanwhile; try again.")
    return block


def start_at(tx: Tx, key_id: bytes, least: int, now_us: int) -> None:
    """Count at least so many messages of a key that sealed elsewhere before; a count is never lowered."""
    if reserved(tx, key_id) < least:
        tx.execute(delete(gcm_counters).where(gcm_counters.c.key_id == key_id))
        tx.execute(insert(gcm_counters).values(key_id=key_id, reserved=least, changed_us=now_us))


def reserved(tx: Tx, key_id: bytes) -> int:
    """How many numbers of a key were ever reserved."""
    found: int | None = tx.execute(select(gcm_counters.c.reserved).where(gcm_counters.c.key_id == key_id)).scalar()
    return found or 0
