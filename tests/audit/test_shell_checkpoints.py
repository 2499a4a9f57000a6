"""Signed checkpoints: only over what was read back, never after a clock that went back, and never twice."""

import base64
import sqlite3
import threading
from contextlib import closing

import pytest

from guard.audit.note import VerifierKey, open_checkpoint
from guard.audit.tree import leaf_hash, root_of, verify_consistency
from guard.catalogue import PLATFORM
from guard.errors import Conflict, Denied, GuardError, InvalidRequest, StoreDamaged
from tests.world import world

HOUR = 3600


@pytest.fixture
def place(tmp_path):
    with world(tmp_path / "home") as made:
        yield made


def publish(place):
    return place.call("checkpoints.publish")


def change(place, statement, *values):
    """What somebody with the file could do while the service runs."""
    with closing(sqlite3.connect(place.home / "guard.db", timeout=5)) as db, db:
        return db.execute(statement, values).rowcount


def roots(place):
    """Root over the first n entries, for every n, from the stored bytes."""
    with place.guard.store.read() as tx:
        entries = tx.exec_driver_sql("SELECT entry FROM audit_entries ORDER BY idx").scalars()
        leaves = [leaf_hash(one) for one in entries]
    return {size: root_of(leaves[:size]) for size in range(len(leaves) + 1)}


def test_a_checkpoint_signs_everything_committed_so_far(place):
    view = publish(place)
    head = open_checkpoint(view.note.encode(), "guard.local/guard/main", [VerifierKey.decode(view.vkey)])
    assert head.size == view.size == place.guard.log.size
    assert base64.b64decode(view.root) == head.root == roots(place)[view.size]


def test_none_is_signed_where_nothing_came_since(place):
    first = publish(place)
    place.clock.advance(599)
    assert publish(place) == first
    place.hire("acme", "user:local|ana", "role:support")
    second = publish(place)
    assert second.size > first.size
    assert count(place) == 2


def count(place):
    with place.guard.store.read() as tx:
        return tx.exec_driver_sql("SELECT count(*) FROM audit_checkpoints").scalar()


def test_an_idle_log_states_every_ten_minutes_that_it_is_as_it_was(place):
    first = publish(place)
    place.clock.advance(600)
    again = publish(place)
    assert (again.size, again.root) == (first.size, first.root)
    assert again.time_us > first.time_us
    assert again.note != first.note  # the post-quantum line holds the time
    assert count(place) == 1


def test_publishing_leaves_no_record_of_itself(place):
    publish(place)
    size = place.guard.log.size
    publish(place)
    assert place.guard.log.size == size


def test_the_latest_is_what_everybody_may_check(place):
    auditor = place.hire(PLATFORM, "user:local|auditor", "role:auditor")
    with pytest.raises(Conflict):
        place.call("checkpoints.latest", auditor)
    view = publish(place)
    assert place.call("checkpoints.latest", auditor) == view
    with pytest.raises(Denied):
        place.call("checkpoints.latest", place.hire("acme", "user:local|ana", "role:support"))


@pytest.mark.parametrize("where", ["first", "last", "middle"])
def test_one_changed_byte_since_the_last_checkpoint_stops_the_signing_and_nothing_else(place, where):
    publish(place)
    for number in range(6):
        place.hire("acme", f"user:local|u{number}", "role:support")
    with place.guard.store.read() as tx:
        last = tx.exec_driver_sql("SELECT max(size) FROM audit_checkpoints").scalar()
    size = place.guard.log.size
    index = {"first": last, "last": size - 1, "middle": (last + size) // 2}[where]
    with closing(sqlite3.connect(place.home / "guard.db")) as db:
        entry = db.execute("SELECT entry FROM audit_entries WHERE idx = ?", (index,)).fetchone()[0]
    flipped = entry[:40] + bytes([entry[40] ^ 1]) + entry[41:]
    change(place, "UPDATE audit_entries SET entry = ? WHERE idx = ?", flipped, index)
    for _ in range(2):
        with pytest.raises(StoreDamaged) as raised:
            publish(place)
        assert "no checkpoint was signed" in raised.value.detail
    assert count(place) == 1
    ben = place.hire("acme", "user:local|ben", "role:support")
    assert place.call("actors.whoami", ben).subject == "user:local|ben"
    change(place, "UPDATE audit_entries SET entry = ? WHERE idx = ?", entry, index)
    assert publish(place).size > size


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM audit_entries WHERE idx = 3",
        "UPDATE audit_head SET edge = x'0000000000000000'",
        f"UPDATE audit_head SET edge = x'0000000000000001{'00' * 32}'",
        "UPDATE audit_head SET edge = x'00'",
        "INSERT INTO audit_checkpoints VALUES (100000, 1, zeroblob(32), 'put in')",
        "INSERT INTO audit_checkpoints VALUES (2, 1, zeroblob(32), 'put in')",
    ],
    ids=["a record is gone", "an empty head", "a shorter head", "no head", "a larger checkpoint", "a false checkpoint"],
)
def test_a_store_that_is_no_continuation_is_not_signed(place, statement):
    for number in range(4):
        place.hire("acme", f"user:local|u{number}", "role:support")
    assert change(place, statement) == 1
    with pytest.raises(GuardError) as raised:
        publish(place)
    assert raised.value.code == "GRD-STORE-001"


def test_after_a_clock_that_was_set_back_none_is_signed_until_it_is_right_again(place):
    first = publish(place)
    place.hire("acme", "user:local|ana", "role:support")
    place.clock.advance(-HOUR)
    with pytest.raises(Conflict) as raised:
        publish(place)
    assert "clock" in raised.value.detail
    assert count(place) == 1
    place.hire("acme", "user:local|ben", "role:support")  # everything else goes on
    place.clock.advance(HOUR + 1)
    later = publish(place)
    assert (later.size > first.size, later.time_us > first.time_us) == (True, True)


def test_a_clock_a_moment_behind_waits_and_is_no_error(place):
    first = publish(place)
    place.hire("acme", "user:local|ana", "role:support")
    place.clock.advance(-0.5)
    assert publish(place) == first
    place.clock.advance(1)
    assert publish(place).size > first.size


def test_checkpoints_of_many_sizes_are_consistent_with_each_other(place):
    views = []
    for number in range(8):
        for _ in range(number):
            place.call("actors.whoami", place.hire("acme", "user:local|ana", "role:support"))
        views.append(publish(place))
    auditor = place.hire(PLATFORM, "user:local|auditor", "role:auditor")
    for at, second in enumerate(views):
        for first in views[:at]:
            proof = place.call("checkpoints.prove", auditor, first=first.size, second=second.size)
            hashes = [base64.b64decode(one) for one in proof.hashes]
            verify_consistency(
                first.size, second.size, base64.b64decode(first.root), base64.b64decode(second.root), hashes
            )


@pytest.mark.parametrize(("first", "second"), [(3, 2), (1, 1_000_000)])
def test_consistency_of_what_was_not_signed_is_refused(place, first, second):
    publish(place)
    auditor = place.hire(PLATFORM, "user:local|auditor", "role:auditor")
    with pytest.raises(InvalidRequest):
        place.call("checkpoints.prove", auditor, first=first, second=second)


def test_a_restart_goes_on_from_the_same_log_with_the_same_key(tmp_path):
    with world(tmp_path / "home") as made:
        first = publish(made)
    for _ in range(3):
        with world(tmp_path / "home") as made:
            made.clock.advance(HOUR)
            view = publish(made)
            assert view.vkey == first.vkey
            auditor = made.hire(PLATFORM, "user:local|auditor", "role:auditor")
            proof = made.call("checkpoints.prove", auditor, first=first.size, second=view.size)
            hashes = [base64.b64decode(one) for one in proof.hashes]
            verify_consistency(first.size, view.size, base64.b64decode(first.root), base64.b64decode(view.root), hashes)


def test_numbers_of_each_tenant_are_dense_whatever_runs_at_once(place):
    people = [place.hire(tenant, "user:local|ana", "role:support") for tenant in ("acme", "globex", "initech")]

    def work(actor):
        for number in range(60):
            name = "actors.whoami" if number % 3 else "keys.list"  # the second is refused
            try:
                place.call(name, actor)
            except Denied:
                continue

    threads = [threading.Thread(target=work, args=(actor,)) for actor in people * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with place.guard.store.read() as tx:
        rows = tx.exec_driver_sql("SELECT tenant, n FROM audit_index ORDER BY idx").all()
        after = dict(tx.exec_driver_sql("SELECT tenant, next_n FROM audit_tenants").all())
    for tenant, number in after.items():
        assert [n for owner, n in rows if owner == tenant] == list(range(number))
    assert after["acme"] >= 120
    assert base64.b64decode(publish(place).root) == roots(place)[len(rows)]
