"""The verifier on pruned logs: what is gone by right is told, any other hole is named. The log is pruned by the service."""

import json
import shutil
import zipfile

import pytest

from guard.audit.verifier.command import main, verify
from guard.catalogue import PLATFORM
from tests.audit.building import Plan, entries_of, numbered, record, write
from tests.audit.layouts import canonical, export, sealed_again, signed_manifest, tiles_log
from tests.audit.test_prune import DAY, archive, prune, sweep
from tests.audit.test_shell_archive import fill
from tests.world import world

FIRST = 512
HOLE = {"tile/entries/000", "tile/entries/001"}


@pytest.fixture(scope="module")
def pruned(tmp_path_factory):
    """Exports of a log of which the service removed the first 512 records, by format, and the log's key."""
    home = tmp_path_factory.mktemp("pruned") / "home"
    with world(home) as made:
        fill(made, 700)
        made.call("checkpoints.publish")
        made.clock.advance(200 * DAY)
        fill(made, 1100)
        archive(made)
        made.eve, made.bob = (
            made.hire(PLATFORM, f"user:local|{name}", "role:platform-admin") for name in ("eve", "bob")
        )
        auditor = made.hire(PLATFORM, "user:local|auditor", "role:auditor")
        prune(made)
        sweep(made)
        made.call("checkpoints.publish")

        def taken(**request):
            view = made.call("exports.create", auditor, **request)
            with zipfile.ZipFile(home / "exports" / f"{view.id}.zip") as found:
                return {name: found.read(name) for name in found.namelist()}

        found = {form: taken(format=form) for form in ("jsonl", "csv", "parquet")}
        found["tiles"] = taken(prove=[3, 600])
        found["acme"] = taken(format="jsonl", filter={"tenant": "acme"})
        found["vkey"] = made.guard.log.verifier.encode()
    return found


def unsigned(files, **changes):
    """The files as a log directory has them: the older manifest, which nobody signs."""
    content = json.loads(files["manifest.json"])
    plain = {name: content[name] for name in ("files", "origin", "root", "size")} | changes
    return {name: data for name, data in files.items() if name != "manifest.note"} | {"manifest.json": canonical(plain)}


def without(files, *names):
    return {name: data for name, data in files.items() if name not in names}


def lines(files, folder, **options):
    return [str(fault) for fault in verify(write(folder, files.items()), **options).faults]


class TestByRight:
    def test_a_pruned_log_verifies_and_says_what_was_not_checked(self, pruned, tmp_path, capsys):
        assert not HOLE & pruned["tiles"].keys()
        folder = write(tmp_path, pruned["tiles"].items())
        report = verify(folder, vkeys=[pruned["vkey"]])
        assert (report.faults, report.min_index, report.counts["pruned"]) == ([], FIRST, FIRST)
        assert report.counts["records"] == report.size - FIRST
        assert report.counts["proofs"] == 2
        assert report.vouched == ["manifest.note", "the log's own record of prunes.approve"]
        assert main([str(folder), "--vkey", pruned["vkey"]]) == 0
        told = capsys.readouterr().out
        assert (
            "pruned 512 records below min_index 512: their entries are gone and were not checked, their hashes were; "
            "vouched for by manifest.note and the log's own record of prunes.approve"
        ) in told

    @pytest.mark.parametrize("form", ["jsonl", "csv", "parquet", "acme"])
    def test_other_formats_of_a_pruned_log_verify(self, pruned, tmp_path, form, capsys):
        folder = write(tmp_path, pruned[form].items())
        report = verify(folder, vkeys=[pruned["vkey"]])
        assert (report.faults, report.min_index, report.vouched) == ([], FIRST, ["manifest.note"])
        assert report.counts["rows"] > 0
        assert main([str(folder)]) == 0
        assert "pruned 512 records below min_index 512" in capsys.readouterr().out

    def test_the_logs_own_record_vouches_where_the_manifest_is_not_signed(self, pruned, tmp_path):
        report = verify(write(tmp_path, unsigned(pruned["tiles"], min_index=FIRST).items()), vkeys=[pruned["vkey"]])
        assert (report.faults, report.vouched) == ([], ["the log's own record of prunes.approve"])

    def test_since_and_pruning_go_together(self, pruned, tmp_path):
        older = next(name for name in pruned["tiles"] if name.startswith("checkpoints/") and int(name[12:]) > FIRST)
        folder = write(tmp_path, pruned["tiles"].items())
        report = verify(folder, vkeys=[pruned["vkey"]], since=pruned["tiles"][older])
        assert (report.faults, report.min_index) == ([], FIRST)

    def test_bundles_that_were_read_before_the_log_was_pruned_may_be_there(self, tmp_path):
        entries = entries_of(1000)
        files = without(tiles_log(entries), "tile/entries/001")
        report = verify(write(tmp_path, sealed_again(files, min_index=FIRST).items()))
        assert (report.faults, report.counts["pruned"], report.counts["records"]) == ([], 256, 744)
        changed = files["tile/entries/000"].replace(b"n1.7", b"n9.9", 1)
        told = lines(sealed_again(files | {"tile/entries/000": changed}, min_index=FIRST), tmp_path / "changed")
        assert told == [
            "tile/entries/000: entry 0 does not match its leaf hash in tile/0/000: the entry was changed after it was logged"
        ]

    def test_who_knows_from_elsewhere_where_the_log_begins_may_say_so(self, tmp_path, capsys):
        folder = write(tmp_path, without(dict(Plan(entries_of(1000)).parts()), *HOLE).items())
        assert main([str(folder), "--min-index", "512"]) == 0
        assert "vouched for by --min-index" in capsys.readouterr().out
        assert main([str(folder), "--min-index", "256"]) == 7

    def test_a_log_that_was_pruned_to_its_end_has_hashes_only(self, tmp_path):
        files = without(tiles_log(entries_of(300)), "tile/entries/000", "tile/entries/001.p/44")
        report = verify(write(tmp_path, sealed_again(files, min_index=512).items()))
        assert (report.faults, report.min_index, report.counts["pruned"]) == ([], 300, 300)

    def test_an_outcome_may_close_an_intent_that_was_pruned(self, tmp_path):
        pair = [
            record(0, phase="intent"),
            *map(record, range(1, 256)),
            record(256, phase="outcome", intent=record(0).id),
        ]
        files = tiles_log(numbered(pair))
        assert lines(sealed_again(without(files, "tile/entries/000"), min_index=256), tmp_path) == []


class TestNotByRight:
    def test_removed_bundles_of_a_whole_log_are_named(self, tmp_path):
        files = without(tiles_log(entries_of(1000)), *HOLE, "proofs/1.tlog-proof")
        content = json.loads(files["manifest.json"])
        files |= signed_manifest(content | {"files": without(content["files"], "proofs/1.tlog-proof")})
        assert lines(files, tmp_path) == [
            *(f"{name}: the file is missing" for name in sorted(HOLE)),
            "tile/entries/002: entry 512 has number 512 of acme, not 0: a record is missing",
        ]

    def test_a_number_in_a_manifest_that_nobody_signed_is_worth_nothing(self, tmp_path, capsys):
        files = unsigned(tiles_log(entries_of(1000)), min_index=FIRST)
        folder = write(tmp_path, without(files, *HOLE).items())
        assert main([str(folder)]) == 7
        told = capsys.readouterr().out
        assert "FAULT manifest.json: min_index 512 was expected to be vouched for" in told
        assert "vouched for by nobody" in told

    def test_a_number_written_into_a_signed_manifest_is_named(self, tmp_path):
        files = without(tiles_log(entries_of(1000)), *HOLE)
        files["manifest.json"] = canonical(json.loads(files["manifest.json"]) | {"min_index": FIRST})
        told = lines(files, tmp_path)
        assert told[0] == "manifest.json: is not what manifest.note signs: one of the two was changed"
        assert told[1].startswith("manifest.json: min_index 512 was expected to be vouched for")

    def test_a_hole_beyond_the_minimum_index_is_named(self, pruned, tmp_path):
        told = lines(without(pruned["tiles"], "tile/entries/002"), tmp_path, vkeys=[pruned["vkey"]])
        assert told[0] == "tile/entries/002: the file is missing"

    @pytest.mark.parametrize("more", [768, 1024])
    def test_a_larger_minimum_index_than_was_approved_is_named(self, pruned, tmp_path, more):
        gone = [f"tile/entries/{n:03d}" for n in range(FIRST // 256, more // 256)]
        files = unsigned(without(pruned["tiles"], *gone), min_index=more)
        told = lines(files, tmp_path, vkeys=[pruned["vkey"]])
        assert told == [line for line in told if line.startswith(f"manifest.json: min_index {more} was expected")] != []

    @pytest.mark.parametrize(
        "changes",
        [
            {"tenant": "acme"},
            {"result": {"status": "refused"}},
            {"data": {"first": 0, "to": 256}},
            {"data": {"first": 0, "to": True}},
            {"data": {}},
            {"action": "prunes.request"},
        ],
    )
    def test_a_record_that_is_no_approval_vouches_for_nothing(self, tmp_path, changes):
        right = {"tenant": PLATFORM, "action": "prunes.approve", "data": {"first": 0, "to": FIRST}}

        def files(last):
            whole = unsigned(tiles_log(numbered([*map(record, range(599)), last])), min_index=FIRST)
            return without(whole, *HOLE)

        assert lines(files(record(599, **right)), tmp_path / "right") == []
        assert len(lines(files(record(599, **right | changes)), tmp_path / "wrong")) == 1

    @pytest.mark.parametrize("value", [1, 255, -256, True, "512", 512.5, None])
    def test_a_minimum_index_inside_a_bundle_is_named(self, tmp_path, value):
        told = lines(sealed_again(without(tiles_log(entries_of(1000)), *HOLE), min_index=value), tmp_path)
        assert told[0].startswith("manifest.json: ")

    def test_changed_hashes_of_pruned_records_are_named(self, pruned, tmp_path):
        tile = bytearray(pruned["tiles"]["tile/0/000"])
        tile[40] ^= 1
        assert lines(pruned["tiles"] | {"tile/0/000": bytes(tile)}, tmp_path, vkeys=[pruned["vkey"]]) != []

    def test_a_removed_tile_of_pruned_records_is_named(self, pruned, tmp_path):
        assert "tile/0/001: the file is missing" in lines(without(pruned["tiles"], "tile/0/001"), tmp_path)

    def test_a_log_that_left_out_a_record_at_its_new_begin_is_found_by_the_numbers(self, tmp_path):
        entries = entries_of(600)
        late = numbered([*map(record, range(513)), record(513)])[513:]
        files = tiles_log([*entries[:512], *late, *numbered(map(record, range(600)))[514:]])
        told = lines(sealed_again(without(files, *HOLE), min_index=FIRST), tmp_path)
        begin = "numbers of 513 records are missing at its begin, but 512 records lie before it"
        assert told == [f"tile/entries/002.p/87: {begin}: more were removed"]

    def test_rows_that_are_missing_above_the_minimum_index_are_named(self, tmp_path):
        def kept(gone):
            return export(entries_of(1000), "jsonl", wanted=lambda at: at >= FIRST and at not in gone, min_index=FIRST)

        assert lines(kept(set()), tmp_path / "good") == []
        path = "parts/00002.jsonl"
        assert lines(kept({700}), tmp_path / "holey") == [
            f"{path}: records 700 to 700 are missing",
            f"{path}: entry 701 has number 701 of acme, not 700: a record is missing",
        ]
        assert lines(kept({766, 767}), tmp_path / "ended")[0] == f"{path}: records 766 to 767 are missing"


def test_a_zip_and_a_hole_in_it(pruned, tmp_path):
    folder = write(tmp_path / "log", pruned["tiles"].items())
    assert verify(tmp_path / shutil.make_archive(str(tmp_path / "log"), "zip", folder)).faults == []
