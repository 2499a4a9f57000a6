"""How far the log is copied into the bucket. Transaction first."""

from sqlalchemy import func, select, update

from guard.audit.checkpoint import Checkpoint
from guard.audit.tiles import WIDTH
from guard.db.engine import Tx
from guard.db.schema import audit_archive, audit_checkpoints


def copied(tx: Tx, origin: str) -> int:
    """Below which record every bundle and tile is in the bucket."""
    return tx.execute(select(audit_archive.c.copied).where(audit_archive.c.origin == origin)).scalar() or 0


def move(tx: Tx, origin: str, start: int, end: int) -> bool:
    """The cursor from *start* to *end*; False where it stands elsewhere."""
    here = (audit_archive.c.origin == origin) & (func.coalesce(audit_archive.c.copied, 0) == start)
    return tx.execute(update(audit_archive).where(here).values(copied=end)).rowcount == 1


def completable(tx: Tx, origin: str, end: int) -> tuple[Checkpoint, str] | None:
    """The largest signed checkpoint whose full tiles are all among the first *end* records, and its note."""
    near = (audit_checkpoints.c.size < end + WIDTH) & (audit_checkpoints.c.note != "")
    row = tx.execute(select(audit_checkpoints).where(near).order_by(audit_checkpoints.c.size.desc()).limit(1)).first()
    return None if row is None else (Checkpoint(origin, row.size, row.root), row.note)
