"""What the catalogue lists of keys: make, show, rotate. Their later life is in `key_states` and `retirement`."""

from guard.catalogue import Context, Effect, operation
from guard.errors import AlreadyExists, Conflict, InvalidRequest, NotFound
from guard.vault import store, suites, version_store
from guard.vault.index_operations import keep as keep_definitions
from guard.vault.key_steps import turn, version_row, view_of, views
from guard.vault.keys import Secret
from guard.vault.vault import Vault
from guard.vault.versions import State
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
    kek = _kek(ctx)
    known = {row.name for row in store.list_versions(ctx.tx, ctx.tenant)}
    known_indexes = {row.name for row in store.list_index_keys(ctx.tx, ctx.tenant)}
    versions = []
    for name, suite in _wanted_keys(vault).items():
        if name not in known:
            versions.append(vault.hierarchy.new_version(ctx.tx, kek, name, 1, suite, ctx.now_us))
    missing = {name for policy in vault.policies.values() for name in policy.index_keys} - known_indexes
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
    return wire.KeyList(data=views(ctx))


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
    return view_of(ctx, request.key)


@operation(
    "keys.versions",
    "GET /api/v1/keys/{key}/versions",
    takes=wire.KeyName,
    gives=wire.VersionList,
    effect=Effect.READ,
    resource="keys/{key}",
    audit=("key",),
)
def list_versions(ctx: Context, request: wire.KeyName) -> wire.VersionList:
    """List the versions of a key, destroyed ones too: state, dates, uses, and who asked for an end."""
    return wire.VersionList(data=view_of(ctx, request.key).versions)


@operation(
    "keys.create",
    "POST /api/v1/keys",
    takes=wire.CreateKey,
    gives=wire.KeyView,
    effect=Effect.WRITE,
    resource="keys/{key}",
    audit=("key", "suite"),
    example={"key": "orders.archive"},
)
def create_key(ctx: Context, request: wire.CreateKey) -> wire.KeyView:
    """Make a key of a name that the tenant has none of; fields get theirs by themselves."""
    vault = ctx.part(Vault)
    if version_store.newest_version(ctx.tx, ctx.tenant, request.key):
        raise AlreadyExists(f"Expected a name that no key has or had, got {request.key}; rotate that key, or rename.")
    wanted = _wanted_keys(vault).get(request.key)
    suite = wanted or suites.BY_NAME[request.suite]
    if request.suite not in {"cbl256", suite.name}:
        raise InvalidRequest(f"Expected {suite.name}, which the field policy declares for {request.key}; leave it out.")
    fresh = vault.hierarchy.new_version(ctx.tx, _kek(ctx), request.key, 1, suite, ctx.now_us)
    ctx.after_commit(lambda: vault.change(lambda ring: ring.replace([fresh])))
    return view_of(ctx, request.key)


@operation(
    "keys.rotate",
    "POST /api/v1/keys/{key}/rotate",
    takes=wire.RotateKey,
    gives=wire.KeyView,
    effect=Effect.WRITE,
    resource="keys/{key}",
    audit=("key", "activate"),
    example={},
)
def rotate_key(ctx: Context, request: wire.RotateKey) -> wire.KeyView:
    """Make a new version that seals from now on, or from its activation; older versions still open."""
    vault = ctx.part(Vault)
    rows = store.list_versions(ctx.tx, ctx.tenant, request.key)
    if not rows:
        raise NotFound(f"Expected the name of a key, got {request.key}; see guard keys list.")
    suite = _wanted_keys(vault).get(request.key, suites.BY_NAME[rows[-1].suite])
    # A number is never used again, so that of a version that was destroyed counts too.
    version = version_store.newest_version(ctx.tx, ctx.tenant, request.key) + 1
    state = State.ACTIVE if request.activate else State.PRE_ACTIVE
    fresh = vault.hierarchy.new_version(ctx.tx, _kek(ctx), request.key, version, suite, ctx.now_us, state)
    ctx.after_commit(lambda: vault.change(lambda ring: ring.replace([fresh])))
    if request.activate:
        relieve(ctx, request.key, version)
    ctx.note(version=fresh.version)
    return view_of(ctx, request.key)


@operation(
    "keys.activate",
    "POST /api/v1/keys/{key}/versions/{version}/activate",
    takes=wire.KeyVersion,
    gives=wire.KeyView,
    effect=Effect.WRITE,
    resource="keys/{key}",
    audit=("key", "version"),
    example={},
)
def activate_version(ctx: Context, request: wire.KeyVersion) -> wire.KeyView:
    """Let a version seal that was made beforehand; the one that sealed until now only opens.

    Every reader of this process takes the keyring that follows the commit, so each worker knows the version before a
    value under it leaves: the acknowledgement of the key epoch is the replacement of that one reference.
    """
    row = version_row(ctx, request)
    newer = [
        one.version
        for one in store.list_versions(ctx.tx, ctx.tenant, request.key)
        if one.version > row.version and one.state is not State.PRE_ACTIVE
    ]
    if row.state is State.PRE_ACTIVE and newer:
        raise Conflict(f"Version {newer[-1]} of {request.key} is newer and was activated already; rotate the key.")
    turn(ctx, row, State.ACTIVE)
    relieve(ctx, request.key, row.version)
    return view_of(ctx, request.key)


def relieve(ctx: Context, key: str, version: int) -> None:
    """Every other active version of *key* only opens from now on."""
    for row in store.list_versions(ctx.tx, ctx.tenant, key):
        if row.state is State.ACTIVE and row.version != version:
            turn(ctx, row, State.DECRYPT_ONLY)


def _kek(ctx: Context) -> tuple[store.KekRow, Secret]:
    """The tenant's newest KEK."""
    hierarchy = ctx.part(Vault).hierarchy
    keks = store.list_keks(ctx.tx, ctx.tenant)
    if not keks:
        return hierarchy.new_kek(ctx.tx, ctx.tenant, ctx.now_us)
    newest = max(keks, key=lambda row: row.version)
    return newest, hierarchy.open_kek(newest)


def _wanted_keys(vault: Vault) -> dict[str, suites.Suite]:
    return {name: suite for policy in vault.policies.values() for name, suite in policy.keys.items()}
