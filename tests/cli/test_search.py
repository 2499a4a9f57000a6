"""`guard audit search`, `bundle` and `sinks` typed on a real server: pages, proofs, tables, and files that verify."""

import json
import stat

import pytest

from tests.cli.test_terminal import on_terminal


def search(dev, *arguments):
    return dev.json("audit", "search", *arguments, "--as", "admin")["data"]


def test_all_pages_on_to_the_last_record(dev):
    size = len(search(dev, "--tenant", "dev", "--action", "actors.whoami", "--all"))
    assert size >= 20
    some = search(dev, "--tenant", "dev", "--action", "actors.whoami", "--limit", "7")
    assert len(some) == 7
    everything = search(dev, "--tenant", "dev", "--all")
    assert len({one["index"] for one in everything}) == len(everything)
    assert [one["n"] for one in everything] == list(range(len(everything)))[::-1]


def test_jsonl_writes_one_record_a_line(dev):
    done = dev.run("audit", "search", "--tenant", "dev", "--all", "--as", "admin", "-o", "jsonl")
    assert done.returncode == 0
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) >= 20
    assert all(one["evidence"] is None for one in lines)


def test_filters_of_time_and_outcome(dev):
    assert search(dev, "--tenant", "dev", "--from", "2020-01-01", "--outcome", "ok")
    assert search(dev, "--tenant", "dev", "--to", "2020-01-01") == []
    assert search(dev, "--tenant", "dev", "--not-allowed", "--outcome", "ok") == []
    wrong = dev.run("audit", "search", "--from", "yesterday")
    assert wrong.returncode == 2
    assert "2026-11-25" in json.loads(wrong.stderr)["detail"]


def test_each_hit_has_its_proof_and_the_terminal_says_whether(dev):
    dev.json("audit", "checkpoint", "--as", "admin")
    hits = search(dev, "--tenant", "dev", "--action", "actors.whoami", "--proof")
    assert all(one["evidence"]["proof"].startswith("c2sp.org/tlog-proof@v1\nindex ") for one in hits)
    arguments = ("audit", "search", "--tenant", "dev", "--action", "actors.whoami", "--limit", "3", "--proof")
    status, shown = on_terminal(dev, *arguments, "--as", "admin")
    assert status == 0
    lines = shown.decode().splitlines()
    assert "proven" in lines[0]
    assert sum("yes" in line for line in lines) == 3


def test_a_bundle_is_a_private_file_that_verifies_and_replaces_none(dev, tmp_path):
    dev.json("audit", "checkpoint", "--as", "admin")
    out = tmp_path / "matter.zip"
    wanted = ("--search", "--action", "actors.whoami", "--tenant", "dev")
    command = ("audit", "bundle", "--matter", "INC-2026-015", *wanted, "--out", str(out), "--as", "admin")
    view = dev.json(*command)
    assert view["records"] >= 20
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert dev.json("verify", str(out))["faults"] == []
    again = dev.run(*command)
    assert again.returncode == 2
    content = bytearray(out.read_bytes())
    content[len(content) // 2] ^= 1
    out.write_bytes(content)
    assert dev.run("verify", str(out)).returncode == 7


@pytest.mark.parametrize(
    "arguments",
    [
        ("--matter", "two words", "--index", "17"),
        ("--matter", "m"),
        ("--matter", "m", "--actor", "svc:x"),
        ("--matter", "m", "--search", "--action", "no.such"),
    ],
)
def test_a_bundle_that_cannot_be_made_leaves_no_file(dev, tmp_path, arguments):
    out = tmp_path / "matter.zip"
    done = dev.run("audit", "bundle", *arguments, "--out", str(out), "--as", "admin")
    assert done.returncode == 2
    assert not out.exists()


def test_without_sinks_there_are_none(dev):
    assert dev.json("audit", "sinks", "--as", "admin")["data"] == []
