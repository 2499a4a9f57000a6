"""A key store that somebody changed by hand, row by row: the start names it, or what was moved opens nothing."""

import shutil
import sqlite3
from contextlib import closing

import pytest

from guard.errors import GuardError, KeyStoreRolledBack, NotFound, StoreDamaged
from guard.vault.envelope import header_of
from tests.vault.clinic import backup, clinic, put_back

GONE = "GRD-KEY-020"
NAMES = ("ana", "bob", "cem", "dot")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A stopped home in which ana and bob were forgotten, and the sealed values of all four."""
    folder = tmp_path_factory.mktemp("changed")
    with clinic(folder / "home") as one:
        sealed = {name: one.seal(name, name) for name in NAMES}
        one.forget_now("ana")
        one.forget_now("bob")
        one.after(1.1)
        buckets = {receipt.bucket for receipt in one.receipts()}
    assert len(buckets) in {1, 2}
    return folder, sealed


@pytest.fixture
def home(prepared, tmp_path):
    shutil.copytree(prepared[0] / "home", tmp_path / "home")
    return tmp_path / "home"


def change(home, statement, name="keys.db"):
    """Run a statement on a store; how many rows it changed."""
    with closing(sqlite3.connect(home / name)) as database, database:
        return database.execute(statement).rowcount


def refusal(home):
    """What a start says against this home; None where it starts."""
    try:
        with clinic(home):
            return None
    except GuardError as error:
        return error


def test_as_it_was_it_starts_and_the_living_are_read(home, prepared):
    with clinic(home) as one:
        found = {name: one.open(name, text) for name, text in prepared[1].items()}
    assert found == {"ana": GONE, "bob": GONE, "cem": "cem", "dot": "dot"}


LEDGER = {
    "the last entry taken out": "DELETE FROM shred_ledger WHERE seq = (SELECT max(seq) FROM shred_ledger)",
    "the first entry taken out": "DELETE FROM shred_ledger WHERE seq = 1",
    "all taken out": "DELETE FROM shred_ledger",
    "an entry's bytes cut": "UPDATE shred_ledger SET entry = substr(entry, 1, length(entry) - 1) WHERE seq = 1",
    "an entry's bytes empty": "UPDATE shred_ledger SET entry = x'' WHERE seq = 2",
    "an entry with a byte more": "UPDATE shred_ledger SET entry = CAST(entry || x'00' AS BLOB) WHERE seq = 1",
    "an entry twice": "UPDATE shred_ledger SET entry = (SELECT entry FROM shred_ledger WHERE seq = 1) WHERE seq = 2",
    "another number": "UPDATE shred_ledger SET seq = 7 WHERE seq = 2",
    "another key": "UPDATE shred_ledger SET dek_id = '0000000000000000' WHERE seq = 1",
    "another tenant": "UPDATE shred_ledger SET tenant = 'globex' WHERE seq = 2",
    "another bucket": "UPDATE shred_ledger SET bucket = (bucket + 1) % 4096 WHERE seq = 1",
    "another version": "UPDATE shred_ledger SET bucket_version = bucket_version + 1 WHERE seq = 2",
    "another time": "UPDATE shred_ledger SET time_us = time_us + 1 WHERE seq = 1",
}


@pytest.mark.parametrize("statement", LEDGER.values(), ids=LEDGER.keys())
def test_a_changed_ledger_is_refused_by_name_and_the_right_one_is_taken_again(home, tmp_path, statement):
    """Who takes an entry out wants somebody back who was forgotten; who adds or changes one wants somebody gone."""
    kept = backup(home / "keys.db", tmp_path / "kept.db")
    assert change(home, statement) >= 1
    error = refusal(home)
    assert isinstance(error, KeyStoreRolledBack)
    assert "key store" in error.detail.lower()
    assert "ana" not in error.detail
    put_back(kept, home, "keys.db")
    assert refusal(home) is None


def test_no_start_changed_the_database_while_it_was_refused(home, tmp_path):
    change(home, LEDGER["the last entry taken out"])
    with closing(sqlite3.connect(home / "guard.db")) as database:
        before = database.execute("SELECT dek_id, wrapped, revoked_us FROM subject_deks ORDER BY 1").fetchall()
    for _ in range(2):
        assert isinstance(refusal(home), KeyStoreRolledBack)
    with closing(sqlite3.connect(home / "guard.db")) as database:
        assert database.execute("SELECT dek_id, wrapped, revoked_us FROM subject_deks ORDER BY 1").fetchall() == before


META = {
    "no identity": "DELETE FROM key_meta",
    "another identity": "UPDATE key_meta SET value = 'x' WHERE name = 'id'",
    "fewer bucket keys than the database uses": "UPDATE key_meta SET value = '0' WHERE name = 'generation'",
    "another format": "UPDATE key_meta SET value = '999' WHERE name = 'format'",
}


@pytest.mark.parametrize("statement", META.values(), ids=META.keys())
def test_a_store_of_another_kind_or_home_is_refused(home, statement):
    if not change(home, statement):
        pytest.fail("the statement meets no row; look at the names in key_meta")
    assert isinstance(refusal(home), (KeyStoreRolledBack, StoreDamaged))


@pytest.mark.parametrize("content", [b"", b"SQLite format 3\x00", b"no database at all" * 400])
def test_a_file_that_is_no_store_is_refused_and_not_written_over(home, content):
    for suffix in ("-wal", "-shm"):
        (home / f"keys.db{suffix}").unlink(missing_ok=True)
    (home / "keys.db").write_bytes(content)
    assert isinstance(refusal(home), (KeyStoreRolledBack, StoreDamaged))
    assert not content or (home / "keys.db").read_bytes() == content


def bucket_of(sealed):
    """The bucket of a value's key, by the id in its header."""
    return int.from_bytes(header_of(sealed).key_id, "big") >> 52


def opened(home, name, sealed):
    """What a reader gets after a start: the value, the code in its place, or the code of the start's refusal."""
    try:
        with clinic(home) as one:
            return one.open(name, sealed)
    except GuardError as error:
        return error.code


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE bucket_keks SET wrapped = (SELECT wrapped FROM bucket_keks WHERE bucket = {other} LIMIT 1)",
        "UPDATE bucket_keks SET wrapped = zeroblob(length(wrapped))",
        "UPDATE bucket_keks SET wrapped = substr(wrapped, 1, 20)",
        "UPDATE bucket_keks SET key_id = randomblob(8)",
        "UPDATE bucket_keks SET wrapped = NULL",
        "DELETE FROM bucket_keks",
    ],
)
def test_a_bucket_key_that_was_moved_changed_or_taken_away_opens_nobody(home, prepared, statement):
    """Of the person in it nothing is shown, and everybody else is as before."""
    mine = bucket_of(prepared[1]["cem"])
    other = next(number for number in range(4096) if number != mine)
    assert change(home, statement.format(other=other) + f" WHERE tenant = 'acme' AND bucket = {mine}") >= 1
    got = opened(home, "cem", prepared[1]["cem"])
    assert got != "cem"
    assert got.startswith("GRD-")
    if bucket_of(prepared[1]["dot"]) != mine:
        assert opened(home, "dot", prepared[1]["dot"]) in {"dot", got}


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE subject_deks SET wrapped = (SELECT wrapped FROM subject_deks WHERE dek_id = x'{other}')",
        "UPDATE subject_deks SET subject_ref = randomblob(length(subject_ref))",
        "UPDATE subject_deks SET tenant = 'globex'",
        "UPDATE subject_deks SET bucket_version = bucket_version + 1",
        "DELETE FROM subject_deks",
    ],
)
def test_a_person_s_wrap_that_was_moved_opens_nobody_s_values(home, prepared, statement):
    """A wrap is bound to its id, bucket and tenant: swapped with another's it opens neither."""
    mine, other = (header_of(prepared[1][name]).key_id.hex() for name in ("cem", "dot"))
    assert change(home, statement.format(other=other) + f" WHERE dek_id = x'{mine}'", "guard.db") == 1
    got = opened(home, "cem", prepared[1]["cem"])
    if "subject_ref" in statement:
        assert got in {"cem", NotFound.code}  # the id in the header names the key, whoever it is said to be of
    else:
        assert got.startswith("GRD-")
    assert opened(home, "dot", prepared[1]["dot"]) == "dot"


def test_the_wrap_of_a_forgotten_person_that_is_put_back_by_hand_is_destroyed_again(home, tmp_path, prepared):
    """Out of a backup, one row only: the ledger knows the id, and no rotation of the database does."""
    folder = tmp_path / "before"
    with clinic(folder / "home") as one:
        sealed = one.seal("ana", "x")
        with closing(sqlite3.connect(folder / "home" / "guard.db")) as database:
            row = database.execute("SELECT * FROM subject_deks").fetchone()
        one.forget_now("ana")
        assert one.open("ana", sealed) == GONE
    marks = ", ".join("?" * len(row))
    with closing(sqlite3.connect(folder / "home" / "guard.db")) as database, database:
        database.execute(f"INSERT OR REPLACE INTO subject_deks VALUES ({marks})", row)
    with clinic(folder / "home") as one:
        assert one.open("ana", sealed) == GONE
        one.after(0.1)
        assert one.open("ana", sealed) == GONE
