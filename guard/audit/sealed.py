"""The sealed values beside the log: written with their record, opened by right, deleted by erasure or by time.

Law: a value is written in the transaction of the record that commits to it. What is due is known to the store; what is
held in memory (erasures under way, the next expiry) is only when to look, so a restart forgets nothing.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from guard.audit import erasure_store, hold_store, sealed_store
from guard.audit.personal import IV_BYTES, committed, parted, seal, unseal
from guard.audit.sealed_store import SealedRow
from guard.catalogue import PLATFORM
from guard.db.engine import Tx
from guard.db.entry import Entry
from guard.errors import Erased, StoreDamaged

DAY_US = 86_400_000_000
SECOND_US = 1_000_000


class Keys(Protocol):
    """Keys of subjects and of days. The vault keeps them and `app` hands them over, since no room knows another."""

    def obtain(self, tx: Tx, tenant: str, subject: str, now_us: int) -> tuple[str, bytes]:
        """Id and 32-byte key of a subject, or of the day where it is empty; made at first use."""
        ...

    def find(self, tx: Tx, tenant: str, subject: str) -> str | None:
        """The id of a subject's key, if it has one."""
        ...

    def open(self, tx: Tx, tenant: str, key_id: str) -> bytes:
        """A key by its id; raises Erased where it was destroyed."""
        ...

    def destroy(self, tx: Tx, tenant: str, key_id: str, now_us: int) -> bool:
        """Destroy a key; False where it was destroyed before."""
        ...

    def marks(self, key_id: str) -> tuple[bytes, bytes]:
        """What begins each value sealed under a key, and what begins the key's own wrap."""
        ...


Opened = tuple[str, list[tuple[str, bytes, Any]]]
"""The id of a key, and field, nonce and value of what it opened."""


class SealedValues:
    """What the operations on personal values work on."""

    def __init__(self, keys: Keys, random: Callable[[int], bytes], keep_days: int) -> None:
        self.keys = keys
        self._random = random
        self._keep_us = keep_days * DAY_US
        self._erasures: Mapping[str, tuple[str, int]] = {}  # erasure -> tenant, not before
        self._expiry_us: int | None = None

    def load(self, tx: Tx) -> None:
        """Remember which erasures are under way and when the next value expires."""
        self._erasures = {erasure: (tenant, 0) for tenant, erasure in erasure_store.executing(tx)}
        self._expiry_us = sealed_store.next_expiry(tx)

    def write(self, tx: Tx, entries: Sequence[Entry]) -> None:
        """Seal what *entries* commit to, in their transaction; a group opens each key once."""
        opened: dict[tuple[str, str], tuple[str, bytes]] = {}
        rows = []
        for entry in entries:
            for one in entry.personal:
                place = (one.tenant, one.subject)
                if place not in opened:
                    opened[place] = self.keys.obtain(tx, *place, entry.time_us)
                key_id, key = opened[place]
                mark, iv = self.keys.marks(key_id)[0], self._random(IV_BYTES)
                value = seal(key, mark, iv, (entry.id, one.field), one.value)
                rows.append(SealedRow(entry.id, one.field, one.tenant, key_id, value, entry.time_us + self._keep_us))
        sealed_store.add(tx, rows)
        # Of a group that is rolled back this is early, which costs a look and loses nothing.
        self.expect_expiry(min(filter(None, [self._expiry_us, rows[0].expires_us])))

    def opened(self, tx: Tx, record_id: str, commitments: Mapping[str, str]) -> Opened:
        """The values of a record.

        Raises:
            Erased: they were erased or have expired.
            StoreDamaged: a value is not the one that the record commits to.
        """
        rows = sealed_store.of_record(tx, record_id)
        if {row.field for row in rows} != commitments.keys():
            raise Erased("The values of this record were erased or have expired; the record itself stands.")
        found = []
        for row in rows:
            text = unseal(self.keys.open(tx, row.tenant, row.key_id), (record_id, row.field), row.sealed)
            if committed(text) != commitments[row.field]:
                raise StoreDamaged(f"Expected the value of {row.field} that its record commits to, got another.")
            found.append((row.field, *parted(text)))
        return rows[0].key_id, found

    def held(self, tx: Tx, tenant: str, subject: str) -> str | None:
        """The id of a legal hold that covers a subject or one of its values, for other rooms that delete."""
        key_id = self.keys.find(tx, tenant, subject)
        return sealed_store.covering(tx, tenant, key_id or "", hold_store.standing(tx, tenant))

    # when to look

    def start(self, erasure: str, tenant: str, not_before_us: int = 0) -> None:
        """An erasure is under way; look at it from then on."""
        self._erasures = {**self._erasures, erasure: (tenant, not_before_us)}

    def finish(self, erasure: str) -> None:
        """An erasure is done."""
        self._erasures = {one: when for one, when in self._erasures.items() if one != erasure}

    def erasures_due(self, now_us: int) -> Iterable[tuple[str, Mapping[str, Any]]]:
        """Which erasures to carry on now."""
        return [(tenant, {"erasure": one}) for one, (tenant, from_us) in self._erasures.items() if from_us <= now_us]

    def expect_expiry(self, at_us: int | None) -> None:
        """When the next value expires."""
        self._expiry_us = at_us

    def expiry_due(self, now_us: int) -> Iterable[tuple[str, Mapping[str, Any]]]:
        """Whether values expire now."""
        return [(PLATFORM, {})] if self._expiry_us is not None and self._expiry_us <= now_us else []
