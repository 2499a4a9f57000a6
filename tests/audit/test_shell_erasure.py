"""Erasing a person: two people, at once unreadable, no byte left in any file, and the log as it was."""

import sqlite3
import zipfile
from contextlib import closing

import pytest

from guard.audit import erasure_operations
from guard.audit.sealed import SealedValues
from guard.audit.verifier.command import verify
from guard.catalogue import PLATFORM
from guard.db import scrub
from tests.audit.privacy import REASON, SUBJECT, Office, body, code, leftovers, office, rows, writings

DENIED, MISSING, HELD, ERASED = "GRD-AUTHZ-001", "GRD-STORE-404", "GRD-AUDIT-020", "GRD-AUDIT-021"


@pytest.fixture
def made(tmp_path):
    with office(tmp_path) as made:
        yield made


@pytest.fixture
def desk(made):
    return Office(made)


def keys(made):
    return made.gate._doors.parts[SealedValues].keys


def records(made, start=0):
    return [body(made, index) for index in range(start, made.guard.log.size)]


# nothing is left, and everything stands


def test_no_byte_of_the_person_is_left_in_any_file_and_the_log_is_the_same(made, desk, tmp_path):
    """A13. The neighbour, whose values stand between those of the person, loses nothing."""
    mine, others = [], []
    for number in range(60):
        mine.append(desk.search())
        others.append(desk.search(f"neighbour-{number % 3}@example.org"))
    desk.ask(reason=REASON)
    before = exported(made, tmp_path / "before")
    proof = made.call("records.prove", desk.people["auditor"], index=mine[0])
    assert leftovers(made, SUBJECT) != [], "while the request waits, somebody has to read whom it is about"
    view = desk.erase()
    assert (view.state, view.rows) == ("done", 60 + 2 + 1)
    assert leftovers(made, SUBJECT) == []
    assert leftovers(made, REASON) == []
    after = exported(made, tmp_path / "after")
    assert [one for one in writings(SUBJECT) if one in b"".join(path.read_bytes() for path in files(after))] == []
    for path in sorted((before / "tile").rglob("*")):
        if path.is_file() and ".p" not in str(path.relative_to(before)):
            assert (after / path.relative_to(before)).read_bytes() == path.read_bytes(), "a full tile was changed"
    assert made.call("records.prove", desk.people["auditor"], index=mine[0]).entry == proof.entry
    assert all(code(desk.call, "officer", "records.reveal", index=index) == ERASED for index in mine)
    assert [desk.reveal(index) for index in others] == [
        {"actor": f"neighbour-{number % 3}@example.org"} for number in range(60)
    ]


def files(folder):
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


def exported(made, folder):
    """An export, unpacked and verified offline; the later one continues the checkpoint of the earlier."""
    root = made.hire(PLATFORM, "user:local|root", "role:auditor")
    made.call("checkpoints.publish")
    path = made.call("exports.download", root, export=made.call("exports.create", root).id).path
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
    since = (folder.parent / "before" / "checkpoint").read_bytes()
    assert verify(folder, since=since if folder.name == "after" else None).faults == []
    return folder


def test_the_key_is_gone_with_the_approval_whatever_comes_later(made, desk):
    index = desk.search()
    asked = desk.ask()
    key_id = rows(made, "SELECT key_id FROM subject_keys WHERE subject LIKE 'sub:%'")[0][0]
    assert desk.reveal(index) == {"actor": SUBJECT}
    desk.call("counsel", "erasures.approve", erasure=asked.id)
    assert rows(made, f"SELECT wrapped, subject, state FROM subject_keys WHERE key_id = '{key_id}'") == [
        (None, None, "destroyed")
    ]
    assert rows(made, f"SELECT count(*) FROM audit_sealed WHERE key_id = '{key_id}'") == [(2,)]
    assert code(desk.call, "officer", "records.reveal", index=index) == ERASED


def test_the_log_tells_of_the_erasure_without_saying_who_it_was(made, desk):
    start = made.guard.log.size
    desk.search()
    view = desk.erase()
    told = [record for record in records(made, start) if record["action"].startswith("erasures.")]
    assert [(record["action"], record["phase"]) for record in told] == [
        ("erasures.request", "event"),
        ("erasures.approve", "event"),
        *[("erasures.step", phase) for _ in range(2) for phase in ("intent", "outcome")],
    ]
    assert told[-1]["data"] == {
        "erasure": view.id,
        "pseudonym": view.subject,
        "remains": 0,
        "rows": 2,
        "state": "done",
    }
    assert SUBJECT not in str(told)
    assert view.subject.startswith("sub_")


def test_what_is_recorded_after_an_erasure_is_under_a_new_key_and_can_be_erased_again(made, desk):
    desk.search()
    first = desk.erase()
    index = desk.search()
    assert desk.reveal(index) == {"actor": SUBJECT}
    second = desk.erase()
    assert (second.state, second.rows) == ("done", 2)
    assert second.subject != first.subject
    assert leftovers(made, SUBJECT) == []


def test_a_subject_of_whom_the_log_knows_nothing_is_erased_like_any_other(made, desk):
    """No answer tells whether the log holds something about somebody."""
    view = desk.erase("nobody-knows@example.org")
    assert (view.state, view.rows) == ("done", 1)
    assert leftovers(made, "nobody-knows@example.org") == []


def test_many_values_go_a_few_at_a_time(made, desk, monkeypatch):
    monkeypatch.setattr(erasure_operations, "DELETE_LIMIT", 4)
    for _ in range(10):
        desk.search()
    asked = desk.ask()
    desk.call("counsel", "erasures.approve", erasure=asked.id)
    assert [desk.step(asked.id).rows for _ in range(3)] == [4, 8, 11]
    assert desk.step(asked.id).state == "done"
    assert desk.step(asked.id).rows == 11, "a step too many changes nothing"


def test_a_reader_in_the_way_delays_the_end_and_nothing_is_called_done(made, desk, monkeypatch):
    monkeypatch.setattr(scrub, "PATIENCE_SECONDS", 0)
    desk.search()
    asked = desk.ask()
    desk.call("counsel", "erasures.approve", erasure=asked.id)
    desk.step(asked.id)
    with made.guard.store.read() as tx:
        tx.exec_driver_sql("SELECT count(*) FROM audit_index").scalar()
        desk.search("somebody-else")
        assert code(desk.step, asked.id) == "GRD-STORE-003"
        assert body(made, made.guard.log.size - 1)["result"] == {"code": "GRD-STORE-003", "status": "refused"}
    due = made.gate._doors.parts[SealedValues].erasures_due
    assert due(made.clock.now_us) == [], "not at each beat"
    made.clock.advance(erasure_operations.RETRY_SECONDS + 1)
    assert made.beat("erasures.step", due) == 1
    assert desk.call("officer", "erasures.list").data[0].state == "done"
    assert due(made.clock.now_us) == []


def test_a_backup_from_before_brings_the_person_back_and_that_is_why_the_page_says_so(made, desk, tmp_path):
    """A wrapped key in a backup opens under the root key; only shorter keeping of backups helps, as the docs say."""
    index = desk.search()
    with closing(sqlite3.connect(made.home / "guard.db")) as plain:
        plain.execute("VACUUM INTO ?", (str(tmp_path / "backup.db"),))
    desk.erase()
    made.guard.pipeline.stop()
    made.guard.store.close()
    for name in ("guard.db-wal", "guard.db-shm"):
        (made.home / name).unlink(missing_ok=True)
    (made.home / "guard.db").write_bytes((tmp_path / "backup.db").read_bytes())
    with made.guard.store.read() as tx:
        opened = made.gate._doors.parts[SealedValues].opened
        assert opened(tx, body(made, index)["id"], body(made, index)["sealed"])[1][0][2] == SUBJECT


# two people


def test_who_asked_cannot_approve_and_a_second_person_can(made, desk):
    desk.search()
    asked = desk.ask()
    assert code(desk.call, "officer", "erasures.approve", erasure=asked.id) == DENIED
    assert desk.call("officer", "erasures.list").data[0].state == "requested"
    assert desk.call("second", "erasures.approve", erasure=asked.id).state == "executing"


def test_nobody_has_a_part_in_erasing_himself(made, desk):
    assert code(desk.call, "officer", "erasures.request", subject="user:local|olga") == DENIED
    asked = desk.ask("user:local|otto")
    assert code(desk.call, "second", "erasures.approve", erasure=asked.id) == DENIED
    assert desk.call("counsel", "erasures.approve", erasure=asked.id).state == "executing"


def test_asking_or_approving_twice_changes_nothing_more(made, desk):
    desk.search()
    asked = desk.ask()
    assert desk.call("second", "erasures.request", subject=SUBJECT).id == asked.id
    first = desk.call("counsel", "erasures.approve", erasure=asked.id)
    assert desk.call("counsel", "erasures.approve", erasure=asked.id) == first
    assert len(desk.call("officer", "erasures.list").data) == 1


@pytest.mark.parametrize("who", ["admin", "auditor"])
def test_others_neither_ask_nor_approve(made, desk, who):
    asked = desk.ask()
    assert code(desk.call, who, "erasures.request", subject=SUBJECT) == DENIED
    assert code(desk.call, who, "erasures.approve", erasure=asked.id) == DENIED


def test_another_tenant_sees_and_approves_nothing(made, desk):
    index, asked, other = desk.search(), desk.ask(), Office(made, "globex")
    assert other.call("auditor", "erasures.list").data == []
    assert code(other.call, "counsel", "erasures.approve", erasure=asked.id) == MISSING
    assert code(other.call, "officer", "erasures.request", subject=SUBJECT, tenant="acme") == MISSING
    assert other.erase(SUBJECT).state == "done"
    assert desk.reveal(index) == {"actor": SUBJECT}, "the subject of the same name in another tenant"
    assert code(other.call, "counsel", "erasures.approve", erasure="ers_none") == MISSING


def test_the_list_shows_the_subject_while_it_is_judged_and_the_pseudonym_after(made, desk):
    asked = desk.ask()
    assert desk.call("auditor", "erasures.list").data[0].subject == SUBJECT
    desk.call("counsel", "erasures.approve", erasure=asked.id)
    assert desk.call("auditor", "erasures.list").data[0].subject.startswith("sub_")
    assert rows(made, "SELECT count(*) FROM audit_erasures WHERE subject LIKE '%@%'") == [(0,)]


# holds


@pytest.mark.parametrize("scope", ["tenant", "subject", "actor", "matter", "log"])
def test_a_hold_refuses_the_erasure_and_the_refusal_is_on_record(made, desk, scope):
    index = desk.search()
    given = {
        "actor": {"target": "user:local|aude"},
        "matter": {"target": "audit/~/records"},
        "subject": {"subject": SUBJECT},
    }.get(scope, {})
    hold = (Office(made, PLATFORM) if scope == "log" else desk).hold(scope, **given)
    assert code(desk.ask) == HELD
    record = body(made, made.guard.log.size - 1)
    assert (record["action"], record["result"]) == ("erasures.request", {"code": HELD, "status": "refused"})
    assert desk.reveal(index) == {"actor": SUBJECT}
    (Office(made, PLATFORM) if scope == "log" else desk).release(hold.id)
    assert desk.erase().state == "done"
    assert leftovers(made, SUBJECT) == [], "the refused request named the subject too"


def test_a_hold_that_comes_between_request_and_approval_still_counts(made, desk):
    index, asked = desk.search(), desk.ask()
    hold = desk.hold("subject", subject=SUBJECT)
    assert code(desk.call, "counsel", "erasures.approve", erasure=asked.id) == HELD
    assert body(made, made.guard.log.size - 1)["result"] == {"code": HELD, "status": "refused"}
    assert desk.reveal(index) == {"actor": SUBJECT}
    desk.release(hold.id)
    assert desk.call("counsel", "erasures.approve", erasure=asked.id).state == "executing"


def test_a_hold_elsewhere_hinders_nobody(made, desk):
    desk.search()
    desk.hold("subject", subject="somebody-else@example.org")
    desk.hold("actor", target="user:local|adam")
    desk.hold("matter", target="incidents/inc_1")
    Office(made, "globex").hold("tenant")
    assert desk.erase().state == "done"
