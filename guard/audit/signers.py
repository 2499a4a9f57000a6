"""The log's own keys: Ed25519 and ML-DSA-44 sign each checkpoint, during a rotation two pairs of them.

Law: a key that was rotated signs on until its day, so that who holds only its vkey can still read on, and then never
again; a key names the sizes that it may sign, so a stolen one cannot sign a past that it did not see
(c2sp.org/tlog-checkpoint, c2sp.org/tlog-cosignature). Private keys live in the seal's secrets; the table holds names.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from guard.audit import checkpoint_store as store
from guard.audit import note
from guard.audit.checkpoint import Checkpoint
from guard.audit.checkpoint_store import KeyRow
from guard.audit.note import Kind, Signature, VerifierKey
from guard.db.engine import Tx
from guard.errors import Conflict, StoreDamaged

PrivateKey = Ed25519PrivateKey | MLDSA44PrivateKey
MAX_PAIRS = 4  # signing at once: eight lines of a note, and a rotation a month with overlaps of a quarter
NAMES = {Kind.ED25519: "checkpoint_key", Kind.MLDSA44: "checkpoint_key_mldsa44"}  # of the secrets
RECEIPT_KEY = "receipt_key"  # the name of the secret from the beginning


@dataclass(frozen=True, slots=True)
class Signer:
    """One private key of the log, and until when it signs (None: until it is rotated)."""

    verifier: VerifierKey
    private: PrivateKey = field(repr=False)
    until_us: int | None = None

    @classmethod
    def of(cls, origin: str, private: PrivateKey, until_us: int | None = None) -> "Signer":
        """The signer of a log with this origin."""
        kind = Kind.ED25519 if isinstance(private, Ed25519PrivateKey) else Kind.MLDSA44
        return cls(VerifierKey(origin, kind, private.public_key().public_bytes_raw()), private, until_us)

    def active(self, now_us: int) -> bool:
        """Whether this key still signs."""
        return self.until_us is None or now_us < self.until_us

    def sign(self, head: Checkpoint, now_us: int) -> Signature:
        """The signature line over *head*; an ML-DSA line states the time."""
        if isinstance(self.private, Ed25519PrivateKey):
            return note.sign_ed25519(head.text(), self.verifier.name, self.private)
        return note.sign_mldsa44(head, self.verifier.name, self.private, now_us // 1_000_000)


def sign(signers: Sequence[Signer], head: Checkpoint, now_us: int) -> tuple[Signature, ...]:
    """The lines of every key that still signs."""
    return tuple(one.sign(head, now_us) for one in signers if one.active(now_us))


def newest(signers: Sequence[Signer]) -> VerifierKey:
    """The Ed25519 key to hand to somebody who asks for one: the last that came."""
    return next(one.verifier for one in reversed(signers) if one.verifier.kind is Kind.ED25519)


class LogKeys:
    """Loads and rotates the keys of one log. *secret* gives the 32 bytes of a system secret, made at its first use."""

    def __init__(self, origin: str, secret: Callable[[Tx, str, int], bytes]) -> None:
        self._origin = origin
        self._secret = secret

    def load(self, tx: Tx, now_us: int) -> tuple[Signer, ...]:
        """The keys that may still sign for the incarnation in the store, oldest first; a new log gets its first pair.

        Raises:
            StoreDamaged: a key is not the one whose vkey was published.
        """
        rows = [row for row in store.log_keys(tx) if row.to_size is None]
        if rows:
            self._origin = VerifierKey.decode(rows[0].vkey).name
        else:
            return self._mint(tx, "", 0, now_us)
        return tuple(self._open(tx, row, now_us) for row in rows)

    def rotate(
        self, tx: Tx, signers: Sequence[Signer], size: int, now_us: int, overlap_us: int
    ) -> tuple[tuple[Signer, ...], tuple[Signer, ...]]:
        """All signers after a rotation at *size*, and the fresh ones among them; the old ones end after *overlap_us*.

        Raises:
            Conflict: four pairs sign already.
        """
        active = [one for one in signers if one.active(now_us)]
        if len(active) >= MAX_PAIRS * len(NAMES):
            raise Conflict(
                f"Expected fewer than {MAX_PAIRS} pairs of keys that sign at once; wait until the oldest has ended."
            )
        until_us = now_us + overlap_us
        self._origin = signers[0].verifier.name
        ending = [one if one.until_us is not None else replace(one, until_us=until_us) for one in active]
        store.end_log_keys(tx, until_us)
        fresh = self._mint(tx, f"_{now_us}", size, now_us)
        return (*ending, *fresh), fresh

    def succeed(self, tx: Tx, origin: str, size: int, now_us: int) -> None:
        """The next incarnation has the same keys under its own name; those of this one signed up to *size*.

        A key's id is made of its name too, so no signature of one incarnation counts for the other.
        """
        rows = [row for row in store.log_keys(tx) if row.to_size is None]
        store.leave_log_keys(tx, now_us, size)
        for row in rows:
            known = VerifierKey.decode(row.vkey)
            vkey = VerifierKey(origin, known.kind, known.public).encode()
            store.add_log_key(tx, KeyRow(vkey, row.secret, 0, None, row.until_us), now_us)

    def replace(self, tx: Tx, origin: str, now_us: int) -> tuple[tuple[Signer, ...], Ed25519PrivateKey, str]:
        """New keys for a log whose keys were stolen, and one for its receipts with the name of its secret."""
        self._origin = origin
        secret = f"{RECEIPT_KEY}_{now_us}"
        receipts = Ed25519PrivateKey.from_private_bytes(self._secret(tx, secret, now_us))
        return self._mint(tx, f"_{now_us}", 0, now_us), receipts, secret

    def _mint(self, tx: Tx, suffix: str, size: int, now_us: int) -> tuple[Signer, ...]:
        made = []
        for kind, name in NAMES.items():
            signer = Signer.of(self._origin, self._private(tx, name + suffix, kind, now_us))
            store.add_log_key(tx, KeyRow(signer.verifier.encode(), name + suffix, size, None, None), now_us)
            made.append(signer)
        return tuple(made)

    def _open(self, tx: Tx, row: KeyRow, now_us: int) -> Signer:
        kind = VerifierKey.decode(row.vkey).kind
        signer = Signer.of(self._origin, self._private(tx, row.secret, kind, now_us), row.until_us)
        if signer.verifier.encode() != row.vkey:
            raise StoreDamaged(f"Expected the secret {row.secret} to be the log's published key; restore a backup.")
        return signer

    def _private(self, tx: Tx, name: str, kind: Kind, now_us: int) -> PrivateKey:
        seed = self._secret(tx, name, now_us)
        return (
            Ed25519PrivateKey.from_private_bytes(seed)
            if kind is Kind.ED25519
            else MLDSA44PrivateKey.from_seed_bytes(seed)
        )
