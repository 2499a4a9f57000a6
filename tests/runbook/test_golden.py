"""The stored form of every event, word for word: what is written today must be readable for as long as runs are kept.

A change of this file is a change of a format; names of types and members are only ever added.
"""

import json

import pytest

from guard.runbook import commands as cmd
from guard.runbook import events as ev
from guard.runbook.events import GENESIS, AnyEvent, from_json, row


@pytest.fixture
def story(driver, every_kind):
    """A run in which every kind of event happens."""
    run = driver(every_kind)
    run.begin()
    run.fire()
    run.send(cmd.Pause, reason="evacuation")
    run.send(cmd.Resume)
    run.fire()
    run.fire()
    run.send(cmd.GiveUp, path="by_hand", reason="no access")
    run.send(cmd.Resume)
    run.send(cmd.Skip, path="by_hand", reason="done by phone")
    run.fire()
    run.fire()
    run.follow("choose", "act")
    run.follow("sign", "success")
    run.dispatch("shoot")
    run.take(run.fenced(cmd.MarkUnknown, "shoot", reason="gone"))
    run.take(run.fenced(cmd.Complete, "shoot", result={}))
    run.send(cmd.ResolveUnknown, path="shoot", verdict=cmd.Verdict.DONE, reason="seen", person="dora")
    run.dispatch("rotate")
    run.take(run.fenced(cmd.Dispatch, "rotate", fence=2))
    run.complete("rotate", version=7)
    run.fire()
    return run


@pytest.fixture
def refusal(driver, every_kind):
    """A run that ends by a refusal."""
    run = driver(every_kind).go("success", "act")
    run.follow("sign", "failure")
    return run


def test_the_story_has_every_kind_of_event(story, refusal):
    assert {type(event) for event in [*story.log, *refusal.log]} == set(AnyEvent.__args__)


GOLDEN = {
    "run_started": {
        "plan_sha256": "*",
        "mode": "live",
        "inputs": {"__key__": "crm.email", "__count__": 3},
        "person": "sam",
    },
    "step_ready": {"path": "work", "iteration": 0, "attempt": 1, "source": "", "label": ""},
    "step_waiting": {
        "path": "work",
        "iteration": 0,
        "attempt": 1,
        "state": "waiting_human",
        "timers": [
            [1_800_000_600_000_000, "rung:1", "role:deputy"],
            [1_800_001_200_000_000, "rung:2", "role:commander"],
            [1_800_001_800_000_000, "deadline", ""],
        ],
        "subject_hash": "",
    },
    "step_escalated": {
        "path": "work",
        "iteration": 0,
        "attempt": 1,
        "due_us": 1_800_000_600_000_000,
        "kind": "rung:1",
        "to": "role:deputy",
    },
    "run_paused": {"reason": "evacuation", "path": ""},
    "run_resumed": {},
    "step_timed_out": {"path": "work", "iteration": 0, "attempt": 1, "due_us": 1_800_001_800_000_000},
    "step_failed": {"path": "by_hand", "iteration": 0, "attempt": 1, "reason": "no access"},
    "step_skipped": {"path": "by_hand", "iteration": 0, "attempt": 2, "reason": "done by phone"},
    "deadline_passed": {"path": "choose", "iteration": 0, "attempt": 1, "due_us": 1_800_002_400_000_000},
    "option_chosen": {
        "path": "choose",
        "iteration": 0,
        "attempt": 1,
        "option": "act",
        "reason": "",
        "person": "dora",
    },
    "approval_given": {
        "path": "sign",
        "iteration": 0,
        "attempt": 1,
        "person": "voter0",
        "subject_hash": "*",
        "complete": False,
    },
    "effect_intended": {
        "path": "shoot",
        "iteration": 0,
        "attempt": 1,
        "operation": "decisions.create",
        "idem_key": "6847da2011d7af67b7ead26f127f6402ca5f807d0e69787d4beae22ed2d3ab08",
        "idempotent": False,
    },
    "effect_dispatched": {"path": "shoot", "iteration": 0, "attempt": 1, "fence": 1},
    "effect_unknown": {"path": "shoot", "iteration": 0, "attempt": 1, "reason": "gone"},
    "late_result": {"path": "shoot", "iteration": 0, "attempt": 1, "fence": 1, "outcome": "succeeded"},
    "unknown_resolved": {
        "path": "shoot",
        "iteration": 0,
        "attempt": 1,
        "verdict": "done",
        "reason": "seen",
        "person": "dora",
    },
    "effect_redispatched": {"path": "rotate", "iteration": 0, "attempt": 1, "fence": 2},
    "effect_succeeded": {"path": "rotate", "iteration": 0, "attempt": 1, "fence": 2, "result": {"version": 7}},
    "wait_elapsed": {"path": "cool_down", "iteration": 0, "attempt": 1, "due_us": 1_800_006_000_000_000},
    "run_ended": {"status": "completed", "reason": "", "path": "done"},
}
REFUSED = {
    "task_answered": {"path": "work", "iteration": 0, "attempt": 1, "answer": {"note": "text"}, "person": "ana"},
    "approval_refused": {
        "path": "sign",
        "iteration": 0,
        "attempt": 1,
        "person": "vic",
        "subject_hash": "*",
        "reason": "no",
    },
}


def first_of(log, kind):
    return next(event for event in log if event.type == kind)


@pytest.mark.parametrize("kind", GOLDEN)
def test_the_payload_of_an_event(story, kind):
    compare(first_of(story.log, kind), GOLDEN[kind])


@pytest.mark.parametrize("kind", REFUSED)
def test_the_payload_of_a_refusal(refusal, kind):
    compare(first_of(refusal.log, kind), REFUSED[kind])


def compare(event, golden):
    payload = event.payload()
    stars = {name: payload[name] for name, value in golden.items() if value == "*"}
    assert all(len(value) == 64 for value in stars.values())
    assert payload == golden | stars
    assert list(event.to_json()) == ["type", "seq", "at_us", "actor", "command_id", "payload"]


def test_a_written_row_is_read_and_hashes_as_it_always_did():
    """Bytes that an installation has on disk; the hash was computed with another implementation."""
    stored = json.loads(
        '{"type":"option_chosen","seq":7,"at_us":1800000000000007,"actor":"user:dora","command_id":"c4",'
        '"payload":{"path":"choose","iteration":0,"attempt":1,"option":"act","reason":"\\u653b\\u51fb\\u00e9",'
        '"person":"dora"}}'
    )
    event = from_json(stored)
    assert event == ev.OptionChosen(
        seq=7,
        at_us=1_800_000_000_000_007,
        actor="user:dora",
        command_id="c4",
        path="choose",
        iteration=0,
        attempt=1,
        option="act",
        reason="攻击é",
        person="dora",
    )
    made = row("run_0190", "evt_0191", event, 1_800_000_000_000_009, GENESIS)
    assert made.hash == "39525339823a8498565b1bf0fc000bc8049c62f56acc5f76c3fb2c2323cb0c82"
