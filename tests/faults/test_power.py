"""Power cuts under the real pipeline, and the simulator itself: what it keeps, tears and loses is what was said."""

import random
from pathlib import Path

import apsw
import pytest

from guard.db.engine import Store
from tests.faults import cuts, driver
from tests.faults.power import Image, Power, applied
from tests.faults.powerloss import GUARD_DB, Work, check, make_template, powered, run_until

ROUNDS = 5


@pytest.mark.parametrize("campaign", [cuts.power_cut, cuts.long_wal, cuts.second_cut, cuts.sick_sync])
def test_nothing_acknowledged_is_lost(campaign):
    tally = campaign(ROUNDS)
    assert tally.good, [tally.line(), *tally.faults[:5]]
    assert tally.runs >= 20


def test_the_harness_sees_what_is_lost_without_a_sync_at_each_commit():
    tally = cuts.unsynced(ROUNDS)
    assert tally.lost > 0, tally.line()
    assert tally.good


def test_a_failed_sync_of_the_log_ends_the_process_and_that_of_a_checkpoint_is_written_again(tmp_path):
    template = make_template(tmp_path / "template")
    whole, _ = run_until(template, tmp_path / "whole")
    ends = set()
    for number in range(1, whole.syncs + 1, 2):
        power, work = run_until(template, tmp_path / f"run{number}", sick_sync=number)
        ends.add(work.fatal)
        if work.fatal:
            assert power.syncs == number, "no sync follows one that failed"
        else:
            assert power.syncs > number
            assert len(work.acknowledged) == 40
    assert ends == {0, 1}


def test_each_cut_is_the_same_for_the_same_numbers(tmp_path):
    template = make_template(tmp_path / "template")
    made = []
    for name in ("one", "two"):
        power, work = run_until(template, tmp_path / name, cut_at=77)
        power.restore(cuts.fresh(tmp_path / "back"), 5)
        made.append((len(work.acknowledged), power.kinds, check(tmp_path / "back", work).size))
    assert made[0] == made[1]
    assert len(made[0][1]) == 77


def test_the_whole_work_survives_without_a_cut(tmp_path):
    template = make_template(tmp_path / "template")
    power, work = run_until(template, tmp_path / "run")
    power.restore(cuts.fresh(tmp_path / "back"), 0)
    books = check(tmp_path / "back", work)
    assert books.size == len(work.tried) == len(work.acknowledged) == 40
    assert len(work.published) == 4
    assert {"write", "sync", "truncate"} <= set(power.kinds)


def test_a_lost_record_a_stranger_and_a_foreign_checkpoint_are_told(tmp_path):
    template = make_template(tmp_path / "template")
    power, work = run_until(template, tmp_path / "run")
    power.restore(cuts.fresh(tmp_path / "back"), 0)
    forged = Work(dict(list(work.tried.items())[1:]), [*work.acknowledged, "never-written"])
    other, _ = run_until(template, tmp_path / "other")
    assert other.ticks == power.ticks
    verdict = check(tmp_path / "back", forged).verdict
    assert verdict.lost == ["never-written"]
    assert any("nobody attempted" in fault for fault in verdict.faults)


def test_an_image_keeps_what_was_synced_and_chooses_of_the_rest():
    image = Image(bytearray(b"a" * 1024))
    image.pending.append(("write", 0, b"b" * 1024))
    seen = {bytes(image.after(random.Random(seed), 0.9)) for seed in range(60)}
    assert {b"a" * 1024, b"b" * 1024, b"b" * 512 + b"a" * 512} <= seen
    assert bytes(image.after(random.Random(1), 0.0)) == b"a" * 1024
    image.settle()
    assert bytes(image.after(random.Random(1), 0.0)) == b"b" * 1024
    image.pending.append(("delete", 0, b""))
    assert image.after(random.Random(1), 1.0) is None


@pytest.mark.parametrize(
    ("before", "operation", "after"),
    [
        (b"abc", ("write", 1, b"X"), b"aXc"),
        (b"abc", ("write", 5, b"X"), b"abc\0\0X"),
        (None, ("write", 0, b"X"), b"X"),
        (b"abc", ("write", 9, b""), b"abc"),
        (b"abc", ("truncate", 1, b""), b"a"),
        (b"abc", ("delete", 0, b""), None),
    ],
)
def test_an_operation_changes_a_file_as_a_disk_does(before, operation, after):
    data = None if before is None else bytearray(before)
    found = applied(data, operation)
    assert (None if found is None else bytes(found)) == after


def test_without_power_every_call_fails(tmp_path):
    make_template(tmp_path)
    with powered(tmp_path) as (power, store), store.read() as tx:
        assert tx.exec_driver_sql("PRAGMA user_version").scalar() == 0
        power.cut()
        with pytest.raises(Exception, match="disk I/O error"):
            store.reader_engine.connect().exec_driver_sql("SELECT * FROM audit_head").all()
        with pytest.raises(apsw.IOError):
            power.tick("write", "x")


def test_the_driver_answers_as_the_standard_one_does(tmp_path):
    make_template(tmp_path)
    found = []
    for module in (None, driver):
        driver.use("unix")
        store = Store(Path(tmp_path) / GUARD_DB, driver=module)
        with store.write() as tx:
            gone = tx.exec_driver_sql("DELETE FROM meta").rowcount
            made = tx.exec_driver_sql("INSERT INTO meta VALUES ('a', ?), ('b', 'x')", ("y",)).rowcount
            none = tx.exec_driver_sql("UPDATE meta SET value = 'z' WHERE name = 'c'").rowcount
            rows = tx.exec_driver_sql("SELECT name, value FROM meta ORDER BY name").all()
            pragma = tx.exec_driver_sql("PRAGMA synchronous").scalar()
        found.append((gone >= 0, made, none, [tuple(row) for row in rows], pragma))
        store.close()
    assert found[0] == found[1] == (True, 2, 0, [("a", "y"), ("b", "x")], 2)


def test_two_powers_do_not_share_files(tmp_path):
    one, two = Power("one"), Power("two")
    one.images["x"] = Image(None)
    assert two.images == {}
    one.unregister()
    two.unregister()
