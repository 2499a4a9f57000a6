"""The engine under any order of calls: what was fed, repeated, acknowledged, closed and flushed adds up."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from guard.detect.alert import Stage
from guard.detect.engine import FUTURE_US, Engine
from guard.detect.formats import Reason
from tests.detect.building import NOON, SECOND, counting, distinct, event

LATE = 15 * SECOND
STREAMS = ("web-1", "web-2")


class Reading(RuleBasedStateMachine):
    """Two streams, three rules, one reader that repeats itself."""

    @initialize()
    def begin(self):
        self.rules = [counting("{gte: 3}"), distinct("{field: cs-username, gte: 2}"), counting("{eq: 2}", span="5s")]
        self.engine = Engine(self.rules, LATE)
        self.now = NOON
        self.fed, self.calls, self.heard, self.acknowledged = [], 0, [], set()
        self.malformed = 0
        self.watermark = None

    def hear(self, news):
        self.heard += news

    def feed(self, events):
        self.calls += len(events)
        self.hear(self.engine.feed(events, self.now))

    @rule(
        stream=st.sampled_from(STREAMS),
        steps=st.lists(st.integers(-20, 20), min_size=1, max_size=6),
        ip=st.sampled_from(["198.51.100.1", "198.51.100.2"]),
        user=st.sampled_from([None, "a", "b"]),
    )
    def read(self, stream, steps, ip, user):
        events = [event(self.now + step * SECOND, ip, user, stream=stream) for step in steps]
        self.fed += events
        self.feed(events)

    @rule(step=st.integers(0, 15))
    def time_passes(self, step):
        self.now += step * SECOND

    @rule(data=st.data())
    def read_again(self, data):
        if self.fed:
            self.feed(data.draw(st.lists(st.sampled_from(self.fed), max_size=5)))

    @rule(stream=st.sampled_from(STREAMS))
    def read_a_line_of_the_future(self, stream):
        self.feed([event(self.now + FUTURE_US + 1, stream=stream)])

    @rule(stream=st.sampled_from(STREAMS))
    def reject(self, stream):
        self.engine.count_malformed("t", stream, Reason.HEAD)
        self.malformed += 1

    @rule(stream=st.sampled_from(STREAMS))
    def hear_a_heartbeat(self, stream):
        self.hear(self.engine.heartbeat("t", stream, self.now))

    @rule(stream=st.sampled_from(STREAMS))
    def close_a_stream(self, stream):
        self.hear(self.engine.close_stream("t", stream))

    @rule(data=st.data())
    def commit(self, data):
        serials = [change.serial for change in self.engine.pending]
        if serials:
            chosen = data.draw(st.lists(st.sampled_from(serials), max_size=4))
            self.engine.acknowledge(chosen)
            self.acknowledged.update(chosen)

    @rule()
    def put_the_same_rules_in_force(self):
        assert self.engine.replace_rules(self.rules) == []

    @rule()
    def flush(self):
        self.hear(self.engine.flush())

    @invariant()
    def every_line_is_counted_once(self):
        counts = self.engine.counts.values()
        lines = sum(each.matched + each.irrelevant + each.duplicate + each.late + each.future for each in counts)
        assert lines == self.calls
        assert sum(sum(each.malformed.values()) for each in counts) == self.malformed

    @invariant()
    def news_is_pending_until_acknowledged(self):
        assert [change.serial for change in self.heard] == list(range(1, len(self.heard) + 1))
        assert {change.serial for change in self.engine.pending} == {
            change.serial for change in self.heard
        } - self.acknowledged

    @invariant()
    def the_watermark_never_goes_back(self):
        mark = self.engine.watermark_us
        assert self.watermark is None or mark >= self.watermark
        self.watermark = mark

    @invariant()
    def a_final_alert_comes_once_and_makes_sense(self):
        finals = [change.alert for change in self.heard if change.stage is Stage.FINAL]
        assert len({alert.id for alert in finals}) == len(finals)
        for alert in finals:
            assert alert.t0_us <= alert.t1_us
            assert alert.peak >= 1
            assert alert.evidence

    @invariant()
    def what_was_told_early_is_told_of_a_monotone_rule(self):
        early = {change.alert.rule_hash for change in self.heard if change.stage is Stage.PROVISIONAL}
        assert self.rules[2].rule_hash not in early

    def teardown(self):
        if not hasattr(self, "engine"):
            return
        self.hear(self.engine.flush())
        told = {change.alert.id for change in self.heard if change.stage is Stage.PROVISIONAL}
        settled = {
            identity
            for change in self.heard
            if change.stage is Stage.FINAL
            for identity in (change.alert.id, *change.replaces)
        }
        assert told <= settled
        before = len(self.heard)
        self.feed(self.fed)
        self.hear(self.engine.flush())
        assert len(self.heard) == before


TestReading = Reading.TestCase
TestReading.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
