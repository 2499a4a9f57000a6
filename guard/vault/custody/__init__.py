"""Custody slots: where the secret that seals the service is kept wrapped. One module per kind, found by its file name.

A module offers `OPTIONS` (where its key is; kept with the slot, never a secret), `OPTIONAL` (options with a default),
`SECRETS` (what people give when the service is unsealed; never kept), `create(options, randomness)` for a new slot and
`attach(options)` for one that exists; both give a `Slot`. A kind without secrets opens by itself when the service
starts. `randomness` is `RANDOMNESS_BYTES` from the caller.
Law: a slot gives back exactly what it wrapped, under the same record, or raises WrongRootKey; a slot whose key or file
is not there raises RootKeyMissing, one that does not answer now raises CustodyUnreachable. The record is the
authenticated description of the slot (cluster, id and version), so a wrap moved to another slot does not open. The
caller still compares the key-check value before it uses a secret.
"""

from collections.abc import Mapping
from typing import Final, Protocol

from guard.errors import InternalError, RootKeyMissing

RANDOMNESS_BYTES: Final = 512
"""Sixteen times 32: a secret and the coefficients of the largest threshold."""
KEY_BYTES: Final = 32


class Slot(Protocol):
    """One place that can wrap and unwrap the seal secret."""

    @property
    def handout(self) -> tuple[str, ...]:
        """Shares to give to their holders, once; empty for an attached slot and for most kinds."""

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
    OPTIONAL: Mapping[str, str]
    SECRETS: tuple[str, ...]

    def create(self, options: Mapping[str, str], randomness: bytes) -> Slot:
        """Make a slot; raises AlreadyExists where it would replace one."""

    def attach(self, options: Mapping[str, str]) -> Slot:
        """Find a slot; raises RootKeyMissing where there is none."""


def check_randomness(randomness: bytes, wanted: int) -> None:
    """Raises InternalError where fewer than `wanted` bytes came: a slot must not be made of less."""
    if len(randomness) < wanted:
        raise InternalError(f"A new custody slot needs {wanted} bytes of randomness; {len(randomness)} came.")


def given(options: Mapping[str, str], name: str, what: str) -> str:
    """The option `name`.

    Raises:
        RootKeyMissing: it is absent or empty, so the key cannot be found; `what` says what was expected.
    """
    if not options.get(name):
        raise RootKeyMissing(f"Expected {what} as the custody option {name}, got none.", hint=f"Give {name}.")
    return options[name]
