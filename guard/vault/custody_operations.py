"""What the catalogue lists of custody: slots are shown, added, moved and removed, and the service is sealed.

Law: several slots hold one seal secret, so a change of custody touches no key below it and no value. A new slot needs
an unsealed service and two persons: it is made and opened at once when the first asks, and its wrap is kept sealed
under the seal itself until the second approves, so that the first alone can open nothing with it. A move removes the
old slot in the transaction that adds the new one. The last slot stays. Sealing needs one person: it takes no data away.
"""

import json
from collections.abc import Mapping
from dataclasses import replace

from guard.catalogue import PLATFORM, Context, Effect, operation
from guard.db.engine import Store, Tx
from guard.errors import Conflict, Denied, NotFound
from guard.vault import custody_store, slots, store
from guard.vault.custodian import Custodian
from guard.vault.custody_store import RequestRow
from guard.vault.keys import Secret
from guard.vault.store import SlotRow
from guard.vault.suites import CBL256
from guard.vault.vault import Vault
from guard.wire import custody as wire
from guard.wire.model import Nothing

RESOURCE = "custody/all"
REQUEST_DAYS = 7  # a request that nobody approves for so long was forgotten
DAY_US = 86_400_000_000
MAX_SLOTS = 16  # LUKS has 8 or 32; each is one more place where a thief may look
SUFFIX_BYTES = 3
REQUEST_KEY = "custody_requests"


@operation(
    "custody.status",
    "GET /api/v1/custody",
    takes=wire.ReadCustody,
    gives=wire.CustodyView,
    effect=Effect.READ,
    resource=RESOURCE,
)
def read_custody(ctx: Context, request: wire.ReadCustody) -> wire.CustodyView:
    """Show the state of the seal, its slots, and those that wait for a second person."""
    del request
    _refuse_elsewhere(ctx)
    custodian = ctx.part(Custodian)
    return wire.CustodyView(
        state=custodian.state.value,
        slots=[_slot_view(one, custodian) for one in store.list_slots(ctx.tx)],
        requests=[
            wire.RequestView(
                slot=one.slot.slot_id,
                plugin=one.slot.plugin,
                replaces=one.replaces,
                asked_by=one.asked_by,
                asked_us=one.asked_us,
            )
            for one in custody_store.requests(ctx.tx)
        ],
        waiting=[],
        failures=0,
    )


def _slot_view(row: SlotRow, custodian: Custodian) -> wire.SlotView:
    options = json.loads(row.options)
    if row.plugin == slots.FILE and not options.get("path"):
        options = {"path": custodian.key_file}
    return wire.SlotView(
        slot=row.slot_id,
        plugin=row.plugin,
        automatic=slots.is_automatic(row.plugin),
        need=slots.needed(row),
        have=0,
        options=options,
        created_us=row.created_us,
    )


@operation(
    "custody.add",
    "POST /api/v1/custody/slots",
    takes=wire.AddSlot,
    gives=wire.AskedSlot,
    effect=Effect.EXTERNAL,
    resource=RESOURCE,
    audit=("plugin",),
    example={"plugin": "aws_kms", "options": {"key_id": "alias/guard", "region": "eu-central-1"}},
)
def add_slot(ctx: Context, request: wire.AddSlot) -> wire.AskedSlot:
    """Make a further slot and ask a second person to approve it."""
    return _ask(ctx, request.plugin, request.options, request.secrets, None)


@operation(
    "custody.move",
    "POST /api/v1/custody/slots/{slot}/move",
    takes=wire.MoveSlot,
    gives=wire.AskedSlot,
    effect=Effect.EXTERNAL,
    resource=RESOURCE,
    audit=("slot", "plugin"),
    example={"plugin": "aws_kms", "options": {"key_id": "alias/guard", "region": "eu-central-1"}},
)
def move_slot(ctx: Context, request: wire.MoveSlot) -> wire.AskedSlot:
    """Make a slot that takes the place of another and ask a second person to approve it."""
    return _ask(ctx, request.plugin, request.options, request.secrets, request.slot)


def _ask(
    ctx: Context, plugin: str, options: Mapping[str, str], secrets: Mapping[str, str], replaces: str | None
) -> wire.AskedSlot:
    _refuse_elsewhere(ctx)
    custodian, vault = ctx.part(Custodian), ctx.part(Vault)
    custodian.check()
    slots.check_options(plugin, options, secrets, production=custodian.production)
    with ctx.part(Store).read() as tx:
        _refuse_too_many(tx)
        if replaces is not None:
            _refuse_unknown(tx, replaces)
    slot_id = f"{plugin}-{ctx.random(SUFFIX_BYTES).hex()}"
    made, handout = slots.make((custodian.cluster, slot_id, plugin), options, secrets, custodian.seal, ctx.random)

    def keep(tx: Tx) -> None:
        _refuse_too_many(tx)
        key = vault.hierarchy.system_secret(tx, REQUEST_KEY, slots.KEY_BYTES, ctx.now_us)
        sealed = replace(made, wrapped=_seal_again(key, made))
        custody_store.ask(tx, RequestRow(sealed, replaces, ctx.actor.subject, ctx.now_us))
        key.wipe()

    ctx.at_outcome(keep)
    ctx.note(new_slot=slot_id)
    return wire.AskedSlot(slot=slot_id, plugin=plugin, replaces=replaces, shares=list(handout))


def _seal_again(key: Secret, row: SlotRow) -> bytes:
    return CBL256.seal(key.expose(), row.record, row.wrapped)


def _refuse_too_many(tx: Tx) -> None:
    if len(store.list_slots(tx)) + len(custody_store.requests(tx)) >= MAX_SLOTS:
        raise Conflict(f"Expected at most {MAX_SLOTS} custody slots and requests, got more; remove one first.")


def _refuse_unknown(tx: Tx, slot_id: str) -> None:
    if slot_id not in {one.slot_id for one in store.list_slots(tx)}:
        raise NotFound(f"Expected a custody slot, got {slot_id}; see guard custody status.")


@operation(
    "custody.approve",
    "POST /api/v1/custody/slots/{slot}/approve",
    takes=wire.ApproveSlot,
    gives=Nothing,
    effect=Effect.WRITE,
    resource=RESOURCE,
    audit=("slot",),
    example={},
)
def approve_slot(ctx: Context, request: wire.ApproveSlot) -> Nothing:
    """Approve the slot that another person asked for; it opens the seal from then on, and what it replaces does not."""
    _refuse_elsewhere(ctx)
    ctx.part(Custodian).check()
    asked = custody_store.take(ctx.tx, request.slot)
    if asked.asked_by == ctx.actor.subject:
        raise Denied("Expected a second person to approve this, got the one who asked for it.")
    if ctx.now_us - asked.asked_us > REQUEST_DAYS * DAY_US:
        raise Conflict(f"Expected a request of the last {REQUEST_DAYS} days, got an older one; ask again.")
    key = ctx.part(Vault).hierarchy.system_secret(ctx.tx, REQUEST_KEY, slots.KEY_BYTES, ctx.now_us)
    wrapped = CBL256.open(key.expose(), asked.slot.record, asked.slot.wrapped)
    key.wipe()
    store.add_slot(ctx.tx, replace(asked.slot, wrapped=wrapped), ctx.now_us)
    if asked.replaces is not None:
        custody_store.remove(ctx.tx, asked.replaces)
    ctx.note(plugin=asked.slot.plugin, replaces=asked.replaces or "", asked_by=asked.asked_by)
    return Nothing()


@operation(
    "custody.remove",
    "POST /api/v1/custody/slots/{slot}/remove",
    takes=wire.RemoveSlot,
    gives=Nothing,
    effect=Effect.WRITE,
    resource=RESOURCE,
    audit=("slot",),
    example={},
)
def remove_slot(ctx: Context, request: wire.RemoveSlot) -> Nothing:
    """Remove a slot, though never the last, or withdraw one that waits for approval."""
    _refuse_elsewhere(ctx)
    ctx.part(Custodian).check()
    if not custody_store.drop_request(ctx.tx, request.slot):
        custody_store.remove(ctx.tx, request.slot)
    return Nothing()


@operation(
    "custody.seal",
    "POST /api/v1/custody/seal",
    takes=wire.SealService,
    gives=wire.UnsealView,
    effect=Effect.WRITE,
    resource=RESOURCE,
    example={},
)
def seal_service(ctx: Context, request: wire.SealService) -> wire.UnsealView:
    """Seal the service: keys leave the memory, and nothing is answered until it is unsealed."""
    del request
    _refuse_elsewhere(ctx)
    custodian = ctx.part(Custodian)
    custodian.check()
    ctx.after_commit(custodian.throw)
    return wire.UnsealView(state="sealed", slot="", have=0, need=0)


@operation(
    "custody.unseal",
    "POST /api/v1/custody/unseal",
    takes=wire.UnsealService,
    gives=wire.UnsealView,
    effect=Effect.NONE,
    resource=RESOURCE,
    audit=("slot",),
    example={},
)
def unseal_service(ctx: Context, request: wire.UnsealService) -> wire.UnsealView:
    """Say that the service is unsealed already; a sealed one takes this call without a token."""
    _refuse_elsewhere(ctx)
    ctx.part(Custodian).check()
    return wire.UnsealView(state=ctx.part(Custodian).state.value, slot=request.slot, have=0, need=0)


@operation(
    "custody.opened",
    None,
    takes=wire.OpenCustody,
    gives=Nothing,
    effect=Effect.WRITE,
    resource=RESOURCE,
    audit=("slot", "plugin", "failures"),
)
def opened_custody(ctx: Context, request: wire.OpenCustody) -> Nothing:
    """Record which slot opened the seal, and how often something wrong was given before."""
    del ctx, request
    return Nothing()


def _refuse_elsewhere(ctx: Context) -> None:
    if ctx.tenant != PLATFORM:
        raise NotFound("One seal closes every tenant's data, so only the platform's administrators change its custody.")
