"""`guard audit export` against a running server: every format, filters, interruption and damage on the way."""

import csv
import json
from hashlib import sha256

import pytest

from guard.cli import audit_export
from guard.client import transfer
from guard.client.transfer import fetch
from guard.errors import InvalidInput, NotFound, Unreachable, VerificationFailed
from tests.audit.exporting import check
from tests.cli.conftest import until
from tests.cli.processes import Server


@pytest.fixture(scope="module")
def vkey(dev):
    with dev.client("admin") as admin:
        return admin.checkpoints.publish()["vkey"]


@pytest.mark.parametrize("name", ["tiles", "jsonl", "csv", "parquet", "ocsf", "cef"])
def test_every_format_arrives_whole_and_its_manifest_holds(dev, vkey, tmp_path, name):
    folder = tmp_path / "out"
    told = dev.json("audit", "export", "--format", name, "--out", str(folder), "--purpose", "a look", "--as", "admin")
    found = check(folder, vkey)
    assert (found["format"], found["purpose"], found["export"]) == (name, "a look", told["id"])
    assert (told["state"], told["directory"]) == ("ready", str(folder))
    assert sha256((folder / "manifest.json").read_bytes()).hexdigest() == told["manifest"]
    assert not [path for path in folder.rglob("*") if path.name.startswith(".guard") or path.name.endswith(".partial")]
    if name == "tiles":
        assert (folder / "vkey").read_text() == vkey + "\n"
        assert dev.json("verify", str(folder), "--vkey", vkey)["faults"] == []


def test_a_filter_is_typed_as_options(dev, vkey, tmp_path):
    options = [
        "--action",
        "actors.*",
        "--tenant",
        "dev",
        "--outcome",
        "ok",
        "--from",
        "2020-01-01",
        "--to",
        "2200-01-01T00:00:00Z",
    ]
    told = dev.json(
        "audit", "export", str(tmp_path / "a"), "--format", "csv", *options, "--first", "0", "--as", "admin"
    )
    found = check(tmp_path / "a", vkey)
    assert found["filter"]["from_us"] == 1_577_836_800_000_000
    with (tmp_path / "a/parts/00000.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == told["matched"] >= 20
    assert {(row["action"], row["tenant"], row["status"]) for row in rows} == {("actors.whoami", "dev", "ok")}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--out"),
        (["a", "--out", "b"], "one directory"),
        (["a", "--from", "yesterday"], "2026-12-01"),
        (["a", "--tenant", "dev"], "whole log"),
        (["a", "--format", "rfc5424", "--outcome", "maybe"], "filter/outcome"),
        (["a", "--prove", "99999999"], "to prove"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_and_leaves_no_directory(dev, tmp_path, arguments, words):
    done = dev.run("audit", "export", *arguments, "--as", "admin", cwd=tmp_path)
    assert done.returncode == 2
    assert words in json.loads(done.stderr)["detail"]
    assert list(tmp_path.iterdir()) == []


def test_exports_are_listed_with_where_they_stand(dev, tmp_path):
    told = dev.json("audit", "export", str(tmp_path / "a"), "--format", "jsonl", "--as", "admin")
    newest = dev.json("audit", "exports", "--as", "admin")["data"][0]
    assert newest == {name: value for name, value in told.items() if name != "directory"}


def test_an_export_that_is_ready_cannot_be_cancelled(dev, tmp_path):
    told = dev.json("audit", "export", str(tmp_path / "a"), "--as", "admin")
    done = dev.run("audit", "cancel", told["id"], "--as", "admin")
    assert (done.returncode, json.loads(done.stderr)["code"]) == (6, "GRD-STORE-410")


# interruption


def begun(dev, folder, name="jsonl"):
    """A directory as a run leaves it that was killed right after it asked."""
    request = {"format": name, "filter": {}, "prove": [], "purpose": ""}
    with dev.client("admin") as admin:
        view = audit_export._begin(admin, folder, request)
    assert {path.name for path in folder.iterdir()} == {".guard-export"}
    return view


def test_the_same_command_goes_on_with_what_was_begun(dev, vkey, tmp_path):
    view = begun(dev, tmp_path / "a")
    files = tmp_path / "a/.guard-export-files"
    files.mkdir()
    (files / "00000.hashes.partial").write_bytes(b"\0" * 40)  # of another server: found out by the root
    (tmp_path / "a/parts").mkdir()
    with dev.client("admin") as admin:
        whole = admin.download("exports.part", export=view["id"], n=0)
    (tmp_path / "a/parts/00000.jsonl.partial").write_bytes(whole[:1000])
    done = dev.run("audit", "export", str(tmp_path / "a"), "--format", "jsonl", "--as", "admin")
    assert done.returncode == 7
    assert "signed root" in json.loads(done.stderr)["detail"]
    assert not (tmp_path / "a/checkpoint").exists(), "what is not whole has no checkpoint"
    (files / "00000.hashes").unlink()
    told = dev.json("audit", "export", str(tmp_path / "a"), "--format", "jsonl", "--as", "admin")
    assert told["id"] == view["id"]
    check(tmp_path / "a", vkey)
    assert (tmp_path / "a/parts/00000.jsonl").read_bytes() == whole


def test_another_request_does_not_go_on_in_the_directory_of_the_first(dev, tmp_path):
    begun(dev, tmp_path / "a")
    done = dev.run("audit", "export", str(tmp_path / "a"), "--format", "csv", "--as", "admin")
    assert done.returncode == 2
    assert "another" in json.loads(done.stderr)["detail"]


@pytest.fixture
def ready(dev):
    with dev.client("admin") as admin:
        admin.checkpoints.publish()
        yield admin, admin.call("exports.create", format="jsonl")["id"]


def test_a_file_is_continued_by_range_from_any_byte(ready, tmp_path):
    admin, export = ready
    whole = admin.download("exports.part", export=export, n=0)
    for kept in (0, 1, 2, 777, len(whole) - 1, len(whole)):
        (tmp_path / "part.partial").write_bytes(whole[:kept])
        fetch(admin, "exports.part", tmp_path / "part", pytest.fail, export=export, n=0)
        assert (tmp_path / "part").read_bytes() == whole
        assert not (tmp_path / "part.partial").exists()


def test_the_rest_of_a_file_is_all_that_is_sent(ready):
    admin, export = ready
    whole = admin.download("exports.part", export=export, n=0)
    with admin.stream("exports.part", 500, export=export, n=0) as answer:
        assert (answer.status_code, answer.read()) == (206, whole[500:])
        assert answer.headers["content-range"] == f"bytes 500-{len(whole) - 1}/{len(whole)}"
        assert answer.headers["etag"] == f'"{sha256(whole).hexdigest()}"'


def test_a_damaged_beginning_is_found_and_not_kept(ready, tmp_path):
    admin, export = ready
    (tmp_path / "part.partial").write_bytes(b"x" * 100)
    with pytest.raises(VerificationFailed):
        fetch(admin, "exports.part", tmp_path / "part", pytest.fail, export=export, n=0)
    assert list(tmp_path.iterdir()) == []


def test_a_refusal_is_an_error_and_not_tried_again(ready, tmp_path):
    admin, _ = ready
    with pytest.raises(NotFound):
        fetch(admin, "exports.part", tmp_path / "part", pytest.fail, export="exp_none", n=0)
    with pytest.raises(InvalidInput), admin.stream("exports.part", export="exp_none"):
        pass


def test_a_server_that_is_gone_is_tried_again_and_then_named(tmp_path):
    home = tmp_path / "home"
    with Server(home):
        from guard.client import Client, discover

        client = Client(discover(home, "admin"))
    waits = []
    with client, pytest.raises(Unreachable):
        fetch(client, "exports.frame", tmp_path / "frame", waits.append, export="exp_none")
    assert waits == list(range(transfer.ATTEMPTS - 1))


# a job that takes a while


def test_a_large_log_is_exported_as_a_job_that_can_be_cancelled(dev, tmp_path):
    """More records than are exported at once."""
    items = [{"field": "customers.email", "context": {"row": "1"}, "plaintext": "eA=="}]
    with dev.client() as client, dev.client("admin") as admin:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(8) as pool:
            while admin.checkpoints.publish()["size"] <= 1 << 14:
                list(pool.map(lambda _: client.fields.encrypt(items=items), range(2000)))
        view = admin.call("exports.create", format="jsonl")
        assert (view["state"], view["parts"]) == ("frozen", 1)
        assert dev.json("audit", "cancel", view["id"], "--as", "admin")["state"] == "cancelled"
        until(lambda: not (dev.home / "exports" / view["id"]).exists())
        told = dev.json("audit", "export", str(tmp_path / "a"), "--format", "jsonl", "--as", "admin")
        assert (told["state"], told["sha256"]) == ("ready", None)
        assert len((tmp_path / "a/parts/00000.jsonl").read_bytes().splitlines()) == told["size"] > 1 << 14
        check(tmp_path / "a", admin.checkpoints.latest()["vkey"])
