"""The verifier on exports: a signed manifest, parts without hole or overlap, and each row a leaf of the signed tree."""

import base64
import hashlib
import json
import sys
import zipfile

import pyarrow as pa
import pytest

from guard.audit.verifier.command import main, verify
from tests.audit import layouts
from tests.audit.building import (
    KEY,
    ORIGIN,
    STRANGER,
    VKEY,
    entries_of,
    files_of,
    numbered,
    record,
    signed,
    uuid,
    write,
)
from tests.audit.layouts import (
    ROWS,
    SUFFIXES,
    canonical,
    export,
    part_of,
    sealed_again,
    sha,
    signed_manifest,
    tiles_log,
)

FORMATS = (*ROWS, "csv", "parquet")


def lines(files, folder, **options):
    """What the verifier says of these files."""
    return [str(fault) for fault in verify(write(folder, files.items()), **options).faults]


def changed(files, **parts):
    """The files with other claims in their manifest, signed again."""
    return files | signed_manifest(json.loads(files["manifest.json"]) | parts)


def with_part(files, number, data, **claims):
    """The files with another part, and its hash and length in the manifest, signed again."""
    content = json.loads(files["manifest.json"])
    part = content["parts"][number]
    part |= {"sha256": sha(data), "bytes": len(data)} | claims
    return files | {part["path"]: data} | signed_manifest(content)


class TestGoodExports:
    @pytest.mark.parametrize("form", FORMATS)
    def test_every_row_of_a_format_is_checked(self, tmp_path, form):
        report = verify(write(tmp_path, export(entries_of(600), form).items()))
        assert report.faults == []
        assert (report.kind, report.size, report.unchecked) == ("export", 600, [])
        assert (report.counts["parts"], report.counts["rows"], report.counts["records"]) == (3, 600, 600)

    @pytest.mark.parametrize("form", FORMATS)
    def test_whatever_stands_in_a_record_its_exact_bytes_are_found(self, tmp_path, form):
        texts = [
            '","index":5,"leaf":"',
            'a=b|c\\d]"e',
            "\r\n\x00\x1b[2J",
            "\u2028\u2029\u202e\x85\x7f",
            "\\u2028",
            "\\\\",
            "=1+1",
        ]
        entries = numbered(record(number, data={"note": text}, node=text) for number, text in enumerate(texts))
        report = verify(write(tmp_path, export(entries, form).items()))
        assert (report.faults, report.counts["rows"]) == ([], len(texts))

    def test_parquet_without_pyarrow_says_what_is_not_looked_into(self, tmp_path, monkeypatch, capsys):
        monkeypatch.setitem(sys.modules, "pyarrow", None)
        folder = write(tmp_path, export(entries_of(300), "parquet").items())
        assert main([str(folder)]) == 0
        told = "not checked: parquet: rows are not looked into, pyarrow is not installed; parts, their SHA-256"
        assert told in capsys.readouterr().out
        assert verify(folder).counts["rows"] == 0

    def test_a_parquet_part_in_a_zip_is_read_too(self, tmp_path):
        with zipfile.ZipFile(tmp_path / "export.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in export(entries_of(300), "parquet").items():
                archive.writestr(name, data)
        report = verify(tmp_path / "export.zip")
        assert (report.faults, report.counts["rows"], report.unchecked) == ([], 300, [])

    def test_an_unknown_format_says_so(self, tmp_path):
        report = verify(write(tmp_path, changed(export(entries_of(3), "jsonl"), format="avro").items()))
        assert report.faults == []
        assert report.unchecked[0].startswith("avro: rows are not looked into, no reader for this format")

    @pytest.mark.parametrize("size", [0, 1, 255, 256, 257])
    def test_every_size(self, tmp_path, size):
        report = verify(write(tmp_path, export(entries_of(size), "jsonl").items()))
        assert (report.faults, report.counts["rows"]) == ([], size)

    def test_filtered_rows_still_recompute_the_root(self, tmp_path):
        files = export(entries_of(600), "jsonl", wanted=lambda at: at % 7 == 0, condition={"action": "fields.*"})
        report = verify(write(tmp_path, files.items()))
        assert (report.faults, report.counts["rows"], report.counts["records"]) == ([], 86, 0)

    def test_the_numbers_of_one_tenant_are_dense_in_its_export(self, tmp_path):
        records = [record(number, tenant="acme" if number % 3 else "other") for number in range(60)]
        entries = numbered(records)
        files = export(entries, "jsonl", wanted=lambda at: at % 3 == 0, condition={"tenant": "other"})
        report = verify(write(tmp_path / "good", files.items()))
        assert (report.faults, report.counts["records"], report.counts["tenants"]) == ([], 20, 1)
        holey = export(entries, "jsonl", wanted=lambda at: at % 3 == 0 and at != 30, condition={"tenant": "other"})
        assert lines(holey, tmp_path / "holey") == [
            "parts/00000.jsonl: entry 33 has number 11 of other, not 10: a record is missing"
        ]

    def test_pairs_of_a_whole_export_are_checked(self, tmp_path):
        steps = [("intent", None), ("outcome", 0), ("outcome", 0)]
        records = [
            record(at, phase=phase, intent=None if of is None else uuid(of)) for at, (phase, of) in enumerate(steps)
        ]
        assert "second outcome" in lines(export(numbered(records), "jsonl"), tmp_path)[0]

    def test_a_proof_and_an_earlier_checkpoint_may_lie_in_it(self, tmp_path):
        entries = entries_of(300)
        files = export(entries, "csv")
        whole = tiles_log(entries)
        more = {name: whole[name] for name in ("checkpoints/2", "proofs/1.tlog-proof", "vkey")}
        report = verify(write(tmp_path, (files | more).items()))
        assert (report.faults, report.counts["checkpoints"], report.counts["proofs"]) == ([], 1, 1)

    def test_a_zip_verifies_like_the_directory(self, tmp_path):
        files = export(entries_of(300), "jsonl")
        with zipfile.ZipFile(tmp_path / "export.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in files.items():
                archive.writestr(name, data)
        report = verify(tmp_path / "export.zip")
        assert (report.faults, report.counts["rows"]) == ([], 300)

    def test_an_earlier_checkpoint_convicts_a_rewritten_log(self, tmp_path):
        files = export(entries_of(300), "jsonl")
        leaves = [hashlib.sha256(b"\x00" + entry).digest() for entry in entries_of(2)]
        root = hashlib.sha256(b"\x01" + b"".join(leaves)).digest()
        assert lines(files, tmp_path / "a", since=signed(ORIGIN, 2, root)) == []
        told = lines(files, tmp_path / "b", since=signed(ORIGIN, 2, bytes(32)))
        assert told == ["--since: signs another root than the first 2 entries give: it is no earlier state of this log"]

    def test_yesterdays_export_is_smaller_than_what_was_seen(self, tmp_path):
        seen = tiles_log(entries_of(301))["checkpoint"]
        told = lines(export(entries_of(300), "jsonl"), tmp_path, since=seen)
        assert told == ["--since: a checkpoint of this log up to size 300 was expected, not 301"]


class TestParts:
    def test_a_removed_part_is_named(self, tmp_path):
        files = export(entries_of(600), "jsonl")
        del files["parts/00001.jsonl"]
        told = lines(files, tmp_path)
        assert "parts/00001.jsonl: the file is missing" in told

    def test_a_part_that_nobody_lists_is_named(self, tmp_path):
        files = export(entries_of(300), "jsonl") | {"parts/00009.jsonl": b""}
        assert lines(files, tmp_path) == [
            "parts/00009.jsonl: is no file of a log of size 300, and no manifest vouches for it"
        ]

    @pytest.mark.parametrize("form", FORMATS)
    def test_a_changed_part_is_named(self, tmp_path, form):
        files = export(entries_of(300), form)
        path = f"parts/00001.{SUFFIXES[form]}"
        files[path] = files[path][:-4] + b"x" + files[path][-3:]
        assert f"{path}: {len(files[path])} bytes with SHA-256" in lines(files, tmp_path)[0]

    @pytest.mark.parametrize(
        ("first", "told"),
        [
            (255, "manifest.json: records 255 to 255 stand in two parts"),
            (257, "manifest.json: records 256 to 256 are in no part"),
        ],
    )
    def test_a_hole_and_an_overlap_are_named_with_their_bounds(self, tmp_path, first, told):
        files = export(entries_of(600), "jsonl")
        parts = json.loads(files["manifest.json"])["parts"]
        parts[1]["first"] = first
        assert told in lines(changed(files, parts=parts), tmp_path)

    def test_parts_that_end_early_are_named(self, tmp_path):
        files = export(entries_of(600), "jsonl")
        content = json.loads(files["manifest.json"])
        files = changed(files, parts=content["parts"][:2], matched=512)
        del files["parts/00002.jsonl"]
        assert lines(files, tmp_path) == ["manifest.json: records 512 to 599 are in no part"]

    def test_a_sum_that_does_not_fit_is_named(self, tmp_path):
        files = export(entries_of(300), "jsonl", wanted=lambda at: at < 9, condition={"last": 9})
        assert lines(changed(files, matched=8), tmp_path) == [
            "manifest.json: 9 records stand in its parts, and it says another number"
        ]

    def test_a_part_twice_is_named(self, tmp_path):
        files = export(entries_of(600), "jsonl")
        parts = json.loads(files["manifest.json"])["parts"]
        parts[1] = parts[0] | {"first": 256, "last": 512}
        del files["parts/00001.jsonl"]
        told = lines(changed(files, parts=parts), tmp_path)
        assert "manifest.json: a part stands there twice" in told

    @pytest.mark.parametrize(
        "parts",
        [
            {},
            [1],
            [{"path": "parts/00000.jsonl"}],
            [dict.fromkeys(("path", "first", "last", "matched", "sha256", "bytes"), "x")],
            [{"path": "../x", "first": 0, "last": 3, "matched": 3, "sha256": "", "bytes": 1}],
            [{"path": "checkpoint", "first": 0, "last": 3, "matched": 3, "sha256": "", "bytes": 1}],
            [{"path": "parts/00000.jsonl", "first": -1, "last": 3, "matched": 3, "sha256": "", "bytes": 1}],
            [{"path": "parts/00000.jsonl", "first": True, "last": 3, "matched": 3, "sha256": "", "bytes": 1}],
        ],
    )
    def test_a_list_of_parts_of_another_form_is_named(self, tmp_path, parts):
        told = lines(changed(export(entries_of(3), "jsonl"), parts=parts), tmp_path)
        assert told[0].startswith("manifest.json: a list of parts, each with path, first")

    def test_a_range_that_goes_beyond_the_log_is_named(self, tmp_path):
        files = export(entries_of(3), "jsonl")
        parts = json.loads(files["manifest.json"])["parts"]
        parts[0]["last"] = 5
        told = lines(changed(files, parts=parts), tmp_path)
        assert told == ["manifest.json: parts/00000.jsonl claims what is not there: its range is wrong"]


class TestRows:
    """Parts that were changed and signed again: what the key alone can do, and the tree still refuses."""

    entries = entries_of(300)

    def rewritten(self, rows, form="jsonl", **claims):
        return with_part(export(self.entries, form), 0, part_of(form, rows), **claims)

    @pytest.mark.parametrize("form", FORMATS)
    def test_a_changed_entry_is_named_with_its_index(self, tmp_path, form):
        rows = [(at, self.entries[at].replace(b"n1.7", b"n9.9") if at == 17 else self.entries[at]) for at in range(256)]
        told = lines(self.rewritten(rows, form), tmp_path)
        path = f"parts/00000.{SUFFIXES[form]}"
        assert told == [
            f"{path}: entry 17 does not match its leaf hash: one of the two was changed",
            f"{path}: row of record 17 names another leaf hash than the tree has",
        ]

    @pytest.mark.parametrize("form", FORMATS)
    def test_a_missing_record_is_a_hole_with_its_bounds(self, tmp_path, form):
        rows = [(at, self.entries[at]) for at in range(256) if at not in {40, 41}]
        told = lines(self.rewritten(rows, form, matched=254), tmp_path)
        path = f"parts/00000.{SUFFIXES[form]}"
        assert "manifest.json: 298 records stand in its parts, and it says another number" in told
        assert f"{path}: records 40 to 41 are missing" in told

    def test_a_missing_record_that_the_counts_hide_is_found_by_the_rows(self, tmp_path):
        rows = [(at, self.entries[at]) for at in range(256) if at != 40]
        assert "parts/00000.jsonl: 256 rows were expected, 255 came" in lines(self.rewritten(rows), tmp_path)

    def test_rows_out_of_order_or_twice_are_named(self, tmp_path):
        rows = [(at, self.entries[at]) for at in (*range(5), 4, *range(6, 256))]
        assert "parts/00000.jsonl: row 6 is of record 4, out of order or of its part" in lines(
            self.rewritten(rows), tmp_path
        )

    def test_a_row_of_another_part_is_named(self, tmp_path):
        rows = [*((at, self.entries[at]) for at in range(255)), (256, self.entries[256])]
        assert "parts/00000.jsonl: row 256 is of record 256, out of order or of its part" in lines(
            self.rewritten(rows), tmp_path
        )

    def test_a_row_that_names_another_leaf_is_named(self, tmp_path):
        data = export(self.entries, "jsonl")["parts/00000.jsonl"]
        leaf = base64.b64encode(hashlib.sha256(b"\x00" + self.entries[3]).digest())
        data = data.replace(leaf, base64.b64encode(bytes(32)))
        assert lines(with_part(export(self.entries, "jsonl"), 0, data), tmp_path) == [
            "parts/00000.jsonl: row of record 3 names another leaf hash than the tree has"
        ]

    @pytest.mark.parametrize(
        ("form", "spoil"),
        [
            ("jsonl", lambda data: data.replace(b'"index":3,', b'"index":03,')),
            ("jsonl", lambda data: data.replace(b'{"entry"', b'{ "entry"', 1)),
            ("jsonl", lambda data: data[:-1]),
            ("jsonl", lambda data: data + b"\n"),
            ("jsonl", lambda data: b"\xff" * (1 << 21)),
            ("rfc5424", lambda data: data.replace(b"idx=", b"id=")),
            ("ocsf", lambda data: data.replace(b"unmapped", b"mapped")),
            ("ocsf", lambda data: b"[" * 100_000 + b"\n"),
            ("ocsf", lambda data: b"7\n" + data),
            ("cef", lambda data: data.replace(b"CEF:0", b"CEF:1")),
            ("csv", lambda data: data.replace(b"index,", b"indexes,")),
            ("csv", lambda data: data.replace(b"0,0,", b"zero,0,", 1)),
            ("csv", lambda data: b""),
            ("csv", lambda data: data + b'7,"'),
            ("parquet", lambda data: data[4:]),
            ("parquet", lambda data: data[:-9]),
            ("parquet", lambda data: b""),
            ("parquet", lambda data: b"PAR1" * 100),
            ("parquet", lambda data: data[:40] + bytes(200) + data[240:]),
            ("parquet", lambda data: layouts._parquet([], leaf=None)),
            ("parquet", lambda data: layouts._parquet([(0, b"x", base64.b64encode(bytes(32)))], index=pa.int32())),
        ],
    )
    def test_a_part_of_another_form_is_named(self, tmp_path, form, spoil):
        files = export(self.entries, form)
        path = f"parts/00000.{SUFFIXES[form]}"
        told = lines(with_part(files, 0, spoil(files[path])), tmp_path)
        assert any(line.startswith(f"{path}: ") for line in told)


class TestTiles:
    def test_a_tile_that_was_changed_is_named_through_root_and_row(self, tmp_path):
        files = export(entries_of(300), "jsonl")
        tile = bytearray(files["tile/0/001.p/44"])
        tile[3 * 32] ^= 1
        told = lines(files | {"tile/0/001.p/44": bytes(tile)}, tmp_path)
        assert "checkpoint: the leaf hashes give another root: some were replaced or cut" in told
        assert any("259" in line for line in told)

    def test_a_removed_tile_is_named(self, tmp_path):
        files = export(entries_of(300), "jsonl", wanted=lambda at: False, condition={"actor": "nobody"})
        del files["tile/0/000"]
        assert {"tile/0/000: the file is missing"} <= set(lines(files, tmp_path))

    @pytest.mark.parametrize("name", ["tile/1/000.p/1", "tile/entries/000", "tile/0/002", "records"])
    def test_what_has_no_place_in_an_export_is_named(self, tmp_path, name):
        told = lines(export(entries_of(300), "jsonl") | {name: b"x"}, tmp_path)
        assert told == [f"{name}: is no file of a log of size 300, and no manifest vouches for it"]


class TestSignedManifest:
    def test_a_tiles_directory_with_vkey_and_note_verifies(self, tmp_path):
        report = verify(write(tmp_path, tiles_log(entries_of(300)).items()), vkeys=[VKEY.encode()])
        assert report.faults == []
        assert (report.kind, report.counts["records"], report.counts["proofs"]) == ("log", 300, 1)

    @pytest.mark.parametrize("make", [tiles_log, lambda entries: export(entries, "jsonl")])
    def test_without_its_note_a_manifest_of_version_1_counts_nothing(self, tmp_path, make):
        files = make(entries_of(3))
        del files["manifest.note"]
        assert lines(files, tmp_path) == ["manifest.note: the file is missing"]

    @pytest.mark.parametrize("make", [tiles_log, lambda entries: export(entries, "jsonl")])
    def test_a_stranger_cannot_sign_it(self, tmp_path, make):
        files = make(entries_of(3))
        files |= signed_manifest(json.loads(files["manifest.json"]), key=STRANGER)
        assert lines(files, tmp_path)[0].startswith("manifest.note: a signature is by the unknown key")

    def test_it_must_be_signed_by_the_key_that_was_given(self, tmp_path):
        files = tiles_log(entries_of(3))
        other = type(VKEY)(ORIGIN, VKEY.kind, STRANGER.public_key().public_bytes_raw())
        files["policy.txt"] += b""
        files["policy.txt"] = f"log {VKEY.encode()}\nlog {other.encode()}\nquorum none\n".encode()
        content = json.loads(files["manifest.json"])
        content["files"]["policy.txt"] = sha(files["policy.txt"])
        files |= signed_manifest(content, key=STRANGER)
        assert lines(files, tmp_path / "a") == []
        assert lines(files, tmp_path / "b", vkeys=[VKEY.encode()]) == [
            f"manifest.note: a signature by a known key of {ORIGIN} over this manifest was expected, none came"
        ]

    def test_a_note_over_another_manifest_is_named(self, tmp_path):
        files = tiles_log(entries_of(3))
        other = signed_manifest(json.loads(files["manifest.json"]) | {"purpose": "another"})
        assert lines(files | {"manifest.note": other["manifest.note"]}, tmp_path) == [
            "manifest.json: is not what manifest.note signs: one of the two was changed"
        ]

    def test_a_note_of_another_log_is_named(self, tmp_path):
        files = tiles_log(entries_of(3))
        other = signed_manifest(json.loads(files["manifest.json"]), origin="guard.example/guard/other")
        assert [line.partition(":")[0] for line in lines(files | other, tmp_path)] == ["manifest.note"]

    @pytest.mark.parametrize(
        "claims", [{"size": 4}, {"root": "A" * 43 + "="}, {"origin": "other"}, {"v": 2}, {"v": True}]
    )
    def test_it_must_speak_of_this_head(self, tmp_path, claims):
        files = sealed_again(tiles_log(entries_of(3)), **claims)
        assert lines(files, tmp_path) == ["manifest.json: origin, root and size are not those of the checkpoint"]

    @pytest.mark.parametrize(
        "note",
        [b"", b"\xff", b"x\n", b"guard/manifest/v2\n", "guard/manifest/v1\na\nb\n\n— a b\n".encode()],
    )
    def test_a_note_of_another_form_is_named(self, tmp_path, note):
        told = lines(tiles_log(entries_of(3)) | {"manifest.note": note}, tmp_path)
        assert [line.partition(":")[0] for line in told] == ["manifest.note"]

    @pytest.mark.parametrize(
        "text",
        ["", "x", VKEY.encode() + "\n\n", VKEY.encode() + "\n" + VKEY.encode() + "\n", VKEY.encode()[:-4] + "AAAA"],
    )
    def test_a_vkey_that_is_none_of_the_log_is_named(self, tmp_path, text):
        told = lines(tiles_log(entries_of(3)) | {"vkey": text.encode()}, tmp_path)
        assert [line.partition(":")[0] for line in told] == ["vkey"]

    def test_a_well_formed_vkey_of_a_stranger_is_named(self, tmp_path):
        other = type(VKEY)(ORIGIN, VKEY.kind, STRANGER.public_key().public_bytes_raw())
        told = lines(tiles_log(entries_of(3)) | {"vkey": other.encode().encode()}, tmp_path)
        assert told == ["vkey: a key of the log that policy.txt names was expected"]


class TestEveryByte:
    @pytest.mark.parametrize("form", ["jsonl", "csv", "rfc5424", "cef", "ocsf", "parquet", "tiles"])
    def test_one_flipped_bit_in_any_byte_of_any_file_is_found(self, tmp_path, form):
        entries = entries_of(2) if form == "tiles" else entries_of(3)
        files = tiles_log(entries_of(3)) if form == "tiles" else export(entries, form)
        folder = write(tmp_path / "log", files.items())
        assert verify(folder).faults == []
        missed, flips = [], 0
        for place in files_of(folder):
            good = place.read_bytes()
            for at in range(0, len(good), 1 if len(good) < 900 else 3):
                data = bytearray(good)
                data[at] ^= 1 << (at * 5 % 8)
                place.write_bytes(data)
                if not verify(folder).faults:
                    missed.append((place.name, at))
                flips += 1
            place.write_bytes(good)
        assert missed == []
        assert flips > 1000

    @pytest.mark.parametrize("form", ["jsonl", "parquet", "tiles"])
    def test_every_missing_truncated_and_lengthened_file_is_named(self, tmp_path, form):
        files = tiles_log(entries_of(300)) if form == "tiles" else export(entries_of(300), form)
        folder = write(tmp_path / "log", files.items())
        for place in files_of(folder):
            name, good = place.relative_to(folder).as_posix(), place.read_bytes()
            for data in (good[:-1], good + b"\n", b""):
                place.write_bytes(data)
                # A key with a newline less or a checkpoint's own form may be named through the manifest.
                found = {fault.path for fault in verify(folder).faults}
                assert name in found or (name == "vkey" and data == good[:-1]), (name, data[-9:])
            place.unlink()
            assert verify(folder).faults or name == "vkey" or name.startswith(("checkpoints/", "proofs/"))
            place.write_bytes(good)
        assert verify(folder).faults == []


def test_canonical_writes_what_the_verifier_reads():
    assert canonical({"b": 1, "a": "ü"}) == '{"a":"ü","b":1}'.encode()
    assert KEY.public_key().public_bytes_raw() == VKEY.public
