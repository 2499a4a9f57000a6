"""Persons, their values and their keys, planted and looked for: in both stores, their logs, their backups, the audit log."""

import base64
import json
import sqlite3
from contextlib import closing, suppress

import pytest

from guard.client.sealing import FieldSealer
from guard.errors import GuardError
from guard.vault import dek_store
from tests.vault.clinic import DIARY, POLICY, Clinic, backup, source, store_row
from tests.vault.shop import b64, policies_with, world

COUNT = 120
INGESTED = "patients.arrival"
COLUMN = "  arrival: {class: health, suite: xaes, bind: [row], mask: none, purposes: [billing], ingest: x25519}\n"
VALUES = [f"diagnosis-{number:04d}-wanda" for number in range(COUNT)]
PERSONS = [f"person-{number:04d}-wanda" for number in range(COUNT)]


def refused(act, *given, **members):
    with suppress(GuardError):
        act(*given, **members)


def story(one, table):
    """Everything that is done with persons and values, rightly and wrongly."""
    for number, (person, value) in enumerate(zip(PERSONS, VALUES, strict=True)):
        row = str(number)
        note = one.seal(person, value, row=row)
        assert one.open(person, note, row=row) == value
        if number % 10 == 0:
            store_row(table, number, note=note, diary=one.seal(person, value, field=DIARY))
        if number % 10 == 1:  # a value where a ciphertext, a purpose, a field or a row belongs
            refused(one.answers, "fields.decrypt", one.billing, [one.item(person, row, ciphertext=value)])
            refused(one.answers, "fields.decrypt", one.billing, [one.item(person, value, ciphertext=note)])
            refused(one.answers, "fields.encrypt", one.storing, [one.item(person, row, field=value, plaintext="")])
            refused(one.answers, "fields.encrypt", one.storing, [one.item(person, row, plaintext=value)])
        if number % 10 == 2:  # a person where another one belongs, and one of whom nothing is held
            refused(one.open, PERSONS[number - 1], note)
            refused(one.forget, f"absent-{person}")
            one.world.call("subjects.report", one.officer, subject=f"absent-{person}", reason=value)
    administer(one)


def administer(one):
    """Reports, exports, holds, and half of all persons forgotten."""
    for number, person in enumerate(PERSONS[:40]):
        one.world.call("subjects.report", one.officer, subject=person, reason=VALUES[number])
        if number % 10 == 0:
            assert len(one.world.call("subjects.export", one.officer, subject=person).data) == 2
        if number % 4 == 1:
            refused(one.forget, person, one.officer, at_once=True, reason=VALUES[number])
        one.forget_now(person)
    for days in (1.1, 31, 31):
        one.after(days)


def arrive(one):
    """Values that a form sealed for itself, taken in."""
    form = one.world.hire("acme", "svc:form", "role:writing-service")
    sealer = FieldSealer(one.world.call("fields.read_ingest_key", form, field=INGESTED).model_dump())
    for number, value in enumerate(VALUES[:30]):
        item = {"field": INGESTED, "context": {"row": str(number)}, "ciphertext": sealer.seal(value, row=str(number))}
        [result] = one.world.call("fields.ingest", form, items=[item]).results
        assert "ciphertext" in result
        refused(one.world.call, "fields.ingest", form, items=[item | {"ciphertext": b64(value)}])


def keys_of(one):
    """Every key below the seal that this process can open, by name."""
    found = {"seal": one.world.guard.custodian.seal.expose()}
    for key in one.world.guard.custodian.vault.keyring:
        found[f"{key.label} of {key.tenant}"] = key.material.expose()
    subjects = one.forgetting.subjects
    with one.world.guard.store.read() as tx:
        for person in PERSONS[40:80]:
            row = dek_store.by_ref(tx, subjects.ref("acme", person))
            found[person] = bytes(subjects.unwrapped(tx, row))
    return {name: bytes(key) for name, key in found.items()}


@pytest.fixture(scope="module")
def left(tmp_path_factory):
    """What is left of the story: every file, running and stopped, backups, dumps, the audit log, and all keys."""
    folder = tmp_path_factory.mktemp("leaks")
    table = folder / "ward.db"
    policies = policies_with(folder, "patients.yaml", POLICY + COLUMN)
    files = {}
    with world(folder / "home", policies=policies, sources=(source(table),)) as made:
        one = Clinic(made)
        arrive(one)
        story(one, table)
        keys = keys_of(one)
        with made.guard.store.read() as tx:
            reader = made.guard.log.reader(tx)
            files["the audit log"] = b"\n".join(reader.entry(index) for index in range(made.guard.log.size))
        for name in ("guard.db", "keys.db"):
            copy = backup(folder / "home" / name, folder / f"copy-of-{name}")
            files[f"a backup of {name}"] = copy.read_bytes()
            with closing(sqlite3.connect(copy)) as database:
                files[f"a dump of {name}"] = "\n".join(database.iterdump()).encode()
        files |= {f"{path.name}, running": path.read_bytes() for path in (folder / "home").rglob("*") if path.is_file()}
        receipts = json.dumps([receipt.model_dump() for receipt in one.receipts()])
    files |= {f"{path.name}, stopped": path.read_bytes() for path in (folder / "home").rglob("*") if path.is_file()}
    files["the application's table"] = table.read_bytes()
    return files | {"receipts": receipts.encode()}, keys


def written(raw):
    """The ways in which bytes may stand in a file."""
    return (raw, raw.hex().encode(), raw.hex().upper().encode(), base64.b64encode(raw)[:-4], raw[::-1])


def test_the_looking_finds_what_is_there(left):
    files, keys = left
    assert len(files) > 12
    assert len(keys) > 40
    assert files["guard.db-wal, running"]
    assert b"subjects.forget" in files["the audit log"]
    root = bytes.fromhex(files["root.key, running"].decode().strip())
    assert any(form in files["root.key, running"] for form in written(root))


@pytest.mark.parametrize("place", ["guard.db", "keys.db", "log", "table", "receipts", ""])
def test_no_value_stands_anywhere(left, place):
    found = {
        name: [value for value in VALUES if any(form in content for form in written(value.encode()))][:3]
        for name, content in left[0].items()
        if place in name
    }
    assert {name: values for name, values in found.items() if values} == {}
    assert found


def test_no_key_stands_anywhere_but_the_root_key_in_its_file(left):
    files, keys = left
    found = {
        (name, key)
        for name, content in files.items()
        for key, raw in keys.items()
        if any(form in content for form in written(raw)) or raw[:16] in content or raw[-16:] in content
    }
    assert found == set()


def test_no_person_is_named_once_no_request_waits(left):
    """Not even in the log that is written ahead, which is emptied after each destruction."""
    found = {
        name: [person for person in PERSONS if person.encode() in content][:3] for name, content in left[0].items()
    }
    assert {name: persons for name, persons in found.items() if persons} == {}
    assert "guard.db-wal, stopped" not in left[0] or not left[0]["guard.db-wal, stopped"]


def test_what_was_forgotten_left_no_wrap(left):
    """The id of each destroyed key stands in receipts and ledger, and in no table of keys."""
    receipts = json.loads(left[0]["receipts"])
    gone = {one["subject"].removeprefix("sub_") for one in receipts if one["stage"] in {"destroyed", "unrecoverable"}}
    assert len(gone) == 40
    for name in ("a dump of guard.db", "guard.db, stopped", "guard.db-wal, running"):
        lines = [line for line in left[0][name].splitlines() if b'INSERT INTO "subject_deks"' in line]
        assert not any(one.encode() in line.lower() for line in lines for one in gone)
