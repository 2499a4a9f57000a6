"""Rows of custody beyond the slots themselves: slots that wait for a second person, and removal. Transaction first."""

from dataclasses import dataclass

from sqlalchemy import delete, func, insert, select

from guard.db.engine import Tx
from guard.db.schema import seal_requests, seal_slots
from guard.errors import Conflict, NotFound
from guard.vault.store import SlotRow


@dataclass(frozen=True, slots=True)
class RequestRow:
    """A slot that was asked for. The wrap in `slot` is sealed once more, so that nothing opens with it alone."""

    slot: SlotRow
    replaces: str | None
    asked_by: str
    asked_us: int


def ask(tx: Tx, row: RequestRow) -> None:
    """Keep a request."""
    values = {
        "slot_id": row.slot.slot_id,
        "plugin": row.slot.plugin,
        "record": row.slot.record.decode(),
        "options": row.slot.options,
        "wrapped": row.slot.wrapped,
        "seal_version": row.slot.seal_version,
        "check_value": row.slot.check_value,
    }
    asked = {"replaces": row.replaces, "asked_by": row.asked_by, "asked_us": row.asked_us}
    tx.execute(insert(seal_requests).values(**values, **asked))


def requests(tx: Tx) -> list[RequestRow]:
    """Every request, oldest first."""
    return [
        RequestRow(
            SlotRow(
                row.slot_id,
                row.plugin,
                row.record.encode(),
                row.wrapped,
                row.seal_version,
                row.check_value,
                row.options,
                row.asked_us,
            ),
            row.replaces,
            row.asked_by,
            row.asked_us,
        )
        for row in tx.execute(select(seal_requests).order_by(seal_requests.c.asked_us, seal_requests.c.slot_id))
    ]


def take(tx: Tx, slot_id: str) -> RequestRow:
    """A request, which is gone with this transaction.

    Raises:
        NotFound: there is none.
    """
    found = next((one for one in requests(tx) if one.slot.slot_id == slot_id), None)
    if found is None:
        raise NotFound(f"Expected a request for the custody slot {slot_id}, got none; see guard custody status.")
    drop_request(tx, slot_id)
    return found


def drop_request(tx: Tx, slot_id: str) -> bool:
    """Forget a request; False where there is none."""
    return tx.execute(delete(seal_requests).where(seal_requests.c.slot_id == slot_id)).rowcount == 1


def remove(tx: Tx, slot_id: str) -> None:
    """Remove a slot.

    Raises:
        NotFound: there is none.
        Conflict: it is the last one, without which nothing could be opened again.
    """
    if not tx.execute(select(seal_slots.c.slot_id).where(seal_slots.c.slot_id == slot_id)).first():
        raise NotFound(f"Expected a custody slot, got {slot_id}; see guard custody status.")
    if tx.execute(select(func.count()).select_from(seal_slots)).scalar_one() <= 1:
        raise Conflict(f"Expected another custody slot beside {slot_id}, got none; add one before you remove the last.")
    tx.execute(delete(seal_slots).where(seal_slots.c.slot_id == slot_id))
