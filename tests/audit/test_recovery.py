"""A log out of a bucket: a whole one for an empty home, files for one that lost some; damage in the bucket is named."""

import json
import shutil

import pytest
from typer.testing import CliRunner

from guard.audit.anchors import Anchors
from guard.audit.checkpoint import parse as parse_head
from guard.audit.note import Kind, VerifierKey
from guard.audit.note import parse as parse_note
from guard.audit.verifier.command import verify
from guard.catalogue import PLATFORM
from guard.cli.main import app
from tests.audit.building import STRANGER
from tests.audit.test_copies import FIRST, FOLDER_OF, copy_all, guarded
from tests.audit.test_prune import archive
from tests.audit.test_shell_archive import entries, fill
from tests.world import world

LATER = 400 * 86_400  # the command goes by the real clock, which the tests' own begins before


@pytest.fixture
def original(tmp_path, table, client):
    """A home whose log of 1,400 records is in the bucket as a whole, as of its last checkpoint."""
    with guarded(tmp_path / "home", table) as made:
        copy_all(made)
        fill(made, 1400)
        made.clock.advance(5)
        made.call("checkpoints.publish")
        made.size = made.call("checkpoints.copy").size
        made.entries = entries(made.guard)[: made.size]
        made.vkey = made.guard.log.verifier.encode()
    return made


def settle(home, table):
    home.mkdir(mode=0o700)
    lines = [f"{name} = {json.dumps(value)}" for name, value in (table | {"tiles": True}).items()]
    (home / "guard.toml").write_text("[worm]\n" + "\n".join(lines) + "\n")


def restore(home, table, *more):
    """The command; its exit status and its answer."""
    source = f"s3://{table['bucket']}/guard"
    command = ["audit", "rebuild", "--home", str(home), "--from", source, "-o", "json", *more]
    done = CliRunner().invoke(app, command)
    return done.exit_code, json.loads(done.stdout) if done.exit_code == 0 else done.output + done.stderr


@pytest.mark.parametrize("told", [True, False])
def test_an_empty_home_gets_the_whole_log_and_goes_on_under_new_keys(tmp_path, table, original, told):
    home = tmp_path / "new"
    settle(home, table)
    status, found = restore(home, table, *(["--vkey", original.vkey] if told else []))
    assert status == 0, found
    assert (found["size"], found["signed"], found["faults"]) == (original.size, original.size, [])
    assert found["archived"] == original.size // 256 * 256
    assert found["state"] == "SERVING"
    with world(home, worm=table | {"tiles": True}) as made:
        made.clock.advance(LATER)
        assert entries(made.guard)[: original.size] == original.entries
        assert made.guard.standing.serving
        assert [one.action for one in made.records(action="log.rebuilt")] == ["log.rebuilt"]
        auditor = made.hire(PLATFORM, "user:local|auditor", "role:auditor")
        assert made.call("records.list", auditor, tenant="acme", limit=500).data, "the search index is there"
        fill(made, original.size + 300)
        archive(made)
        made.call("checkpoints.publish")
        keys = {row.vkey: row for row in made.call("log_keys.list", auditor).data}
        assert keys[original.vkey].to_size == original.size
        assert {row.from_size for row in keys.values() if row.to_size is None} == {original.size}
        assert set(found["vkeys"]) == {vkey for vkey, row in keys.items() if row.to_size is None}
        assert copy_all(made) > found["archived"], "what is new goes on into the same bucket"
        made.gate._doors.parts[Anchors].worm.close()


def test_what_was_restored_exports_and_verifies_with_the_old_key_up_to_its_end(tmp_path, table, original):
    home = tmp_path / "new"
    settle(home, table)
    assert restore(home, table)[0] == 0
    out = tmp_path / "out"
    with world(home) as made:
        made.clock.advance(LATER)
        made.call("checkpoints.publish")
        with made.guard.store.read() as tx:
            rows = list(tx.exec_driver_sql("SELECT size, note FROM audit_checkpoints ORDER BY size"))
    assert rows[0][0] == original.size
    assert parse_head(parse_note(rows[0][1].encode()).text).origin == FIRST
    with world(home) as made:
        made.clock.advance(2 * LATER)
        auditor = made.hire(PLATFORM, "user:local|auditor", "role:auditor")
        answer = made.call("exports.create", auditor, format="tiles")
        path = made.call("exports.download", auditor, export=answer.id).path
        shutil.unpack_archive(path, out, "zip")
        report = verify(out, vkeys=[])
        assert (report.faults, report.size > original.size) == ([], True)


def test_a_key_of_somebody_else_gets_nothing(tmp_path, table, original):
    home = tmp_path / "new"
    settle(home, table)
    stranger = VerifierKey(FIRST, Kind.ED25519, STRANGER.public_key().public_bytes_raw()).encode()
    status, said = restore(home, table, "--vkey", stranger)
    assert status != 0
    assert "--vkey" in said
    assert restore(home, table, "--vkey", original.vkey)[0] == 0, "a try that failed left nothing in the way"


def test_files_that_a_home_lost_come_back(tmp_path, table, original):
    home = original.home
    lost = [home / "log/1/tile/entries/001", home / "log/1/tile/0/003"]
    before = {path: path.read_bytes() for path in lost}
    for path in lost:
        path.unlink()
    (home / "guard.toml").write_text(settings_of(table))
    status, found = restore(home, table)
    assert status == 0, found
    assert (found["fetched"], found["state"], found["vkeys"]) == (2, "SERVING", [])
    assert {path: path.read_bytes() for path in lost} == before


def settings_of(table):
    return "[worm]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in table.items())


def test_an_object_that_was_overwritten_or_hidden_is_named_and_its_first_version_counts(
    tmp_path, table, client, original
):
    forged = f"{FOLDER_OF}tile/entries/002"
    hidden = f"{FOLDER_OF}tile/0/001"
    client.put_object(Bucket=table["bucket"], Key=forged, Body=b"forged", ChecksumAlgorithm="SHA256")
    client.delete_object(Bucket=table["bucket"], Key=hidden)
    home = tmp_path / "new"
    settle(home, table)
    status, found = restore(home, table)
    assert status == 0, found
    assert set(found["faults"]) == {f"{forged}: overwritten", f"{hidden}: deleted"}
    assert found["size"] == original.size


def test_a_forged_checkpoint_in_the_bucket_is_passed_over(tmp_path, table, client, original):
    name = f"guard/{FIRST}/checkpoint/000000000/0000000000000000000/9"
    client.put_object(Bucket=table["bucket"], Key=name, Body=b"forged", ChecksumAlgorithm="SHA256")
    home = tmp_path / "new"
    settle(home, table)
    status, found = restore(home, table)
    assert (status, found["size"]) == (0, original.size)


@pytest.mark.parametrize("mode", ["missing", "changed"])
def test_a_bundle_that_is_gone_or_changed_from_the_start_stops_it_by_its_index(tmp_path, table, client, mode):
    with guarded(tmp_path / "home", table | {"mode": "GOVERNANCE"}) as made:
        copy_all(made)
        made.call("checkpoints.publish")
        made.call("checkpoints.copy")
    name = f"{FOLDER_OF}tile/entries/003"
    for one in client.list_object_versions(Bucket=table["bucket"], Prefix=name)["Versions"]:
        held = client.get_object(Bucket=table["bucket"], Key=one["Key"])["Body"].read()
        client.delete_object(
            Bucket=table["bucket"], Key=one["Key"], VersionId=one["VersionId"], BypassGovernanceRetention=True
        )
    if mode == "changed":
        other = held.replace(b'"phase":"event"', b'"phase":"evens"', 1)
        client.put_object(Bucket=table["bucket"], Key=name, Body=other, ChecksumAlgorithm="SHA256")
    home = tmp_path / "new"
    settle(home, table)
    status, said = restore(home, table)
    assert status != 0
    assert "tile/entries/003" in said
    assert (name in said and "missing" in said) if mode == "missing" else "record 768 " in said


def test_a_checkpoint_ahead_of_the_copies_leaves_the_restored_log_read_only(tmp_path, table, original):
    with guarded(original.home, table) as made:
        made.clock.advance(10)
        fill(made, original.size + 400)
        made.call("checkpoints.publish")
        ahead = made.call("checkpoints.copy").size
    home = tmp_path / "new"
    settle(home, table)
    status, found = restore(home, table)
    assert status == 0, found
    assert found["size"] < ahead
    assert found["state"] == "READ_ONLY(ROLLBACK_DETECTED)", "records are gone, and that is said"


@pytest.mark.parametrize("address", ["bucket", "s3://", "https://x/y", "s3://UPPER/x", "s3://b/x y"])
def test_an_address_that_is_none_is_named(tmp_path, address):
    done = CliRunner().invoke(app, ["audit", "rebuild", "--home", str(tmp_path), "--from", address])
    assert done.exit_code != 0
    assert "s3://BUCKET" in done.output + done.stderr
    assert not (tmp_path / "guard.db").exists()
