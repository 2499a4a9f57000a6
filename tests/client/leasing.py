"""A guard in this process for the tests of local encryption: its calls, a clock for the client, and ways to be away."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from guard.client.local import LocalKeys
from guard.errors import Unreachable
from tests.vault.shop import Shop, world

EMAIL, PHONE = "customers.email", "customers.phone"


class Line:
    """What a client calls: a real guard through its gate, as one actor. *cut* makes it unreachable."""

    def __init__(self, shop: Shop, who: str) -> None:
        self.shop, self.who = shop, who
        self.cut = False
        self.asked: list[tuple[str, dict[str, object]]] = []
        self.seconds = 1000.0
        self._lock = threading.Lock()

    def __call__(self, name: str, **members: object) -> dict[str, object]:
        with self._lock:
            self.asked.append((name, members))
            if self.cut:
                raise Unreachable("Expected a guard server, but the connection failed; start it.")
            answer = self.shop.call(self.who, name, **members)
        return answer if isinstance(answer, dict) else answer.model_dump(exclude_none=True)

    def now(self) -> float:
        return self.seconds

    def wait(self, seconds: float) -> None:
        """Both clocks move on."""
        self.seconds += seconds
        self.shop.world.clock.advance(seconds)

    def names(self) -> list[str]:
        return [name for name, _ in self.asked]


class Office:
    """A shop, its lines, and the local keys at their ends."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        shop.people["both"] = shop.world.hire(shop.tenant, "svc:both", "role:storing-service", "role:billing-service")

    def line(self, who: str = "both") -> tuple[Line, LocalKeys]:
        line = Line(self.shop, who)
        return line, LocalKeys(line, line.now)


@contextmanager
def office(home: Path, **settings: object) -> Iterator[Office]:
    """An office that is closed at the end of the block."""
    with world(home, **settings) as made:
        yield Office(Shop(made))
