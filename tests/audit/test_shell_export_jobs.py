"""Exports as jobs of a running guard: parts, resumption, damage, cancellation, and who may see what."""

import csv
import io
import json
import sqlite3
import stat
from base64 import b64decode
from contextlib import closing
from pathlib import Path

import pytest
from pyarrow import parquet

from guard.audit.tree import leaf_hash
from guard.audit.verifier.command import verify
from guard.catalogue import PLATFORM
from guard.errors import Conflict, Denied, InvalidRequest, NotFound
from tests.audit.exporting import auditor, beat, check, directory, exports_of, fill, ordered, parted, unzip, work
from tests.world import world

RECORDS = 700  # three parts, the last of them not full
FORMATS = ("tiles", "jsonl", "csv", "parquet", "ocsf", "cef")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    with parted(tmp_path_factory.mktemp("jobs") / "home") as made:
        fill(made, 300)
        fill(made, RECORDS)
        yield made


@pytest.fixture(scope="module")
def eve(place):
    return auditor(place)


def vkey(made):
    return made.guard.log.verifier.encode()


def entries(made, size):
    with made.guard.store.read() as tx:
        return list(made.guard.log.reader(tx).entries(0, size))


def lines(folder):
    return [json.loads(line) for path in sorted((folder / "parts").iterdir()) for line in path.read_text().splitlines()]


# every format


@pytest.mark.parametrize("name", FORMATS)
def test_a_job_is_frozen_runs_part_by_part_and_is_ready(place, eve, name, tmp_path):
    view = place.call("exports.create", eve, format=name, purpose="yearly audit")
    assert (view.state, view.done, view.manifest, view.sha256) == ("frozen", 0, None, None)
    size, seen = view.size, []
    for _ in range(view.parts + 1):
        beat(place)
        now = place.call("exports.read", eve, export=view.id)
        seen.append((now.state, now.done))
    assert seen == [*(("running", n + 1) for n in range(view.parts)), ("ready", view.parts)]
    assert now.size == size < place.guard.log.size, "the prefix was fixed while records went on"
    found = check(directory(place, eve, now, tmp_path), vkey(place))
    assert (found["export"], found["format"], found["purpose"]) == (view.id, name, "yearly audit")
    assert (found["requester"], found["matched"], found["v"]) == ("user:local|auditor", size, 1)
    assert place.call("exports.manifest", eve, export=view.id).manifest == (tmp_path / "manifest.json").read_text()


def test_tiles_made_in_parts_are_the_log_directory_that_anybody_verifies(place, eve, tmp_path):
    view = ordered(place, eve, prove=[0, 255, 256, RECORDS - 1])
    folder = directory(place, eve, view, tmp_path)
    report = verify(folder, vkeys=[vkey(place)])
    assert (report.faults, report.counts["records"], report.counts["proofs"]) == ([], view.size, 4)
    assert report.counts["checkpoints"] >= 1
    assert (folder / "vkey").read_text() == vkey(place) + "\n"


def test_one_changed_byte_of_manifest_or_note_is_found(place, eve, tmp_path):
    folder = directory(place, eve, ordered(place, eve), tmp_path)
    for name in ("manifest.json", "manifest.note", "vkey"):
        good = (folder / name).read_bytes()
        for at in range(0, len(good), max(len(good) // 40, 1)):
            (folder / name).write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
            assert verify(folder, vkeys=[vkey(place)]).faults, (name, at)
        (folder / name).write_bytes(good)
    assert verify(folder, vkeys=[vkey(place)]).faults == []


def test_json_lines_hold_every_entry_once_in_order(place, eve, tmp_path):
    view = ordered(place, eve, format="jsonl")
    found = lines(directory(place, eve, view, tmp_path))
    assert [one["index"] for one in found] == list(range(view.size))
    logged = entries(place, view.size)
    for one, entry in zip(found, logged, strict=True):
        assert b64decode(one["leaf"]) == leaf_hash(entry)
        assert one["entry"] == json.loads(entry)


def test_csv_and_parquet_have_as_many_rows_as_the_manifest_says(place, eve, tmp_path):
    for name in ("csv", "parquet"):
        view = ordered(place, eve, format=name, filter={"outcome": "refused"})
        folder = directory(place, eve, view, tmp_path / name)
        found = check(folder, vkey(place))
        for part in found["parts"]:
            content = (folder / part["path"]).read_bytes()
            if name == "csv":
                rows = list(csv.DictReader(io.StringIO(content.decode(), newline="")))
            else:
                rows = parquet.read_table(io.BytesIO(content)).to_pylist()
            assert len(rows) == part["matched"]
            assert {row["status"] for row in rows} <= {"refused"}
            assert all(part["first"] <= int(row["index"]) < part["last"] for row in rows)
        assert 0 < found["matched"] < view.size


# filters


@pytest.mark.parametrize(
    "wanted",
    [
        {"tenant": "acme"},
        {"action": "actors.*"},
        {"actor": "user:local|ana", "tenant": "globex", "outcome": "refused"},
        {"first": 250, "last": 270},
        {"first": 5, "last": 5},
        {"action": "nothing.at_all"},
    ],
)
def test_a_filtered_export_still_gives_the_root(place, eve, wanted, tmp_path):
    view = ordered(place, eve, format="jsonl", filter=wanted)
    folder = directory(place, eve, view, tmp_path)
    found = check(folder, vkey(place))
    assert found["filter"] == wanted
    bodies = [(index, json.loads(entry)["b"]) for index, entry in enumerate(entries(place, view.size))]
    expected = [
        index
        for index, body in bodies
        if wanted.get("tenant", body["tenant"]) == body["tenant"]
        and body["action"].startswith(wanted.get("action", "").rstrip("*"))
        and wanted.get("actor", body["actor"]["id"]) == body["actor"]["id"]
        and wanted.get("outcome", body["result"]["status"]) == body["result"]["status"]
        and wanted.get("first", 0) <= index < wanted.get("last", view.size)
    ]
    assert [one["index"] for one in lines(folder)] == expected
    assert found["matched"] == view.matched == len(expected)


def test_tiles_take_no_filter(place, eve):
    with pytest.raises(InvalidRequest):
        place.call("exports.create", eve, filter={"tenant": "acme"})


def test_a_format_that_is_not_there_is_refused_by_name(place, eve):
    exports = exports_of(place)
    if "rfc5424" in {path.stem for path in Path("guard/audit/exports").glob("*.py")}:
        assert ordered(place, eve, format="rfc5424").state == "ready"
        return
    with pytest.raises(InvalidRequest) as raised:
        place.call("exports.create", eve, format="rfc5424")
    assert "jsonl" in raised.value.detail
    assert exports.due(0) == []


# tenants


def test_a_tenant_s_auditor_exports_that_tenant_and_the_hashes_of_the_rest(place, tmp_path):
    ida = auditor(place, "acme")
    for wanted in ({}, {"tenant": "~"}, {"tenant": "acme"}):
        view = ordered(place, ida, format="jsonl", filter=wanted)
        folder = directory(place, ida, view, tmp_path / str(len(str(wanted))))
        found = check(folder, vkey(place))
        assert found["filter"] == {"tenant": "acme"}
        rows = lines(folder)
        assert {one["entry"]["b"]["tenant"] for one in rows} == {"acme"}
        assert [one["entry"]["n"] for one in rows] == list(range(len(rows))), "dense: nothing of his is missing"
        for path in folder.rglob("*"):
            assert not path.is_file() or b"globex" not in path.read_bytes()


def test_a_tenant_s_auditor_gets_nothing_of_others_and_is_on_record(place, eve):
    ida = auditor(place, "acme")
    for request in (
        {"format": "jsonl", "filter": {"tenant": "globex"}},
        {"format": "jsonl", "filter": {"tenant": "absent"}},
        {"format": "tiles"},
    ):
        with pytest.raises(NotFound):
            place.call("exports.create", ida, **request)
        newest = place.records("acme")[0]
        assert (newest.action, newest.status) == ("exports.create", "refused")
    others = next(one.index for one in place.records("globex"))
    with pytest.raises(InvalidRequest):
        place.call("exports.create", ida, format="jsonl", prove=[others])
    view = ordered(place, eve, format="jsonl")
    for name, more in (
        ("read", {}),
        ("manifest", {}),
        ("frame", {}),
        ("part", {"n": 0}),
        ("hashes", {"n": 0}),
        ("cancel", {}),
    ):
        for export in (view.id, "exp_none"):
            with pytest.raises(NotFound):
                place.call(f"exports.{name}", ida, export=export, **more)
    assert view.id not in {one.id for one in place.call("exports.list", ida).data}


def test_only_auditors_export(place):
    for tenant, role in (
        (PLATFORM, "platform-admin"),
        ("acme", "tenant-admin"),
        ("acme", "support"),
        ("acme", "key-admin"),
    ):
        with pytest.raises(Denied):
            place.call("exports.create", place.hire(tenant, f"user:local|{role}", f"role:{role}"), format="jsonl")
    with pytest.raises(Denied):
        place.call("exports.step", auditor(place), export="exp_1")


# the record


def test_what_was_asked_for_is_on_record_before_and_that_it_is_done_after_with_the_manifest(place, eve):
    view = ordered(place, eve, format="cef", purpose="a secret purpose")
    place.call("exports.part", eve, export=view.id, n=1)
    told = [json.loads(entry)["b"] for entry in entries(place, place.guard.log.size)]
    mine = [one for one in told if (one.get("data") or {}).get("export") == view.id]
    created = next(one for one in mine if one["action"] == "exports.create")
    intent = next(one for one in told if one["id"] == created["intent"])
    assert (created["phase"], intent["phase"], intent["data"]) == ("outcome", "intent", {"format": "cef"})
    done = next(one for one in mine if one["data"].get("state") == "ready")
    assert (done["action"], done["data"]["manifest"], done["data"]["matched"]) == (
        "exports.step",
        view.manifest,
        view.size,
    )
    fetched = next(one for one in mine if one["action"] == "exports.part")
    assert (fetched["data"]["n"], fetched["actor"]["id"]) == (1, "user:local|auditor")
    assert "secret purpose" not in json.dumps(told), "free text stands in the manifest and in no record"


# interruption


def test_a_job_goes_on_after_the_process_is_gone_with_its_first_missing_part(tmp_path):
    with parted(tmp_path / "home") as made:
        fill(made, RECORDS)
        eve = auditor(made)
        view = made.call("exports.create", eve, format="jsonl")
        beat(made)
        first = Path(made.home / f"exports/{view.id}/parts/00000.jsonl")
        before = (first.read_bytes(), first.stat().st_mtime_ns)
    # what a kill in the middle of a part leaves: a temporary file, and a part without its row
    (first.parent / "00001.jsonl.tmp").write_bytes(b"half")
    (first.parent / "00001.jsonl").write_bytes(b"not on record")
    (made.home / "exports/exp_orphan").mkdir()
    (made.home / "exports/exp_orphan/hashes").write_bytes(b"of nobody")
    (made.home / "exports/exp_orphan.zip").write_bytes(b"of nobody")
    with parted(tmp_path / "home") as made:
        eve = auditor(made)
        assert sorted(path.name for path in (made.home / "exports").iterdir()) == [view.id]
        done = work(made, eve, view.id)
        assert (done.state, done.size) == ("ready", view.size)
        assert (first.read_bytes(), first.stat().st_mtime_ns) == before, "the first part was not made again"
        found = check(directory(made, eve, done, tmp_path / "out"), vkey(made))
        assert found["matched"] == view.size
        assert list(first.parent.glob("*.tmp")) == []


def test_a_cancelled_job_stops_and_leaves_no_file(tmp_path):
    with parted(tmp_path / "home") as made:
        fill(made, RECORDS)
        eve = auditor(made)
        view = made.call("exports.create", eve, format="csv")
        beat(made)
        assert made.call("exports.cancel", eve, export=view.id).state == "cancelled"
        beat(made, 3)
        assert made.call("exports.read", eve, export=view.id).state == "cancelled"
        assert exports_of(made).due(2**60) == []
        assert list((made.home / "exports").iterdir()) == []
        for name, more in (("part", {"n": 0}), ("frame", {}), ("download", {}), ("manifest", {})):
            with pytest.raises(Conflict):
                made.call(f"exports.{name}", eve, export=view.id, **more)
        with pytest.raises(Conflict):
            made.call("exports.cancel", eve, export=view.id)


def test_a_cancellation_in_the_middle_of_a_part_stands(tmp_path):
    with parted(tmp_path / "home") as made:
        fill(made, RECORDS)
        eve = auditor(made)
        view = made.call("exports.create", eve, format="jsonl")
        exports = exports_of(made)
        make, exports.make_part = exports.make_part, lambda job, n: cancelled(make(job, n))

        def cancelled(part):
            made.call("exports.cancel", eve, export=view.id)
            return part

        beat(made)
        del exports.make_part
        beat(made, 2)
        assert made.call("exports.read", eve, export=view.id).state == "cancelled"
        assert list((made.home / "exports").iterdir()) == []


def damage(made, statement):
    with closing(sqlite3.connect(made.home / "guard.db")) as db, db:
        db.execute(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_entries SET entry = CAST(replace(CAST(entry AS TEXT), 'ana', 'eve') AS BLOB) WHERE idx = 300",
        "UPDATE audit_entries SET entry = x'7b7d' WHERE idx = 300",
        "UPDATE audit_entries SET entry = CAST(entry || x'0a' AS BLOB) WHERE idx = 300",
        "UPDATE audit_entries SET entry = CAST(entry || x'00ff' AS BLOB) WHERE idx = 300",
        "DELETE FROM audit_entries WHERE idx = 300",
    ],
)
def test_damage_fails_the_job_and_names_the_exact_record(tmp_path, statement):
    with parted(tmp_path / "home") as made:
        fill(made, RECORDS)
        eve = auditor(made)
        damage(made, statement)
        view = ordered(made, eve, format="jsonl")
        assert view.state == "failed"
        assert "300" in view.detail
        beat(made)
        assert view.done == 1, "the part before the damage was good"
        steps = [one.index for one in made.records(PLATFORM, action="exports.step")]
        with made.guard.store.read() as tx:
            told = [
                json.loads(next(made.guard.log.reader(tx).entries(at, at + 1)))["b"].get("data", {}) for at in steps
            ]
        assert [data["state"] for data in told if data.get("index") == 300] == ["failed"]
        assert list((made.home / "exports").iterdir()) == []
        assert exports_of(made).due(2**60) == []


def test_a_disk_that_refuses_makes_the_job_wait_and_go_on(tmp_path):
    with parted(tmp_path / "home") as made:
        fill(made, RECORDS)
        eve = auditor(made)
        view = made.call("exports.create", eve, format="jsonl")
        blocker = made.home / "exports" / view.id
        blocker.parent.mkdir(exist_ok=True)
        blocker.write_bytes(b"a file where a directory must be")
        assert beat(made) == 0
        assert made.call("exports.read", eve, export=view.id).state == "frozen"
        assert exports_of(made).due(made.clock()) == [], "not at once again"
        blocker.unlink()
        made.clock.advance(11)
        assert work(made, eve, view.id).state == "ready"


# files


def test_what_lies_on_the_server_is_private(place, eve):
    view = ordered(place, eve, format="jsonl")
    folder = place.home / "exports" / view.id
    for path in [folder, *folder.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_files_that_were_removed_or_never_were_are_not_found(place, eve):
    view = ordered(place, eve, format="jsonl")
    with pytest.raises(NotFound):
        place.call("exports.part", eve, export=view.id, n=view.parts)
    with pytest.raises(NotFound):
        place.call("exports.hashes", eve, export=view.id, n=view.parts)
    for name, more in (("frame.zip", {}), ("parts/00000.jsonl", {"n": 0})):
        (place.home / "exports" / view.id / name).unlink()
        with pytest.raises(NotFound):
            place.call("exports.part" if more else "exports.frame", eve, export=view.id, **more)
    with pytest.raises(NotFound):
        place.call("exports.manifest", eve, export=view.id)


@pytest.mark.parametrize("name", FORMATS)
def test_a_small_log_is_exported_at_once_as_one_archive(tmp_path, name):
    with world(tmp_path / "home") as made:
        fill(made, 300)
        eve = auditor(made)
        view = made.call("exports.create", eve, format=name, prove=[7])
        assert (view.state, view.done, view.parts) == ("ready", 1, 1)
        assert made.call("exports.list", eve).data == [view]
        packed = made.call("exports.download", eve, export=view.id)
        unzip(Path(packed.path).read_bytes(), tmp_path / "out")
        found = check(tmp_path / "out", vkey(made))
        assert "proofs/7.tlog-proof" in found["files"]
        assert {path.name for path in directory(made, eve, view, tmp_path / "again").rglob("*")} == {
            path.name for path in (tmp_path / "out").rglob("*")
        }


def test_a_part_whose_row_is_gone_is_made_again(tmp_path):
    with parted(tmp_path / "home") as made:
        fill(made, RECORDS)
        eve = auditor(made)
        view = made.call("exports.create", eve, format="jsonl")
        beat(made, 2)
        damage(made, "DELETE FROM audit_export_parts WHERE n = 0")
        assert work(made, eve, view.id).state == "ready"
        assert made.call("exports.read", eve, export=view.id).matched == view.size


def test_parts_that_do_not_give_the_signed_root_end_in_no_manifest(tmp_path):
    with parted(tmp_path / "home") as made:
        fill(made, RECORDS)
        eve = auditor(made)
        view = made.call("exports.create", eve, format="jsonl")
        beat(made, view.parts)
        damage(
            made, "UPDATE audit_export_parts SET edge = (SELECT edge FROM audit_export_parts WHERE n = 1) WHERE n = 0"
        )
        failed = work(made, eve, view.id)
        assert (failed.state, failed.manifest) == ("failed", None)
        assert "root" in failed.detail
        beat(made)
        assert list((made.home / "exports").iterdir()) == []
