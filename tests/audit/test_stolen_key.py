"""Stolen keys of the log: frozen where others vouched for it, new keys, and what the old ones sign is refused by name.

A11: the thief's note fails the quorum; after the freeze it fails `ranges.json`; old proofs hold.
"""

import base64
import json
import re
import shutil
import zipfile
from pathlib import Path

import pytest

from guard.audit import note as notes
from guard.audit import receipt, signers, stolen_store, store
from guard.audit.anchor_operations import UNPROVEN
from guard.audit.checkpoint import Checkpoint
from guard.audit.export import layout, policy_text
from guard.audit.incarnation_store import Keeper
from guard.audit.note import Note
from guard.audit.signers import LogKeys
from guard.audit.stolen_store import freeze
from guard.audit.tree import leaf_hash, root_of
from guard.audit.verifier.command import main, verify
from guard.catalogue import PLATFORM, Actor
from guard.errors import Conflict, InvalidRequest, KeyStolen, StoreDamaged
from tests.audit.test_shell_anchors import FIRST, ORIGIN, SECOND
from tests.audit.test_shell_archive import entries
from tests.audit.test_shell_witnesses import ask, auditor, fresh, grow, home, listed, started  # noqa: F401  fixtures
from tests.world import world

NEXT = f"{ORIGIN}.2"
REASON = "a stranger read the host"


def staff(made):
    for person in (FIRST, SECOND):
        made.hire(PLATFORM, person, "role:platform-admin", "role:auditor")


def stolen(made, since_us, vkey=None, reason=REASON):
    """What the command does."""
    made.guard.standing.repair()
    given = {"reason": reason, "second": SECOND, "since_us": since_us}
    vkey = vkey or made.guard.log.verifier.encode()
    return made.call("log.created", Actor(FIRST, PLATFORM, "user", UNPROVEN), stolen=vkey, **given)


def first_record(made):
    return json.loads(entries(made.guard)[0])["b"]


def forged(thief, head, now_us):
    """A checkpoint by all the keys that were stolen."""
    return Note(head.text(), signers.sign(thief, head, now_us)).encode()


def ranges_of(made):
    """The ranges.json of the newest export, which auditors keep."""
    made.call("checkpoints.publish")
    made.clock.advance(1)
    exported = made.call("exports.create", auditor(made), format="tiles")
    path = made.call("exports.download", auditor(made), export=exported.id).path
    with zipfile.ZipFile(path) as archive:
        return archive.read("ranges.json").decode(), archive.read("policy.txt").decode(), Path(path)


@pytest.fixture
def robbed(tmp_path):
    """A log whose keys were stolen an hour ago; nobody outside vouches for it."""
    with world(tmp_path / "home") as made:
        staff(made)
        good = grow(made)
        exported = made.call("exports.create", auditor(made), format="tiles")
        shutil.copy(made.call("exports.download", auditor(made), export=exported.id).path, tmp_path / "before.zip")
        made.clock.advance(3600)
        made.since_us = made.clock()
        made.clock.advance(3600)
        made.good, made.bad, made.thief = good, grow(made), made.guard.log.signers
        made.promised = made.guard.log.receipts
        yield made


def test_the_log_is_frozen_before_the_theft_and_goes_on_under_new_keys(robbed, tmp_path):
    size = robbed.guard.log.size
    root = store_root(robbed)
    answer = stolen(robbed, robbed.since_us)
    assert (answer.origin, answer.follows) == (NEXT, ORIGIN)
    told = first_record(robbed)
    data = told["data"]
    assert (data["frozen_size"], data["frozen_by"]) == (robbed.good.size, "own store")
    assert data["frozen_note"] == robbed.good.note
    assert (data["old_size"], base64.b64decode(data["old_root"])) == (size, root), "what came after is named too"
    assert (data["reason"], data["since_us"], data["second"]) == (REASON, robbed.since_us, SECOND)
    old = {one.verifier.public for one in robbed.thief} | {robbed.promised.verifier.public}
    log = robbed.guard.log
    assert not {one.verifier.public for one in log.signers} & old
    assert log.receipts.verifier.public not in old
    robbed.clock.advance(1)
    signed = robbed.call("checkpoints.publish")
    assert {one.name for one in notes.parse(signed.note.encode()).signatures} == {NEXT}
    folder = tmp_path / "home" / data["kept_in"]
    report = verify(folder, vkeys=[robbed.thief[0].verifier.encode()])
    assert (report.faults, report.size, report.unchecked) == ([], robbed.good.size, [])
    assert (folder / "distrusted" / str(robbed.bad.size)).read_text() == robbed.bad.note
    assert len(list(folder.glob("unsigned/*"))) == size - robbed.good.size


def store_root(made):
    with made.guard.store.read() as tx:
        return made.guard.log.own(tx).head.root


def test_the_record_says_that_the_persons_were_named_and_not_authenticated(robbed):
    stolen(robbed, robbed.since_us)
    told = first_record(robbed)
    assert told["data"]["authenticated"] is False
    assert told["actor"] == {"id": FIRST, "type": "user", "auth": UNPROVEN}


def test_after_a_restart_the_new_keys_sign_and_the_old_ones_do_not(robbed, tmp_path):
    stolen(robbed, robbed.since_us)
    made = {one.verifier for one in robbed.guard.log.signers}
    receipts = robbed.guard.log.receipts.verifier
    shutil.copytree(tmp_path / "home", tmp_path / "again")
    with world(tmp_path / "again") as again:
        assert {one.verifier for one in again.guard.log.signers} == made
        assert again.guard.log.receipts.verifier == receipts
        assert again.guard.log.anchors.stolen == {robbed.thief[0].verifier.public}
        again.clock.advance(9000)
        again.call("checkpoints.publish")
        rows = {one.vkey: one for one in again.call("log_keys.list", auditor(again)).data}
    assert {rows[one.verifier.encode()].stolen_us for one in robbed.thief} == {robbed.since_us}
    assert {rows[one.verifier.encode()].to_size for one in robbed.thief} == {robbed.good.size}


class TestWhatAuditorsHold:
    def test_an_export_from_before_still_verifies_under_the_ranges_of_today(self, robbed, tmp_path):
        stolen(robbed, robbed.since_us)
        ranges, policy, path = ranges_of(robbed)
        assert not [one for one in robbed.thief if one.verifier.encode() in policy], "a policy without its line"
        report = verify(tmp_path / "before.zip", ranges=ranges)
        assert (report.faults, report.unchecked) == ([], [])
        assert verify(path, ranges=ranges).faults == []

    def test_a_longer_log_by_the_thief_is_refused_by_name(self, robbed, tmp_path, capsys):
        later = robbed.call("exports.create", auditor(robbed), format="tiles")
        shutil.copy(robbed.call("exports.download", auditor(robbed), export=later.id).path, tmp_path / "later.zip")
        assert verify(tmp_path / "later.zip").faults == []
        stolen(robbed, robbed.since_us)
        own = tmp_path / "ranges.json"
        own.write_text(ranges_of(robbed)[0])
        assert main([str(tmp_path / "later.zip"), "--ranges", str(own)]) == 7
        said = capsys.readouterr().out
        assert re.search(
            rf"FAULT checkpoint: the key {ORIGIN}\+[0-9a-f]{{8}} was stolen at 20\d\d-\d\d-\d\dT[0-9:]+Z or later "
            rf"\(ranges.json\) and is believed up to size {robbed.good.size}, and it signed size {robbed.bad.size}",
            said,
        )

    def test_another_history_of_the_frozen_size_is_refused(self, robbed, tmp_path):
        other = self.rewritten(robbed, tmp_path, robbed.good.size)
        assert verify(other).faults == [], "the keys are the right ones, so nothing else gives it away"
        stolen(robbed, robbed.since_us)
        (fault, *_) = verify(other, ranges=ranges_of(robbed)[0]).faults
        assert "another root for the size" in fault.detail

    def test_a_shorter_history_is_not_believed_without_a_word(self, robbed, tmp_path):
        other = self.rewritten(robbed, tmp_path, robbed.good.size - 1)
        stolen(robbed, robbed.since_us)
        report = verify(other, ranges=ranges_of(robbed)[0])
        assert report.faults == []
        assert len(report.unchecked) == 2, "one line for each key that signed"
        assert all(f"proof of consistency with size {robbed.good.size}" in told for told in report.unchecked)

    def rewritten(self, made, tmp_path, size):
        """A log of *size* in which the first record is another one, signed by the thief."""
        kept = entries(made.guard)[:size]
        other = json.loads(kept[0])
        other["b"]["request"]["id"] = "forged"
        kept[0] = json.dumps(other, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        leaves = [leaf_hash(one) for one in kept]
        head = Checkpoint(ORIGIN, size, root_of(leaves))
        keys = [one.verifier for one in made.thief]
        folder = tmp_path / "forged"
        for name, data in layout(ORIGIN, [forged(made.thief, head, made.clock())], kept, leaves, policy_text(keys)):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
        return folder


class TestReceipts:
    def test_a_receipt_by_the_stolen_key_proves_no_omission_whatever_time_it_states(self, robbed):
        never = receipt.sign(
            ORIGIN, robbed.promised.name, robbed.promised.key, record_id=ID, body=b"{}", promise_by_us=1
        ).encode()
        stolen(robbed, robbed.since_us)
        ana = robbed.hire("acme", "user:local|ana", "role:support")
        with pytest.raises(KeyStolen, match="was stolen at") as caught:
            robbed.call("receipts.verify", ana, receipt=never)
        assert (caught.value.code, caught.value.extra["id"]) == ("GRD-AUDIT-043", ID)

    def test_under_the_name_of_the_new_log_it_is_refused_as_well(self, robbed):
        stolen(robbed, robbed.since_us)
        name = f"{NEXT}/receipts"
        made = receipt.sign(NEXT, name, robbed.promised.key, record_id=ID, body=b"{}", promise_by_us=1).encode()
        with pytest.raises(KeyStolen):
            robbed.call("receipts.verify", robbed.hire("acme", "user:local|ana", "role:support"), receipt=made)

    def test_receipts_of_the_new_key_are_as_good_as_ever(self, robbed):
        stolen(robbed, robbed.since_us)
        ana = robbed.hire("acme", "user:local|ana", "role:support")
        operation = robbed.gate.operations["actors.whoami"]
        unit = robbed.gate.begin(operation, operation.takes(), ana, "r1")
        robbed.gate._durable(unit)
        assert robbed.call("receipts.verify", ana, receipt=unit.receipt()).id

    def test_the_ranges_name_it(self, robbed):
        stolen(robbed, robbed.since_us)
        told = json.loads(ranges_of(robbed)[0])[robbed.promised.verifier.encode()]
        assert told == {"from_size": 0, "stolen_us": robbed.since_us, "to_size": 0}


ID = "0197f2ab-0000-7000-8000-000000000001"


class TestWhoVouches:
    def test_the_last_checkpoint_that_the_quorum_saw_before(self, started, fresh):  # noqa: F811
        one = fresh("one")
        with started(one.setting("one"), quorum=1) as made:
            staff(made)
            seen = grow(made)
            assert not ask(made, "one").alarm
            grow(made)
            names = ("one",)
            with made.guard.store.read() as tx:
                line = tx.exec_driver_sql("SELECT line FROM audit_cosignatures").scalar_one()
                stated = stolen_store._stated_us(line)  # the witness has a clock of its own
                later = max(made.clock(), stated) + 1_000_001
                assert freeze(tx, names, 1, later, 0) == frozen(seen, "witnesses")
                assert freeze(tx, names, 2, later, 0).by == "own store", "no quorum"
                assert freeze(tx, (), 1, later, 0).by == "own store", "a witness that the settings do not name"
                assert freeze(tx, names, 1, min(stated, made.clock()), 0).by != "witnesses", "seen after the theft"
                assert freeze(tx, names, 1, later, seen.size + 1).size > seen.size, "its records are pruned"
                assert freeze(tx, names, 1, 0, 0) == stolen_store.Frozen(0, stolen_store.EMPTY_ROOT, "nobody")
            stolen(made, made.clock())
            told = first_record(made)["data"]
            assert told["frozen_size"] == seen.size or told["frozen_by"] == "own store"

    def test_a_thief_s_note_fails_the_quorum(self, started, fresh, tmp_path):  # noqa: F811
        one = fresh("one")
        with started(one.setting("one"), quorum=1) as made:
            staff(made)
            grow(made)
            ask(made, "one")
            exported = made.call("exports.create", auditor(made), format="tiles")
            path = Path(made.call("exports.download", auditor(made), export=exported.id).path)
            shutil.unpack_archive(path, tmp_path / "log")
            policy = (tmp_path / "log" / "policy.txt").read_text()
            assert verify(tmp_path / "log", policy=policy).faults == []
            head = Checkpoint(ORIGIN, exported.size, base64.b64decode(exported.root))
            (tmp_path / "log" / "checkpoint").write_bytes(forged(made.guard.log.signers, head, made.clock()))
            assert "cosigned by nobody" in str(verify(tmp_path / "log", policy=policy).faults)

    def test_a_time_stamp_or_the_bucket(self, robbed):
        with robbed.guard.store.write() as tx:
            for kind, size, time_us in (("rfc3161:one", robbed.good.size, 5), ("worm", robbed.bad.size, 9)):
                tx.exec_driver_sql(
                    "INSERT INTO audit_anchors (kind, size, note, status, time_us) VALUES (?, ?, 'x', 'verified', ?)",
                    (kind, size, time_us),
                )
            assert freeze(tx, (), 0, 6, 0) == frozen(robbed.good, "rfc3161:one")
            assert freeze(tx, (), 0, 10, 0) == frozen(robbed.bad, "worm")
            tx.exec_driver_sql("UPDATE audit_checkpoints SET note = '' WHERE size = ?", (robbed.bad.size,))
            assert freeze(tx, (), 0, 10, 0) == frozen(robbed.good, "rfc3161:one"), "without a note it shows nothing"

    def test_a_thief_cannot_stop_the_service_with_a_note_that_a_witness_shows(self, robbed):
        with robbed.guard.store.read() as tx:
            own = robbed.guard.log.own(tx)
        bogus = forged(robbed.thief, Checkpoint(ORIGIN, 10**6, bytes(32)), robbed.clock()).decode()
        stolen(robbed, robbed.since_us)
        with robbed.guard.store.read() as tx:
            own = robbed.guard.log.own(tx)
        thief = [signers.Signer.of(NEXT, one.private) for one in robbed.thief]
        renamed = forged(thief, Checkpoint(NEXT, 10**6, bytes(32)), robbed.clock()).decode()
        for text in (bogus, renamed):
            robbed.guard.log.anchors.hear(own, "one", text)
        assert robbed.guard.standing.sound
        real = forged(robbed.guard.log.signers, Checkpoint(NEXT, 10**6, bytes(32)), robbed.clock()).decode()
        robbed.guard.log.anchors.hear(own, "one", real)
        assert not robbed.guard.standing.sound, "by a key that nobody else has it is a rollback"


def frozen(view, by):
    return stolen_store.Frozen(view.size, base64.b64decode(view.root), by)


class TestMarking:
    def test_a_key_that_came_after_what_is_believed_is_believed_for_nothing(self, robbed):
        robbed.call("log_keys.rotate", Actor(FIRST, PLATFORM, "user"), overlap_days=1)
        stolen(robbed, robbed.since_us)
        with robbed.guard.store.read() as tx:
            rows = {row.vkey: row for row in stolen_store.log_keys(tx, ORIGIN)}
        sizes = sorted((row.from_size, row.to_size, row.frozen_root is not None) for row in rows.values())
        assert sizes == [(0, 0, False)] * 2 + [(0, robbed.good.size, True)] * 2

    def test_the_same_private_key_is_stolen_under_the_names_of_earlier_incarnations_too(self, robbed):
        with robbed.guard.store.write() as tx:
            robbed.gate._doors.parts[LogKeys].succeed(tx, NEXT, 3, robbed.clock())
            stolen_store.mark(tx, NEXT, stolen_store.Frozen(1, bytes(32), "x"), 77, robbed.clock())
            assert {row.stolen_us for row in stolen_store.log_keys(tx)} == {77}
            assert {row.to_size for row in stolen_store.log_keys(tx, ORIGIN)} == {3}

    def test_it_can_happen_again(self, robbed):
        stolen(robbed, robbed.since_us)
        robbed.clock.advance(60)
        grow(robbed)
        again = robbed.guard.log.signers
        robbed.clock.advance(60)
        second = robbed.guard.log.receipts.verifier
        since_us = robbed.clock() - 1
        assert stolen(robbed, since_us).origin == f"{ORIGIN}.3"
        with robbed.guard.store.read() as tx:
            since = {row.vkey: row.stolen_us for row in stolen_store.log_keys(tx)}
            receipts = [key for key, _ in stolen_store.stolen_receipt_keys(tx)]
        assert {since[one.verifier.encode()] for one in robbed.thief} == {robbed.since_us}, "the first time stays"
        assert {since[one.verifier.encode()] for one in again} == {since_us}
        assert set(receipts) == {robbed.promised.verifier, second}


class TestRefusals:
    @pytest.mark.parametrize("since", [None, "tomorrow"])
    def test_a_time_that_is_missing_or_to_come(self, robbed, since):
        with pytest.raises(InvalidRequest, match="--since"):
            stolen(robbed, since and robbed.clock() + 10**9)
        assert robbed.guard.log.origin == ORIGIN

    def test_a_key_that_is_not_the_log_s(self, robbed):
        with pytest.raises(Conflict, match="log-keys"):
            stolen(robbed, robbed.since_us, vkey="guard.example/other+00000000+AAAA")
        assert robbed.guard.log.origin == ORIGIN

    @pytest.mark.parametrize("which", ["receipts", "mldsa44"])
    def test_each_of_the_keys_may_be_named(self, robbed, which):
        log = robbed.guard.log
        vkey = log.receipts.verifier if which == "receipts" else log.signers[1].verifier
        assert stolen(robbed, robbed.since_us, vkey=vkey.encode()).origin == NEXT

    def test_what_cannot_be_kept_changes_nothing(self, robbed, monkeypatch):
        before = (robbed.guard.log.signers, robbed.guard.log.receipts, robbed.guard.log.size)

        def broken(*_given):
            raise StoreDamaged("the disk is full, say")

        monkeypatch.setattr(Keeper, "keep", broken)
        with pytest.raises(StoreDamaged):
            stolen(robbed, robbed.since_us)
        log = robbed.guard.log
        assert (log.signers, log.receipts) == before[:2]
        with robbed.guard.store.read() as tx:
            assert stolen_store.publics(tx) == frozenset()
            assert store.read_origin(tx) == ORIGIN
