"""Custody through the gate: slots are added by two persons, moved and removed; the service is sealed and opens again."""

import json
import sqlite3

import pytest

from guard.app import build, initialise
from guard.catalogue import PLATFORM
from guard.errors import (
    Conflict,
    Denied,
    InvalidInput,
    InvalidSetting,
    NotFound,
    NotUnsealed,
    Sealed,
)
from guard.settings import Settings
from guard.vault.starting import opening
from guard.wire.custody import UnsealService
from tests.vault.shop import EMAIL, b64, item
from tests.world import World, world

PHRASE = "a passphrase of the tests"


@pytest.fixture
def place(tmp_path):
    with world(tmp_path / "home") as made:
        yield made


@pytest.fixture
def eve(place):
    return place.hire(PLATFORM, "user:local|eve", "role:platform-admin")


@pytest.fixture
def bob(place):
    return place.hire(PLATFORM, "user:local|bob", "role:platform-admin")


def slots_of(made, actor):
    return {one.slot: one for one in made.call("custody.status", actor).slots}


def add(made, first, second, plugin="passphrase", **members):
    members.setdefault("secrets", {"passphrase": PHRASE} if plugin == "passphrase" else {})
    asked = made.call("custody.add", first, plugin=plugin, **members)
    made.call("custody.approve", second, slot=asked.slot)
    return asked


def sealed(home, **settings):
    """The way to open a home that no process serves."""
    return opening(Settings(home=home, **settings))


def test_a_new_home_has_the_key_file_as_its_slot(place, eve):
    shown = place.call("custody.status", eve)
    assert shown.state == "unsealed"
    assert [(one.slot, one.plugin, one.automatic, one.need) for one in shown.slots] == [("file-1", "file", True, 0)]
    assert shown.slots[0].options == {"path": str(place.home / "root.key")}
    assert shown.slots[0].created_us > 0


def test_a_slot_needs_two_persons(place, eve, bob):
    asked = place.call("custody.add", eve, plugin="passphrase", secrets={"passphrase": PHRASE})
    assert set(slots_of(place, eve)) == {"file-1"}
    waiting = place.call("custody.status", bob).requests
    assert [(one.slot, one.plugin, one.replaces, one.asked_by) for one in waiting] == [
        (asked.slot, "passphrase", None, "user:local|eve")
    ]
    with pytest.raises(Denied, match="second person"):
        place.call("custody.approve", eve, slot=asked.slot)
    place.call("custody.approve", bob, slot=asked.slot)
    assert set(slots_of(place, eve)) == {"file-1", asked.slot}
    assert place.call("custody.status", bob).requests == []
    with pytest.raises(NotFound):
        place.call("custody.approve", bob, slot=asked.slot)


def test_before_the_second_person_the_database_and_the_passphrase_open_nothing(place, eve):
    """Whoever asks knows the passphrase and may read the database: the wrap in it must not be enough."""
    asked = place.call("custody.add", eve, plugin="passphrase", secrets={"passphrase": PHRASE})
    place.close()
    with sqlite3.connect(place.home / "guard.db") as database:
        database.execute(
            "INSERT INTO seal_slots (slot_id, plugin, record, wrapped, seal_version, check_value, created_us, options) "
            "SELECT slot_id, plugin, record, wrapped, seal_version, check_value, asked_us, options FROM seal_requests"
        )
    with pytest.raises(NotUnsealed):
        sealed(place.home).offer(UnsealService(slot=asked.slot, secrets={"passphrase": PHRASE}))


def test_an_old_request_is_not_approved(place, eve, bob):
    asked = place.call("custody.add", eve, plugin="passphrase", secrets={"passphrase": PHRASE})
    place.clock.advance(8 * 86400)
    bob = place.hire(PLATFORM, "user:local|bob", "role:platform-admin")
    with pytest.raises(Conflict, match="last 7 days"):
        place.call("custody.approve", bob, slot=asked.slot)
    place.call("custody.remove", bob, slot=asked.slot)
    assert place.call("custody.status", bob).requests == []


def test_a_move_replaces_the_old_slot_and_touches_no_key(place, eve, bob):
    before = keys_of(place.home)
    asked = place.call("custody.move", eve, slot="file-1", plugin="passphrase", secrets={"passphrase": PHRASE})
    assert set(slots_of(place, eve)) == {"file-1"}
    place.call("custody.approve", bob, slot=asked.slot)
    assert set(slots_of(place, eve)) == {asked.slot}
    assert keys_of(place.home) == before


def keys_of(home):
    """Every wrap below the seal secret that existed at the first call."""
    with sqlite3.connect(home / "guard.db") as database:
        rows = database.execute("SELECT name, wrapped FROM secrets WHERE name != 'custody_requests'").fetchall()
        return sorted(rows) + database.execute("SELECT key_id, wrapped FROM key_versions ORDER BY key_id").fetchall()


def test_the_last_slot_stays(place, eve, bob):
    with pytest.raises(Conflict, match="add one before you remove the last"):
        place.call("custody.remove", eve, slot="file-1")
    asked = add(place, eve, bob)
    place.call("custody.remove", eve, slot="file-1")
    with pytest.raises(Conflict):
        place.call("custody.remove", bob, slot=asked.slot)
    with pytest.raises(NotFound):
        place.call("custody.remove", bob, slot="file-1")


def test_there_is_an_end_to_slots(place, eve, bob):
    for number in range(15):
        path = str(place.home / "keys" / f"{number}.key")
        add(place, eve, bob, plugin="file", options={"path": path})
    with pytest.raises(Conflict, match="at most 16"):
        place.call("custody.add", eve, plugin="file", options={"path": str(place.home / "keys" / "last.key")})


@pytest.mark.parametrize(
    ("plugin", "options", "secrets", "message"),
    [
        ("nothing", {}, {}, "aws_kms, azure_kv, file"),
        ("aws_kms", {}, {}, "Expected key_id, region"),
        ("aws_kms", {"key_id": "a", "region": "b", "secret": "c"}, {}, "Expected the options"),
        ("passphrase", {"passphrase": "a passphrase in the wrong place"}, {}, "Expected the options none"),
        ("passphrase", {}, {"shares": "a"}, "no other secrets than passphrase"),
        ("passphrase", {}, {"passphrase": "short"}, "at least 12"),
        ("passphrase", {}, {}, "at least 12"),
        ("shares", {"threshold": "1"}, {}, "threshold from 2"),
        ("slip39", {"threshold": "17", "count": "20"}, {}, "threshold from 2"),
        ("aws_kms", {"key_id": "k", "region": "r"}, {"passphrase": PHRASE}, "no other secrets than none"),
    ],
)
def test_slots_that_are_refused(place, eve, plugin, options, secrets, message):
    with pytest.raises(InvalidInput, match=message) as caught:
        place.call("custody.add", eve, plugin=plugin, options=options, secrets=secrets)
    assert "wrong place" not in str(caught.value)
    assert place.call("custody.status", eve).requests == []


def test_a_slot_that_cannot_be_made_leaves_everything_as_it_was(place, eve):
    """Nothing listens there: the old slot goes only once a new one was made, opened and approved."""
    token = place.home / "token"
    token.write_text("t\n")
    options = {"address": "http://127.0.0.1:9", "key": "guard", "token_file": str(token)}
    with pytest.raises(Exception, match="does not answer"):
        place.call("custody.move", eve, slot="file-1", plugin="transit", options=options)
    shown = place.call("custody.status", eve)
    assert (set(slots_of(place, eve)), shown.requests) == ({"file-1"}, [])


def test_other_tenants_and_other_roles_change_nothing(place):
    admin = place.hire("acme", "user:local|ana", "role:tenant-admin", "role:key-admin")
    for name, request in (
        ("custody.status", {}),
        ("custody.seal", {}),
        ("custody.remove", {"slot": "file-1"}),
        ("custody.add", {"plugin": "passphrase", "secrets": {"passphrase": PHRASE}}),
    ):
        with pytest.raises(Denied):
            place.call(name, admin, **request)


def test_no_record_holds_what_was_given(place, eve, bob):
    asked = add(place, eve, bob, plugin="shares", options={"threshold": "2", "count": "3"})
    add(place, eve, bob)
    shown = "".join(bodies(place))
    assert asked.slot in shown
    assert PHRASE not in shown
    assert not any(share in shown for share in asked.shares)


def bodies(made):
    """Every entry of the log, as it stands there."""
    with made.guard.store.read() as tx:
        reader = made.guard.log.reader(tx)
        return [reader.entry(index).decode() for index in range(made.guard.log.size)]


def test_sealing_ends_everything_at_once(place, eve):
    service = place.hire("acme", "svc:shop", "role:storing-service")
    ring = place.guard.custodian.vault.keyring
    place.call("fields.encrypt", service, items=[item(EMAIL, "17", plaintext=b64("ana@example.com"))])
    told = []
    place.guard.custodian.notify = lambda: told.append(1)
    assert place.call("custody.seal", eve).state == "sealed"
    assert told == [1]
    for name, actor, request in (
        ("fields.encrypt", service, {"items": [item(EMAIL, "17", plaintext=b64("ana@example.com"))]}),
        ("keys.list", service, {}),
        ("custody.status", eve, {}),
        ("custody.seal", eve, {}),
    ):
        with pytest.raises(Sealed, match="The service was sealed") as caught:
            place.call(name, actor, **request)
        assert "guard custody unseal" in caught.value.hint
    assert all(bytes(one._raw) == bytes(len(one)) for one in ring.materials())
    place.close()
    assert place.guard.custodian.seal._raw == bytes(64)


def test_what_was_sealed_opens_again_and_says_by_which_slot(place, eve, bob, tmp_path):
    asked = place.call("custody.move", eve, slot="file-1", plugin="passphrase", secrets={"passphrase": PHRASE})
    place.call("custody.approve", bob, slot=asked.slot)
    (place.home / "root.key").unlink()
    place.call("custody.seal", eve)
    place.close()
    with pytest.raises(Sealed, match="waits for the holders of passphrase-"):
        build(Settings(home=place.home))
    way = sealed(place.home)
    for _ in range(2):
        with pytest.raises(NotUnsealed, match="does not open this data"):
            way.offer(UnsealService(secrets={"passphrase": "another passphrase"}))
    assert way.view().failures == 2
    assert way.offer(UnsealService(secrets={"passphrase": PHRASE})).state == "unsealed"
    with again(place, way.opened) as made:
        found = next(body for body in map(json.loads, bodies(made)) if body["b"]["action"] == "custody.opened")
        assert found["b"]["data"] == {"slot": asked.slot, "plugin": "passphrase", "failures": 2}


def again(place, opened):
    from contextlib import contextmanager

    @contextmanager
    def run():
        made = World.__new__(World)
        made.clock, made.home = place.clock, place.home
        made.guard = build(Settings(home=place.home), clock=place.clock, opened=opened)
        made.gate, made._numbers = made.guard.gate, place._numbers
        try:
            yield made
        finally:
            made.close()

    return run()


def test_production_has_no_key_file(tmp_path):
    home = tmp_path / "home"
    with pytest.raises(Sealed, match="no root key yet") as caught:
        build(Settings(home=home, production=True))
    assert caught.value.extra["state"] == "uninitialised"
    assert "guard custody init" in caught.value.hint
    assert not (home / "guard.db").exists()
    assert not (home / "root.key").exists()
    with pytest.raises(InvalidSetting, match="outside the host"):
        initialise(Settings(home=home, production=True), "file", {"path": str(home / "root.key")}, {})


def test_a_home_with_a_key_file_does_not_start_in_production(tmp_path):
    with world(tmp_path / "home"):
        pass
    with pytest.raises(InvalidSetting, match="a key file is the only slot"):
        build(Settings(home=tmp_path / "home", production=True))


def test_a_home_is_made_with_shares_and_opened_by_holders_one_after_the_other(tmp_path):
    settings = Settings(home=tmp_path / "home", production=True)
    slot, shares = initialise(settings, "shares", {"threshold": "3", "count": "5"}, {})
    assert (slot, len(shares)) == ("shares-1", 5)
    way = opening(settings)
    assert way.state.value == "sealed"
    seen = [way.offer(UnsealService(secrets={"shares": share})) for share in shares[1:3]]
    assert [(one.state, one.have, one.need) for one in seen] == [("sealed", 1, 3), ("sealed", 2, 3)]
    assert way.offer(UnsealService(secrets={"shares": shares[1]})).have == 2  # the same holder twice counts once
    assert way.view().slots[0].have == 2
    assert way.offer(UnsealService(secrets={"shares": shares[4]})).state == "unsealed"
    guard = build(settings, opened=way.opened)
    assert guard.custodian.error() is None
    guard.close()
