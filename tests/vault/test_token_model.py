"""Random histories of tokens against a model that holds them in dictionaries: who gets what, and when it is over."""

import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from tests.vault.tokenising import till

PEOPLE = ("ana", "bo", "chen")
VALUES = ("4111111111111111", "5555555555554444", "x")
TTL = {"checkout": None, "refunds": 7200, "receipts": None}
GONE = "GRD-TOKEN-001"
DEAD = {GONE, "GRD-KEY-020"}
UNITS = 1_000_000


class Tokens(RuleBasedStateMachine):
    """Issue, reveal in whole and in part, revoke, forget, wait, sweep."""

    held = Bundle("held")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="guard-tokens-"))
        self.stack = ExitStack()
        self.start()
        self.model: dict[str, dict[str, object]] = {}
        self.current: dict[tuple[str, str, str], str] = {}
        self.life = dict.fromkeys(PEOPLE, 0)

    def start(self) -> None:
        self.shop = self.stack.enter_context(till(self.folder / "home"))

    def teardown(self) -> None:
        self.stack.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def live(self, token: str) -> bool:
        known = self.model[token]
        now = self.shop.world.clock.now_us
        over = known["end"] is not None and now >= known["end"]
        return not (known["spent"] or over or known["life"] != self.life[known["person"]])

    @rule(
        target=held,
        person=st.sampled_from(PEOPLE),
        value=st.sampled_from(VALUES),
        domain=st.sampled_from(sorted(TTL)),
    )
    def issue(self, person, value, domain):
        answer = self.shop.issue(value, person, domain)
        token, place = answer["token"], (person, value, domain)
        before = self.current.get(place)
        if domain != "receipts" and before is not None and self.live(before):
            assert token == before
        else:
            assert token not in self.model
        fresh = {"spent": False, "person": person, "value": value, "once": domain == "receipts"}
        self.model[token] = fresh | {"end": answer["expires_us"], "life": self.life[person]}
        if domain != "receipts":
            self.current[place] = token
        if TTL[domain] is not None:
            left = answer["expires_us"] - self.shop.world.clock.now_us
            assert TTL[domain] * UNITS - UNITS < left <= TTL[domain] * UNITS
        return token

    @rule(token=held)
    def reveal(self, token):
        expected = self.live(token)
        shown = self.shop.shown(token)
        assert shown == self.model[token]["value"] if expected else shown in DEAD
        if expected and self.model[token]["once"]:
            self.model[token]["spent"] = True

    @rule(token=held)
    def look(self, token):
        shown = self.shop.shown(token, "support")
        if not self.live(token):
            assert shown in DEAD
        else:
            assert shown != self.model[token]["value"]
            if self.model[token]["once"]:
                self.model[token]["spent"] = True

    @rule(token=consumes(held))
    def revoke(self, token):
        assert self.shop.revoke(token) == {"state": "revoked"}
        self.model[token]["spent"] = True

    @rule(person=st.sampled_from(PEOPLE))
    def forget(self, person):
        if any(one["person"] == person and one["life"] == self.life[person] for one in self.model.values()):
            self.shop.forget(person)
            self.life[person] += 1

    @rule(seconds=st.sampled_from([1, 3600, 7300]))
    def wait(self, seconds):
        self.shop.world.clock.advance(seconds)

    @rule()
    def sweep(self):
        self.shop.world.call("tokens.sweep")

    @invariant()
    def states_agree(self):
        rows = self.shop.call("privacy", "tokens.list_issued", limit=500).data
        counted = sum(row.state == "live" for row in rows)
        assert counted == sum(self.live(token) for token in self.model)


Tokens.TestCase.settings = settings(
    max_examples=6, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
TestTokens = Tokens.TestCase
