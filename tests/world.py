"""A real guard on a temporary home, for tests of shells: no mocks, one tenant, people with roles, a clock that is set."""

import itertools
from contextlib import contextmanager
from pathlib import Path

from guard.app import build
from guard.catalogue import PLATFORM, Actor
from guard.settings import Settings

START_US = 1_790_000_000_000_000
WORKER = Actor("system:worker", PLATFORM, "system")


class Clock:
    """Microseconds UTC; every reading is one microsecond later, and tests move it on."""

    def __init__(self, now_us: int = START_US) -> None:
        self.now_us = now_us

    def __call__(self) -> int:
        self.now_us += 1
        return self.now_us

    def advance(self, seconds: float) -> None:
        self.now_us += int(seconds * 1_000_000)


class World:
    """A running guard without loops: `beat` does by hand what the worker would do."""

    def __init__(self, home: Path, **settings: object) -> None:
        self.clock = Clock()
        self.home = home
        self.guard = build(Settings(home=home, **settings), clock=self.clock)
        self.gate = self.guard.gate
        self._numbers = itertools.count(1)

    def call(self, name: str, actor: Actor = WORKER, /, **request: object):
        """Run an operation as *actor* through the gate; its answer, or its GuardError raised."""
        return self.gate.call_named(name, request, actor, f"test-{next(self._numbers)}")

    def hire(self, tenant: str, subject: str, *roles: str) -> Actor:
        """A subject with roles in a tenant (made if need be), as the actor of its token."""
        minted = self.call("principals.bootstrap", tenant=tenant, subject=subject, roles=list(roles))
        return self.gate.identify(f"Bearer {minted.token}", "test")

    def token(self, tenant: str, subject: str, *roles: str) -> str:
        """As `hire`, but the token itself."""
        return self.call("principals.bootstrap", tenant=tenant, subject=subject, roles=list(roles)).token

    def records(self, tenant: str = PLATFORM, **wanted: object):
        """Audit records of a tenant, newest first (asking leaves a record too)."""
        auditor = self.hire(PLATFORM, "user:local|auditor", "role:auditor")
        return self.call("records.list", auditor, tenant=tenant, **wanted).data

    def beat(self, operation: str, due=None) -> int:
        """One beat of a worker's loop, for whatever the named operation's room says is due."""
        return self.guard.worker.beat(operation, due or (lambda _now: [(PLATFORM, {})]))

    def close(self) -> None:
        self.guard.close()


@contextmanager
def world(home: Path, **settings: object):
    """A World that is closed at the end of the block."""
    made = World(home, **settings)
    try:
        yield made
    finally:
        made.close()
