"""Files beside other work on one lease: whoever began under it ends under it, and no use is lost from the count."""

import os
import threading
import time

import pytest

from guard.client import local as kept
from guard.client.files import BLOCK_BYTES, Files
from guard.errors import DoesNotOpen, LeaseEnded
from guard.vault.envelope import from_text
from tests.client.leasing import EMAIL, PHONE, office

ROW = {"row": "17"}
BLOCKS = 8


@pytest.fixture
def own(tmp_path):
    with office(tmp_path / "home") as made:
        yield made


@pytest.fixture
def scan(tmp_path):
    path = tmp_path / "scan"
    path.write_bytes(os.urandom(BLOCKS * BLOCK_BYTES))
    return path


@pytest.fixture
def few(monkeypatch):
    """Leases of 16 uses, taken as a busy client takes leases of ten thousand."""
    own = kept.Keys.own

    def short(self, fields, members):
        return own(self, fields, {"max_uses": 16} | members)

    monkeypatch.setattr(kept.Keys, "own", short)
    return 16


def given_back(line):
    return {
        members["lease"]: members["used"]
        for name, members in line.asked
        if name == "leases.renew" and members["ttl_seconds"] == 0
    }


def seal(local, count):
    return [local.seal(EMAIL, "a", **ROW) for _ in range(count)]


def leases_of(line):
    return line.names().count("leases.create")


@pytest.mark.parametrize("before", [0, 1, 14, 15, 16, 17])
def test_a_file_under_any_use_of_a_lease_is_sealed_to_its_end(own, scan, tmp_path, few, before):
    line, local = own.line()
    seal(local, before)
    done = Files(local).encrypt(scan, tmp_path / "out", EMAIL, progress=lambda *_: line.wait(30), **ROW)
    assert done.read == BLOCKS * BLOCK_BYTES
    assert leases_of(line) == (1 if before < few else 2)
    Files(local).decrypt(tmp_path / "out", tmp_path / "copy", EMAIL, "billing", **ROW)
    assert (tmp_path / "copy").read_bytes() == scan.read_bytes()


@pytest.mark.parametrize("beside", [1, 5, 16, 40])
def test_values_that_use_the_lease_up_beside_a_file_do_not_end_the_file(own, scan, tmp_path, few, beside):
    line, local = own.line()
    Files(local).encrypt(scan, tmp_path / "out", EMAIL, progress=lambda *_: seal(local, beside), **ROW)
    assert leases_of(line) == -(-(1 + beside * BLOCKS) // few)
    local.close()
    assert sum(given_back(line).values()) == 1 + beside * BLOCKS  # each use once, the file's with them
    assert own.shop.call("keys", "leases.list").data == []


def test_a_lease_whose_place_was_taken_is_given_back_when_the_file_is_done(own, scan, tmp_path, few):
    line, local = own.line()
    first = local.sealing(EMAIL, "store", ROW)
    during = []

    def busy(done, _size):
        seal(local, few)
        during.append(given_back(line).get(first.id))
        assert done <= BLOCK_BYTES or not first.usable()

    Files(local).encrypt(scan, tmp_path / "out", EMAIL, progress=busy, **ROW)
    assert during == [None] * BLOCKS
    assert given_back(line)[first.id] == few
    with pytest.raises(LeaseEnded):
        first.seal(EMAIL, "x", **ROW)


def test_under_the_last_use_a_file_is_renewed_and_asks_no_more_than_it_must(own, scan, tmp_path, few):
    line, local = own.line()
    seal(local, few - 1)
    asked = len(line.asked)
    Files(local).encrypt(scan, tmp_path / "out", EMAIL, progress=lambda *_: line.wait(100), **ROW)
    assert line.names()[asked:] == ["leases.renew"] * 3


def test_a_retired_lease_still_ends_at_its_time(own, scan, tmp_path, few):
    line, local = own.line()

    def busy(*_):
        if not line.cut:
            seal(local, few)
        line.cut = True
        line.wait(100)

    with pytest.raises(LeaseEnded, match="end of its time"):
        Files(local).encrypt(scan, tmp_path / "out", EMAIL, progress=busy, **ROW)
    assert not (tmp_path / "out").exists()


def test_a_retired_lease_still_ends_when_it_is_revoked(own, scan, tmp_path, few):
    line, local = own.line()

    def busy(*_):
        seal(local, few)
        own.shop.call("keys", "leases.revoke", field=EMAIL)
        line.wait(100)

    with pytest.raises(LeaseEnded, match="was revoked"):
        Files(local).encrypt(scan, tmp_path / "out", EMAIL, progress=busy, **ROW)
    assert sorted(one.name for one in tmp_path.iterdir() if one.is_file()) == ["scan"]


@pytest.mark.parametrize("fault", [KeyboardInterrupt, LeaseEnded, ValueError])
def test_a_file_that_breaks_off_lets_its_lease_go(own, scan, tmp_path, few, fault):
    line, local = own.line()
    first = local.sealing(EMAIL, "store", ROW)

    def fail(*_):
        seal(local, few)
        raise fault("fault")

    with pytest.raises(BaseException, match="fault"):
        Files(local).encrypt(scan, tmp_path / "out", EMAIL, progress=fail, **ROW)
    assert given_back(line) == {first.id: few}


def test_a_key_that_is_put_out_by_others_opens_the_file_that_it_began(own, scan, tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "MAX_KEPT", 2)
    line, local = own.line()
    sealed = [own.line()[1].seal(EMAIL, "x", **ROW) for _ in range(BLOCKS + 1)]
    Files(local).encrypt(scan, tmp_path / "out", EMAIL, **ROW)
    local.close()
    values = iter(sealed)
    Files(local).decrypt(
        tmp_path / "out",
        tmp_path / "copy",
        EMAIL,
        "billing",
        progress=lambda *_: local.open(EMAIL, next(values), "billing", **ROW),
        **ROW,
    )
    assert (tmp_path / "copy").read_bytes() == scan.read_bytes()
    assert len(given_back(line)) == 1 + 1 + len(sealed) - 2  # the sealer's, the file's, all values' but the two kept


def test_files_in_threads_share_leases_with_values(own, scan, tmp_path, few):
    line, local = own.line()
    errors = []

    def work(number):
        try:
            for turn in range(3):
                name = f"{number}-{turn}"
                Files(local).encrypt(scan, tmp_path / name, EMAIL, **ROW)
                seal(local, 7)
                Files(local).decrypt(tmp_path / name, tmp_path / f"{name}.copy", EMAIL, "billing", **ROW)
        except BaseException as error:
            errors.append(error)
            raise

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert errors == []
    content = scan.read_bytes()
    assert all(one.read_bytes() == content for one in tmp_path.glob("*.copy"))
    local.close()
    assert sum(given_back(line).values()) == 4 * 3 * (1 + 7 + 1)


# what a file is read from


@pytest.mark.parametrize("pieces", [(1,), (15, 16), (135, 136, 137), (50, 100, 150), tuple(range(1, 190, 20))], ids=str)
def test_a_pipe_that_gives_its_bytes_in_pieces_opens(own, tmp_path, pieces):
    raw = from_text(own.line()[1].seal(EMAIL, "hello", **ROW))
    os.mkfifo(tmp_path / "pipe")

    def write():
        with (tmp_path / "pipe").open("wb", buffering=0) as pipe:
            for begin, end in zip((0, *pieces), (*pieces, len(raw)), strict=True):
                pipe.write(raw[begin:end])
                time.sleep(0.02)

    writer = threading.Thread(target=write)
    writer.start()
    Files(own.line("billing")[1]).decrypt(tmp_path / "pipe", tmp_path / "copy", EMAIL, "billing", **ROW)
    writer.join()
    assert (tmp_path / "copy").read_bytes() == b"hello"


def test_a_padded_value_is_no_file_whose_padding_would_be_content(own, tmp_path):
    (tmp_path / "value").write_bytes(from_text(own.line()[1].seal(PHONE, "079", **ROW)))
    with pytest.raises(DoesNotOpen, match=r"^ciphertext does not open in this context$"):
        Files(own.line("delivery")[1]).decrypt(tmp_path / "value", tmp_path / "copy", PHONE, "delivery", **ROW)
    assert not (tmp_path / "copy").exists()


def test_a_file_of_a_padded_field_is_its_content_and_no_more(own, tmp_path):
    (tmp_path / "in").write_bytes(b"079")
    Files(own.line()[1]).encrypt(tmp_path / "in", tmp_path / "sealed", PHONE, **ROW)
    Files(own.line("delivery")[1]).decrypt(tmp_path / "sealed", tmp_path / "copy", PHONE, "delivery", **ROW)
    assert (tmp_path / "copy").read_bytes() == b"079"
