"""What the catalogue lists of witnesses: asking one, what one holds against the log, and how far each has come."""

from collections.abc import Sequence

from guard.audit import checkpoint_store, store
from guard.audit.checkpoint import Head
from guard.audit.checkpoint_store import WitnessRow
from guard.audit.log import Log
from guard.audit.publication import Publication
from guard.audit.tree import consistency_proof, subtree_root
from guard.audit.trust import Trust
from guard.audit.witnesses import Claim, Finding, Witnesses, ask
from guard.catalogue import Context, Effect, operation
from guard.db.engine import Store, Tx
from guard.errors import Conflict, NotFound
from guard.wire import checkpoints as wire

REMARK = (
    "A witness that the operators of this log control proves little: who can put back the log can put back both. "
    "Count only those run by others."
)


class _Copy:
    """The log, read in a transaction of its own each time, since none may stay open while a witness thinks."""

    def __init__(self, ctx: Context) -> None:
        self._store, self._log = ctx.part(Store), ctx.part(Log)

    def latest(self) -> tuple[Head, str]:
        with self._store.read() as tx:
            found = store.last_checkpoint(tx, self._log.origin)
        if found is None:
            raise Conflict("Expected a signed checkpoint, got none yet; try again in a second.")
        return found

    def prove(self, first: int, second: int) -> Sequence[bytes]:
        with self._store.read() as tx:
            return consistency_proof(first, second, self._log.reader(tx).node)

    def root(self, size: int) -> bytes:
        with self._store.read() as tx:
            return subtree_root(0, size, self._log.reader(tx).node)


@operation(
    "checkpoints.witness",
    None,
    takes=wire.AskWitness,
    gives=wire.Alarm,
    effect=Effect.EXTERNAL,
    resource="log/witnesses",
    exempt="its record would make a new checkpoint to be witnessed, without end; what a witness finds is a record",
)
def ask_witness(ctx: Context, request: wire.AskWitness) -> wire.Alarm:
    """Send the latest checkpoint to a witness and keep its cosignature, or what it holds against the log."""
    part = ctx.part(Witnesses)
    settings = part.settings.get(request.witness)
    if settings is None:
        raise NotFound(f"Expected the name of a witness in the settings, got {request.witness}; correct guard.toml.")
    with ctx.part(Store).read() as tx:
        before = checkpoint_store.witnesses(tx).get(request.witness, WitnessRow(request.witness))
        keys = ctx.part(Trust).keys(tx)
    claim = ask(settings, part.keys[request.witness], before.size, _Copy(ctx), part.carrier, keys)
    ctx.at_outcome(lambda tx: _keep(ctx, tx, claim, before))
    return wire.Alarm(alarm=_alarm(claim, before))


def _keep(ctx: Context, tx: Tx, claim: Claim, before: WitnessRow) -> None:
    cosigned = claim.finding is Finding.COSIGNED
    row = WitnessRow(
        claim.witness,
        claim.size if cosigned else before.size,
        claim.finding.value,
        ctx.now_us,
        ctx.now_us if cosigned else before.cosigned_us,
        claim.evidence or before.evidence,
    )
    checkpoint_store.write_witness(tx, row)
    if cosigned:
        checkpoint_store.write_cosignature(tx, claim.head.size, claim.witness, claim.line, ctx.now_us)
    if claim.contradicts and (row.status, row.evidence) != (before.status, before.evidence):
        told = {"witness": claim.witness, "finding": claim.finding.value, "size": claim.head.size}
        ctx.call("witnesses.tell", told | {"witness_size": claim.size, "proven": bool(claim.evidence)})
    head, now_us = ctx.part(Publication).head, ctx.now_us
    ctx.after_commit(lambda: ctx.part(Witnesses).heard(claim, head, now_us))


def _alarm(claim: Claim, before: WitnessRow) -> str:
    """Told at each change, so that a witness that stays away is told once."""
    if claim.finding.value == before.status or (claim.finding is Finding.COSIGNED and before.status == "new"):
        return ""
    proof = " and shows a checkpoint signed by this log" if claim.evidence else ""
    return f"witness {claim.witness}: {claim.finding.value} at size {claim.size} of {claim.head.size}{proof}"


@operation(
    "witnesses.tell",
    None,
    takes=wire.TellWitness,
    gives=wire.Alarm,
    effect=Effect.WRITE,
    resource="log/witnesses",
    audit=("witness", "finding", "size", "witness_size", "proven"),
)
def tell_witness(ctx: Context, request: wire.TellWitness) -> wire.Alarm:
    """Record what a witness holds against this log: a larger size, or another history."""
    del ctx, request
    return wire.Alarm()


@operation(
    "witnesses.list",
    "GET /api/v1/audit/witnesses",
    takes=wire.ListWitnesses,
    gives=wire.WitnessList,
    effect=Effect.READ,
    resource="log/witnesses",
)
def list_witnesses(ctx: Context, request: wire.ListWitnesses) -> wire.WitnessList:
    """List the witnesses with the size that each cosigned last and how many records have come since."""
    del request
    part, size = ctx.part(Witnesses), ctx.part(Log).size
    rows = checkpoint_store.witnesses(ctx.tx)
    witnessed = ctx.part(Trust).witnessed(ctx.tx)
    views = []
    for name, settings in part.settings.items():
        row = rows.get(name, WitnessRow(name))
        views.append(
            wire.WitnessView(
                name=name,
                vkey=settings.vkey,
                size=row.size,
                lag=size - row.size,
                status=row.status,
                time_us=row.time_us,
                cosigned_us=row.cosigned_us,
            )
        )
    reached = witnessed[0].checkpoint.size if witnessed else 0
    return wire.WitnessList(data=views, quorum=part.quorum, witnessed=reached, size=size, remark=REMARK)
