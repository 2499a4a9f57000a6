"""Sinks of a running guard: a receiver that stands still delays nobody, and what is on record of all that."""

import itertools
import json
import statistics
import time

import pytest
import structlog

from guard.catalogue import PLATFORM
from guard.errors import Conflict, InternalError, InvalidSetting, NotFound
from guard.settings import Sink
from tests.audit.receivers import black_hole, collector, rsyslog, wait_for
from tests.world import world

PATIENCE_SECONDS = 20
ROUNDS, CALLS = 4, 150


def to_file(path, name="copy", **options):
    return Sink(name=name, plugin="file", path=str(path), **options)


def to_syslog(port, **options):
    return Sink(name="siem", plugin="syslog", address=f"tcp://127.0.0.1:{port}", **options)


def hired(made):
    return made.hire(PLATFORM, "user:local|auditor", "role:auditor")


def view_of(made, auditor, name="copy"):
    return next(one for one in made.call("sinks.list", auditor).data if one.name == name)


def indexes(path):
    return [json.loads(line)["index"] for line in path.read_bytes().splitlines()] if path.exists() else []


def delivered(made, path):
    """Everything of the log up to now is in the file."""
    size = made.guard.log.size
    wait_for(lambda: size - 1 in indexes(path), PATIENCE_SECONDS, "the last record did not come")
    return size


def steps(made, name="copy", count=1):
    """What the stream's own thread would do."""
    stream = next(one for one in made.guard.worker._lone if one.thread.name == f"guard-{name}")
    step = stream.thread._args[1]
    return [step() for _ in range(count)]


def actions(made, *wanted):
    return [one.action for one in reversed(made.records(limit=500)) if one.action in wanted]


# what is on record


def test_what_joins_and_what_leaves_the_configuration_is_a_record_before_it_takes_effect(tmp_path):
    home, path = tmp_path / "home", tmp_path / "copy.jsonl"
    with world(home, sinks=(to_file(path),)) as made:
        assert actions(made, "sinks.declare") == ["sinks.declare"]
    with world(home, sinks=(to_file(path),)) as made:
        assert actions(made, "sinks.declare") == ["sinks.declare"]
    with world(home) as made:
        assert actions(made, "sinks.declare") == ["sinks.declare"] * 2
        assert view_of(made, hired(made)).state == "removed"
    with world(home, sinks=(to_file(path),)) as made:
        assert actions(made, "sinks.declare") == ["sinks.declare"] * 3
        assert view_of(made, hired(made)).state == "declared"


def test_delivering_leaves_no_record_and_reaching_a_sink_leaves_one(tmp_path):
    path = tmp_path / "copy.jsonl"
    with world(tmp_path / "home", sinks=(to_file(path),)) as made:
        size = made.guard.log.size
        steps(made, count=5)
        assert made.guard.log.size == size + 1
        steps(made, count=5)
        assert made.guard.log.size == size + 1
        assert indexes(path) == list(range(size + 1))
        (record,) = [one for one in made.records() if one.action == "sinks.report"]
        assert record.actor == "system:worker"


def test_a_sink_that_comes_and_goes_leaves_at_most_one_record_in_ten_seconds(tmp_path):
    with collector() as server:
        sink = Sink(name="copy", plugin="webhook", address=f"http://127.0.0.1:{server.server_port}/")
        with world(tmp_path / "home", sinks=(sink,)) as made:
            steps(made, count=4)
            before = made.guard.log.size
            for _ in range(20):
                server.answers = [500]
                made.hire("acme", "user:local|ana", "role:support")
                steps(made, count=2)
            reports = actions(made, "sinks.report")
            assert len(reports) == 1
            made.clock.advance(11)
            server.answers = [500]
            steps(made)
            assert actions(made, "sinks.report") == ["sinks.report"] * 2
            assert made.guard.log.size > before
            assert view_of(made, hired(made)).state == "lost"


# how far a sink is


def test_a_sink_may_begin_with_the_next_record(tmp_path):
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    home = tmp_path / "home"
    with world(home, sinks=(to_file(first),)) as made:
        size = made.guard.log.size
        steps(made, count=3)
    sinks = (to_file(first), to_file(second, "late", begin="next"))
    with world(home, sinks=sinks) as made:
        steps(made, "late", 3)
        steps(made, "copy", 3)
        view = view_of(made, hired(made), "late")
        assert view.first > size
        assert indexes(second)[0] == view.first
        assert indexes(first) == list(range(len(indexes(first))))


def test_the_count_is_that_of_the_range_over_restarts_and_failures(tmp_path):
    home, path = tmp_path / "home", tmp_path / "folder" / "copy.jsonl"
    path.parent.mkdir()
    for _ in range(3):
        with world(home, sinks=(to_file(path),)) as made:
            auditor = hired(made)
            made.guard.worker.start()
            for _ in range(100):
                made.call("actors.whoami", auditor)
            size = delivered(made, path)
            view = view_of(made, auditor)
            assert view.complete
            assert (view.first, view.repeated) == (0, 0)
            assert view.next >= size or view.behind
    found = indexes(path)
    assert found == list(range(len(found)))


@pytest.mark.parametrize(
    ("move", "error"),
    [
        ({"first": 0, "next": 5, "back": 5, "count": 4}, InternalError),
        ({"first": 0, "next": 5, "back": 6, "count": 5}, InternalError),
        ({"first": 3, "next": 5, "back": 5, "count": 2}, Conflict),
    ],
)
def test_a_cursor_moves_by_what_was_acknowledged_and_from_where_it_is(tmp_path, move, error):
    with world(tmp_path / "home", sinks=(to_file(tmp_path / "copy.jsonl"),)) as made:
        with pytest.raises(error):
            made.call("sinks.move", sink="copy", **move)
        assert view_of(made, hired(made)).next == 0


def test_a_cursor_that_somebody_moved_is_read_again(tmp_path):
    path = tmp_path / "copy.jsonl"
    with world(tmp_path / "home", sinks=(to_file(path),)) as made:
        steps(made, count=3)
        at = view_of(made, hired(made)).next
        made.call("sinks.move", sink="copy", first=at, next=at, back=at - 2, count=0)
        with pytest.raises(Conflict):
            steps(made)
        steps(made, count=3)
        view = view_of(made, hired(made))
        assert view.complete
        assert set(indexes(path)) >= set(range(view.next))


def test_the_pauses_double_up_to_half_a_minute(tmp_path, free_port):
    with world(tmp_path / "home", sinks=(to_syslog(free_port()),)) as made:
        assert steps(made, "siem", 9) == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
        view = view_of(made, hired(made), "siem")
        assert (view.state, view.failures, view.last_error) == ("lost", 9, "ConnectionRefusedError")


def test_only_the_platform_s_people_see_sinks(tmp_path):
    with world(tmp_path / "home", sinks=(to_file(tmp_path / "copy.jsonl"),)) as made:
        own = made.hire("acme", "user:local|ida", "role:auditor")
        with pytest.raises(NotFound):
            made.call("sinks.list", own)


@pytest.mark.parametrize(
    "sink",
    [
        Sink(name="x", plugin="kafka", address="tcp://127.0.0.1:1"),
        Sink(name="x", plugin="file"),
        Sink(name="x", plugin="file", path="/tmp/x", address="tcp://127.0.0.1:1"),
        Sink(name="x", plugin="syslog", address="tcp://127.0.0.1:1", token_file="/tmp/x"),
    ],
)
def test_a_sink_that_is_declared_wrongly_stops_the_start_before_a_store_is_made(tmp_path, sink):
    with pytest.raises(InvalidSetting), world(tmp_path / "home", sinks=(sink,)):
        pass
    assert not (tmp_path / "home").exists()


# late


def test_the_alarm_comes_within_a_minute_once_a_minute_and_ends(tmp_path):
    path = tmp_path / "copy.jsonl"
    with world(tmp_path / "home", sinks=(to_file(path),)) as made, structlog.testing.capture_logs() as logged:
        assert made.call("sinks.watch").late == []
        for _ in range(14):
            made.clock.advance(5)
            made.call("sinks.watch")
        alarms = [one for one in logged if one["event"] == "sink_lagging"]
        assert [one["log_level"] for one in alarms] == ["error"]
        assert 45 <= alarms[0]["seconds"] < 60
        made.clock.advance(60)
        assert made.call("sinks.watch").late == ["copy"]
        assert len([one for one in logged if one["event"] == "sink_lagging"]) == 2
        assert view_of(made, hired(made)).alarm
        steps(made, count=3)
        assert made.call("sinks.watch").late == []
        assert logged[-1]["event"] == "sink_caught_up"


def test_a_black_hole_slows_no_request(tmp_path, free_port):
    """The same calls with a sink that stands still and without one, in turns, so that the machine's moods cancel out."""
    port, times = free_port(), {"stuck": [], "alone": []}
    with black_hole(port) as taken:
        for number in range(ROUNDS):
            for kind in sorted(times, reverse=bool(number % 2)):
                sinks = (to_syslog(port),) if kind == "stuck" else ()
                connected = len(taken)
                with world(tmp_path / f"{kind}{number}", sinks=sinks) as made:
                    actor = made.hire("acme", "user:local|ana", "role:support")
                    made.guard.worker.start()
                    if sinks:
                        wait_for(lambda: len(taken) > connected, PATIENCE_SECONDS, "nobody connected")  # noqa: B023
                    timed(made, actor)
                    times[kind].append(timed(made, actor))
                    if sinks:
                        assert view_of(made, hired(made), "siem").next == 0
    medians = {kind: statistics.median(itertools.chain(*found)) for kind, found in times.items()}
    slowest = max(itertools.chain(*times["stuck"]))
    ratio = medians["stuck"] / medians["alone"]
    print(f"black hole: latency {ratio:.2f} of that without a sink, slowest call {slowest * 1000:.1f} ms")
    assert slowest < 1, "a request waited for the sink"
    assert ratio < 2


def test_a_black_hole_raises_the_alarm_and_when_it_is_gone_there_is_no_gap(tmp_path, free_port, need):
    program, port = need("rsyslogd"), free_port()
    with world(tmp_path / "home", sinks=(to_syslog(port, total_seconds=1),)) as made:
        actor, auditor = made.hire("acme", "user:local|ana", "role:support"), hired(made)
        with black_hole(port):
            made.guard.worker.start()
            timed(made, actor)
            wait_for(lambda: view_of(made, auditor, "siem").state == "lost", PATIENCE_SECONDS, "it was not noticed")
            made.clock.advance(60)
            assert view_of(made, auditor, "siem").alarm
            assert made.call("sinks.watch").late == ["siem"]
        with rsyslog(program, tmp_path / "rsyslog", port) as receiver:
            size = made.guard.log.size
            wait_for(lambda: size - 1 in receiver.indexes(), 60, "the last record did not come")
            found = receiver.indexes()
            assert sorted(set(found)) == list(range(max(found) + 1))
            # The receiver may have written the last record before the sink has noted that it was taken.
            wait_for(lambda: view_of(made, auditor, "siem").next >= size, PATIENCE_SECONDS, "the cursor did not move")
            view = view_of(made, auditor, "siem")
            assert view.complete
            assert view.delivered - view.repeated == view.next - view.first


def timed(made, actor):
    """Seconds of each of some calls."""
    found = []
    for _ in range(CALLS):
        began = time.perf_counter()
        made.call("actors.whoami", actor)
        found.append(time.perf_counter() - began)
    return found
