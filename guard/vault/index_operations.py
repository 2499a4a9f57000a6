"""What the catalogue lists of index versions and of unique values: list, rotate, retire, claim, release.

Law: while two versions of an index live, every question is asked under both, and a unique value is checked under both
inside the transaction that claims it. No version goes while a row that guard can see carries its tokens.
"""

from dataclasses import replace

from guard.catalogue import Context, Effect, operation
from guard.db.engine import Tx
from guard.errors import AlreadyExists, Conflict, InvalidRequest, KeyInUse, KeyStateConflict, NotFound
from guard.vault import index_store, searching, source_token_store, store
from guard.vault.index import Definition
from guard.vault.indexes import Version, to_text
from guard.vault.keys import IndexKey
from guard.vault.searching import STORE
from guard.vault.source_search import forget_gone
from guard.vault.source_store import Sources
from guard.vault.vault import Vault
from guard.wire import search as wire


@operation(
    "indexes.list",
    "GET /api/v1/indexes",
    takes=wire.ListIndexes,
    gives=wire.IndexList,
    effect=Effect.NONE,
    resource="keys/all",
)
def list_indexes(ctx: Context, request: wire.ListIndexes) -> wire.IndexList:
    """List the live versions of all indexes, and whether they are as the field policy declares them today."""
    del request
    found = [
        _view(one, declared)
        for _, declared in sorted(ctx.part(Vault).declared.items())
        for one in searching.versions(ctx, declared)
    ]
    return wire.IndexList(data=found)


@operation(
    "indexes.rotate",
    "POST /api/v1/indexes/{name}/rotate",
    takes=wire.IndexName,
    gives=wire.IndexList,
    effect=Effect.WRITE,
    resource="keys/{name}",
    audit=("name",),
    example={},
)
def rotate_index(ctx: Context, request: wire.IndexName) -> wire.IndexList:
    """Make a new version, as the field policy declares the index now; queries ask under the older ones too."""
    vault, declared = ctx.part(Vault), _declared(ctx, request.name)
    known = [row.version for row in store.list_index_keys(ctx.tx, ctx.tenant) if row.name == request.name]
    searching.of_one_kind(declared, searching.versions(ctx, declared))
    keks = store.list_keks(ctx.tx, ctx.tenant)
    if not known or not keks:
        raise NotFound(f"Expected an index with a key in this tenant, got {request.name}; see guard indexes list.")
    kek = (keks[-1], vault.hierarchy.open_kek(keks[-1]))
    fresh = vault.hierarchy.new_index_key(ctx.tx, kek, request.name, ctx.now_us, max(known) + 1)
    keep(ctx, [fresh])
    ctx.note(version=fresh.version)
    live = [Version(declared, fresh), *searching.versions(ctx, declared)]
    return wire.IndexList(data=[_view(one, declared) for one in live])


@operation(
    "indexes.retire",
    "POST /api/v1/indexes/{name}/versions/{version}/retire",
    takes=wire.IndexVersion,
    gives=wire.IndexList,
    effect=Effect.EXTERNAL,
    resource="keys/{name}",
    audit=("name", "version"),
    example={},
)
def retire_index(ctx: Context, request: wire.IndexVersion) -> wire.IndexList:
    """Remove an older version with its key; refused while a row of a source, or a claimed value, still needs it."""
    vault, declared = ctx.part(Vault), _declared(ctx, request.name)
    live = searching.versions(ctx, declared)
    found = next((one for one in live if one.key.version == request.version), None)
    if found is None:
        raise NotFound(f"Expected a live version of {request.name}, got {request.version}; see guard indexes list.")
    if found is live[0]:
        raise KeyStateConflict(f"Version {request.version} of {request.name} is the newest; rotate the index first.")
    _check_sources(ctx, declared, request.version, live[0].key.version)
    place = (ctx.tenant, request.name, request.version)
    newest = live[0].key.version

    def change(tx: Tx) -> None:
        without = index_store.claims_without(tx, ctx.tenant, request.name, newest)
        if without:
            raise KeyInUse(
                f"{without} claimed values of {request.name} have no token of version {newest}; claim them again.",
                count=without,
            )
        index_store.drop_claims(tx, place)
        if not index_store.remove_version(tx, place):
            raise KeyStateConflict(f"Version {request.version} of {request.name} changed meanwhile; look again.")

    ctx.at_outcome(change)
    ctx.after_commit(lambda: _gone(vault, found.key))
    return wire.IndexList(data=[_view(one, declared) for one in live if one is not found])


@operation(
    "fields.claim",
    "POST /api/v1/fields/claim",
    takes=wire.ClaimValue,
    gives=wire.Claimed,
    effect=Effect.WRITE,
    resource=f"fields/{{field}}/{STORE}",
    audit=("field", "index"),
    example={"field": "customers.identity_number", "index": "unique", "row": "17", "value": "AB123456"},
)
def claim_value(ctx: Context, request: wire.ClaimValue) -> wire.Claimed:
    """Claim a value for a row, checked under every live version in this transaction; exactly one row can have it."""
    one = _unique(ctx, request.field, request.index)
    searching.charge(ctx, {one.key_name: (one, 1)}, storing=True)
    values = {**request.values, one.column: request.value}
    # From the store as well: a rotation in the same group commit is not in the keyring yet, and its row is.
    stored = {row.version for row in store.list_index_keys(ctx.tx, ctx.tenant) if row.name == one.key_name}
    live = searching.versions(ctx, one)
    if stored != {version.key.version for version in live}:
        raise Conflict(f"The index {one.key_name} is just being rotated; try again.")
    if not live[0].definition.unique:
        raise KeyStateConflict(f"Expected a unique index, but {one.key_name} became one since; rotate it first.")
    # A version from before it became unique has short tokens, which would take two values for one.
    sharp = [version for version in live if version.definition.unique]
    tokens = [(version.key.version, token) for version in sharp for token in version.stored(values)]
    holder = index_store.claimant(ctx.tx, ctx.tenant, one.key_name, tokens)
    if holder not in {None, request.row}:
        raise AlreadyExists(f"Expected a value that no other row of {request.field} has, got one that is taken.")
    kept = index_store.claim(ctx.tx, ctx.tenant, one.key_name, tokens, request.row, ctx.now_us)
    return wire.Claimed(row=request.row, tokens=kept)


@operation(
    "fields.release",
    "POST /api/v1/fields/release",
    takes=wire.ReleaseValue,
    gives=wire.Claimed,
    effect=Effect.WRITE,
    resource=f"fields/{{field}}/{STORE}",
    audit=("field", "index"),
    example={"field": "customers.identity_number", "index": "unique", "row": "17"},
)
def release_value(ctx: Context, request: wire.ReleaseValue) -> wire.Claimed:
    """Give up the claim of a row that was deleted or changed; where it has none, nothing happens."""
    one = _unique(ctx, request.field, request.index)
    return wire.Claimed(row=request.row, tokens=index_store.release(ctx.tx, ctx.tenant, one.key_name, request.row))


def keep(ctx: Context, fresh: list[IndexKey]) -> None:
    """Store how new versions are defined, and put them into the keyring after the commit.

    The keys by which vaulted tokens are found define no index.
    """
    vault = ctx.part(Vault)
    declared = vault.declared
    defined = [one for one in fresh if one.index in declared]
    for one in defined:
        index_store.add_definition(ctx.tx, (one.tenant, one.index, one.version), to_text(declared[one.index]))

    def put() -> None:
        for one in defined:
            vault.definitions.add((one.tenant, one.index, one.version), declared[one.index])
        vault.change(lambda ring: ring.replace(index_keys=fresh))

    ctx.after_commit(put)


def _gone(vault: Vault, key: IndexKey) -> None:
    vault.change(lambda ring: ring.replace(index_keys=[replace(key, live=False)]))
    vault.definitions.remove((key.tenant, key.index, key.version))
    key.material.wipe()


def _check_sources(ctx: Context, declared: Definition, version: int, newest: int) -> None:
    field = f"{declared.table}.{declared.column}"
    for source in ctx.part(Sources).of_tenant(ctx.tenant):
        column = next((column for column, name in source.columns.items() if name == field), None)
        if column is not None:
            with ctx.part(Sources).open(source) as opened:
                source_token_store.prepare(opened.connection)
                forget_gone(opened, source, column, (declared.key_name, version))
                # Rows of a unique index carry each live version: it is enough that they carry the newest too.
                other = newest if declared.unique else None
                count = source_token_store.carriers(opened.connection, declared.key_name, version, other)
            if count:
                raise KeyInUse(
                    f"{count} rows of source {source.name} carry tokens of version {version} of {declared.key_name}; "
                    "index them again first.",
                    source=source.name,
                    count=count,
                )


def _unique(ctx: Context, field: str, name: str) -> Definition:
    policy = ctx.part(Vault).policy(field)
    found = next((one for one in policy.indexes if one.name == name and one.unique), None)
    if found is None:
        raise InvalidRequest(f"Expected a unique index of {field}, got {name}; see guard fields list.")
    return found


def _declared(ctx: Context, name: str) -> Definition:
    found = ctx.part(Vault).declared.get(name)
    if found is None:
        raise NotFound(f"Expected the whole name of an index, got {name}; see guard indexes list.")
    return found


def _view(one: Version, declared: Definition) -> wire.IndexVersionView:
    made = one.definition
    return wire.IndexVersionView(
        index=declared.key_name,
        version=one.key.version,
        kind=made.kind,
        bits=made.bits,
        current=made == declared,
    )
