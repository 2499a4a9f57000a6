"""A sealed file cut, changed and mixed at every place; what is left when a process is ended; links, modes, full disks."""

import base64
import errno
import itertools
import json
import os
import signal
import stat
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guard.client import files as module
from guard.client.files import BLOCK_BYTES, Files
from guard.errors import DoesNotOpen, InvalidInput
from guard.vault.envelope import to_text
from tests.client.leasing import EMAIL, office

ROW = {"row": "17"}
TEXT = r"^ciphertext does not open in this context$"
START, HEAD = 136, 136 + 24 + 32
CHUNK, FULL = 16 * 1024, 16 * 1024 + 16


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    with office(tmp_path_factory.mktemp("office") / "home") as made:
        yield made


@pytest.fixture(scope="module")
def files(shared):
    return Files(shared.line()[1])


def sealed(files, folder, content):
    (folder / "scan").write_bytes(content)
    files.encrypt(folder / "scan", folder / "sealed", EMAIL, replace=True, purpose="billing", **ROW)
    (folder / "scan").unlink()
    return (folder / "sealed").read_bytes()


def opened(files, folder, raw):
    """The content of *raw*, or None where it does not open; nothing is left in either case."""
    (folder / "sealed").write_bytes(raw)
    try:
        files.decrypt(folder / "sealed", folder / "copy", EMAIL, "billing", **ROW)
    except DoesNotOpen as error:
        assert str(error) == "ciphertext does not open in this context"  # noqa: PT017 - one of two outcomes
        assert names(folder) == ["sealed"]
        return None
    content = (folder / "copy").read_bytes()
    (folder / "copy").unlink()
    return content


def names(folder):
    return sorted(one.name for one in folder.iterdir())


# every bit and every border


@pytest.fixture(scope="module")
def small(files, tmp_path_factory):
    return sealed(files, tmp_path_factory.mktemp("small"), b"twelve bytes")


@pytest.mark.parametrize("bit", range(8))
def test_every_bit_of_a_small_file_counts(files, tmp_path, small, bit):
    for at in range(len(small)):
        assert opened(files, tmp_path, small[:at] + bytes([small[at] ^ 1 << bit]) + small[at + 1 :]) is None, at
    assert opened(files, tmp_path, small) == b"twelve bytes"


def test_every_cut_of_a_small_file_counts(files, tmp_path, small):
    for length in range(len(small)):
        assert opened(files, tmp_path, small[:length]) is None, length


CONTENT = bytes(range(256)) * (CHUNK // 256 * 20) + b"the end"
BORDERS = [0, START, HEAD] + [HEAD + FULL * number for number in range(1, 21)]


@pytest.fixture(scope="module")
def large(files, tmp_path_factory):
    """20 chunks and a bit, so that the borders of blocks that are read and of chunks fall apart."""
    raw = sealed(files, tmp_path_factory.mktemp("large"), CONTENT)
    assert len(raw) == HEAD + 20 * FULL + 7 + 16
    assert len(raw) > BLOCK_BYTES
    return raw


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("off", [-17, -16, -1, 0, 1, 15, 16, 17])
def test_it_opens_from_no_border_of_a_chunk(files, tmp_path, large, border, off):
    if border + off >= 0:
        assert opened(files, tmp_path, large[: border + off]) is None


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK - 1, 2 * CHUNK, 2 * CHUNK + 1])
def test_of_each_size_around_a_border_the_last_chunk_cannot_be_left_out(files, tmp_path, size):
    content = os.urandom(size)
    raw = sealed(files, tmp_path, content)
    assert opened(files, tmp_path, raw) == content
    last = (len(raw) - HEAD - 1) // FULL * FULL + HEAD if len(raw) > HEAD else HEAD
    assert opened(files, tmp_path, raw[:last]) is None
    assert opened(files, tmp_path, raw + bytes(16)) is None
    assert opened(files, tmp_path, raw + raw[last:]) is None


@pytest.mark.parametrize("order", [*itertools.islice(itertools.permutations(range(4)), 1, 24, 3)], ids=str)
def test_chunks_stand_in_one_order(files, tmp_path, large, order):
    chunks = [large[HEAD + FULL * one : HEAD + FULL * (one + 1)] for one in range(4)]
    assert (
        opened(files, tmp_path, large[:HEAD] + b"".join(chunks[one] for one in order) + large[HEAD + 4 * FULL :])
        is None
    )


@pytest.mark.parametrize("count", [1, 2, 10, 19])
def test_of_two_files_under_one_lease_no_third_is_made(files, tmp_path, count):
    one, two = (sealed(files, tmp_path, letter * len(CONTENT)) for letter in (b"a", b"b"))
    assert one[:START] == two[:START]
    border = HEAD + FULL * count
    assert opened(files, tmp_path, one[:border] + two[border:]) is None
    assert opened(files, tmp_path, one[:START] + two[START:HEAD] + one[HEAD:]) is None


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, HEAD + 20 * FULL + 22), change=st.integers(1, 255), data=st.data())
def test_a_change_anywhere_counts_however_much_is_cut_after_it(files, tmp_path, large, at, change, data):
    end = data.draw(st.integers(at + 1, len(large)))
    raw = large[:at] + bytes([large[at] ^ change]) + large[at + 1 : end]
    assert opened(files, tmp_path, raw) is None


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=300) | st.integers(0, 3 * CHUNK).map(bytes))
def test_whatever_was_sealed_as_a_file_is_a_value_that_the_server_opens(shared, files, tmp_path, content):
    raw = sealed(files, tmp_path, content)
    assert opened(files, tmp_path, raw) == content
    items = [{"field": EMAIL, "context": ROW, "ciphertext": to_text(raw)}]
    [result] = shared.shop.call("billing", "fields.decrypt", purpose="billing", items=items)["results"]
    assert base64.b64decode(result["plaintext"]) == content


# links, modes, names


@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize("points_to", ["a file", "nothing", "itself"])
def test_a_link_at_the_target_leads_nowhere_else(files, tmp_path, points_to, replace):
    """Or whoever may put a link there has a file of his choice overwritten by whoever opens."""
    (tmp_path / "in").write_bytes(b"content")
    other = tmp_path / "other"
    if points_to == "a file":
        other.write_bytes(b"theirs")
    target = tmp_path / "out"
    target.symlink_to(target if points_to == "itself" else other)
    if replace:
        files.encrypt(tmp_path / "in", target, EMAIL, replace=True, **ROW)
        assert stat.S_ISREG(target.lstat().st_mode)
    else:
        with pytest.raises(InvalidInput):
            files.encrypt(tmp_path / "in", target, EMAIL, **ROW)
        assert target.is_symlink()
    assert other.exists() == (points_to == "a file")
    if other.exists():
        assert other.read_bytes() == b"theirs"
    assert set(names(tmp_path)) <= {"in", "other", "out"}


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
@pytest.mark.parametrize("was", [None, 0o644, 0o666, 0o400])
@pytest.mark.parametrize("nameless", [True, False])
def test_whatever_stood_there_or_is_set_only_the_owner_reads_it(files, tmp_path, monkeypatch, umask, was, nameless):
    if not nameless:
        monkeypatch.setattr(os, "O_TMPFILE", os.O_DIRECTORY)
    (tmp_path / "in").write_bytes(b"content")
    if was is not None:
        (tmp_path / "out").write_bytes(b"old")
        (tmp_path / "out").chmod(was)
    before = os.umask(umask)
    try:
        files.encrypt(tmp_path / "in", tmp_path / "out", EMAIL, replace=was is not None, **ROW)
        files.decrypt(tmp_path / "out", tmp_path / "copy", EMAIL, "billing", **ROW)
    finally:
        os.umask(before)
    assert [stat.S_IMODE((tmp_path / one).stat().st_mode) for one in ("out", "copy")] == [0o600, 0o600]
    assert names(tmp_path) == ["copy", "in", "out"]


@pytest.mark.parametrize("name", ["ünï", "a b", "-rf", "x" * 200, ".hidden", "a\nb"], ids=repr)
def test_any_name_will_do(files, tmp_path, name):
    (tmp_path / "in").write_bytes(b"content")
    files.encrypt(tmp_path / "in", tmp_path / name, EMAIL, **ROW)
    files.encrypt(tmp_path / "in", tmp_path / name, EMAIL, replace=True, **ROW)
    assert names(tmp_path) == sorted(["in", name])


def test_a_file_is_sealed_in_its_own_place(files, tmp_path):
    path = tmp_path / "scan"
    path.write_bytes(CONTENT)
    files.encrypt(path, path, EMAIL, replace=True, purpose="billing", **ROW)
    assert CONTENT[-200:] not in path.read_bytes()
    files.decrypt(path, path, EMAIL, "billing", replace=True, **ROW)
    assert path.read_bytes() == CONTENT
    assert names(tmp_path) == ["scan"]


# a disk that is full, a process that is ended


@pytest.mark.parametrize("at", ["fsync", "link"])
@pytest.mark.parametrize("nameless", [True, False])
def test_a_disk_that_fails_at_the_end_leaves_nothing(files, tmp_path, monkeypatch, at, nameless):
    if not nameless:
        monkeypatch.setattr(os, "O_TMPFILE", os.O_DIRECTORY)
    raw = sealed(files, tmp_path, CONTENT * 3)

    def full(*_args, **_more):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, at, full)
    with pytest.raises(InvalidInput, match="check the path and the space"):
        files.decrypt(tmp_path / "sealed", tmp_path / "copy", EMAIL, "billing", **ROW)
    assert names(tmp_path) == ["sealed"]
    assert (tmp_path / "sealed").read_bytes() == raw


ENDED = """
import json, signal, sys, time
from pathlib import Path
from guard.client.files import Files
from guard.client.local import LocalKeys

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs the tests with nohup ignores it, and so would this
answer, folder = json.loads(sys.argv[1]), Path(sys.argv[2])
def call(name, **members):
    return answer
def stop(done, size):
    if done > size // 2 and not room:
        print("half", flush=True)
        time.sleep(60)
room = int(sys.argv[3])
if room:
    import resource, signal
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
Files(LocalKeys(call)).decrypt(folder / "sealed", folder / "copy", "customers.email", "billing", progress=stop, row="17")
"""


@pytest.fixture
def other_process(shared, files, tmp_path):
    """Begins to open a sealed file in a process of its own, which has room for so many bytes, or 0: stops half way."""
    raw = sealed(files, tmp_path, CONTENT * 4)
    start = base64.b64encode(raw[:START]).decode()
    answer = shared.shop.call("billing", "leases.create", fields=[EMAIL], purpose="billing", start=start).model_dump()

    def begin(room):
        command = [sys.executable, "-c", ENDED, json.dumps(answer), str(tmp_path), str(room)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path)

    return begin


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL, signal.SIGHUP, signal.SIGQUIT])
def test_whoever_is_ended_in_the_middle_leaves_nothing_that_was_opened(other_process, tmp_path, number):
    with other_process(0) as child:
        assert child.stdout.readline() == b"half\n"
        child.send_signal(number)
        assert child.wait(20) != 0
    assert [one for one in names(tmp_path) if not one.startswith("core")] == ["sealed"]


@pytest.mark.parametrize("room", [1, BLOCK_BYTES, 2 * BLOCK_BYTES + 1])
def test_where_there_is_no_more_room_nothing_is_left(other_process, tmp_path, room):
    with other_process(room) as child:
        said = child.communicate(timeout=30)[1].decode()
    assert child.returncode == 1
    assert "InvalidInput" in said
    assert "check the path and the space" in said
    assert names(tmp_path) == ["sealed"]


def test_a_target_that_is_a_folder_is_told_and_left(files, tmp_path):
    (tmp_path / "in").write_bytes(b"content")
    (tmp_path / "out").mkdir()
    for replace in (False, True):
        with pytest.raises(InvalidInput):
            files.encrypt(tmp_path / "in", tmp_path / "out", EMAIL, replace=replace, **ROW)
    assert names(tmp_path) == ["in", "out"]
    assert names(tmp_path / "out") == []


def test_what_is_published_was_on_disk_before_it_had_a_name(files, tmp_path, monkeypatch):
    done, fsync, link = [], os.fsync, os.link
    monkeypatch.setattr(module.os, "fsync", lambda number: (done.append("fsync"), fsync(number))[1])
    monkeypatch.setattr(module.os, "link", lambda *args, **more: (done.append("link"), link(*args, **more))[1])
    (tmp_path / "in").write_bytes(b"content")
    files.encrypt(tmp_path / "in", tmp_path / "out", EMAIL, **ROW)
    assert done == ["fsync", "link", "fsync"]
