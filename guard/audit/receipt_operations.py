"""What the catalogue lists of receipts: is what was promised in the log?"""

import base64
from contextlib import suppress

from guard.audit import anchor, receipt, stolen_store, store
from guard.audit.entry import rfc3339, split
from guard.audit.log import RECEIPT_NAME, Log
from guard.audit.note import Kind, VerifierKey
from guard.audit.proof import LogProof
from guard.audit.tree import inclusion_proof
from guard.catalogue import Context, Effect, operation
from guard.errors import KeyStolen, NotFound, VerificationFailed
from guard.wire import audit as wire


@operation(
    "receipts.verify",
    "POST /api/v1/audit/receipts/verify",
    takes=wire.VerifyReceipt,
    gives=wire.VerifiedReceipt,
    effect=Effect.READ,
    resource="audit/receipts",
    hides=True,
    example={"receipt": "AQ"},
)
def verify_receipt(ctx: Context, request: wire.VerifyReceipt) -> wire.VerifiedReceipt:
    """Check a receipt of this log and show where its record stands, with a proof once a checkpoint covers it."""
    log = ctx.part(Log)
    given = receipt.parse(request.receipt)
    _refuse_stolen(ctx, log, given)
    key = receipt.verify(given, log.origin, [log.receipts.verifier])
    ctx.note(record=given.id)
    found = store.find_by_id(ctx.tx, given.id)
    if found is not None and found.tenant != ctx.tenant:
        raise NotFound("Expected a receipt that your own tenant was given, got another; ask with the token it came to.")
    reader = log.reader(ctx.tx)
    if found is None:
        raise VerificationFailed("The record that this receipt promises is not in the log; keep the receipt.")
    (entry,) = reader.entries(found.index, found.index + 1)
    receipt.verify(given, log.origin, [key], split(entry)[0])
    latest = store.last_checkpoint(ctx.tx, log.origin)
    proof = None
    if latest is not None and found.index < latest[0].checkpoint.size:
        hashes = inclusion_proof(found.index, latest[0].checkpoint.size, reader.node)
        proof = LogProof(found.index, tuple(hashes), latest[1].encode()).encode().decode()
    return wire.VerifiedReceipt(
        id=given.id,
        index=found.index,
        leaf=base64.b64encode(found.leaf).decode(),
        promise_by_us=given.promise_by_us,
        vkey=key.encode(),
        proof=proof,
    )


def _refuse_stolen(ctx: Context, log: Log, given: receipt.Receipt) -> None:
    """Whoever has the key can promise a record that never was, and for any time, so the receipt proves no omission."""
    incarnations = range(1, anchor.incarnation(log.origin, log.first) + 1)
    for key, since_us in stolen_store.stolen_receipt_keys(ctx.tx):
        for origin in (anchor.named(log.first, number) for number in incarnations):
            own = VerifierKey(f"{origin}{RECEIPT_NAME}", Kind.ED25519, key.public)
            with suppress(VerificationFailed):
                receipt.verify(given, origin, [own])
                ctx.note(record=given.id)
                raise KeyStolen(
                    f"Expected a receipt by a key that nobody else has; {key.name}+{key.key_id.hex()} was stolen at "
                    f"{rfc3339(since_us)} or later. It proves no omission; look for the record in the directory of "
                    f"{origin}.",
                    id=given.id,
                )
