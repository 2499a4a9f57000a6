"""What the catalogue lists of receipts: is what was promised in the log?"""

import base64

from guard.audit import receipt, store
from guard.audit.entry import split
from guard.audit.log import Log
from guard.audit.proof import LogProof
from guard.audit.tree import inclusion_proof
from guard.catalogue import Context, Effect, operation
from guard.errors import NotFound, VerificationFailed
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
