"""Local encryption: values are sealed and opened in this process under leased keys, and their bytes are sent nowhere.

`client.local.seal("customers.email", "ana@example.org", row="17")`, and `client.local.open(...)` for a purpose. Keys
are taken as they are needed, kept while they last, renewed at two thirds of their time, reported in blocks of uses.
Law: while the server cannot be reached, what is leased goes on until its time or its uses are over and then stops with
a plain error; what the server refuses stops at once. At most 256 keys are kept; who is put out is given back.
"""

import asyncio
import base64
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Generator, Iterable
from contextlib import suppress
from typing import Any, Final, TypeVar
from weakref import WeakSet

from guard.client.answers import only
from guard.client.lease import STORE, Lease, bare, bytes_of, is_leased
from guard.errors import GuardError, InvalidRequest, Kind, LeaseEnded

MAX_KEPT: Final = 256
MAX_KEYED: Final = 1024
RETRY_SECONDS: Final = 5.0
"""Between two tries to reach a server that does not answer; a use waits for one of them only."""
ATTEMPTS: Final = 3
DEFAULT_SECONDS: Final = 300
DEFAULT_USES: Final = 10_000

Request = tuple[str, dict[str, Any]]
Steps = Generator[Request, dict[str, Any], Lease]
Call = Callable[..., dict[str, Any]]
Key = tuple[Any, ...]
Used = TypeVar("Used")
TRANSIENT: Final = frozenset({Kind.UNREACHABLE, Kind.UNAVAILABLE, Kind.RATE_LIMITED, Kind.FULL, Kind.INTERNAL})


def clock() -> float:
    """Seconds that nobody sets, counted while the machine sleeps, too: a laptop's lid must not make a lease longer."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Keys:
    """The leases that are kept, and the requests that get and renew them. It sends nothing itself."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._kept: OrderedDict[Key, Lease] = OrderedDict()
        self._keyed: set[str] = set()  # fields whose keys are persons'
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<Keys {len(self._kept)} leases>"

    def sealing(self, field: str, purpose: str, subject: str) -> Key:
        """What the lease to seal a value with is kept under."""
        return ("seal", field, purpose, subject if field in self._keyed else "")

    def ready(self, key: Key) -> Lease | None:
        """A kept lease that can be used; it may be due."""
        with self._lock:
            found = self._kept.get(key)
            if found is None or not found.usable():
                return None
            self._kept.move_to_end(key)
            return found

    def fresh(self, field: str, purpose: str, subject: str) -> Steps:
        """The lease to seal with: one that is kept, or a new one."""
        found = self.ready(self.sealing(field, purpose, subject))
        if found is not None:
            return found
        members: dict[str, Any] = {"fields": [field], "purpose": purpose}
        members |= {"subject": subject} if field in self._keyed else {}
        try:
            return (yield from self._new(self.sealing(field, purpose, subject), members))
        except InvalidRequest as error:
            keyed_by, known = error.extra.get("keyed_by"), field in self._keyed
            if keyed_by != ("field" if known else "subject") or len(self._keyed) >= MAX_KEYED:
                raise
        self._keyed ^= {field}
        return (yield from self.fresh(field, purpose, subject))

    def again(self, field: str, purpose: str, start: bytes, subject: str) -> Steps:
        """The lease to open a value with: the one that it was sealed under, if it is kept, or its key leased again."""
        key = ("open", field, purpose, start)
        found = self.ready(key)
        if found is not None:
            return found
        members = {"fields": [field], "purpose": purpose, "start": base64.b64encode(start).decode()}
        if start[3] & 1:
            members["subject"] = subject
        return (yield from self._new(key, members))

    def own(self, fields: Iterable[str], members: dict[str, Any]) -> Steps:
        """A new lease that is not kept here."""
        asked_at = self._now()
        answer = yield "leases.create", {"fields": list(fields), **members}
        return Lease(answer, asked_at, self._now)

    def renew(self, lease: Lease) -> Steps:
        """Report uses and ask for more time. Whom the server refuses has ended; whom it does not answer goes on."""
        asked_at = self._now()
        try:
            answer = yield "leases.renew", lease.report()
        except GuardError as error:
            if error.kind in TRANSIENT:
                lease.put_off(RETRY_SECONDS)
            else:
                lease.end("was revoked" if isinstance(error, LeaseEnded) else "was not renewed")
        else:
            lease.renewed(answer, asked_at)
        return lease

    def give_back(self) -> list[Lease]:
        """Forget every lease; the caller reports their uses and ends them."""
        with self._lock:
            gone = list(self._kept.values())
            self._kept.clear()
            return gone

    def _new(self, key: Key, members: dict[str, Any]) -> Steps:
        with self._lock:
            old = self._kept.pop(key, None)
        if old is not None:
            yield from self._ended(old, "is at its end")
        try:
            lease = yield from self.own(members.pop("fields"), members)
        except GuardError as error:
            if old is None or error.kind not in TRANSIENT:
                raise
            raise LeaseEnded(
                f"The lease {old.id} is at its end and no new one could be taken: {error.detail}", hint=error.hint
            ) from None
        with self._lock:
            self._kept[key] = lease
            gone = self._kept.popitem(last=False)[1] if len(self._kept) > MAX_KEPT else None
        if gone is not None:
            yield from self._ended(gone, "was put out by others")
        return lease

    def _ended(self, lease: Lease, why: str) -> Generator[Request, dict[str, Any], None]:
        """End a lease before its uses are reported, so that none comes after; one with a stream ends with that."""
        if lease.retire():
            lease.end(why)
            with suppress(GuardError):
                yield "leases.renew", lease.report(last=True)


def run(steps: Steps, call: Call) -> Lease:
    """Make the calls that *steps* ask for."""
    try:
        name, members = next(steps)
        while True:
            try:
                answer = call(name, **members)
            except GuardError as error:
                name, members = steps.throw(error)
            else:
                name, members = steps.send(answer)
    except StopIteration as done:
        found: Lease = done.value
        return found


class LocalKeys:
    """Local encryption for any number of threads: `client.local`."""

    def __init__(self, call: Call, now: Callable[[], float] = clock) -> None:
        """*call* is that of a client; *now* gives seconds that only grow."""
        self._call, self._now = call, now
        self.begin()
        _IN_USE.add(self)

    def begin(self) -> None:
        """Begin without any key, as a forked process does: its parent's are not its own to use or to give back."""
        self._keys = Keys(self._now)
        self._asking = threading.Lock()

    def __repr__(self) -> str:
        return f"<LocalKeys {self._keys!r}>"

    def seal(self, field: str, value: str | bytes, *, purpose: str = STORE, **cell: str | int) -> str:
        """The sealed text of one value for the cell `row=...` or `subject=...`, as the field's policy binds it.

        Who names a *purpose* may open it again here within the lease, and needs the right to that, too.

        Raises:
            LeaseEnded: what was leased is over and the server cannot be reached.
            GuardError: as `leases.create` refuses; InvalidInput where the cell is not what the policy binds.
        """
        return self.lasting(lambda: self.sealing(field, purpose, cell), lambda lease: lease.seal(field, value, **cell))

    def open(self, field: str, text: str, purpose: str, **cell: str | int) -> bytes:
        """The plaintext of one value; what was not sealed under a lease is opened by the server.

        Raises:
            DoesNotOpen: another cell, or changed bytes; one text for all.
            LeaseEnded: as `seal`.
        """
        raw = bytes_of(text)
        if not is_leased(raw):
            return self._from_server(field, text, purpose, cell)
        return self.lasting(
            lambda: self.opening(field, purpose, raw, cell), lambda lease: lease.open(field, text, **cell)
        )

    def lease(
        self,
        *fields: str,
        purpose: str = STORE,
        ttl_seconds: int = DEFAULT_SECONDS,
        max_uses: int = DEFAULT_USES,
        subject: str = "",
    ) -> Lease:
        """A lease of your own, which is neither renewed nor replaced: it ends at its time or its uses."""
        members = {"purpose": purpose, "ttl_seconds": ttl_seconds, "max_uses": max_uses, "subject": subject}
        return run(self._keys.own(fields, members), self._call)

    def renew(self, lease: Lease) -> None:
        """Report the uses of a lease and ask for more time; without an answer it goes on as it is."""
        run(self._keys.renew(lease), self._call)

    def sealing(self, field: str, purpose: str, cell: dict[str, str | int]) -> Lease:
        """The kept lease to seal with."""
        subject = str(cell.get("subject", ""))
        return self._kept(
            self._keys.sealing(field, purpose, subject), lambda: self._keys.fresh(field, purpose, subject)
        )

    def opening(self, field: str, purpose: str, raw: bytes, cell: dict[str, str | int]) -> Lease:
        """The kept lease to open a value with that begins as *raw* does."""
        start, subject = bare(raw[:136]), str(cell.get("subject", ""))
        ours = self._keys.ready(self._keys.sealing(field, purpose, subject))
        if ours is not None and ours.begins(field, start):
            self.keep(ours)
            if ours.usable():
                return ours
        return self._kept(("open", field, purpose, start), lambda: self._keys.again(field, purpose, start, subject))

    def lasting(self, get: Callable[[], Lease], use: Callable[[Lease], Used]) -> Used:
        """Use a lease once; another thread may have had its last use meanwhile, and then the next one is got."""
        for _ in range(ATTEMPTS - 1):
            lease = get()
            with suppress(LeaseEnded):
                return use(lease)
        return use(get())

    def keep(self, lease: Lease) -> None:
        """Renew a lease that is due, unless another thread is at it; for what takes long."""
        if lease.due() and self._asking.acquire(blocking=False):
            try:
                self.renew(lease)
            finally:
                self._asking.release()

    def finish(self, lease: Lease) -> None:
        """A stream is at its end; give its lease back if that waited for it."""
        if lease.finish():
            self._give_back(lease)

    def close(self) -> None:
        """Overwrite the keys, report what was used, and give every lease back."""
        for lease in self._keys.give_back():
            self._give_back(lease)

    def _give_back(self, lease: Lease) -> None:
        lease.end("was given back")  # before its uses are reported, so that none comes after
        with suppress(GuardError):
            self._call("leases.renew", **lease.report(last=True))

    def _kept(self, key: Key, steps: Callable[[], Steps]) -> Lease:
        lease = self._keys.ready(key)
        if lease is not None:
            self.keep(lease)
            if lease.usable():
                return lease
        with self._asking:
            return run(steps(), self._call)

    def _from_server(self, field: str, text: str, purpose: str, cell: dict[str, str | int]) -> bytes:
        return opened(self._call("fields.decrypt", **asked(field, text, purpose, cell)))


class AsyncLocalKeys:
    """As `LocalKeys`, for an event loop: *call* is a coroutine function `(operation, **members) -> answer`."""

    def __init__(self, call: Callable[..., Awaitable[dict[str, Any]]], now: Callable[[], float] = clock) -> None:
        self._call, self._now = call, now
        self.begin()
        _IN_USE.add(self)

    def begin(self) -> None:
        """As `LocalKeys.begin`."""
        self._keys = Keys(self._now)
        self._asking = asyncio.Lock()

    async def seal(self, field: str, value: str | bytes, *, purpose: str = STORE, **cell: str | int) -> str:
        """As `LocalKeys.seal`."""
        subject = str(cell.get("subject", ""))
        key = self._keys.sealing(field, purpose, subject)
        lease = await self._kept(key, lambda: self._keys.fresh(field, purpose, subject))
        return lease.seal(field, value, **cell)

    async def open(self, field: str, text: str, purpose: str, **cell: str | int) -> bytes:
        """As `LocalKeys.open`."""
        raw = bytes_of(text)
        if not is_leased(raw):
            return opened(await self._call("fields.decrypt", **asked(field, text, purpose, cell)))
        start, subject = bare(raw[:136]), str(cell.get("subject", ""))
        ours = self._keys.ready(self._keys.sealing(field, purpose, subject))
        if ours is not None and ours.begins(field, start) and ours.due():
            await self._renewed(ours)
        if ours is None or not ours.begins(field, start) or not ours.usable():
            key = ("open", field, purpose, start)
            ours = await self._kept(key, lambda: self._keys.again(field, purpose, start, subject))
        return ours.open(field, text, **cell)

    async def close(self) -> None:
        """As `LocalKeys.close`."""
        for lease in self._keys.give_back():
            lease.end("was given back")
            with suppress(GuardError):
                await self._call("leases.renew", **lease.report(last=True))

    async def _renewed(self, lease: Lease) -> None:
        async with self._asking:
            if lease.due():  # not by another task meanwhile
                await self._run(self._keys.renew(lease))

    async def _kept(self, key: Key, steps: Callable[[], Steps]) -> Lease:
        async with self._asking:  # between this and the use nothing is awaited, so no other task takes the last use
            lease = self._keys.ready(key)
            if lease is not None and lease.due():
                await self._run(self._keys.renew(lease))
            return lease if lease is not None and lease.usable() else await self._run(steps())

    async def _run(self, steps: Steps) -> Lease:
        try:
            name, members = next(steps)
            while True:
                try:
                    answer = await self._call(name, **members)
                except GuardError as error:
                    name, members = steps.throw(error)
                else:
                    name, members = steps.send(answer)
        except StopIteration as done:
            found: Lease = done.value
            return found


_IN_USE: Final[WeakSet[LocalKeys | AsyncLocalKeys]] = WeakSet()


def _begin_again() -> None:
    for one in list(_IN_USE):
        one.begin()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_again)


def asked(field: str, text: str, purpose: str, cell: dict[str, str | int]) -> dict[str, Any]:
    """The members of `fields.decrypt` for one value."""
    return {"purpose": purpose, "items": [{"field": field, "context": cell, "ciphertext": text}]}


def opened(answer: dict[str, Any]) -> bytes:
    """The plaintext of its one item, or its problem raised."""
    return base64.b64decode(only(answer)["plaintext"])
