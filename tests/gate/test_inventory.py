"""`guard audit inventory` prints every operation, what it does and whether it leaves a record. It needs no server."""

import json

import pytest
from typer.testing import CliRunner

from guard.catalogue import Effect, collect
from guard.cli import audit
from guard.rooms import ROOMS

CATALOGUE = collect(ROOMS)
UNRECORDED = {
    "checkpoints.adopt",
    "checkpoints.publish",
    "checkpoints.reread",
    "checkpoints.stage",
    "checkpoints.witness",
    "copies.look",
    "heads.read",
    "intents.sweep",
    "budgets.store",
    "key_uses.store",
    "log.archive",
    "log.copy",
    "prunes.sweep",
    "scrubs.step",
    "services.watch",
    "sinks.move",
    "sinks.pull",
    "sinks.watch",
    "tiles.read",
}
"""The only operations without a record of their own; whoever adds one writes it here, and a reviewer reads it."""


@pytest.fixture(scope="module")
def printed():
    result = CliRunner().invoke(audit.group, ["inventory", "--output", "json"])
    assert result.exit_code == 0, result.output
    return {row["operation"]: row for row in json.loads(result.stdout)["data"]}


def test_every_operation_is_printed_once(printed):
    assert printed.keys() == CATALOGUE.keys()


def test_exactly_these_operations_leave_no_record_and_each_says_why(printed):
    unrecorded = {name: row["recorded"] for name, row in printed.items() if row["recorded"] != "yes"}
    assert unrecorded.keys() == UNRECORDED
    for reason in unrecorded.values():
        assert reason.startswith("no: ")
        assert len(reason) > 20


@pytest.mark.parametrize("name", list(CATALOGUE))
def test_a_row_says_what_the_catalogue_says(printed, name):
    row, entry = printed[name], CATALOGUE[name]
    assert row["effect"] in {effect.value for effect in Effect}
    assert row["effect"] == entry.effect.value
    assert row["route"] == (f"{entry.method} {entry.path}" if entry.path else "internal")
