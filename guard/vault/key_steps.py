"""What the operations on key versions share: finding one, one step of its life, and how keys are shown."""

from dataclasses import replace

from guard.catalogue import Context
from guard.errors import KeyDestroyed, KeyStateConflict, NotFound
from guard.vault import store, version_store
from guard.vault.keys import Keyring
from guard.vault.store import VersionRow
from guard.vault.vault import Vault
from guard.vault.versions import State, move
from guard.wire import vault as wire


def version_row(ctx: Context, request: wire.KeyVersion) -> VersionRow:
    """The row of the version that a request names, in the tenant of who asks.

    Raises:
        KeyDestroyed: it was destroyed.
        NotFound: there is none.
    """
    for row in store.list_versions(ctx.tx, ctx.tenant, request.key):
        if row.version == request.version:
            return row
    for gone in version_store.tombstones(ctx.tx, ctx.tenant):
        if (gone.name, gone.version) == (request.key, request.version):
            raise KeyDestroyed(
                f"Version {gone.version} of {gone.name} is destroyed, which is final.", destroyed_us=gone.destroyed_us
            )
    raise NotFound(f"Expected a version of key {request.key}, got {request.version}; see guard keys versions.")


def check_step(row: VersionRow, only: State, to: State) -> None:
    """Check that an operation which leads from *only* to *to* may be used on a version.

    Raises:
        KeyStateConflict: no arrow leads there, or it is another operation's arrow.
    """
    move(row.state, to)
    if row.state is not only:
        raise KeyStateConflict(
            f"Version {row.version} of {row.name} is {row.state.value}, and this leads on from {only.value} only.",
            state=row.state.value,
            wanted=to.value,
        )


def turn(ctx: Context, row: VersionRow, to: State) -> None:
    """Move a version to another state, in the store and, after the commit, in the keyring.

    Raises:
        KeyStateConflict: no arrow leads there, or the version changed meanwhile.
    """
    state, vault, now_us = move(row.state, to), ctx.part(Vault), ctx.now_us
    if not store.set_state(ctx.tx, row.key_id, row.state, state, now_us):
        raise KeyStateConflict(f"Version {row.version} of {row.name} changed meanwhile; look at it again.")

    def changed(ring: Keyring) -> Keyring:
        # From the ring of that moment: another change of the same group commit may stand in it already.
        now = ring.find(row.tenant, row.key_id, row.version)
        return ring.replace([replace(now, state=state, changed_us=now_us)])

    ctx.after_commit(lambda: vault.change(changed))


def views(ctx: Context, key: str | None = None) -> list[wire.KeyView]:
    """Keys with their versions, newest first: those that live, then those that were destroyed."""
    uses = ctx.part(Vault).life.uses
    wanted = {one.key_id: one for one in version_store.destructions(ctx.tx, ctx.tenant)}
    found: dict[str, list[wire.VersionView]] = {}
    for view in store.key_views(ctx.tx, ctx.tenant, key):
        for one in view.versions:
            place, asked = (ctx.tenant, view.key, one.version), wanted.get(bytes.fromhex(one.key_id))
            more: dict[str, object] = {"sealed": uses.sealed(place), "opened_us": uses.opened_us(place) or None}
            if asked is not None:
                more |= {"asked_by": asked.asked_by, "approved_by": asked.approved_by, "destroy_us": asked.due_us}
            found.setdefault(view.key, []).append(one.model_copy(update=more))
    for gone in reversed(version_store.tombstones(ctx.tx, ctx.tenant)):
        if key in {None, gone.name}:
            found.setdefault(gone.name, []).append(_buried(gone))
    shown = {name: sorted(versions, key=lambda one: -one.version) for name, versions in sorted(found.items())}
    return [wire.KeyView(key=name, versions=versions) for name, versions in shown.items()]


def view_of(ctx: Context, name: str) -> wire.KeyView:
    """One key with its versions.

    Raises:
        NotFound: there is none.
    """
    found = views(ctx, name)
    if not found:
        raise NotFound(f"Expected the name of a key, got {name}; see guard keys list.")
    return found[0]


def _buried(gone: version_store.Tombstone) -> wire.VersionView:
    return wire.VersionView(
        version=gone.version,
        key_id=gone.key_id.hex(),
        state=State.DESTROYED.value,
        suite=gone.suite,
        compromised=gone.compromised,
        created_us=gone.created_us,
        changed_us=gone.destroyed_us,
        asked_by=gone.asked_by,
        approved_by=gone.approved_by,
        destroy_us=gone.destroyed_us,
    )
