"""The anchor file: made by hand, moved by compare-and-swap, whole after any torn write."""

import multiprocessing
import stat

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guard.audit import anchor_store
from guard.audit.anchor_store import SLOT_BYTES, AnchorFile, create
from guard.errors import AlreadyExists, AnchorMissing, ForkDetected, InvalidInput


@pytest.fixture
def file(tmp_path):
    create(tmp_path / "anchor")
    return AnchorFile(tmp_path / "anchor")


def test_a_new_one_holds_nothing_and_is_for_its_owner(file):
    assert file.read() == ""
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600


def test_it_is_never_made_over_another(file):
    file.swap("", "first")
    with pytest.raises(AlreadyExists):
        create(file.path)
    assert file.read() == "first"


def test_where_it_cannot_be_made_that_is_said(tmp_path):
    with pytest.raises(InvalidInput, match="No such file"):
        create(tmp_path / "no" / "anchor")


def test_it_moves_from_note_to_note(file):
    old = ""
    for number in range(5):
        new = f"note {number} — with a dash\n" * (number + 1)
        file.swap(old, new)
        assert file.read() == new
        old = new
    assert file.path.stat().st_size == 2 * SLOT_BYTES


def test_whoever_expects_another_note_changes_nothing(file):
    file.swap("", "first")
    with pytest.raises(ForkDetected, match="another process"):
        file.swap("", "second")
    assert file.read() == "first"


def test_a_note_too_long_changes_nothing(file):
    file.swap("", "first")
    with pytest.raises(InvalidInput):
        file.swap("first", "x" * SLOT_BYTES)
    assert file.read() == "first"


def test_a_missing_one_is_named_and_not_made(file):
    file.path.unlink()
    with pytest.raises(AnchorMissing, match="No such file"):
        file.read()
    with pytest.raises(AnchorMissing):
        file.swap("", "first")
    assert not file.path.exists()


@pytest.mark.parametrize("content", [b"", b"\n" * 2 * SLOT_BYTES, b"guard/anchor/v1 nonsense\n", bytes(range(64))])
def test_what_is_no_anchor_is_named(file, content):
    file.path.write_bytes(content)
    with pytest.raises(AnchorMissing, match="something else"):
        file.read()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.integers(0, SLOT_BYTES), st.integers(0, 2))
def test_a_torn_write_leaves_the_old_note_or_the_new_one(tmp_path_factory, length, swaps):
    path = tmp_path_factory.mktemp("torn") / "anchor"
    create(path)
    file = AnchorFile(path)
    old = ""
    for number in range(swaps):
        file.swap(old, old := f"note {number}\n" * 40)
    before = path.read_bytes()
    file.swap(old, "the new one\n" * 50)
    after = path.read_bytes()
    start = 0 if before[:SLOT_BYTES] != after[:SLOT_BYTES] else SLOT_BYTES
    torn = before[:start] + after[start : start + length] + before[start + length :]
    path.write_bytes(torn)
    assert file.read() in {old, "the new one\n" * 50}
    assert before[SLOT_BYTES - start : 2 * SLOT_BYTES - start] == after[SLOT_BYTES - start : 2 * SLOT_BYTES - start]


def _contend(path, number, results):
    file = AnchorFile(path)
    won = 0
    for turn in range(200):
        try:
            file.swap(file.read(), f"{number} {turn}")
            won += 1
        except ForkDetected:
            continue
    results.put(won)


def test_of_two_who_expect_the_same_note_one_wins(file):
    results = multiprocessing.Queue()
    workers = [multiprocessing.Process(target=_contend, args=(file.path, number, results)) for number in range(2)]
    for worker in workers:
        worker.start()
    won = [results.get(timeout=30) for _ in workers]
    for worker in workers:
        worker.join(30)
    sequence = (
        anchor_store._parse(file.path.read_bytes()[:SLOT_BYTES]),
        anchor_store._parse(file.path.read_bytes()[SLOT_BYTES:]),
    )
    assert max(slot[0] for slot in sequence if slot) == 1 + sum(won)


def test_evidence_stays_as_it_was_first_found(tmp_path):
    folder = anchor_store.keep_evidence(tmp_path, "rollback-9-5", {"anchor.note": "first"})
    anchor_store.keep_evidence(tmp_path, "rollback-9-5", {"anchor.note": "second", "log.note": "mine"})
    assert {(path.name, path.stat().st_mode & 0o777) for path in folder.iterdir()} == {
        ("anchor.note", 0o600),
        ("log.note", 0o600),
    }
    assert (folder / "anchor.note").read_text() == "first"
    assert (folder / "log.note").read_text() == "mine"
    assert stat.S_IMODE((folder / "log.note").stat().st_mode) == 0o600
