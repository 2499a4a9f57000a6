import re
from collections import Counter
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network

import pytest

from guard.detect.address import NeverBan, NeverBanEntry, network
from guard.detect.attackers import ATTACKS, NEVER_BAN_CLIENT
from guard.detect.decide import Spared, decide
from guard.detect.engine import DEFAULT_LATE_US, Engine
from guard.detect.event import Parse
from guard.detect.formats.combined import parse
from guard.detect.ruletest import combined_time
from guard.detect.traffic import (
    MAX_DELAY_SECONDS,
    MIN_LINES,
    NEVER_BAN_REASON,
    _civil,
    generate,
)
from guard.detect.visitors import Visits
from guard.errors import InvalidInput
from tests.detect.building import SECOND, events_of, finals, shipped

RESERVED = [ip_network(net) for net in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")]


@pytest.fixture(scope="module")
def traffic():
    return generate(1)


@pytest.fixture(scope="module")
def fields(traffic):
    return [parse(line) for line in traffic.lines]


def test_the_same_seed_gives_the_same_lines_and_another_does_not():
    assert generate(5, MIN_LINES) == generate(5, MIN_LINES)
    assert generate(5, MIN_LINES).lines != generate(6, MIN_LINES).lines


def test_there_are_as_many_lines_as_asked_for_and_all_are_strict(traffic, fields):
    assert len(traffic.lines) == 50_000
    assert {each.parse for each in fields} == {Parse.STRICT}
    assert len(generate(3, 12_345).lines) == 12_345


def test_only_reserved_addresses_occur(fields):
    for ip in {each.ip for each in fields}:
        assert any(ip_address(ip) in net for net in RESERVED), ip


def test_lines_stand_as_a_server_writes_them(traffic, fields):
    newest, lateness, behind = 0, 0, 0
    for each in fields:
        newest = max(newest, each.ts)
        lateness = max(lateness, newest - each.ts)
        behind += each.ts < newest
    assert lateness <= MAX_DELAY_SECONDS * SECOND
    assert lateness > 30 * SECOND
    assert behind > 1000
    assert all(traffic.start_us <= each.ts < traffic.end_us for each in fields)


def test_it_looks_like_life(fields):
    status = Counter(each.status for each in fields)
    assert status[200] > status[304] > status[404] > status[500] > 0
    assert {301, 302, 401} <= set(status)
    assert sum(":" in each.ip for each in fields) > 5_000
    hours = Counter(each.ts // (3600 * SECOND) % 24 for each in fields if each.path and "static" in each.path)
    assert len(hours) == 24
    assert max(hours.values()) > 5 * min(hours.values())
    assert len({each.ua for each in fields}) > 8
    assert sum(each.path == "/robots.txt" for each in fields) > 50


@pytest.mark.parametrize(("seed", "hours"), [(1, 24), (2, 24), (3, 6), (4, 1), (5, 168)])
def test_every_planted_attack_is_found_and_nobody_else_is_touched(seed, hours):
    traffic = generate(seed, 50_000, hours=hours)
    rules = {rule.name: rule for rule in shipped()}
    never = NeverBan([NeverBanEntry(network(NEVER_BAN_CLIENT), NEVER_BAN_REASON)])
    engine = Engine(list(rules.values()), DEFAULT_LATE_US)
    events, rejected = events_of(traffic.lines)
    assert rejected == []
    news = []
    for at in range(0, len(events), 1000):
        news += engine.feed(events[at : at + 1000], traffic.end_us)
    found, spared, acted_on = {}, {}, set()
    for alert in finals(news + engine.flush()):
        outcome = decide(alert, rules[alert.rule], 0, never)
        if isinstance(outcome, Spared):
            assert outcome.reason == NEVER_BAN_REASON
            spared.setdefault(outcome.value, set()).add(alert.rule)
            continue
        (decision,) = outcome
        found.setdefault(decision.value, set()).add(alert.rule)
        if decision.is_in_force(alert.t1_us):
            acted_on.add(decision.value)
    assert found == dict(traffic.attacks)
    assert spared == dict(traffic.spared)
    assert acted_on == set(traffic.attacks) - {"w.mensah"}
    assert all(counts.late == 0 for counts in engine.counts.values())


def test_attacks_are_told_while_they_last(traffic):
    """A provisional alert comes before the attack's last line is read."""
    engine, told_at = Engine(shipped()), {}
    events, _ = events_of(traffic.lines)
    last = {each.ip_key: n for n, each in enumerate(events)}
    for n, each in enumerate(events):
        for news in engine.feed([each], traffic.end_us):
            told_at.setdefault((news.alert.key[0][1], news.alert.rule), n)
    for client, rules in traffic.attacks.items():
        for rule in rules:
            assert told_at[client, rule] < last.get(client, len(events))


def test_the_reckoning_of_dates_agrees_with_the_standard_library():
    for day in (0, 58, 59, 60, 10_957, 11_016, 19_782, 20_513, 47_540):
        when = datetime.fromtimestamp(day * 86_400, tz=UTC)
        assert _civil(day) == (when.year, when.month, when.day)


def test_times_are_written_as_servers_write_them():
    assert combined_time(1_431_857_103_000_000) == "17/May/2015:10:05:03 +0000"
    assert re.search(rb"\[02/Mar/2026:\d\d:\d\d:\d\d \+0000\]", generate(1, MIN_LINES).lines[100])


@pytest.mark.parametrize(("lines", "hours"), [(MIN_LINES - 1, 24), (10**9, 24), (MIN_LINES, 0), (MIN_LINES, 745)])
def test_what_cannot_be_generated_is_refused(lines, hours):
    with pytest.raises(InvalidInput):
        generate(1, lines, hours=hours)


def alone(name, client):
    """The lines of one planted attack, without anything else, as events."""
    from random import Random

    from guard.detect import traffic

    (attack,) = [attack for who, _, attack in ATTACKS if who == client]
    stamps = traffic._Stamps()
    hits = list(attack(Random(name), traffic.DEFAULT_START_US // SECOND, client))
    return events_of([traffic._line(hit, stamps) for hit in hits])[0]


CLIENTS = {
    "flood": "198.51.100.210",
    "flood over IPv6": "2001:db8:bad:1",
    "stuffing": "203.0.113.211",
    "stuffing over IPv6": "2001:db8:bad:2",
    "one account": "w.mensah",
    "guessing": "198.51.100.213",
    "scan": "203.0.113.214",
    "SQL": "198.51.100.215",
    "climbing": "203.0.113.216",
    "files": "198.51.100.217",
    "own scanner": NEVER_BAN_CLIENT,
}


@pytest.mark.parametrize("name", CLIENTS)
@pytest.mark.parametrize("order", ["as written", "backwards"])
def test_an_attack_alone_fires_its_rules_and_no_others(traffic, name, order):
    events = alone(name, CLIENTS[name])
    if order == "backwards":
        events = sorted(events, key=lambda each: -each.ts)
    engine = Engine(shipped(), late_us=3 * 3600 * SECOND)
    alerts = finals(engine.feed(events, traffic.end_us) + engine.flush())
    truth = {**traffic.attacks, **traffic.spared}
    key = f"{CLIENTS[name]}::/64" if ":" in CLIENTS[name] else CLIENTS[name]
    assert {(alert.key[0][1], alert.rule) for alert in alerts} == {(key, rule) for rule in truth[key]}


@pytest.mark.parametrize("name", CLIENTS)
def test_an_attack_is_far_beyond_the_threshold(traffic, name):
    """So that a rule tuned a little does not lose a demonstration."""
    rules = {rule.name: rule for rule in shipped()}
    engine = Engine(list(rules.values()), late_us=3 * 3600 * SECOND)
    alerts = finals(engine.feed(alone(name, CLIENTS[name]), traffic.end_us) + engine.flush())
    for alert in alerts:
        ((_, bound),) = rules[alert.rule].ir["cond"]
        assert alert.peak >= 1.5 * bound, alert.rule


def test_visitors_alone_fire_nothing():
    from random import Random

    from guard.detect import traffic

    for seed in range(4):
        visits, hits = Visits(Random(seed), traffic.DEFAULT_START_US // SECOND, 2), []
        while len(hits) < 20_000:
            hits += visits.one()
        stamps = traffic._Stamps()
        events, _ = events_of([traffic._line(hit, stamps) for hit in sorted(hits)])
        engine = Engine(shipped())
        assert finals(engine.feed(events, 1 << 60) + engine.flush()) == []


def test_lines_say_what_the_generator_meant():
    """Writing a request and reading it back gives the request."""
    from random import Random

    from guard.detect import traffic

    visits, hits = Visits(Random(9), traffic.DEFAULT_START_US // SECOND, 24), []
    while len(hits) < 3_000:
        hits += visits.one()
    stamps = traffic._Stamps()
    for hit in hits:
        fields = parse(traffic._line(hit, stamps))
        method, target, proto = hit.request.split(" ")
        assert (fields.method, fields.target, fields.proto) == (method, target, proto)
        assert (fields.ts, fields.status, fields.bytes_out) == (int(hit.ts) * SECOND, hit.status, hit.size)
        assert ip_address(fields.ip) == ip_address(hit.ip)
        assert (fields.user or "-", fields.referer or "-", fields.ua) == (hit.user, hit.referer, hit.agent)
