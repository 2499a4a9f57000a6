"""What people may do to a run: by their roles, once, on what they saw, and never two at the same time."""

import threading

import pytest

from guard.errors import Conflict, Denied, GuardError, InvalidRequest, NotFound
from tests.runbook.staffing import Staff, open_step, sql, types, world
from tests.world import START_US


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    with world(tmp_path_factory.mktemp("commands") / "home") as made:
        yield made


@pytest.fixture
def staff(shared):
    shared.clock.now_us = START_US
    return Staff(shared)


@pytest.fixture
def run(staff):
    """A run whose commander has to decide."""
    made = staff.open()[1].run
    staff.beat()
    return made


def at_sign(staff, run):
    """The same run, waiting for a second person; the hash of what is to be approved."""
    return staff.send("carla", run, "decide", "look", option="act").steps[-1].subject_hash


# roles


@pytest.mark.parametrize("who", ["dan", "sam", "lea", "rob"])
def test_a_decision_is_for_the_role_of_its_step(staff, run, who):
    before = staff.read(run)
    with pytest.raises(Denied) as raised:
        staff.send(who, run, "decide", "look", option="act")
    assert raised.value.extra["roles"] == ["commander"]
    assert staff.read(run) == before


def test_a_role_counts_from_its_grant_on_and_no_longer_than_it(staff, run):
    admin = staff.world.hire(staff.tenant, "user:local|ida", "role:tenant-admin")
    granted = staff.world.call("grants.add", admin, member="user:local|rob", role="role:commander")
    assert open_step(staff.send("rob", run, "decide", "look", option="wait")) == [("cool_down", "waiting_timer")]
    staff.world.call("grants.remove", admin, grant=granted.id)
    staff.world.clock.advance(3601)
    staff.beat()
    with pytest.raises(Denied):
        staff.send("rob", run, "decide", "look_again", option="quiet")


def test_a_role_that_ran_out_counts_no_more(staff, run):
    admin = staff.world.hire(staff.tenant, "user:local|ida", "role:tenant-admin")
    staff.world.call("grants.add", admin, member="user:local|rob", role="role:commander", expires_in_seconds=60)
    staff.world.clock.advance(61)
    with pytest.raises(Denied):
        staff.send("rob", run, "decide", "look", option="act")


def test_the_requester_cannot_approve_whatever_else_he_holds(staff, run):
    admin = staff.world.hire(staff.tenant, "user:local|ida", "role:tenant-admin")
    staff.world.call("grants.add", admin, member="user:local|carla", role="role:legal")
    subject = at_sign(staff, run)
    with pytest.raises(Denied) as raised:
        staff.send("carla", run, "approve", "sign", subject_hash=subject)
    assert "second person" in raised.value.detail
    assert open_step(staff.send("lea", run, "approve", "sign", subject_hash=subject)) == [("mark", "ready")]


def test_the_requester_may_take_the_request_back(staff, run):
    subject = at_sign(staff, run)
    seen = staff.send("carla", run, "refuse", "sign", subject_hash=subject, reason="not needed")
    assert (seen.state, types(seen)[-2:]) == ("failed", ["approval_refused", "run_ended"])


@pytest.mark.parametrize("who", ["sam", "rob"])
def test_an_approval_is_for_the_roles_that_it_names(staff, run, who):
    subject = at_sign(staff, run)
    for kind in ("approve", "refuse"):
        with pytest.raises(Denied):
            staff.send(who, run, kind, "sign", subject_hash=subject, reason="x")


def test_nobody_approves_what_he_was_not_shown(staff, run):
    subject = at_sign(staff, run)
    for other in ("", "0" * 64, subject[:-1]):
        with pytest.raises(Conflict):
            staff.send("dan", run, "approve", "sign", subject_hash=other)
    assert open_step(staff.read(run)) == [("sign", "waiting_approval")]


@pytest.mark.parametrize(
    ("kind", "members"),
    [
        ("decide", {"option": "act"}),
        ("answer", {"answer": {}}),
        ("resolve_unknown", {"verdict": "done", "reason": "x"}),
    ],
)
def test_a_service_decides_nothing_whatever_roles_it_holds(staff, run, kind, members):
    with pytest.raises(Denied) as raised:
        staff.send("robot", run, kind, "look", **members)
    assert "person" in raised.value.detail


def test_a_service_approves_nothing(staff, run):
    subject = at_sign(staff, run)
    with pytest.raises(Denied):
        staff.send("robot", run, "approve", "sign", subject_hash=subject)


def test_who_has_no_part_in_incidents_gets_no_further_than_the_gate(staff, run):
    for role in ("role:log-shipper", "role:support", "role:auditor", "role:key-admin"):
        actor = staff.world.hire(staff.tenant, "user:local|nobody", role)
        with pytest.raises(Denied):
            staff.world.call("runs.read", actor, run=run)


# versions


def test_a_stale_version_is_refused_with_who_did_what(staff, run):
    seen = staff.read(run).version
    staff.send("carla", run, "decide", "look", option="wait")
    with pytest.raises(Conflict) as raised:
        staff.send("carla", run, "decide", "look", version=seen, option="act")
    since = raised.value.extra["events_since"]
    assert (since[0]["type"], since[0]["actor"]) == ("option_chosen", "user:local|carla")
    assert {one["seq"] for one in since} == set(range(seen + 1, staff.read(run).version + 1))
    assert raised.value.extra["current_version"] == staff.read(run).version


def test_a_version_that_is_yet_to_come_is_refused_too(staff, run):
    with pytest.raises(Conflict):
        staff.send("carla", run, "decide", "look", version=99, option="act")


def test_a_refused_command_is_on_record_and_leaves_no_event(staff, run):
    before = staff.read(run)
    with pytest.raises(Conflict):
        staff.send("carla", run, "decide", "look", version=1, option="act")
    assert staff.read(run) == before
    newest = staff.world.records(staff.tenant, action="runs.command")[0]
    assert (newest.actor, newest.status, newest.code) == ("user:local|carla", "refused", "GRD-STORE-410")


# command ids


def test_the_same_command_again_gets_the_same_answer_and_no_second_event(staff, run):
    version = staff.read(run).version
    sent = {"version": version, "option": "act", "command_id": "press-1"}
    first = staff.send("carla", run, "decide", "look", **sent)
    assert [staff.send("carla", run, "decide", "look", **sent) for _ in range(3)] == [first] * 3
    assert types(staff.read(run)).count("option_chosen") == 1


@pytest.mark.parametrize(
    ("who", "kind", "members"),
    [
        ("carla", "decide", {"option": "wait"}),
        ("carla", "decide", {"option": "act", "reason": "another"}),
        ("dan", "decide", {"option": "act"}),
        ("carla", "abort", {"reason": "enough"}),
    ],
)
def test_a_command_id_that_was_used_for_something_else_is_refused(staff, run, who, kind, members):
    staff.send("carla", run, "decide", "look", option="act", command_id="press-1")
    before = staff.read(run)
    with pytest.raises(InvalidRequest) as raised:
        staff.send(who, run, kind, "look", command_id="press-1", **members)
    assert "command_id" in raised.value.detail
    assert staff.read(run) == before


def test_one_command_id_in_two_runs_is_two_commands(staff, run):
    other = staff.open(title="Another")[1].run
    staff.beat()
    for each in (run, other):
        staff.send("carla", each, "decide", "look", option="wait", command_id="press-1")
        assert open_step(staff.read(each)) == [("cool_down", "waiting_timer")]


def test_nobody_can_take_the_ids_of_guards_own_commands(staff):
    run = staff.open()[1].run
    staff.send("carla", run, "pause", reason="x", command_id="another")
    asked = "SELECT command_id FROM run_commands WHERE run = ? AND command_id LIKE '%start-%'"
    ((own,),) = sql(staff.world.home, asked, run)
    prefix = own.removesuffix(f"start-{run}")
    assert prefix != own
    for name in (f"{prefix}intend-rotate-1", f"{prefix}dispatch-rotate-1-1"):
        with pytest.raises(InvalidRequest):
            staff.send("carla", run, "resume", command_id=name)
    for name in ("guard:intend-rotate-1", "intend-rotate-1", "dispatch-rotate-1-1"):
        staff.send("carla", run, "resume", command_id=name)
        staff.send("carla", run, "pause", reason="x")
    staff.send("carla", run, "resume")
    assert staff.beat() == 1
    assert open_step(staff.read(run)) == [("look", "waiting_human")]


# two at once


def press(staff, acts):
    """Do all *acts* at the same moment; the errors of those that lost."""
    errors, gate = [], threading.Barrier(len(acts))

    def one(act):
        gate.wait()
        try:
            act()
        except GuardError as error:
            errors.append(error)

    threads = [threading.Thread(target=one, args=(act,)) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


def test_of_two_who_press_the_same_button_one_wins(staff, run):
    version = staff.read(run).version
    acts = [
        lambda option=option: staff.send("carla", run, "decide", "look", version=version, option=option)
        for option in ("act", "wait", "act", "wait")
    ]
    errors = press(staff, acts)
    assert [type(error) for error in errors] == [Conflict] * 3
    assert types(staff.read(run)).count("option_chosen") == 1


def test_a_button_that_fires_twice_at_once_is_one_press(staff, run):
    version = staff.read(run).version
    act = lambda: staff.send("carla", run, "decide", "look", version=version, option="act", command_id="p")  # noqa: E731  pressed several times below
    assert press(staff, [act] * 4) == []
    assert types(staff.read(run)).count("option_chosen") == 1


def test_the_worker_and_a_person_do_not_get_in_each_others_way(staff):
    runs = [staff.open(title=f"Attack {number}")[1].run for number in range(6)]
    acts = [lambda each=each: staff.advance(each) for each in runs]
    acts += [lambda each=each: staff.send("carla", each, "pause", reason="wait") for each in runs]
    for error in press(staff, acts):
        assert isinstance(error, Conflict)
    for each in runs:
        if staff.read(each).state == "paused":
            staff.send("carla", each, "resume")
    staff.beat()
    assert staff.versions() == 1 + len(runs)
    assert [open_step(staff.read(each)) for each in runs] == [[("look", "waiting_human")]] * len(runs)


# steering


def test_a_paused_run_does_nothing_until_it_goes_on(staff):
    run = staff.open()[1].run
    assert staff.send("carla", run, "pause", reason="wait for the provider").state == "paused"
    assert staff.beat() == 0
    assert staff.versions() == 1
    with pytest.raises(Conflict):
        staff.send("carla", run, "pause", reason="again")
    staff.send("carla", run, "resume")
    assert staff.beat() == 1
    assert staff.versions() == 2


def test_an_aborted_run_takes_no_command_and_does_no_step(staff):
    run = staff.open()[1].run
    seen = staff.send("carla", run, "abort", reason="a test")
    assert (seen.state, staff.beat(), staff.versions()) == ("aborted", 0, 1)
    for kind in ("resume", "pause", "abort", "skip"):
        with pytest.raises(Conflict):
            staff.send("carla", run, kind, "rotate", reason="x")


def test_a_skipped_step_is_not_done(staff):
    run = staff.open()[1].run
    seen = staff.send("carla", run, "skip", "rotate", reason="done by hand already")
    assert open_step(seen) == [("look", "waiting_human")]
    assert (staff.beat(), staff.versions()) == (0, 1)
    with pytest.raises(Conflict):
        staff.send("carla", run, "skip", "look", reason="no decision is skipped")


@pytest.mark.parametrize(
    ("kind", "step", "members"),
    [
        ("decide", "look", {"option": "fly"}),
        ("decide", "nowhere", {"option": "act"}),
        ("decide", "sign", {"option": "act"}),
        ("answer", "look", {"answer": {}}),
        ("decide", "look", {"option": "act", "attempt": 2}),
    ],
)
def test_a_command_that_does_not_fit_changes_nothing(staff, run, kind, step, members):
    before = staff.read(run)
    with pytest.raises(Conflict):
        staff.send("carla", run, kind, step, **members)
    assert staff.read(run) == before


@pytest.mark.parametrize("answer", [{}, {"version": "two"}, {"version": 2, "more": 1}, {"version": 1.5}])
def test_an_answer_that_does_not_fit_its_form_is_refused_without_its_text(staff, answer):
    run = staff.open(inputs={"__key__": "customers.shoe_size"})[1].run
    staff.beat()
    with pytest.raises(InvalidRequest) as raised:
        staff.send("sam", run, "answer", "by_hand", answer=answer)
    assert "two" not in str(raised.value.detail) + str(raised.value.extra)
    assert staff.send("sam", run, "answer", "by_hand", answer={"version": 2}).state == "running"


def test_a_step_that_was_given_up_takes_its_edge(staff):
    run = staff.open(inputs={"__key__": "customers.shoe_size"})[1].run
    staff.beat()
    with pytest.raises(InvalidRequest):
        staff.send("sam", run, "give_up", "by_hand")
    assert staff.send("sam", run, "give_up", "by_hand", reason="no access").state == "failed"


def test_a_command_to_a_run_that_is_not_there_is_not_found(staff):
    with pytest.raises(NotFound):
        staff.call("carla", "runs.command", run="run_none", command_id="c", expected_version=1, type="resume")


def test_answers_and_reasons_stand_in_the_run_and_not_in_the_record(staff, run):
    staff.send("carla", run, "decide", "look", option="act", reason="canary reason")
    stored = sql(staff.world.home, "SELECT count(*) FROM run_events WHERE run = ? AND payload LIKE '%canary%'", run)
    recorded = sql(staff.world.home, "SELECT count(*) FROM audit_entries WHERE CAST(entry AS TEXT) LIKE '%canary%'")
    assert (stored, recorded) == ([(1,)], [(0,)])
