"""An operation is declared once, here; route, OpenAPI page, permission, record, CLI verb and SDK method follow from it.

Law: `@operation` registers nothing; `app` lists the rooms' operations. Only the gate calls `Operation.run`. An
operation gets time, randomness, the transaction and the parts it works on from its `Context`, never from a module.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import ModuleType
from typing import Any, Protocol, TypeVar

from guard.db.engine import Tx
from guard.errors import InternalError, NotFound
from guard.wire.ids import prefixed
from guard.wire.model import Model

Part = TypeVar("Part")
NAME = re.compile(r"[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*")
PLATFORM = "system"  # the tenant of those who run guard itself
ID_BYTES = 10  # random bytes of a UUIDv7


class Effect(Enum):
    """What running an operation does, and with that when its record is written."""

    NONE = "none"  # computed in memory; the record is durable before the answer leaves
    READ = "read"  # as NONE, with a read transaction
    WRITE = "write"  # changes and record are one transaction
    EXTERNAL = "external"  # intent committed, run with no open transaction, then outcome


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks: a typed subject (`user:local|ana`, `svc:billing`) in one tenant, and its credential."""

    subject: str
    tenant: str
    kind: str
    credential: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer of the policy: the deciding rule, the role path that led to it, and the policy version."""

    allow: bool
    rule: str
    path: tuple[str, ...] = ()
    version: int = 0
    roles: frozenset[str] = frozenset()  # of an allowed one: all that the actor holds, for what is shown by role


class Caller(Protocol):
    """How one operation calls another: through the gate, on the same transaction."""

    def __call__(self, context: "Context", name: str, request: Mapping[str, Any], actor: Actor | None, /) -> Any:
        """Run the named operation; its record joins the records of *context*."""
        ...


@dataclass(slots=True)
class Context:
    """What an operation may use. `notes` become the clear data of its record: ids, names, counts and enums only."""

    actor: Actor
    request_id: str
    now_us: int
    random: Callable[[int], bytes]
    parts: Mapping[type, Any]
    caller: Caller
    transaction: Tx | None = None
    notes: dict[str, Any] = field(default_factory=dict)
    hooks: list[Callable[[], None]] = field(default_factory=list)
    entries: list[Any] = field(default_factory=list)
    resources: tuple[str, ...] = ()
    decision: Decision | None = None
    closing: list[Callable[[Tx], None]] = field(default_factory=list)
    answer: Any = None
    personal: dict[str, Any] | None = None

    @property
    def tenant(self) -> str:
        """The actor's tenant; a body never overrules it."""
        return self.actor.tenant

    @property
    def tx(self) -> Tx:
        """The open transaction of a READ or WRITE operation."""
        if self.transaction is None:
            raise InternalError("An operation without a transaction asked for one; declare effect READ or WRITE.")
        return self.transaction

    def part(self, kind: type[Part]) -> Part:
        """The running part of this type, as `app.build` made it."""
        found: Part = self.parts[kind]
        return found

    def tenant_for(self, asked: str) -> str:
        """The tenant that a request names: `~` is the caller's own; only the platform's own people name another.

        Raises:
            NotFound: another tenant; the answer is the same whether it exists or not.
        """
        tenant = self.tenant if asked == "~" else asked
        if self.tenant not in {tenant, PLATFORM}:
            raise NotFound("Expected your own tenant, got another; only the platform's roles act across tenants.")
        return tenant

    def note(self, **facts: Any) -> None:
        """Add clear facts to the record; never a value, a token, an address of a person or free text."""
        self.notes.update(facts)

    def seal(self, **values: Any) -> None:
        """Add personal values or free text to the record: commitments in its body, the values sealed beside it."""
        self.personal = {**(self.personal or {}), **values}

    def after_commit(self, hook: Callable[[], None]) -> None:
        """Run *hook* when the transaction is durable and before the answer leaves; it must not raise."""
        self.hooks.append(hook)

    def at_outcome(self, change: Callable[[Tx], None]) -> None:
        """In an operation that has no transaction to write in: make *change* in the one that records it.

        It may set `answer`, which then stands in place of what the operation returned.
        """
        self.closing.append(change)

    def close(self, answer: Any) -> Any:
        """Make the changes of `at_outcome`, for the gate; the answer that stands then."""
        for change in self.closing:
            change(self.tx)
        return answer if self.answer is None else self.answer

    def new_id(self, prefix: str) -> str:
        """A fresh `<prefix>_<uuid7>`."""
        return prefixed(prefix, self.now_us, self.random(ID_BYTES))

    def call(self, name: str, request: Mapping[str, Any], actor: Actor | None = None) -> Any:
        """Run another operation through the gate on this transaction, as *actor* (default: the same)."""
        return self.caller(self, name, request, actor)


Run = Callable[[Context, Any], Any]


@dataclass(frozen=True, slots=True)
class Operation:
    """One catalogue entry. `resources(request)` are the things acted on; all of them must be allowed."""

    name: str
    method: str | None
    path: str | None
    takes: type[Model]
    gives: type[Model]
    effect: Effect
    resource: str | Callable[[Any], tuple[str, ...]]
    audit: tuple[str, ...]
    run: Run
    summary: str
    hot: bool = False
    hides: bool = False
    exempt: str = ""
    example: Mapping[str, Any] = field(default_factory=dict)
    sealed: tuple[str, ...] = ()
    subject: str = ""
    vital: bool = False
    public: bool = False

    @property
    def permission(self) -> str:
        """The permission bears the operation's name."""
        return self.name

    @property
    def operation_id(self) -> str:
        """The name in OpenAPI: `keys_rotate`."""
        return self.name.replace(".", "_")

    def resources(self, request: Any) -> tuple[str, ...]:
        """The resources that *request* acts on, at least one."""
        if callable(self.resource):
            return self.resource(request)
        if "{" in self.resource:
            return (self.resource.format_map(_Attributes(request)),)
        return (self.resource,)


class _Attributes(dict[str, Any]):
    """Lets a resource template read the attributes of a request."""

    def __init__(self, request: Any) -> None:
        super().__init__()
        self._request = request

    def __missing__(self, name: str) -> Any:
        return getattr(self._request, name)


def operation(
    name: str,
    route: str | None,
    *,
    takes: type[Model],
    gives: type[Model],
    effect: Effect,
    resource: str | Callable[[Any], tuple[str, ...]],
    audit: tuple[str, ...] = (),
    hot: bool = False,
    hides: bool = False,
    exempt: str = "",
    example: Mapping[str, Any] | None = None,
    sealed: tuple[str, ...] = (),
    subject: str = "",
    vital: bool = False,
    public: bool = False,
) -> Callable[[Run], Operation]:
    """Declare an operation. *route* is `"POST /api/v1/keys/{key}/rotate"`, or None for one that only guard calls.

    *audit* names request fields that are ids, names, counts or enums and stand in the record in clear. *exempt* gives
    the reason why an operation writes no record; such operations are printed by `guard audit inventory`. *sealed* names
    request fields that are personal values or free text: the record holds commitments to them. *subject* names the
    request field with the id of the person whom they are about; without one they are kept under a key of the day. A
    field in neither list is not recorded. *vital* operations sign or close what was acknowledged before, and so run on
    while the disk is low. *public* ones need no credential where the settings say so.
    """

    def declare(run: Run) -> Operation:
        method, path = route.split(" ", 1) if route else (None, None)
        if not NAME.fullmatch(name):
            raise InternalError(f"Expected an operation name noun.verb, got {name}.")
        unknown = {*sealed, *filter(None, [subject])} - takes.model_fields.keys()
        if unknown or set(sealed) & set(audit):
            raise InternalError(f"Expected {name} to seal fields that it takes and does not record in clear.")
        summary = (run.__doc__ or "").strip().split("\n", 1)[0]
        flags = (hot, hides, exempt, example or {}, sealed, subject, vital, public)
        return Operation(name, method, path, takes, gives, effect, resource, audit, run, summary, *flags)

    return declare


def collect(rooms: Iterable[ModuleType]) -> dict[str, Operation]:
    """All operations of the given `operations` modules, by name.

    Raises:
        InternalError: two operations share a name or a route.
    """
    found: dict[str, Operation] = {}
    routes: set[tuple[str, str]] = set()
    for room in rooms:
        for item in vars(room).values():
            if not isinstance(item, Operation):
                continue
            route = (item.method or "", item.path or item.name)
            if item.name in found or route in routes:
                raise InternalError(f"Operation {item.name} is declared twice.")
            found[item.name] = item
            routes.add(route)
    return dict(sorted(found.items()))
