"""What the catalogue lists of keys that come from other systems: imported by two persons, shown, rotated, removed.

Law: what comes in clear was seen by whoever brought it, so it serves nobody before a second person approves it, and by
the id of the request, so that nothing is put in its place meanwhile. What comes encrypted under a KEK that was approved
needs no second approval; a KEK itself always takes two, and serves nothing else. Removal takes two as well: with the
key go all values that it sealed.
"""

from dataclasses import replace

from guard.catalogue import Context, Effect, operation
from guard.errors import AlreadyExists, Conflict, Denied, DoesNotOpen, InvalidInput, NotFound
from guard.vault import counter_store, imported_store, tink_binary
from guard.vault.imported import Format, Imported, Use, described, made, parse
from guard.vault.imported_keys import (
    REQUEST_DAYS,
    approved,
    counter_id,
    fresh,
    new_row,
    opened,
    refuse_field_key,
    replaced,
    serving,
    start_counting,
)
from guard.vault.imported_store import ExportRow, ImportedRow
from guard.vault.tink import Kind
from guard.wire import imports as wire

_MATERIAL = (
    '{"primaryKeyId":7,"key":[{"keyData":{"typeUrl":"type.googleapis.com/google.crypto.tink.XAesGcmKey","value":"'
    'EgIIDBogAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=","keyMaterialType":"SYMMETRIC"},"status":"ENABLED","keyId":7,'
    '"outputPrefixType":"TINK"}]}'
)  # bytes 00 to 1f: the shape of a keyset, and nobody's key


@operation(
    "keys.import",
    "POST /api/v1/keys/import",
    takes=wire.ImportKey,
    gives=wire.AskedKey,
    effect=Effect.WRITE,
    resource="keys/{key}",
    audit=("key", "format", "kek", "use", "sealed_before"),
    example={"key": "old.orders", "format": "tink", "material": _MATERIAL},
)
def import_key(ctx: Context, request: wire.ImportKey) -> wire.AskedKey:
    """Bring in a keyset of Tink or a key backup of OpenBao; in clear it waits for a second person."""
    _refuse_taken(ctx, request.key)
    imported = _read(ctx, request)
    row = new_row(ctx, request.key, imported)
    if request.kek:
        row = replace(row, approved_by=ctx.actor.subject, approved_us=ctx.now_us)
    imported_store.put(ctx.tx, row)
    if imported.format is Format.TINK:
        start_counting(ctx, imported, request.sealed_before)
    ctx.note(request=row.request, versions=len(described(imported)))
    return _asked(row)


def _read(ctx: Context, request: wire.ImportKey) -> Imported:
    form, use = Format(request.format), Use(request.use)
    if not request.kek:
        return parse(form, request.material, ctx.random, use)
    if use is Use.KEYSETS:
        raise InvalidInput("Expected a KEK in clear, which two persons bring, got one under another KEK.")
    if form is not Format.TINK:
        raise InvalidInput("Expected a KEK with a keyset of Tink only, got one with a backup, which is in clear.")
    kek = serving(ctx, approved(ctx, request.kek), Use.KEYSETS).keyset
    try:
        keyset = tink_binary.parse_encrypted(request.material, lambda sealed: kek.decrypt(b"", sealed))
    except DoesNotOpen:
        raise InvalidInput(f"Expected a keyset that is encrypted under {request.kek}, got another one.") from None
    return made(keyset, {}, ctx.random)


def _refuse_taken(ctx: Context, name: str) -> None:
    refuse_field_key(ctx, name)
    known = imported_store.find(ctx.tx, ctx.tenant, name)
    if known is None:
        return
    if known.approved_by is not None:
        raise AlreadyExists(f"Expected a name that is free, got {name}, an imported key; choose another.")
    if known.asked_by != ctx.actor.subject and fresh(known.asked_us, ctx.now_us):
        raise Conflict(f"{known.asked_by} asked to import {name} already; approve it, or have it withdrawn.")


@operation(
    "keys.approve_import",
    "POST /api/v1/keys/{key}/import/approval",
    takes=wire.ApproveRequest,
    gives=wire.AskedKey,
    effect=Effect.WRITE,
    resource="keys/{key}",
    audit=("key", "request"),
    example={"request": "imp_0198"},
)
def approve_import(ctx: Context, request: wire.ApproveRequest) -> wire.AskedKey:
    """Approve a key that another person brought; from then on it opens and seals."""
    row = imported_store.find(ctx.tx, ctx.tenant, request.key)
    if row is None or row.approved_by is not None or row.request != request.request:
        raise NotFound(f"Expected a request to import {request.key} that waits, got none; see guard keys requests.")
    check_second(ctx, row.asked_by, row.asked_us)
    refuse_field_key(ctx, row.name)  # a field may have been declared since it was asked
    row = replace(row, approved_by=ctx.actor.subject, approved_us=ctx.now_us, changed_us=ctx.now_us)
    imported_store.put(ctx.tx, row)
    ctx.note(asked_by=row.asked_by, format=row.format, use=opened(ctx, row).use.value)
    return _asked(row)


@operation(
    "imported_keys.list",
    "GET /api/v1/imported_keys",
    takes=wire.ListImportedKeys,
    gives=wire.ImportedKeyList,
    effect=Effect.READ,
    resource="imported_keys/all",
)
def list_imported(ctx: Context, request: wire.ListImportedKeys) -> wire.ImportedKeyList:
    """List imported keys, what each consists of, and how many messages it sealed where a limit holds."""
    del request
    return wire.ImportedKeyList(data=[_view(ctx, row) for row in imported_store.listed(ctx.tx, ctx.tenant)])


@operation(
    "imported_keys.rotate",
    "POST /api/v1/imported_keys/{key}/rotate",
    takes=wire.ImportedKeyName,
    gives=wire.ImportedKeyView,
    effect=Effect.WRITE,
    resource="imported_keys/{key}",
    audit=("key",),
    example={},
)
def rotate_imported(ctx: Context, request: wire.ImportedKeyName) -> wire.ImportedKeyView:
    """Make a new primary key in an imported keyset; export it then to the system that it came from."""
    row = approved(ctx, request.key)
    rotated = opened(ctx, row).rotated(ctx.random)
    replaced(ctx, row, rotated)
    ctx.note(version=rotated.keyset.primary.key_id)
    return _view(ctx, approved(ctx, request.key))


@operation(
    "imported_keys.remove",
    "POST /api/v1/imported_keys/{key}/remove",
    takes=wire.ImportedKeyName,
    gives=wire.AskedKey,
    effect=Effect.WRITE,
    resource="imported_keys/{key}",
    audit=("key",),
    example={},
)
def remove_imported(ctx: Context, request: wire.ImportedKeyName) -> wire.AskedKey:
    """Withdraw an import that waits, or ask for a key's removal; when a second person does the same, it is gone."""
    row = imported_store.find(ctx.tx, ctx.tenant, request.key)
    if row is None:
        raise NotFound(f"Expected the name of an imported key, got {request.key}; see guard keys imported.")
    first = row.removal_by is None or not fresh(row.changed_us, ctx.now_us)
    if row.approved_by is not None and first:
        row = replace(row, removal_by=ctx.actor.subject, changed_us=ctx.now_us)
        imported_store.put(ctx.tx, row)
        ctx.note(stage="asked")
        return _asked(row)
    if row.approved_by is not None and row.removal_by == ctx.actor.subject:
        raise Denied("You asked for this removal; a second person has to do the same.")
    imported_store.remove(ctx.tx, ctx.tenant, request.key)
    imported_store.drop_exports_of(ctx.tx, ctx.tenant, request.key)
    ctx.note(stage="removed", asked_by=row.removal_by or row.asked_by)
    return _asked(row)


@operation(
    "key_requests.list",
    "GET /api/v1/key_requests",
    takes=wire.ListKeyRequests,
    gives=wire.KeyRequestList,
    effect=Effect.READ,
    resource="keys/all",
)
def list_requests(ctx: Context, request: wire.ListKeyRequests) -> wire.KeyRequestList:
    """List imports, exports and removals that wait for a second person."""
    del request
    imports = [row for row in imported_store.listed(ctx.tx, ctx.tenant) if row.approved_by is None or row.removal_by]
    exports = imported_store.exports(ctx.tx, ctx.tenant)
    return wire.KeyRequestList(data=[*map(_import_request, imports), *map(_export_request, exports)])


def check_second(ctx: Context, asked_by: str, asked_us: int) -> None:
    """Refuse the one who asked, and what was asked too long ago.

    Raises:
        Denied, Conflict: see above.
    """
    if asked_by == ctx.actor.subject:
        raise Denied("Expected a second person to approve this, got the one who asked for it.")
    if not fresh(asked_us, ctx.now_us):
        raise Conflict(f"Expected a request of the last {REQUEST_DAYS} days, got an older one; ask again.")


def _import_request(row: ImportedRow) -> wire.KeyRequestView:
    asked = (row.asked_by, row.asked_us) if row.approved_by is None else (row.removal_by or "", row.changed_us)
    return wire.KeyRequestView(
        key=row.name,
        action="import" if row.approved_by is None else "remove",
        format=row.format,
        kek="",
        request=row.request,
        asked_by=asked[0],
        asked_us=asked[1],
        approved_by=None,
    )


def _export_request(row: ExportRow) -> wire.KeyRequestView:
    return wire.KeyRequestView(
        key=row.name,
        action="export",
        format=row.format,
        kek=row.kek,
        request=row.request,
        asked_by=row.asked_by,
        asked_us=row.asked_us,
        approved_by=row.approved_by,
    )


def _asked(row: ImportedRow) -> wire.AskedKey:
    state = "asked" if row.approved_by is None else "removing" if row.removal_by else "live"
    return wire.AskedKey(
        key=row.name,
        format=row.format,
        request=row.request,
        state=state,  # type: ignore[arg-type]  # one of the three above
        asked_by=row.asked_by,
        approved_by=row.approved_by,
    )


def _view(ctx: Context, row: ImportedRow) -> wire.ImportedKeyView:
    imported = opened(ctx, row)
    counts = {}
    if imported.format is Format.TINK:
        counts = {
            key.key_id: counter_store.reserved(ctx.tx, counter_id(ctx, key))
            for key in imported.keyset.keys
            if key.kind is Kind.AES256_GCM and len(key.material)
        }
    versions = [wire.ImportedVersion(**one, sealed=counts.get(one["id"], 0)) for one in described(imported)]
    return wire.ImportedKeyView(**_asked(row).model_dump(), use=imported.use.value, versions=versions)
