"""The end of a key version: retirement behind the census, and destruction behind two persons and a window.

Law: no version leaves its use while a value in a registered database needs it, whether a policy owns the column or not,
on the source and on each replica; and none while it was used to open a value in the quiet time. Whatever comes before
the destruction itself can be undone.
"""

from guard.catalogue import Actor, Context, Effect, operation
from guard.db.engine import Store, Tx
from guard.errors import Conflict, Denied, KeyInUse, KeyStateConflict, LegalHold
from guard.settings import Settings
from guard.vault import version_store
from guard.vault.census import census, unowned
from guard.vault.key_life import HOUR_US, tombstone
from guard.vault.key_steps import check_step, turn, version_row, view_of
from guard.vault.keys import Keyring
from guard.vault.store import VersionRow
from guard.vault.vault import Vault
from guard.vault.versions import State, move
from guard.wire import vault as wire

DAY_US = 24 * HOUR_US
REQUEST_DAYS = 7  # a wish that nobody approves for so long was forgotten


@operation(
    "keys.retire",
    "POST /api/v1/keys/{key}/versions/{version}/retire",
    takes=wire.KeyVersion,
    gives=wire.KeyView,
    effect=Effect.EXTERNAL,
    resource="keys/{key}",
    audit=("key", "version"),
    example={},
)
def retire_version(ctx: Context, request: wire.KeyVersion) -> wire.KeyView:
    """Retire a version that no value in a registered database uses any more."""
    row = _row(ctx, request)
    check_step(row, State.DECRYPT_ONLY, State.RETIRED)
    _refuse_unquiet(ctx, row)
    refuse_used(ctx, row)

    def change(_tx: Tx) -> None:
        turn(ctx, row, State.RETIRED)
        ctx.answer = view_of(ctx, request.key)

    ctx.at_outcome(change)
    return wire.KeyView(key=request.key, versions=[])


@operation(
    "keys.restore",
    "POST /api/v1/keys/{key}/versions/{version}/restore",
    takes=wire.KeyVersion,
    gives=wire.KeyView,
    effect=Effect.WRITE,
    resource="keys/{key}",
    audit=("key", "version"),
    example={},
)
def restore_version(ctx: Context, request: wire.KeyVersion) -> wire.KeyView:
    """Let a retired version open values again; nobody's wish to destroy it outlives that."""
    row = version_row(ctx, request)
    check_step(row, State.RETIRED, State.DECRYPT_ONLY)
    turn(ctx, row, State.DECRYPT_ONLY)
    version_store.drop_destruction(ctx.tx, row.key_id)
    return view_of(ctx, request.key)


@operation(
    "keys.destroy",
    "POST /api/v1/keys/{key}/versions/{version}/destroy",
    takes=wire.DestroyVersion,
    gives=wire.KeyView,
    effect=Effect.WRITE,
    resource="keys/{key}",
    audit=("key", "version", "days"),
    example={"days": 30},
)
def destroy_version(ctx: Context, request: wire.DestroyVersion) -> wire.KeyView:
    """Ask for the destruction of a retired version; a second person approves it, and a window follows."""
    row = version_row(ctx, request)
    move(row.state, State.DESTROY_PENDING)
    _refuse_held(ctx)
    before = version_store.find_destruction(ctx.tx, row.key_id)
    if before is not None and before.asked_by != ctx.actor.subject and _fresh(before, ctx.now_us):
        raise Conflict(
            f"{before.asked_by} asked for this with a window of {before.days} days; approve it, or have it withdrawn.",
            by=before.asked_by,
        )
    place = (row.key_id, ctx.tenant, row.name, row.version)
    wanted = version_store.Destruction(*place, request.days, ctx.actor.subject, ctx.now_us, None, None)
    version_store.ask(ctx.tx, wanted)
    return view_of(ctx, request.key)


@operation(
    "keys.approve_destroy",
    "POST /api/v1/keys/{key}/versions/{version}/destroy/approval",
    takes=wire.KeyVersion,
    gives=wire.KeyView,
    effect=Effect.WRITE,
    resource="keys/{key}",
    audit=("key", "version"),
    example={},
)
def approve_destroy(ctx: Context, request: wire.KeyVersion) -> wire.KeyView:
    """Approve a destruction as a second person; it comes after the window, and can be cancelled until then."""
    row = version_row(ctx, request)
    move(row.state, State.DESTROY_PENDING)
    _refuse_held(ctx)
    asked = version_store.find_destruction(ctx.tx, row.key_id)
    if asked is None or not _fresh(asked, ctx.now_us):
        raise Conflict(
            f"Expected a request of the last {REQUEST_DAYS} days to destroy version {row.version} of {row.name}, "
            "got none; ask for it first."
        )
    if asked.asked_by == ctx.actor.subject:
        raise Denied("You asked for this destruction; a second person has to approve it.")
    due_us = ctx.now_us + asked.days * DAY_US
    turn(ctx, row, State.DESTROY_PENDING)
    version_store.approve(ctx.tx, row.key_id, ctx.actor.subject, due_us)
    _schedule(ctx, row, due_us)
    ctx.note(asked_by=asked.asked_by, days=asked.days)
    return view_of(ctx, request.key)


@operation(
    "keys.cancel_destroy",
    "POST /api/v1/keys/{key}/versions/{version}/destroy/cancel",
    takes=wire.KeyVersion,
    gives=wire.KeyView,
    effect=Effect.WRITE,
    resource="keys/{key}",
    audit=("key", "version"),
    example={},
)
def cancel_destroy(ctx: Context, request: wire.KeyVersion) -> wire.KeyView:
    """Take a destruction back inside its window, or withdraw what nobody approved; the version is retired again."""
    row = version_row(ctx, request)
    asked = version_store.drop_destruction(ctx.tx, row.key_id)
    if row.state is State.DESTROY_PENDING or not asked:
        # From nowhere else, or this would be a retirement that no census has seen.
        check_step(row, State.DESTROY_PENDING, State.RETIRED)
        turn(ctx, row, State.RETIRED)
    _schedule(ctx, row, None)
    return view_of(ctx, request.key)


@operation(
    "keys.expire",
    None,
    takes=wire.KeyVersion,
    gives=wire.KeyView,
    effect=Effect.EXTERNAL,
    resource="keys/{key}",
    audit=("key", "version"),
)
def expire_version(ctx: Context, request: wire.KeyVersion) -> wire.KeyView:
    """Destroy a version whose window has passed, if still no value needs it and no legal hold stands."""
    row = _row(ctx, request)
    move(row.state, State.DESTROYED)
    refuse_used(ctx, row)

    def change(tx: Tx) -> None:
        _refuse_held(ctx)
        asked = version_store.find_destruction(tx, row.key_id)
        if asked is None or asked.due_us is None or asked.due_us > ctx.now_us:
            raise KeyStateConflict(f"Version {row.version} of {row.name} is not due to be destroyed.")
        if not version_store.bury(tx, row, asked, ctx.random(len(row.wrapped)), ctx.now_us):
            raise KeyStateConflict(f"Version {row.version} of {row.name} changed meanwhile; look at it again.")
        _bury(ctx, row)
        ctx.answer = view_of(ctx, request.key)

    ctx.at_outcome(change)
    return wire.KeyView(key=request.key, versions=[])


def refuse_used(ctx: Context, row: VersionRow) -> None:
    """Look for values of a version in every registered database of the tenant.

    Raises:
        KeyInUse: there are; source, table, column and count are named.
        Conflict: no source is declared where there could be any, so nobody can tell.
    """
    counted = [one for one in census(ctx, "") if one.key_id == row.key_id.hex()]
    declared = any(policy.sealed_by(row.name) for policy in ctx.part(Vault).policies.values())
    if declared and not counted:
        raise Conflict(
            f"Expected a source that declares a column under {row.name}, got none, so nobody can tell whether values "
            "still need this version; declare the source in guard.toml."
        )
    for one in counted:
        if one.version == row.version and one.count:
            raise _in_use(row, one, "re-encrypt them first")
    for one in unowned(ctx):
        if one.key_id == row.key_id.hex() and one.version == row.version:
            raise _in_use(row, one, "no field policy owns this column; declare it, or clear it")


def _in_use(row: VersionRow, one: wire.CensusRow, what: str) -> KeyInUse:
    return KeyInUse(
        f"Version {row.version} of {row.name} still seals {one.count} values of {one.table}.{one.column} "
        f"in source {one.source}; {what}.",
        source=one.source,
        table=one.table,
        column=one.column,
        count=one.count,
    )


def _refuse_unquiet(ctx: Context, row: VersionRow) -> None:
    hours = ctx.part(Settings).quiet_hours
    opened_us = ctx.part(Vault).life.uses.opened_us((ctx.tenant, row.name, row.version))
    over_us = opened_us + hours * HOUR_US
    if opened_us and ctx.now_us < over_us:
        left = -(-(over_us - ctx.now_us) // HOUR_US)
        raise KeyInUse(
            f"Version {row.version} of {row.name} opened a value in the last {hours} hours, so something may need it "
            f"that the census does not see; retire it when nothing has for that long, in {left} hours at the earliest.",
            opened_us=opened_us,
            quiet_us=over_us,
        )


def _refuse_held(ctx: Context) -> None:
    """Raises LegalHold where a hold of the tenant, or one on everything, stands."""
    for hold in ctx.call("holds.standing", {}, Actor("system:worker", ctx.tenant, "system")).data:
        raise LegalHold(f"The legal hold {hold.id} stands, so no key is destroyed; have it released.", hold=hold.id)


def _row(ctx: Context, request: wire.KeyVersion) -> VersionRow:
    """The version as it stands, read before an external operation looks elsewhere."""
    with ctx.part(Store).read() as tx:
        ctx.transaction = tx
        try:
            return version_row(ctx, request)
        finally:
            ctx.transaction = None


def _schedule(ctx: Context, row: VersionRow, due_us: int | None) -> None:
    life, place = ctx.part(Vault).life, (row.tenant, row.name, row.version)
    ctx.after_commit(lambda: life.end(place, due_us))


def _bury(ctx: Context, row: VersionRow) -> None:
    vault, now_us = ctx.part(Vault), ctx.now_us

    def buried(ring: Keyring) -> Keyring:
        now = ring.find(row.tenant, row.key_id, row.version)
        now.material.wipe()
        return ring.replace([tombstone(now, now_us)])

    ctx.after_commit(lambda: vault.change(buried))
    _schedule(ctx, row, None)


def _fresh(asked: version_store.Destruction, now_us: int) -> bool:
    return now_us - asked.asked_us <= REQUEST_DAYS * DAY_US
