"""Nobody switches auditing off, whatever he may do (A22): no setting, no variable, no operation, no role."""

import re
import shutil

import pytest

from guard.catalogue import PLATFORM, collect
from guard.errors import Denied, InvalidRequest, InvalidSetting, NotFound
from guard.rooms import ROOMS
from guard.settings import load
from tests.audit.privacy import body
from tests.world import world

OFF = re.compile(
    r"(audit|log|record|sink|checkpoint)\w*\.(stop|pause|disable|suspend|mute|skip|off|redirect|delete|drop)"
)
CATALOGUE = collect(ROOMS)
DENY_ALL = """
p, role:member, *, **, records.*, deny
p, role:member, *, audit/**, *, deny
"""


def test_no_operation_stops_pauses_or_redirects_it():
    assert [name for name in CATALOGUE if OFF.match(name)] == []
    assert OFF.match("sinks.pause")


def test_what_takes_a_path_a_prefix_or_an_address_for_records_is_no_operation():
    """Where records go stands in the configuration file alone: a path that an API sets is a way to run code."""
    named = {
        (entry.name, member)
        for entry in CATALOGUE.values()
        for member in entry.takes.model_fields
        if entry.name.split(".")[0] in {"sinks", "exports", "evidence", "checkpoints", "log", "log_keys", "anchors"}
        and re.search(r"path|prefix|url|address|file|folder|host", member)
    }
    assert named == set()


@pytest.mark.parametrize(
    "line", ["audit = false", "audit_enabled = false", "record = []", "exempt = ['fields.decrypt']"]
)
def test_no_setting_does(tmp_path, line):
    (tmp_path / "guard.toml").write_text(f"{line}\n")
    with pytest.raises(InvalidSetting):
        load(tmp_path, environment={})


@pytest.mark.parametrize("name", ["GUARD_AUDIT", "GUARD_NO_AUDIT", "GUARD_FAILPOINT", "GUARD_SINKS"])
def test_no_variable_does(tmp_path, name):
    with pytest.raises(InvalidSetting):
        load(tmp_path, environment={name: "0"})


def test_a_request_cannot_ask_for_it(tmp_path):
    with world(tmp_path / "home") as made:
        root = made.hire(PLATFORM, "user:local|root", "role:platform-admin", "role:auditor")
        for name, entry in sorted(CATALOGUE.items()):
            if entry.path is None:
                continue
            before = made.guard.log.size
            with pytest.raises((InvalidRequest, Denied, NotFound)):
                made.call(name, root, audit=False, record=False, exempt="no")
            assert made.guard.log.size >= before


def test_a_role_that_is_denied_every_record_is_recorded_all_the_same(tmp_path):
    with world(tmp_path / "first") as made:
        policies = made.guard.settings.policies
    shutil.copytree(policies, tmp_path / "policies")
    with (tmp_path / "policies" / "access" / "roles.csv").open("a") as file:
        file.write(DENY_ALL)
    with world(tmp_path / "home", policies=tmp_path / "policies") as made:
        ana = made.hire("acme", "user:local|ana", "role:auditor", "role:support")
        made.call("actors.whoami", ana)
        told = body(made, made.guard.log.size - 1)
        assert (told["action"], told["actor"]["id"], told["result"]["status"]) == (
            "actors.whoami",
            "user:local|ana",
            "ok",
        )
        with pytest.raises(Denied):
            made.call("records.list", ana)
        assert body(made, made.guard.log.size - 1)["action"] == "records.list"


def test_a_policy_that_takes_the_worker_its_rights_is_seen_in_the_log(tmp_path):
    """Somebody edits the policy file: checkpoints can no longer be signed, and each try says so."""
    with world(tmp_path / "first") as made:
        policies = made.guard.settings.policies
    shutil.copytree(policies, tmp_path / "policies")
    file = tmp_path / "policies" / "access" / "roles.csv"
    lines = [one for one in file.read_text().splitlines() if "system-worker" not in one or "checkpoints" not in one]
    file.write_text("\n".join(lines) + "\n")
    with world(tmp_path / "home", policies=tmp_path / "policies") as made:
        with pytest.raises(Denied):
            made.call("checkpoints.publish")
        told = body(made, made.guard.log.size - 1)
        assert (told["action"], told["result"]["status"]) == ("checkpoints.publish", "refused")
