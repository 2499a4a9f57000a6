"""Rotation of bucket keys: what makes the end of a person's key true of backups too.

Law: the new key is durable in the key store before a row is under it; the old one is retired when no row is, and
overwritten when the oldest database backup that needs it has expired. Each call does one such step and may be made
again after a crash: what is left to do is read from the two stores. Before an old key goes, rows that a restored
backup brought back under it are moved.
"""

from guard.catalogue import Context, Effect, operation
from guard.errors import NotFound
from guard.vault import dek_store
from guard.vault.forgetting import Forgetting
from guard.vault.key_store import BucketRow
from guard.wire import subjects as wire

MAX_VERSIONS = 1000  # of one bucket in one state: one a day for years


@operation(
    "buckets.rotate",
    None,
    takes=wire.RotateBucket,
    gives=wire.RotatedBucket,
    effect=Effect.WRITE,
    resource="buckets/own",
    audit=("bucket",),
)
def rotate_bucket(ctx: Context, request: wire.RotateBucket) -> wire.RotatedBucket:
    """Do the next step of a bucket's rotation: a new key, some rows under it, or the end of an old one."""
    current = _current(ctx, request.bucket)
    moved = _move(ctx, current, request.rows)
    # Rows that this very transaction moved may yet be rolled back, so an old key is looked at in a later one.
    retired, destroyed = (0, 0) if moved else _end_old(ctx, current)
    ctx.after_commit(ctx.part(Forgetting).look)
    if destroyed:
        ctx.after_commit(ctx.part(Forgetting).remains.left)
    ctx.note(version=current.version, moved=moved, retired=retired, destroyed=destroyed)
    return wire.RotatedBucket(
        bucket=current.bucket, version=current.version, moved=moved, retired=retired, destroyed=destroyed
    )


def _current(ctx: Context, bucket: int) -> BucketRow:
    """The version that wraps; a new one where the last does not open, or wrapped what was destroyed a cycle ago."""
    forgetting = ctx.part(Forgetting)
    subjects, keys = forgetting.subjects, forgetting.subjects.keys
    current = keys.find(ctx.tenant, bucket)
    if current is None:
        raise NotFound(f"Expected a bucket of this tenant, got {bucket}; it has none before its first person.")
    if keys.is_dirty(current, ctx.now_us - forgetting.terms.cycle_us) or not subjects.opens(ctx.tx, current):
        current = subjects.new_bucket(ctx.tx, ctx.tenant, bucket, current.version + 1, ctx.now_us)
        dek_store.saw_generation(ctx.tx, keys.add([current]))
    return current


def _move(ctx: Context, current: BucketRow, rows: int) -> int:
    subjects = ctx.part(Forgetting).subjects
    old = dek_store.of_bucket(ctx.tx, ctx.tenant, current.bucket, current.version, rows)
    for row in old:
        dek_store.rewrap(ctx.tx, row, subjects.rewrapped(ctx.tx, row, current.version), current.version)
    if old:
        dek_store.saw_generation(ctx.tx, subjects.keys.generation)
    return len(old)


def _end_old(ctx: Context, current: BucketRow) -> tuple[int, int]:
    forgetting = ctx.part(Forgetting)
    keys = forgetting.subjects.keys
    here = (ctx.tenant, current.bucket)
    retiring = keys.in_state("retiring", ctx.now_us, MAX_VERSIONS, here)
    for row in retiring:
        keys.retire(row, ctx.now_us)
    expired = keys.in_state("retired", ctx.now_us - forgetting.terms.main_us, MAX_VERSIONS, here)
    for row in expired:
        keys.destroy(row, ctx.now_us)
    return len(retiring), len(expired)
