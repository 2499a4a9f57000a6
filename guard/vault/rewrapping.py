"""Rewrapping: a tenant's KEK is replaced and every key under it is wrapped anew; values are not touched.

Law: the new KEK is durable before a key is under it; each wrap is opened again before it replaces another; what is left
to do is read from the two stores, so a step may be made again after a crash. Keys of the main database are replaced
where they stand, since a backup of it holds their KEK as well. Keys of shred buckets are not: an older backup of the
main database needs them as they are, so each bucket gets a new version under the new KEK, its persons' keys move there,
and the old version goes when the last such backup does. A KEK ends when nothing is under it.
"""

from collections.abc import Callable, Mapping

from guard.catalogue import Context, Effect, operation
from guard.errors import NotFound, StoreDamaged
from guard.vault import dek_store, imported_keys, rewrap_store, store, subjects, suites
from guard.vault.forgetting import Forgetting
from guard.vault.keys import Secret
from guard.vault.rewrap_store import Row
from guard.vault.rewraps import census, free, left
from guard.vault.store import KekRow
from guard.vault.unsealing import index_place, version_place
from guard.vault.vault import Vault
from guard.vault.wrap import Place, unwrap, wrap
from guard.wire import rewraps as wire

LOOKED_AT = 256  # buckets of a step: up to 0.2 s of the writer, measured while versions are made

Kek = tuple[KekRow, Secret]


@operation(
    "keys.rewrap",
    "POST /api/v1/keys/rewrap",
    takes=wire.RewrapKeys,
    gives=wire.RewrapView,
    effect=Effect.WRITE,
    resource="keys/all",
    audit=("fresh",),
    example={},
)
def rewrap_keys(ctx: Context, request: wire.RewrapKeys) -> wire.RewrapView:
    """Put some of the tenant's keys under its newest KEK, a *fresh* one if so asked; no value is opened or changed."""
    keks = _keks(ctx)
    if request.fresh:
        keks.append(_new_kek(ctx, keks[-1]))
    newest = keks[-1][0]
    moved = _main(ctx, keks, request.rows)
    # A bucket's key is durable in the key store before this transaction is, so its KEK must be durable before that.
    if not request.fresh and moved < request.rows:
        moved += _buckets(ctx, newest, request.rows) or _persons(ctx, request.rows - moved)
    persons = ctx.part(Forgetting).subjects
    counts = census(ctx.tx, persons.keys, ctx.tenant)
    rest, ended = left(counts, newest.version), free(counts, [row.version for row, _ in keks], newest.version)
    for version in ended:
        rewrap_store.end_kek(ctx.tx, ctx.tenant, version)
    expired = persons.keys.of_tenant(ctx.tenant, "retired", ctx.now_us - ctx.part(Forgetting).terms.main_us, 1)
    _follow(ctx, going=rest > 0 or bool(expired), ended=bool(ended))
    ctx.note(kek_version=newest.version, moved=moved, left=rest, ended=len(ended))
    rows = [wire.RewrapCount(what=what, kek_version=version, count=count) for what, version, count in counts]
    return wire.RewrapView(kek_version=newest.version, moved=moved, left=rest, ended=ended, counts=rows)


def _follow(ctx: Context, *, going: bool, ended: bool) -> None:
    forgetting, tenant = ctx.part(Forgetting), ctx.tenant
    ctx.after_commit(lambda: forgetting.rewraps.put(tenant, going=going))
    if ended:  # its wrap, and those under it, are in the write-ahead logs still
        ctx.after_commit(forgetting.remains.left)


def _keks(ctx: Context) -> list[Kek]:
    hierarchy = ctx.part(Vault).hierarchy
    found = [(row, hierarchy.open_kek(row)) for row in store.list_keks(ctx.tx, ctx.tenant)]
    if not found:
        raise NotFound("Expected a tenant that has keys, but it has none yet; make them with guard keys create.")
    return found


def _new_kek(ctx: Context, last: Kek) -> Kek:
    # Of a database that was put back the key store may know newer KEKs; their numbers are not given again.
    seen = [version for _, version, _ in ctx.part(Forgetting).subjects.keys.count_by_kek(ctx.tenant)]
    return ctx.part(Vault).hierarchy.new_kek(ctx.tx, ctx.tenant, ctx.now_us, max(last[0].version, *seen, 0) + 1)


# the main database


def _key_place(kek: KekRow, row: Row) -> Place:
    return version_place(kek, suites.BY_NAME[row["suite"]], row["key_id"], row["version"])


_PLACES: Mapping[str, Callable[[KekRow, Row], Place]] = {
    "keys": _key_place,
    "index_keys": lambda kek, row: index_place(kek, row["name"], row["version"]),
    "subject_keys": lambda kek, row: subjects.place_of(kek, bytes.fromhex(row["key_id"])),
    "imported_keys": lambda kek, row: imported_keys.place_of(kek, row["key_id"]),
}


def _main(ctx: Context, keks: list[Kek], rows: int) -> int:
    newest, moved = keks[-1][0], 0
    known = {row.version: (row, secret) for row, secret in keks}
    for what, place in _PLACES.items():
        for row in rewrap_store.under_older(ctx.tx, what, ctx.tenant, newest.version, rows - moved):
            if row["kek_version"] not in known:
                raise StoreDamaged(f"A wrap among {what} names a KEK that is not there; restore the last backup.")
            fresh = _moved(what, place, known[row["kek_version"]], keks[-1], row)
            rewrap_store.replace(ctx.tx, what, row, fresh, newest.version)
            moved += 1
    return moved


def _moved(what: str, place: Callable[[KekRow, Row], Place], old: Kek, new: Kek, row: Row) -> bytes:
    """The wrap under the new KEK, opened again and compared before anybody relies on it."""
    mark = subjects.MARK_BYTES if what == "subject_keys" else 0
    key = unwrap(old[1].expose(), place(old[0], row), row["wrapped"][mark:])
    parent, there = new[1].expose(), place(new[0], row)
    wrapped = wrap(parent, there, key)
    if unwrap(parent, there, wrapped) != key:
        raise StoreDamaged("Expected a key to open under its new KEK, but it does not; nothing was replaced.")
    return bytes(row["wrapped"][:mark]) + wrapped


# the key store


def _buckets(ctx: Context, newest: KekRow, rows: int) -> int:
    """New versions of buckets that another KEK wraps, in one commit of the key store."""
    persons = ctx.part(Forgetting).subjects
    old = persons.keys.under_older(ctx.tenant, newest.version, rows)
    if old:
        made = persons.new_buckets(ctx.tx, ctx.tenant, [(row.bucket, row.version + 1) for row in old], ctx.now_us)
        dek_store.saw_generation(ctx.tx, persons.keys.add(made))
    return len(old)


def _persons(ctx: Context, rows: int) -> int:
    """Move persons' keys from versions of buckets that retire; a version is retired in the step that finds none.

    So are ended those that no backup needs any more, unless a restored one brought keys back under them.
    """
    forgetting = ctx.part(Forgetting)
    keys, now_us = forgetting.subjects.keys, ctx.now_us
    retiring = keys.of_tenant(ctx.tenant, "retiring", now_us, LOOKED_AT)
    expired = keys.of_tenant(ctx.tenant, "retired", now_us - forgetting.terms.main_us, LOOKED_AT)
    current, empty, moved = keys.current_versions(ctx.tenant), set[int](), 0
    for bucket in sorted({row.bucket for row in [*retiring, *expired]}):
        found = dek_store.of_bucket(ctx.tx, ctx.tenant, bucket, current[bucket], rows - moved)
        for row in found:
            wrapped = forgetting.subjects.rewrapped(ctx.tx, row, current[bucket])
            dek_store.rewrap(ctx.tx, row, wrapped, current[bucket])
        moved += len(found)
        if moved >= rows:
            break
        if not found:
            empty.add(bucket)
    if moved:
        dek_store.saw_generation(ctx.tx, keys.generation)
    keys.retire_all([row for row in retiring if row.bucket in empty], now_us)
    keys.destroy_all([row for row in expired if row.bucket in empty], now_us)
    return moved
