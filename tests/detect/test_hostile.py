"""Whole pipeline against lines that want somebody else banned, nobody banned, or the engine blind."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.detect.address import NeverBan, NeverBanEntry, network
from guard.detect.decide import Spared, decide
from guard.detect.event import inert
from guard.detect.path import MASKED
from tests.detect.building import SECOND, counting, event, events_of, plain, replay, shipped

RULES = {rule.name: rule for rule in shipped()}
ATTACKER, VICTIM = "203.0.113.66", "198.51.100.1"


def stamp(second):
    return f"[02/Mar/2026:12:{second // 60:02}:{second % 60:02} +0000]"


def log(request="GET /x HTTP/1.1", *, n=40, ip=ATTACKER, user="-", status=404, referer="-", agent="UA"):
    return [
        f'{ip} - {user.format(n=i)} {stamp(i)} "{request.format(n=i)}" {status} 5 "{referer.format(n=i)}" "{agent.format(n=i)}"'.encode(
            "latin-1"
        )
        for i in range(n)
    ]


def touched(lines, never=()):
    events, _ = events_of(lines)
    set_ = NeverBan(NeverBanEntry(network(net), "protected") for net in never)
    outcomes = [
        decide(alert, RULES[alert.rule], 0, set_) for alert in replay(RULES.values(), events, late_us=3600 * SECOND)
    ]
    return {decision.value for outcome in outcomes if not isinstance(outcome, Spared) for decision in outcome}


FAKE = rf"{VICTIM} - - [02/Mar/2026:12:00:00 +0000] \x22GET /missing{{n}}.php HTTP/1.1\x22 404 5 \x22-\x22 \x22-\x22"


@pytest.mark.parametrize(
    "lines",
    [
        log("GET /a{n}.php HTTP/1.1", user=FAKE),
        log("GET /a{n}.php HTTP/1.1", agent=FAKE),
        log("GET /a{n}.php HTTP/1.1", referer=FAKE),
        log(rf"GET /a{{n}}.php\n{FAKE} HTTP/1.1"),
        log(rf"GET /a{{n}}.php%0a{FAKE} HTTP/1.1"),
        log("GET /a{n}.php HTTP/1.1", agent=rf"x\r\n{FAKE}"),
        log("GET /a{n}.php HTTP/1.1", user=VICTIM),
        log("GET /a{n}.php HTTP/1.1", user=f"x {VICTIM} y"),
        log(f"GET http://{VICTIM}/a{{n}}.php HTTP/1.1"),
        log("GET /a{n}.php HTTP/1.1", agent=f"X-Forwarded-For: {VICTIM}"),
    ],
    ids=range(10),
)
def test_only_the_address_that_the_server_saw_is_ever_touched(lines):
    assert touched(lines) == {ATTACKER}


def test_a_forwarded_header_in_nginx_main_is_not_believed():
    lines = [line + f' "{VICTIM}, 192.0.2.1"'.encode() for line in log("GET /a{n}.php HTTP/1.1")]
    assert touched(lines) == {ATTACKER}


@pytest.mark.parametrize(
    "attacker", ["203.0.113.66", "::ffff:203.0.113.66", "64:ff9b::203.0.113.66", "::ffff:cb00:7142"]
)
def test_no_spelling_of_an_address_escapes_or_doubles(attacker):
    assert touched(log("GET /a{n}.php HTTP/1.1", ip=attacker)) == {"203.0.113.66"}


def test_an_attack_spread_over_spellings_of_one_address_is_one_attack():
    spellings = ["203.0.113.66", "::ffff:203.0.113.66", "64:ff9b::cb00:7142"]
    lines = [line for k, ip in enumerate(spellings) for line in log(f"GET /s{k}-{{n}}.php HTTP/1.1", ip=ip, n=7)]
    assert touched(lines) == {"203.0.113.66"}
    assert touched(lines[:14]) == set()


def test_a_line_of_the_future_hides_no_attack():
    lines = log("GET /a{n}.php HTTP/1.1")
    future = lines[0].replace(b"2026", b"2099")
    events, _ = events_of([future, *lines])
    assert [alert.rule for alert in replay(RULES.values(), events, now_us=events[-1].ts)] == ["scan_404"]


def test_noise_between_the_lines_hides_no_attack():
    noise = [b"", b"\xff" * 300, b'"' * 100, b"\x16\x03\x01", b"a" * 100_000, b'- - - [] "" - -', b"%0a%0d"]
    lines = [piece for line in log("GET /a{n}.php HTTP/1.1") for piece in (*noise, line)]
    events, rejected = events_of(lines)
    assert (len(events), len(rejected)) == (40, 40 * len(noise))
    assert touched(lines) == {ATTACKER}


def test_an_attack_in_a_truncated_or_malformed_line_is_still_seen():
    attack = "GET /x?id=1%27%20UNION%20SELECT%20{n}-- HTTP/1.1"
    malformed = [line.replace(b" HTTP/1.1", b'"x HTTP/1.1') for line in log(attack, n=3, status=200)]
    endless = [line.replace(b"id=", b"id=" + b"%20" * 1000) + b"a" * 70_000 for line in log(attack, n=3, status=200)]
    assert touched(malformed) == {ATTACKER}
    assert touched(endless) == {ATTACKER}


def test_secrets_stay_out_of_what_is_stored():
    lines = log("GET /cb?token=s3cret{n}&page=1 HTTP/1.1", referer="https://u:s3cret@x.example/?code=s3cret{n}")
    events, _ = events_of(lines)
    for each in events:
        assert "s3cret" not in f"{each.query} {each.referer} {each!r}"
        assert each.query == f"token={MASKED}&page=1"
    rule = counting("{gte: 3}", key="[c-ip, cs-uri-query]", span="1h")
    (alert,) = replay([rule], events)
    assert dict(alert.key)["cs-uri-query"] == f"token={MASKED}&page=1"


def test_names_that_could_move_a_terminal_are_inert_when_shown():
    events, _ = events_of(log("POST /login HTTP/1.1", user=r"\x1b[2J{n}\xe2\x80\xae", status=401, n=3))
    for each in events:
        assert "\x1b" in each.user
        assert inert(each.user).isprintable()
        assert "\x1b" not in inert(each.user)


PROTECTED = ["192.0.2.0/28", "2001:db8:7::/48", "2001:db8:9:9::5"]


@settings(max_examples=60, deadline=None)
@given(
    st.one_of(
        st.integers(0, 255).map("192.0.2.{}".format),
        st.builds(
            "2001:db8:{:x}:{:x}::{:x}".format, st.sampled_from([6, 7, 8, 9]), st.sampled_from([0, 9]), st.integers(1, 9)
        ),
    ),
    st.sampled_from(["ban", "throttle", "captcha"]),
)
def test_whatever_the_alert_no_decision_touches_a_protected_address(ip, kind):
    from ipaddress import ip_network

    rule = plain("{sel: {cs-method: GET}, condition: sel}", f"{{action: {{type: {kind}}}, shadow: false}}")
    (line,) = log(ip=ip, n=1)
    events, _ = events_of([line])
    (alert,) = replay([rule], events)
    outcome = decide(alert, rule, 0, NeverBan(NeverBanEntry(network(net), net) for net in PROTECTED))
    protected = [ip_network(net) for net in PROTECTED]
    if isinstance(outcome, Spared):
        assert outcome.reason in PROTECTED
        assert any(ip_network(outcome.reason).supernet_of(ip_network(outcome.value)) for _ in [0])
        return
    for decision in outcome:
        net = ip_network(decision.value)
        assert not any(net.version == one.version and net.overlaps(one) for one in protected)
        assert decision.is_in_force(alert.t1_us)


def test_many_accounts_tried_from_a_rotating_network_are_one_client():
    lines = [
        f'2001:db8:bad:1:{n:x}::1 - user{n} {stamp(n)} "POST /login HTTP/1.1" 401 5 "-" "UA"'.encode()
        for n in range(40)
    ]
    assert touched(lines) == {"2001:db8:bad:1::/64"}


def test_a_scan_below_every_threshold_touches_nobody():
    slow = [line for n in range(30) for line in log(f"GET /a{n}.php HTTP/1.1", n=1)]
    events = [each._replace(ts=each.ts + n * 10 * SECOND) for n, each in enumerate(events_of(slow)[0])]
    assert replay(RULES.values(), events) == []


def test_an_event_without_a_status_or_path_breaks_no_rule():
    empty = event(SECOND, status=None, path=None, target=None, decoded=None, path_raw=None, method=None, ua=None)
    assert replay(RULES.values(), [empty]) == []
