"""Files: sealed and opened as a stream; a target appears whole or not at all."""

import json
import os
import subprocess
import sys

import pytest

from guard.client import files as module
from guard.client.files import BLOCK_BYTES, MAX_FILE_BYTES, Done, Files
from guard.errors import Denied, DoesNotOpen, GuardError, InvalidInput, LeaseEnded
from guard.vault.envelope import SuiteId, parse_header, to_text
from tests.client.leasing import EMAIL, PHONE, office

ROW = {"row": "17"}
DOES_NOT_OPEN = "^ciphertext does not open in this context$"
CHUNK = 16 * 1024
HEAD = 136 + 24 + 32


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    with office(tmp_path_factory.mktemp("office") / "home") as made:
        yield made


@pytest.fixture
def own(tmp_path):
    with office(tmp_path / "home") as made:
        yield made


@pytest.fixture
def files(shared):
    return Files(shared.line()[1])


def written(folder, content, name="scan"):
    path = folder / name
    path.write_bytes(content)
    return path


def sealed(files, folder, content, **cell):
    target = folder / "scan.sealed"
    files.encrypt(written(folder, content), target, EMAIL, replace=True, **(cell or ROW))
    return target


def opened(files, path, target, purpose="billing", field=EMAIL, **cell):
    return files.decrypt(path, target, field, purpose, **(cell or ROW))


SIZES = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 3 * BLOCK_BYTES + 7]


@pytest.mark.parametrize("size", SIZES)
def test_there_and_back(files, tmp_path, size):
    content = os.urandom(size)
    path = sealed(files, tmp_path, content)
    target = tmp_path / "copy"
    done = opened(files, path, target)
    assert target.read_bytes() == content
    assert (done.read, done.written) == (path.stat().st_size, size)
    assert path.stat().st_size == HEAD + size + 16 * (size // CHUNK + 1)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["copy", "scan", "scan.sealed"]


def test_a_small_file_is_a_value_of_its_field(shared, files, tmp_path):
    """One format for both: the census, rotation and forgetting know it."""
    raw = sealed(files, tmp_path, b"ana@example.org").read_bytes()
    assert parse_header(raw).suite is SuiteId.LEASED
    assert shared.shop.open(to_text(raw), "17") == "ana@example.org"


def test_the_files_bytes_are_sent_nowhere(shared, tmp_path):
    line, local = shared.line()
    path = sealed(Files(local), tmp_path, b"very secret" * 1000)
    opened(Files(local), path, tmp_path / "copy")
    assert line.names() == ["leases.create", "leases.create"]
    assert "very secret" not in json.dumps([members for _, members in line.asked])


def test_what_is_written_is_for_its_owner_alone(files, tmp_path):
    path = sealed(files, tmp_path, b"x")
    opened(files, path, tmp_path / "copy")
    assert [one.stat().st_mode & 0o777 for one in (path, tmp_path / "copy")] == [0o600, 0o600]


CONTENT = os.urandom(5 * CHUNK + 100)
FULL = CHUNK + 16


def swapped(raw):
    first, second = raw[HEAD : HEAD + FULL], raw[HEAD + FULL : HEAD + 2 * FULL]
    return raw[:HEAD] + second + first + raw[HEAD + 2 * FULL :]


CHANGES = {
    "nothing": lambda _: b"",
    "another file": lambda _: b"%PDF-1.7" * 100,
    "half a header": lambda raw: raw[:8],
    "no body": lambda raw: raw[:136],
    "no chunk": lambda raw: raw[:HEAD],
    "cut by a byte": lambda raw: raw[:-1],
    "cut at a chunk": lambda raw: raw[: HEAD + 3 * FULL],
    "cut within a chunk": lambda raw: raw[: HEAD + 3 * FULL + 5],
    "without the last chunk": lambda raw: raw[: HEAD + 5 * FULL],
    "a byte more": lambda raw: raw + b"\0",
    "a chunk more": lambda raw: raw + raw[HEAD : HEAD + FULL],
    "swapped chunks": swapped,
    "a chunk twice": lambda raw: raw[: HEAD + FULL] + raw[HEAD:],
    "a chunk missing": lambda raw: raw[:HEAD] + raw[HEAD + FULL :],
} | {
    f"bit at {at}": lambda raw, at=at: raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]
    for at in (0, 1, 2, 3, 4, 11, 12, 15, 16, 31, 32, 60, 135, 136, 160, HEAD, HEAD + FULL - 1, HEAD + FULL, -1)
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_was_changed_has_one_text_and_leaves_nothing(files, tmp_path, name):
    path = sealed(files, tmp_path, CONTENT)
    path.write_bytes(CHANGES[name](path.read_bytes()))
    with pytest.raises(DoesNotOpen, match=DOES_NOT_OPEN):
        opened(files, path, tmp_path / "copy")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["scan", "scan.sealed"]


@pytest.mark.parametrize("cell", [{"row": "18"}, {"row": 17}], ids=str)
def test_in_another_row_it_does_not_open(files, tmp_path, cell):
    path = sealed(files, tmp_path, CONTENT)
    with pytest.raises(DoesNotOpen, match=DOES_NOT_OPEN):
        opened(files, path, tmp_path / "copy", **cell)
    assert not (tmp_path / "copy").exists()


def test_as_another_field_it_does_not_open(shared, files, tmp_path):
    path = sealed(files, tmp_path, CONTENT)
    _, delivery = shared.line("delivery")
    with pytest.raises(DoesNotOpen, match=DOES_NOT_OPEN):
        opened(Files(delivery), path, tmp_path / "copy", "delivery", PHONE)


@pytest.mark.parametrize(("who", "purpose"), [("storing", "billing"), ("support", "support"), ("billing", "delivery")])
def test_who_may_not_read_for_the_purpose_is_refused(shared, files, tmp_path, who, purpose):
    path = sealed(files, tmp_path, CONTENT)
    with pytest.raises(Denied):
        opened(Files(shared.line(who)[1]), path, tmp_path / "copy", purpose)
    assert not (tmp_path / "copy").exists()


def test_a_file_that_is_there_is_replaced_only_where_that_is_said(files, tmp_path):
    path = sealed(files, tmp_path, CONTENT)
    kept = written(tmp_path, b"mine", "copy")
    with pytest.raises(InvalidInput, match="there is one"):
        opened(files, path, kept)
    assert kept.read_bytes() == b"mine"
    assert isinstance(files.decrypt(path, kept, EMAIL, "billing", replace=True, **ROW), Done)
    assert kept.read_bytes() == CONTENT


def test_a_file_that_comes_meanwhile_is_not_taken_away(files, tmp_path):
    target = tmp_path / "out"

    def come(_done, _size):
        target.write_bytes(b"theirs")

    with pytest.raises(InvalidInput, match="came meanwhile"):
        files.encrypt(written(tmp_path, CONTENT), target, EMAIL, progress=come, **ROW)
    assert target.read_bytes() == b"theirs"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["out", "scan"]


def test_a_failed_replacement_leaves_what_was_there(files, tmp_path):
    path = sealed(files, tmp_path, CONTENT)
    path.write_bytes(path.read_bytes()[:-1])
    kept = written(tmp_path, b"mine", "copy")
    with pytest.raises(DoesNotOpen):
        files.decrypt(path, kept, EMAIL, "billing", replace=True, **ROW)
    assert kept.read_bytes() == b"mine"


@pytest.mark.parametrize("missing", ["source", "folder", "is a folder"])
def test_paths_that_cannot_be_used_are_named(files, tmp_path, missing):
    source = tmp_path / "gone" if missing == "source" else written(tmp_path, b"x")
    source = tmp_path if missing == "is a folder" else source
    target = tmp_path / "no" / "out" if missing == "folder" else tmp_path / "out"
    with pytest.raises(InvalidInput, match="check the path"):
        files.encrypt(source, target, EMAIL, **ROW)
    assert not target.exists()


def test_a_wrong_cell_is_told_before_anything_is_read(files, tmp_path):
    with pytest.raises(InvalidInput, match="named by row"):
        files.encrypt(written(tmp_path, CONTENT), tmp_path / "out", EMAIL, subject="u-1")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["scan"]


def test_over_a_tebibyte_is_refused_before_it_is_read(files, tmp_path):
    path = written(tmp_path, b"")
    os.truncate(path, MAX_FILE_BYTES + 1)
    with pytest.raises(InvalidInput, match="1 TiB"):
        files.encrypt(path, tmp_path / "out", EMAIL, **ROW)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["scan"]


def test_a_file_that_grows_beyond_the_limit_is_refused_too(files, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_FILE_BYTES", BLOCK_BYTES)
    path = written(tmp_path, bytes(BLOCK_BYTES))

    def grow(_done, _size):
        with path.open("ab") as file:
            file.write(b"x")

    with pytest.raises(InvalidInput, match="1 TiB"):
        files.encrypt(path, tmp_path / "out", EMAIL, progress=grow, **ROW)


def test_progress_grows_to_the_end(files, tmp_path):
    seen = []
    files.encrypt(
        written(tmp_path, bytes(3 * BLOCK_BYTES + 5)),
        tmp_path / "out",
        EMAIL,
        progress=lambda done, size: seen.append((done, size)),
        **ROW,
    )
    size = 3 * BLOCK_BYTES + 5
    assert seen == [(min(size, n * BLOCK_BYTES), size) for n in range(1, 5)]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_whatever_breaks_in_leaves_nothing(files, tmp_path, error):
    def fail(_done, _size):
        raise error

    with pytest.raises(error):
        files.encrypt(written(tmp_path, CONTENT), tmp_path / "out", EMAIL, progress=fail, **ROW)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["scan"]


@pytest.mark.parametrize("fault", ["no nameless files", "none"])
def test_where_files_need_a_name_nothing_is_left_either(files, tmp_path, monkeypatch, fault):
    if fault == "no nameless files":
        monkeypatch.setattr(os, "O_TMPFILE", os.O_DIRECTORY)  # as on a file system that has none: EISDIR
    path = sealed(files, tmp_path, CONTENT)
    opened(files, path, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == CONTENT
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DoesNotOpen):
        opened(files, path, tmp_path / "other")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["copy", "scan", "scan.sealed"]


# leases


def test_a_long_file_renews_its_lease(own, tmp_path):
    line, local = own.line()
    path = written(tmp_path, bytes(8 * BLOCK_BYTES))
    Files(local).encrypt(path, tmp_path / "out", EMAIL, progress=lambda *_: line.wait(100), **ROW)
    assert line.names().count("leases.create") == 1
    assert line.names().count("leases.renew") == 3


def test_a_revoked_lease_stops_a_file_and_leaves_nothing(own, tmp_path):
    line, local = own.line()

    def revoke(done, _size):
        if done == BLOCK_BYTES:
            own.shop.call("keys", "leases.revoke", field=EMAIL)
        line.wait(100)

    with pytest.raises(LeaseEnded, match="was revoked"):
        Files(local).encrypt(written(tmp_path, bytes(8 * BLOCK_BYTES)), tmp_path / "out", EMAIL, progress=revoke, **ROW)
    assert not (tmp_path / "out").exists()


def test_away_from_the_server_a_file_stops_at_the_end_of_the_time(own, tmp_path):
    line, local = own.line()

    def away(_done, _size):
        line.cut = True
        line.wait(100)

    with pytest.raises(LeaseEnded, match="end of its time"):
        Files(local).encrypt(written(tmp_path, bytes(8 * BLOCK_BYTES)), tmp_path / "out", EMAIL, progress=away, **ROW)
    assert not (tmp_path / "out").exists()


def test_after_a_restart_a_revocation_and_a_rotation_a_file_opens_still(tmp_path):
    with office(tmp_path / "home") as made:
        path = sealed(Files(made.line()[1]), tmp_path, CONTENT)
        made.shop.call("keys", "leases.revoke", field=EMAIL)
        made.shop.rotate()
        now_us = made.shop.world.clock.now_us
    with office(tmp_path / "home") as made:
        made.shop.world.clock.now_us = now_us + 5000
        opened(Files(made.line()[1]), path, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == CONTENT


# memory

MEASURE = """
import json, resource, sys
from pathlib import Path
from guard.client.files import Files
from guard.client.local import LocalKeys

answer = json.loads(sys.argv[1])
def call(name, **members):
    opens = "start" in members
    fields = [dict(answer["fields"][0], start=members["start"])] if opens else answer["fields"]
    return {**answer, "fields": fields, "opens": opens, "purpose": members["purpose"]} if name == "leases.create" else {}

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

files, folder = Files(LocalKeys(call)), Path(sys.argv[2])
(folder / "tiny").write_bytes(b"x")
files.encrypt(folder / "tiny", folder / "t1", "customers.email", row="1")
before = peak()
files.encrypt(folder / "big", folder / "sealed", "customers.email", row="1")
files.decrypt(folder / "sealed", folder / "copy", "customers.email", "billing", row="1")
print(json.dumps([before, peak() - before]))
"""


def growth(answer, folder, size):
    """KiB by which a process grows that seals and opens a file of *size*."""
    folder.mkdir()
    (folder / "big").touch()
    os.truncate(folder / "big", size)
    command = [sys.executable, "-c", MEASURE, json.dumps(answer), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert (folder / "copy").stat().st_size == size
    for name in ("sealed", "copy"):
        (folder / name).unlink()
    return json.loads(done.stdout)[1]


def test_memory_is_the_same_for_64_and_512_mebibytes(shared, tmp_path):
    answer = shared.shop.call("storing", "leases.create", fields=[EMAIL], purpose="store").model_dump()
    small, large = (growth(answer, tmp_path / str(size), size << 20) for size in (64, 512))
    assert max(small, large) < 8 * 1024, (small, large)
    assert abs(large - small) < 2 * 1024, (small, large)


def test_errors_name_no_content(files, tmp_path):
    path = sealed(files, tmp_path, b"very secret" * 5000)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(GuardError) as caught:
        opened(files, path, tmp_path / "copy")
    assert "secret" not in repr(caught.value)
    assert caught.value.__cause__ is None
