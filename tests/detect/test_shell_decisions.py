"""Decisions: their ends and ladders, whom they never touch, by hand and by rule, and what a check answers."""

import shutil

import pytest

from guard.errors import Conflict, Denied, InvalidRequest, NotFound
from guard.settings import bundled
from tests.detect.shipping import NOW, Shipper, guessing, line, scan, sql, stuffing
from tests.world import world

SECOND = 1_000_000
MINUTE = 60 * SECOND
DAY = 86_400


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One guard; each test has a tenant of its own."""
    with world(
        tmp_path_factory.mktemp("shared") / "home", never_ban=("203.0.113.0/24", "2001:db8:7::5", "192.0.2.77")
    ) as made:
        yield made


# the end and the ladder


def test_a_ban_ends_its_time_after_the_last_event_of_its_episode(shipper):
    shipper.push(scan(-60), end=True)
    (one,) = shipper.decisions()
    last_us = (NOW - 60 + 24) * SECOND
    assert (one.type, one.step, one.until_us) == ("ban", 0, last_us + 15 * MINUTE)
    assert one.from_us == (NOW - 60 + 19) * SECOND
    answer = shipper.check("198.51.100.20")
    assert (answer.action, answer.until_us, answer.decision) == ("ban", one.until_us, one.id)
    shipper.world.clock.advance(16 * 60)
    assert shipper.check("198.51.100.20").action == "none"
    assert [each.state for each in shipper.decisions()] == ["expired"]
    assert shipper.decisions(active=True) == []


def test_an_old_log_leads_to_decisions_that_are_over(shipper):
    answer = shipper.push(scan(-30 * DAY) + guessing(-20 * DAY) + stuffing(-10 * DAY), end=True)
    assert answer.decisions == 3
    assert {one.state for one in shipper.decisions()} == {"expired"}
    for address in ("198.51.100.20", "198.51.100.30", "198.51.100.9"):
        assert shipper.check(address).action == "none"


def test_a_ban_lasts_longer_while_the_episode_goes_on(shipper):
    shipper.push(scan(-300, count=25))
    (first,) = shipper.decisions()
    shipper.push(scan(-275, count=200), 10_000)
    (later,) = shipper.decisions()
    assert later.id == first.id
    assert later.until_us > first.until_us
    shipper.push([], 99_999, end=True)
    assert shipper.decisions()[0].until_us == (NOW - 275 + 199) * SECOND + 15 * MINUTE


def test_each_strike_climbs_the_ladder_until_it_is_forgotten(place, shipper):
    steps = []
    for number, day in enumerate((-20, -19, -18, -17, -16)):
        shipper.push(scan(day * DAY), stream=f"log{number}", end=True)
        newest = max(shipper.decisions(), key=lambda one: one.from_us)
        alert = next(one for one in shipper.alerts() if one.id == newest.alert)
        steps.append((newest.step, newest.until_us - alert.t1_us))
    hours = [15 * MINUTE, 60 * MINUTE, 240 * MINUTE, 1440 * MINUTE, 1440 * MINUTE]
    assert steps == list(zip((0, 1, 2, 3, 3), hours, strict=True))
    shipper.push(scan(-DAY, "198.51.100.21"), stream="other", end=True)  # another client starts below
    assert max(shipper.decisions(), key=lambda one: one.from_us).step == 0
    neighbour = Shipper(place)  # and so does another tenant's
    neighbour.push(scan(-DAY), stream="other", end=True)
    assert [one.step for one in neighbour.decisions()] == [0]


def test_a_strike_that_was_taken_back_or_forgotten_does_not_count(shipper):
    shipper.push(guessing(-40 * DAY), stream="a", end=True)  # decay 7 days
    shipper.push(guessing(-100), stream="b", end=True)
    assert sorted(one.step for one in shipper.decisions()) == [0, 0]
    for one in shipper.decisions(active=True):
        shipper.call("decisions.revoke", decision=one.id, reason="ours")
    shipper.push(guessing(-50), stream="c", end=True)
    assert sorted(one.step for one in shipper.decisions()) == [0, 0, 0]


# whom decisions never touch


@pytest.mark.parametrize("address", ["127.0.0.1", "203.0.113.9", "192.0.2.77"])
def test_an_attack_from_a_protected_address_is_an_alert_without_a_decision(shipper, address):
    answer = shipper.push(scan(-60, address), end=True)
    assert (answer.alerts, answer.decisions) == (answer.spared, 0)
    assert shipper.decisions() == []
    assert shipper.alerts()[0].outcome.startswith("spared: ")
    assert shipper.check(address).action == "none"


def test_a_row_that_bans_a_protected_address_is_not_in_force(tmp_path):
    home = tmp_path / "home"
    with world(home) as made:
        shipper = Shipper(made, "acme")
        shipper.call("decisions.create", value="203.0.113.9", seconds=DAY)
        shipper.call("decisions.create", value="203.0.113.0/24", scope="Range", seconds=DAY)
        assert shipper.check("203.0.113.9").action == "ban"
    with world(home, never_ban=("203.0.113.9",)) as made:
        shipper = Shipper(made, "acme")
        assert len(shipper.decisions(active=True)) == 2
        assert shipper.check("203.0.113.9").action == "none"
        assert shipper.check("203.0.113.10").action == "ban"


def test_an_ipv6_network_is_banned_around_a_protected_address_in_it(shipper):
    shipper.push(scan(-60, "2001:db8:7::66"), end=True)
    found = shipper.decisions()
    assert len(found) == 64
    assert {one.scope for one in found} == {"Range"}
    assert {one.step for one in found} == {0}
    assert shipper.check("2001:db8:7::5").action == "none"
    for address in ("2001:db8:7::66", "2001:db8:7::4", "2001:db8:7::6", "2001:db8:7:0:ffff::1"):
        assert shipper.check(address).action == "ban", address
    assert shipper.check("2001:db8:8::66").action == "none"


@pytest.mark.parametrize(
    "value",
    [
        "203.0.113.9",
        "203.0.113.0/25",
        "203.0.0.0/16",
        "0.0.0.0/0",
        "127.0.0.1",
        "::1",
        "2001:db8:7::/64",
        "2001:db8:7::1",
    ],
)
def test_a_ban_by_hand_that_touches_a_protected_address_is_refused_with_the_reason(shipper, value):
    with pytest.raises(Conflict) as raised:
        shipper.call("decisions.create", value=value, scope="Range" if "/" in value else "Ip")
    assert raised.value.extra["reason"] in {"this machine", "configured as never_ban"}
    assert shipper.decisions() == []


# by hand


MANUAL = [
    ("198.51.100.7", "Ip", "198.51.100.7", ["198.51.100.7", "::ffff:198.51.100.7"], ["198.51.100.8"]),
    ("::ffff:198.51.100.7", "Ip", "198.51.100.7", ["198.51.100.7"], ["198.51.100.8"]),
    ("2001:DB8:1:2::9", "Ip", "2001:db8:1:2::/64", ["2001:db8:1:2::1", "2001:db8:1:2:f::"], ["2001:db8:1:3::9"]),
    ("198.51.100.0/24", "Range", "198.51.100.0/24", ["198.51.100.0", "198.51.100.255"], ["198.51.101.0"]),
    ("198.51.100.7/32", "Range", "198.51.100.7/32", ["198.51.100.7"], ["198.51.100.6"]),
    ("10.0.0.0/8", "Range", "10.0.0.0/8", ["10.1.2.3", "10.0.0.0/9"], ["11.0.0.0", "8.0.0.0/7"]),
    ("3fff::/32", "Range", "3fff::/32", ["3fff:0:ffff::1", "3fff:0:1::/48"], ["3fff:1::1", "63.255.0.0", "3fff::/31"]),
    ("2001:db8::9/128", "Range", "2001:db8::9/128", ["2001:db8::9"], ["2001:db8::8"]),
    ("Alice ", "User", "alice", ["alice", "ALICE", " Alice"], ["alice2", "bob"]),
    ("198.51.100.7", "User", "198.51.100.7", [], ["198.51.100.7", "198.51.100.0/24"]),
    ("10.0.0.0/8", "User", "10.0.0.0/8", [], ["10.1.2.3", "10.0.0.0/8"]),
]


@pytest.mark.parametrize(("given", "scope", "value", "hit", "missed"), MANUAL)
def test_a_ban_by_hand_holds_for_what_it_names_and_nothing_else(shipper, given, scope, value, hit, missed):
    made = shipper.call("decisions.create", value=given, scope=scope, seconds=600, reason="seen")
    assert (made.value, made.origin, made.state, made.created_by) == (value, "manual", "active", "user:local|dora")
    assert {each: shipper.check(each).action for each in hit} == dict.fromkeys(hit, "ban")
    assert {each: shipper.check(each).action for each in missed} == dict.fromkeys(missed, "none")
    shipper.call("decisions.revoke", decision=made.id)
    assert {each: shipper.check(each).action for each in hit} == dict.fromkeys(hit, "none")
    assert shipper.decisions()[0].state == "revoked"


def test_decisions_survive_a_restart_and_so_does_their_end(tmp_path):
    for round_number in range(2):
        with world(tmp_path / "home", never_ban=()) as made:
            shipper = Shipper(made, "acme")
            if not round_number:
                shipper.call("decisions.create", value="198.51.100.0/24", scope="Range", seconds=600)
                lifted = shipper.call("decisions.create", value="192.0.2.1", seconds=600)
                shipper.call("decisions.revoke", decision=lifted.id)
                shipper.push(scan(-60), end=True)
            assert shipper.check("198.51.100.99").action == "ban"
            assert shipper.check("192.0.2.1").action == "none"
            made.clock.advance(601)
            assert shipper.check("198.51.100.99").action == "none"
            made.clock.advance(-601)


def test_the_strongest_of_several_answers_and_then_the_longest(shipper):
    made = {}
    for kind, seconds in (("throttle", 900), ("captcha", 800), ("ban", 100), ("step_up", 700)):
        made[kind] = shipper.call("decisions.create", value="198.51.100.7", type=kind, seconds=seconds)
    longer = shipper.call("decisions.create", value="198.51.100.0/24", scope="Range", type="ban", seconds=200)
    assert shipper.check("198.51.100.7").decision == longer.id
    shipper.world.clock.advance(150)
    assert shipper.check("198.51.100.7").decision == longer.id
    shipper.world.clock.advance(100)
    assert shipper.check("198.51.100.7").action == "step_up"
    shipper.world.clock.advance(500)
    assert shipper.check("198.51.100.7").action == "captcha"
    shipper.world.clock.advance(100)
    assert shipper.check("198.51.100.7").action == "throttle"


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        ({"value": "198.51.100"}, InvalidRequest),
        ({"value": "198.51.100.007"}, InvalidRequest),
        ({"value": "198.51.100.7/24", "scope": "Range"}, InvalidRequest),
        ({"value": "198.51.100.0/33", "scope": "Range"}, InvalidRequest),
        ({"value": "alice"}, InvalidRequest),
        ({"value": "   ", "scope": "User"}, InvalidRequest),
        ({"value": "198.51.100.7", "seconds": 59}, InvalidRequest),
        ({"value": "198.51.100.7", "seconds": 31 * DAY}, InvalidRequest),
        ({"value": "198.51.100.7", "type": "observe"}, InvalidRequest),
        ({"value": ""}, InvalidRequest),
    ],
)
def test_a_decision_of_another_form_is_refused(shipper, request_, error):
    with pytest.raises(error):
        shipper.call("decisions.create", **request_)
    assert shipper.decisions() == []


def test_a_decision_is_lifted_once_and_by_its_own_tenant_only(place, shipper):
    made = shipper.call("decisions.create", value="198.51.100.7", seconds=600)
    other = Shipper(place)
    with pytest.raises(NotFound):
        other.call("decisions.revoke", decision=made.id)
    assert other.check("198.51.100.7").action == "none"
    assert other.decisions() == []
    shipper.call("decisions.revoke", decision=made.id)
    for name in (made.id, "dec_none"):
        with pytest.raises(NotFound):
            shipper.call("decisions.revoke", decision=name)
    assert sql(place, "SELECT revoked_by FROM detect_decisions WHERE id = ?", made.id) == [("user:local|dora",)]


def test_only_analysts_decide(place, shipper):
    for role in ("role:log-shipper", "role:support", "role:responder", "role:auditor"):
        actor = place.hire(shipper.tenant, "user:local|nobody", role)
        with pytest.raises(Denied):
            place.call("decisions.create", actor, value="198.51.100.7")


# shadow


def test_a_rule_in_shadow_decides_and_touches_nobody(shipper):
    spread = [line(-600 + 50 * at, f"198.51.100.{at}", "/login", 401, "alice", "POST") for at in range(1, 12)]
    answer = shipper.push(spread, end=True)
    assert (answer.alerts, answer.decisions) == (1, 1)
    (alert,) = shipper.alerts()
    assert (alert.rule, alert.outcome) == ("account_spread", "shadow")
    (one,) = shipper.decisions()
    assert (one.shadow, one.scope, one.value, one.type) == (True, "User", "alice", "step_up")
    assert shipper.check("alice").action == "none"


def policies(folder, **changes):
    """The shipped policies with other words in the file of the log-in rules."""
    copy = shutil.copytree(bundled("policies"), folder / "policies")
    path = copy / "detections" / "login.yaml"
    text = path.read_text(encoding="utf-8")
    for old, new in changes.values():
        assert old in text
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")
    return copy


def test_the_same_rule_out_of_shadow_holds_for_the_account_however_it_is_spelt(tmp_path):
    changed = policies(tmp_path, shadow=("  shadow: true", "  shadow: false"))
    with world(tmp_path / "home", policies=changed) as made:
        shipper = Shipper(made, "acme")
        name = "198.51.100.77"  # whoever fails to log in chooses the name
        for user in ("Alice", name):
            spread = [line(-600 + 50 * at, f"192.0.2.{at}", "/login", 401, user, "POST") for at in range(1, 12)]
            shipper.push(spread, stream=user.lower().replace(".", "-"), end=True)
        assert shipper.check("ALICE").action == "step_up"
        assert shipper.check(name).action == "none"
        assert {one.value for one in shipper.decisions()} == {"alice", name}


def test_the_list_of_rules_says_what_each_does(shipper):
    rules = {one.name: one for one in shipper.call("rules.list").data}
    assert list(rules) == sorted(rules)
    assert (rules["credential_stuffing"].runbook, rules["credential_stuffing"].shadow) == ("credential-stuffing", "no")
    assert (rules["account_spread"].action, rules["account_spread"].shadow) == ("step_up", "yes")
    assert len({one.hash for one in rules.values()}) == len(rules)
