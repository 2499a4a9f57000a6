"""Where keys of other systems are kept: each under a key of its own, which the tenant's KEK wraps.

Law: they are opened for one request and kept by nobody, so that sealing the service leaves none in memory. Messages of
AES-GCM are counted by a keyed fingerprint of the key itself: a key that is removed and imported again, or comes under
two names, goes on where it was.
"""

import hmac
import json

from guard.catalogue import Context
from guard.errors import AlreadyExists, Conflict, KeyStateConflict, NotFound
from guard.vault import counter_store, imported_store, store
from guard.vault.gcm96 import REFUSE_AT, Block
from guard.vault.imported import Imported, Use, decode
from guard.vault.imported_store import ImportedRow
from guard.vault.keys import Secret
from guard.vault.store import KekRow
from guard.vault.suites import CBL256
from guard.vault.tink import Kind, TinkKey
from guard.vault.unsealing import ID_CANDIDATES
from guard.vault.vault import Vault
from guard.vault.wrap import Place, new_key_id, unwrap, wrap

REQUEST_DAYS = 7  # a request that nobody approves for so long was forgotten
DAY_US = 86_400_000_000
COUNTER_KEY = "gcm_counters"
COUNTER_ID_BYTES = 16
KEY_BYTES = 32
PURPOSE = "imported"


def new_row(ctx: Context, name: str, imported: Imported) -> ImportedRow:
    """A key as it is kept, not yet approved."""
    vault = ctx.part(Vault)
    keks = store.list_keks(ctx.tx, ctx.tenant)
    if keks:
        newest = max(keks, key=lambda row: row.version)
        kek, secret = newest, vault.hierarchy.open_kek(newest)
    else:
        kek, secret = vault.hierarchy.new_kek(ctx.tx, ctx.tenant, ctx.now_us)
    taken = store.taken_key_ids(ctx.tx) | imported_store.taken_ids(ctx.tx)
    key_id, key = new_key_id(ctx.random(ID_CANDIDATES), taken), ctx.random(KEY_BYTES)
    return ImportedRow(
        tenant=ctx.tenant,
        name=name,
        request=ctx.new_id("imp"),
        key_id=key_id,
        format=imported.format.value,
        kek_version=kek.version,
        wrapped=wrap(secret.expose(), place_of(kek, key_id), key),
        body=CBL256.seal(key, _context(ctx.tenant, name, key_id), imported.encode()),
        asked_by=ctx.actor.subject,
        asked_us=ctx.now_us,
        approved_by=None,
        approved_us=None,
        removal_by=None,
        changed_us=ctx.now_us,
    )


def approved(ctx: Context, name: str) -> ImportedRow:
    """The row of a key that may be used.

    Raises:
        NotFound: there is none. Conflict: it waits for a second person.
    """
    row = imported_store.find(ctx.tx, ctx.tenant, name)
    if row is None:
        raise NotFound(f"Expected the name of an imported key, got {name}; see guard keys imported.")
    if row.approved_by is None:
        raise Conflict(f"The import of {name} waits for a second person; see guard keys requests.")
    return row


def refuse_field_key(ctx: Context, name: str) -> None:
    """Refuse a name that is that of a field's key: of two keys under one name the wrong one could be given out.

    Raises:
        AlreadyExists: see above.
    """
    fields = {known for policy in ctx.part(Vault).policies.values() for known in policy.keys}
    if name in fields or store.list_versions(ctx.tx, ctx.tenant, name):
        raise AlreadyExists(f"Expected a name that is free, got {name}, the key of a field; choose another.")


def serving(ctx: Context, row: ImportedRow, use: Use) -> Imported:
    """What a row holds, if it was brought for this use.

    Raises:
        Conflict: it serves something else.
    """
    imported = opened(ctx, row)
    if imported.use is not use:
        raise Conflict(
            f"Expected a key that was imported for {use.value}, got {row.name}, which is for {imported.use.value}; "
            "a key serves one of them alone."
        )
    return imported


def opened(ctx: Context, row: ImportedRow) -> Imported:
    """What a row holds; the caller drops it with its request."""
    return decode(CBL256.open(_key(ctx, row).expose(), _context(row.tenant, row.name, row.key_id), row.body))


def replaced(ctx: Context, row: ImportedRow, imported: Imported) -> None:
    """Keep *imported* in place of what the row held.

    Raises:
        KeyStateConflict: somebody else changed it meanwhile.
    """
    body = CBL256.seal(_key(ctx, row).expose(), _context(row.tenant, row.name, row.key_id), imported.encode())
    if not imported_store.rewrite(ctx.tx, row, body):
        raise KeyStateConflict(f"The key {row.name} changed meanwhile; try again.")


def reserve(ctx: Context, key: TinkKey, messages: int) -> Block:
    """Numbers for so many messages under an AES-GCM key, durable with the record of this request.

    Raises:
        KeyStateConflict: it may not seal so many more.
    """
    place = counter_id(ctx, key)
    left = REFUSE_AT - counter_store.reserved(ctx.tx, place)
    if left < messages:
        raise KeyStateConflict(
            f"Expected at most {left} messages more under the key {key.key_id}, whose nonces have 96 bits, "
            f"got {messages}; rotate it.",
            left=left,
        )
    return counter_store.reserve(ctx.tx, place, ctx.now_us, messages)


def start_counting(ctx: Context, imported: Imported, messages: int) -> None:
    """What the AES-GCM keys of a keyset sealed elsewhere counts too."""
    for key in imported.keyset.keys:
        if key.kind is Kind.AES256_GCM and len(key.material):
            counter_store.start_at(ctx.tx, counter_id(ctx, key), messages, ctx.now_us)


def counter_id(ctx: Context, key: TinkKey) -> bytes:
    """Under which the messages of an AES-GCM key are counted."""
    secret = ctx.part(Vault).hierarchy.system_secret(ctx.tx, COUNTER_KEY, KEY_BYTES, ctx.now_us)
    found = hmac.digest(secret.expose(), key.material.expose(), "sha256")[:COUNTER_ID_BYTES]
    secret.wipe()
    return found


def fresh(asked_us: int, now_us: int, days: int = REQUEST_DAYS) -> bool:
    """Whether a request is of the last days."""
    return now_us - asked_us <= days * DAY_US


def _key(ctx: Context, row: ImportedRow) -> Secret:
    found = [one for one in store.list_keks(ctx.tx, row.tenant) if one.version == row.kek_version]
    kek = ctx.part(Vault).hierarchy.open_kek(found[0])
    raw = unwrap(kek.expose(), place_of(found[0], row.key_id), row.wrapped)
    kek.wipe()
    return Secret(raw, f"key of the imported {row.name}")


def place_of(kek: KekRow, key_id: bytes) -> Place:
    """Where the wrap of an imported key belongs."""
    return Place(kek.tenant, PURPOSE, kek.key_id, kek.version, key_id, 1)


def _context(tenant: str, name: str, key_id: bytes) -> bytes:
    return json.dumps({"imported": name, "key_id": key_id.hex(), "tenant": tenant}, sort_keys=True).encode()
