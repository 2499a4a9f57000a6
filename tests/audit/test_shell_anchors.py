"""Anchors in a running guard: what is signed is anchored first, and a log behind its anchor takes nothing more."""

import base64
import json
import shutil
import sqlite3
from contextlib import closing

import pytest

from guard.audit import store
from guard.audit.anchor_store import AnchorFile, create
from guard.audit.note import VerifierKey, open_checkpoint
from guard.audit.tree import edge_of
from guard.catalogue import PLATFORM, Actor
from guard.db.presence import Presence
from guard.errors import AnchorMissing, Conflict, DiskLow, FileLost, ForkDetected, GuardError, RollbackDetected
from tests.world import world

FIRST, SECOND = "user:local|ana", "user:local|ben"
ORIGIN = "guard.local/guard/main"


@pytest.fixture
def anchor(tmp_path):
    path = tmp_path / "other volume" / "anchor"
    path.parent.mkdir()
    create(path)
    return AnchorFile(path)


@pytest.fixture
def place(tmp_path, anchor):
    with world(tmp_path / "home", anchor_file=anchor.path) as made:
        yield made


def fill(place, count=5):
    for number in range(count):
        place.hire("acme", f"user:local|u{number}", "role:support")


def notes(place):
    with place.guard.store.read() as tx:
        return [text for _, text in store.checkpoint_notes(tx, 1 << 40)]


def opened(place, text):
    return open_checkpoint(text.encode(), place.guard.log.origin, [place.guard.log.verifier])


def saved(home, to):
    """A backup of a closed guard."""
    return shutil.copytree(home, to)


def put_back(backup, home):
    for path in home.glob("guard.db*"):
        path.unlink()
    shutil.copy2(backup / "guard.db", home / "guard.db")


def change(home, *statements):
    with closing(sqlite3.connect(home / "guard.db", timeout=5)) as db, db:
        for statement in statements:
            db.execute(statement)


# publishing


def test_what_is_published_is_what_the_anchor_holds(place, anchor):
    for _ in range(3):
        fill(place)
        view = place.call("checkpoints.publish")
        assert anchor.read() == view.note == notes(place)[-1]


def test_in_two_steps_the_writer_touches_the_store_alone(place, anchor):
    fill(place)
    assert place.call("checkpoints.stage").changed
    assert notes(place) == []
    staged = anchor.read()
    assert opened(place, staged).size == place.guard.log.size
    anchor.path.rename(anchor.path.with_suffix(".away"))
    assert place.call("checkpoints.adopt").changed
    assert notes(place) == [staged]
    anchor.path.with_suffix(".away").rename(anchor.path)
    assert not place.call("checkpoints.adopt").changed
    assert not place.call("checkpoints.stage").changed
    fill(place)
    assert place.call("checkpoints.stage").changed


def test_a_second_stage_waits_for_the_first_to_be_published(place, anchor):
    fill(place)
    place.call("checkpoints.stage")
    staged = anchor.read()
    fill(place)
    assert not place.call("checkpoints.stage").changed
    assert anchor.read() == staged
    view = place.call("checkpoints.publish")
    assert [opened(place, text).size for text in notes(place)] == [opened(place, staged).size, view.size]


def test_signing_by_hand_and_by_the_loop_at_once_accuse_nobody(place, anchor):
    import threading

    stop = threading.Event()
    failed = []

    def loop():
        while not stop.is_set():
            try:
                place.call("checkpoints.stage")
                place.call("checkpoints.adopt")
            except Conflict:
                continue
            except GuardError as error:
                failed.append(error)
                return

    thread = threading.Thread(target=loop)
    thread.start()
    for _ in range(40):
        fill(place, 1)
        place.call("checkpoints.publish")
    stop.set()
    thread.join()
    place.call("checkpoints.adopt")
    assert failed == []
    assert place.guard.standing.serving
    sizes = [opened(place, text).size for text in notes(place)]
    assert sizes == sorted(set(sizes))
    assert anchor.read() == notes(place)[-1]


def test_a_crash_between_swap_and_publication_publishes_the_anchor_s_note(tmp_path, anchor):
    with world(tmp_path / "home", anchor_file=anchor.path) as made:
        fill(made)
        made.call("checkpoints.stage")
        staged = anchor.read()
    with world(tmp_path / "home", anchor_file=anchor.path) as made:
        assert made.guard.standing.serving
        assert notes(made) == [staged]
        made.clock.advance(10)
        view = made.call("checkpoints.publish")
        assert view.size > opened(made, staged).size
        assert notes(made) == [staged, view.note]


def test_a_rollback_of_the_writer_s_group_leaves_the_note_to_the_next(place, anchor):
    """The swap is not undone with the transaction; the next publication begins with the anchor's note."""
    fill(place)
    with place.guard.store.read() as tx:
        place.guard.log.sign_head(tx, place.clock())
    staged = anchor.read()
    assert notes(place) == []
    view = place.call("checkpoints.publish")
    assert notes(place)[0] == staged
    assert view.size == opened(place, staged).size


# starting


def rolled_back(tmp_path, anchor, *, larger=0):
    """A home whose database is that of before; (size of the anchor, size of the database)."""
    home = tmp_path / "home"
    with world(home, anchor_file=anchor.path) as made:
        made.hire(PLATFORM, FIRST, "role:platform-admin")
        made.hire(PLATFORM, SECOND, "role:platform-admin")
        fill(made, 2)
        made.call("checkpoints.publish")
        before = made.guard.log.size
    backup = saved(home, tmp_path / "backup")
    with world(home, anchor_file=anchor.path) as made:
        fill(made, 20)
        size = made.call("checkpoints.publish").size
    put_back(backup, home)
    return size, before


def test_yesterday_s_database_starts_read_only_and_names_both_sizes(tmp_path, anchor):
    size, before = rolled_back(tmp_path, anchor)
    held = anchor.read()
    database = (tmp_path / "home" / "guard.db").read_bytes()
    with world(tmp_path / "home", anchor_file=anchor.path) as made:
        assert made.guard.standing.name == "READ_ONLY(ROLLBACK_DETECTED)"
        for name, request in (
            ("actors.whoami", {}),
            ("checkpoints.publish", {}),
            ("checkpoints.stage", {}),
            ("principals.bootstrap", {"tenant": "acme", "subject": "svc:a", "roles": ["role:member"]}),
            ("intents.sweep", {}),
        ):
            with pytest.raises(RollbackDetected) as raised:
                made.call(name, **request)
            assert f"size {size} " in raised.value.detail
            assert f"size {before} " in raised.value.detail
            assert "guard audit fork --reason" in raised.value.hint
        assert made.guard.log.size == before
    evidence = tmp_path / "home" / "findings" / f"rollback_detected-{size}-{before}"
    assert (evidence / "anchor.note").read_text() == held == anchor.read()
    assert (evidence / "log.note").read_text().splitlines()[1] != str(size)
    with closing(sqlite3.connect(tmp_path / "home" / "guard.db")) as db:
        assert db.execute("SELECT size FROM audit_head").fetchone() == (before,)
    assert (tmp_path / "home" / "guard.db").read_bytes() == database


def test_records_cut_off_and_the_head_rewritten_and_signed_anew_are_found(tmp_path, anchor):
    """A01: whoever has the key can sign a shorter log; the anchor remembers the longer one."""
    home = tmp_path / "home"
    with world(home, anchor_file=anchor.path) as made:
        fill(made, 10)
        size = made.call("checkpoints.publish").size
        with made.guard.store.read() as tx:
            edge = edge_of(made.guard.log.reader(tx).node, size - 3)
    change(
        home,
        "DELETE FROM audit_checkpoints",
        f"DELETE FROM audit_entries WHERE idx >= {size - 3}",
        f"DELETE FROM audit_index WHERE idx >= {size - 3}",
    )
    with closing(sqlite3.connect(home / "guard.db")) as db, db:
        db.execute("UPDATE audit_head SET size = ?, edge = ?, root = ?", (edge.size, edge.serialise(), edge.root()))
        db.execute("DELETE FROM audit_tenants")
        db.execute("INSERT INTO audit_tenants SELECT tenant, max(n) + 1 FROM audit_index GROUP BY tenant")
    with world(home) as made:  # without its anchor nothing shows, and it signs the shorter log
        assert made.call("checkpoints.publish").size > 0
        shorter = made.guard.log.size
    with world(home, anchor_file=anchor.path) as made:
        expected = "ROLLBACK_DETECTED" if shorter < size else "FORK_DETECTED"
        assert made.guard.standing.name == f"READ_ONLY({expected})"
    with world(home) as made:
        fill(made, 10)
        made.call("checkpoints.publish")
    with world(home, anchor_file=anchor.path) as made:
        assert made.guard.standing.name == "READ_ONLY(FORK_DETECTED)"
        with pytest.raises(ForkDetected, match="another root"):
            made.call("actors.whoami")


def test_a_missing_anchor_is_read_only_and_is_not_made_anew(tmp_path, anchor):
    with world(tmp_path / "home", anchor_file=anchor.path) as made:
        made.call("checkpoints.publish")
    anchor.path.unlink()
    with world(tmp_path / "home", anchor_file=anchor.path) as made:
        assert made.guard.standing.name == "READ_ONLY(ANCHOR_MISSING)"
        with pytest.raises(AnchorMissing) as raised:
            made.call("actors.whoami")
        assert str(anchor.path) in raised.value.detail
        assert "guard audit anchor create" in raised.value.hint
    assert not anchor.path.exists()
    create(anchor.path)
    with world(tmp_path / "home", anchor_file=anchor.path) as made:
        assert made.guard.standing.serving
        made.clock.advance(60)
        fill(made)
        assert made.call("checkpoints.publish").note == anchor.read()


def test_an_anchor_of_another_log_is_none(tmp_path, anchor):
    with world(tmp_path / "other", anchor_file=anchor.path) as made:
        made.call("checkpoints.publish")
    with world(tmp_path / "home", anchor_file=anchor.path) as made:
        assert made.guard.standing.name == "READ_ONLY(ANCHOR_MISSING)"
    assert ORIGIN in anchor.read()


def test_as_many_anchors_as_are_required_must_answer(tmp_path, anchor):
    with world(tmp_path / "home", anchor_file=anchor.path, anchors_required=1) as made:
        assert made.guard.standing.serving
    with world(tmp_path / "home", anchor_file=anchor.path, anchors_required=2) as made:
        assert made.guard.standing.name == "READ_ONLY(ANCHOR_MISSING)"
        with pytest.raises(AnchorMissing, match="1 of the 2"):
            made.call("actors.whoami")


# running


def test_an_anchor_that_is_taken_away_is_found_at_the_next_checkpoint(place, anchor):
    place.call("checkpoints.publish")
    fill(place)
    anchor.path.unlink()
    with pytest.raises(AnchorMissing):
        place.call("checkpoints.stage")
    assert place.guard.standing.name == "READ_ONLY(ANCHOR_MISSING)"
    assert not anchor.path.exists()


def test_another_signer_of_the_same_log_is_found(place, anchor, tmp_path):
    place.call("checkpoints.publish")
    size = place.guard.log.size
    twin = shutil.copytree(place.home, tmp_path / "twin")
    with closing(sqlite3.connect(place.home / "guard.db")) as source, closing(sqlite3.connect(twin / "copy")) as to:
        source.backup(to)
    for path in twin.glob("guard.db*"):
        path.unlink()
    (twin / "copy").rename(twin / "guard.db")
    with world(twin, anchor_file=anchor.path) as other:
        fill(other)
        assert other.call("checkpoints.publish").size > size
    fill(place, 1)
    with pytest.raises((RollbackDetected, ForkDetected)):
        place.call("checkpoints.publish")
    assert not place.guard.standing.sound


def test_a_file_that_is_taken_away_stops_everything(place):
    presence = place.guard.gate._doors.parts[Presence]
    assert place.call("services.watch").state == "SERVING"
    (place.home / "guard.db").rename(place.home / "moved.db")
    assert place.call("services.watch").state == "READ_ONLY(FILE_LOST)"
    with pytest.raises(FileLost, match="was removed while it was in use") as raised:
        place.call("actors.whoami")
    assert "/proc/PID/fd" in raised.value.hint
    (place.home / "moved.db").rename(place.home / "guard.db")
    assert presence.lost() == ""
    assert place.call("services.watch").state == "READ_ONLY(FILE_LOST)"


def test_a_low_disk_refuses_goes_on_by_itself_and_records_how_many(tmp_path):
    with world(tmp_path / "home", minimum_free_bytes=1 << 60) as made:
        ana = made.hire("acme", "user:local|ana", "role:support")
        assert made.call("services.watch").state == "READ_ONLY(DISK_LOW)"
        for _ in range(7):
            with pytest.raises(DiskLow, match="minimum_free_bytes"):
                made.call("actors.whoami", ana)
        assert made.call("checkpoints.publish").size > 0  # what was acknowledged is signed all the same
        object.__setattr__(made.guard.settings, "minimum_free_bytes", 1)
        made.call("services.watch")
        from guard.audit.rounds import Rounds

        due = made.guard.gate._doors.parts[Rounds].resumption
        assert made.beat("audit.resumed", lambda _now: due()) == 1
        assert due() == []
        assert made.guard.standing.serving
        made.call("actors.whoami", ana)
        with made.guard.store.read() as tx:
            (record,) = [
                json.loads(one)["b"] for one in store.entries(tx, 0, made.guard.log.size) if b"audit.resumed" in one
            ]
        assert record["data"] == {"refused": 7}


# the first record, and forks


def first_record(place):
    with place.guard.store.read() as tx:
        return json.loads(next(iter(store.entries(tx, 0, 1))))["b"]


def test_the_first_record_of_a_log_names_it(place):
    record = first_record(place)
    assert record["action"] == "log.created"
    assert record["data"]["origin"] == ORIGIN
    assert record["data"]["vkeys"] == [one.verifier.encode() for one in place.guard.log.signers]
    assert record["data"]["limits"] == {"queue": 4096, "body_bytes": 4 << 20}
    with pytest.raises(Conflict, match="first record already"):
        place.call("log.created")


def fork(made, reason="the disk was lost"):
    made.guard.standing.repair()
    return made.call("log.created", Actor(FIRST, PLATFORM, "user"), reason=reason, second=SECOND)


def test_a_log_that_nothing_contradicts_is_not_forked(place):
    place.hire(PLATFORM, FIRST, "role:platform-admin")
    with pytest.raises(Conflict, match="nothing to fork from"):
        fork(place)
    assert place.guard.log.origin == ORIGIN


def test_after_a_fork_the_next_incarnation_goes_on_and_says_what_it_left(tmp_path, anchor):
    size, before = rolled_back(tmp_path, anchor)
    home = tmp_path / "home"
    left = open_checkpoint_of(anchor)
    with world(home, anchor_file=anchor.path) as made:
        made.clock.advance(100)
        assert fork(made).origin == f"{ORIGIN}.2"
        assert made.guard.standing.serving
        assert made.guard.log.size == 1
        view = made.call("checkpoints.publish")
        assert view.size == 1
        data = first_record(made)["data"]
        assert (data["old_origin"], data["old_size"], data["origin"]) == (ORIGIN, before, f"{ORIGIN}.2")
        assert (data["reason"], data["second"]) == ("the disk was lost", SECOND)
        assert first_record(made)["actor"]["id"] == FIRST
        assert {(one["origin"], one["size"]) for one in data["replaced"]} == {(ORIGIN, size), (ORIGIN, before)}
        assert anchor.read() == view.note
        kept = home / data["kept_in"]
    assert (kept / "checkpoint").exists()
    from guard.audit.verifier.command import verify

    report = verify(kept)
    assert report.faults == []
    assert report.size + len(list((kept / "unsigned").glob("*.json"))) == before
    assert left.size == size
    for _ in range(2):
        with world(home, anchor_file=anchor.path) as made:
            assert made.guard.standing.serving
            made.clock.advance(1000)
            fill(made)
            key = VerifierKey.decode(view.vkey)
            found = made.call("checkpoints.publish")
            assert open_checkpoint(found.note.encode(), f"{ORIGIN}.2", [key]).size == found.size > 1
            assert base64.b64decode(found.root) == opened(made, anchor.read()).root


def open_checkpoint_of(anchor):
    from guard.audit import checkpoint, note

    return checkpoint.parse(note.parse(anchor.read().encode()).text)


def test_a_crash_after_the_fork_and_before_the_anchor_moved_is_no_fork(tmp_path, anchor):
    rolled_back(tmp_path, anchor)
    with world(tmp_path / "home", anchor_file=anchor.path) as made:
        made.clock.advance(100)
        fork(made)
    with world(tmp_path / "home", anchor_file=anchor.path) as made:
        assert made.guard.standing.serving
        made.clock.advance(200)
        assert made.call("checkpoints.publish").note == anchor.read()
        assert anchor.read().startswith(f"{ORIGIN}.2\n")


def test_the_database_of_before_the_fork_is_a_rollback(tmp_path, anchor):
    rolled_back(tmp_path, anchor)
    home = tmp_path / "home"
    backup = saved(home, tmp_path / "before the fork")
    with world(home, anchor_file=anchor.path) as made:
        made.clock.advance(100)
        fork(made)
        made.call("checkpoints.publish")
    put_back(backup, home)
    with world(home, anchor_file=anchor.path) as made:
        assert made.guard.standing.name == "READ_ONLY(ROLLBACK_DETECTED)"
        with pytest.raises(RollbackDetected, match=r"guard/main\.2"):
            made.call("actors.whoami")
        made.clock.advance(300)
        assert fork(made, "once more").origin == f"{ORIGIN}.2"


def test_a_damaged_log_is_not_forked_and_stays_as_it_was(tmp_path, anchor):
    rolled_back(tmp_path, anchor)
    home = tmp_path / "home"
    change(home, "UPDATE audit_entries SET entry = CAST(replace(entry, 'ok', 'ko') AS BLOB) WHERE idx = 2")
    with world(home, anchor_file=anchor.path) as made:
        size = made.guard.log.size
        with pytest.raises(GuardError) as raised:
            fork(made)
        assert raised.value.code in {"GRD-STORE-001", "GRD-AUDIT-003"}
        assert not made.guard.standing.serving
    with world(home) as made:
        assert made.guard.log.origin == ORIGIN
        assert made.guard.log.size >= size


# listing


def test_anchors_are_listed_with_what_they_hold(place, anchor):
    auditor = place.hire(PLATFORM, "user:local|auditor", "role:auditor")
    (listed,) = place.call("anchors.list", auditor).data
    assert (listed.kind, listed.place, listed.size, listed.counts) == ("file", str(anchor.path), None, True)
    assert "volume of the home" in listed.remark
    view = place.call("checkpoints.publish")
    (listed,) = place.call("anchors.list", auditor).data
    assert (listed.size, listed.origin) == (view.size, ORIGIN)
