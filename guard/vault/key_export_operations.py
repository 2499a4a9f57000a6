"""What the catalogue lists of exports: asked for by one person, approved by another, collected by the first, once.

Law: this is the one answer of guard that holds keys. It takes two persons even under a KEK, since whoever brought the
KEK holds it in clear. What is exported of a field are RAW keys: a value's body opens with its context as associated
data (README of the formats: docs/developer.md). CBL256, HPKE and FF1 have no key type in Tink and are refused.
"""

from dataclasses import replace
from typing import Final

from guard.catalogue import Context, Effect, operation
from guard.errors import Conflict, KeyStateConflict, NotFound
from guard.vault import imported_store, store, suites, tink_binary
from guard.vault.import_operations import check_second
from guard.vault.imported import Imported, Use
from guard.vault.imported_keys import approved, fresh, opened, refuse_field_key, reserve, serving
from guard.vault.imported_store import ExportRow
from guard.vault.keys import Secret
from guard.vault.tink import Keyset, Kind, TinkKey, write_keyset
from guard.vault.vault import Vault
from guard.vault.versions import State
from guard.wire import imports as wire

COLLECT_DAYS = 1  # an approval is not kept in store for another day
KINDS: Final = {suites.XAES.name: Kind.XAES, suites.SIV.name: Kind.AES256_SIV}
STATES: Final = {
    State.ACTIVE: State.DECRYPT_ONLY,  # the newest of them becomes the primary one
    State.DECRYPT_ONLY: State.DECRYPT_ONLY,
    State.RETIRED: State.RETIRED,
}
"""What is to be destroyed does not leave: a copy elsewhere would outlive the destruction that two persons asked for."""


@operation(
    "keys.export",
    "POST /api/v1/keys/{key}/export",
    takes=wire.ExportKey,
    gives=wire.ExportedKey,
    effect=Effect.WRITE,
    resource="keys/{key}",
    audit=("key", "format", "kek"),
    example={"format": "tink"},
)
def export_key(ctx: Context, request: wire.ExportKey) -> wire.ExportedKey:
    """Ask to export a key; asked again when a second person has approved it, it is given out, once."""
    asked = imported_store.find_export(ctx.tx, ctx.tenant, request.key)
    mine = asked is not None and asked.asked_by == ctx.actor.subject
    if asked is not None and (not _live(asked, ctx.now_us) or (mine and asked.kek != request.kek)):
        asked = None  # under another KEK it is another request, which needs an approval of its own
    if asked is None:
        _keyset(ctx, request.key)  # what cannot be exported need not be approved
        _kek(ctx, request.kek)
        asked = ExportRow(
            ctx.tenant, request.key, ctx.new_id("exk"), request.format, request.kek, ctx.actor.subject, ctx.now_us
        )
        imported_store.put_export(ctx.tx, asked)
        return _answer(ctx, asked, "asked")
    if not mine:
        raise Conflict(
            f"{asked.asked_by} asked for an export of {request.key} already; it is collected as it was asked for.",
            by=asked.asked_by,
        )
    if asked.approved_by is None:
        return _answer(ctx, asked, "asked")
    imported_store.drop_export(ctx.tx, ctx.tenant, request.key)
    return _answer(ctx, asked, "exported", _written(ctx, request))


@operation(
    "keys.approve_export",
    "POST /api/v1/keys/{key}/export/approval",
    takes=wire.ApproveRequest,
    gives=wire.ExportedKey,
    effect=Effect.WRITE,
    resource="keys/{key}",
    audit=("key", "request"),
    example={"request": "exk_0198"},
)
def approve_export(ctx: Context, request: wire.ApproveRequest) -> wire.ExportedKey:
    """Approve an export that another person asked for; he collects it within a day."""
    asked = imported_store.find_export(ctx.tx, ctx.tenant, request.key)
    if asked is None or asked.approved_by is not None or asked.request != request.request:
        raise NotFound(f"Expected a request to export {request.key} that waits, got none; see guard keys requests.")
    check_second(ctx, asked.asked_by, asked.asked_us)
    asked = replace(asked, approved_by=ctx.actor.subject, approved_us=ctx.now_us)
    imported_store.put_export(ctx.tx, asked)
    return _answer(ctx, asked, "approved")


def _written(ctx: Context, request: wire.ExportKey) -> str:
    keyset, kek = _keyset(ctx, request.key), _kek(ctx, request.kek)
    if kek is None:
        return write_keyset(keyset)
    seal = kek.sealer(lambda: reserve(ctx, kek.keyset.primary, 1), ctx.random)
    return tink_binary.write_encrypted(keyset, lambda raw: seal(b"", raw))


def _kek(ctx: Context, name: str) -> Imported | None:
    if not name:
        return None
    return serving(ctx, approved(ctx, name), Use.KEYSETS)


def _keyset(ctx: Context, name: str) -> Keyset:
    rows = store.list_versions(ctx.tx, ctx.tenant, name)
    if not rows:
        return opened(ctx, approved(ctx, name)).keyset
    if imported_store.find(ctx.tx, ctx.tenant, name) is not None:
        refuse_field_key(ctx, name)  # which of the two was approved, nobody could tell
    odd = sorted({row.suite for row in rows} - KINDS.keys())
    if odd:
        raise Conflict(
            f"Expected a key of the suites {', '.join(KINDS)}, got {name} with {', '.join(odd)}, for which Tink has no "
            "key type; re-encrypt its field under another suite first."
        )
    hierarchy = ctx.part(Vault).hierarchy
    keks = {row.version: (row, hierarchy.open_kek(row)) for row in store.list_keks(ctx.tx, ctx.tenant)}
    sealing = [row.version for row in rows if row.state is State.ACTIVE and not row.compromised]
    if not sealing:
        raise KeyStateConflict(f"No version of {name} may seal, and a keyset needs one; rotate the key.")
    return Keyset(
        tuple(
            TinkKey(
                row.version,
                KINDS[row.suite],
                State.ACTIVE if row.version == max(sealing) else STATES[row.state],
                True,
                Secret(hierarchy.open_version(keks[row.kek_version], row).material.expose(), f"{name} {row.version}"),
            )
            for row in rows
            if row.state in STATES
        )
    )


def _live(asked: ExportRow, now_us: int) -> bool:
    if asked.approved_us is None:
        return fresh(asked.asked_us, now_us)
    return fresh(asked.approved_us, now_us, COLLECT_DAYS)


def _answer(ctx: Context, asked: ExportRow, state: str, keyset: str | None = None) -> wire.ExportedKey:
    ctx.note(request=asked.request, stage=state, asked_by=asked.asked_by, approved_by=asked.approved_by or "")
    return wire.ExportedKey(
        key=asked.name,
        format=asked.format,
        kek=asked.kek,
        request=asked.request,
        state=state,  # type: ignore[arg-type]  # one of three
        keyset=keyset,
    )
