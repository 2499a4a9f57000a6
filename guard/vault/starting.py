"""How a store is opened when the service starts: its seal secret, its first slot, or the way to unseal it.

Law: a new store gets its root key before its first byte; a store in production has no key file; key services are asked
with no transaction open. Randomness and time are arguments.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack

from guard.db.engine import ProcessLock, Store, open_store
from guard.errors import AlreadyExists, InvalidSetting
from guard.settings import Settings
from guard.vault import slots, store
from guard.vault.keys import Secret
from guard.vault.opening import Opened, Opening, Tell
from guard.vault.unsealing import Random, SlotPlan, attach_slot, create_slot, seal_new_store
from guard.vault.wrap import WRAPPING_KEY_BYTES

Sources = tuple[Random, Callable[[], int]]
"""Randomness and the clock."""


def _silent(_slot: str, _detail: str) -> None:
    return


def unsealed(
    settings: Settings, sources: Sources, undo: ExitStack, opened: Opened | None = None
) -> tuple[Store, Opened, bool]:
    """The store, its seal secret, and whether it is new. A new one gets a key file, though not in production.

    Raises:
        Sealed: nothing opens it by itself, or it needs guard custody init.
        RootKeyMissing, WrongRootKey: the key file is its only slot, and is not there or is another one.
    """
    random, clock = sources
    fresh = not settings.database.exists()
    plan = SlotPlan(slots.FILE, {"path": str(settings.key_file)})
    if fresh and settings.production:
        raise opening(settings).error
    slot = None if not fresh else attach_slot(plan) if settings.key_file.exists() else create_slot(plan, random)
    opened_store = open_store(settings.database)
    undo.callback(opened_store.close)
    with opened_store.write() as tx:
        rows = store.list_slots(tx)
    if rows:
        return opened_store, opened or _alone(_way(settings, rows, _silent)), fresh
    slot = slot or attach_slot(plan)
    with opened_store.write() as tx:
        secret = seal_new_store(tx, plan, slot, random, clock())
    return opened_store, Opened(secret, f"{plan.plugin}-1", plan.plugin), True


def _alone(way: Opening) -> Opened:
    if not way.attempt() or way.opened is None:
        raise way.only_error() or way.error
    return way.opened


def opening(settings: Settings, tell: Tell = _silent) -> Opening:
    """What opens the store in `settings.home`; nothing was tried yet. The store is opened and closed again.

    Raises:
        StoreLocked, StoreDamaged: see each.
    """
    if not settings.database.exists():
        return _way(settings, [], tell)
    lock = ProcessLock(settings.home)
    try:
        opened_store = open_store(settings.database)
        with opened_store.read() as tx:
            rows = store.list_slots(tx)
        opened_store.close()
    finally:
        lock.release()
    return _way(settings, rows, tell)


def _way(settings: Settings, rows: list[store.SlotRow], tell: Tell) -> Opening:
    return Opening(rows, str(settings.key_file), production=settings.production, tell=tell)


def initialise(
    settings: Settings,
    plugin: str,
    given: tuple[Mapping[str, str], Mapping[str, str]],
    random: Random,
    now_us: int,
) -> tuple[str, tuple[str, ...]]:
    """Make a store whose first custody slot is of this kind: the slot's name, and the shares to hand out.

    *given* are options and secrets.

    Raises:
        AlreadyExists: there is a store. InvalidSetting: the home cannot be made. Others as `slots.make`.
    """
    if settings.database.exists():
        raise AlreadyExists(f"Expected no store in {settings.home}, but there is one; see guard custody add.")
    slots.check_options(plugin, *given, production=settings.production)
    try:
        settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidSetting(
            f"Expected a directory at {settings.home}, got: {error.strerror}; choose another."
        ) from None
    lock = ProcessLock(settings.home)
    try:
        seal, slot_id = Secret(random(WRAPPING_KEY_BYTES), "seal secret"), f"{plugin}-1"
        row, handout = slots.make((settings.origin, slot_id, plugin), *given, seal, random)
        seal.wipe()
        made = open_store(settings.database)
        with made.write() as tx:
            store.add_slot(tx, row, now_us)
        made.close()
    finally:
        lock.release()
    return slot_id, handout
