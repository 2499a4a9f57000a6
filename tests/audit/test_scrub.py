"""The scrubber (A14): each kind of damage at rest is found, named by its index and put on record."""

import json
import sqlite3
from contextlib import closing

import pytest

from guard.audit.scrub import PACE_US, PASS_US, REST_US, pause_us
from guard.catalogue import PLATFORM
from guard.errors import Denied
from tests.audit.test_rebuild import change, flipped, spoil
from tests.audit.test_shell_archive import fill
from tests.world import world


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    with world(tmp_path_factory.mktemp("scrub") / "home") as made:
        fill(made, 1100)
        made.beat("log.archive", lambda _now: [(PLATFORM, {})] * 3)
        made.auditor = made.hire(PLATFORM, "user:local|auditor", "role:auditor")
        yield made


def scrub(made):
    """Faults of one whole pass on demand."""
    found, start = [], 0
    while start is not None:
        answer = made.call("scrubs.run", made.auditor, start=start, blocks=2)
        found += answer.faults
        start = answer.next
    return found


def one_pass(made):
    """One whole pass of the loop, from its beginning; the faults that its steps told."""
    found = []
    for _ in range(1000):
        answer = made.call("scrubs.step")
        found += answer.faults
        if answer.next is None:
            return found
    raise AssertionError("the pass does not end")


@pytest.fixture
def cell(place):
    """`cell(column, table, index, value)` changes one value of the database; it is put back afterwards."""
    changed = []

    def set_value(table, column, index, value):
        with closing(sqlite3.connect(place.home / "guard.db", timeout=5)) as db, db:
            (old,) = db.execute(f"SELECT {column} FROM {table} WHERE idx = ?", (index,)).fetchone()
            changed.append((table, column, index, old))
            db.execute(f"UPDATE {table} SET {column} = ? WHERE idx = ?", (value(old), index))

    yield set_value
    with closing(sqlite3.connect(place.home / "guard.db", timeout=5)) as db, db:
        for table, column, index, old in changed:
            db.execute(f"UPDATE {table} SET {column} = ? WHERE idx = ?", (old, index))


def test_a_sound_log_has_no_faults_and_the_end_of_a_pass_is_a_record(place):
    assert scrub(place) == []
    assert one_pass(place) == []
    body = last_report(place)
    assert body["data"]["faults"] == 0
    assert body["data"]["size"] > 1100
    assert "index" not in body["data"]


def last_report(made):
    index = made.call("records.list", made.auditor, action="scrubs.report").data[0].index
    with made.guard.store.read() as tx:
        return json.loads(made.guard.log.reader(tx).entry(index))["b"]


@pytest.mark.parametrize("at", [0, 300, 70_000])
@pytest.mark.parametrize("kind", ["entries", "0"])
def test_a_flipped_bit_of_a_file_is_named(place, kind, at):
    path = f"tile/{kind}/001"
    size = (place.home / "log" / "1" / path).stat().st_size
    spoil(place.home, path, flipped(at % size))
    try:
        found = scrub(place)
    finally:
        spoil(place.home, path, flipped(at % size))
    assert len(found) == 1
    assert found[0].index in range(256, 512)
    assert path in found[0].what
    assert scrub(place) == []


@pytest.mark.parametrize("kind", ["entries", "0"])
def test_a_file_that_is_gone_is_named(place, kind):
    path = place.home / "log" / "1" / "tile" / kind / "002"
    away = path.rename(path.with_suffix(".away"))
    try:
        (fault,) = scrub(place)
    finally:
        away.rename(path)
    assert (fault.index, f"tile/{kind}/002" in fault.what) == (512, True)


def test_a_changed_record_of_the_tail_is_named(place, cell):
    cell("audit_entries", "entry", 1030, lambda old: old.replace(b'"ok"', b'"oK"'))
    assert [fault.index for fault in scrub(place)] == [1030]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("actor", lambda _: "user:local|nobody"),
        ("tenant", lambda _: "initech"),
        ("time_us", lambda old: old + 1),
        ("allowed", lambda old: 1 - old),
        ("leaf", lambda old: bytes([old[0] ^ 1]) + old[1:]),
        ("code", lambda _: "GRD-X"),
        ("intent", lambda _: "x"),
    ],
)
@pytest.mark.parametrize("index", [300, 1030])
def test_a_changed_row_of_the_index_is_named(place, cell, column, value, index):
    cell("audit_index", column, index, value)
    assert [fault.index for fault in scrub(place)] == [index]


def test_damage_does_not_hide_other_damage(place, cell):
    cell("audit_index", "action", 700, lambda _: "keys.rotate")
    cell("audit_index", "action", 800, lambda _: "keys.rotate")
    spoil(place.home, "tile/entries/001", flipped(9))
    try:
        assert [fault.index for fault in scrub(place)] == [256, 700, 800]
    finally:
        spoil(place.home, "tile/entries/001", flipped(9))


def test_the_loop_records_damage_with_its_index_and_counts_it_at_the_end(place, cell):
    one_pass(place)
    cell("audit_index", "action", 700, lambda _: "keys.rotate")
    assert [fault.index for fault in one_pass(place)] == [700]
    assert last_report(place)["data"]["faults"] == 1
    found = place.call("records.list", place.auditor, action="scrubs.report").data
    with place.guard.store.read() as tx:
        told = [json.loads(place.guard.log.reader(tx).entry(row.index))["b"]["data"] for row in found]
    assert [one["index"] for one in told if "index" in one] == [700]


def test_a_step_without_a_fault_leaves_no_record(place):
    one_pass(place)
    before = place.guard.log.size
    assert place.call("scrubs.step").faults == []
    assert place.guard.log.size == before
    one_pass(place)


def test_the_loop_waits_between_blocks(place):
    job = next(job for job in place.guard.worker._scheduler.get_jobs() if job.id == "scrubs.step")
    due = job.args[1]
    one_pass(place)
    place.clock.advance(80_000)
    assert list(due(place.clock.now_us)) == []
    place.clock.advance(7_000)
    assert list(due(place.clock.now_us)) == [(PLATFORM, {})]
    assert place.call("scrubs.step").next == 256
    assert list(due(place.clock.now_us)) == []
    place.clock.advance(2)
    assert list(due(place.clock.now_us)) == [(PLATFORM, {})]
    one_pass(place)


@pytest.mark.parametrize(("size", "pause"), [(0, PACE_US), (1_000_000, PACE_US), (1 << 40, PASS_US // (2**32 + 1))])
def test_the_pace_passes_every_log_once_a_week(size, pause):
    assert pause_us(size, over=False) == pause
    assert pause * (size // 256) + pause_us(size, over=True) <= 7 * 86_400_000_000 == PASS_US + REST_US


def test_scrubbing_is_the_auditors(place):
    with pytest.raises(Denied):
        place.call("scrubs.run", place.hire("acme", "user:local|ana", "role:support"))


def test_the_cursor_outlives_a_restart(tmp_path):
    with world(tmp_path / "home") as made:
        fill(made, 600)
        assert made.call("scrubs.step").next == 256
    with world(tmp_path / "home") as made:
        assert made.call("scrubs.step").next == 512
    change(tmp_path / "home", "UPDATE audit_archive SET scrubbed = 1000000")  # a store that was put back
    with world(tmp_path / "home") as made:
        assert made.call("scrubs.step").next is None
        assert made.call("scrubs.step").next == 256
