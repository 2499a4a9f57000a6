"""What an earlier release wrote verifies with every later one (A24): its log, an export, evidence, a note of its past.

The files below tests/golden/ are never made again. For a new release: `python -m tests.audit.test_release NAME`.
"""

import json
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest

from guard.audit.verifier.command import main, verify
from tests.audit.exporting import auditor, directory, ordered
from tests.world import world

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
RELEASES = sorted(path for path in GOLDEN.iterdir() if path.is_dir())
RECORDS = 20


def test_there_is_a_release():
    assert RELEASES != []


@pytest.fixture(params=RELEASES, ids=lambda path: path.name)
def release(request):
    return request.param


@pytest.mark.parametrize("name", ["log.zip", "jsonl.zip", "evidence.zip"])
def test_it_verifies_under_the_key_and_from_the_checkpoint_of_then(release, name):
    kept = json.loads((release / "kept.json").read_text())
    report = verify(release / name, vkeys=[kept["vkey"]])
    assert report.faults == []
    assert report.origin == kept["origin"]
    assert report.size == kept["size"]
    assert report.counts["manifest"] == 1
    if name == "log.zip":
        assert report.counts["records"] == kept["size"]
        assert verify(release / name, vkeys=[kept["vkey"]], since=kept["older"].encode()).faults == []


@pytest.mark.parametrize("name", ["log.zip", "jsonl.zip", "evidence.zip"])
def test_one_changed_byte_of_it_is_found(release, name, tmp_path, capsys):
    with zipfile.ZipFile(release / name) as archive:
        archive.extractall(tmp_path / "log")
    target = next(
        path
        for pattern in ("tile/entries/**/*", "parts/*", "records/*")
        for path in sorted((tmp_path / "log").glob(pattern))
        if path.is_file()
    )
    data = bytearray(target.read_bytes())
    data[len(data) // 2] ^= 1
    target.write_bytes(data)
    assert main([str(tmp_path / "log")]) == 7
    assert "FAULT" in capsys.readouterr().out


def write(folder):
    """The files of a release, by this one."""
    folder.mkdir()
    with tempfile.TemporaryDirectory() as place, world(Path(place) / "home") as made:
        root = auditor(made)
        older = made.call("checkpoints.publish")
        made.clock.advance(1)
        while made.guard.log.size < RECORDS:
            made.hire("acme", f"user:local|u{made.guard.log.size}", "role:support")
        head = made.call("checkpoints.publish")
        for name, form in (("log", "tiles"), ("jsonl", "jsonl")):
            exported = directory(made, root, ordered(made, root, format=form), Path(place) / name)
            pack(exported, folder / f"{name}.zip")
        index = [one.index for one in made.records(tenant="acme")][:3]
        view = made.call("evidence.create", root, tenant="acme", matter="case-1", indexes=index)
        taken = made.call("evidence.download", root, matter="case-1", evidence=view.id, tenant="acme")
        (folder / "evidence.zip").write_bytes(Path(taken.path).read_bytes())
        kept = {"origin": made.guard.log.origin, "size": head.size, "vkey": head.vkey, "older": older.note}
        (folder / "kept.json").write_text(json.dumps(kept, indent=2) + "\n")


def pack(folder, target):
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, str(path.relative_to(folder)))


if __name__ == "__main__":
    write(GOLDEN / sys.argv[1])
