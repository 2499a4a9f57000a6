"""Sealing anew that would give rubbish: a fault between seal and verify leaves the old value, and the job says so."""

import sqlite3
from contextlib import closing

import pytest

from guard.errors import StoreDamaged
from guard.vault import deks, resealing
from tests.vault.clinic import clinic
from tests.vault.shop import EMAIL

NAMES = [f"person{number}@example.org" for number in range(1, 13)]


def another_value(seal, key, context, plaintext, **more):
    return seal(key, context, plaintext + b"!", **more)


def nothing(seal, key, context, _plaintext, **more):
    return seal(key, context, b"", **more)


def another_row(seal, key, context, plaintext, **more):
    return seal(key, context | {"row": "999"}, plaintext, **more)


def a_flipped_bit(seal, key, context, plaintext, **more):
    text = seal(key, context, plaintext, **more)
    return text[:40] + ("A" if text[40] != "A" else "B") + text[41:]


def cut_off(seal, key, context, plaintext, **more):
    return seal(key, context, plaintext, **more)[:-4]


def in_clear(_seal, _key, _context, plaintext, **_more):
    return plaintext.decode()


def empty(_seal, _key, _context, _plaintext, **_more):
    return ""


UNSOUND = (
    "A value that was sealed anew did not open again, so it was not written and the job stopped; "
    "check this machine's memory and processor before you start another."
)
FAULTS = (another_value, nothing, another_row, a_flipped_bit, cut_off, in_clear, empty)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_the_old_values_stay_and_the_job_fails_by_name(shop, table, monkeypatch, fault):
    table.fill(shop, NAMES)
    shop.rotate()
    before, honest = table.all(), resealing.seal_text
    with monkeypatch.context() as faulty:
        faulty.setattr(resealing, "seal_text", lambda *given, **more: fault(honest, *given, **more))
        done = shop.run_job(rows=5)
    assert (done.state, done.changed, done.failed) == ("failed", 0, 0)
    assert done.detail == UNSOUND
    assert table.all() == before
    assert shop.census() == {1: 12, 2: 0}
    assert shop.run_job(rows=5).changed == 12
    assert {row: shop.open(text, str(row)) for row, text in table.all().items()} == dict(enumerate(NAMES, 1))


@pytest.mark.parametrize("bad", [1, 5, 6, 12])
def test_one_faulty_row_keeps_its_value_and_stops_the_job_before_the_rest(shop, table, monkeypatch, bad):
    table.fill(shop, NAMES)
    shop.rotate()
    before, honest = table.all(), resealing.seal_text

    def once(key, context, plaintext, **more):
        return honest(key, context, plaintext + (b"!" if context["row"] == str(bad) else b""), **more)

    with monkeypatch.context() as faulty:
        faulty.setattr(resealing, "seal_text", once)
        done = shop.run_job(rows=5)
    kept = (bad - 1) // 5 * 5  # the batches before; that of the bad row is taken back
    assert (done.state, done.changed, done.failed, done.detail) == ("failed", kept, 0, UNSOUND)
    assert [row for row, text in table.all().items() if text == before[row]] == [*range(kept + 1, 13)]
    assert shop.run_job(rows=5).changed == 12 - kept
    assert {row: shop.open(text, str(row)) for row, text in table.all().items()} == dict(enumerate(NAMES, 1))


def test_a_version_whose_rows_could_not_be_moved_is_not_retired(shop, table, monkeypatch):
    table.fill(shop, NAMES)
    shop.rotate()
    honest = resealing.seal_text
    with monkeypatch.context() as faulty:
        faulty.setattr(resealing, "seal_text", lambda *given, **more: cut_off(honest, *given, **more))
        shop.run_job()
    with pytest.raises(Exception, match="12"):
        shop.call("keys", "keys.retire", key=EMAIL, version=1)
    assert shop.open(table.all()[1], "1") == NAMES[0]


@pytest.mark.parametrize(
    "fault",
    [
        lambda wrap, parent, place, key: wrap(parent, place, bytes(len(key))),
        lambda wrap, parent, place, key: wrap(parent, place, key[::-1]),
        lambda wrap, parent, place, key: wrap(parent, place, bytes(key) * 2),
    ],
    ids=["zeros", "reversed", "longer"],
)
def test_a_person_s_key_that_would_be_wrapped_wrongly_stays_as_it_was(tmp_path, monkeypatch, fault):
    home = tmp_path / "home"
    with clinic(home) as one:
        sealed = {name: one.seal(name, name) for name in ("ana", "bob")}
        subjects = one.forgetting.subjects
        with one.world.guard.store.read() as tx:
            row = deks.dek_store.by_ref(tx, subjects.ref("acme", "ana"))
            bucket = deks.bucket_of(row.dek_id)
            honest = deks.wrap
            with monkeypatch.context() as faulty:
                faulty.setattr(deks, "wrap", lambda parent, place, key: fault(honest, parent, place, key))
                with pytest.raises(StoreDamaged, match="nothing was replaced"):
                    subjects.rewrapped(tx, row, subjects.keys.find("acme", bucket).version)
        with closing(sqlite3.connect(home / "guard.db")) as database:
            kept = database.execute("SELECT wrapped FROM subject_deks WHERE dek_id = ?", (row.dek_id,)).fetchone()
        assert kept == (row.wrapped,)
        subjects.flush()
        assert {name: one.open(name, text) for name, text in sealed.items()} == {"ana": "ana", "bob": "bob"}
