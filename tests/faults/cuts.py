"""Campaigns of power cuts: at every tick, again during recovery, and after a sync that failed once; with the control.

`synchronous=NORMAL` does not sync the WAL at each commit, so it must lose what was acknowledged. Where the harness does
not see that, it is blind, and its zeros mean nothing.
"""

import shutil
from contextlib import suppress
from pathlib import Path

from sqlalchemy import exc

from tests.faults import driver
from tests.faults.power import Power
from tests.faults.powerloss import WAL_PAGES, Work, check, make_template, perform, powered, run_until, scratch
from tests.faults.tally import Tally

LONG = 60  # pages of the WAL between two checkpoints
FULL = 100  # rounds at which every tick is tried
RECOVERIES = 5  # first cuts, at most, for which the second is tried at every chosen tick


def chosen(ticks: int, rounds: int, offset: int = 0) -> range:
    """The ticks to try: every one at 100 rounds, else every n-th."""
    return range(1 + offset % max(1, FULL // rounds), ticks + 1, max(1, FULL // rounds))


def seeds(rounds: int, tick: int) -> tuple[int, ...]:
    """How the files survive: nothing unsynced, everything, and by chance as often as the rounds allow."""
    return (0, 1, 2 + tick) if rounds < FULL else (0, 1, 2 + tick, 1_000_003 * tick)


def fresh(folder: Path) -> Path:
    """An empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def cuts(name: str, rounds: int, synchronous: str = "FULL", pages: int = WAL_PAGES) -> Tally:
    """Cut the power at the chosen ticks."""
    tally = Tally(name, control=synchronous != "FULL")
    with scratch() as place:
        template = make_template(place / "template")
        whole, _ = run_until(template, place / "whole", synchronous, pages)
        for tick in chosen(whole.ticks, rounds):
            power, work = run_until(template, place / "run", synchronous, pages, cut_at=tick)
            for seed in seeds(rounds, tick):
                power.restore(fresh(place / "back"), seed)
                tally.add(check(place / "back", work).verdict, f"tick {tick} seed {seed}")
            shutil.rmtree(place / "run")
    tally.note = f"{whole.ticks} ticks, {whole.syncs} of them syncs"
    return tally


def power_cut(rounds: int) -> Tally:
    """At every write, truncation, sync and deletion."""
    return cuts("power cut", rounds)


def long_wal(rounds: int) -> Tally:
    """The same, with many commits between two checkpoints of the WAL."""
    return cuts("power cut, long WAL", rounds, pages=LONG)


def unsynced(rounds: int) -> Tally:
    """The negative control."""
    return cuts("power cut, synchronous=NORMAL", min(rounds, 20), "NORMAL", LONG)


def second_cut(rounds: int) -> Tally:
    """The power goes again while the store recovers and takes up its work."""
    tally = Tally("power cut during recovery")
    with scratch() as place:
        template = make_template(place / "template")
        whole, _ = run_until(template, place / "whole")
        for first in range(whole.ticks // (RECOVERIES + 1), whole.ticks, whole.ticks // (RECOVERIES + 1)):
            power, work = run_until(template, place / "run", cut_at=first)
            length = _recover(power, first, place, Work(dict(work.tried))).ticks
            for second in chosen(length, rounds, first):
                again = Work(dict(work.tried), list(work.acknowledged), list(work.published))
                survivor = _recover(power, first, place, again, second)
                survivor.restore(fresh(place / "back"), first + second)
                tally.add(check(place / "back", again).verdict, f"ticks {first} and {second}")
            shutil.rmtree(place / "run")
    return tally


def survived(folder: Path, copy: Path) -> Path:
    """What a restart without a power cut finds: the files as the kernel shows them."""
    for path in folder.glob("guard.db*"):
        if not path.name.endswith("-shm"):
            shutil.copyfile(path, copy / path.name)
    return copy


def _recover(power: Power, first: int, place: Path, work: Work, second: int = 0) -> Power:
    """Open what survived the first cut on a VFS again, and work on until the second."""
    power.restore(fresh(place / "mid"), first)
    with powered(place / "mid", cut_at=second) as (again, store):
        with suppress(exc.SQLAlchemyError, driver.Error):
            perform(store, work, turns=1)
            store.close()  # the last connection checkpoints the WAL and deletes it: ticks of their own
        again.cut()
    return again


def sick_sync(rounds: int) -> Tally:
    """Each sync fails once, and the kernel forgets what it was to write; the next one would succeed."""
    tally = Tally("sync fails once, then power cut")
    ended = 0
    with scratch() as place:
        template = make_template(place / "template")
        whole, _ = run_until(template, place / "whole")
        for number in chosen(whole.syncs, min(FULL, 10 * rounds)):
            power, work = run_until(template, place / "run", sick_sync=number)
            ended += bool(work.fatal)
            tally.add(check(survived(place / "run", fresh(place / "back")), work).verdict, f"sync {number}, restart")
            for seed in seeds(rounds, number):
                power.restore(fresh(place / "back"), seed)
                tally.add(check(place / "back", work).verdict, f"sync {number} seed {seed}")
            shutil.rmtree(place / "run")
    tally.note = f"{whole.syncs} syncs, {ended} end the process"
    return tally
