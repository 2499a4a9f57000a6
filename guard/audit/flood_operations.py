"""What the catalogue lists of floods: the record of refused log-ins that had none of their own."""

from guard.audit.floods import Floods
from guard.catalogue import Context, Effect, operation
from guard.wire import floods as wire
from guard.wire.model import Nothing


@operation(
    "refusals.merge",
    None,
    takes=wire.MergeRefusals,
    gives=Nothing,
    effect=Effect.WRITE,
    resource="audit/all/refusals",
    audit=("count", "second_us"),
    sealed=("peer",),
)
def merge_refusals(ctx: Context, request: wire.MergeRefusals) -> Nothing:
    """Record how often a source was refused in one second, beyond the refusals that have a record each."""
    floods = ctx.part(Floods)
    ctx.after_commit(lambda: floods.told(request.second_us, request.peer, request.count))
    return Nothing()
