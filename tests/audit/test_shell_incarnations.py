"""A log that ends and one that follows: files, keys, receipts, exports and sinks, and witnesses that hold against it."""

import json
import shutil

import pytest

from guard.audit import checkpoint_store, sink_store, store
from guard.audit.anchor_store import AnchorFile, create
from guard.audit.note import parse
from guard.audit.publication import Publication
from guard.audit.receipt import parse as parse_receipt
from guard.audit.receipt import verify as verify_receipt
from guard.audit.tiles import decode_bundle
from guard.audit.verifier.command import verify
from guard.catalogue import PLATFORM, Actor
from guard.errors import RollbackDetected, StoreDamaged
from guard.settings import Sink
from tests.audit.exporting import exports_of
from tests.audit.test_shell_anchors import FIRST, ORIGIN, SECOND, fork, notes, put_back
from tests.audit.test_shell_archive import entries, fill
from tests.audit.test_shell_witnesses import ask, fresh, grow, home, listed, started, told  # noqa: F401  fixtures

NEXT = f"{ORIGIN}.2"
RECORDS = 700


@pytest.fixture
def anchor(tmp_path):
    create(tmp_path / "anchor")
    return AnchorFile(tmp_path / "anchor")


def staff(made):
    for person in (FIRST, SECOND):
        made.hire(PLATFORM, person, "role:platform-admin", "role:auditor")
    return made.gate.identify(f"Bearer {made.token(PLATFORM, FIRST, 'role:platform-admin')}", "test")


def archive(made, steps=3):
    made.beat("log.archive", lambda _now: [(PLATFORM, {})] * steps)
    return made.guard.log.in_files


def restored(tmp_path, anchor, *, prune=False, rotate=False):
    """A home whose database is yesterday's, with bundles in files; the entries of then, and what is kept of them."""
    place = tmp_path / "log of a guard"
    with world_of(place, anchor) as made:
        ana = staff(made)
        fill(made, RECORDS)
        archive(made)
        if rotate:
            made.call("log_keys.rotate", ana, overlap_days=1)
        if prune:
            made.clock.advance(400 * 86400)
            made.call("prunes.request", ana, keep_days=180)
            ben = made.hire(PLATFORM, SECOND, "role:platform-admin")
            made.call("prunes.approve", ben, to=512)
            made.call("prunes.sweep")
        auditor = made.hire(PLATFORM, "user:local|aud", "role:auditor")
        made.call("checkpoints.publish")
        exported = made.call("exports.create", auditor)
        fill(made, made.guard.log.size + 20)
        with made.guard.store.read() as tx:
            first = made.guard.log.reader(tx).span.first
            kept = list(made.guard.log.reader(tx).entries(first, made.guard.log.size))
    backup = shutil.copytree(place, tmp_path / "yesterday")
    with world_of(place, anchor) as made:
        made.clock.advance(500 * 86400)
        fill(made, made.guard.log.size + 600)
        archive(made)
    put_back(backup, place)
    return place, first, kept, exported


def world_of(place, anchor, **more):
    from tests.world import world

    return world(place, anchor_file=anchor.path, **more)


def test_the_next_incarnation_has_files_keys_and_receipts_of_its_own(tmp_path, anchor):
    place, first, kept, _ = restored(tmp_path, anchor)
    with world_of(place, anchor) as made:
        assert made.guard.standing.name == "READ_ONLY(ROLLBACK_DETECTED)"
        old = [one.verifier for one in made.guard.log.signers]
        made.clock.advance(600 * 86400)
        assert fork(made).origin == NEXT
        folder = place / json.loads(entries(made.guard)[0])["b"]["data"]["kept_in"]
        ana = staff(made)
        assert made.guard.log.in_files == (2, 0, 0)
        fill(made, 300)
        assert archive(made) == (2, 0, 256)
        assert made.call("services.watch").state == "SERVING"
        view = made.call("checkpoints.publish")
        keys = {one.vkey for one in made.call("log_keys.list", ana).data}
        assert keys == {one.verifier.encode() for one in made.guard.log.signers}
        assert {key.split("+")[0] for key in keys} == {NEXT}
        assert {line.name for line in parse(view.note.encode()).signatures} == {NEXT}
        assert len(parse(view.note.encode()).signatures) == 2
        with made.guard.store.read() as tx:
            rows = checkpoint_store.log_keys(tx, ORIGIN)
            last = checkpoint_of(folder)
        assert {row.vkey for row in rows} == {key.encode() for key in old}
        assert {row.to_size for row in rows} == {last}
    assert (place / "log" / "1" / "tile" / "entries" / "001").exists(), "what was lost of the old log lies in its files"
    report = verify(folder)
    assert report.faults == []
    assert report.counts["records"] == last
    assert [json.loads(one) for one in kept[last - first :]] == [
        json.loads(path.read_text()) for path in sorted(folder.glob("unsigned/*"), key=lambda path: int(path.stem))
    ]
    with world_of(place, anchor) as made:
        assert made.guard.standing.serving
        assert made.guard.log.origin == NEXT
        made.clock.advance(700 * 86400)
        size = made.guard.log.size
        assert made.call("checkpoints.publish").size == size
        assert archive(made) == (2, 0, 256)
        fill(made, 600)
        archive(made)
        auditor = made.hire(PLATFORM, "user:local|aud", "role:auditor")
        made.call("checkpoints.publish")
        exported = made.call("exports.create", auditor, prove=[0])
        report = verify(place / "exports" / f"{exported.id}.zip", vkeys=[made.guard.log.verifier.encode()])
        assert (report.faults, report.counts["records"]) == ([], exported.size)
        promised = made.guard.log.receipts
        assert promised.name == f"{NEXT}/receipts"


def checkpoint_of(folder):
    return int((folder / "checkpoint").read_text().split("\n")[1])


def test_a_receipt_is_of_the_incarnation_that_gave_it(tmp_path, anchor):
    place, *_ = restored(tmp_path, anchor)
    with world_of(place, anchor) as made:
        before = made.guard.log.receipts.verifier
        made.clock.advance(600 * 86400)
        fork(made)
        ana = made.hire("acme", "user:local|ana", "role:support")
        operation = made.gate.operations["actors.whoami"]
        unit = made.gate.begin(operation, operation.takes(), ana, "r1")
        made.gate._durable(unit)
        given = parse_receipt(unit.receipt())
        log = made.guard.log
        assert verify_receipt(given, NEXT, [before, log.receipts.verifier]) == log.receipts.verifier
        found = made.call("receipts.verify", ana, receipt=unit.receipt())
        assert found.index == log.size - 2


def test_a_pruned_log_is_kept_with_its_hashes(tmp_path, anchor):
    place, first, kept, _ = restored(tmp_path, anchor, prune=True)
    assert first == 512
    with world_of(place, anchor) as made:
        made.clock.advance(1000 * 86400)
        fork(made)
        folder = place / json.loads(entries(made.guard)[0])["b"]["data"]["kept_in"]
    size = checkpoint_of(folder)
    assert json.loads((folder / "manifest.json").read_text())["min_index"] == first
    assert sorted(path.name for path in (folder / "tile" / "0").iterdir())[:3] == ["000", "001", "002.p"]
    bundle = folder / "tile" / "entries" / "002.p" / str(size - first)
    assert decode_bundle(bundle.read_bytes()) == kept[: size - first]
    assert len(list(folder.glob("unsigned/*"))) == first + len(kept) - size
    report = verify(folder, min_index=first)
    assert (report.faults, report.min_index, report.counts["pruned"]) == ([], first, first)


def test_keys_that_were_rotated_go_on_as_they_were(tmp_path, anchor):
    place, *_ = restored(tmp_path, anchor, rotate=True)
    with world_of(place, anchor) as made:
        publics = {one.verifier.public for one in made.guard.log.signers}
        assert len(publics) == 4
        made.clock.advance(600 * 86400)
        fork(made)
        assert {one.verifier.public for one in made.guard.log.signers} == publics
        view = made.call("checkpoints.publish")
        assert len(parse(view.note.encode()).signatures) == 2, "the days of the old pair are over"
    with world_of(place, anchor) as made:
        assert made.guard.standing.serving
        assert len(made.guard.log.signers) == 2
        made.clock.advance(700 * 86400)
        fill(made, made.guard.log.size + 5)
        assert {line.name for line in parse(notes(made)[-1].encode()).signatures} == {NEXT}


def test_a_note_by_a_new_key_is_this_log_s_at_once_and_after_a_restart(tmp_path, anchor):
    with world_of(tmp_path / "home", anchor) as made:
        ana = staff(made)
        made.call("checkpoints.publish")
        made.call("log_keys.rotate", ana, overlap_days=1)
        for _ in range(3):
            made.clock.advance(86400)
            fill(made, made.guard.log.size + 3)
            assert anchor.read() == notes(made)[-1]
        assert made.guard.standing.serving
    with world_of(tmp_path / "home", anchor) as made:
        assert made.guard.standing.serving


def test_exports_at_work_fail_and_finished_ones_stay(tmp_path, anchor):
    place, _, _, exported = restored(tmp_path, anchor)
    with world_of(place, anchor) as made:
        with made.guard.store.write() as tx:
            tx.exec_driver_sql(
                "INSERT INTO audit_export_jobs SELECT 'exp_open', tenant, format, filter, purpose, 'running', size, root,"
                " note, prove, 0, '', NULL, NULL, created_by, created_us + 1, changed_us FROM audit_export_jobs LIMIT 1"
            )
        exports_of(made).start("exp_open", PLATFORM)
        made.clock.advance(600 * 86400)
        fork(made)
        auditor = made.hire(PLATFORM, "user:local|aud", "role:auditor")
        states = {one.id: (one.state, one.detail) for one in made.call("exports.list", auditor).data}
        assert states[exported.id] == ("ready", "")
        assert states["exp_open"][0] == "failed"
        assert ORIGIN in states["exp_open"][1]
        assert exports_of(made).due(made.clock()) == []
        path = made.call("exports.download", auditor, export=exported.id).path
    assert verify(place / path).faults == []


def test_a_sink_gets_the_new_log_from_its_first_record(tmp_path, anchor):
    sink = Sink(name="copy", plugin="file", path=str(tmp_path / "copy.jsonl"))
    place = tmp_path / "home"
    with world_of(place, anchor, sinks=(sink,)) as made:
        staff(made)
        made.call("checkpoints.publish")
    backup = shutil.copytree(place, tmp_path / "yesterday")
    with world_of(place, anchor, sinks=(sink,)) as made:
        fill(made, 60)
        stream = made.call("sinks.pull", sink="copy", first=None)
        made.call("sinks.move", sink="copy", first=stream.first, next=20, back=20, count=20)
    put_back(backup, place)
    with world_of(place, anchor, sinks=(sink,)) as made:
        made.clock.advance(600)
        fork(made)
        with made.guard.store.read() as tx:
            cursor = sink_store.find(tx, "copy")
        assert (cursor.first_idx, cursor.next_idx, cursor.delivered, cursor.repeated) == (0, 0, 0, 0)
        pulled = made.call("sinks.pull", sink="copy", first=None)
        assert json.loads(pulled.entries[0])["b"]["action"] == "log.created"


def test_a_fork_that_is_rolled_back_leaves_everything_as_it_was(tmp_path, anchor):
    place, *_ = restored(tmp_path, anchor)
    with world_of(place, anchor) as made:
        log = made.guard.log
        before = (log.origin, log.size, log.in_files, log.verifier, log.receipts.name, log.waiting_bundles)
        with pytest.raises(StoreDamaged), made.guard.store.write() as tx:
            log.succeed(tx, made.clock(), [])
            assert (log.origin, log.size, log.in_files) == (NEXT, 0, (2, 0, 0))
            log.aborted()
            raise StoreDamaged("not this time")
        assert before == (log.origin, log.size, log.in_files, log.verifier, log.receipts.name, log.waiting_bundles)
        assert len(entries(made.guard)) == log.size
        made.clock.advance(600 * 86400)
        assert fork(made).origin == NEXT


# publishing in two steps


def due(made, name):
    return getattr(made.guard.gate._doors.parts[Publication], name)(made.clock())


def test_in_two_steps_an_idle_log_s_note_is_renewed_and_the_anchor_with_it(tmp_path, anchor):
    with world_of(tmp_path / "home", anchor) as made:
        fill(made, 5)
        (first,) = notes(made)
        made.clock.advance(60)
        assert due(made, "due") == due(made, "adopt_due") == ()
        made.clock.advance(600)
        assert due(made, "due") != ()
        assert made.call("checkpoints.stage").changed
        assert due(made, "due") == ()
        assert due(made, "adopt_due") != ()
        assert made.call("checkpoints.adopt").changed
        (second,) = notes(made)
        assert second != first
        assert second.split("\n")[:3] == first.split("\n")[:3]
        assert anchor.read() == second
        assert due(made, "due") == due(made, "adopt_due") == ()


def test_what_the_writer_could_not_publish_is_staged_again(tmp_path, anchor):
    with world_of(tmp_path / "home", anchor) as made:
        fill(made, 5)
        made.clock.advance(5)
        made.hire("acme", "user:local|ana", "role:support")
        assert made.call("checkpoints.stage").changed
        with pytest.raises(StoreDamaged), made.guard.store.write() as tx:  # the disk refuses, say
            made.guard.log.publish_staged(tx)
            raise StoreDamaged("not this time")
        assert len(notes(made)) == 1
        assert made.call("checkpoints.stage").changed
        assert made.call("checkpoints.adopt").changed
        assert notes(made)[-1] == anchor.read()
        assert len(notes(made)) == 2


def test_a_key_whose_days_are_over_is_closed_in_two_steps_too(tmp_path, anchor):
    with world_of(tmp_path / "home", anchor) as made:
        ana = staff(made)
        fill(made, 5)
        made.call("log_keys.rotate", ana, overlap_days=1)
        made.clock.advance(2 * 86400)
        size = made.guard.log.size
        assert made.call("checkpoints.stage").changed
        assert made.call("checkpoints.adopt").changed
        assert len(made.guard.log.signers) == 2
        ended = [one.to_size for one in made.call("log_keys.list", ana).data if one.to_size is not None]
        assert len(ended) == 2
        assert max(ended) < size


# witnesses


def test_a_witness_that_proves_a_rollback_stops_the_service_and_a_fork_mends_it(started, fresh, tmp_path):  # noqa: F811
    one = fresh()
    with started(one.setting("one")) as made:
        staff(made)
        grow(made)
        ask(made, "one")
    shutil.copytree(tmp_path / "home", tmp_path / "yesterday")
    with started(one.setting("one")) as made:
        made.clock.advance(60)
        for _ in range(5):
            today = grow(made)
        ask(made, "one")
    with started(one.setting("one"), at="again", source=tmp_path / "yesterday") as made:
        made.clock.advance(90)
        back = grow(made)
        ask(made, "one")
        assert made.guard.standing.name == "READ_ONLY(ROLLBACK_DETECTED)"
        assert told(made)[0]["proven"] is True
        with pytest.raises(RollbackDetected, match=f"witness one.*size {today.size} ") as raised:
            made.call("actors.whoami")
        assert "guard audit fork" in raised.value.hint
        (found,) = (made.home / "findings").iterdir()
        assert (found / "anchor.note").read_text().startswith(f"{ORIGIN}\n{today.size}\n")
        assert (found / "log.note").read_text().startswith(f"{ORIGIN}\n{back.size}\n")
        size = made.guard.log.size
    with started(one.setting("one"), at="again") as made:  # it is known at the next start, before anybody is asked
        assert made.guard.standing.name == "READ_ONLY(ROLLBACK_DETECTED)"
        assert made.guard.log.size == size
        made.clock.advance(200)
        fork(made)
        first = json.loads(entries(made.guard)[0])["b"]["data"]
        assert {(row["origin"], row["size"]) for row in first["replaced"]} == {(ORIGIN, today.size), (ORIGIN, size)}
        assert listed(made)[1]["one"].status == "new"
    with started(one.setting("one"), at="again") as made:
        assert made.guard.standing.serving
        made.clock.advance(300)
        assert grow(made).note.startswith(f"{NEXT}\n")


def test_two_histories_that_a_witness_proves_stop_the_service(started, fresh, tmp_path):  # noqa: F811
    one = fresh()
    with started(one.setting("one")) as made:
        grow(made)
        ask(made, "one")
    shutil.copytree(tmp_path / "home", tmp_path / "second")
    with started(one.setting("one")) as made:
        made.clock.advance(60)
        grow(made)
        ask(made, "one")
    with started(one.setting("one"), at="fork", source=tmp_path / "second") as made:
        made.clock.advance(60)
        for _ in range(6):
            grow(made)
        ask(made, "one")
        assert made.guard.standing.name == "READ_ONLY(FORK_DETECTED)"


def test_a_witness_whose_proof_no_longer_holds_lets_the_service_start(started, fresh, tmp_path):  # noqa: F811
    """The newer database was put back: what the witness showed is a checkpoint of this log now."""
    one = fresh()
    with started(one.setting("one")) as made:
        grow(made)
        today = grow(made)
    with started(one.setting("one")) as made, made.guard.store.write() as tx:
        row = checkpoint_store.WitnessRow("one", today.size, "ahead", 1, None, today.note)
        checkpoint_store.write_witness(tx, row)
    with started(one.setting("one")) as made:
        assert made.guard.standing.serving
        made.call("actors.whoami", Actor("user:local|ana", "acme", "user"))


def test_loops_rest_while_the_service_does_not_serve(tmp_path, anchor):
    place, *_ = restored(tmp_path, anchor)
    with world_of(place, anchor) as made:
        files = sorted(path for path in (place / "log").rglob("*"))
        assert made.guard.standing.name == "READ_ONLY(ROLLBACK_DETECTED)"
        for name in ("log.archive", "prunes.sweep", "exports.step", "checkpoints.tidy", "intents.sweep"):
            assert made.beat(name) == 0
        assert sorted(path for path in (place / "log").rglob("*")) == files
        assert made.guard.standing.refused == 1, "the one that is vital asked, and was refused like everybody"
        with made.guard.store.read() as tx:
            assert store.read_origin(tx) == ORIGIN
