"""Values sealed anew one by one, as callers send them: under the newest version, or under the key of a person.

Law: nobody sees a value; each is opened again and compared before it is answered. What stands under the key that others
seal under, or under a version from before the field was keyed by person, comes under what the field is sealed with now;
what stands there already is answered as it came, if it opens.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from guard.catalogue import Context
from guard.errors import DoesNotOpen, GuardError, InvalidRequest
from guard.vault import batches, keyed, suites
from guard.vault.batches import Finder, Item, Results
from guard.vault.context import Value
from guard.vault.formats import FormatOpener, FormatSealer
from guard.vault.keys import KeyVersion
from guard.vault.policy import Bind, FieldPolicy
from guard.vault.resealing import prove, unsound
from guard.vault.sealing import open_text, seal_text
from guard.vault.vault import Vault

Cell = dict[str, Value]


@dataclass(frozen=True, slots=True)
class _Keys:
    """Where the keys of old values are, and what seals a cell now."""

    finder: Finder
    sealing: Callable[[Cell], KeyVersion]


def renew(ctx: Context, policy: FieldPolicy, items: Sequence[Item], results: Results, at: Sequence[int]) -> None:
    """Seal the items at the positions *at* anew, all of one field, into *results*."""
    ring = ctx.part(Vault).keyring
    if policy.keyed_by_subject:
        with keyed.use(ctx, policy) as keys:
            of_persons = _Keys(keys, lambda cell: keys.sealing(keyed.person(cell.get(Bind.SUBJECT.value))))
            _each(items, results, at, lambda item: _renewed(ctx, policy, of_persons, item))
    elif policy.format is not None:
        _each(items, results, at, lambda item: _formatted(ctx, policy, item))
    else:
        named = _Keys(ring, lambda _cell: ring.active(ctx.tenant, policy.key))
        _each(items, results, at, lambda item: _renewed(ctx, policy, named, item))


def _each(items: Sequence[Item], results: Results, at: Sequence[int], how: Callable[[Item], dict[str, Any]]) -> None:
    for position in at:
        try:
            results[position] = how(items[position])
        except GuardError as error:
            results[position] = {"problem": batches.problem(error)}


def _renewed(ctx: Context, policy: FieldPolicy, keys: _Keys, item: Item) -> dict[str, Any]:
    text = item["ciphertext"]
    old = batches.named_key(keys.finder, ctx.tenant, batches.header_in(text))
    if not policy.sealed_by(old.name):
        raise DoesNotOpen(suites.DOES_NOT_OPEN)
    cell = _cell(ctx, policy, item)
    plaintext = open_text(old, cell, text, compromised_granted=True)
    now = keys.sealing(cell)
    if old == now:
        return {"ciphertext": text, "key_version": now.version}
    step, random = policy.pad_step, ctx.random
    fresh = seal_text(now, cell, plaintext, portable=policy.portable, pad_step=step, random=random)
    prove(now, cell, plaintext, fresh)
    if not now.subject_key:
        ctx.part(Vault).life.uses.seal((ctx.tenant, now.name, now.version), 1)
    return {"ciphertext": fresh, "key_version": now.version}


def _formatted(ctx: Context, policy: FieldPolicy, item: Item) -> dict[str, Any]:
    """A value without a header: the item says what sealed it, and nothing in the value could contradict that."""
    vault, form, version = ctx.part(Vault), policy.format, item.get("key_version")
    if form is None or version is None:
        raise InvalidRequest("Expected key_version, as encrypting gave it, beside a value that has no header.")
    old = vault.keyring.find_named(ctx.tenant, policy.key, version)
    now = vault.keyring.active(ctx.tenant, policy.key)
    shared, names = batches.shared(ctx.tenant, policy), batches.binding(policy)
    varying = batches.varying(names, item["context"])
    opener = FormatOpener(form, old, shared, names, compromised_granted=True)
    plaintext = opener.open(varying, item["ciphertext"])
    if old == now:
        return {"ciphertext": item["ciphertext"], "key_version": version}
    fresh = FormatSealer(form, now, shared, names).seal(varying, plaintext)
    if FormatOpener(form, now, shared, names).open(varying, fresh) != plaintext:
        raise unsound()
    vault.life.uses.seal((ctx.tenant, now.name, now.version), 1)
    return {"ciphertext": fresh, "key_version": now.version}


def _cell(ctx: Context, policy: FieldPolicy, item: Item) -> Cell:
    names = batches.binding(policy)
    varying = batches.varying(names, item["context"])
    return batches.shared(ctx.tenant, policy) | dict(zip(names, varying, strict=True))
