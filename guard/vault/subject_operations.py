"""What the catalogue lists of forgetting a person: asked for, taken back, carried out, and the receipts.

Law: from the request on nothing opens; while a legal hold covers the person nothing goes further, and that is asked in
the transaction that would. Destroying writes the ledger first and durably, then deletes the key in one transaction: a
crash in between is made good by the ledger, and a hold that committed before it wins whole. Nobody has a part in
forgetting himself; to end the grace takes two.
"""

from dataclasses import asdict, replace
from functools import partial

from guard.catalogue import Context, Effect, operation
from guard.db.engine import Tx
from guard.errors import Conflict, Denied, LegalHold, NotFound
from guard.vault import dek_store
from guard.vault.dek_store import DekRow, ForgetRow
from guard.vault.forgetting import Forgetting, destroyed, noise_from, replay, rotated_at
from guard.vault.shred import EXCLUDED, Stage, bucket_of, receipt_text
from guard.wire import subjects as wire

AGAIN_US = 86_400_000_000  # after a day on which the old bucket key was not destroyed yet


@operation(
    "subjects.forget",
    "POST /api/v1/subjects/forget",
    takes=wire.ForgetSubject,
    gives=wire.ForgetView,
    effect=Effect.WRITE,
    resource="subjects/{tenant}",
    audit=("at_once",),
    sealed=("subject", "reason"),
    subject="subject",
    example={"subject": "u-17", "reason": "asked for by letter"},
)
def forget_subject(ctx: Context, request: wire.ForgetSubject) -> wire.ForgetView:
    """Revoke a person's key at once; it is destroyed after the days of grace, or when a second person says so."""
    forgetting, tenant = ctx.part(Forgetting), ctx.tenant_for(request.tenant)
    if request.subject == ctx.actor.subject:
        raise Denied("Nobody has a part in forgetting himself; ask a colleague.")
    key = _key(ctx, tenant, request.subject)
    _refuse_held(ctx, tenant, request.subject)
    row = dek_store.forget_of(ctx.tx, tenant, key.dek_id, Stage.REVOKED)
    if row is None:
        due_us = ctx.now_us + forgetting.terms.grace_us
        who = ctx.actor.subject
        row = ForgetRow(
            ctx.new_id("fgt"), tenant, key.dek_id, request.subject, "revoked", who, ctx.now_us, due_us=due_us
        )
        dek_store.add_forget(ctx.tx, row)
        dek_store.set_revoked(ctx.tx, tenant, key.dek_id, ctx.now_us)
        _flush(ctx, key.dek_id)
    elif request.at_once:
        if row.requested_by == ctx.actor.subject:
            raise Denied("You asked for this person to be forgotten; to end the grace takes a second person.")
        row = _destroy(ctx, replace(row, approved_by=ctx.actor.subject))
    ctx.note(forget=row.id, pseudonym=_pseudonym(row.dek_id), stage=row.stage)
    return _view(row)


@operation(
    "subjects.restore",
    "POST /api/v1/subjects/restore",
    takes=wire.RestoreSubject,
    gives=wire.ForgetView,
    effect=Effect.WRITE,
    resource="subjects/{tenant}",
    sealed=("subject", "reason"),
    subject="subject",
    example={"subject": "u-17", "reason": "the letter was about somebody else"},
)
def restore_subject(ctx: Context, request: wire.RestoreSubject) -> wire.ForgetView:
    """Take a request to forget back during the days of grace; what is sealed opens again."""
    tenant = ctx.tenant_for(request.tenant)
    key = _key(ctx, tenant, request.subject)
    row = dek_store.forget_of(ctx.tx, tenant, key.dek_id, Stage.REVOKED)
    if row is None:
        raise Conflict("Expected a person whose key is revoked, but it is live; nothing is to be taken back.")
    ctx.after_commit(partial(ctx.part(Forgetting).remains.left, request.subject.encode()))
    row = replace(row, stage=Stage.RESTORED.value, subject=None, due_us=None)
    dek_store.write_forget(ctx.tx, row)
    dek_store.set_revoked(ctx.tx, tenant, key.dek_id, None)
    _flush(ctx, key.dek_id)
    ctx.note(forget=row.id, pseudonym=_pseudonym(row.dek_id), stage=row.stage)
    return _view(row)


@operation(
    "subjects.receipts",
    "GET /api/v1/subjects/receipts",
    takes=wire.ListReceipts,
    gives=wire.ReceiptList,
    effect=Effect.READ,
    resource="subjects/{tenant}",
)
def list_receipts(ctx: Context, request: wire.ListReceipts) -> wire.ReceiptList:
    """List requests to forget, newest first, each with a signed receipt of how far it came."""
    rows = dek_store.listed(ctx.tx, ctx.tenant_for(request.tenant), request.limit)
    return wire.ReceiptList(
        data=[wire.ForgetReceipt(**_view(row).model_dump(), receipt=_receipt(ctx, row)) for row in rows]
    )


@operation(
    "subjects.step",
    None,
    takes=wire.StepForget,
    gives=wire.ForgetView,
    effect=Effect.WRITE,
    resource="subjects/own",
    audit=("forget",),
)
def step_forget(ctx: Context, request: wire.StepForget) -> wire.ForgetView:
    """Carry a request on: destroy the key when the grace is over, and say when no backup can open it any more."""
    row = dek_store.find_forget(ctx.tx, ctx.tenant, request.forget)
    if row is None:
        raise NotFound(f"Expected the id of a request to forget, got {request.forget}; see guard subjects receipts.")
    if row.stage == Stage.REVOKED.value and (row.due_us or 0) <= ctx.now_us:
        try:
            _refuse_held(ctx, row.tenant, row.subject or "")
        except LegalHold:
            ctx.part(Forgetting).postpone(row.id, ctx.now_us)
            raise
        row = _destroy(ctx, row)
    elif row.stage == Stage.DESTROYED.value:
        row = _aged(ctx, row)
        dek_store.write_forget(ctx.tx, row)
    ctx.note(pseudonym=_pseudonym(row.dek_id), stage=row.stage)
    return _view(row)


@operation(
    "subjects.replayed",
    None,
    takes=wire.TellReplay,
    gives=wire.Replayed,
    effect=Effect.WRITE,
    resource="subjects/all",
)
def tell_replay(ctx: Context, request: wire.TellReplay) -> wire.Replayed:
    """Record that the start destroyed keys again, because the database was older than the shred ledger."""
    del request
    forgetting = ctx.part(Forgetting)
    keys = forgetting.replayed + replay(ctx.tx, forgetting)
    ctx.after_commit(forgetting.replayed.clear)
    ctx.after_commit(forgetting.remains.left)
    seq, last = dek_store.known(ctx.tx)[2].seq, dek_store.known(ctx.tx)[2].hash
    ctx.note(keys=len(keys), seq=seq, entry_hash=last)
    return wire.Replayed(keys=len(keys))


def _destroy(ctx: Context, row: ForgetRow) -> ForgetRow:
    forgetting = ctx.part(Forgetting)
    key = dek_store.by_id(ctx.tx, row.tenant, row.dek_id)
    if key is None:
        raise NotFound("Expected the key of this person, but it is gone already; see guard subjects receipts.")
    entry = forgetting.subjects.keys.shred(row.tenant, row.dek_id, key.bucket_version, row.id, ctx.now_us)
    dek_store.write_forget(ctx.tx, row)
    replay(ctx.tx, forgetting)  # this entry, and what an earlier transaction wrote to the ledger and failed to apply
    ctx.after_commit(partial(forgetting.remains.left, key.wrapped, (row.subject or "").encode()))
    row = destroyed(row, entry)
    _flush(ctx, row.dek_id)
    ctx.note(seq=entry.seq, entry_hash=entry.hash)
    return row


def _aged(ctx: Context, row: ForgetRow) -> ForgetRow:
    """A destroyed key's request, with the days that its bucket's rotation brought."""
    forgetting = ctx.part(Forgetting)
    keys, terms = forgetting.subjects.keys, forgetting.terms
    rotated_us = row.rotated_us if row.rotated_us is not None else rotated_at(keys, row)
    if rotated_us is None:
        return row
    gone, until_us = noise_from(keys, row, rotated_us, terms)
    if gone and until_us <= ctx.now_us:
        return replace(row, stage=Stage.UNRECOVERABLE.value, rotated_us=rotated_us, unrecoverable_us=until_us)
    # A bucket key that outlived its day, because the service stood still, moves the day on.
    until_us = until_us if until_us > ctx.now_us else ctx.now_us + AGAIN_US
    return replace(row, rotated_us=rotated_us, unrecoverable_us=until_us)


def _flush(ctx: Context, dek_id: bytes) -> None:
    """Now, so that who is computing looks again in his transaction; and once this one is durable, for later readers."""
    forgetting = ctx.part(Forgetting)
    forgetting.subjects.flush(dek_id)
    ctx.after_commit(lambda: forgetting.subjects.flush(dek_id))
    ctx.after_commit(forgetting.look)


def _key(ctx: Context, tenant: str, subject: str) -> DekRow:
    key = dek_store.by_ref(ctx.tx, ctx.part(Forgetting).subjects.ref(tenant, subject))
    if key is None:
        raise NotFound("Expected a person under whose key something is sealed, got one without a key; check the id.")
    return key


def _refuse_held(ctx: Context, tenant: str, subject: str) -> None:
    hold = covering(ctx, ctx.tx, tenant, subject)
    if hold is not None:
        raise LegalHold(
            f"The legal hold {hold} covers this person, so nothing was destroyed; have it released.", hold=hold
        )


def covering(ctx: Context, tx: Tx, tenant: str, subject: str) -> str | None:
    """The id of a legal hold that covers a person."""
    return ctx.part(Forgetting).held(tx, tenant, subject)


def _receipt(ctx: Context, row: ForgetRow) -> str:
    forgetting = ctx.part(Forgetting)
    facts = _view(row).model_dump() | {
        "as_of_us": ctx.now_us,
        "retention_us": asdict(forgetting.terms),
        "excluded": list(EXCLUDED),
    }
    signer = forgetting.signer
    return signer.sign(receipt_text(signer.origin, facts)).decode()


def _view(row: ForgetRow) -> wire.ForgetView:
    values = {name: value for name, value in asdict(row).items() if name not in {"dek_id", "subject"}}
    return wire.ForgetView(subject=_pseudonym(row.dek_id), bucket=bucket_of(row.dek_id), **values)


def _pseudonym(dek_id: bytes) -> str:
    return f"sub_{dek_id.hex()}"
