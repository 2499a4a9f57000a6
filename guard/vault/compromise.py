"""A key version that others may know: it seals nothing more, it is replaced at once, and its values first of all.

Law: the flag may stand on every state but the last. Values under such a version are opened only with a permission of
their own, since whoever stole the key may have planted them; re-encryption, which shows nobody anything, needs none.
"""

from dataclasses import replace

from guard.catalogue import Actor, Context, Effect, operation
from guard.errors import Conflict, GuardError
from guard.vault import store, version_store
from guard.vault.key_steps import version_row, view_of
from guard.vault.keys import Keyring
from guard.vault.source_store import Sources
from guard.vault.store import VersionRow
from guard.vault.vault import Vault
from guard.vault.versions import State, check_compromise
from guard.wire import vault as wire

FIRST = 9  # the priority of a job for values whose key is known to others


@operation(
    "keys.compromise",
    "POST /api/v1/keys/{key}/versions/{version}/compromise",
    takes=wire.KeyVersion,
    gives=wire.KeyView,
    effect=Effect.WRITE,
    resource="keys/{key}",
    audit=("key", "version"),
    example={},
)
def compromise_version(ctx: Context, request: wire.KeyVersion) -> wire.KeyView:
    """Mark a version as known to others: a new one seals at once, and its values are sealed anew before all else."""
    row = version_row(ctx, request)
    check_compromise(row.state)
    if not version_store.set_compromised(ctx.tx, row.key_id, ctx.now_us):
        raise Conflict(f"Version {row.version} of {row.name} is marked as compromised already.")
    worker = Actor("system:worker", ctx.tenant, "system")
    others = [one for one in store.list_versions(ctx.tx, ctx.tenant, row.name) if one.state is State.ACTIVE]
    if all(one.compromised for one in others):
        ctx.call("keys.rotate", {"key": row.name}, worker)
    _mark(ctx, row)
    jobs, refused = _reseal(ctx, row.name, worker)
    ctx.note(jobs=jobs, without_job=refused)
    return view_of(ctx, request.key)


@operation(
    "compromised.open",
    None,
    takes=wire.OpenCompromised,
    gives=wire.Done,
    effect=Effect.NONE,
    resource="compromised/{key}",
    audit=("key",),
)
def open_compromised(ctx: Context, request: wire.OpenCompromised) -> wire.Done:
    """For operations that open values: whether who asks may do so under a compromised version, on record."""
    del ctx, request
    return wire.Done()


@operation(
    "key_uses.store",
    None,
    takes=wire.StoreUses,
    gives=wire.Done,
    effect=Effect.WRITE,
    resource="key_uses/all",
    exempt="it stores counts of calls, each of which has a record of its own",
)
def store_uses(ctx: Context, request: wire.StoreUses) -> wire.Done:
    """Store how often key versions sealed, and when they last opened a value."""
    del request
    version_store.put_uses(ctx.tx, ctx.part(Vault).life.uses.take(ctx.now_us))
    return wire.Done()


def _mark(ctx: Context, row: VersionRow) -> None:
    vault, now_us = ctx.part(Vault), ctx.now_us

    def marked(ring: Keyring) -> Keyring:
        now = ring.find(row.tenant, row.key_id, row.version)
        return ring.replace([replace(now, compromised=True, changed_us=now_us)])

    ctx.after_commit(lambda: vault.change(marked))


def _reseal(ctx: Context, key: str, worker: Actor) -> tuple[int, int]:
    """A job in front of the queue for every registered column under this key; how many, and for how many none."""
    made = refused = 0
    policies = ctx.part(Vault).policies
    for source in ctx.part(Sources).of_tenant(ctx.tenant):
        for field in dict.fromkeys(source.columns.values()):
            if field not in policies or not policies[field].sealed_by(key):
                continue
            try:
                wanted = {"source": source.name, "field": field, "priority": FIRST}
                ctx.call("reencryptions.create", wanted, worker)
                made += 1
            except GuardError:  # bound to subjects; the refusal is on record
                refused += 1
    return made, refused
