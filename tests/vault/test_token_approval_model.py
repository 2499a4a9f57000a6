"""Random histories of reveals that need a second person, against a model: who may see what, once, for how long."""

import shutil
import tempfile
from contextlib import ExitStack
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from guard.errors import Conflict, Denied, NotFound
from tests.vault.tokenising import CARD, till

OFFICERS = ("officer", "colleague")
COUNT = 3
SETS = [held for size in range(1, COUNT + 1) for held in combinations(range(COUNT), size)]
HOUR = 3600
UNITS = 1_000_000
NEEDED, GONE = "GRD-TOKEN-002", "GRD-TOKEN-001"


class Approvals(RuleBasedStateMachine):
    """Ask for sets of tokens, approve, wait, revoke, restart."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="guard-approvals-"))
        self.stack = ExitStack()
        self.start()
        self.values = [f"411111111111{number:04}" for number in range(COUNT)]
        self.tokens = [self.shop.token(value, f"u-{number}") for number, value in enumerate(self.values)]
        self.dead: set[int] = set()
        self.requests: dict[str, dict] = {}

    def start(self) -> None:
        self.shop = self.stack.enter_context(till(self.folder / "home"))

    def teardown(self) -> None:
        self.stack.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def good(self, one: dict) -> bool:
        return not one["used"] and self.shop.world.clock.now_us < one["end"]

    @rule(who=st.sampled_from(OFFICERS), wanted=st.sampled_from(SETS), turned=st.booleans(), twice=st.booleans())
    def reveal(self, who, wanted, turned, twice):
        asked = [*wanted, *(wanted[:1] if twice else ())][:: -1 if turned else 1]
        live = frozenset(wanted) - self.dead
        known = [one for one in self.requests.values() if self.good(one) and one["by"] == who and one["tokens"] == live]
        items = [{"field": CARD, "token": self.tokens[number]} for number in asked]
        answers = self.shop.call(who, "tokens.reveal", purpose="identity_check", items=items)["results"]
        approved = [one for one in known if one["approved"]]
        numbers = set()
        for number, answer in zip(asked, answers, strict=True):
            if number in self.dead:
                assert answer["problem"]["code"] == GONE
            elif approved:
                assert answer == {"value": self.values[number], "mask": "full"}
            else:
                assert answer["problem"]["code"] == NEEDED
                numbers.add(answer["request"])
        if approved:
            approved[0]["used"] = True
        elif live:
            [number] = numbers
            assert ([number] == [one["id"] for one in known]) is bool(known)
            end = self.shop.world.clock.now_us + 24 * HOUR * UNITS
            fresh = {"id": number, "by": who, "tokens": live, "approved": False, "used": False, "end": end}
            self.requests.setdefault(number, fresh)

    @rule(who=st.sampled_from([*OFFICERS, "clerk", "billing"]), data=st.data())
    def approve(self, who, data):
        if not self.requests:
            return
        one = self.requests[data.draw(st.sampled_from(sorted(self.requests)))]
        expected = None
        if who not in OFFICERS:
            expected = Denied
        elif not self.good(one):
            expected = NotFound
        elif one["by"] == who:
            expected = Denied
        elif one["approved"]:
            expected = Conflict
        if expected is not None:
            with pytest.raises(expected):
                self.shop.approve(one["id"], who)
            return
        found = self.shop.approve(one["id"], who)
        assert found.tokens == len(one["tokens"])
        one["approved"], one["end"] = True, found.expires_us

    @rule(seconds=st.sampled_from([60, HOUR + 1, 25 * HOUR]))
    def wait(self, seconds):
        self.shop.world.clock.advance(seconds)

    @rule(number=st.integers(0, COUNT - 1))
    def revoke(self, number):
        if len(self.dead) < COUNT - 1:
            self.shop.revoke(self.tokens[number])
            self.dead.add(number)

    @rule()
    def sweep(self):
        self.shop.world.call("tokens.sweep")

    @invariant()
    def what_waits_is_what_nobody_approved(self):
        waiting = {one.id for one in self.shop.call("colleague", "tokens.list_requests", limit=500).data}
        assert waiting == {number for number, one in self.requests.items() if self.good(one) and not one["approved"]}


Approvals.TestCase.settings = settings(
    max_examples=5, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
TestApprovals = Approvals.TestCase
