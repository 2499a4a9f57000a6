"""Random histories of leases against a model that knows nothing of tables: who may seal, renew and open, and when."""

import base64
import random
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from guard.client.lease import Lease
from guard.errors import GuardError, InvalidInput, LeaseEnded
from guard.vault import leases
from guard.vault.envelope import from_text, header_of
from tests.vault.shop import EMAIL, PHONE, Shop, item, world

READER = {EMAIL: "billing", PHONE: "delivery"}
DAY = 86_400


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    with world(tmp_path_factory.mktemp("histories") / "home") as made:
        found = Shop(made)
        for name, reads in (("both", "billing"), ("carrier", "delivery")):
            found.people[name] = made.hire(found.tenant, f"svc:{name}", "role:storing-service", f"role:{reads}-service")
        yield found


@dataclass
class Held:
    """What the model knows of one lease."""

    answer: object
    client: Lease
    who: str
    fields: tuple[str, ...]
    purpose: str
    opens: bool
    born: float
    ends: float
    until: float
    max_uses: int
    version: dict[str, int]
    reported: int = 0
    used: int = 0
    revoked: bool = False
    spent: bool = False
    told: bool = False
    texts: list[tuple[str, str, str]] = field(default_factory=list)


class Model:
    """The leases of one tenant, on the seconds of its clock, and what each act is to give."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.held: list[Held] = []
        self.version = {name: header_of(shop.seal("x", field=name)[0]).key_version for name in (EMAIL, PHONE)}
        self.number = 0

    @property
    def now(self) -> float:
        return self.shop.world.clock.now_us / 1e6

    def create(self, who: str, fields: tuple[str, ...], purpose: str, seconds: int, uses: int) -> Held:
        terms = {"ttl_seconds": seconds, "max_uses": uses}
        version = {one: self.version[one] for one in fields}
        return self._taken(who, fields, purpose, version, terms)

    def again(self, text: tuple[str, str, str], seconds: int, uses: int) -> Held:
        name, sealed, _ = text
        terms = {"ttl_seconds": seconds, "max_uses": uses}
        start = base64.b64encode(from_text(sealed)[:136]).decode()
        purpose = READER[name]
        return self._taken(purpose, (name,), purpose, {name: header_of(sealed).key_version}, terms | {"start": start})

    def _taken(self, who, fields, purpose, version, terms) -> Held:
        now = self.now
        answer = self.shop.call(who, "leases.create", fields=list(fields), purpose=purpose, **terms)
        assert answer.opens is ("start" in terms)
        one = Held(
            answer=answer,
            client=Lease(answer.model_dump(), now, lambda: self.now),
            who=who,
            fields=fields,
            purpose=purpose,
            opens=answer.opens,
            born=now,
            ends=now + terms["ttl_seconds"],
            until=now + terms["ttl_seconds"],
            max_uses=terms["max_uses"],
            version=version,
        )
        self.held.append(one)
        return one

    # what is to come

    def granted_here(self, one: Held) -> bool:
        """The client knows time, uses, and what it was told; of a revocation it knows nothing by itself."""
        return not one.told and self.now < one.ends and one.used < one.max_uses

    def granted_there(self, one: Held) -> bool:
        return not one.revoked and not one.spent and self.now < one.until

    def current(self, one: Held) -> bool:
        return all(self.version[name] == version for name, version in one.version.items())

    # acts

    def seal(self, one: Held, name: str) -> None:
        self.number += 1
        row, value = str(self.number), f"value {self.number}"
        if one.opens:
            with pytest.raises(InvalidInput, match="is for reading"):
                one.client.seal(name, value, row=row)
            return
        if not self.granted_here(one):
            with pytest.raises(LeaseEnded):
                one.client.seal(name, value, row=row)
            return
        text = one.client.seal(name, value, row=row)
        one.used += 1
        assert header_of(text).key_version == one.version[name]
        assert self.shop.open(text, row, name, READER[name]) == value
        one.texts.append((name, text, row))

    def open(self, one: Held, text: tuple[str, str, str]) -> None:
        name, sealed, row = text
        start = leases.bare(from_text(sealed)[:136])
        same = (name, start) in {(part.field, base64.b64decode(part.start)) for part in one.answer.fields}
        try:
            one.client.open(name, sealed, row=row)
        except LeaseEnded:
            assert not self.granted_here(one)
        except GuardError:
            assert not same or one.purpose == "store"
        else:
            assert same
            assert one.purpose != "store"
            assert self.granted_here(one)
            one.used += 1

    def renew(self, one: Held, seconds: int) -> None:
        members = one.client.report() | {"ttl_seconds": seconds}
        asked = self.now
        allowed = self.granted_there(one)
        goes_on = one.opens or self.current(one) or one.used == one.max_uses or not seconds
        try:
            state = self.shop.call(one.who, "leases.renew", **members)
        except LeaseEnded:
            assert not (allowed and goes_on)
            one.client.end("was revoked")
            one.told = True
        else:
            assert allowed
            assert goes_on
            one.reported = max(one.reported, one.used)
            one.spent = one.used == one.max_uses or not seconds
            one.until = asked if one.spent else min(asked + seconds, one.born + leases.MAX_LIFETIME_SECONDS)
            assert state.used == one.reported
            assert 0 <= one.until - asked - state.ttl_seconds + 0.01 < 1.01  # whole seconds, and never more
            one.client.renewed(state.model_dump(), asked)
            one.ends = asked + state.ttl_seconds

    def revoke(self, one: Held) -> None:
        answer = self.shop.call("keys", "leases.revoke", lease=one.answer.lease_id)
        assert answer.revoked == int(not one.revoked and self.now < one.until)
        one.revoked = True

    def revoke_field(self, name: str) -> None:
        hit = [one for one in self.held if name in one.fields and not one.revoked and self.now < one.until]
        answer = self.shop.call("keys", "leases.revoke", field=name)
        assert answer.revoked == len(hit)
        if hit:  # the gap: the latest second at which somebody who hears nothing may still seal
            assert answer.until_us / 1e6 == pytest.approx(max(one.until for one in hit), abs=0.1)
        for one in self.held:
            one.revoked |= name in one.fields

    def rotate(self, name: str) -> None:
        self.version[name] = self.shop.rotate(name)

    def served(self, one: Held) -> None:
        """The server seals for the holder as long as the lease holds and its key is the newest."""
        name = one.fields[0]
        items = [item(name, "1", plaintext="eA==")]
        act = lambda: self.shop.call("storing", "leases.encrypt", lease=one.answer.lease_id, items=items)  # noqa: E731
        if self.granted_there(one) and self.version[name] == one.version[name]:
            [result] = act().results
            assert self.shop.open(result["ciphertext"], "1", name, READER[name]) == "x"
        else:
            with pytest.raises(LeaseEnded):
                act()

    def check(self) -> None:
        """The list of the server and each client agree with the model."""
        listed = {one.lease_id: one for one in self.shop.call("keys", "leases.list", limit=100).data}
        for one in self.held:
            seen = listed.get(one.answer.lease_id)
            if self.granted_there(one):
                assert (seen.state, seen.used, seen.opens) == ("live", one.reported, one.opens)
            else:
                assert seen is None or seen.state == "revoked" or self.now >= one.until
            assert one.client.used == one.used <= one.max_uses
            assert one.client.usable() is self.granted_here(one)
        texts = [text for one in self.held for _, text, _ in one.texts]
        assert len(set(texts)) == len(texts)

    def close(self) -> None:
        """Whatever became of the leases, every value is data and opens."""
        for one in self.held:
            for name, text, row in one.texts[-3:]:
                assert self.shop.open(text, row, name, READER[name]).startswith("value ")
        self.shop.world.clock.advance(3601)  # the shop is shared, and the list is to be of the next history alone


KINDS = [
    ("storing", (EMAIL,), "store"),
    ("storing", (EMAIL, PHONE), "store"),
    ("both", (EMAIL,), "billing"),
    ("carrier", (PHONE,), "delivery"),
]


class Histories(RuleBasedStateMachine):
    """Hypothesis looks for the shortest history in which model and guard differ."""

    shop: Shop

    def __init__(self) -> None:
        super().__init__()
        self.model = Model(self.shop)

    @rule(kind=st.sampled_from(KINDS), seconds=st.sampled_from([1, 60, 300, 3600]), uses=st.integers(1, 6))
    def create(self, kind, seconds, uses):
        self.model.create(*kind, seconds, uses)

    @precondition(lambda self: self.model.held)
    @rule(data=st.data())
    def seal(self, data):
        one = data.draw(st.sampled_from(self.model.held))
        self.model.seal(one, data.draw(st.sampled_from(one.fields)))

    @precondition(lambda self: any(one.texts for one in self.model.held))
    @rule(data=st.data())
    def open(self, data):
        owner = data.draw(st.sampled_from([one for one in self.model.held if one.texts]))
        self.model.open(data.draw(st.sampled_from(self.model.held)), data.draw(st.sampled_from(owner.texts)))

    @precondition(lambda self: any(one.texts for one in self.model.held))
    @rule(data=st.data(), seconds=st.sampled_from([60, 3600]), uses=st.integers(1, 3))
    def again(self, data, seconds, uses):
        owner = data.draw(st.sampled_from([one for one in self.model.held if one.texts]))
        self.model.again(data.draw(st.sampled_from(owner.texts)), seconds, uses)

    @precondition(lambda self: self.model.held)
    @rule(data=st.data(), seconds=st.sampled_from([0, 1, 300, 3600]))
    def renew(self, data, seconds):
        self.model.renew(data.draw(st.sampled_from(self.model.held)), seconds)

    @precondition(lambda self: self.model.held)
    @rule(data=st.data())
    def revoke(self, data):
        self.model.revoke(data.draw(st.sampled_from(self.model.held)))

    @rule(name=st.sampled_from([EMAIL, PHONE]))
    def revoke_field(self, name):
        self.model.revoke_field(name)

    @rule(name=st.sampled_from([EMAIL, PHONE]))
    def rotate(self, name):
        self.model.rotate(name)

    @precondition(lambda self: self.model.held)
    @rule(data=st.data())
    def served(self, data):
        self.model.served(data.draw(st.sampled_from(self.model.held)))

    @rule(seconds=st.sampled_from([0.53, 58.91, 61.17, 298.73, 302.39, 3601.07, DAY]))
    def wait(self, seconds):
        self.shop.world.clock.advance(seconds)

    @invariant()
    def agrees(self):
        self.model.check()

    def teardown(self):
        self.model.close()


def test_no_short_history_differs_from_the_model(shop):
    class Here(Histories):
        pass

    Here.shop = shop
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large]
    bounds = settings(max_examples=12, stateful_step_count=18, deadline=None, suppress_health_check=slow)
    run_state_machine_as_test(Here, settings=bounds)


@pytest.mark.parametrize("seed", range(4))
def test_no_long_history_differs_either(shop, seed):
    """Few leases and many acts, so that each lease meets its end in several ways."""
    draw, model = random.Random(seed), Model(shop)
    for _ in range(60):
        act = draw.random()
        one = draw.choice(model.held) if model.held else None
        if one is None or act < 0.12:
            model.create(*draw.choice(KINDS), draw.choice([60, 300, 3600]), draw.randint(1, 12))
        elif act < 0.45:
            model.seal(one, draw.choice(one.fields))
        elif act < 0.6 and one.texts:
            model.open(draw.choice(model.held), draw.choice(one.texts))
        elif act < 0.66 and one.texts:
            model.again(draw.choice(one.texts), 300, 3)
        elif act < 0.78:
            model.renew(one, draw.choice([0, 60, 300, 3600]))
        elif act < 0.82:
            model.served(one)
        elif act < 0.86:
            model.revoke(one)
        elif act < 0.88:
            model.revoke_field(draw.choice([EMAIL, PHONE]))
        elif act < 0.9:
            model.rotate(draw.choice([EMAIL, PHONE]))
        else:
            shop.world.clock.advance(draw.choice([1.03, 30.11, 100.27, 251.91, 1003.57]))
        model.check()
    model.close()
    assert any(one.texts for one in model.held)


def test_the_model_knows_a_day(shop):
    """Renewed again and again, a lease ends a day after it began, in the model and in guard."""
    model = Model(shop)
    one = model.create("storing", (EMAIL,), "store", 3600, 1000)
    for _ in range(50):
        shop.world.clock.advance(2000)
        model.renew(one, 3600)
        model.seal(one, EMAIL)
        model.check()
    assert one.told
    assert one.used == len(one.texts) == 43
