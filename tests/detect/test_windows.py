from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.detect.alert import Stage
from guard.detect.engine import Engine
from guard.detect.episodes import Question
from guard.detect.timeline import MAX_CELL_IDS, Cell, Tally, Timeline
from guard.detect.windows import MAX_TIMES, Windows
from tests.detect import reference
from tests.detect.building import FOREVER, NOON, SECOND, counting, distinct, event, facts, finals, replay

SPAN = 10 * SECOND
LATE = 20 * SECOND

MONOTONE = ["{gte: 3}", "{gt: 1}", "{gte: 2, gt: 2}", "{gte: 1}"]
OTHERS = ["{eq: 2}", "{neq: 2}", "{lt: 3}", "{lte: 2}", "{gte: 2, lte: 3}"]


def rule_of(condition, *, values, lines=20):
    guard = f"{{evidence: {{lines: {lines}}}}}"
    if values:
        return distinct(condition.replace("{", "{field: cs-username, ", 1), guard=guard)
    return counting(condition, guard=guard)


def expected(rule, events):
    """By the reference: facts of every key's episodes, without ids."""
    found = []
    for ip in {each.ip for each in events}:
        own = [(each.ts, each.user_key, each.eid) for each in events if each.ip == ip]
        distinctly = rule.ir["agg"]["fn"] == "value_count"
        for t0, t1, peak, entities, evidence in reference.episodes(
            own, SPAN, rule.ir["cond"], distinct=distinctly, lines=rule.evidence_lines
        ):
            found.append((rule.name, (("c-ip", ip),), t0, t1, peak, entities, evidence, True))
    return sorted(found)


def seen(alerts):
    return [each[:-1] for each in facts(alerts)]


# Times fall on and around multiples of a span, so that both ends of windows are met, to the microsecond.
times = st.builds(
    lambda half, micro: NOON + half * (SPAN // 2) + micro, st.integers(0, 16), st.sampled_from([-1, 0, 0, 0, 1, 7])
)
streams = st.lists(
    st.builds(
        lambda ts, ip, user, eid: event(ts, f"198.51.100.{ip}", user, eid=eid.to_bytes(16, "big")),
        times,
        st.integers(1, 2),
        st.sampled_from([None, "a", "b", "c", "d"]),
        st.integers(0, 10**9),
    ),
    max_size=30,
    unique_by=lambda each: each.eid,
)
conditions = st.tuples(st.sampled_from(MONOTONE + OTHERS), st.booleans())


@settings(max_examples=250)
@given(streams, conditions, st.integers(1, 40), st.sampled_from([1, 3, 20]))
def test_in_order_the_engine_agrees_with_the_definition(events, condition, chunk, lines):
    rule = rule_of(condition[0], values=condition[1], lines=lines)
    in_order = sorted(events, key=lambda each: each.ts)
    assert seen(replay([rule], in_order, late_us=0, chunk=chunk)) == expected(rule, events)


@settings(max_examples=250)
@given(streams, conditions, st.randoms(use_true_random=False), st.integers(1, 40))
def test_shuffled_within_the_lateness_nothing_changes(events, condition, random, chunk):
    rule = rule_of(condition[0], values=condition[1])
    shuffled = sorted(events, key=lambda each: each.ts + random.uniform(0, LATE))
    engine = Engine([rule], LATE)
    news = []
    for at in range(0, len(shuffled), chunk):
        news += engine.feed(shuffled[at : at + chunk], FOREVER)
    alerts = finals(news + engine.flush())
    assert sum(each.late for each in engine.counts.values()) == 0
    assert seen(alerts) == expected(rule, events)
    assert facts(alerts) == facts(replay([rule], sorted(events, key=lambda each: each.ts)))


@settings(max_examples=150)
@given(streams, conditions)
def test_a_reversed_batch_gives_the_same_alerts(events, condition):
    rule = rule_of(condition[0], values=condition[1])
    backwards = sorted(events, key=lambda each: -each.ts)
    alerts = replay([rule], backwards, late_us=100 * SPAN)
    assert facts(alerts) == facts(replay([rule], backwards[::-1]))


@settings(max_examples=150)
@given(streams, conditions, st.randoms(use_true_random=False))
def test_live_is_the_batch_without_what_came_too_late(events, condition, random):
    rule = rule_of(condition[0], values=condition[1])
    shuffled = list(events)
    random.shuffle(shuffled)
    engine, on_time, news = Engine([rule], LATE), [], []
    for each in shuffled:
        late_before = sum(counts.late for counts in engine.counts.values())
        news += engine.feed([each], FOREVER)
        if sum(counts.late for counts in engine.counts.values()) == late_before:
            on_time.append(each)
    assert seen(finals(news + engine.flush())) == expected(rule, on_time)


@settings(max_examples=400)
@given(streams, st.sampled_from(MONOTONE), st.booleans(), st.randoms(use_true_random=False))
def test_a_monotone_condition_fires_at_once_and_its_final_alert_settles_it(events, condition, values, random):
    rule = rule_of(condition, values=values)
    shuffled = sorted(events, key=lambda each: each.ts + random.uniform(0, LATE))
    engine, told, settled, fed = Engine([rule], LATE), {}, [], []

    def hear(news):
        if news.stage is Stage.PROVISIONAL:
            told[news.alert.id] = news.alert
            return
        settled.append(news.alert)
        for each in (news.alert.id, *news.replaces):
            told.pop(each, None)

    for each in shuffled:
        fed.append(each)
        for news in engine.feed([each], FOREVER):
            hear(news)
        # Whatever is true of the events so far has been told.
        for _, key, t0, t1, *_ in expected(rule, fed):
            known = [a for a in (*told.values(), *settled) if a.key == key]
            assert any(a.t0_us <= t1 + SPAN and a.t1_us >= t0 - SPAN for a in known)
    for news in engine.flush():
        assert news.stage is Stage.FINAL
        hear(news)
    assert told == {}


@settings(max_examples=80)
@given(streams, st.sampled_from(OTHERS), st.booleans(), st.randoms(use_true_random=False))
def test_a_condition_that_more_events_can_undo_never_fires_early(events, condition, values, random):
    rule = rule_of(condition, values=values)
    shuffled = sorted(events, key=lambda each: each.ts + random.uniform(0, LATE))
    engine = Engine([rule], LATE)
    assert all(news.stage is Stage.FINAL for news in engine.feed(shuffled, FOREVER) + engine.flush())


def at(*seconds, ip="198.51.100.1"):
    return [event(NOON + round(each * SECOND), ip) for each in seconds]


@pytest.mark.parametrize(
    ("name", "condition", "events", "found"),
    [
        ("two events exactly a span apart count together", "{gte: 2}", at(0, 10), [(10, 10, 2)]),
        ("one microsecond more and they do not", "{gte: 2}", at(0, 10.000001), []),
        ("one microsecond less and they do", "{gte: 2}", at(0.000001, 10), [(10, 10, 2)]),
        ("many events in one equal second", "{gte: 5}", at(3, 3, 3, 3, 3), [(3, 3, 5)]),
        ("all events of a second count for its first one", "{gte: 3}", at(0, 5, 5), [(5, 5, 3)]),
        ("true times exactly a span apart are one episode", "{gte: 2}", at(0, 0, 10, 10), [(0, 10, 4)]),
        (
            "a false time between true ones does not part them",
            "{gte: 3}",
            at(0, 0, 0, 11, 12, 12),
            [(0, 0, 3), (12, 12, 3)],
        ),
        ("episodes more than a span apart are two", "{gte: 2}", at(0, 0, 10.5, 10.5), [(0, 0, 2), (10.5, 10.5, 2)]),
        ("an equality is true only while it is", "{eq: 2}", at(0, 1, 2), [(1, 1, 2)]),
        ("a range has two sides", "{gte: 2, lte: 3}", at(0, 1, 2, 3), [(1, 2, 3)]),
        ("fewer than is asked when an event comes", "{lt: 2}", at(0, 1, 20), [(0, 0, 1), (20, 20, 1)]),
    ],
)
def test_boundaries(name, condition, events, found):
    alerts = replay([counting(condition)], events)
    assert [((a.t0_us - NOON) / SECOND, (a.t1_us - NOON) / SECOND, a.peak) for a in alerts] == found, name


def test_a_flood_that_straddles_a_fixed_bucket_is_seen():
    """199 requests just before a boundary of any fixed grid, and 199 just after."""
    events = at(*[9.9] * 199, *[10.1] * 199)
    (alert,) = replay([counting("{gte: 200}")], events)
    assert alert.peak == 398


def test_missing_values_are_events_but_no_values():
    rule = distinct("{field: cs-username, gte: 2}")
    events = [event(NOON + i * SECOND, user=user) for i, user in enumerate(["a", None, None, "b", None])]
    (alert,) = replay([rule], events)
    assert (alert.peak, alert.entities) == (2, ("a", "b"))
    assert (alert.t0_us, alert.t1_us) == (NOON + 3 * SECOND, NOON + 4 * SECOND)


def test_a_missing_key_is_nobody():
    assert replay([counting("{gte: 2}", key="[cs-username]")], [event(NOON), event(NOON), event(NOON)]) == []


def test_keys_of_several_fields_and_of_none():
    events = [event(NOON, user="a"), event(NOON, user="b"), event(NOON, "198.51.100.2", user="a")]
    both = replay([counting("{gte: 1}", key="[c-ip, cs-username]")], events)
    assert {dict(alert.key)["cs-username"] for alert in both} == {"a", "b"}
    assert len(both) == 3
    (everyone,) = replay([counting("{gte: 3}", key="[]")], events)
    assert everyone.key == ()
    (status,) = replay([counting("{gte: 3}", key="[sc-status]")], events)
    assert status.key == (("sc-status", "200"),)


def test_tenants_do_not_mix():
    events = [event(NOON, tenant="a"), event(NOON, tenant="b")]
    assert replay([counting("{gte: 2}")], events) == []


def test_evidence_is_the_first_and_last_lines_of_the_window_that_fired():
    ids = [n.to_bytes(16, "big") for n in range(40)]
    events = [event(NOON + n * 1000, eid=ids[n]) for n in range(40)]
    (alert,) = replay([counting("{gte: 30}", guard="{evidence: {lines: 5}}")], events)
    assert alert.evidence == (ids[0], ids[1], ids[2], ids[28], ids[29])


def test_a_lasting_episode_is_told_again_once_per_span_under_its_id():
    engine = Engine([counting("{gte: 2}")], late_us=0)
    news = [told for n in range(60) for told in engine.feed([event(NOON + n * SECOND)], FOREVER)]
    assert {told.stage for told in news} == {Stage.PROVISIONAL}
    assert len({told.alert.id for told in news}) == 1
    ends = [(told.alert.t1_us - NOON) // SECOND for told in news]
    assert ends == [1, 12, 23, 34, 45, 56]


def test_a_lasting_episode_is_told_again_also_when_its_lines_come_late():
    engine = Engine([counting("{gte: 2}")], late_us=60 * SECOND)
    engine.feed(at(55), FOREVER)
    news = [told for second in range(45) for told in engine.feed(at(second), FOREVER)]
    assert len({told.alert.id for told in news}) == 1
    assert [(told.alert.t1_us - NOON) // SECOND for told in news] == [1, 12, 23, 34]


def test_a_late_line_moves_the_first_time_and_the_final_alert_says_what_it_replaces():
    engine = Engine([counting("{gte: 2}")], late_us=60 * SECOND)
    (told,) = engine.feed(at(5, 6), FOREVER)
    assert engine.feed(at(4), FOREVER) == []
    (final,) = engine.flush()
    assert final.alert.t0_us == NOON + 5 * SECOND
    assert final.alert.id != told.alert.id
    assert final.replaces == (told.alert.id,)


def test_an_event_can_make_a_window_true_that_ends_a_whole_span_later():
    engine = Engine([counting("{gte: 3}")], late_us=60 * SECOND)
    assert engine.feed(at(9, 10), FOREVER) == []
    (told,) = engine.feed(at(0), FOREVER)
    assert told.alert.t0_us == NOON + 10 * SECOND


def test_a_late_event_just_after_a_told_episode_can_begin_another_one():
    """Its window ends a span later, more than a span after the told episode."""
    engine = Engine([counting("{gte: 3}")], late_us=60 * SECOND)
    (told,) = engine.feed(at(25, 30.000008, 35), FOREVER)
    assert engine.feed(at(45.000001, 45.000008), FOREVER) == []
    (other,) = engine.feed(at(45), FOREVER)
    assert (other.alert.t0_us - NOON, other.alert.id != told.alert.id) == (45_000_008, True)


def test_values_that_came_while_the_condition_was_false_belong_to_the_episode_that_went_on():
    rule = distinct("{field: cs-username, gte: 3}")
    moments = [(0, "a"), (9, "b"), (9, "c"), (11, "x"), (14, "y")]
    events = [event(NOON + second * SECOND, user=user) for second, user in moments]
    # A line of another client lets the watermark pass between the true times, so the episode is settled in two parts.
    between = event(NOON + 13 * SECOND, "203.0.113.9")
    alerts = replay([rule], [*events[:4], between, events[4]], late_us=0, chunk=1)
    assert [(alert.entities, alert.peak) for alert in alerts] == [(("a", "b", "c", "x", "y"), 4)]


def test_finals_come_when_the_watermark_has_passed_the_span():
    engine = Engine([counting("{gte: 2}")], late_us=5 * SECOND)
    engine.feed(at(0, 1), FOREVER)
    other = "203.0.113.1"
    assert finals(engine.feed(at(16, ip=other), FOREVER)) == []
    (alert,) = finals(engine.feed(at(16.000001, ip=other), FOREVER)) or finals(engine.feed(at(17, ip=other), FOREVER))
    assert (alert.t0_us, alert.t1_us) == (NOON + SECOND, NOON + SECOND)


# Caps


def windows_of(threshold=3, max_groups=100, *, values=False, max_distinct=4096):
    question = Question(SPAN, values, (("gte", threshold),), 20)
    return Windows(question, max_groups, max_distinct)


def test_at_the_cap_the_coldest_key_without_an_open_episode_goes():
    windows = windows_of(max_groups=3)
    for n, key in enumerate(["a", "a", "a", "b", "c"]):
        windows.insert(("t", key), NOON + n, None, bytes([n]) * 16, 0)
    windows.insert(("t", "d"), NOON + 9, None, b"d" * 16, 0)
    assert list(windows._groups) == [("t", "c"), ("t", "a"), ("t", "d")] or ("t", "b") not in windows._groups
    assert ("t", "a") in windows._groups
    assert (windows.evicted, len(windows)) == (1, 3)


def test_a_key_that_may_have_lost_events_says_so_until_a_span_has_passed():
    windows = windows_of(threshold=2, max_groups=1)
    windows.insert(("t", "a"), NOON, None, b"1" * 16, 0)
    windows.insert(("t", "b"), NOON + 1, None, b"2" * 16, 0)
    (told,) = windows.insert(("t", "b"), NOON + 2, None, b"3" * 16, 0)
    assert not told.episode.exact
    later = [
        firing
        for n in range(4)
        for firing in windows.insert(("t", "b"), NOON + 3 * SPAN + n, None, bytes([n]) * 16, NOON + 2 * SPAN)
    ]
    assert [firing.episode.exact for firing in later if not firing.is_final] == [True]


def test_where_every_cold_key_has_an_open_episode_the_new_key_is_refused():
    windows = windows_of(threshold=1, max_groups=2)
    for n, key in enumerate("ab"):
        assert windows.insert(("t", key), NOON, None, bytes([n]) * 16, 0)
    assert windows.insert(("t", "c"), NOON, None, b"c" * 16, 0) == []
    assert (windows.refused, windows.evicted, len(windows)) == (1, 0, 2)


def test_random_keys_cannot_push_out_an_attacker_and_memory_stays_flat():
    rule = counting("{gte: 30}", span="5m", guard="{max_groups: 1000}")
    random, engine, attacker = Random(5), Engine([rule], late_us=SECOND), "203.0.113.66"
    news = []
    for batch in range(100):
        base = NOON + batch * 2 * SECOND
        crowd = [
            event(base, f"2001:db8:{random.randrange(65536):x}:{random.randrange(65536):x}::1") for _ in range(300)
        ]
        news += engine.feed([*crowd, event(base, attacker)], FOREVER)
        (runtime,) = engine._runtimes.values()
        assert len(runtime.windows) <= 1000
        assert len(engine._seen) <= 3
    assert {told.alert.key for told in news} == {(("c-ip", attacker),)}
    assert engine.losses["counting"] > 25_000


def test_distinct_values_beyond_the_cap_are_not_kept_and_the_alert_says_so():
    windows = windows_of(threshold=3, values=True, max_distinct=5)
    fired = [told for n in range(20) for told in windows.insert(("t", "a"), NOON + n, f"v{n}", bytes([n]) * 16, 0)]
    assert [told.episode.exact for told in fired] == [True]
    (final,) = windows.finish()
    assert (final.episode.peak, final.is_final) == (5, True)
    assert len(final.episode.entities) == 5


def test_times_beyond_the_cap_are_dropped_oldest_first():
    windows = windows_of(threshold=10)
    for n in range(MAX_TIMES + 5):
        windows.insert(("t", "a"), NOON + n, None, n.to_bytes(16, "big"), 0)
    (group,) = windows._groups.values()
    assert len(group.timeline.times) == MAX_TIMES
    assert group.timeline.times[0] == NOON + 5
    assert not windows.finish()[0].episode.exact


def test_silent_keys_are_forgotten():
    windows = windows_of()
    for n in range(50):
        windows.insert(("t", str(n)), NOON + n, None, bytes([n]) * 16, 0)
    windows.advance(NOON + SPAN + 25)
    assert len(windows) == 26 or len(windows) == 25
    windows.advance(NOON + 2 * SPAN)
    assert len(windows) == 0


# Parts


@given(st.lists(st.tuples(st.sampled_from(["a", "b", None]), st.integers(0, 5)), max_size=12))
def test_a_tally_counts_what_is_in_it(cells):
    tally, inside = Tally(), []
    for value, n in cells:
        cell = Cell(value, bytes(16))
        for _ in range(n):
            cell.add(value, bytes(16))
        tally.enter_cell(cell)
        inside.append((cell, value))
        if n == 0:
            cell, first = inside.pop(0)
            gone = tally.leave_cell(cell)
            assert gone == ([] if first is None or first in {value for _, value in inside} else [first])
        present = {value for _, value in inside if value is not None}
        assert len(tally) == len(present)
        assert all(value in tally for value in present)


def test_a_cell_keeps_its_smallest_ids_whatever_the_order():
    ids = [n.to_bytes(16, "big") for n in range(50)]
    for seed in range(5):
        Random(seed).shuffle(ids)
        cell = Cell(None, ids[0])
        for eid in ids[1:]:
            cell.add(None, eid)
        assert cell.count == 50
        assert cell.ids == sorted(ids)[:MAX_CELL_IDS]


@given(st.lists(st.tuples(st.integers(0, 20), st.sampled_from([None, "a", "b", "c"])), max_size=20), st.booleans())
def test_a_timeline_is_in_order_and_knows_its_counts(events, values):
    timeline = Timeline(distinct=values)
    for n, (moment, value) in enumerate(events):
        timeline.add(moment, value if values else None, bytes([n]) * 16)
    for since in (0, 10, 15, 99):
        timeline.drop_before(since)
        kept = [(moment, value) for moment, value in events if moment >= since]
        assert timeline.times == sorted({moment for moment, _ in kept})
        assert [cell.count for cell in timeline.cells] == [
            sum(moment == each for moment, _ in kept) for each in timeline.times
        ]
        distinct_values = {value for _, value in kept if value is not None}
        assert timeline.count == (len(distinct_values) if values else len(kept))
        assert not values or all(timeline.knows(value) for value in distinct_values)
        assert set(timeline._latest) == (distinct_values if values else set())


@given(
    st.lists(st.tuples(st.integers(0, 60), st.sampled_from([None, "a", "b", "c"])), min_size=1, max_size=20),
    st.booleans(),
    st.integers(1, 4),
)
def test_the_quick_bound_never_hides_a_true_window(events, values, threshold):
    events = [(moment, value if values else None) for moment, value in events]
    timeline = Timeline(distinct=values)
    for n, (moment, value) in enumerate(events):
        timeline.add(moment, value, bytes([n]) * 16)
    rows = [(moment, value, bytes([n]) * 16) for n, (moment, value) in enumerate(events)]
    true = [t for t, _, n in reference.windows(rows, 10, distinct=values) if n >= threshold]
    for moment, _ in events:
        assert timeline.true_near(moment, 10, threshold) == [t for t in true if t - 10 <= moment <= t]
