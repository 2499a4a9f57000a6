"""`guard verify` and verify.pyz, typed as an auditor types them: exit 0, or 7 with the fault by its name."""

import json
import subprocess
import sys

import pytest

from guard.audit import archive
from tests.audit.building import entries_of, write
from tests.audit.layouts import export, sealed_again, tiles_log
from tests.audit.test_verify_forks import head, successor
from tests.audit.test_verify_receipts import AFTER, log, promised
from tests.cli.processes import guard

GONE = "tile/entries/000"


def pruned(**changes):
    files = {name: data for name, data in tiles_log(entries_of(600)).items() if name != GONE}
    return sealed_again(files, **changes)


def cases():
    """Files, what is typed after their folder, the status, and what is said; `OLD` is a copy of a log of 300."""
    yield "pruned", pruned(min_index=256), [], 0, "pruned 256 records below min_index 256"
    yield "hole", pruned(), [], 7, f"FAULT {GONE}: the file is missing"
    yield "given", pruned(), ["--min-index", "256"], 0, "vouched for by manifest.note and --min-index"
    yield "follows", successor([head(300)]), ["--replaces", "OLD"], 0, "is the log that it replaced"
    yield "left", successor([head(280)]), ["--replaces", "OLD"], 7, "records 280 to 299 were left behind"
    yield "kept", log(), ["--receipt", promised(17)[0]], 0, "--receipt 1: kept: "
    yield "file", log(), ["--receipt", "@RECEIPTS"], 7, "FAULT --receipt 2: broken promise: "
    yield "early", log(), ["--receipt", promised(300, by=AFTER)[0]], 0, "--receipt 1: not yet due: "
    yield "forged", log(), ["--receipt", "AQ"], 7, "FAULT --receipt 1: forged: "
    yield "rows", export(entries_of(300), "parquet"), [], 0, "parts 2, rows 300"
    yield "none", log(), ["--receipt", "@nowhere"], 2, "Expected to read nowhere, got: No such file or directory; name"
    yield "no text", log(), ["--policy", "BYTES"], 2, "Expected UTF-8 in the files of --policy"
    yield "below", log(), ["--min-index", "-1"], 2, "--min-index"


CASES = list(cases())


@pytest.fixture
def typed(tmp_path):
    """The words of a case, with its folders and files made."""
    write(tmp_path / "old", tiles_log(entries_of(300)).items())
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    (tmp_path / "receipts.txt").write_text("\n".join(promised(17) + promised(300)))

    def made(files, words):
        names = {
            "BYTES": str(tmp_path / "bytes"),
            "OLD": str(tmp_path / "old"),
            "@RECEIPTS": f"@{tmp_path / 'receipts.txt'}",
        }
        return [str(write(tmp_path / "log", files.items())), *(names.get(word, word) for word in words)]

    return made


@pytest.mark.parametrize("case", CASES, ids=[case[0] for case in CASES])
def test_the_command_ends_with_its_status_and_says_why(typed, case):
    _, files, words, status, said = case
    done = guard("verify", *typed(files, words), "-o", "table")
    assert done.returncode == status, done.stderr.decode()
    assert said in (done.stdout + done.stderr).decode()


@pytest.mark.parametrize("case", CASES, ids=[case[0] for case in CASES])
def test_the_one_file_does_the_same(typed, tmp_path, case):
    _, files, words, status, said = case
    script = tmp_path / "verify.pyz"
    script.write_bytes(archive.verifier())
    command = [sys.executable, str(script), *typed(files, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, said in done.stdout + done.stderr) == (status, True), done.stdout + done.stderr


def test_json_has_the_verdicts_and_where_the_log_begins(typed):
    words = ["--receipt", promised(17)[0], "--receipt", promised(300)[0]]
    done = guard("verify", *typed(log(), words), "-o", "json")
    report = json.loads(done.stdout)
    assert (done.returncode, report["ok"]) == (7, False)
    assert [(one["verdict"], one["index"]) for one in report["receipts"]] == [("kept", 17), ("broken promise", None)]


def test_json_says_where_the_log_begins(typed):
    report = json.loads(guard("verify", *typed(pruned(min_index=256), []), "-o", "json").stdout)
    assert (report["ok"], report["min_index"], report["vouched"]) == (True, 256, ["manifest.note"])


def test_one_that_nobody_pruned_by_right_is_named(typed):
    files = {name: data for name, data in pruned(min_index=256).items() if name != "manifest.note"}
    content = json.loads(files["manifest.json"])
    plain = {name: content[name] for name in ("files", "min_index", "origin", "root", "size")}
    files["manifest.json"] = json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()
    done = guard("verify", *typed(files, []), "-o", "table")
    assert done.returncode == 7
    assert b"FAULT manifest.json: min_index 256 was expected to be vouched for" in done.stdout
