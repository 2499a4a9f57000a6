"""Batches of fields whose values are sealed under the key of the person whom they are about.

Law: one bad item never spoils its neighbours. A person's first key is drawn here and stored in the transaction of the
record; the answer leaves only after that, so no value is ever out whose key is not durable.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from guard.catalogue import Context
from guard.db.engine import Store, Tx
from guard.errors import GuardError, InvalidContext, NotFound
from guard.vault import batches
from guard.vault.batches import Item, Results
from guard.vault.deks import Dek, Subjects
from guard.vault.keys import KeyVersion
from guard.vault.policy import Bind, FieldPolicy
from guard.vault.sealing import Sealer
from guard.vault.vault import Vault
from guard.vault.versions import State

VERSION = 1
"""A person's key has one version: it is never rotated, only destroyed."""
MAX_SUBJECT_CHARACTERS = 200


class Use:
    """One request's use of persons' keys; a transaction is opened only where a key is not open yet."""

    def __init__(self, ctx: Context, policy: FieldPolicy, stack: ExitStack) -> None:
        self._subjects = ctx.part(Subjects)
        self._ctx, self._policy, self._stack = ctx, policy, stack
        self._tx: Tx | None = None
        self._used: dict[bytes, Dek] = {}
        self._epoch = self._subjects.epoch  # before anything is read
        self._settles = False

    def sealing(self, subject: str) -> KeyVersion:
        """The key version of a person for new values."""
        return self._version(self._subjects.to_seal(self._read, self._ctx.tenant, subject, self._epoch))

    def idle(self, version: KeyVersion) -> None:
        """Nothing was sealed under it: where it was new it is not stored, as nothing is held on that person."""
        self._used = {ref: dek for ref, dek in self._used.items() if dek.dek_id != version.key_id}

    def find(self, tenant: str, key_id: bytes, version: int) -> KeyVersion:
        """The key that a header names: of the field, from before it was keyed by person, or of a person.

        Raises:
            NotFound, SubjectForgotten: see `Subjects.to_open`.
        """
        try:
            return self._ctx.part(Vault).keyring.find(tenant, key_id, version)
        except NotFound:
            if version != VERSION:
                raise
        return self._version(self._subjects.to_open(self._read, tenant, key_id, self._epoch))

    def settle(self, tx: Tx) -> None:
        """In the transaction of the record: store what was drawn, and refuse what was revoked meanwhile."""
        fresh = self._subjects.settle(tx, self._used.values(), self._epoch, self._ctx.now_us)
        if fresh:
            self._ctx.after_commit(lambda: self._subjects.stored(fresh))

    def _read(self) -> Tx:
        if self._tx is None:
            self._tx = self._stack.enter_context(self._ctx.part(Store).read())
        return self._tx

    def _version(self, dek: Dek) -> KeyVersion:
        if not self._settles:
            self._settles = True
            self._ctx.at_outcome(self.settle)
        self._used[dek.subject_ref] = dek
        name, suite = self._policy.key, self._policy.suite
        return KeyVersion(
            dek.dek_id, name, dek.tenant, VERSION, State.ACTIVE, suite, dek.secret, compromised=False, subject_key=True
        )


@contextmanager
def use(ctx: Context, policy: FieldPolicy) -> Iterator[Use]:
    """Persons' keys for one field of one request."""
    with ExitStack() as stack:
        yield Use(ctx, policy, stack)


def seal(ctx: Context, policy: FieldPolicy, items: Sequence[Item], results: Results, at: Sequence[int]) -> None:
    """Seal the items at the positions *at*, all of one field, into *results*."""
    with use(ctx, policy) as keys:
        for version, sealer, places in _sealers(ctx, policy, keys, _by_subject(items, results, at), results):
            batches.seal(sealer, VERSION, policy, items, results, places)
            if all("problem" in results[position] for position in places):
                keys.idle(version)


def unseal(
    ctx: Context,
    policy: FieldPolicy,
    items: Sequence[Item],
    results: Results,
    at: Sequence[int],
    show: Callable[[bytes], dict[str, Any]],
    grant: Callable[[str], None],
) -> set[int]:
    """As `batches.unseal`; values from before the field was keyed by person are under versions of its named key."""
    with use(ctx, policy) as keys:
        return batches.unseal(keys, ctx.tenant, policy, items, results, at, show, grant)


def reseal(ctx: Context, policy: FieldPolicy, items: Sequence[Item], results: Results, at: Sequence[int]) -> None:
    """As `batches.reseal`, for values that come under the keys of the persons whom they are about."""
    ring = ctx.part(Vault).keyring
    with use(ctx, policy) as keys:
        for version, sealer, places in _sealers(ctx, policy, keys, _by_subject(items, results, at), results):
            for position in places:
                results[position] = batches.reseal(ring, ctx.tenant, policy, sealer, VERSION, items[position])
            if all("problem" in results[position] for position in places):
                keys.idle(version)


def _sealers(
    ctx: Context, policy: FieldPolicy, keys: Use, groups: dict[str, list[int]], results: Results
) -> Iterator[tuple[KeyVersion, Sealer, list[int]]]:
    """What seals the values of each person, and where they stand."""
    shared, names = batches.shared(ctx.tenant, policy), batches.binding(policy)
    for subject, places in groups.items():
        try:
            version = keys.sealing(subject)
            sealer = Sealer(version, shared, names, pad_step=policy.pad_step)
        except GuardError as error:
            for position in places:
                results[position] = {"problem": batches.problem(error)}
            continue
        yield version, sealer, places


def _by_subject(items: Sequence[Item], results: Results, at: Sequence[int]) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = {}
    for position in at:
        try:
            subject = person(items[position]["context"].get(Bind.SUBJECT.value))
        except GuardError as error:
            results[position] = {"problem": batches.problem(error)}
        else:
            groups.setdefault(subject, []).append(position)
    return groups


def person(given: object) -> str:
    """The id of the person whom a value is about.

    Raises:
        InvalidContext: it is none.
    """
    if type(given) is str and 0 < len(given) <= MAX_SUBJECT_CHARACTERS:
        return given
    raise InvalidContext(f"Expected the person's id as a text of 1-{MAX_SUBJECT_CHARACTERS} characters in 'subject'.")
