"""Keys in memory: a secret that cannot slip out, one version of a named key, and the keyring of a moment.

Law: key bytes leave a `Secret` only through `expose`, which a reader can search for; `repr` shows an id, and pickling
and copying are refused, so that no log, traceback, cache or worker queue carries a key. A keyring never answers for
another tenant: a look-up names its tenant, and a ciphertext's header names exactly one key. No I/O.
"""

import hmac
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NoReturn

from guard.errors import KeyStateConflict, NotFound, Sealed, StoreDamaged
from guard.vault.envelope import FLAG_SUBJECT_KEY, Header, SuiteId
from guard.vault.versions import State, may_encrypt


class Secret:
    """Key bytes under a label. `label` is shown, so it names the key and never holds a part of it.

    A bytearray is taken over and not copied: it is the one that `wipe` overwrites.
    """

    __slots__ = ("_label", "_raw", "_wiped")

    def __init__(self, raw: bytes | bytearray, label: str) -> None:
        self._raw = raw if isinstance(raw, bytearray) else bytearray(raw)
        self._label = label
        self._wiped = False

    def expose(self) -> bytes:
        """A copy of the key for the length of one call or batch; nobody can overwrite it, so do not keep it.

        A copy, because a thread that is still sealing while another wipes must not go on under a key of zeros.

        Raises:
            Sealed: the secret was wiped.
        """
        copy = bytes(self._raw)
        if self._wiped:  # asked after the copy: `wipe` sets it before it overwrites
            raise Sealed(f"{self!r} was wiped from memory; unseal the service again.")
        return copy

    def wipe(self) -> None:
        """Overwrite the bytes. Copies that a library or the interpreter made are beyond this."""
        self._wiped = True
        self._raw[:] = bytes(len(self._raw))

    def __len__(self) -> int:
        return len(self._raw)

    def __repr__(self) -> str:
        return f"<Secret {self._label}>"

    def __eq__(self, other: object) -> bool:
        return hmac.compare_digest(self._raw, other._raw) if isinstance(other, Secret) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # a hash of key bytes would be a dictionary key and a hint at them

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(f"{self!r} is not pickled or copied; hand over the key's id.")


@dataclass(frozen=True, slots=True)
class KeyVersion:
    """One version of a named key, as the sealing code needs it. Equal by identity of the key, not by its bytes."""

    key_id: bytes
    name: str
    tenant: str
    version: int
    state: State
    suite: SuiteId
    material: Secret = field(compare=False)
    compromised: bool = False
    subject_key: bool = False
    """The key belongs to one subject and dies with it; the header says so."""
    created_us: int = field(default=0, compare=False)
    changed_us: int = field(default=0, compare=False)
    header: bytes = field(init=False, repr=False, compare=False)
    """The 16 bytes in front of an unpadded value."""

    def __post_init__(self) -> None:
        """Raises InvalidEnvelope for a key id that is not 8 bytes or a version that is no u32."""
        flags = FLAG_SUBJECT_KEY if self.subject_key else 0
        header = Header(self.suite, flags, self.key_id, self.version).encode()
        object.__setattr__(self, "header", header)  # the one way to set a derived value when frozen

    @property
    def label(self) -> str:
        """How messages and records name this version."""
        return f"{self.name} version {self.version}"


@dataclass(frozen=True, slots=True)
class IndexKey:
    """One version of the key of a blind index. It is never exported and never derived from another key."""

    tenant: str
    index: str
    version: int
    material: Secret = field(compare=False)
    live: bool = True
    """Rows may still carry tokens of this version, so queries ask under it too."""


@dataclass(frozen=True, slots=True)
class _Tenant:
    """One tenant's part of a snapshot."""

    versions: Mapping[tuple[bytes, int], KeyVersion]
    active: Mapping[str, KeyVersion]
    index_keys: Mapping[str, tuple[IndexKey, ...]]


class Keyring:
    """An immutable snapshot. Readers hold one for the length of a request; a change makes a new one."""

    __slots__ = ("_tenants",)

    def __init__(self, versions: Iterable[KeyVersion] = (), index_keys: Iterable[IndexKey] = ()) -> None:
        """Index keys that are not live are left out.

        Raises:
            StoreDamaged: two entries claim one place, or one key id has two names.
        """
        self._tenants: Mapping[str, _Tenant] = _by_tenant(versions, index_keys)

    def active(self, tenant: str, name: str) -> KeyVersion:
        """The version that seals new values: the newest that is active and not compromised.

        Raises:
            NotFound: the tenant has no key of this name.
            KeyStateConflict: it has one, but no version of it may encrypt.
        """
        part = self._tenants.get(tenant, _NOTHING)
        found = part.active.get(name)
        if found is not None:
            return found
        if any(one.name == name for one in part.versions.values()):
            raise KeyStateConflict(f"No version of the key {name} may encrypt.", hint="Rotate the key.", key=name)
        raise NotFound(f"There is no key named {name}.")

    def find(self, tenant: str, key_id: bytes, version: int) -> KeyVersion:
        """The version that a ciphertext's header names, if it is this tenant's; its state is not checked.

        Raises:
            NotFound: it is unknown, or another tenant's; the two look the same from outside.
        """
        found = self._tenants.get(tenant, _NOTHING).versions.get((key_id, version))
        if found is None:
            raise NotFound(f"There is no key with the id {key_id.hex()} and version {version}.")
        return found

    def find_named(self, tenant: str, name: str, version: int) -> KeyVersion:
        """The version of a named key, for values that carry no header; its state is not checked.

        Raises:
            NotFound: the tenant has none.
        """
        for found in self._tenants.get(tenant, _NOTHING).versions.values():
            if (found.name, found.version) == (name, version):
                return found
        raise NotFound(f"There is no version {version} of the key {name}.")

    def index_keys(self, tenant: str, index: str) -> tuple[IndexKey, ...]:
        """The live versions of a blind index's key, newest first; new rows get the first, queries ask under all.

        Raises:
            NotFound: there is none.
        """
        found = self._tenants.get(tenant, _NOTHING).index_keys.get(index, ())
        if not found:
            raise NotFound(f"There is no live key for the index {index}.")
        return found

    def __iter__(self) -> Iterator[KeyVersion]:
        for part in self._tenants.values():
            yield from part.versions.values()

    def materials(self) -> Iterator[Secret]:
        """The secrets of all keys, to overwrite them."""
        for part in self._tenants.values():
            yield from (one.material for one in part.versions.values())
            yield from (one.material for group in part.index_keys.values() for one in group)

    def __len__(self) -> int:
        return sum(len(part.versions) for part in self._tenants.values())

    def replace(
        self,
        versions: Iterable[KeyVersion] = (),
        index_keys: Iterable[IndexKey] = (),
        *,
        without: Iterable[KeyVersion] = (),
    ) -> "Keyring":
        """A new snapshot: `versions` and `index_keys` are added or stand in for those of the same place.

        Versions in `without` are gone; an index key goes when it comes with `live=False`. Only the tenants that are
        named are rebuilt, all others are shared with this snapshot.

        Raises:
            StoreDamaged: as when a keyring is built.
        """
        put, put_index, drop = tuple(versions), tuple(index_keys), tuple(without)
        touched = {one.tenant for one in (*put, *drop)} | {one.tenant for one in put_index}
        old = [part for tenant, part in self._tenants.items() if tenant in touched]
        kept = {_place(one): one for part in old for one in part.versions.values()}
        for gone in drop:
            kept.pop(_place(gone), None)
        kept |= {_place(one): one for one in put}
        kept_index = {_index_place(one): one for part in old for group in part.index_keys.values() for one in group}
        kept_index |= {_index_place(one): one for one in put_index}
        changed = Keyring()
        untouched = {tenant: part for tenant, part in self._tenants.items() if tenant not in touched}
        changed._tenants = untouched | _by_tenant(kept.values(), kept_index.values())
        return changed


_NOTHING: Final = _Tenant({}, {}, {})


def _place(one: KeyVersion) -> tuple[str, bytes, int]:
    return one.tenant, one.key_id, one.version


def _index_place(one: IndexKey) -> tuple[str, str, int]:
    return one.tenant, one.index, one.version


def _by_tenant(versions: Iterable[KeyVersion], index_keys: Iterable[IndexKey]) -> dict[str, _Tenant]:
    grouped: dict[str, list[KeyVersion]] = {}
    grouped_index: dict[str, list[IndexKey]] = {}
    for one in versions:
        grouped.setdefault(one.tenant, []).append(one)
    for index_key in index_keys:
        grouped_index.setdefault(index_key.tenant, []).append(index_key)
    return {
        tenant: _Tenant(
            _unique_versions(grouped.get(tenant, [])),
            _newest_active(grouped.get(tenant, [])),
            _live_index_keys(grouped_index.get(tenant, [])),
        )
        for tenant in grouped.keys() | grouped_index.keys()
    }


def _unique_versions(versions: list[KeyVersion]) -> dict[tuple[bytes, int], KeyVersion]:
    found = {(one.key_id, one.version): one for one in versions}
    if len(found) != len(versions):
        raise StoreDamaged("A key version stands twice in the store; restore it from a backup and check its copies.")
    names = {(one.key_id, one.name) for one in versions}
    if len(names) != len({key_id for key_id, _ in names}):
        raise StoreDamaged("One key id has two names in the store; a header would no longer name one key.")
    return found


def _newest_active(versions: list[KeyVersion]) -> dict[str, KeyVersion]:
    usable = [one for one in versions if may_encrypt(one.state, compromised=one.compromised)]
    return {one.name: one for one in sorted(usable, key=lambda one: one.version)}


def _live_index_keys(index_keys: list[IndexKey]) -> dict[str, tuple[IndexKey, ...]]:
    if len({_index_place(one) for one in index_keys}) != len(index_keys):
        raise StoreDamaged("A version of an index key stands twice in the store; rows would carry two kinds of tokens.")
    found: dict[str, tuple[IndexKey, ...]] = {}
    for one in sorted(index_keys, key=lambda one: -one.version):
        if one.live:
            found[one.index] = (*found.get(one.index, ()), one)
    return found
