"""The budgets of search in memory: who used what, and what is to be told of those who wanted more.

Law: what is in memory is never less than what is stored, and every answered look-up is stored in the transaction of
its record, or within a second where that refused it. So a restart gives nothing back; a kill loses look-ups whose
answer never left, and refused ones of the last second. Memory holds a bounded number of principals: the coldest that is
stored goes, and is read again when it comes back.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from copy import copy
from itertools import islice
from typing import Any

from guard.catalogue import PLATFORM, Context
from guard.db.engine import Store, Tx
from guard.errors import SearchBudgetExceeded, SearchFrozen
from guard.vault import budget, budget_store
from guard.vault.budget import Budget, Refusal, Spent
from guard.vault.budget_store import Place

MAX_HELD = 20_000  # some 400 bytes each
MAX_TOLD = 1024
MAX_SAVED = 256  # in one transaction
SCAN = 64  # cold ones looked at when there is no room
STORING = ":store"  # what a service stores is counted apart from what it looks up


class Budgets:
    """Counts by tenant, principal and index. Any thread may ask."""

    def __init__(self, max_held: int = MAX_HELD) -> None:
        self._lock = threading.Lock()
        self._max_held = max_held
        self._thawed = 0
        self._held: OrderedDict[Place, Spent] = OrderedDict()
        self._unsaved: set[Place] = set()
        self._untold: OrderedDict[tuple[Place, str], dict[str, Any]] = OrderedDict()
        self._told: OrderedDict[tuple[Place, str], int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._held)

    def take(
        self, read: Callable[[Place], Spent | None], place: Place, limits: Budget, cost: int, now_us: int
    ) -> Spent | Refusal:
        """Count *cost* look-ups; what is used then, or why not. `Spent.frozen_us` is set where it is frozen."""
        stored, seen = None, -1
        while True:
            if place not in self._held:
                seen = self._thawed
                stored = read(place)
            with self._lock:
                if place not in self._held and seen != self._thawed:
                    continue  # what was read may be of before a thaw: it would freeze again what was lifted
                return self._take(self._put(place, stored), place, limits, cost, now_us)

    def _take(self, spent: Spent, place: Place, limits: Budget, cost: int, now_us: int) -> Spent | Refusal:
        if spent.frozen_us:
            return copy(spent)
        refused = budget.take(spent, limits, cost, now_us)
        self._unsaved.add(place)
        if refused is None:
            return copy(spent)
        if refused.freezes:
            spent.frozen_us = now_us
        self._tell(place, refused, spent)
        return refused

    def save(self, tx: Tx, place: Place, now_us: int, *, sure: bool = True) -> None:
        """Store what a principal used, in this transaction; not *sure* where that may still be undone."""
        with self._lock:
            spent = copy(self._held.get(place))
            if sure:
                self._unsaved.discard(place)
        if spent is not None:
            budget_store.save(tx, place, spent, now_us)

    def thaw(self, place: Place) -> bool:
        """Forget what a principal used, and what was still to be told of it; False where nothing was known."""
        with self._lock:
            self._thawed += 1
            self._unsaved.discard(place)
            for waiting in (self._told, self._untold):
                for one in [one for one in waiting if one[0] == place]:
                    del waiting[one]
            return self._held.pop(place, None) is not None

    def due(self, _now_us: int) -> Iterable[tuple[str, Mapping[str, Any]]]:
        """`budgets.exceeded`, for each principal that wanted more and was not told of in this window."""
        with self._lock:
            return [(place[0], dict(facts)) for (place, _), facts in self._untold.items()]

    def unsaved(self) -> list[Place]:
        """Some of those whose count is not stored yet: their look-up is under way, or it was refused."""
        with self._lock:
            return list(islice(self._unsaved, MAX_SAVED))

    def store_due(self, _now_us: int) -> Iterable[tuple[str, Mapping[str, Any]]]:
        """`budgets.store`, where anything is not stored.

        A look-up that is refused in its own transaction, as a claim of a value that is taken, answers all the same;
        what it used is undone with that transaction, and would be given back by a kill.
        """
        return [(PLATFORM, {})] if self._unsaved else []

    def told(self, place: Place, window: str) -> None:
        """It is on record."""
        with self._lock:
            self._untold.pop((place, window), None)

    def _put(self, place: Place, stored: Spent | None) -> Spent:
        spent = self._held.setdefault(place, stored or Spent())
        self._held.move_to_end(place)
        while len(self._held) > self._max_held:
            cold = [one for one in islice(self._held, SCAN) if one != place]
            gone = next((one for one in cold if one not in self._unsaved), cold[0])
            del self._held[gone]
            self._unsaved.discard(gone)
        return spent

    def _tell(self, place: Place, refused: Refusal, spent: Spent) -> None:
        what = "freeze" if refused.freezes else refused.window
        begun = getattr(spent, f"{refused.window}_us")
        if self._told.get((place, what)) == begun or len(self._untold) >= MAX_TOLD:
            return
        self._told[place, what] = begun
        while len(self._told) > MAX_TOLD:
            self._told.popitem(last=False)
        facts = {"principal": place[1], "index": place[2], "window": what, "limit": refused.limit}
        self._untold[place, what] = facts | {"asked": spent.asked, "frozen": refused.freezes}


def spend(ctx: Context, name: str, limits: Budget, cost: int = 1, *, storing: bool = False) -> None:
    """Count look-ups of the caller in an index, to be stored with the record of the operation.

    Raises:
        SearchBudgetExceeded: a window is used up. SearchFrozen: somebody has to lift it.
    """
    budgets, place = ctx.part(Budgets), (ctx.tenant, ctx.actor.subject, name + STORING if storing else name)
    got = budgets.take(
        lambda wanted: _read(ctx, wanted), place, budget.STORING if storing else limits, cost, ctx.now_us
    )
    if isinstance(got, Refusal):
        _refuse(got, name, cost, ctx.now_us)
    elif got.frozen_us:
        raise SearchFrozen(
            f"Searching in {name} is frozen for {ctx.actor.subject}, which asked for more than its budget of a day; a "
            "privacy officer looks at the incident and lifts it with guard budgets thaw."
        )
    now_us = ctx.now_us
    if ctx.transaction is not None:  # only a claim is charged in one, which writes and has no outcome of its own
        budgets.save(ctx.transaction, place, now_us, sure=False)
    else:
        ctx.at_outcome(lambda tx: budgets.save(tx, place, now_us))


def _refuse(refused: Refusal, name: str, cost: int, now_us: int) -> None:
    seconds = max(1, -((now_us - refused.again_us) // 1_000_000))
    what = f"{refused.limit} look-ups a {refused.window} in {name}"
    if cost > refused.limit:
        detail = f"Expected at most {what}, got {cost} in one request; send fewer at a time."
    else:
        detail = f"Expected at most {what}, and they are used up; try again in {seconds} s."
    raise SearchBudgetExceeded(detail, retry_after_seconds=seconds, window=refused.window, limit=refused.limit)


def _read(ctx: Context, place: Place) -> Spent | None:
    if ctx.transaction is not None:
        return budget_store.find(ctx.transaction, place)
    with ctx.part(Store).read() as tx:
        return budget_store.find(tx, place)
