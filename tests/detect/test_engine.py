from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.detect.alert import Stage, alert_id
from guard.detect.engine import DEFAULT_LATE_US, FUTURE_US, MAX_PENDING, Engine
from guard.detect.formats import Reason
from guard.errors import Overloaded
from tests.detect.building import (
    FOREVER,
    NOON,
    SECOND,
    counting,
    distinct,
    event,
    events_of,
    facts,
    finals,
    plain,
    replay,
    shipped,
)


def burst(n=3, *, at=NOON, **more):
    return [event(at + i, **more) for i in range(n)]


# The same again


def test_the_same_events_again_change_nothing():
    engine = Engine([counting()])
    events = burst(5)
    first = engine.feed(events, FOREVER)
    assert len(first) == 1
    assert engine.feed(events, FOREVER) == []
    assert engine.feed(events[::-1], FOREVER) == []
    (final,) = engine.flush()
    assert final.alert.peak == 5
    assert engine.feed(events, FOREVER) == []
    assert engine.flush() == []
    counts = engine.counts["t", "web"]
    assert (counts.matched, counts.duplicate, counts.late) == (5, 10, 5)


def test_one_file_read_twice_or_by_two_shippers_counts_once(apache_log):
    rules = [counting("{gte: 10}", span="60s"), distinct("{field: cs-uri-stem, gte: 8}", span="60s")]
    events, rejected = events_of(apache_log)
    assert rejected == []
    once = replay(rules, events)
    assert len(once) > 20
    interleaved = [each for pair in zip(events, events, strict=True) for each in pair]
    assert facts(replay(rules, interleaved)) == facts(once)
    engine = Engine(rules)
    news = engine.feed(events, FOREVER) + engine.feed(events, FOREVER) + engine.flush()
    assert facts(finals(news)) == facts(once)


def test_a_real_log_sorted_shuffled_or_reversed_gives_equal_alerts(apache_log):
    rules = [counting("{gte: 10}", span="60s"), counting("{eq: 4}", span="30s")]
    events, _ = events_of(apache_log)
    late, random = 60 * SECOND, Random(3)
    as_written = replay(rules, events, late_us=late)
    in_order = sorted(events, key=lambda each: (each.ts, each.eid))
    shuffled = sorted(events, key=lambda each: (each.ts + random.uniform(0, late), each.eid))
    assert facts(replay(rules, in_order, late_us=0)) == facts(as_written)
    assert facts(replay(rules, shuffled, late_us=late, chunk=333)) == facts(as_written)
    assert facts(replay(rules, in_order[::-1], late_us=10 * 86_400 * SECOND)) == facts(as_written)


def test_a_crash_and_a_second_reading_give_the_same_alerts():
    """Whatever prefix was read before the crash, the ids of the second reading are those of one reading."""
    events = [event(NOON + i * SECOND // 2, eid=i.to_bytes(16, "big")) for i in range(60)]
    rule = counting("{gte: 5}", span="2s")
    whole = {alert.id for alert in replay([rule], events)}
    for crash in (1, 17, 42):
        before = Engine([rule])
        before.feed(events[:crash], FOREVER)
        assert {alert.id for alert in replay([rule], events)} == whole


# Acknowledgement


def test_news_stays_pending_until_it_is_acknowledged():
    engine = Engine([counting()])
    (told,) = engine.feed(burst(), FOREVER)
    assert engine.feed(burst(at=NOON + 2, ip="203.0.113.8"), FOREVER)
    assert [each.serial for each in engine.pending] == [1, 2]
    engine.acknowledge([told.serial])
    assert [each.serial for each in engine.pending] == [2]
    engine.flush()
    assert [(each.serial, each.stage) for each in engine.pending] == [
        (2, Stage.PROVISIONAL),
        (3, Stage.FINAL),
        (4, Stage.FINAL),
    ]
    engine.acknowledge([2, 3, 4, 99])
    assert engine.pending == ()


def test_acknowledging_a_provisional_alert_keeps_its_final_one():
    engine = Engine([counting()])
    (told,) = engine.feed(burst(), FOREVER)
    (final,) = engine.flush()
    assert final.alert.id == told.alert.id
    assert final.replaces == ()
    engine.acknowledge([told.serial])
    assert engine.pending == (final,)


def test_reading_waits_while_too_much_is_unstored():
    engine = Engine([plain("{sel: {cs-method: GET}, condition: sel}")])
    crowd = [event(NOON, f"2001:db8:{n >> 16:x}:{n & 65535:x}::1") for n in range(MAX_PENDING)]
    engine.feed(crowd, FOREVER)
    assert len(engine.pending) == MAX_PENDING
    with pytest.raises(Overloaded) as refusal:
        engine.feed([event(NOON)], FOREVER)
    assert refusal.value.extra == {"retry_after_seconds": 1}
    assert engine.counts["t", "web"].matched == MAX_PENDING
    engine.acknowledge([engine.pending[0].serial])
    assert engine.feed([event(NOON)], FOREVER)


# Time


def test_a_line_from_the_future_changes_nothing():
    engine = Engine([counting()])
    events = burst(2)
    engine.feed([events[0], event(4_102_444_800 * SECOND)], NOON)
    assert engine.feed([events[1], event(NOON + 5)], NOON)
    counts = engine.counts["t", "web"]
    assert (counts.future, counts.late, counts.matched) == (1, 0, 3)
    assert engine.watermark_us == NOON + 5 - DEFAULT_LATE_US


def test_five_minutes_ahead_are_believed_and_no_more():
    engine = Engine([counting()])
    engine.feed([event(NOON + FUTURE_US)], NOON)
    engine.feed([event(NOON + FUTURE_US + 1)], NOON)
    counts = engine.counts["t", "web"]
    assert (counts.matched, counts.future) == (1, 1)


@pytest.mark.parametrize("place", [0, 1, 2, 3])
def test_a_line_from_1970_changes_nothing(place):
    events = burst(3)
    events.insert(place, event(5))
    (alert,) = replay([counting()], events, now_us=NOON)
    assert (alert.t0_us, alert.t1_us, alert.peak) == (NOON + 2, NOON + 2, 3)
    assert alert.t1_us >= alert.t0_us


def test_an_event_as_old_as_the_watermark_counts_and_an_older_one_does_not():
    engine = Engine([counting("{gte: 2}")], late_us=10 * SECOND)
    engine.feed([event(NOON)], FOREVER)
    engine.feed([event(NOON - 10 * SECOND), event(NOON - 10 * SECOND - 1)], FOREVER)
    counts = engine.counts["t", "web"]
    assert (counts.matched, counts.late) == (2, 1)


def test_before_the_first_event_there_is_no_watermark():
    assert Engine([counting()]).watermark_us is None


# Streams


def test_the_slowest_open_stream_sets_the_watermark():
    engine = Engine([counting()], late_us=0)
    engine.open_stream("t", "slow")
    engine.feed([event(NOON)], FOREVER)
    assert engine.watermark_us is None
    engine.heartbeat("t", "slow", NOON - 5 * SECOND)
    assert engine.watermark_us == NOON - 5 * SECOND
    engine.feed([event(NOON - SECOND, stream="slow")], FOREVER)
    assert engine.watermark_us == NOON - SECOND
    engine.heartbeat("t", "slow", NOON - 3 * SECOND)
    assert engine.watermark_us == NOON - SECOND
    engine.close_stream("t", "slow")
    assert engine.watermark_us == NOON


def test_a_silent_stream_holds_final_alerts_up_until_it_is_closed():
    engine = Engine([counting()], late_us=0)
    engine.open_stream("t", "silent")
    engine.feed([*burst(), event(NOON + 60 * SECOND, "203.0.113.1")], FOREVER)
    assert finals(engine.pending) == []
    assert len(finals(engine.close_stream("t", "silent"))) == 1


def test_a_stream_that_comes_later_does_not_turn_the_watermark_back():
    engine = Engine([counting()], late_us=0)
    engine.feed([event(NOON)], FOREVER)
    engine.feed([event(NOON - 100 * SECOND, stream="old")], FOREVER)
    assert engine.watermark_us == NOON
    assert engine.counts["t", "old"].late == 1


def test_after_a_flush_a_closed_stream_cannot_be_counted_again():
    engine = Engine([counting()])
    events = burst()
    engine.feed(events, FOREVER)
    engine.close_stream("t", "web")
    assert len(engine.flush()) == 1
    assert engine.feed(events, FOREVER) == []
    assert engine.flush() == []
    assert engine.counts["t", "web"].late == 3


def test_lines_are_counted_by_what_became_of_them():
    engine = Engine([plain("{sel: {sc-status: 404}, condition: sel}")])
    twice = event(NOON, status=404)
    engine.feed([twice, twice, event(NOON), event(NOON - 61 * SECOND), event(NOON + FUTURE_US + 1)], NOON)
    engine.count_malformed("t", "web", Reason.TIME)
    engine.count_malformed("t", "web", Reason.TIME)
    engine.count_malformed("t", "web", Reason.EMPTY)
    counts = engine.counts["t", "web"]
    assert (counts.matched, counts.irrelevant, counts.duplicate, counts.late, counts.future) == (1, 1, 1, 1, 1)
    assert counts.malformed == {Reason.TIME: 2, Reason.EMPTY: 1}
    counts.malformed.clear()
    assert engine.counts["t", "web"].malformed == {Reason.TIME: 2, Reason.EMPTY: 1}


def test_ids_are_remembered_only_as_long_as_they_can_count():
    engine = Engine([counting()], late_us=60 * SECOND)
    for minute in range(120):
        engine.feed([event(NOON + minute * 60 * SECOND + i) for i in range(50)], FOREVER)
    assert sum(map(len, engine._seen.values())) <= 150


def test_an_id_is_remembered_while_its_time_is_not_late_yet():
    engine = Engine([counting()], late_us=15 * SECOND)
    early, later = event(NOON + 8 * SECOND), event(NOON + 20 * SECOND)
    engine.feed([early, later], FOREVER)
    assert engine.watermark_us == NOON + 5 * SECOND
    engine.feed([early], FOREVER)
    counts = engine.counts["t", "web"]
    assert (counts.matched, counts.duplicate, counts.late) == (2, 1, 0)


# Rules in force


def test_an_edited_rule_closes_the_old_episode_and_starts_empty():
    engine = Engine([counting("{gte: 3}")])
    engine.feed(burst(4), FOREVER)
    (closed,) = engine.replace_rules([counting("{gte: 4}")])
    assert (closed.stage, closed.alert.peak) == (Stage.FINAL, 4)
    assert engine.feed(burst(3, at=NOON + 10), FOREVER) == []
    (told,) = engine.feed([event(NOON + 20)], FOREVER)
    assert told.alert.rule_hash != closed.alert.rule_hash


def test_a_new_title_keeps_the_state():
    engine = Engine([counting("{gte: 3}")])
    engine.feed(burst(2), FOREVER)
    assert engine.replace_rules([counting("{gte: 3}", guard="{action: {type: ban}, shadow: false}")]) == []
    (told,) = engine.feed([event(NOON + 5)], FOREVER)
    assert told.alert.peak == 3
    assert engine.rules[0].action.type == "ban"


def test_an_event_that_matches_two_inputs_is_one_event():
    from guard.detect.rules import parse_rules

    text = """
title: A
name: a
logsource: {category: webserver}
detection: {sel: {cs-method: GET}, condition: sel}
---
title: B
name: b
logsource: {category: webserver}
detection: {sel: {sc-status: 200}, condition: sel}
---
title: Both
name: both
correlation: {type: event_count, rules: [a, b], group-by: [c-ip], timespan: 10s, condition: {gte: 3}}
"""
    (rule,) = parse_rules(text, "a.yaml")
    assert replay([rule], burst(2)) == []
    (alert,) = replay(
        [rule], [event(NOON), event(NOON, status=500), event(NOON, method="PUT"), event(NOON, method="PUT", status=1)]
    )
    assert alert.peak == 3


def test_another_prefix_joins_more_addresses():
    rule = counting("{gte: 2}", guard="{ipv6_prefix: 56}")
    events = [event(NOON, f"2001:db8:0:1{n}::1", ip_key=f"2001:db8:0:1{n}::/64") for n in "02"]
    (alert,) = replay([rule], events)
    assert alert.key == (("c-ip", "2001:db8::/56"),)
    assert replay([counting("{gte: 2}")], events) == []


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["/", "/a?b=1'%20or%201=1", "/.env", "/login", "/x" * 400]),
            st.sampled_from(["GET", "POST", None]),
            st.sampled_from([200, 401, 404, None]),
            st.sampled_from([None, "a", "b"]),
        ),
        max_size=20,
    )
)
def test_remembered_answers_are_the_predicates_answers(asked):
    engine = Engine(shipped())
    plainly = {runtime.rule.name: watch.test for watch in engine._matcher.watches for runtime in watch.runtimes}
    for _ in range(2):
        for path, method, status, user in asked:
            each = event(NOON, path=path, method=method, status=status, user=user)
            waiting = {runtime.rule.name for runtime in engine._matcher.waiting_for(each)}
            assert waiting == {name for name, test in plainly.items() if test(each)}


# Named cases


def test_ten_thousand_addresses_of_one_network_are_one_client():
    lines = [
        f'2001:db8:7:7:{n >> 8:x}:{n & 255:x}::{n:x} - - [01/Jan/2026:00:00:{n // 200:02} +0000] "GET / HTTP/1.1" 200 1 "-" "-"'.encode()
        for n in range(10_000)
    ]
    events, _ = events_of(lines)
    assert len({each.ip for each in events}) == 10_000
    alerts = replay(shipped(), events)
    assert [(alert.rule, alert.key) for alert in alerts] == [("request_flood", (("c-ip", "2001:db8:7:7::/64"),))]


def test_the_mapped_form_of_an_address_is_the_same_client():
    forms = ("203.0.113.7", "::ffff:203.0.113.7", "::FFFF:cb00:7107", "64:ff9b::203.0.113.7")
    lines = [f'{ip} - - [01/Jan/2026:00:00:00 +0000] "GET / HTTP/1.1" 200 1 "-" "-"'.encode() for ip in forms]
    (alert,) = replay([counting("{gte: 4}")], events_of(lines)[0])
    assert alert.key == (("c-ip", "203.0.113.7"),)


def test_one_line_in_the_same_place_of_two_tenants_is_two_events():
    line = b'203.0.113.7 - - [01/Jan/2026:00:00:00 +0000] "GET / HTTP/1.1" 200 1 "-" "-"'
    (a,), _ = events_of([line], tenant="a")
    (b,), _ = events_of([line], tenant="b")
    assert a.eid != b.eid


def test_alert_ids_depend_on_tenant_rule_key_and_first_time_and_nothing_else():
    key = (("c-ip", "203.0.113.7"), ("cs-username", "a"))
    known = alert_id("t", b"r" * 32, key, 5)
    assert known.version == 8
    assert known == alert_id("t", b"r" * 32, key[::-1], 5)
    others = [
        alert_id("u", b"r" * 32, key, 5),
        alert_id("t", b"s" * 32, key, 5),
        alert_id("t", b"r" * 32, key[:1], 5),
        alert_id("t", b"r" * 32, key, 6),
        alert_id("t", b"r" * 32, key, -5),
    ]
    assert len({known, *others}) == 6


def test_an_alert_shows_nobody_when_printed():
    (alert,) = replay([counting()], burst(ip="203.0.113.200", user="zelda"))
    assert "203.0.113.200" not in repr(alert)
    assert "zelda" not in repr(alert)
