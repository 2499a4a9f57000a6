"""Forgetting a person in a real guard: at once, back again, for good; holds; receipts; restored and rolled-back stores."""

import sqlite3
import threading

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from guard.audit.note import parse, verify
from guard.db.key_schema import bucket_keks
from guard.errors import Denied, DoesNotOpen, GuardError, KeyStoreRolledBack, LegalHold, NotFound, SubjectForgotten
from guard.vault.deks import _dek_place
from guard.vault.envelope import header_of
from guard.vault.key_store import BucketRow
from tests.vault.clinic import DIARY, backup, clinic, put_back
from tests.vault.shop import b64

GONE = SubjectForgotten.code


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


class TestUse:
    def test_each_person_has_a_key_of_their_own_and_it_opens_nobody_else(self, home):
        with clinic(home) as one:
            ana, bob = one.seal("ana", "a"), one.seal("bob", "b")
            again = one.seal("ana", "c", row="2")
            assert (one.open("ana", ana), one.open("bob", bob), one.open("ana", again, row="2")) == ("a", "b", "c")
            assert ana[7:20] == again[7:20] != bob[7:20]  # the key's id in the header
            assert one.open("bob", ana) == one.open("ana", bob) == "GRD-CRYPT-001"

    def test_a_key_survives_a_restart_and_serves_other_fields_of_the_person(self, home):
        with clinic(home) as one:
            note, diary = one.seal("ana", "a"), one.seal("ana", "d", field=DIARY)
        with clinic(home) as one:
            assert one.open("ana", note) == "a"
            assert one.open("ana", diary, field=DIARY) == "d"

    def test_another_tenant_has_other_keys_and_finds_nothing(self, home):
        with clinic(home) as one:
            sealed = one.seal("ana", "a")
            other = type(one)(one.world, "globex")
            assert other.open("ana", sealed) == DoesNotOpen.code
            assert other.seal("ana", "a")[7:20] != sealed[7:20]

    def test_a_batch_answers_each_item_in_its_place(self, home):
        with clinic(home) as one:
            names = ["ana", "", "bob", "ana"]
            items = [one.item(name, str(row), plaintext=b64(f"{row}")) for row, name in enumerate(names)]
            items.insert(2, {"field": "patients.room", "context": {"row": "9"}, "plaintext": b64("room")})
            answers = one.answers("fields.encrypt", one.storing, items)
            assert ["problem" in answer for answer in answers] == [False, True, False, False, False]
            assert one.open("bob", answers[3]["ciphertext"], row="2") == "2"
            assert one.open("ana", answers[4]["ciphertext"], row="3") == "3"

    def test_first_writes_of_one_person_from_many_threads_make_one_key(self, home):
        with clinic(home) as one:
            sealed: list[str] = []
            threads = [threading.Thread(target=lambda: sealed.append(one.seal("ana", "a"))) for _ in range(12)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert len(sealed) == 12
            assert len({text[7:20] for text in sealed}) == 1
            assert {one.open("ana", text) for text in sealed} == {"a"}
            assert one.forgetting.subjects._pending == {}


class TestForget:
    def test_it_is_unreadable_at_once_and_comes_back_during_the_grace(self, home):
        with clinic(home) as one:
            ana, bob = one.seal("ana", "a"), one.seal("bob", "b")
            view = one.forget("ana", reason="by letter")
            assert view.stage == "revoked"
            assert one.open("ana", ana) == one.seal("ana", "more") == GONE
            assert one.open("bob", bob) == "b"
            assert one.after(6.9) == 0
            assert one.world.call("subjects.restore", one.officer, subject="ana").stage == "restored"
            assert one.open("ana", ana) == "a"
            assert one.after(30) == 0
            assert one.open("ana", ana) == "a"

    def test_after_the_grace_the_key_is_destroyed_and_cannot_be_restored(self, home):
        with clinic(home) as one:
            ana, ref = one.seal("ana", "a"), one.forgetting.subjects.ref("acme", "ana")
            one.forget("ana")
            assert one.after(7.1) == 1
            receipt = one.receipts()[0]
            assert (receipt.stage, receipt.seq, receipt.bucket_version) == ("destroyed", 1, 1)
            with pytest.raises(NotFound):
                one.world.call("subjects.restore", one.officer, subject="ana")
            assert one.open("ana", ana) == GONE
            assert ref not in (home / "guard.db").read_bytes()
            fresh = one.seal("ana", "new")
            assert one.open("ana", fresh) == "new"
            assert one.open("ana", ana) == GONE

    def test_at_once_takes_two_and_nobody_forgets_himself(self, home):
        with clinic(home) as one:
            one.seal("ana")
            one.seal("user:local|olga")
            with pytest.raises(Denied):
                one.forget("user:local|olga")
            one.forget("ana", at_once=True)
            with pytest.raises(Denied, match="second person"):
                one.forget("ana", at_once=True)
            assert one.forget("ana", one.second).stage == "revoked"
            view = one.forget("ana", one.second, at_once=True)
            assert (view.stage, view.approved_by) == ("destroyed", one.second.subject)

    def test_the_two_stores_hold_no_name_afterwards(self, home):
        with clinic(home) as one:
            one.seal("ana-the-patient")
            one.forget_now("ana-the-patient")
        for name in ("keys.db", "guard.db"):
            assert b"ana-the-patient" not in (home / name).read_bytes()

    def test_a_value_computed_before_the_revocation_is_not_answered_after_it(self, home):
        with clinic(home) as one:
            ana = one.seal("ana", "a")
            gate = one.world.gate
            raw = {"purpose": "billing", "items": [one.item("ana", ciphertext=ana)]}
            unit = gate.begin(*gate.parse("fields.decrypt", raw), one.billing, "early")  # computed, not yet on record
            one.forget("ana")
            with pytest.raises(SubjectForgotten):
                _settled(gate, unit)

    def test_a_first_write_that_was_computed_before_another_one_uses_the_same_key(self, home):
        with clinic(home) as one:
            gate = one.world.gate
            raw = {"items": [one.item("ana", plaintext=b64("early"))]}
            unit = gate.begin(*gate.parse("fields.encrypt", raw), one.storing, "early")
            later = one.seal("ana", "later")
            early = _settled(gate, unit)["results"][0]["ciphertext"]
            assert (one.open("ana", early), one.open("ana", later)) == ("early", "later")


def _settled(gate, unit):
    gate._durable(unit)
    if unit.error is not None:
        raise unit.error
    return unit.result


class TestHolds:
    def hold(self, one, subject="ana"):
        return one.world.call(
            "holds.place", one.second, scope="subject", subject=subject, matter="case-1", reason="court"
        ).id

    def test_a_hold_refuses_and_its_release_lets_go(self, home):
        with clinic(home) as one:
            ana = one.seal("ana", "a")
            hold = self.hold(one)
            with pytest.raises(LegalHold):
                one.forget("ana")
            assert one.open("ana", ana) == "a"
            for who in (one.officer, one.second):
                one.world.call("holds.release", who, hold=hold, reason="closed")
            assert one.forget("ana").stage == "revoked"

    def test_a_hold_during_the_grace_stops_the_end_and_not_the_way_back(self, home):
        with clinic(home) as one:
            ana = one.seal("ana", "a")
            one.forget("ana")
            self.hold(one)
            with pytest.raises(LegalHold):
                one.forget("ana", one.second, at_once=True)
            one.after(8)
            assert one.receipts()[0].stage == "revoked"
            one.world.call("subjects.restore", one.officer, subject="ana")
            assert one.open("ana", ana) == "a"

    def test_hold_against_erasure_from_two_threads_whoever_is_first_holds_whole(self, home):
        with clinic(home) as one:
            outcomes = set()
            for number in range(24):
                name = f"p{number}"
                sealed = one.seal(name, "x")
                request = one.forget(name).id
                barrier, failed = threading.Barrier(2), []

                def race(act, barrier=barrier, failed=failed):
                    barrier.wait()
                    try:
                        act()
                    except GuardError as error:
                        failed.append(error.code)

                erase = lambda name=name: one.forget(name, one.second, at_once=True)  # noqa: E731  two acts, side by side
                hold = lambda name=name: self.hold(one, name)  # noqa: E731
                acts = (erase, hold) if number % 2 else (hold, erase)
                threads = [threading.Thread(target=race, args=(act,)) for act in acts]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                [receipt] = [found for found in one.receipts() if found.id == request]
                outcomes.add(stage := receipt.stage)
                ledger = one.forgetting.subjects.keys.shredded(bytes.fromhex(receipt.subject[4:]))
                if stage == "revoked":
                    assert failed == [LegalHold.code]
                    assert ledger is None
                    one.world.call("subjects.restore", one.officer, subject=name)
                    assert one.open(name, sealed) == "x"
                else:
                    assert failed == []  # a hold on what is gone covers what comes
                    assert ledger is not None
                    assert one.open(name, sealed) == GONE
            assert outcomes == {"revoked", "destroyed"}


class TestRotation:
    def test_only_the_dirty_bucket_is_rotated_and_everybody_in_it_stays_readable(self, home):
        with clinic(home) as one:
            sealed = _neighbours(one)
            one.forget_now("ana")
            keys = one.forgetting.subjects.keys
            bucket = one.receipts()[0].bucket
            assert one.after(0.5) == 0  # the cycle has not come round
            one.after(1)
            assert keys.find("acme", bucket).version == 2
            assert keys.find("acme", bucket, 1).state == "retired"
            assert keys.find("acme", (bucket + 1) % 4096).version == 1
            one.forgetting.subjects.flush()
            assert {one.open(name, text) for name, text in sealed.items() if name != "ana"} == {"x"}

    def test_the_old_key_goes_with_the_last_backup_and_then_the_person_is_unrecoverable(self, home):
        with clinic(home) as one:
            one.seal("ana")
            one.forget_now("ana")
            bucket = one.receipts()[0].bucket
            one.after(1.1)
            due = one.receipts()[0]
            assert due.unrecoverable_us - due.rotated_us == 60 * 86_400_000_000
            one.after(29.5)
            assert one.forgetting.subjects.keys.find("acme", bucket, 1).state == "retired"
            one.after(1)
            assert one.forgetting.subjects.keys.find("acme", bucket, 1).wrapped is None
            assert one.receipts()[0].stage == "destroyed"
            for _ in range(4):
                one.after(10)
            assert one.receipts()[0].stage == "unrecoverable"


class TestReceipt:
    def test_it_is_signed_by_the_log_and_says_what_is_so_and_what_is_not(self, home):
        with clinic(home) as one:
            one.seal("ana")
            one.forget_now("ana")
            one.after(1.1)
            [receipt] = one.receipts()
            note = parse(receipt.receipt.encode())
            assert verify(note, [one.world.guard.log.verifier])
            title, origin, facts = note.text.splitlines()
            assert title == "guard/shred-receipt/v1"
            assert origin == one.world.guard.log.origin
            for part in (
                '"seq":1',
                receipt.entry_hash,
                '"keys_us":2592000000000',
                "blind indexes",
                '"bucket_version":1',
            ):
                assert part in facts
            assert "ana" not in facts


class TestStores:
    """The test: a backup from before an erasure, with its table of keys, the current root and the current key store."""

    def test_a_restored_backup_leaves_the_person_unreadable_and_everybody_else_readable(self, home, tmp_path):
        with clinic(home) as one:
            sealed = _neighbours(one)
            old = backup(home / "guard.db", tmp_path / "old.db")
            one.forget_now("ana")
            one.after(1.1)  # the bucket is rotated too
            mark = bytes.fromhex(one.receipts()[0].subject[4:])
            assert mark in old.read_bytes()
        put_back(old, home, "guard.db")
        with clinic(home) as one:
            assert one.forgetting.replayed == [mark.hex()]
            assert one.open("ana", sealed["ana"]) == GONE
            assert {one.open(name, text) for name, text in sealed.items() if name != "ana"} == {"x"}
            assert one.receipts()[0].stage == "destroyed"
            one.steps()
            assert one.forgetting.replayed == []
            one.after(33)  # before the retired key goes, rows that came back under it are moved again
            one.forgetting.subjects.flush()
            assert one.forgetting.subjects.keys.find("acme", one.receipts()[0].bucket, 1).wrapped is None
            assert {one.open(name, text) for name, text in sealed.items() if name != "ana"} == {"x"}

    def test_when_it_is_unrecoverable_no_key_that_is_left_opens_the_wrap_in_the_backup(self, home, tmp_path):
        with clinic(home) as one:
            sealed = _neighbours(one, others=40)
            old = backup(home / "guard.db", tmp_path / "old.db")
            one.forget_now("ana")
            mine = one.receipts()[0].bucket
            assert _opened_by(one, old, "ana")  # as long as the bucket's old key is kept, who has all opens all
            for days in (1.1, 31, 31):
                one.after(days)
            assert one.receipts()[0].stage == "unrecoverable"
            assert not _opened_by(one, old, "ana")
            assert all(_opened_by(one, old, name) for name in sealed if _bucket(one, old, name) != mine)
        put_back(old, home, "guard.db")
        with clinic(home) as one:
            assert one.open("ana", sealed["ana"]) == GONE
            others = {name: text for name, text in sealed.items() if _bucket(one, old, name) != mine}
            assert len(others) >= 40
            assert {one.open(name, text) for name, text in others.items()} == {"x"}

    def test_a_key_store_that_was_put_back_is_refused_by_name(self, home, tmp_path):
        with clinic(home) as one:
            one.seal("ana")
            old = backup(home / "keys.db", tmp_path / "old-keys.db")
            one.forget_now("ana")
            one.steps()
        new = backup(home / "keys.db", tmp_path / "new-keys.db")
        put_back(old, home, "keys.db")
        with pytest.raises(KeyStoreRolledBack, match="older key store was put back"):
            clinic(home).__enter__()
        put_back(new, home, "keys.db")
        with clinic(home) as one:
            assert one.receipts()[0].stage == "destroyed"

    def test_one_that_lacks_a_rotation_that_the_database_has_is_refused_too(self, home, tmp_path):
        with clinic(home) as one:
            one.seal("ana")
            one.forget_now("ana")
            old = backup(home / "keys.db", tmp_path / "old-keys.db")
            one.after(1.1)
        put_back(old, home, "keys.db")
        with pytest.raises(KeyStoreRolledBack, match="bucket keys that the database uses"):
            clinic(home).__enter__()

    def test_none_and_another_one_are_refused(self, home, tmp_path):
        with clinic(home) as one:
            one.seal("ana")
        with clinic(tmp_path / "other") as one:
            one.seal("ana")
        kept = backup(home / "keys.db", tmp_path / "kept.db")
        put_back(tmp_path / "other" / "keys.db", home, "keys.db")
        with pytest.raises(KeyStoreRolledBack, match="that of another"):
            clinic(home).__enter__()
        (home / "keys.db").unlink()
        with pytest.raises(KeyStoreRolledBack, match="got none"):
            clinic(home).__enter__()
        assert not (home / "keys.db").exists()
        put_back(kept, home, "keys.db")
        with clinic(home) as one:
            assert one.seal("bob")


def _neighbours(one, others=3):
    """Values of ana, of others, and of one more person in ana's bucket."""
    sealed = {"ana": one.seal("ana", "x")} | {f"p{number}": one.seal(f"p{number}", "x") for number in range(others)}
    subjects = one.forgetting.subjects
    random, mark = subjects._random, bytes.fromhex(_key_id(sealed["ana"]))
    # Ids of keys are random; this one is made to lie in the bucket of ana.
    subjects._random = lambda size: mark[:2] + random(size - 2) if size == 64 else random(size)
    sealed["neighbour"] = one.seal("neighbour", "x")
    subjects._random = random
    assert _key_id(sealed["neighbour"])[:3] == mark.hex()[:3]
    return sealed


def _key_id(sealed):
    return header_of(sealed).key_id.hex()


def _row(one, database, name):
    ref = one.forgetting.subjects.ref("acme", name)
    with sqlite3.connect(database) as db:
        return db.execute("SELECT dek_id, wrapped FROM subject_deks WHERE subject_ref = ?", (ref,)).fetchone()


def _bucket(one, database, name):
    return int.from_bytes(_row(one, database, name)[0], "big") >> 52


def _opened_by(one, database, name):
    """Whether any bucket key of the key store opens a wrap of a backup: raw AES-256-SIV, every key, every place."""
    dek_id, wrapped = _row(one, database, name)
    subjects = one.forgetting.subjects
    wanted = bucket_keks.select()
    if name != "ana":
        wanted = wanted.where(bucket_keks.c.bucket == _bucket(one, database, name))
    with subjects.keys._store.read() as tx:
        rows = [BucketRow(**row) for row in tx.execute(wanted).mappings()]
    with one.world.guard.store.read() as tx:
        for row in rows:
            if row.wrapped is None:
                continue
            key = subjects.open_bucket(tx, row).expose()
            try:
                AESSIV(key).decrypt(wrapped, [_dek_place(row, dek_id).encode()])
            except InvalidTag:
                continue
            return True
    return False
