"""Key versions and jobs beside keys of persons: what moves from one to the other, what the census says, what a job leaves."""

import sqlite3
from contextlib import closing, contextmanager

import pytest

from guard.client.sealing import FieldSealer
from guard.errors import Denied, InvalidContext, KeyInUse, SubjectForgotten
from guard.vault.envelope import FLAG_PADDED, FLAG_SUBJECT_KEY, SuiteId, header_of
from guard.vault.vault import Vault
from tests.vault.clinic import DIARY, NOTE, POLICY, Clinic, plain, source, store_row
from tests.vault.shop import policies_with, world

KEYED = ", keyed_by: subject"
INGEST = POLICY.replace("keyed_by: subject, pad: 16", "keyed_by: subject, pad: 16, ingest: x25519")
OF_PERSONS = ("", 1, "under keys of persons")
HOUR_US = 3_600_000_000


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "ward.db"
    return path, source(path)


@contextmanager
def opened(tmp_path, table, policy=POLICY, **settings):
    """The clinic under another text of its policy, with the people who keep keys."""
    policies = policies_with(tmp_path, "patients.yaml", policy)
    with world(tmp_path / "home", policies=policies, sources=(table[1],), **settings) as made:
        here = Clinic(made)
        here.keeper = made.hire("acme", "svc:keys", "role:key-admin")
        yield here


@pytest.fixture
def ward(tmp_path, table):
    with opened(tmp_path, table) as here:
        yield here


def anew(here, subject, text, row="1", field=NOTE):
    items = [here.item(subject, row, field, ciphertext=text)]
    return here.world.call("fields.reencrypt", here.keeper, items=items)["results"][0]


def census(here, field=NOTE, **more):
    answer = here.world.call("censuses.run", here.keeper, field=field, **more)
    return {(row.key_id, row.version, row.state): row.count for row in answer.unowned or answer.data if row.count}


def keys(here, name, key=NOTE, **more):
    return here.world.call(f"keys.{name}", here.keeper, key=key, **more)


def versions(here, key):
    return {one.version: (one.state, one.sealed, one.opened_us) for one in keys(here, "versions", key).data}


def job(here, field):
    made = here.world.call("reencryptions.create", here.keeper, source="ward", field=field)
    worker = type(here.keeper)("system:worker", "acme", "system")
    for _ in range(50):
        view = here.world.call("reencryptions.step", worker, job=made.job, rows=3)
        if view.state not in {"planned", "running", "verifying"}:
            return view
    raise AssertionError("the job still runs")


def by_name(tmp_path, table, count=3):
    """Notes of persons p1, p2 ... in rows of the same number, sealed under the field's named key as it was once."""
    with opened(tmp_path, table, POLICY.replace(KEYED, "")) as here:
        for number in range(1, count + 1):
            store_row(table[0], number, note=here.seal(f"p{number}", f"note {number}", str(number)))


def notes(table):
    with closing(sqlite3.connect(table[0])) as db:
        return dict(db.execute("SELECT id, note FROM patients WHERE note IS NOT NULL").fetchall())


def replace_note(table, row, text):
    with closing(sqlite3.connect(table[0])) as db, db:
        db.execute("UPDATE patients SET note = ? WHERE id = ?", (text, row))


# from a named key to the keys of persons


def test_values_from_before_move_under_their_persons_keys_and_the_named_version_can_go(tmp_path, table):
    by_name(tmp_path, table)
    with opened(tmp_path, table) as here:
        assert {header_of(text).flags for text in notes(table).values()} == {0}
        assert [here.open(f"p{row}", text, str(row)) for row, text in notes(table).items()] == [
            f"note {row}" for row in (1, 2, 3)
        ]
        keys(here, "rotate")
        for row, text in notes(table).items():
            with pytest.raises(KeyInUse, match=f"still seals {4 - row} values of patients.note"):
                keys(here, "retire", version=1)
            fresh = anew(here, f"p{row}", text, str(row))
            assert fresh["key_version"] == 1
            assert header_of(fresh["ciphertext"]).flags == FLAG_SUBJECT_KEY
            assert here.open(f"p{row}", fresh["ciphertext"], str(row)) == f"note {row}"
            replace_note(table, row, fresh["ciphertext"])
        assert census(here) == {OF_PERSONS: 3}
        assert versions(here, NOTE)[2][1] == 0  # the named key sealed none of them
        keys(here, "retire", version=1)
        assert here.open("p2", notes(table)[2], "2") == "note 2"
        here.forget_now("p2")
        assert here.open("p2", notes(table)[2], "2") == SubjectForgotten.code
        assert here.open("p3", notes(table)[3], "3") == "note 3"


def test_padding_goes_along(tmp_path, table):
    with opened(tmp_path, table, POLICY.replace(KEYED, "")) as here:
        text = here.seal("p1", "dear diary", field=DIARY)
    with opened(tmp_path, table) as here:
        fresh = anew(here, "p1", text, field=DIARY)["ciphertext"]
        assert header_of(fresh).flags == FLAG_SUBJECT_KEY | FLAG_PADDED
        assert here.open("p1", fresh, field=DIARY) == "dear diary"


def test_reading_a_value_from_before_is_a_use_of_its_version_and_reading_a_persons_is_none(tmp_path, table):
    by_name(tmp_path, table, 1)
    with opened(tmp_path, table, quiet_hours=24) as here:
        own = here.seal("p9", "own", "9")
        assert here.open("p9", own, "9") == "own"
        assert versions(here, NOTE)[1][2] is None
        assert here.open("p1", notes(table)[1]) == "note 1"
        assert versions(here, NOTE)[1][2] is not None
        keys(here, "rotate")
        replace_note(table, 1, anew(here, "p1", notes(table)[1])["ciphertext"])
        with pytest.raises(KeyInUse, match="opened a value in the last 24 hours"):
            keys(here, "retire", version=1)


def test_a_compromised_version_from_before_opens_only_with_a_grant_and_moves_without(tmp_path, table):
    by_name(tmp_path, table, 1)
    with opened(tmp_path, table) as here:
        own = here.seal("p9", "own", "9")
        keys(here, "compromise", version=1)
        items = [here.item("p1", "1", ciphertext=notes(table)[1]), here.item("p9", "9", ciphertext=own)]
        first, second = here.answers("fields.decrypt", here.billing, items)
        assert (first["problem"]["code"], plain(second["plaintext"])) == (Denied.code, "own")
        reader = here.world.hire("acme", "user:local|rea", "role:billing-service")
        here.world.hire("acme", "user:local|rea", "role:compromised-reader")
        assert [plain(one["plaintext"]) for one in here.answers("fields.decrypt", reader, items)] == ["note 1", "own"]
        fresh = anew(here, "p1", notes(table)[1])["ciphertext"]
        assert here.open("p1", fresh) == "note 1"


# a value under a person's key


def test_a_persons_value_is_answered_as_it_came_if_it_opens(ward):
    text = ward.seal("p1", "own")
    assert anew(ward, "p1", text) == {"ciphertext": text, "key_version": 1}
    assert anew(ward, "p2", text)["problem"]["code"] == "GRD-CRYPT-001"
    assert anew(ward, "p1", text, "2")["problem"]["code"] == "GRD-CRYPT-001"
    assert anew(ward, "", text)["problem"]["code"] == "GRD-CRYPT-001"


def test_the_value_of_a_forgotten_person_is_not_sealed_anew(ward):
    text, other = ward.seal("p1", "gone"), ward.seal("p2", "stays")
    ward.forget_now("p1")
    items = [ward.item("p1", ciphertext=text), ward.item("p2", ciphertext=other)]
    first, second = ward.world.call("fields.reencrypt", ward.keeper, items=items)["results"]
    assert first["problem"]["code"] == SubjectForgotten.code
    assert second == {"ciphertext": other, "key_version": 1}


def test_a_batch_of_named_and_persons_fields_answers_each_in_its_place(ward):
    room = {"field": "patients.room", "context": {"row": "1"}}
    [sealed] = ward.answers("fields.encrypt", ward.storing, [room | {"plaintext": "MTI="}])
    note = ward.seal("p1", "own")
    keys(ward, "rotate", "patients.room")
    items = [
        ward.item("p1", ciphertext=note),
        room | {"ciphertext": sealed["ciphertext"]},
        ward.item("p1", ciphertext="gd1.x"),
        room | {"ciphertext": note},
    ]
    results = ward.world.call("fields.reencrypt", ward.keeper, items=items)["results"]
    assert results[0] == {"ciphertext": note, "key_version": 1}
    assert results[1]["key_version"] == 2
    assert ["problem" in one for one in results] == [False, False, True, True]


def test_no_job_works_on_a_column_of_persons(ward):
    with pytest.raises(Exception, match=r"sealed under the keys of persons.*guard fields reencrypt"):
        ward.world.call("reencryptions.create", ward.keeper, source="ward", field=NOTE)


def test_a_job_leaves_a_persons_value_that_stands_in_a_column_of_rows(ward, table):
    """It was written into the wrong column, or the column was declared anew: it opens there for nobody."""
    stray = ward.seal("p1", "stray", "2")
    room = [{"field": "patients.room", "context": {"row": "1"}, "plaintext": "MTI="}]
    store_row(table[0], 1, room=ward.answers("fields.encrypt", ward.storing, room)[0]["ciphertext"])
    store_row(table[0], 2, room=stray)
    keys(ward, "rotate", "patients.room")
    done = job(ward, "patients.room")
    assert (done.state, done.changed, done.failed) == ("failed", 1, 1)
    with closing(sqlite3.connect(table[0])) as db:
        assert db.execute("SELECT room FROM patients WHERE id = 2").fetchone() == (stray,)
    ids = {one.version: one.key_id for one in keys(ward, "versions", "patients.room").data}
    assert census(ward, "patients.room") == {OF_PERSONS: 1, (ids[2], 2, "active"): 1}
    keys(ward, "retire", "patients.room", version=1)  # what is under a person's key needs no version of a named one


# the census


def test_the_census_has_one_number_for_all_persons_and_names_none(ward, table):
    for number in range(1, 21):
        store_row(table[0], number, note=ward.seal(f"p{number}", "x", str(number)))
    assert census(ward) == {OF_PERSONS: 20}
    ward.forget_now("p7")
    assert census(ward) == {OF_PERSONS: 20}


def test_values_of_persons_that_nobody_owns_are_one_number_too(ward, table):
    with closing(sqlite3.connect(table[0])) as db, db:
        db.execute("CREATE TABLE archive (id INTEGER PRIMARY KEY, old TEXT, raw BLOB)")
        for number in range(1, 6):
            text = ward.seal(f"p{number}", "x", str(number))
            db.execute("INSERT INTO archive VALUES (?, ?, ?)", (number, f'{{"note": "{text}"}}', text.encode()))
    answer = ward.world.call("censuses.run", ward.keeper, unowned=True)
    found = {(row.table, row.column, row.key_id, row.version, row.state, row.count) for row in answer.unowned}
    assert found == {("archive", "old", *OF_PERSONS, 5), ("archive", "raw", *OF_PERSONS, 5)}


# schedules, and values that services sealed


def test_no_schedule_touches_the_keys_of_persons(ward):
    text = ward.seal("p1", "own")
    life, ring = ward.world.gate._doors.parts[Vault].life, ward.world.gate._doors.parts[Vault].keyring
    ward.world.clock.advance(91 * 86_400)
    due = {request["key"] for _, request in life.rotations_due(ring, ward.world.clock(), 90 * 24, 1)}
    assert "patients.room" in due
    assert not due & {NOTE, DIARY}
    assert ward.open("p1", text) == "own"


@pytest.fixture
def taking(tmp_path, table):
    with opened(tmp_path, table, INGEST) as here:
        here.form = here.world.hire("acme", "svc:form", "role:writing-service")
        yield here


def from_outside(here, subject, value):
    key = here.world.call("fields.read_ingest_key", here.form, field=DIARY).model_dump()
    return FieldSealer(key).seal(value, subject=subject)


def take_in(here, subject, text):
    items = [here.item(subject, field=DIARY, ciphertext=text)]
    return here.world.call("fields.ingest", here.form, items=items).results[0]


def test_what_a_service_sealed_about_a_person_comes_under_the_persons_key(taking):
    text = from_outside(taking, "p1", "from outside")
    assert header_of(text).suite is SuiteId.SEAL
    taken = take_in(taking, "p1", text)
    assert header_of(taken["ciphertext"]).flags == FLAG_SUBJECT_KEY | FLAG_PADDED
    assert taking.open("p1", taken["ciphertext"], field=DIARY) == "from outside"
    assert take_in(taking, "p2", text)["problem"]["code"] == "GRD-CRYPT-001"
    assert take_in(taking, "", text)["problem"]["code"] == InvalidContext.code
    assert versions(taking, f"{DIARY}.ingest")[1][2] is not None
    again = anew(taking, "p1", text, field=DIARY)
    assert taking.open("p1", again["ciphertext"], field=DIARY) == "from outside"
    taking.forget_now("p1")
    assert taking.open("p1", taken["ciphertext"], field=DIARY) == SubjectForgotten.code


def test_a_public_key_for_persons_values_is_kept_while_the_column_holds_one(taking, table):
    key, text = f"{DIARY}.ingest", from_outside(taking, "p1", "x")
    store_row(table[0], 1, diary=text)
    keys(taking, "rotate", key)
    with pytest.raises(KeyInUse, match=f"Version 1 of {key} still seals 1 values"):
        keys(taking, "retire", key, version=1)
    with closing(sqlite3.connect(table[0])) as db, db:
        db.execute("UPDATE patients SET diary = ?", (take_in(taking, "p1", text)["ciphertext"],))
    assert census(taking, DIARY) == {OF_PERSONS: 1}
    keys(taking, "retire", key, version=1)
