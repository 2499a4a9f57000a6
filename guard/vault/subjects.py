"""Keys of subjects and of days: made at first use, wrapped under the tenant's KEK, destroyed with the subject.

Law: no copy of such a key is kept between two uses, so that there is none to revoke when it is destroyed. A subject is
found by an HMAC of its id under a secret of the store, so that the table names nobody; its pseudonym is the key's
random id. A wrap begins with the complement of that id: what is left of one in a file can be found by eight bytes.
"""

import hmac
from collections.abc import Callable
from datetime import UTC, datetime

from guard.db.engine import Tx
from guard.errors import Erased, StoreDamaged
from guard.vault import store, subject_store
from guard.vault.store import KekRow
from guard.vault.subject_store import SubjectRow
from guard.vault.unsealing import Hierarchy
from guard.vault.wrap import Place, length_prefixed, unwrap, wrap

KEY_BYTES = 32
MARK_BYTES = 8  # with 2^64 ids the primary key refuses the pair that may never come
PEPPER_BYTES = 32


class SubjectKeys:
    """The keys that values in the log are sealed under. Used by the writer, or by a reader that opens."""

    def __init__(self, hierarchy: Hierarchy, pepper: bytes, random: Callable[[int], bytes]) -> None:
        self._hierarchy = hierarchy
        self._pepper = pepper
        self._random = random

    def obtain(self, tx: Tx, tenant: str, subject: str, now_us: int) -> tuple[str, bytes]:
        """Id and key of a subject, or of today where it is empty; made if there is none."""
        name = self._name(tenant, subject, now_us)
        row = subject_store.by_name(tx, tenant, name)
        if row is not None:
            return row.key_id, self._unwrap(tx, row)
        kek = self._kek(tx, tenant) or self._hierarchy.new_kek(tx, tenant, now_us)[0]
        mark, key = self._random(MARK_BYTES), self._random(KEY_BYTES)
        wrapped = wrap(self._hierarchy.open_kek(kek).expose(), place_of(kek, mark), key)
        row = SubjectRow(mark.hex(), tenant, name, kek.version, complement(mark) + wrapped)
        subject_store.add(tx, row, now_us)
        return row.key_id, key

    def find(self, tx: Tx, tenant: str, subject: str) -> str | None:
        """The id of a subject's live key."""
        row = subject_store.by_name(tx, tenant, self._name(tenant, subject, 0))
        return None if row is None else row.key_id

    def open(self, tx: Tx, tenant: str, key_id: str) -> bytes:
        """A key by its id.

        Raises:
            Erased: it was destroyed.
        """
        row = subject_store.by_id(tx, tenant, key_id)
        if row is None:
            raise Erased("The key of these values was destroyed, so nobody can open them; the record itself stands.")
        return self._unwrap(tx, row)

    def destroy(self, tx: Tx, tenant: str, key_id: str, now_us: int) -> bool:
        """Destroy a key; False where it was destroyed before. With the transaction, nothing opens under it any more."""
        return subject_store.destroy(tx, tenant, key_id, now_us)

    def marks(self, key_id: str) -> tuple[bytes, bytes]:
        """What begins each value that is sealed under a key, and what begins its wrap."""
        mark = bytes.fromhex(key_id)
        return mark, complement(mark)

    def _unwrap(self, tx: Tx, row: SubjectRow) -> bytes:
        kek = self._kek(tx, row.tenant, row.kek_version)
        if kek is None:
            raise StoreDamaged(f"A subject key of {row.tenant} has no KEK in the store; restore the last backup.")
        place = place_of(kek, bytes.fromhex(row.key_id))
        return bytes(unwrap(self._hierarchy.open_kek(kek).expose(), place, row.wrapped[MARK_BYTES:]))

    def _kek(self, tx: Tx, tenant: str, version: int | None = None) -> KekRow | None:
        found = [one for one in store.list_keks(tx, tenant) if version in {None, one.version}]
        return max(found, key=lambda one: one.version, default=None)

    def _name(self, tenant: str, subject: str, now_us: int) -> str:
        if not subject:
            return f"day:{datetime.fromtimestamp(now_us / 1_000_000, UTC):%Y-%m-%d}"
        message = b"guard/subject/1\0" + length_prefixed(tenant.encode()) + subject.encode()
        return "sub:" + hmac.digest(self._pepper, message, "sha256").hex()


def complement(mark: bytes) -> bytes:
    """Each bit turned."""
    return bytes(byte ^ 0xFF for byte in mark)


def place_of(kek: KekRow, mark: bytes) -> Place:
    """Where the wrap of a subject's key belongs."""
    return Place(kek.tenant, "subject", kek.key_id, kek.version, mark, 1)
