"""Custody slots: where the secret that seals the service is kept wrapped. One module per kind, found by its file name.

A module offers `OPTIONS` (the names it needs from the settings), `create(options, randomness)` for a new slot and
`attach(options)` for one that exists; both give a `Slot`. `randomness` is at least `RANDOMNESS_BYTES` from the caller.
Law: a slot gives back exactly what it wrapped, under the same record, or raises WrongRootKey; a slot whose key or file
is not there raises RootKeyMissing. The record is the authenticated description of the slot (its id and version), so a
wrap moved to another slot does not open. The caller still compares the key-check value before it uses a secret.
"""

from collections.abc import Mapping
from typing import Final, Protocol

RANDOMNESS_BYTES: Final = 32


class Slot(Protocol):
    """One place that can wrap and unwrap the seal secret."""

    def wrap(self, record: bytes, secret: bytes) -> bytes:
        """The stored form of `secret` under this slot and `record`."""

    def unwrap(self, record: bytes, wrapped: bytes) -> bytearray:
        """The secret, in memory that the caller overwrites after use.

        Raises:
            WrongRootKey: another key, another record, or changed bytes.
        """


class Custody(Protocol):
    """What every module of this folder is."""

    OPTIONS: tuple[str, ...]

    def create(self, options: Mapping[str, str], randomness: bytes) -> Slot:
        """Make a slot; raises AlreadyExists where it would replace one."""

    def attach(self, options: Mapping[str, str]) -> Slot:
        """Find a slot; raises RootKeyMissing where there is none."""
