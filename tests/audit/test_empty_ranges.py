"""Exports of nothing (A16): an empty range and a filter that nothing matches export, recompute the root, and verify."""

import pytest

from guard.audit.verifier.command import verify
from tests.audit.exporting import auditor, check, directory, fill, ordered, parted

FILTERED = ("jsonl", "csv", "parquet", "ocsf", "cef", "rfc5424")
NOTHING = (
    {"first": 100, "last": 100},
    {"first": 0, "last": 0},
    {"first": 10**9},
    {"from_us": 7, "to_us": 7},
    {"actor": "user:local|nobody-at-all"},
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    with parted(tmp_path_factory.mktemp("empty") / "home") as made:
        fill(made, 300)
        yield made


@pytest.mark.parametrize("form", FILTERED)
@pytest.mark.parametrize("wanted", NOTHING, ids=str)
def test_nothing_is_exported_and_the_log_is_proved_all_the_same(made, tmp_path, form, wanted):
    view = ordered(made, auditor(made), format=form, filter=wanted)
    assert (view.state, view.matched) == ("ready", 0)
    folder = directory(made, auditor(made), view, tmp_path / "out")
    found = check(folder, made.guard.log.verifier.encode())
    assert (found["matched"], found["size"]) == (0, view.size)
    report = verify(folder, vkeys=[made.guard.log.verifier.encode()])
    assert (report.faults, report.counts["rows"], report.size) == ([], 0, view.size)
