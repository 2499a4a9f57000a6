"""What the catalogue lists of keys: make, show, rotate, retire."""

from dataclasses import replace

from guard.catalogue import Context, Effect, operation
from guard.db.engine import Store, Tx
from guard.errors import (
    Conflict,
    KeyInUse,
    KeyStateConflict,
    NotFound,
)
from guard.vault import store, suites
from guard.vault.census import census
from guard.vault.index_operations import keep as keep_definitions
from guard.vault.vault import Vault
from guard.vault.versions import State, move
from guard.wire import vault as wire


@operation(
    "keyrings.create",
    None,
    takes=wire.CreateKeyring,
    gives=wire.KeyringView,
    effect=Effect.WRITE,
    resource="keyrings/own",
)
def create_keyring(ctx: Context, request: wire.CreateKeyring) -> wire.KeyringView:
    """Make the tenant's KEK, and a key and index keys for every field that has none."""
    del request
    vault = ctx.part(Vault)
    keks = store.list_keks(ctx.tx, ctx.tenant)
    kek = (
        (keks[-1], vault.hierarchy.open_kek(keks[-1]))
        if keks
        else vault.hierarchy.new_kek(ctx.tx, ctx.tenant, ctx.now_us)
    )
    known = {row.name for row in store.list_versions(ctx.tx, ctx.tenant)}
    known_indexes = {row.name for row in store.list_index_keys(ctx.tx, ctx.tenant)}
    versions = []
    for name, suite in _wanted_keys(vault).items():
        if name not in known:
            versions.append(vault.hierarchy.new_version(ctx.tx, kek, name, 1, suite, ctx.now_us))
    missing = {one.key_name for policy in vault.policies.values() for one in policy.indexes} - known_indexes
    index_keys = [vault.hierarchy.new_index_key(ctx.tx, kek, name, ctx.now_us) for name in sorted(missing)]
    keep_definitions(ctx, index_keys)
    ctx.after_commit(lambda: vault.change(lambda ring: ring.replace(versions, index_keys)))
    ctx.note(keys=len(versions), index_keys=len(index_keys))
    return wire.KeyringView(keys=len(versions), index_keys=len(index_keys))


@operation(
    "keys.list",
    "GET /api/v1/keys",
    takes=wire.ListKeys,
    gives=wire.KeyList,
    effect=Effect.READ,
    resource="keys/all",
)
def list_keys(ctx: Context, request: wire.ListKeys) -> wire.KeyList:
    """List the tenant's keys and their versions."""
    del request
    return wire.KeyList(data=store.key_views(ctx.tx, ctx.tenant))


@operation(
    "keys.read",
    "GET /api/v1/keys/{key}",
    takes=wire.KeyName,
    gives=wire.KeyView,
    effect=Effect.READ,
    resource="keys/{key}",
    audit=("key",),
)
def read_key(ctx: Context, request: wire.KeyName) -> wire.KeyView:
    """Show one key and its versions."""
    return _view(ctx, request.key)


@operation(
    "keys.rotate",
    "POST /api/v1/keys/{key}/rotate",
    takes=wire.KeyName,
    gives=wire.KeyView,
    effect=Effect.WRITE,
    resource="keys/{key}",
    audit=("key",),
    example={},
)
def rotate_key(ctx: Context, request: wire.KeyName) -> wire.KeyView:
    """Make a new version that seals from now on; older versions still open."""
    vault = ctx.part(Vault)
    rows = store.list_versions(ctx.tx, ctx.tenant, request.key)
    if not rows:
        raise NotFound(f"Expected the name of a key, got {request.key}; see guard keys list.")
    keks = {row.version: (row, vault.hierarchy.open_kek(row)) for row in store.list_keks(ctx.tx, ctx.tenant)}
    suite = _wanted_keys(vault).get(request.key, suites.BY_NAME[rows[-1].suite])
    version = rows[-1].version + 1
    fresh = vault.hierarchy.new_version(ctx.tx, keks[max(keks)], request.key, version, suite, ctx.now_us)
    # From the store, not from the keyring: a rotation in the same group commit is not in the keyring yet.
    older = [vault.hierarchy.open_version(keks[row.kek_version], row) for row in rows if row.state is State.ACTIVE]
    for one in older:
        store.set_state(ctx.tx, one.key_id, State.ACTIVE, move(State.ACTIVE, State.DECRYPT_ONLY), ctx.now_us)
    changed = [fresh, *(replace(one, state=State.DECRYPT_ONLY) for one in older)]
    ctx.after_commit(lambda: vault.change(lambda ring: ring.replace(changed)))
    ctx.note(version=fresh.version)
    return _view(ctx, request.key)


@operation(
    "keys.retire",
    "POST /api/v1/keys/{key}/versions/{version}/retire",
    takes=wire.RetireVersion,
    gives=wire.KeyView,
    effect=Effect.EXTERNAL,
    resource="keys/{key}",
    audit=("key", "version"),
    example={},
)
def retire_version(ctx: Context, request: wire.RetireVersion) -> wire.KeyView:
    """Retire a version that no registered value uses any more."""
    vault = ctx.part(Vault)
    found = next(
        (
            one
            for one in vault.keyring
            if one.tenant == ctx.tenant and one.name == request.key and one.version == request.version
        ),
        None,
    )
    if found is None:
        raise NotFound(f"Expected a version of key {request.key}, got {request.version}; see guard keys list.")
    retired = replace(found, state=move(found.state, State.RETIRED))
    counted = census(ctx, "")
    if not any(row.key_id == found.key_id.hex() for row in counted):
        raise Conflict(
            f"Expected a source that declares a column under {found.name}, got none, so nobody can tell whether values "
            "still need this version; declare the source in guard.toml."
        )
    for row in counted:
        if row.key_id == found.key_id.hex() and row.version == found.version and row.count:
            raise KeyInUse(
                f"Version {found.version} of {found.name} still seals {row.count} values of {row.table}.{row.column} "
                f"in source {row.source}; re-encrypt them first.",
                source=row.source,
                table=row.table,
                column=row.column,
                count=row.count,
            )
    with ctx.part(Store).read() as tx:
        shown = next(iter(store.key_views(tx, ctx.tenant, request.key)))

    def change(tx: Tx) -> None:
        if not store.set_state(tx, found.key_id, found.state, State.RETIRED, ctx.now_us):
            raise KeyStateConflict(f"Version {found.version} of {found.name} changed meanwhile; look at it again.")

    ctx.at_outcome(change)
    ctx.after_commit(lambda: vault.change(lambda ring: ring.replace([retired])))
    versions = [
        one.model_copy(update={"state": State.RETIRED.value, "changed_us": ctx.now_us})
        if one.version == found.version
        else one
        for one in shown.versions
    ]
    return wire.KeyView(key=shown.key, versions=versions)


def _view(ctx: Context, name: str) -> wire.KeyView:
    views = store.key_views(ctx.tx, ctx.tenant, name)
    if not views:
        raise NotFound(f"Expected the name of a key, got {name}; see guard keys list.")
    return views[0]


def _wanted_keys(vault: Vault) -> dict[str, suites.Suite]:
    return {name: suite for policy in vault.policies.values() for name, suite in policy.keys.items()}
