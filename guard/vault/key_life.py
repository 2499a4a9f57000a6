"""What is due in the life of keys: rotation by age and by use, the end of a destruction's window, counts to store.

Law: what is due is found in memory, and its truth is in the store; a beat that is missed or doubled changes nothing.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from guard.catalogue import PLATFORM
from guard.db.engine import Tx
from guard.vault import suites, version_store
from guard.vault.keys import Keyring, KeyVersion, Secret
from guard.vault.uses import DEFAULT_LIMIT, ROTATE_AT, Uses
from guard.vault.versions import State, may_encrypt

HOUR_US = 3_600_000_000
RETRY_US = HOUR_US  # after a rotation or destruction that was refused; each try leaves records
Due = tuple[str, Mapping[str, Any]]


class KeyLife:
    """Uses of every version, and the versions whose destruction has a date."""

    def __init__(self) -> None:
        self.uses = Uses()
        self._ends: Mapping[tuple[str, str, int], int] = {}
        self._rotations: dict[tuple[str, str], int] = {}  # tried at

    def load(self, tx: Tx) -> None:
        """Take over what the store holds."""
        self.uses.load(version_store.uses(tx))
        wanted = version_store.destructions(tx)
        self._ends = {(one.tenant, one.name, one.version): one.due_us for one in wanted if one.due_us is not None}

    def destroyed(self, tx: Tx) -> list[KeyVersion]:
        """Versions that were destroyed, without material, so that a value of theirs is answered with the reason."""
        return [
            KeyVersion(
                one.key_id,
                one.name,
                one.tenant,
                one.version,
                State.DESTROYED,
                suites.BY_NAME[one.suite].id,
                Secret(b"", f"{one.name} version {one.version}"),
                compromised=one.compromised,
                created_us=one.created_us,
                changed_us=one.destroyed_us,
            )
            for one in version_store.tombstones(tx)
        ]

    def end(self, place: tuple[str, str, int], due_us: int | None) -> None:
        """A version's destruction has this date from now on, or none any more."""
        others = {one: when for one, when in self._ends.items() if one != place}
        self._ends = others if due_us is None else others | {place: due_us}

    def ends_due(self, now_us: int) -> list[Due]:
        """Requests for `keys.expire`: versions whose window has passed. Each is asked again an hour later."""
        found = [place for place, when in self._ends.items() if when <= now_us]
        for place in found:
            self.end(place, now_us + RETRY_US)
        return [(tenant, {"key": key, "version": version}) for tenant, key, version in found]

    def uses_due(self, now_us: int) -> list[Due]:
        """A request for `key_uses.store` where counts changed."""
        return [(PLATFORM, {})] if self.uses.due(now_us) else []

    def rotations_due(self, ring: Keyring, now_us: int, hours: int, values: int) -> Iterator[Due]:
        """Requests for `keys.rotate`: keys whose newest version is older than *hours* or sealed too many *values*.

        0 hours: never by age. 0 values: at the limit of the suite, which stands whatever is given.
        """
        for one in ring:
            if not may_encrypt(one.state, compromised=one.compromised):
                continue
            limit = ROTATE_AT.get(one.suite, DEFAULT_LIMIT)
            limit = min(limit, values or limit)
            old = bool(hours) and now_us - one.created_us >= hours * HOUR_US
            used = self.uses.sealed((one.tenant, one.name, one.version)) >= limit
            tried_us = self._rotations.get((one.tenant, one.name), 0)
            if (old or used) and now_us - tried_us >= RETRY_US:
                self._rotations[one.tenant, one.name] = now_us
                yield one.tenant, {"key": one.name}


def tombstone(one: KeyVersion, now_us: int) -> KeyVersion:
    """A version that was destroyed just now, as the keyring keeps it: its names without its material."""
    return replace(one, state=State.DESTROYED, material=Secret(b"", one.label), changed_us=now_us)
