"""Retention (A15): a prefix goes, its hashes stay; two persons, 180 days, no hold, and recorded before it acts."""

import base64
import json
import sqlite3
from contextlib import closing

import pytest

from guard.app import offline
from guard.audit.rebuild import rebuild
from guard.audit.stream import Streams
from guard.audit.tree import leaf_hash, root_of, verify_consistency
from guard.catalogue import PLATFORM
from guard.errors import Conflict, Denied, GuardError, InvalidRequest, LegalHold, NotFound, RangePruned, StoreDamaged
from guard.settings import Settings, Sink
from tests.audit.test_rebuild import files, rows
from tests.audit.test_shell_archive import entries, fill
from tests.world import world

DAY = 86_400


@pytest.fixture
def place(tmp_path):
    """700 records, 200 days, and some more; all that is complete is in files."""
    with world(tmp_path / "home") as made:
        fill(made, 100)
        made.first_checkpoint = made.call("checkpoints.publish")
        fill(made, 700)
        made.clock.advance(200 * DAY)
        fill(made, 1100)
        archive(made)
        made.before = entries(made.guard)
        made.eve, made.bob = (
            made.hire(PLATFORM, f"user:local|{name}", "role:platform-admin") for name in ("eve", "bob")
        )
        made.auditor = made.hire(PLATFORM, "user:local|auditor", "role:auditor")
        yield made


def archive(made):
    made.call("checkpoints.publish")
    made.beat("log.archive", lambda _now: [(PLATFORM, {})] * 3)


def prune(made):
    asked = made.call("prunes.request", made.eve, keep_days=180)
    return made.call("prunes.approve", made.bob, to=asked.requested_to)


def sweep(made):
    return made.beat("prunes.sweep", lambda _now: [(PLATFORM, {})] * 3)


def hold(made, state="active"):
    with closing(sqlite3.connect(made.home / "guard.db", timeout=5)) as db, db:
        values = ("hld_1", "acme", "tenant", "acme", "M-1", state, "user:local|legal", 1)
        db.execute(f"INSERT INTO audit_holds VALUES ({', '.join('?' * 8)}, NULL, NULL, NULL)", values)


def test_two_persons_remove_what_is_old_enough_and_nothing_else(place):
    asked = place.call("prunes.request", place.eve, keep_days=180)
    assert (asked.min_index, asked.requested_to, asked.requested_by) == (0, 512, "user:local|eve")
    assert len(entries(place.guard)) >= len(place.before)
    done = place.call("prunes.approve", place.bob, to=512)
    assert (done.min_index, done.requested_to) == (512, None)
    sweep(place)
    names = {path.rsplit("/", 1)[1] for path in files(place.home) if "entries" in path}
    assert names == {"002", "003"}
    assert {path.rsplit("/", 1)[1] for path in files(place.home) if "/tile/0/" in path} == {"000", "001", "002", "003"}
    assert rows(place.home)["audit_index"][0][0] == 512
    with place.guard.store.read() as tx:
        reader = place.guard.log.reader(tx)
        assert list(reader.entries(512, len(place.before))) == place.before[512:]
        assert list(reader.leaves(len(place.before))) == [leaf_hash(one) for one in place.before]


def test_the_decision_is_on_record_before_anything_is_removed(place):
    prune(place)
    assert any("entries/000" in path for path in files(place.home))
    found = place.call("records.list", place.auditor, action="prunes.approve").data[0]
    body = json.loads(place.call("checkpoints.publish") and entries_at(place, found.index))["b"]
    assert body["data"] == {"first": 0, "to": 512, "asked_by": "user:local|eve"}
    assert place.guard.log.to_remove == 512


def entries_at(made, index):
    with made.guard.store.read() as tx:
        return made.guard.log.reader(tx).entry(index)


@pytest.mark.parametrize("swept", [False, True])
def test_a_pruned_record_answers_by_name_and_the_same_for_everybody(place, swept):
    prune(place)
    if swept:
        sweep(place)
    place.call("checkpoints.publish")
    own = place.hire("acme", "user:local|ida", "role:auditor")
    told = set()
    for index in (0, 255, 511):
        for actor in (place.auditor, own):
            with pytest.raises(RangePruned) as raised:
                place.call("records.prove", actor, index=index)
            told.add((raised.value.code, raised.value.extra["min_index"]))
    assert told == {("GRD-AUDIT-410", 512)}
    tenant = json.loads(place.before[512])["b"]["tenant"]
    assert place.call("records.prove", place.auditor, index=512, tenant=tenant).entry.encode() == place.before[512]


def test_proofs_from_checkpoints_before_the_prune_still_hold(place):
    prune(place)
    sweep(place)
    latest = place.call("checkpoints.publish")
    leaves = [leaf_hash(one) for one in place.before]
    for first in (1, place.first_checkpoint.size, 256, 511, 700):
        proof = place.call("checkpoints.prove", place.auditor, first=first, second=latest.size)
        hashes = [base64.b64decode(one) for one in proof.hashes]
        verify_consistency(first, latest.size, root_of(leaves[:first]), base64.b64decode(latest.root), hashes)


def test_the_log_goes_on_after_a_restart_and_prunes_again(place, tmp_path):
    prune(place)
    sweep(place)
    place.close()
    with world(tmp_path / "home") as made:
        made.clock.advance(500 * DAY)
        made.eve, made.bob = (
            made.hire(PLATFORM, f"user:local|{name}", "role:platform-admin") for name in ("eve", "bob")
        )
        fill(made, 1400)
        archive(made)
        assert prune(made).min_index == 1024
        sweep(made)
        sweep(made)
        assert {path.rsplit("/", 1)[1] for path in files(made.home) if "entries" in path} == {"004"}


def test_one_person_alone_prunes_nothing(place):
    asked = place.call("prunes.request", place.eve, keep_days=180)
    with pytest.raises(Denied):
        place.call("prunes.approve", place.eve, to=asked.requested_to)
    assert place.call("prunes.read", place.bob).min_index == 0
    refused = place.call("records.list", place.auditor, action="prunes.approve").data[0]
    assert refused.status == "refused"


def test_another_request_or_an_old_one_is_not_what_was_approved(place):
    with pytest.raises(Conflict):
        place.call("prunes.approve", place.bob, to=512)
    place.call("prunes.request", place.eve, keep_days=180)
    with pytest.raises(Conflict):
        place.call("prunes.approve", place.bob, to=256)
    place.clock.advance(8 * DAY)
    with pytest.raises(Conflict):
        place.call("prunes.approve", place.bob, to=512)


@pytest.mark.parametrize("days", [0, 1, 179])
def test_the_floor_of_180_days_cannot_be_lowered(place, days):
    with pytest.raises(InvalidRequest):
        place.call("prunes.request", place.eve, keep_days=days)


def test_nothing_younger_than_what_was_asked_is_taken(place):
    with pytest.raises(Conflict):
        place.call("prunes.request", place.eve, keep_days=201)
    place.clock.advance(20 * DAY)
    assert place.call("prunes.request", place.eve, keep_days=201).requested_to == 512


@pytest.mark.parametrize("state", ["active", "releasing"])
def test_a_hold_refuses_the_request_the_approval_and_the_sweep(place, state):
    """One person's wish to release it changes nothing: two release a hold."""
    asked = place.call("prunes.request", place.eve, keep_days=180)
    hold(place, state)
    for name, actor, request in (
        ("prunes.request", place.eve, {"keep_days": 180}),
        ("prunes.approve", place.bob, {"to": asked.requested_to}),
    ):
        with pytest.raises(LegalHold):
            place.call(name, actor, **request)
    assert place.call("prunes.read", place.bob).min_index == 0


@pytest.mark.parametrize("state", ["active", "releasing"])
def test_a_hold_that_comes_after_the_approval_keeps_what_is_still_there(place, state):
    prune(place)
    hold(place, state)
    sweep(place)
    assert any("entries/000" in path for path in files(place.home))
    assert rows(place.home)["audit_index"][0][0] == 0


def test_a_released_hold_refuses_nothing(place):
    hold(place, "released")
    assert prune(place).min_index == 512


def test_a_sink_that_is_declared_later_gets_what_the_log_still_has(place):
    prune(place)
    sweep(place)
    place.guard.gate._doors.parts[Streams].sinks = (Sink("siem", "file", path=str(place.home / "siem.jsonl")),)
    assert place.call("sinks.declare").added == ["siem"]
    pulled = place.call("sinks.pull", sink="siem", first=None)
    assert (pulled.first, pulled.entries[0].encode()) == (512, place.before[512])


@pytest.mark.parametrize("role", ["role:auditor", "role:support", "role:tenant-admin"])
def test_others_may_not_prune(place, role):
    with pytest.raises(GuardError) as raised:
        place.call("prunes.request", place.hire("acme", "user:local|mallory", role), keep_days=180)
    assert isinstance(raised.value, Denied | NotFound)


def test_sealed_values_of_pruned_records_go_with_them(place):
    with closing(sqlite3.connect(place.home / "guard.db", timeout=5)) as db, db:
        ids = dict(db.execute("SELECT idx, id FROM audit_index WHERE idx IN (10, 600)").fetchall())
        for record in ids.values():
            db.execute("INSERT INTO audit_sealed VALUES (?, 'ip', 'acme', 's', x'00', NULL)", (record,))
    prune(place)
    sweep(place)
    with place.guard.store.read() as tx:
        assert tx.exec_driver_sql("SELECT record_id FROM audit_sealed").scalars().all() == [ids[600]]


def test_a_pruned_log_is_rebuilt_as_it_was(place):
    prune(place)
    sweep(place)
    place.call("checkpoints.publish")
    place.close()
    before = rows(place.home)
    with closing(sqlite3.connect(place.home / "guard.db")) as db, db:
        db.execute("DELETE FROM audit_index")
    with offline(Settings(home=place.home)) as (store, log, where), store.write() as tx:
        rebuild(tx, log, where, lambda _done, _total: None)
    after = rows(place.home)
    assert {name: after[name] for name in before if name != "audit_head"} == {
        name: before[name] for name in before if name != "audit_head"
    }
    with closing(sqlite3.connect(place.home / "guard.db")) as db, db:
        db.execute("DELETE FROM audit_tenants")
    with pytest.raises(StoreDamaged), offline(Settings(home=place.home)) as (store, log, where), store.write() as tx:
        rebuild(tx, log, where, lambda _done, _total: None)


def test_an_export_of_a_pruned_log_has_all_hashes_and_the_kept_bundles(place):
    import zipfile

    prune(place)
    sweep(place)
    place.call("checkpoints.publish")
    view = place.call("exports.create", place.auditor, prove=[3])
    with zipfile.ZipFile(place.home / "exports" / f"{view.id}.zip") as found:
        names = set(found.namelist())
        assert json.loads(found.read("manifest.json"))["min_index"] == 512
    assert {"tile/0/000", "tile/0/001", "tile/0/002", "tile/entries/002", "proofs/3.tlog-proof"} <= names
    assert not {"tile/entries/000", "tile/entries/001"} & names


def test_a_killed_sweep_is_gone_on_with(place):
    prune(place)
    place.guard.log.files.remove_bundles(range(1))  # files went, the transaction did not come
    assert place.call("prunes.sweep").removed == 512
    assert rows(place.home)["audit_index"][0][0] == 512
    assert place.call("prunes.sweep").removed == 512
