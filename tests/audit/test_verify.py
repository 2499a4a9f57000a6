"""The offline verifier as a person uses it: alone in an empty directory, with a path, and one look at the answer."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import cryptography
import pytest

from guard.audit import archive, verifier
from guard.audit.verifier.command import main, verify
from guard.audit.verifier.report import Fault, Report, Unusable
from tests.audit.building import (
    ORIGIN,
    PQ_VKEY,
    STRANGER,
    VKEY,
    Plan,
    copied,
    entries_of,
    files_of,
    numbered,
    record,
    uuid,
    write,
    zipped,
)

SOURCES = Path(verifier.__file__).parent
PATH_OF_VENV = {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.defpath])}
COUNTS = {
    "records": 600,
    "tenants": 1,
    "open_intents": 0,
    "checkpoints": 6,
    "proofs": 4,
    "manifest": 1,
    "since": 0,
    "parts": 0,
    "rows": 0,
    "cosignatures": 0,
    "openings": 0,
    "stamps": 0,
    "pruned": 0,
}


def run_alone(script, *arguments):
    """Run the file without site packages' user part, without this repository, and without its folder on the path."""
    command = [sys.executable, "-I", str(script), *map(str, arguments)]
    return subprocess.run(command, cwd=script.parent, capture_output=True, text=True, check=False, timeout=60)


def modules_of_a_run(script, log):
    """Names of all modules that one run imports, where only the package cryptography was put on the path."""
    code = (
        "import json, runpy, sys\n"
        "sys.path.append(sys.argv.pop(1)); sys.argv.pop(0)\n"
        "try: import guard.audit\n"
        "except ImportError: pass\n"
        "else: sys.exit('guard is on the path')\n"
        "before = set(sys.modules)\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit as end: assert end.code == 0, end\n"
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    packages = Path(cryptography.__file__).parents[1]
    command = [sys.executable, "-I", "-S", "-c", code, str(packages), str(script), str(log)]
    done = subprocess.run(command, cwd=script.parent, capture_output=True, text=True, check=True, timeout=60)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def alone(tmp_path):
    """The verifier's one file alone in an empty directory."""
    path = tmp_path / "alone/verify.pyz"
    path.parent.mkdir()
    path.write_bytes(archive.verifier())
    return path


class TestGoodLogs:
    @pytest.mark.parametrize("size", [0, 1, 2, 255, 256, 257, 511, 512, 513])
    def test_every_size_verifies(self, tmp_path, size):
        sizes = [one for one in (0, 1, 2, 256, 257) if one < size]
        proofs = sorted({0, size // 2, size - 1}) if size else []
        folder = write(tmp_path, Plan(entries_of(size), older=sizes, proofs=proofs).parts())
        report = verify(folder)
        assert report.faults == []
        assert (report.origin, report.size) == (ORIGIN, size)
        assert report.counts["records"] == size
        assert report.counts["checkpoints"] == len(sizes)
        assert report.counts["proofs"] == len(proofs)

    def test_both_kinds_of_signature_count(self, middle_log):
        report = verify(middle_log)
        assert report.faults == []
        assert report.counts == COUNTS
        assert report.signers == [f"{ORIGIN}+{key.key_id.hex()}" for key in (VKEY, PQ_VKEY)]
        for key in (VKEY, PQ_VKEY):
            assert verify(middle_log, vkeys=[key.encode()]).faults == []

    def test_without_a_manifest_it_verifies_and_says_what_that_means(self, tmp_path, middle_log, capsys):
        folder = copied(middle_log, tmp_path / "log")
        (folder / "manifest.json").unlink()
        assert main([str(folder)]) == 0
        assert "no manifest.json: a removed proof" in capsys.readouterr().out

    def test_accompanying_files_in_the_manifest_are_part_of_the_log(self, small_log):
        assert verify(small_log).faults == []
        assert (small_log / "README").is_file()

    def test_many_tenants_and_intents(self, tmp_path):
        records = []
        for number in range(60):
            tenant = f"租户{number % 5}"
            if number % 6 == 4:
                records.append(record(number, tenant=tenant, phase="intent"))
            elif number % 6 == 5:
                records.append(record(number, tenant=tenant, phase="outcome", intent=uuid(number - 1)))
            else:
                records.append(record(number, tenant=tenant, data={"note": "a\nb\u2028\x00", "list": [1, {"a": None}]}))
        report = verify(write(tmp_path, Plan(numbered(records)).parts()))
        assert report.faults == []
        assert (report.counts["tenants"], report.counts["open_intents"]) == (5, 0)

    def test_an_intent_without_outcome_is_open_and_no_fault(self, tmp_path):
        entries = numbered([record(0, phase="intent"), record(1)])
        report = verify(write(tmp_path, Plan(entries).parts()))
        assert (report.faults, report.counts["open_intents"]) == ([], 1)

    def test_progress_is_told_in_entries(self, middle_log):
        seen = []
        verify(middle_log, progress=lambda done, size: seen.append((done, size)))
        assert seen == [(256, 600), (512, 600), (600, 600)]


class TestAlone:
    def test_it_runs_in_an_empty_directory_without_guard(self, alone, middle_log):
        assert [item.name for item in alone.parent.iterdir()] == ["verify.pyz"]
        done = run_alone(alone, middle_log)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.splitlines()[-1] == "verified"

    def test_it_runs_where_no_guard_is_installed_and_needs_only_cryptography(self, alone, middle_log):
        found = modules_of_a_run(alone, middle_log)
        assert "verifier.command" in found
        tops = {name.partition(".")[0] for name in found} - set(sys.stdlib_module_names)
        assert tops <= {"verifier", "cryptography", "_cffi_backend", "_openssl"}

    def test_the_file_is_the_same_whenever_it_is_made_and_readable_as_it_is(self, alone):
        content = alone.read_bytes()
        assert content == archive.verifier()
        with zipfile.ZipFile(alone) as packed:
            assert packed.namelist() == sorted(packed.namelist())
            assert {member.date_time for member in packed.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        for source in SOURCES.glob("*.py"):
            assert source.stem == "__main__" or source.read_bytes() in content

    def test_it_can_be_run_by_its_own_name(self, alone, middle_log):
        alone.chmod(0o755)
        done = subprocess.run(
            [alone, middle_log], capture_output=True, text=True, check=False, timeout=60, env=PATH_OF_VENV
        )
        assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "verified")

    def test_the_package_is_a_program_too(self, middle_log):
        command = [sys.executable, "-m", "guard.audit.verifier", str(middle_log)]
        done = subprocess.run(command, cwd=SOURCES.parents[2], capture_output=True, text=True, check=False, timeout=60)
        assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "verified")

    def test_a_damaged_log_ends_with_7_and_names_file_and_index(self, alone, tmp_path, middle_log):
        folder = copied(middle_log, tmp_path / "log")
        place = folder / "tile/entries/002.p/88"
        data = place.read_bytes()
        place.write_bytes(data.replace(b'"n":533}', b'"n":534}'))
        done = run_alone(alone, folder)
        expected = (
            "FAULT tile/entries/002.p/88: entry 533 does not match its leaf hash in tile/0/002.p/88: "
            "the entry was changed after it was logged"
        )
        assert done.returncode == 7
        assert expected in done.stdout.splitlines()
        assert done.stdout.splitlines()[-1].startswith("NOT VERIFIED: ")

    @pytest.mark.parametrize("arguments", [[], ["a", "b"], ["--since"], ["--unknown", "a"]])
    def test_wrong_usage_ends_with_2(self, alone, arguments):
        done = run_alone(alone, *arguments)
        assert done.returncode == 2
        assert "usage:" in done.stderr

    def test_a_path_that_is_not_there_ends_with_2_and_one_plain_sentence(self, alone):
        done = run_alone(alone, "/no/such/log")
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == (
            "verify: Expected a log directory or a zip of one at /no/such/log, and well-formed keys: there is nothing.\n"
        )

    def test_no_progress_is_drawn_where_nobody_looks(self, alone, middle_log):
        assert run_alone(alone, middle_log).stderr == ""


class TestAnswers:
    def test_the_text_says_what_was_checked(self, middle_log, capsys):
        assert main([str(middle_log)]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].startswith(f"log {ORIGIN}, size 600, root ")
        assert lines[1] == ("records 600, tenants 1, open intents 0, checkpoints 6, proofs 4, manifest 1, since 0")
        assert lines[2].startswith(f"signed by {ORIGIN}+d200cf3d, {ORIGIN}+")
        assert lines[2].endswith("known by the key in policy.txt: compare it with the one you hold, or pass --vkey")
        assert lines[3:] == ["verified"]

    def test_the_text_says_when_the_key_was_given(self, middle_log, capsys):
        assert main([str(middle_log), "--vkey", VKEY.encode()]) == 0
        assert "known by the given key" in capsys.readouterr().out

    def test_json_says_the_same(self, middle_log, capsys):
        assert main([str(middle_log), "--json"]) == 0
        answer = json.loads(capsys.readouterr().out)
        assert answer["ok"] is True
        assert answer["faults"] == []
        assert answer["counts"] == COUNTS
        assert (answer["origin"], answer["size"], answer["path"]) == (ORIGIN, 600, str(middle_log))

    def test_json_lists_each_fault(self, tmp_path, middle_log, capsys):
        folder = copied(middle_log, tmp_path / "log")
        (folder / "tile/0/001").unlink()
        assert main([str(folder), "--json"]) == 7
        answer = json.loads(capsys.readouterr().out)
        assert answer["ok"] is False
        assert answer["faults"] == [{"path": "tile/0/001", "detail": "the file is missing", "at": None}]

    def test_a_fault_is_one_printable_line_whatever_its_name(self):
        fault = Fault("proofs/\x1b[2J\nverified\u202e", "detail\r\n")
        assert str(fault) == "proofs/\\x1b[2J\\nverified\\u202e: detail\\r\\n"

    def test_a_report_ends_after_a_thousand_faults_and_notes_none_twice(self):
        report = Report("log")
        for number in range(1500):
            report.add("a", f"fault {number}")
            report.add("a", "fault 0")
        assert len(report.faults) == 1000
        assert len(set(report.faults)) == 1000


class TestPaths:
    def test_a_file_that_is_no_zip(self, tmp_path, capsys):
        path = tmp_path / "log.tar"
        path.write_bytes(b"not a zip")
        assert main([str(path)]) == 2
        assert "Expected a log directory or a zip of one" in capsys.readouterr().err

    def test_an_empty_directory_has_no_checkpoint(self, tmp_path):
        report = verify(tmp_path)
        assert [str(fault) for fault in report.faults] == [
            "policy.txt: the file is missing",
            "checkpoint: the file is missing",
        ]

    @pytest.mark.parametrize("vkey", ["", "a+b+c", VKEY.encode()[:-1], VKEY.encode().replace("d200", "d201")])
    def test_a_malformed_key_is_refused_before_anything_is_read(self, middle_log, vkey):
        with pytest.raises(Unusable, match="well-formed keys"):
            verify(middle_log, vkeys=[vkey])

    def test_a_since_that_is_not_there(self, middle_log, capsys):
        assert main([str(middle_log), "--since", "/no/such/checkpoint"]) == 2
        assert "No such file" in capsys.readouterr().err


class TestKeys:
    def test_a_log_rewritten_under_another_key_is_found_by_who_holds_the_key(self, tmp_path):
        other = type(VKEY)(ORIGIN, VKEY.kind, STRANGER.public_key().public_bytes_raw())
        folder = write(tmp_path, Plan(entries_of(3), key=STRANGER, vkeys=(other,)).parts())
        assert verify(folder).faults == []
        faults = verify(folder, vkeys=[VKEY.encode()]).faults
        assert faults == [Fault("checkpoint", "a signature by the given key was expected, none came")]

    def test_a_policy_of_another_key_does_not_know_the_signature(self, tmp_path):
        other = type(VKEY)(ORIGIN, VKEY.kind, STRANGER.public_key().public_bytes_raw())
        folder = write(tmp_path, Plan(entries_of(3), vkeys=(other,)).parts())
        assert [fault.path for fault in verify(folder).faults] == ["checkpoint"]
        assert verify(folder, vkeys=[VKEY.encode()]).faults == []

    def test_a_key_under_another_name_than_the_origin_does_not_count(self, tmp_path):
        named = type(VKEY)("guard.example/other", VKEY.kind, VKEY.public)
        folder = write(tmp_path, Plan(entries_of(3), vkeys=(named,)).parts())
        assert [fault.path for fault in verify(folder).faults] == ["checkpoint"]


class TestZip:
    @pytest.mark.parametrize("top", ["", "log/", "evidence-7/"])
    def test_the_zip_of_a_log_verifies_like_the_log(self, tmp_path, middle_log, top):
        path = zipped(middle_log, tmp_path / "log.zip", top=top)
        report = verify(path)
        assert report.faults == []
        assert report.counts == COUNTS

    def test_a_zip_with_a_changed_file_names_it(self, tmp_path, middle_log):
        folder = copied(middle_log, tmp_path / "log")
        place = folder / "tile/entries/001"
        place.write_bytes(place.read_bytes().replace(b"roles.csv:12", b"roles.csv:13", 1))
        faults = verify(zipped(folder, tmp_path / "log.zip")).faults
        assert ("tile/entries/001", 256) in {(fault.path, fault.at) for fault in faults}

    def test_a_name_that_is_there_twice_is_refused(self, tmp_path, small_log):
        path = zipped(small_log, tmp_path / "log.zip")
        with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("checkpoint", b"another")
        with pytest.raises(Unusable, match="twice"):
            verify(path)

    @pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
    def test_other_packing_is_refused(self, tmp_path, small_log, method):
        path = tmp_path / "log.zip"
        with zipfile.ZipFile(path, "w", method) as archive:
            archive.write(small_log / "checkpoint", "checkpoint")
        with pytest.raises(Unusable, match="neither stored nor deflated"):
            verify(path)

    def test_a_member_that_unpacks_to_too_much_is_not_unpacked(self, tmp_path, small_log):
        path = zipped(small_log, tmp_path / "log.zip")
        with zipfile.ZipFile(path) as archive:
            content = {name: archive.read(name) for name in archive.namelist()}
        content["tile/entries/000.p/3"] = bytes(20_000_000)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in content.items():
                archive.writestr(name, data)
        faults = [fault for fault in verify(path).faults if fault.path == "tile/entries/000.p/3"]
        assert [fault.detail for fault in faults] == ["at most 16777472 bytes were expected, more came"]

    def test_folders_and_paths_in_a_zip_lead_nowhere(self, tmp_path, small_log):
        path = zipped(small_log, tmp_path / "log.zip")
        with zipfile.ZipFile(path, "a") as archive:
            archive.mkdir("tile/empty")
            archive.writestr("../../outside", b"x")
        faults = verify(path).faults
        assert [fault.path for fault in faults] == ["../../outside"]
        assert not (tmp_path.parent / "outside").exists()

    def test_damaged_zips_never_end_in_a_traceback(self, tmp_path, small_log):
        good = zipped(small_log, tmp_path / "good.zip").read_bytes()
        path = tmp_path / "bad.zip"
        answers = set()
        for at in range(0, len(good), 7):
            data = bytearray(good)
            data[at] ^= 1 << (at % 8)
            path.write_bytes(data if at % 5 else data[:at])
            answers.add(main([str(path)]))
        assert answers == {0, 2, 7}  # 0 where only a time or an attribute of a member was hit

    def test_a_zip_that_still_verifies_has_the_same_content(self, tmp_path, small_log):
        good = zipped(small_log, tmp_path / "good.zip").read_bytes()
        expected = {place.relative_to(small_log).as_posix(): place.read_bytes() for place in files_of(small_log)}
        path = tmp_path / "bad.zip"
        for at in range(3, len(good), 11):
            data = bytearray(good)
            data[at] ^= 0x10
            path.write_bytes(data)
            if main([str(path)]) == 0:
                with zipfile.ZipFile(path) as archive:
                    assert {name: archive.read(name) for name in archive.namelist()} == expected


class TestSince:
    @pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 512])
    def test_only_what_is_new_is_read_again(self, middle_log, size):
        since = (middle_log / f"checkpoints/{size}").read_bytes()
        report = verify(middle_log, since=since)
        assert report.faults == []
        assert report.counts["since"] == size
        assert report.counts["records"] == 600 - size // 256 * 256

    def test_the_checkpoint_itself_leaves_the_last_bundle(self, middle_log):
        report = verify(middle_log, since=(middle_log / "checkpoint").read_bytes())
        assert (report.faults, report.counts["records"]) == ([], 88)

    def test_a_log_smaller_than_before_was_cut(self, tmp_path, middle_log):
        folder = write(tmp_path, Plan(entries_of(300), pq=True, vkeys=(VKEY, PQ_VKEY)).parts())
        faults = verify(folder, since=(middle_log / "checkpoint").read_bytes()).faults
        assert [str(fault) for fault in faults] == [
            "--since: a checkpoint of this log up to size 300 was expected, not 600"
        ]

    @pytest.mark.parametrize("size", [1, 256, 257, 512])
    def test_a_rewritten_past_is_no_extension(self, tmp_path, middle_log, size):
        records = [record(number, node="other") if number == 0 else record(number) for number in range(600)]
        folder = write(tmp_path, Plan(numbered(records), pq=True, vkeys=(VKEY, PQ_VKEY)).parts())
        assert verify(folder).faults == []
        faults = verify(folder, since=(middle_log / f"checkpoints/{size}").read_bytes()).faults
        assert [fault.path for fault in faults] == ["--since"]
        assert "no earlier state of this log" in faults[0].detail

    @pytest.mark.parametrize("data", [b"?", b"\xff", b"a\n0\n"])
    def test_a_since_that_is_no_checkpoint_is_a_fault(self, middle_log, data):
        assert [fault.path for fault in verify(middle_log, since=data).faults] == ["--since"]

    def test_an_empty_since_file_is_no_checkpoint(self, tmp_path, middle_log, capsys):
        empty = tmp_path / "empty"
        empty.touch()
        assert main([str(middle_log), "--since", str(empty)]) == 7
        assert "--since" in capsys.readouterr().out

    def test_a_tile_before_it_still_carries_the_tree(self, tmp_path, middle_log):
        folder = copied(middle_log, tmp_path / "log")
        place = folder / "tile/1/000.p/2"
        data = bytearray(place.read_bytes())
        data[0] ^= 1
        place.write_bytes(data)
        faults = verify(folder, since=(folder / "checkpoints/512").read_bytes()).faults
        assert "checkpoint" in {fault.path for fault in faults}
