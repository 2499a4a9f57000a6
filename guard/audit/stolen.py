"""What is done when somebody may have the log's keys: the log ends where others vouched for it, and new keys begin.

Law: the old log is frozen at the last checkpoint that witnesses, a time-stamp or the bucket saw before the theft; what
came after is kept and named by the first record of a new log, which new keys sign. One store under one seal holds the
keys of checkpoints and of receipts, so whoever had one may have had all, and all are replaced.
"""

import base64
from typing import Any

from guard.audit import checkpoint_store, stolen_store, store
from guard.audit.anchors import Anchors
from guard.audit.log import Log
from guard.audit.note import VerifierKey
from guard.audit.receipt import ReceiptKey
from guard.audit.signers import LogKeys
from guard.audit.stolen_store import Frozen
from guard.audit.witnesses import Witnesses
from guard.catalogue import Context
from guard.errors import Conflict, InvalidRequest

MAX_NOTE = 12_000  # of a body of 32 KiB: a log's two lines and several witnesses; the folder keeps the whole


def frozen_at(ctx: Context, log: Log, vkey: str, since_us: int | None) -> Frozen:
    """Where the log is frozen, and its keys marked; *vkey* must be one of its own that sign.

    Raises:
        InvalidRequest: no time, or one that is yet to come. Conflict: the key is not in use.
    """
    if since_us is None or since_us > ctx.now_us:
        raise InvalidRequest("Expected a time of the past since when others may have the key; give --since.")
    used = {log.receipts.verifier.encode()} | {one.verifier.encode() for one in log.signers}
    if vkey not in used and not any(_label(vkey) == _label(one) for one in used):
        raise Conflict("Expected a key that this log uses, got another; see guard audit log-keys.")
    witnesses = ctx.part(Witnesses)
    first = log.reader(ctx.tx).span.first
    return stolen_store.freeze(ctx.tx, tuple(witnesses.settings), witnesses.quorum, since_us, first)


def _label(vkey: str) -> tuple[str, ...]:
    return tuple(vkey.split("+")[:2])


def mark(ctx: Context, log: Log, frozen: Frozen, since_us: int | None) -> list[str]:
    """Let the keys sign nothing above *frozen*, receipts nothing at all; their names."""
    names = stolen_store.mark(ctx.tx, log.origin, frozen, since_us or 0, ctx.now_us)
    return [*names, "+".join(_label(log.receipts.verifier.encode()))]


def facts(ctx: Context, frozen: Frozen) -> dict[str, Any]:
    """What the first record of the new log says of the checkpoint at which the old one was frozen."""
    note = dict(store.checkpoint_notes(ctx.tx, frozen.size)).get(frozen.size, "")
    whole = checkpoint_store.cosigned(ctx.tx, frozen.size, note) if note else ""
    return {
        "frozen_size": frozen.size,
        "frozen_root": base64.b64encode(frozen.root).decode(),
        "frozen_note": whole if len(whole) <= MAX_NOTE else note,
        "frozen_by": frozen.by,
    }


def begin_anew(ctx: Context, log: Log, old: VerifierKey, since_us: int) -> None:
    """After `Log.succeed`: new keys for checkpoints and receipts; *old* signed the receipts of the log that ended."""
    signers, receipts, secret = ctx.part(LogKeys).replace(ctx.tx, log.origin, ctx.now_us)
    fresh = ReceiptKey.of(log.receipts.name, receipts).verifier
    stolen_store.replace_receipts(ctx.tx, old, fresh, secret, since_us, ctx.now_us)
    log.replace_keys(signers, receipts)
    stolen = stolen_store.publics(ctx.tx)
    ctx.after_commit(lambda: setattr(ctx.part(Anchors), "stolen", stolen))
