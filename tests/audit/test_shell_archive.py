"""The archiver as the service runs it: through the gate, killed at any moment, with records proved wherever they lie."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from guard.audit.note import VerifierKey
from guard.audit.proof import parse, verify
from guard.audit.tree import leaf_hash
from guard.catalogue import PLATFORM
from guard.errors import GuardError, NotFound, StoreDamaged
from tests.conftest import ROOT
from tests.world import world

ENOUGH = 1400


def fill(made, count=ENOUGH):
    """At least *count* records of two tenants, and a checkpoint over them."""
    people = [made.hire(tenant, "user:local|ana", "role:support") for tenant in ("acme", "globex")]
    number = 0
    while made.guard.log.size < count:
        made.call("actors.whoami", people[number % 2])
        number += 1
    made.call("checkpoints.publish")
    return people


def entries(guard):
    with guard.store.read() as tx:
        return list(guard.log.reader(tx).entries(0, guard.log.size))


def rows(made, statement):
    with made.guard.store.read() as tx:
        return tx.exec_driver_sql(statement).all()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    with world(tmp_path_factory.mktemp("archived") / "home") as made:
        fill(made)
        made.before = entries(made.guard)
        made.auditor = made.hire(PLATFORM, "user:local|auditor", "role:auditor")
        made.beat("log.archive", lambda _now: [(PLATFORM, {})] * 3)
        made.call("checkpoints.publish")
        yield made


def test_archiving_leaves_no_record_and_takes_the_rows_out(place):
    size = place.guard.log.size
    for _ in range(3):
        place.call("log.archive")
    assert place.guard.log.size == size
    archived = size // 256 * 256
    assert rows(place, "SELECT min(idx), count(*) FROM audit_entries") == [(archived, size - archived)]
    assert rows(place, "SELECT count(*) FROM audit_open_intents") == [(0,)]
    folder = place.home / "log" / "1" / "tile"
    assert len(list((folder / "entries").iterdir())) == archived // 256 == len(list((folder / "0").iterdir()))


def test_every_record_is_proved_from_where_it_lies(place):
    for index in (0, 255, 256, 700, 1279, 1280, 1390):
        tenant = json.loads(place.before[index])["b"]["tenant"]
        found = place.call("records.prove", place.auditor, index=index, tenant=tenant)
        assert found.entry.encode() == place.before[index]
        proof = parse(found.proof.encode())
        key = VerifierKey.decode(place.guard.log.verifier.encode())
        verify(proof, leaf_hash(found.entry.encode()), key.name, [key])


def test_an_archived_record_of_another_tenant_is_still_not_found(place):
    own = place.hire("acme", "user:local|ida", "role:auditor")
    other = next(number for number, one in enumerate(place.before[:256]) if json.loads(one)["b"]["tenant"] == "globex")
    with pytest.raises(NotFound):
        place.call("records.prove", own, index=other)


def test_a_damaged_file_refuses_the_proof_by_name_and_is_on_record(place):
    path = place.home / "log" / "1" / "tile" / "entries" / "001"
    sound = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(sound.replace(b"actors.whoami", b"actors.whoani", 1))
    try:
        index = next(number for number in range(256, 512) if b"actors.whoami" in place.before[number])
        tenant = json.loads(place.before[index])["b"]["tenant"]
        with pytest.raises(StoreDamaged) as raised:
            place.call("records.prove", place.auditor, index=index, tenant=tenant)
        assert raised.value.extra["index"] == index
        refused = place.records(PLATFORM, action="records.prove", limit=1)
        assert (refused[0].status, refused[0].code) == ("refused", "GRD-STORE-001")
    finally:
        path.write_bytes(sound)


def test_an_export_of_a_log_in_two_places_verifies(place, tmp_path):
    view = place.call("exports.create", place.auditor, prove=[3, 1300])
    from guard.audit.verifier.command import verify as check

    report = check(place.home / "exports" / f"{view.id}.zip", vkeys=[place.guard.log.verifier.encode()])
    assert report.faults == []
    assert report.counts["records"] == view.size


def test_a_loop_that_has_nothing_to_do_makes_no_call(tmp_path):
    with world(tmp_path / "home") as made:
        assert made.guard.log.waiting_bundles == 0
        assert made.call("log.archive").size == 0


def test_a_disk_that_refuses_stops_the_archiver_and_nothing_else(tmp_path):
    with world(tmp_path / "home") as made:
        (ana, _) = fill(made, 300)
        (made.home / "log").write_bytes(b"a file where the folder is to be")
        with pytest.raises(GuardError):
            made.call("log.archive")
        assert rows(made, "SELECT min(idx) FROM audit_entries") == [(0,)]
        made.call("actors.whoami", ana)
        (made.home / "log").unlink()
        assert made.call("log.archive").size == 256


# kill -9


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A home with five bundles that may go to files, and its records."""
    home = tmp_path_factory.mktemp("template") / "home"
    with world(home) as made:
        fill(made)
        found = entries(made.guard)
    return home, found


@pytest.fixture(scope="module")
def victims():
    """A process that forks a victim for each line; imports are paid once."""
    command = [sys.executable, str(ROOT / "tests" / "audit" / "struck.py")]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    yield process
    process.stdin.close()
    process.wait(30)
    process.stdout.close()


def struck(victims, home, moment):
    victims.stdin.write(f"{home} {moment}\n")
    victims.stdin.flush()
    return victims.stdout.readline().strip()


@pytest.mark.parametrize("moment", [*range(1, 48, 3), "before", "after"])
def test_killed_at_any_moment_it_goes_on_with_every_record(tmp_path, template, victims, moment):
    home, before = template
    shutil.copytree(home, tmp_path / "home")
    assert struck(victims, tmp_path / "home", moment) == "killed"
    with world(tmp_path / "home") as made:
        assert entries(made.guard)[: len(before)] == before
        made.clock.advance(3600)
        made.call("checkpoints.publish")
        made.beat("log.archive", lambda _now: [(PLATFORM, {})] * 3)
        assert entries(made.guard)[: len(before)] == before
        assert not list((made.home / "log").rglob("*.part"))
        assert rows(made, "SELECT min(idx) FROM audit_entries") == [(made.guard.log.size // 256 * 256,)]


def test_an_untouched_victim_finishes(tmp_path, template, victims):
    shutil.copytree(template[0], tmp_path / "home")
    assert struck(victims, tmp_path / "home", 100_000) == "finished"
