"""Exports of a running guard, verified offline; and what the verifier says when anything in one was changed."""

import base64
import hashlib
import io
import json
import sqlite3
import stat
import zipfile
from contextlib import closing
from pathlib import Path

import pytest

from guard.audit.tree import Edge, leaf_hash
from guard.audit.verifier.command import main, verify
from guard.catalogue import PLATFORM
from guard.cli.audit import unpack
from guard.errors import Conflict, Denied, NotFound, StoreDamaged, VerificationFailed
from tests.world import world

RECORDS = 300  # more than one full tile
PROVED = [0, 3, 255, 256, 299]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A log of some hundred records of two tenants, with checkpoints on the way."""
    with world(tmp_path_factory.mktemp("exports") / "home") as made:
        actors = [made.hire(tenant, "user:local|ana", "role:support") for tenant in ("acme", "globex")]
        while made.guard.log.size < RECORDS:
            made.call("actors.whoami", actors[made.guard.log.size % 2])
            if made.guard.log.size in {100, 257}:
                made.call("checkpoints.publish")
        made.call("checkpoints.publish")
        yield made


@pytest.fixture(scope="module")
def auditor(place):
    return place.hire(PLATFORM, "user:local|auditor", "role:auditor")


@pytest.fixture(scope="module")
def archive(place, auditor):
    """A real export as the bytes of its archive."""
    view = place.call("exports.create", auditor, prove=PROVED)
    attached = place.call("exports.download", auditor, export=view.id)
    content = Path(attached.path).read_bytes()
    assert hashlib.sha256(content).hexdigest() == view.sha256
    assert attached.file_name == f"{view.id}.zip"
    return content


@pytest.fixture(scope="module")
def vkey(place):
    return place.guard.log.verifier.encode()


@pytest.fixture
def folder(archive, tmp_path):
    """The same export as a directory of its own."""
    unpack(archive, tmp_path / "evidence")
    return tmp_path / "evidence"


def test_the_archive_and_the_directory_verify(place, archive, folder, vkey, tmp_path):
    packed = tmp_path / "export.zip"
    packed.write_bytes(archive)
    for path in (packed, folder):
        report = verify(path, vkeys=[vkey])
        assert report.faults == []
        assert report.size == report.counts["records"] == RECORDS
        assert report.counts["proofs"] == len(PROVED)
        assert report.counts["checkpoints"] == 2
        assert report.counts["tenants"] == 3
        assert report.counts["manifest"] == 1
        assert report.signers
        assert main([str(path), "--vkey", vkey]) == 0


def test_equal_logs_give_equal_archives(place, auditor, archive):
    view = place.call("exports.create", auditor, prove=PROVED)
    again = place.call("exports.download", auditor, export=view.id).path
    with zipfile.ZipFile(again) as one, zipfile.ZipFile(io.BytesIO(archive)) as other:
        assert one.namelist() == other.namelist()
        changed = {name for name in one.namelist() if one.read(name) != other.read(name)}
    assert changed == {"manifest.json", "manifest.note"}  # which name the export and its time


def test_the_verifier_says_zero_seven_or_two(folder, vkey, tmp_path, capsys):
    (folder / "policy.txt").write_bytes(b"log x\n")
    assert main([str(folder), "--vkey", vkey, "--json"]) == 7
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is False
    assert {"policy.txt", "manifest.json"} <= {fault["path"] for fault in told["faults"]}
    assert main([str(tmp_path / "nothing")]) == 2


def test_the_key_of_another_log_is_not_this_ones(folder, tmp_path):
    with world(tmp_path / "other") as other:
        foreign = other.guard.log.verifier.encode()
    report = verify(folder, vkeys=[foreign])
    assert [fault.path for fault in report.faults] == ["checkpoint", "manifest.note"]


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_one_flipped_byte_in_any_file_is_found_and_the_file_is_named(folder, vkey):
    for path in files(folder):
        original = path.read_bytes()
        name = path.relative_to(folder).as_posix()
        for place in {0, len(original) // 2, len(original) - 1}:
            path.write_bytes(original[:place] + bytes([original[place] ^ 1]) + original[place + 1 :])
            faults = verify(folder, vkeys=[vkey]).faults
            assert name in {fault.path for fault in faults}, (name, place, faults)
        path.write_bytes(original)
    assert verify(folder, vkeys=[vkey]).faults == []


def test_a_changed_entry_is_named_with_its_index(folder, vkey):
    bundle = folder / "tile/entries/000"
    content = bundle.read_bytes()
    at = content.index(b"actors.whoami", len(content) // 2)
    bundle.write_bytes(content[:at] + b"actors.whoamj" + content[at + 13 :])
    (fault,) = verify(folder, vkeys=[vkey]).faults
    index = content[:at].count(b'{"b":') - 1
    assert (fault.path, fault.at) == ("tile/entries/000", index)
    assert "changed after it was logged" in fault.detail


def test_each_missing_file_and_each_file_too_many_is_named(folder, vkey):
    for path in files(folder):
        name = path.relative_to(folder).as_posix()
        content = path.read_bytes()
        path.unlink()
        found = {fault.path for fault in verify(folder, vkeys=[vkey]).faults}
        assert name in found or name in {"manifest.json", "manifest.note"}, name
        path.write_bytes(content)
    (folder / "README").write_text("put in later")
    assert [fault.path for fault in verify(folder, vkeys=[vkey]).faults] == ["README"]


def test_entries_that_changed_places_are_found(folder, vkey):
    bundle, tile = folder / "tile/entries/000", folder / "tile/0/000"
    content, hashes = bundle.read_bytes(), tile.read_bytes()
    size = int.from_bytes(content[:2], "big") + 2
    second = int.from_bytes(content[size : size + 2], "big") + 2
    swapped = content[size : size + second] + content[:size] + content[size + second :]
    bundle.write_bytes(swapped)
    tile.write_bytes(hashes[32:64] + hashes[:32] + hashes[64:])
    report = verify(folder, vkeys=[vkey])
    assert "checkpoint" in {fault.path for fault in report.faults}


# a store in which the last records were removed


def cut(home, keep):
    """Remove the last records and rewrite the head, as somebody could who knows how guard stores its log."""
    with closing(sqlite3.connect(home / "guard.db")) as db, db:
        entries = [row[0] for row in db.execute("SELECT entry FROM audit_entries WHERE idx < ? ORDER BY idx", (keep,))]
        edge = Edge().extend(leaf_hash(one) for one in entries)
        db.execute("DELETE FROM audit_entries WHERE idx >= ?", (keep,))
        db.execute("DELETE FROM audit_index WHERE idx >= ?", (keep,))
        db.execute("DELETE FROM audit_checkpoints WHERE size > ?", (keep,))
        db.execute(
            "UPDATE audit_tenants SET next_n = (SELECT count(*) FROM audit_index i WHERE i.tenant = audit_tenants.tenant)"
        )
        db.execute("DELETE FROM audit_tiles WHERE (n + 1) * 256 > ? AND level = 0", (keep,))
        db.execute("UPDATE audit_head SET size = ?, edge = ?, root = ?", (keep, edge.serialise(), edge.root()))


def test_records_that_were_removed_with_everything_about_them_are_missed_by_an_earlier_checkpoint(tmp_path):
    home = tmp_path / "home"
    with world(home) as made:
        for number in range(20):
            made.hire("acme", f"user:local|u{number}", "role:support")
        kept = made.call("checkpoints.publish")
    cut(home, kept.size - 5)
    with world(home) as made:  # guard alone cannot know: the store agrees with itself
        for number in range(20):
            made.hire("acme", f"user:local|v{number}", "role:support")
        made.clock.advance(3600)
        made.call("checkpoints.publish")
        auditor = made.hire(PLATFORM, "user:local|auditor", "role:auditor")
        view = made.call("exports.create", auditor)
        path = Path(made.call("exports.download", auditor, export=view.id).path)
        vkey = made.guard.log.verifier.encode()
        assert verify(path, vkeys=[vkey]).faults == []
        (tmp_path / "earlier").write_text(kept.note)
        assert verify(path, vkeys=[vkey], since=kept.note.encode()).faults != []
        assert main([str(path), "--vkey", vkey, "--since", str(tmp_path / "earlier")]) == 7


def test_a_log_that_only_grew_verifies_against_an_earlier_checkpoint(tmp_path):
    with world(tmp_path / "home") as made:
        for number in range(270):
            made.hire("acme", f"user:local|u{number % 5}", "role:support")
            if number in {20, 260}:
                made.call("checkpoints.publish")
        earlier = made.call("checkpoints.publish")
        for number in range(10):
            made.hire("globex", f"user:local|u{number}", "role:support")
        made.call("checkpoints.publish")
        auditor = made.hire(PLATFORM, "user:local|auditor", "role:auditor")
        view = made.call("exports.create", auditor)
        path = made.call("exports.download", auditor, export=view.id).path
        report = verify(Path(path), vkeys=[made.guard.log.verifier.encode()], since=earlier.note.encode())
        assert report.faults == []
        assert report.counts["since"] == earlier.size


def test_records_that_were_removed_since_the_last_checkpoint_keep_guard_from_signing(tmp_path):
    home = tmp_path / "home"
    with world(home) as made:
        for number in range(5):
            made.hire("acme", f"user:local|u{number}", "role:support")
        size = made.call("checkpoints.publish").size
    with closing(sqlite3.connect(home / "guard.db")) as db, db:
        saved = db.execute("SELECT * FROM audit_checkpoints").fetchall()
    cut(home, size - 3)
    with closing(sqlite3.connect(home / "guard.db")) as db, db:
        db.executemany("INSERT INTO audit_checkpoints VALUES (?, ?, ?, ?)", saved)
    with world(home) as made, pytest.raises(StoreDamaged) as raised:
        made.call("checkpoints.publish")
    assert "rolled_back" in raised.value.detail


def test_a_log_that_grew_again_to_the_size_that_was_signed_is_not_taken_for_it(tmp_path):
    home = tmp_path / "home"
    with world(home) as made:
        for number in range(5):
            made.hire("acme", f"user:local|u{number}", "role:support")
        size = made.call("checkpoints.publish").size
    with closing(sqlite3.connect(home / "guard.db")) as db:
        saved = db.execute("SELECT * FROM audit_checkpoints").fetchall()
    cut(home, size - 3)
    with closing(sqlite3.connect(home / "guard.db")) as db, db:
        db.executemany("INSERT INTO audit_checkpoints VALUES (?, ?, ?, ?)", saved)
    with world(home) as made:
        ana = made.hire("acme", "user:local|ana", "role:support")
        while made.guard.log.size < size:
            made.call("actors.whoami", ana)
        with pytest.raises(StoreDamaged) as raised:
            made.call("checkpoints.publish")
        assert "forked" in raised.value.detail


def test_a_damaged_store_exports_nothing_and_names_the_record(tmp_path):
    with world(tmp_path / "home") as made:
        auditor = made.hire(PLATFORM, "user:local|auditor", "role:auditor")
        made.call("checkpoints.publish")
        with closing(sqlite3.connect(made.home / "guard.db")) as db, db:
            db.execute("UPDATE audit_entries SET entry = x'7b7d' WHERE idx = 2")
        with pytest.raises(VerificationFailed) as raised:
            made.call("exports.create", auditor)
        assert raised.value.extra == {"index": 2}
        assert made.call("exports.list", auditor).data == []
        assert list((made.home / "exports").iterdir()) == []


# who may


def test_only_the_platforms_auditors_export(place, auditor):
    local = place.hire("acme", "user:local|ida", "role:auditor")
    with pytest.raises(NotFound):
        place.call("exports.create", local)
    with pytest.raises(Denied):
        place.call("exports.create", place.hire(PLATFORM, "user:local|root", "role:platform-admin"))
    view = place.call("exports.create", auditor)
    assert place.call("exports.list", local).data == []
    with pytest.raises(NotFound):
        place.call("exports.download", local, export=view.id)


def test_exports_are_private_files_listed_newest_first(place, auditor):
    made = [place.call("exports.create", auditor) for _ in range(2)]
    listed = place.call("exports.list", auditor).data
    assert listed[:2] == made[::-1]
    assert listed[0].created_by == "user:local|auditor"
    path = Path(place.call("exports.download", auditor, export=made[0].id).path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_an_export_that_is_not_there_is_not_found(place, auditor):
    view = place.call("exports.create", auditor)
    Path(place.call("exports.download", auditor, export=view.id).path).unlink()
    for name in (view.id, "exp_none"):
        with pytest.raises(NotFound):
            place.call("exports.download", auditor, export=name)


def test_without_a_checkpoint_there_is_nothing_to_export_under(tmp_path):
    with world(tmp_path / "home") as made:
        auditor = made.hire(PLATFORM, "user:local|auditor", "role:auditor")
        with pytest.raises(Conflict):
            made.call("exports.create", auditor)


def test_a_proof_in_an_export_stands_alone(archive, vkey):
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        proof = opened.read("proofs/256.tlog-proof").decode()
        signed = opened.read("checkpoint").decode()
    head, _, rest = proof.partition("\n\n")
    assert head.startswith("c2sp.org/tlog-proof@v1\nindex 256\n")
    assert rest == signed
    assert all(len(base64.b64decode(line)) == 32 for line in head.split("\n")[2:])
