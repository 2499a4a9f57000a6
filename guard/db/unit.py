"""One piece of work on its way through the commit pipeline, and whoever waits for it."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from typing import Any, Protocol

from guard.db.engine import Tx
from guard.db.entry import Entry

Promises = Callable[[int], str]
"""`promises(place)`: the signed promise of one of several durable records, as text."""


class Waiter(Protocol):
    """Waits for a unit on an event loop: an asyncio future, or whatever answers by itself."""

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The loop on which it is to be resolved."""
        ...

    def done(self) -> bool:
        """Whether nobody waits any more."""
        ...

    def set_result(self, result: Any, /) -> None:
        """The unit is durable."""
        ...

    def set_exception(self, error: BaseException, /) -> None:
        """The unit ended in this error."""
        ...


class Unit:
    """One piece of work: optional changes, and the records that commit with them.

    `work(tx)` does the changes, keeps its own savepoint and returns the records; it sets `result` or `error` and raises
    only what must fail the whole group. `waiter` is resolved after the commit; then `record` is the record that this
    unit is answered with, its last one, and `receipt()` the signed promise that it is in the log.
    """

    __slots__ = (
        *("_place", "_promises", "entries", "error", "hooks", "owed"),
        *("record", "result", "vital", "waiter", "work"),
    )

    def __init__(self, entries: Sequence[Entry] = (), work: Callable[[Tx], Sequence[Entry]] | None = None) -> None:
        self.entries = entries
        self.work = work
        self.result: Any = None
        self.error: BaseException | None = None
        self.hooks: Sequence[Callable[[], None]] = ()
        self.waiter: Waiter | Future[Any] | None = None
        self.vital = False  # it signs or closes what was acknowledged before
        self.owed = False  # what it records has happened already, so a full queue does not refuse it
        self.record: Entry | None = None
        self._promises: Promises | None = None
        self._place = 0

    def promised(self, promises: Promises, place: int) -> None:
        """The record of this unit is durable, and its promise is *place* among *promises*."""
        self._promises, self._place = promises, place

    def receipt(self) -> str | None:
        """The signed promise of the record; None where there is no durable record."""
        return None if self._promises is None else self._promises(self._place)


def resolve(unit: Unit) -> None:
    """Give the waiter of *unit* its result or error."""
    waiter = unit.waiter
    unit.waiter = None
    if waiter is None or waiter.done():
        return
    if unit.error is not None:
        waiter.set_exception(unit.error)
    else:
        waiter.set_result(unit.result)


def waiting_on_loops(group: Sequence[Unit]) -> Iterable[tuple[asyncio.AbstractEventLoop, list[Unit]]]:
    """Resolve those of *group* who wait in threads; the others by the event loop on which they are to be resolved."""
    loops: dict[asyncio.AbstractEventLoop, list[Unit]] = {}
    for unit in group:
        waiter = unit.waiter
        if isinstance(waiter, Future):
            resolve(unit)
        elif waiter is not None:
            loops.setdefault(waiter.get_loop(), []).append(unit)
    return loops.items()


def soon(loop: asyncio.AbstractEventLoop, call: Callable[..., None], *arguments: Any) -> bool:
    """Have *loop* make the call; False where it was closed meanwhile, so that nobody there waits."""
    try:
        loop.call_soon_threadsafe(call, *arguments)
    except RuntimeError:
        return False
    return True
