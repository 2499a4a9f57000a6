"""What the catalogue lists of sealed values: opening those of a record, and deleting them when their time has come."""

from guard.audit import hold_store, sealed_store, store
from guard.audit.canonical import b64u
from guard.audit.log import Log
from guard.audit.row import Row
from guard.audit.sealed import SECOND_US, SealedValues
from guard.catalogue import Context, Effect, operation
from guard.errors import NotFound
from guard.wire import audit_privacy as wire

EXPIRE_LIMIT = 500  # values per beat: some 20 ms of the writer
HELD_RETRY_SECONDS = 3600  # how often values that a hold keeps are looked at again


@operation(
    "records.reveal",
    "POST /api/v1/audit/records/{index}/reveal",
    takes=wire.RevealRecord,
    gives=wire.RevealedRecord,
    effect=Effect.READ,
    resource="sealed/{tenant}/records",
    audit=("index",),
    sealed=("reason",),
    hides=True,
    example={"reason": "asked for by the court"},
)
def reveal_record(ctx: Context, request: wire.RevealRecord) -> wire.RevealedRecord:
    """Open the sealed values of a record, with the nonces that prove them. A record holds those of one subject."""
    known = store.has_record(ctx.tx, ctx.tenant_for(request.tenant), request.index)
    body = Row.of(request.index, ctx.part(Log).reader(ctx.tx).entry(request.index)).body if known else {}
    if not body.get("sealed"):
        raise NotFound(
            f"Expected the index of a record of this tenant that has sealed values, got {request.index}; "
            "see guard audit list."
        )
    key_id, values = ctx.part(SealedValues).opened(ctx.tx, body["id"], body["sealed"])
    subject = pseudonym(key_id)
    ctx.note(pseudonym=subject, opened=len(values))
    openings = [wire.Opening(field=field, nonce=b64u(nonce), value=value) for field, nonce, value in values]
    return wire.RevealedRecord(index=request.index, id=body["id"], subject=subject, openings=openings)


@operation(
    "sealed.expire",
    None,
    takes=wire.ExpireSealed,
    gives=wire.ExpiredSealed,
    effect=Effect.WRITE,
    resource="audit/all/sealed",
)
def expire_sealed(ctx: Context, request: wire.ExpireSealed) -> wire.ExpiredSealed:
    """Delete sealed values whose time has come, unless a hold covers them, and keys under which nothing is left."""
    del request
    values = ctx.part(SealedValues)
    rows, touched = sealed_store.expire(ctx.tx, ctx.now_us, hold_store.standing(ctx.tx), EXPIRE_LIMIT)
    empty = [place for place in sorted(touched) if not sealed_store.count(ctx.tx, place[1])]
    keys = sum(values.keys.destroy(ctx.tx, *place, ctx.now_us) for place in empty)
    upcoming = sealed_store.next_expiry(ctx.tx)
    if upcoming is not None and upcoming <= ctx.now_us and rows < EXPIRE_LIMIT:
        upcoming = ctx.now_us + HELD_RETRY_SECONDS * SECOND_US
    ctx.after_commit(lambda: values.expect_expiry(upcoming))
    ctx.note(rows=rows, keys=keys)
    return wire.ExpiredSealed(rows=rows, keys=keys)


def pseudonym(key_id: str) -> str:
    """How records and lists name the subject of a key: by the key's random id, which nothing can be derived from."""
    return f"sub_{key_id}"
