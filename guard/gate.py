"""The one door: identify -> limit -> allow -> run -> record. Only the gate calls `Operation.run`.

Law: an operation whose record cannot be written did not happen; a refusal is a record too; no answer leaves before
its record is durable. An unforeseen exception becomes an `InternalError` with the request id and nothing else: its
text could hold a value, so neither the caller nor the log sees it.
"""

import asyncio
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

import orjson
import structlog
from pydantic import ValidationError

from guard.audit.recorder import Recorder
from guard.catalogue import Actor, Context, Decision, Effect, Operation, Run
from guard.db.commit import Pipeline
from guard.db.engine import Store, Tx, savepoint
from guard.db.entry import Entry
from guard.db.unit import Unit, resolve
from guard.errors import (
    Denied,
    GuardError,
    InternalError,
    InvalidRequest,
    Kind,
    NotFound,
    RateLimited,
    Unauthenticated,
)
from guard.wire.problems import misfit

Answer = TypeVar("Answer")
MAX_NESTED = 4  # operations calling operations: run -> step -> operation -> its own follow-up; more is a loop
NOBODY = Actor(subject="nobody", tenant="system", kind="none")
PASSER_BY = "public"  # the kind of an actor without a credential, of whom nothing is recorded
INTENT_SECONDS = 300  # an external call without an outcome for this long is `unknown`

log = structlog.get_logger(__name__)


class Credentials(Protocol):
    """Turns a bearer token into an actor."""

    def identify(self, bearer: str, now_us: int) -> Actor:
        """The actor of *bearer*; raises Unauthenticated."""
        ...

    def expires_us(self, actor: Actor) -> int:
        """When the credential of *actor* ends."""
        ...

    @property
    def state(self) -> object:
        """An object that is replaced whenever any credential changes."""
        ...


class Policy(Protocol):
    """Answers the one question of the gate, in memory."""

    def decide(self, actor: Actor, permission: str, resource: str, now_us: int) -> Decision:
        """May *actor* use *permission* on *resource*?"""
        ...


class Intents(Protocol):
    """Keeps the open intents of external operations."""

    def open(self, tx: Tx, entry: Entry, deadline_us: int) -> None:
        """Note an intent that has no outcome yet."""
        ...

    def close(self, tx: Tx, intent: str) -> bool:
        """Remove it; False where it had already been closed."""
        ...


Limit = Callable[[str, int], int | None]
"""`limit(key, now_us)`: None, or the seconds after which to try again."""


@dataclass(frozen=True, slots=True)
class Doors:
    """What the gate is made of; `app.build` names the real ones."""

    operations: Mapping[str, Operation]
    parts: Mapping[type, Any]
    credentials: Credentials
    policy: Policy
    intents: Intents
    requests: Limit
    failures: Limit
    pipeline: Pipeline
    store: Store
    clock: Callable[[], int]
    random: Callable[[int], bytes]
    pool: Executor
    recorder: Recorder
    flooded: Callable[[str, int], None] = lambda _peer, _now_us: None  # above the rate of its source: counted
    public: bool = False  # whether operations that are declared public need no credential


class Gate:
    """Runs catalogue operations for actors. One instance per process; safe from any thread and event loop."""

    def __init__(self, doors: Doors) -> None:
        self._doors = doors
        self._record = doors.recorder
        self.operations = doors.operations

    # identify

    def identify(self, authorization: str | None, peer: str) -> Actor:
        """The actor of an `Authorization: Bearer` header, without reading a body.

        Raises:
            Unauthenticated: no usable credential (one text for every reason).
            RateLimited: too many failures from this peer.
        """
        now_us = self._doors.clock()
        scheme, _, bearer = (authorization or "").partition(" ")
        try:
            if scheme.lower() != "bearer":
                raise Unauthenticated("Expected 'Authorization: Bearer grd_...', got none that is valid; get a token.")
            return self._doors.credentials.identify(bearer.strip(), now_us)
        except Unauthenticated:
            retry_after = self._doors.failures(peer, now_us)
            if retry_after is not None:
                self._doors.flooded(peer, now_us)
                raise RateLimited(
                    "Too many failed log-ins from this address; try again later.", retry_after_seconds=retry_after
                ) from None
            raise

    def enter(self, operation: Operation, authorization: str | None, peer: str) -> Actor:
        """As `identify`; who shows no credential may pass by where the operation is public."""
        if authorization is None and operation.public and self._doors.public:
            return Actor(NOBODY.subject, NOBODY.tenant, PASSER_BY, credential=peer)
        return self.identify(authorization, peer)

    def now_us(self) -> int:
        """The clock of the gate."""
        return self._doors.clock()

    @property
    def credentials_state(self) -> object:
        """Changes its identity whenever a token is made, revoked or tidied away; for memos of `recognise`."""
        return self._doors.credentials.state

    def recognise(self, authorization: str) -> tuple[Actor, int] | None:
        """As `identify`, with the time at which the token ends; None instead of an error, and nothing is counted."""
        scheme, _, bearer = authorization.partition(" ")
        if scheme != "Bearer":
            return None
        try:
            actor = self._doors.credentials.identify(bearer, self._doors.clock())
        except Unauthenticated:
            return None
        return actor, self._doors.credentials.expires_us(actor)

    def refused(
        self, operation: Operation, error: GuardError, request_id: str, actor: Actor = NOBODY, peer: str = ""
    ) -> Unit:
        """The unit that records a refusal before there was a request to judge; it ends in *error*."""
        context = self._context(actor, request_id)
        if peer:
            context.seal(peer=peer)
        return self._refusal(operation, None, context, error)

    # call

    async def call(self, operation: Operation, request: Any, actor: Actor, request_id: str) -> Unit:
        """Run *operation*; the unit, with its answer or its error, once its record is durable.

        Raises:
            Overloaded, StoreUnavailable: there is no record, so nothing was done.
        """
        if operation.effect is Effect.EXTERNAL:
            loop = asyncio.get_running_loop()
            context = self._context(actor, request_id)
            return await loop.run_in_executor(self._doors.pool, self._external, operation, request, context)
        if operation.effect is Effect.READ:
            loop = asyncio.get_running_loop()
            unit = await loop.run_in_executor(self._doors.pool, self.begin, operation, request, actor, request_id)
        else:
            unit = self.begin(operation, request, actor, request_id)
        return await self.settle(unit)

    async def settle(self, unit: Unit) -> Unit:
        """Wait until *unit* is durable; the same unit.

        Raises:
            Overloaded, StoreUnavailable: as `Pipeline.submit`.
        """
        if unit.entries or unit.work is not None:
            waiter: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            unit.waiter = waiter
            self._doors.pipeline.submit(unit)
            await asyncio.wait([waiter])
            waiter.exception()  # it is the unit's, which the caller looks at
        return unit

    def submit(self, unit: Unit) -> None:
        """Queue *unit*, whose waiter is set; without a record its waiter is resolved at once.

        Raises:
            Overloaded, StoreUnavailable: as `Pipeline.submit`.
        """
        if unit.entries or unit.work is not None:
            self._doors.pipeline.submit(unit)
        else:
            resolve(unit)

    def call_sync(self, operation: Operation, request: Any, actor: Actor, request_id: str) -> Any:
        """As `call`, blocking the calling thread."""
        if operation.effect is Effect.EXTERNAL:
            return _outcome(self._external(operation, request, self._context(actor, request_id)))
        return _outcome(self._durable(self.begin(operation, request, actor, request_id)))

    def call_named(self, name: str, raw: Mapping[str, Any], actor: Actor, request_id: str) -> Any:
        """As `call_sync`, from an operation's name and a plain mapping; for loops and tests."""
        operation, request = self.parse(name, raw)
        return self.call_sync(operation, request, actor, request_id)

    def parse(self, name: str, raw: Mapping[str, Any]) -> tuple[Operation, Any]:
        """The named operation and *raw* as its request.

        Raises:
            NotFound: no such operation.
            InvalidRequest: the request does not fit.
        """
        operation = self.operations.get(name)
        if operation is None:
            raise NotFound(f"Expected the name of an operation, got {name!r}; see the catalogue.")
        try:
            return operation, operation.takes.model_validate_json(orjson.dumps(raw))
        except ValidationError as error:
            raise misfit(name, error, operation.takes) from None
        except orjson.JSONEncodeError:
            raise InvalidRequest(f"Expected a request of {name} that JSON can hold, got other values.") from None

    def begin(self, operation: Operation, request: Any, actor: Actor, request_id: str) -> Unit:
        """Limit, allow and, unless it writes, run: the unit whose commit answers the call. Never raises."""
        context = self._context(actor, request_id)
        try:
            return self._begin(operation, request, context)
        except GuardError as error:
            refusal = self._refusal(operation, request, context, error)
        except Exception as error:  # the door of last resort: nothing unforeseen may pass with its text
            refusal = self._refusal(operation, request, context, _unforeseen(error, request_id))
        # Without a write there is nothing to undo: what inner calls did, they did.
        refusal.entries = [*context.entries, *refusal.entries]
        return refusal

    def _begin(self, operation: Operation, request: Any, context: Context) -> Unit:
        self._limit(context)
        decision = self._allow(operation, request, context)
        if operation.effect is Effect.WRITE:
            return self._write_unit(operation, request, context, decision, operation.run)
        if operation.effect is Effect.READ:
            with self._doors.store.read() as tx:
                context.transaction = tx
                answer = operation.run(context, request)
            context.transaction = None
        else:
            answer = operation.run(context, request)
        if context.closing:
            return self._write_unit(operation, request, context, decision, lambda made, _: made.close(answer))
        unit = Unit(self._records(operation, request, context, decision))
        unit.result = answer
        return unit

    def _write_unit(self, operation: Operation, request: Any, context: Context, decision: Decision, run: Run) -> Unit:
        def work(tx: Tx) -> Sequence[Entry]:
            context.transaction = tx
            context.now_us = self._doors.clock()
            try:
                with savepoint(tx):
                    unit.result = run(context, request)
                    records = self._records(operation, request, context, decision)
            except GuardError as error:
                unit.error = error
            except Exception as error:  # see begin
                unit.error = _unforeseen(error, context.request_id)
            if unit.error is not None:
                # What inner calls did is undone with the savepoint; that they were refused stays on record.
                refused = [entry for entry in context.entries if entry.status != "ok"]
                return [*refused, *self._refusal(operation, request, context, unit.error).entries]
            unit.hooks = context.hooks
            return records

        unit = Unit(work=work)
        unit.vital = operation.vital
        return unit

    def _durable(self, unit: Unit) -> Unit:
        """As `settle`, blocking the calling thread."""
        if unit.entries or unit.work is not None:
            waiter: Future[Any] = Future()
            unit.waiter = waiter
            self._doors.pipeline.submit(unit)
            waiter.exception()  # waits; it is the unit's, which the caller looks at
        return unit

    # external effects: intent, call, outcome

    def _external(self, operation: Operation, request: Any, context: Context) -> Unit:
        try:
            self._limit(context)
            decision = self._allow(operation, request, context)
            intent = (
                None if operation.exempt else self._record.entry(operation, request, context, decision, phase="intent")
            )
        except GuardError as error:
            return self._durable(self._refusal(operation, request, context, error))
        except Exception as error:  # see begin
            unforeseen = _unforeseen(error, context.request_id)
            return self._durable(self._refusal(operation, request, context, unforeseen))
        if intent is not None:
            self._doors.pipeline.wait(Unit(work=lambda tx: self._open_intent(tx, intent)))

        def close(tx: Tx) -> Sequence[Entry]:
            phase = "outcome" if intent is None or self._doors.intents.close(tx, intent.id) else "late"
            self._finish(tx, unit, context)
            error = unit.error if isinstance(unit.error, GuardError) else None
            kept = context.entries if error is None else [entry for entry in context.entries if entry.status != "ok"]
            if intent is None:
                return kept if error is None else [*kept, self._entry(operation, request, context, error)]
            return [*kept, self._entry(operation, request, context, error, phase=phase, intent=intent.id)]

        unit = Unit(work=close)
        unit.vital = unit.owed = True  # an intent that was let in gets its outcome, whatever came between
        try:
            unit.result = operation.run(context, request)
        except GuardError as error:
            unit.error = error
        except Exception as error:  # see begin
            unit.error = _unforeseen(error, context.request_id)
        if intent is None and unit.error is None and not context.closing:
            return unit  # nothing to change here and nothing to record
        return self._durable(unit)

    def _finish(self, tx: Tx, unit: Unit, context: Context) -> None:
        """What an external operation changes here, in the transaction of its outcome."""
        if unit.error is not None:
            return
        context.transaction = tx
        try:
            with savepoint(tx):
                unit.result = context.close(unit.result)
            unit.hooks = context.hooks
        except GuardError as error:
            unit.error = error
        except Exception as error:  # see begin
            unit.error = _unforeseen(error, context.request_id)

    def _open_intent(self, tx: Tx, intent: Entry) -> Sequence[Entry]:
        self._doors.intents.open(tx, intent, self._doors.clock() + INTENT_SECONDS * 1_000_000)
        return [intent]

    # nested calls

    def _nested(self, outer: Context, name: str, raw: Mapping[str, Any], actor: Actor | None) -> Any:
        operation, request = self.parse(name, raw)
        depth = outer.request_id.count("/") + 1
        if operation.effect is Effect.EXTERNAL or depth > MAX_NESTED:
            raise InternalError(f"Operation {name} cannot be called from inside another operation here.")
        inner = replace(
            outer,
            actor=actor or outer.actor,
            request_id=f"{outer.request_id}/{depth}",
            notes={},
            hooks=[],
            resources=(),
            decision=None,
            personal=None,
        )
        before = len(outer.entries)
        try:
            decision = self._allow(operation, request, inner)
            if outer.transaction is None:
                answer = operation.run(inner, request)
            else:
                with savepoint(outer.transaction):
                    answer = operation.run(inner, request)
        except GuardError as error:
            # What it called is undone with it; that calls were refused stays on record.
            made = outer.entries[before:]
            kept = made if outer.transaction is None else [entry for entry in made if entry.status != "ok"]
            outer.entries[before:] = [*kept, *self._refusal(operation, request, inner, error).entries]
            raise
        if not operation.exempt:
            outer.entries.append(self._record.entry(operation, request, inner, decision))
        outer.hooks.extend(inner.hooks)
        return answer

    # steps

    def _context(self, actor: Actor, request_id: str) -> Context:
        doors = self._doors
        return Context(actor, request_id, doors.clock(), doors.random, doors.parts, self._nested)

    def _limit(self, context: Context) -> None:
        actor = context.actor
        retry_after = self._doors.requests(actor.credential or actor.subject, context.now_us)
        if retry_after is not None:
            raise RateLimited("Too many requests with this credential; slow down.", retry_after_seconds=retry_after)

    def _allow(self, operation: Operation, request: Any, context: Context) -> Decision:
        context.resources = operation.resources(request)
        decision = Decision(allow=operation.public and self._doors.public, rule="public")
        for resource in () if decision.allow else context.resources:
            decision = self._doors.policy.decide(context.actor, operation.permission, resource, context.now_us)
            context.decision = decision
            if not decision.allow:
                raise _denial(operation, resource, context, decision)
        return decision

    def _records(self, operation: Operation, request: Any, context: Context, decision: Decision) -> Sequence[Entry]:
        if operation.exempt:
            return context.entries
        return [*context.entries, self._record.entry(operation, request, context, decision)]

    def _refusal(self, operation: Operation, request: Any, context: Context, error: BaseException) -> Unit:
        known = error if isinstance(error, GuardError) else InternalError("An internal error occurred.")
        # Who polls what is public must not make the log grow by asking for what is not there yet.
        passed_by = context.actor.kind == PASSER_BY and known.kind is not Kind.INTERNAL
        unit = Unit([] if passed_by else [self._entry(operation, request, context, known)])
        unit.error = known
        return unit

    def _entry(
        self, operation: Operation, request: Any, context: Context, error: GuardError | None, **phase: Any
    ) -> Entry:
        """A refusal or an outcome; without its facts where no record can hold them, since it must be on record."""
        try:
            return self._record.entry(operation, request, context, context.decision, error, **phase)
        except GuardError as unfit:
            log.warning("facts_not_recorded", operation=operation.name, code=unfit.code, request_id=context.request_id)
            context.notes, context.personal = {}, None
            return self._record.entry(operation, None, context, context.decision, error, **phase)


async def last_resort(work: Awaitable[None], failed: Callable[[GuardError], Awaitable[None]], request_id: str) -> None:
    """Await *work*; whatever escapes it is answered through *failed*, without its text.

    The outermost guard of a request: an exception that reached the server would put its message, which can hold a
    value, into the server's log.
    """
    try:
        await work
    except GuardError as error:
        await failed(error)
    except Exception as error:  # see begin
        await failed(_unforeseen(error, request_id))


def attempt(work: Callable[[], None], request_id: str) -> GuardError | None:
    """Do *work*; the error that it ended in, without its text where it was unforeseen. The same door, not awaited."""
    try:
        work()
    except GuardError as error:
        return error
    except Exception as error:  # see begin
        return _unforeseen(error, request_id)
    return None


def _denial(operation: Operation, resource: str, context: Context, decision: Decision) -> GuardError:
    if operation.hides:
        return NotFound(f"Expected an existing resource for {operation.name}, got none that you may know of.")
    return Denied(
        f"{context.actor.subject} may not use {operation.permission} on {resource} in tenant {context.tenant}; "
        "ask an administrator for a role that allows it.",
        missing_permission=operation.permission,
        resource=resource,
        rule=decision.rule,
    )


def _outcome(unit: Unit) -> Any:
    if unit.error is not None:
        raise unit.error
    return unit.result


def _unforeseen(error: Exception, request_id: str) -> InternalError:
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{frames[-1].filename.rsplit('/guard/', 1)[-1]}:{frames[-1].lineno}" if frames else "unknown"
    log.error("unforeseen_error", kind=type(error).__name__, place=place, request_id=request_id)
    return InternalError(f"An internal error occurred; give the operator the request id {request_id}.")
