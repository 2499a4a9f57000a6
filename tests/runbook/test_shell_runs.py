"""Runs in a real guard: started by hand and by an incident, carried on by the worker, kept through restarts and kills."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from guard.errors import InvalidRequest, NotFound, VerificationFailed
from tests.runbook.staffing import LIBRARY, Staff, open_step, settings_of, sql, types, world
from tests.world import START_US

ROOT = Path(__file__).resolve().parents[2]
MINUTE = 60 * 1_000_000
PRACTICE = {"__incident__": "practice", "__key__": "customers.email"}


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One guard; each test has a tenant of its own."""
    with world(tmp_path_factory.mktemp("runs") / "home") as made:
        yield made


@pytest.fixture
def staff(shared):
    shared.clock.now_us = START_US
    return Staff(shared)


# a run's life


def test_an_incident_with_a_plan_starts_its_run(staff):
    incident, run = staff.open()
    assert (incident.state, incident.occurrences, incident.runs) == ("reported", 1, [run.run])
    assert (run.plan, run.mode, run.incident, run.state, run.started_by) == (
        "contain",
        "live",
        incident.id,
        "running",
        "user:local|carla",
    )
    assert types(run) == ["run_started", "step_ready"]
    assert run.steps[0].text == {"en": "Rotate customers.email.", "zh": "轮换 customers.email。"}


def test_a_run_by_hand_needs_no_incident_and_takes_inputs(staff):
    run = staff.call("carla", "runs.start", plan="twice", mode="live", inputs=PRACTICE)
    assert (run.incident, run.mode) == (None, "live")
    staff.beat()
    assert staff.versions() == 3


def test_a_drill_walks_the_plan_and_touches_nothing(staff):
    run = staff.call("carla", "runs.start", plan="twice", mode="drill", inputs=PRACTICE)
    staff.beat()
    assert staff.versions() == 1
    done = [one.type for one in staff.call("carla", "runs.read", run=run.run).timeline]
    assert done.count("effect_succeeded") == 2


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        ({"plan": "unknown"}, NotFound),
        ({"plan": "contain"}, InvalidRequest),
        ({"plan": "contain", "inputs": PRACTICE | {"__more__": "y"}}, InvalidRequest),
        ({"plan": "contain", "inputs": PRACTICE | {"__key__": 7}}, InvalidRequest),
        ({"plan": "contain", "incident": "inc_none", "inputs": PRACTICE}, NotFound),
    ],
)
def test_a_run_that_cannot_begin_leaves_nothing(staff, request_, error):
    with pytest.raises(error):
        staff.call("carla", "runs.start", **request_)
    assert staff.call("carla", "runs.list").data == []


def test_an_incident_whose_run_cannot_begin_is_not_opened(staff):
    with pytest.raises(NotFound):
        staff.open("unknown")
    with pytest.raises(InvalidRequest):
        staff.open("contain", inputs={"__key__": 7})
    assert staff.call("carla", "incidents.list").data == []


def test_the_whole_way_to_containment(staff):
    incident, run = staff.open()
    assert staff.beat() == 1
    assert staff.versions() == 2
    run = staff.read(run.run)
    assert open_step(run) == [("look", "waiting_human")]
    run = staff.send("carla", run.run, "decide", "look", option="act")
    run = staff.send("dan", run.run, "approve", "sign", subject_hash=run.steps[-1].subject_hash)
    assert open_step(run) == [("mark", "ready")]
    staff.beat()
    run = staff.read(run.run)
    assert (run.state, open_step(run)) == ("completed", [])
    assert staff.call("carla", "incidents.read", incident=incident.id).state == "contained"
    assert staff.beat() == 0
    actors = {event.type: event.actor for event in run.timeline}
    assert actors["effect_succeeded"] == "system:runbook"
    assert (actors["option_chosen"], actors["approval_given"]) == ("user:local|carla", "user:local|dan")


def test_what_guard_does_by_itself_is_on_record_as_the_runbooks(staff):
    staff.open()
    staff.beat()
    made = staff.world.records(staff.tenant, action="keys.rotate")
    assert [(one.actor, one.status) for one in made] == [("system:runbook", "ok")]
    beats = staff.world.records(staff.tenant, action="runs.advance")
    assert [(one.actor, one.status) for one in beats] == [("system:worker", "ok")]


def test_a_refused_operation_is_a_failed_step_with_its_code_and_takes_that_edge(staff):
    _, run = staff.open(inputs={"__key__": "customers.shoe_size"})
    staff.beat()
    run = staff.read(run.run)
    assert open_step(run) == [("by_hand", "waiting_human")]
    assert types(run)[2:5] == ["effect_intended", "effect_dispatched", "step_failed"]
    (payload,) = sql(
        staff.world.home, "SELECT payload FROM run_events WHERE run = ? AND type = 'step_failed'", run.run
    )[0]
    assert "GRD-STORE-404" in payload
    assert staff.world.records(staff.tenant, action="keys.rotate")[0].status == "refused"
    run = staff.send("sam", run.run, "answer", "by_hand", answer={"version": 2})
    assert open_step(run) == [("look", "waiting_human")]


@pytest.mark.parametrize("value", ["127.0.0.1", "no address", "customers.email"])
def test_an_operation_that_guard_refuses_on_principle_fails_its_step(staff, value):
    _, run = staff.open("ban", inputs={"__key__": value})
    staff.beat()
    assert staff.read(run.run).state == "failed"
    assert staff.call("ana", "decisions.list").data == []


def test_a_plan_can_ban(staff):
    _, run = staff.open("ban", inputs={"__key__": "198.51.100.7"})
    staff.beat()
    assert staff.read(run.run).state == "completed"
    (decision,) = staff.call("ana", "decisions.list").data
    assert (decision.value, decision.created_by) == ("198.51.100.7", "system:runbook")
    assert staff.call("ana", "decisions.check", value="198.51.100.7").action == "ban"


def test_a_simulation_walks_the_plan_and_touches_nothing(staff):
    for plan, value in (("twice", "customers.email"), ("ban", "198.51.100.7")):
        inputs = {"__incident__": "none", "__key__": value}
        run = staff.call("carla", "runs.start", plan=plan, mode="simulation", inputs=inputs)
        staff.beat()
        assert "effect_succeeded" in types(staff.read(run.run))
    assert staff.versions() == 1
    assert staff.call("ana", "decisions.list").data == []


# time


def test_steps_waits_and_deadlines_follow_the_worlds_clock(staff):
    _, run = staff.open()
    staff.beat()
    run = staff.send("carla", run.run, "decide", "look", option="wait")
    assert open_step(run) == [("cool_down", "waiting_timer")]
    assert run.steps[-1].due_us == pytest.approx(START_US + 60 * MINUTE, abs=1000)
    assert staff.beat() == 0
    staff.world.clock.advance(3599)
    assert staff.beat() == 0
    staff.world.clock.advance(2)
    assert staff.beat() == 1
    assert open_step(staff.read(run.run)) == [("look_again", "waiting_human")]
    assert staff.beat() == 0


def test_a_deadline_calls_its_ladder_and_then_marks_the_step_overdue_once(staff):
    _, run = staff.open(inputs={"__key__": "customers.shoe_size"})
    staff.beat()
    for minutes, events in ((11, ["step_escalated"]), (21, ["step_escalated"]), (31, ["deadline_passed"]), (99, [])):
        before = len(types(staff.read(run.run)))
        staff.world.clock.now_us = START_US + minutes * MINUTE
        staff.beat()
        seen = staff.read(run.run)
        assert types(seen)[before:] == events
        assert seen.steps[-1].overdue == (minutes > 30)
    run = staff.send("sam", run.run, "answer", "by_hand", answer={"version": 2})
    assert open_step(run) == [("look", "waiting_human")]


def test_an_approval_that_nobody_gives_in_time_is_a_refusal(staff):
    incident, run = staff.open()
    staff.beat()
    staff.send("carla", run.run, "decide", "look", option="act")
    staff.world.clock.advance(3600)
    staff.beat()
    run = staff.read(run.run)
    assert (run.state, types(run)[-2:]) == ("failed", ["step_timed_out", "run_ended"])
    assert staff.call("carla", "incidents.read", incident=incident.id).state == "reported"


def test_timers_that_came_due_while_guard_was_down_fire_in_order_at_the_next_beat(tmp_path):
    with world(tmp_path / "home") as made:
        staff = Staff(made, "acme")
        run = staff.open(inputs={"__key__": "customers.shoe_size"})[1].run
        staff.beat()
    with world(tmp_path / "home") as made:
        staff = Staff(made, "acme")
        made.clock.advance(7200)
        assert staff.beat() == 1
        seen = staff.read(run)
        assert types(seen)[-3:] == ["step_escalated", "step_escalated", "deadline_passed"]
        assert staff.beat() == 0


# restarts and kills


def test_a_restart_between_all_steps_changes_nothing(tmp_path):
    acts = [
        lambda staff, run: staff.beat(),
        lambda staff, run: staff.send("carla", run, "decide", "look", option="wait"),
        lambda staff, run: staff.world.clock.advance(3601) or staff.beat(),
        lambda staff, run: staff.send("carla", run, "decide", "look_again", option="active"),
        lambda staff, run: staff.send(
            "dan", run, "approve", "sign", subject_hash=staff.read(run).steps[-1].subject_hash
        ),
        lambda staff, run: staff.world.clock.advance(3601) or staff.beat(),
    ]
    with world(tmp_path / "home") as made:
        run = Staff(made, "acme").open()[1].run
    for act in acts:
        with world(tmp_path / "home") as made:
            staff = Staff(made, "acme")
            before = staff.read(run)
            act(staff, run)
            after = staff.read(run)
            assert after.version > before.version
            assert after.timeline[: before.version] == before.timeline
    with world(tmp_path / "home") as made:
        staff = Staff(made, "acme")
        assert staff.read(run).state == "completed"
        assert staff.read(run).version == len(types(staff.read(run)))
        assert staff.versions() == 2
        assert staff.beat() == 0


@pytest.mark.parametrize("event", ["effect_intended", "effect_dispatched", "effect_succeeded", "step_ready"])
def test_a_step_that_was_cut_off_at_any_event_happens_exactly_once(tmp_path, event):
    home = tmp_path / "home"
    with world(home) as made:
        staff = Staff(made, "acme")
        run = staff.open()[1].run
        before = staff.read(run)
        sql(
            home,
            f"CREATE TRIGGER cut BEFORE INSERT ON run_events WHEN NEW.type = '{event}' BEGIN SELECT RAISE(ABORT, 'cut'); END",
        )
        for _ in range(3):
            assert staff.beat() == 0
        assert staff.read(run) == before
        assert staff.versions() == 1
    sql(home, "DROP TRIGGER cut")
    with world(home) as made:
        staff = Staff(made, "acme")
        assert (staff.beat(), staff.beat()) == (1, 0)
        assert types(staff.read(run)).count("effect_succeeded") == 1
        assert staff.versions() == 2
        sealed = staff.world.records("acme", action="keys.rotate")
        assert [one.status for one in sealed] == ["ok"]


CHILD = """
import sys
from pathlib import Path
from tests.runbook.staffing import settings_of
from tests.world import World
home = Path(sys.argv[1])
made = World(home, **settings_of(home.parent))
desk = next(part for kind, part in made.gate._doors.parts.items() if kind.__name__ == "Desk")
while True:
    made.clock.advance(120)
    for one in list(desk.due(made.clock())):
        made.beat("runs.advance", lambda _now_us: [one])
    print("beat", flush=True)
"""


def test_a_process_that_is_killed_again_and_again_does_each_step_exactly_once(tmp_path):
    home, rng, count = tmp_path / "home", random.Random(4), 25
    with world(home) as made:
        staff = Staff(made, "acme")
        runs = [staff.open("twice")[1].run for _ in range(count)]
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", CHILD, str(home)], cwd=ROOT, stdout=subprocess.PIPE) as child:
            while (home / "lock").read_text().strip() != str(child.pid) and child.poll() is None:
                time.sleep(0.01)
            time.sleep(rng.uniform(0.1, 0.35))
            child.send_signal(signal.SIGKILL)
            child.wait()
    with world(home) as made:
        staff = Staff(made, "acme")
        for _ in range(4):
            made.clock.advance(3600)
            staff.beat()
        for run in runs:
            seen = staff.read(run)
            assert seen.state == "completed"
            assert types(seen).count("effect_succeeded") == types(seen).count("effect_dispatched") == 3
        versions = staff.call("kim", "keys.read", key="customers.email").versions
        assert [one.version for one in versions] == list(range(1 + 3 * count, 0, -1))
        assert [one.state for one in versions].count("active") == 1
        assert len(staff.world.records("acme", action="keys.rotate", limit=500)) == 3 * count


# what is kept


def test_a_run_keeps_the_plan_that_it_pinned_although_the_library_changed(tmp_path):
    home = tmp_path / "home"
    library = settings_of(tmp_path)["runbooks"]
    with world(home) as made:
        staff = Staff(made, "acme")
        old = staff.open()[1]
        staff.beat()
    text = LIBRARY["contain.yaml"].replace("for: PT1H", "for: PT2H").replace("Contain, or wait?", "Decide.")
    (library / "contain.yaml").write_text(text, encoding="utf-8")
    with world(home) as made:
        staff = Staff(made, "acme")
        seen = staff.read(old.run)
        assert (seen.plan_sha256, seen.steps[-1].text["en"]) == (old.plan_sha256, "Contain, or wait?")
        seen = staff.send("carla", old.run, "decide", "look", option="wait")
        assert open_step(seen) == [("cool_down", "waiting_timer")]
        new = staff.open(title="Another")[1]
        assert new.plan_sha256 != old.plan_sha256
    (library / "contain.yaml").unlink()
    with world(home) as made:
        staff = Staff(made, "acme")
        assert staff.read(old.run).plan_sha256 == old.plan_sha256
        made.clock.advance(3601)
        assert staff.beat() == 2
        assert open_step(staff.read(old.run)) == [("look_again", "waiting_human")]


TAMPERED = {
    "an actor": "UPDATE run_events SET actor = 'user:local|eve' WHERE run = ? AND seq = 3",
    "a time": "UPDATE run_events SET at_us = at_us + 1 WHERE run = ? AND seq = 3",
    "a payload": "UPDATE run_events SET payload = replace(payload, 'rotate', 'rotatf') WHERE run = ? AND seq = 3",
    "a hash": "UPDATE run_events SET hash = replace(hash, substr(hash, 1, 1), 'x') WHERE run = ? AND seq = 3",
    "a row that is gone": "DELETE FROM run_events WHERE run = ? AND seq = 3",
    "the last row": "DELETE FROM run_events WHERE run = ? AND seq = (SELECT version FROM runs WHERE id = run)",
}


@pytest.mark.parametrize("statement", TAMPERED.values(), ids=TAMPERED)
def test_an_event_that_was_changed_afterwards_is_named(staff, statement):
    _, run = staff.open()
    staff.beat()
    last = staff.read(run.run).version
    sql(staff.world.home, statement, run.run)
    for act in (lambda: staff.read(run.run), lambda: staff.advance(run.run)):
        with pytest.raises(VerificationFailed) as raised:
            act()
        assert raised.value.extra["seq"] == (last if "version" in statement else 3)
    other = staff.open(title="Another")[1]
    assert staff.read(other.run).state == "running"


def test_runs_are_listed_newest_first_and_are_the_tenants_own(staff):
    made = [staff.open("twice", title=f"Attack {number}")[1].run for number in range(3)]
    assert [one.run for one in staff.call("rob", "runs.list").data] == made[::-1]
    assert [one.run for one in staff.call("rob", "runs.list", limit=2).data] == made[:0:-1]
    other = Staff(staff.world)
    assert other.call("rob", "runs.list").data == []
    with pytest.raises(NotFound):
        other.read(made[0])
    with pytest.raises(NotFound):
        other.call("carla", "runs.command", run=made[0], command_id="c", expected_version=2, type="abort", reason="x")
