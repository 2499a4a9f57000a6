from hashlib import sha256
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.detect.address import NeverBan, NeverBanEntry, network
from guard.detect.block import (
    DAY_US,
    DEFAULT_LADDER,
    Action,
    ActionType,
    Expected,
    Shadow,
    TestLine,
    parse_block,
)
from guard.detect.decide import SPARED_WIDE, Decision, Scope, Spared, decide
from guard.detect.durations import MAX_DURATION_US, parse_duration_us
from guard.errors import InvalidInput, InvalidRule
from tests.detect.building import NOON, SECOND, counting, distinct, event, plain, replay

HOUR = 3600 * SECOND


def alert_of(rule, ip="203.0.113.7", key=None, user="alice", n=3):
    (alert,) = replay([rule], [event(NOON + i, ip, user, ip_key=key or ip) for i in range(n)])
    return alert


def banning(ladder="[15m, 1h, 4h]", more="shadow: false", extra=""):
    return counting(guard=f"{{action: {{type: ban, ladder: {ladder}, decay: 30d{extra}}}, {more}}}")


def decided(rule, strikes=0, never=None, **alert):
    return decide(alert_of(rule, **alert), rule, strikes, never or NeverBan())


def test_a_ban_says_whom_until_when_and_why():
    rule = banning(extra=", runbook: credential-stuffing")
    alert = alert_of(rule)
    (decision,) = decide(alert, rule, 0, NeverBan())
    assert decision == Decision(
        tenant="t",
        scope=Scope.IP,
        value="203.0.113.7",
        type=ActionType.BAN,
        scenario="counting",
        rule_hash=rule.rule_hash,
        level="medium",
        alert_id=alert.id,
        from_us=NOON + 2,
        until_us=NOON + 2 + HOUR // 4,
        step=0,
        decay_us=30 * DAY_US,
        entities=(),
        shadow=False,
        runbook="credential-stuffing",
    )
    assert decision.forgotten_us == decision.until_us + 30 * DAY_US


@pytest.mark.parametrize(
    ("strikes", "step", "length_us"),
    [(0, 0, HOUR // 4), (1, 1, HOUR), (2, 2, 4 * HOUR), (9, 2, 4 * HOUR), (-1, 0, HOUR // 4)],
)
def test_the_ladder_is_climbed_by_live_strikes(strikes, step, length_us):
    (decision,) = decided(banning(), strikes)
    assert (decision.step, decision.until_us - (NOON + 2)) == (step, length_us)


def test_the_last_step_may_be_for_good():
    (decision,) = decided(banning("[1h, permanent]"), 5)
    assert (decision.until_us, decision.forgotten_us) == (None, None)
    assert decision.is_in_force(1 << 62)


def test_the_end_is_counted_in_the_time_of_the_log():
    (decision,) = decided(banning())
    assert decision.is_in_force(NOON + HOUR // 4)
    assert not decision.is_in_force(NOON + 2 + HOUR // 4)
    assert not decision.is_in_force(NOON + 365 * DAY_US)


@pytest.mark.parametrize("kind", ["throttle", "captcha", "step_up", "ban"])
def test_enforced_actions_are_in_force_and_in_shadow_they_are_not(kind):
    rule = counting(guard=f"{{action: {{type: {kind}}}, shadow: false}}")
    assert decided(rule)[0].is_in_force(NOON)
    shadow = counting(guard=f"{{action: {{type: {kind}}}}}")
    (decision,) = decided(shadow)
    assert decision.shadow
    assert not decision.is_in_force(NOON)


@pytest.mark.parametrize(
    "block",
    [
        "{action: {type: observe}, shadow: false}",
        "{action: {type: incident, runbook: traffic-drop}, shadow: false}",
        "{}",
    ],
)
def test_observing_and_incidents_touch_nobody_and_spare_nobody(block):
    never = NeverBan([NeverBanEntry(network("203.0.113.0/24"), "office")])
    (decision,) = decided(counting(guard=block), never=never)
    assert not decision.is_in_force(NOON)


def test_an_allow_entry_beats_a_ban_and_gives_its_reason():
    never = NeverBan([NeverBanEntry(network("203.0.113.0/28"), "load balancers")])
    rule = banning()
    alert = alert_of(rule)
    assert decide(alert, rule, 3, never) == Spared(
        "t", Scope.IP, "203.0.113.7", ActionType.BAN, "counting", rule.rule_hash, alert.id, "load balancers"
    )
    assert isinstance(decided(rule, never=never, ip="203.0.113.16")[0], Decision)


def test_a_rule_in_shadow_spares_too():
    never = NeverBan([NeverBanEntry(network("203.0.113.7"), "admin")])
    assert isinstance(decided(banning(more="shadow: true"), never=never), Spared)


def test_an_ipv6_client_is_decided_on_as_a_network():
    (decision,) = decided(banning(), ip="2001:db8:7:7::5", key="2001:db8:7:7::/64")
    assert (decision.scope, decision.value) == (Scope.RANGE, "2001:db8:7:7::/64")


def test_a_network_is_split_around_a_protected_address():
    never = NeverBan([NeverBanEntry(network("2001:db8:7:7::5"), "admin")])
    parts = decided(banning(), never=never, ip="2001:db8:7:7::6", key="2001:db8:7:7::/64")
    nets = [ip_network(part.value) for part in parts]
    assert {part.scope for part in parts} == {Scope.RANGE}
    assert any(ip_address("2001:db8:7:7::6") in net for net in nets)
    assert not any(ip_address("2001:db8:7:7::5") in net for net in nets)


def test_a_network_with_too_many_protected_addresses_is_spared():
    never = NeverBan(NeverBanEntry(network(f"2001:db8:7:7:{n:x}::5"), "admin") for n in range(9))
    spared = decided(banning(), never=never, ip="2001:db8:7:7::6", key="2001:db8:7:7::/64")
    assert spared.reason == SPARED_WIDE


def test_an_account_is_decided_on_as_a_user_and_every_client_is_named():
    rule = distinct(
        "{field: c-ip, gte: 3}", key="[cs-username]", guard="{action: {type: step_up, ladder: [30m]}, shadow: false}"
    )
    (alert,) = replay([rule], [event(NOON + n, f"203.0.113.{n}", "alice") for n in range(3)])
    (decision,) = decide(alert, rule, 0, NeverBan([NeverBanEntry(network("203.0.113.0/24"), "office")]))
    assert (decision.scope, decision.value) == (Scope.USER, "alice")
    assert decision.entities == ("203.0.113.0", "203.0.113.1", "203.0.113.2")


def test_an_alert_about_nobody_concerns_the_tenant():
    rule = counting(key="[]", guard="{action: {type: incident, runbook: surge}, shadow: false}")
    (decision,) = decided(rule)
    assert (decision.scope, decision.value, decision.runbook) == (Scope.TENANT, "t", "surge")


def test_printing_a_decision_shows_nobody():
    (decision,) = decided(banning(), ip="203.0.113.201")
    assert "203.0.113.201" not in repr(decision)


# Shadow


@given(st.text(max_size=20), st.integers(0, 100), st.integers(0, 100))
def test_an_entity_that_acts_at_a_percentage_acts_at_every_greater_one(entity, low, high):
    low, high = sorted((low, high))
    if not Shadow(low).covers("t", entity):
        assert not Shadow(high).covers("t", entity)
    assert Shadow(0).covers("t", entity)
    assert not Shadow(100).covers("t", entity)
    assert not Shadow(0, frozenset({"t"})).covers("t", entity)


def test_a_percentage_is_about_that_share_of_entities():
    acting = sum(not Shadow(10).covers("t", sha256(bytes([n % 256, n // 256])).hexdigest()) for n in range(5000))
    assert 400 < acting < 600


# The guard block


def test_without_a_word_a_rule_watches_and_does_nothing():
    block = parse_block({})
    assert (block.action, block.shadow, block.entity) == (Action(), Shadow(), None)
    assert (block.action.type, block.action.ladder_us, block.ipv6_prefix, block.max_groups) == (
        ActionType.OBSERVE,
        DEFAULT_LADDER,
        64,
        100_000,
    )
    assert block.shadow.covers("t", "x")


def test_a_full_block():
    block = parse_block(
        {
            "window": "sliding",
            "entity": "c-ip",
            "ipv6_prefix": 56,
            "max_groups": 5,
            "action": {"type": "ban", "ladder": ["15m", "1h", "permanent"], "decay": "7d", "runbook": "r-1"},
            "shadow": {"percent": 10, "tenants": ["acme"]},
            "evidence": {"lines": 4},
            "tests": [
                {
                    "name": "n",
                    "lines": ["plain", {"text": "{time}", "at_ms": 5, "every_ms": 7, "count": 2}],
                    "expect": [{"key": "k"}, {"key": ["a", "b"], "t0_ms": 9, "count": 3}],
                }
            ],
        }
    )
    assert block.action == Action(ActionType.BAN, (15 * 60 * SECOND, HOUR, None), 7 * DAY_US, "r-1")
    assert (block.shadow, block.evidence_lines) == (Shadow(10, frozenset({"acme"})), 4)
    (test,) = block.tests
    assert test.lines == (TestLine("plain"), TestLine("{time}", 5, 7, 2))
    assert test.expect == (Expected(("k",)), Expected(("a", "b"), 9, 3))


@pytest.mark.parametrize(
    ("block", "reason"),
    [
        ([], "guard is a mapping"),
        ({"windows": "sliding"}, "unknown key 'windows'"),
        ({"late": "60s"}, "unknown key 'late'"),
        ({"window": "tumbling"}, "guard.window is sliding"),
        ({"entity": 5}, "guard.entity is a field name"),
        ({"ipv6_prefix": 47}, "from 48 to 64"),
        ({"ipv6_prefix": "64"}, "from 48 to 64"),
        ({"max_groups": 0}, "guard.max_groups"),
        ({"max_groups": True}, "guard.max_groups"),
        ({"action": "ban"}, "guard.action is a mapping"),
        ({"action": {"typ": "ban"}}, "unknown key 'typ'"),
        (
            {"action": {"type": "block"}},
            "guard.action.type is one of observe, throttle, captcha, step_up, ban, incident",
        ),
        ({"action": {"type": ["ban"]}}, "guard.action.type is one of"),
        ({"action": {"ladder": ["1h"]}}, "no meaning with the type observe"),
        ({"action": {"type": "incident", "runbook": "r", "decay": "1h"}}, "no meaning with the type incident"),
        ({"action": {"type": "incident"}}, "which needs it"),
        ({"action": {"type": "observe", "runbook": "r"}}, "goes with the type incident"),
        ({"action": {"type": "ban", "runbook": "../../etc"}}, "a runbook's name"),
        ({"action": {"type": "ban", "ladder": []}}, "growing steps"),
        ({"action": {"type": "ban", "ladder": ["4h", "1h"]}}, "growing steps"),
        ({"action": {"type": "ban", "ladder": ["permanent", "1h"]}}, "growing steps"),
        ({"action": {"type": "ban", "ladder": ["1h"] * 17}}, "at most 16"),
        ({"action": {"type": "ban", "ladder": "1h"}}, "a list"),
        ({"action": {"type": "ban", "ladder": ["1.5h"]}}, "guard.action.ladder[0]: Expected a duration"),
        ({"action": {"type": "ban", "decay": "0s"}}, "guard.action.decay"),
        ({"shadow": "no"}, "guard.shadow is a mapping"),
        ({"shadow": {}}, "guard.shadow is true, false"),
        ({"shadow": {"percent": 101}}, "from 0 to 100"),
        ({"shadow": {"tenants": [""]}}, "guard.shadow.tenants[0] is a text"),
        ({"evidence": {"lines": 21}}, "from 1 to 20"),
        ({"evidence": 5}, "guard.evidence is a mapping"),
        ({"tests": {}}, "guard.tests is a list"),
        ({"tests": [{"file": "x.log"}]}, "unknown key 'file'"),
        ({"tests": [{"lines": ["x"]}]}, "guard.tests[0].expect is a list"),
        ({"tests": [{"lines": [{"text": "x", "count": 5001}], "expect": []}]}, "from 1 to 5000"),
        ({"tests": [{"lines": [{"text": "x", "count": 4000}] * 2, "expect": []}]}, "more than 5000 lines"),
        ({"tests": [{"lines": [{"count": 1}], "expect": []}]}, "text is a text"),
        ({"tests": [{"lines": ["x"], "expect": [{"count": 1}]}]}, "key[0] is a text"),
        ({"tests": [{"lines": ["x"], "expect": [{"key": "a", "count": -1}]}]}, "from 0 to 5000"),
    ],
)
def test_a_block_with_a_mistake_is_refused(block, reason):
    with pytest.raises(InvalidRule) as refusal:
        parse_block(block)
    assert reason in refusal.value.detail


# Durations


@pytest.mark.parametrize(
    ("text", "us"),
    [
        ("1ms", 1_000),
        ("90s", 90 * SECOND),
        ("15m", 900 * SECOND),
        ("1h", HOUR),
        ("7d", 7 * DAY_US),
        ("2w", 14 * DAY_US),
        ("3650d", MAX_DURATION_US),
    ],
)
def test_durations(text, us):
    assert parse_duration_us(text) == us


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0s",
        "-5s",
        "1.5h",
        "1h30m",
        "5",
        "5 m",
        "5M",
        "5y",
        "h",
        "3651d",
        "٥m",
        "5m\n",
        None,
        5,
        ["5m"],
        "9999999999s",
    ],
)
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(InvalidInput):
        parse_duration_us(text)


def test_a_log_of_last_year_gives_alerts_and_no_decision_in_force():
    rule = plain("{sel: {sc-status: 404}, condition: sel}", "{action: {type: ban}, shadow: false}")
    (alert,) = replay([rule], [event(NOON, status=404)])
    (decision,) = decide(alert, rule, 0, NeverBan())
    assert not decision.is_in_force(NOON + 365 * DAY_US)


ladders = st.lists(st.integers(1, 1000), min_size=1, max_size=6).map(sorted)


@given(ladders, st.booleans(), st.integers(-2, 10))
def test_the_length_is_the_step_of_the_ladder_and_never_shrinks(minutes, permanent, strikes):
    steps = [f"{each}m" for each in minutes] + ["permanent"] * permanent
    rule = banning("[" + ", ".join(steps) + "]")
    (decision,) = decided(rule, strikes)
    expected = steps[min(max(strikes, 0), len(steps) - 1)]
    if expected == "permanent":
        assert decision.until_us is None
        return
    assert decision.until_us - (NOON + 2) == parse_duration_us(expected)
    (next_one,) = decided(rule, strikes + 1)
    assert next_one.until_us is None or next_one.until_us >= decision.until_us


@given(st.integers(0, 400 * DAY_US))
def test_a_decision_is_in_force_until_its_end_and_never_again(later_us):
    (decision,) = decided(banning("[4h]"))
    assert decision.is_in_force(NOON + later_us) == (NOON + later_us < decision.until_us)


def test_a_canary_acts_on_its_share_and_on_its_tenants():
    share = counting(guard="{action: {type: ban}, shadow: {percent: 30}}")
    clients = [f"203.0.113.{n}" for n in range(200)]
    acting = {ip for ip in clients if decided(share, ip=ip)[0].is_in_force(NOON)}
    assert 30 < len(acting) < 90
    assert acting == {ip for ip in clients if decided(share, ip=ip)[0].is_in_force(NOON)}
    more = counting(guard="{action: {type: ban}, shadow: {percent: 60}}")
    assert acting < {ip for ip in clients if decided(more, ip=ip)[0].is_in_force(NOON)}
    tenants = counting(guard="{action: {type: ban}, shadow: {tenants: [t]}}")
    assert all(decided(tenants, ip=ip)[0].is_in_force(NOON) for ip in clients[:20])


def test_ten_thousand_alerts_of_a_shadow_rule_touch_nobody():
    rule = plain("{sel: {cs-method: GET}, condition: sel}", "{action: {type: ban}, shadow: true}")
    events = [event(NOON, f"198.51.{n >> 8}.{n & 255}") for n in range(10_000)]
    decisions = [decide(alert, rule, 0, NeverBan())[0] for alert in replay([rule], events)]
    assert len(decisions) == 10_000
    assert not any(decision.is_in_force(NOON) for decision in decisions)
