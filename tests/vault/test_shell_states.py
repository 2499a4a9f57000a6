"""The life of a key version as its operations lead it: every arrow, the window, the second person, and what is left."""

import re

import pytest

from guard.errors import (
    AlreadyExists,
    Conflict,
    Denied,
    GuardError,
    KeyDestroyed,
    KeyInUse,
    KeyStateConflict,
    LegalHold,
)
from guard.vault.vault import Vault
from tests.vault.shop import EMAIL, PHONE, Shop, Table, item, source_of, world

DAY = 86_400


@pytest.fixture
def shop(tmp_path, table):
    with world(tmp_path / "home", sources=(source_of(table.path),)) as made:
        shop = Shop(made)
        shop.people["second"] = made.hire("acme", "user:local|second", "role:key-admin")
        shop.people["lawyer"] = made.hire("acme", "user:local|lawyer", "role:legal")
        yield shop


def turn(shop, verb, version=1, who="keys", key=EMAIL, **more):
    return shop.call(who, f"keys.{verb}", key=key, version=version, **more)


def states(shop, key=EMAIL):
    return {one.version: one.state for one in shop.call("keys", "keys.versions", key=key).data}


def vault(shop):
    return shop.world.gate._doors.parts[Vault]


def expire(shop):
    """What the loop does once a minute."""
    return shop.world.beat("keys.expire", vault(shop).life.ends_due)


def retired(shop):
    shop.rotate()
    turn(shop, "retire")


def pending(shop, days=30):
    retired(shop)
    turn(shop, "destroy", days=days)
    turn(shop, "approve_destroy", who="second")


# every arrow


REACH = {
    "pre_active": lambda shop: shop.call("keys", "keys.rotate", key=EMAIL, activate=False),
    "active": lambda _shop: None,
    "decrypt_only": lambda shop: shop.rotate(),
    "retired": retired,
    "destroy_pending": pending,
    "destroyed": lambda shop: (pending(shop, 7), shop.world.clock.advance(7 * DAY), expire(shop)),
}
ARROWS = {
    ("pre_active", "activate"): "active",
    ("decrypt_only", "retire"): "retired",
    ("retired", "restore"): "decrypt_only",
    ("retired", "destroy"): "retired",
    ("destroy_pending", "cancel_destroy"): "retired",
}
VERBS = ("activate", "retire", "restore", "destroy", "approve_destroy", "cancel_destroy")


@pytest.mark.parametrize("state", REACH)
@pytest.mark.parametrize("verb", VERBS)
def test_from_each_state_the_legal_arrows_lead_on_and_all_others_are_refused_by_name(shop, state, verb):
    REACH[state](shop)
    version = 2 if state == "pre_active" else 1
    assert states(shop)[version] == state
    if (state, verb) in ARROWS:
        turn(shop, verb, version)
        assert states(shop)[version] == ARROWS[state, verb]
        return
    with pytest.raises(GuardError) as raised:
        turn(shop, verb, version, who="second")
    assert raised.value.code in {"GRD-KEY-001", "GRD-KEY-003", "GRD-STORE-410"}
    assert str(version) in raised.value.detail or state in raised.value.detail
    assert states(shop)[version] == state
    refusal = next(iter(shop.world.records("acme", action=f"keys.{verb}", limit=1)))
    assert refusal.status != "ok"


def test_each_arrow_is_one_record_with_key_and_version(shop):
    pending(shop)
    turn(shop, "cancel_destroy")
    turn(shop, "restore")
    for verb in ("destroy", "approve_destroy", "cancel_destroy", "restore"):
        made = shop.world.records("acme", action=f"keys.{verb}")
        assert [one.status for one in made] == ["ok"]


# making and activating


def test_a_key_of_a_new_name_is_made_once_and_its_name_is_never_free_again(shop):
    view = shop.call("keys", "keys.create", key="orders.archive")
    assert [(one.version, one.state, one.suite) for one in view.versions] == [(1, "active", "cbl256")]
    for name in ("orders.archive", EMAIL):
        with pytest.raises(AlreadyExists):
            shop.call("keys", "keys.create", key=name)


def test_a_version_made_beforehand_seals_from_its_activation(shop):
    shop.call("keys", "keys.rotate", key=EMAIL, activate=False)
    assert sealed_with(shop) == 1
    turn(shop, "activate", 2)
    assert sealed_with(shop) == 2
    assert states(shop) == {2: "active", 1: "decrypt_only"}


def test_a_version_older_than_the_active_one_is_not_activated(shop):
    shop.call("keys", "keys.rotate", key=EMAIL, activate=False)
    shop.rotate()
    with pytest.raises(Conflict, match="Version 3"):
        turn(shop, "activate", 2)
    assert states(shop) == {3: "active", 2: "pre_active", 1: "decrypt_only"}


def sealed_with(shop):
    answer = shop.call("storing", "fields.encrypt", items=[item(EMAIL, "1", plaintext="YQ==")])
    return answer["results"][0]["key_version"]


# retirement


def test_a_value_in_a_column_that_no_policy_owns_keeps_its_version(shop, table):
    sealed = shop.seal("ana")[0]
    table.write("CREATE TABLE notes (id INTEGER PRIMARY KEY, said TEXT, raw BLOB)")
    table.write("INSERT INTO notes VALUES (1, ?, NULL), (2, 'gd1.none', NULL)", f'{{"mail": "{sealed}", "n": 1}}')
    shop.rotate()
    with pytest.raises(KeyInUse) as raised:
        turn(shop, "retire")
    assert raised.value.extra == {"source": "customers", "table": "notes", "column": "said", "count": 1}
    table.write("DELETE FROM notes WHERE id = 1")
    turn(shop, "retire")
    assert states(shop)[1] == "retired"


def test_sealed_bytes_and_text_in_a_column_of_any_type_are_found(shop, table):
    from guard.vault.envelope import from_text

    sealed = shop.seal("ana", "ben")
    table.write("CREATE TABLE odd (id INTEGER PRIMARY KEY, number INTEGER, raw BLOB)")
    table.write("INSERT INTO odd VALUES (1, ?, ?)", sealed[0], from_text(sealed[1]))
    table.write("INSERT INTO odd VALUES (2, 7, ?), (3, NULL, NULL)", b"\x47\x01")
    found = shop.call("keys", "censuses.run", unowned=True).unowned
    assert [(one.table, one.column, one.version, one.count, one.state) for one in found] == [
        ("odd", "number", 1, 1, "active"),
        ("odd", "raw", 1, 1, "active"),
    ]


def test_a_lagging_replica_keeps_the_version_that_its_rows_still_need(tmp_path, table):
    replica = Table(tmp_path / "replica.db")
    source = source_of(table.path, replicas=(f"sqlite:///{replica.path}",))
    with world(tmp_path / "home", sources=(source,)) as made:
        shop = Shop(made)
        table.fill(shop, ["ana"])
        replica.write("INSERT INTO customers (id, email) VALUES (1, ?)", table.all()[1])
        shop.rotate()
        assert shop.run_job().state == "done"
        with pytest.raises(KeyInUse) as raised:
            turn(shop, "retire")
        assert (raised.value.extra["source"], raised.value.extra["count"]) == ("customers.replica1", 1)
        replica.write("UPDATE customers SET email = ? WHERE id = 1", table.all()[1])
        turn(shop, "retire")


def test_another_tenants_column_is_not_counted_as_nobodys(tmp_path, table):
    theirs = source_of(table.path, "globex", name="theirs", table="others", columns={"email": EMAIL})
    with world(tmp_path / "home", sources=(source_of(table.path), theirs)) as made:
        shop, other = Shop(made), Shop(made, "globex")
        table.write("CREATE TABLE others (id INTEGER PRIMARY KEY, email TEXT)")
        table.write("INSERT INTO others VALUES (1, ?)", other.seal("eve")[0])
        assert shop.call("keys", "censuses.run", unowned=True).unowned == []
        table.write("INSERT INTO others VALUES (2, ?)", shop.seal("ana")[0])
        found = shop.call("keys", "censuses.run", unowned=True).unowned
        assert [(one.table, one.count) for one in found] == [("others", 1)]


def test_a_version_that_was_read_lately_waits_for_its_quiet_time_over_a_restart(tmp_path, table):
    settings = {"sources": (source_of(table.path),), "quiet_hours": 168}
    with world(tmp_path / "home", **settings) as made:
        shop = Shop(made)
        sealed = shop.seal("ana")[0]
        shop.rotate()
        assert shop.open(sealed) == "ana"
        with pytest.raises(KeyInUse, match="opened a value"):
            turn(shop, "retire")
        assert made.beat("key_uses.store", vault(shop).life.uses_due) == 1
        now_us = made.clock.now_us
    with world(tmp_path / "home", **settings) as made:
        shop = Shop(made)
        made.clock.now_us = now_us + 6 * DAY * 1_000_000
        with pytest.raises(KeyInUse, match="in 24 hours"):
            turn(shop, "retire")
        made.clock.advance(DAY + 1)
        turn(shop, "retire")
        assert shop.open(sealed) == "GRD-KEY-001"


def test_sealed_values_are_counted_by_version(shop):
    shop.seal("a", "b", "c")
    shop.rotate()
    shop.seal("d")
    assert {one.version: one.sealed for one in shop.call("keys", "keys.versions", key=EMAIL).data} == {1: 3, 2: 1}


# destruction


def test_destruction_needs_a_second_person_and_can_be_taken_back_to_use(shop):
    sealed = shop.seal("ana")[0]
    retired(shop)
    turn(shop, "destroy", days=7)
    with pytest.raises(Denied):
        turn(shop, "approve_destroy")
    with pytest.raises(Conflict):
        turn(shop, "destroy", who="second")
    turn(shop, "approve_destroy", who="second")
    shown = shop.call("keys", "keys.versions", key=EMAIL).data[1]
    assert (shown.asked_by, shown.approved_by) == ("svc:keys", "user:local|second")
    assert shown.destroy_us - shown.changed_us == 7 * DAY * 1_000_000
    shop.world.clock.advance(7 * DAY - 60)
    assert expire(shop) == 0
    turn(shop, "cancel_destroy")
    shop.world.clock.advance(2 * DAY)
    assert expire(shop) == 0
    turn(shop, "restore")
    assert shop.open(sealed) == "ana"


@pytest.mark.parametrize("days", [0, 6, 31])
def test_a_window_is_seven_to_thirty_days(shop, days):
    retired(shop)
    with pytest.raises(GuardError) as raised:
        turn(shop, "destroy", days=days)
    assert raised.value.code == "GRD-VAL-001"


def test_a_request_that_nobody_approved_for_a_week_is_forgotten(shop):
    retired(shop)
    turn(shop, "destroy")
    shop.world.clock.advance(8 * DAY)
    shop.people["second"] = shop.world.hire("acme", "user:local|second", "role:key-admin")
    with pytest.raises(Conflict, match="last 7 days"):
        turn(shop, "approve_destroy", who="second")


def test_after_the_window_wrap_and_row_are_gone_and_the_tombstone_stays(shop):
    sealed = shop.seal("ana")[0]
    shop.rotate()
    wrap = wrap_of(shop)
    turn(shop, "retire")
    turn(shop, "destroy", days=7)
    turn(shop, "approve_destroy", who="second")
    before = shop.call("keys", "keys.versions", key=EMAIL).data[1]
    shop.world.clock.advance(7 * DAY)
    assert expire(shop) == 1
    after = shop.call("keys", "keys.versions", key=EMAIL).data[1]
    assert (after.state, after.key_id, after.created_us) == ("destroyed", before.key_id, before.created_us)
    assert (after.asked_by, after.approved_by) == ("svc:keys", "user:local|second")
    assert shop.open(sealed) == "GRD-KEY-003"
    with pytest.raises(KeyDestroyed):
        turn(shop, "restore")
    assert expire(shop) == 0
    home, sources, now_us = shop.world.home, shop.world.guard.settings.sources, shop.world.clock.now_us
    shop.world.close()
    assert wrap not in (home / "guard.db").read_bytes()
    with world(home, sources=sources) as again:
        again.clock.now_us = now_us
        shop = Shop(again)
        assert shop.open(sealed) == "GRD-KEY-003"
        assert shop.rotate() == 3


def wrap_of(shop):
    from sqlalchemy import select

    from guard.db.engine import Store
    from guard.db.schema import key_versions

    with shop.world.gate._doors.parts[Store].read() as tx:
        wanted = select(key_versions.c.wrapped).where(key_versions.c.name == EMAIL, key_versions.c.version == 1)
        return tx.execute(wanted).scalar_one()


def test_a_value_put_back_in_the_window_keeps_the_key_alive(shop, table):
    kept = shop.seal("ana")[0]
    pending(shop, 7)
    table.write("INSERT INTO customers (id, email) VALUES (1, ?)", kept)
    shop.world.clock.advance(8 * DAY)
    assert expire(shop) == 0
    assert states(shop)[1] == "destroy_pending"
    turn(shop, "cancel_destroy")
    turn(shop, "restore")
    assert shop.open(kept) == "ana"


def test_a_legal_hold_stops_the_request_the_approval_and_the_end(shop):
    retired(shop)
    hold = place(shop)
    with pytest.raises(LegalHold, match=re.escape(hold)):
        turn(shop, "destroy")
    release(shop, hold)
    turn(shop, "destroy", days=7)
    hold = place(shop)
    with pytest.raises(LegalHold):
        turn(shop, "approve_destroy", who="second")
    release(shop, hold)
    turn(shop, "approve_destroy", who="second")
    place(shop)
    shop.world.clock.advance(8 * DAY)
    assert expire(shop) == 0
    assert states(shop)[1] == "destroy_pending"


def place(shop):
    return shop.call("lawyer", "holds.place", scope="tenant", matter="case-17").id


def release(shop, hold):
    shop.people["judge"] = shop.world.hire("acme", "user:local|judge", "role:legal")
    shop.call("lawyer", "holds.release", hold=hold)
    shop.call("judge", "holds.release", hold=hold)


# compromise


def test_a_compromised_version_is_replaced_at_once_and_its_values_come_first(shop, table):
    table.fill(shop, ["ana", "ben"])
    table.fill(shop, ["079"], rows=[3], column="phone")
    waiting = shop.call("keys", "reencryptions.create", source="customers", field=PHONE).job
    turn(shop, "compromise")
    assert sealed_with(shop) == 2
    assert states(shop) == {2: "active", 1: "decrypt_only"}
    jobs = shop.call("keys", "reencryptions.list").data
    first = next(one for one in jobs if one.field == EMAIL)
    assert first.priority > 0
    assert [request["job"] for _, request in vault(shop).due(shop.world.clock())] == [first.job]
    assert shop.finish(first.job).state == "done"
    assert [request["job"] for _, request in vault(shop).due(shop.world.clock())] == [waiting]
    assert shop.census() == {1: 0, 2: 2}


def test_values_under_a_compromised_version_open_only_with_a_grant_of_their_own(shop):
    sealed = shop.seal("ana")[0]
    turn(shop, "compromise")
    assert shop.open(sealed) == "GRD-AUTHZ-001"
    refused = shop.world.records("acme", action="compromised.open")
    assert [one.status for one in refused] == ["refused"]
    both = ("role:billing-service", "role:compromised-reader")
    shop.people["investigator"] = shop.world.hire("acme", "svc:investigator", *both)
    assert shop.open(sealed, who="investigator", purpose="billing") == "ana"
    assert [one.status for one in shop.world.records("acme", action="compromised.open")] == ["ok", "refused"]
    assert shop.open(shop.seal("ben")[0]) == "ben"


def test_marking_an_older_version_makes_no_other_and_twice_is_refused(shop):
    shop.rotate()
    turn(shop, "compromise")
    assert states(shop) == {2: "active", 1: "decrypt_only"}
    with pytest.raises(Conflict):
        turn(shop, "compromise")
    assert shop.call("keys", "keys.versions", key=EMAIL).data[1].compromised


def test_a_destroyed_version_cannot_be_marked(shop):
    REACH["destroyed"](shop)
    with pytest.raises(KeyStateConflict):
        turn(shop, "compromise")


# rotation by age and by use


def rotate_due(shop, hours=24 * 90, values=0):
    life, ring = vault(shop).life, vault(shop).keyring
    return shop.world.beat("keys.rotate", lambda now: list(life.rotations_due(ring, now, hours, values)))


def test_a_key_gets_a_new_version_when_its_newest_is_ninety_days_old(shop):
    shop.world.clock.advance(90 * DAY - 3600)
    assert rotate_due(shop) == 0
    shop.world.clock.advance(3600)
    assert rotate_due(shop) == len(vault(shop).policies)
    assert rotate_due(shop) == 0
    shop.people = Shop(shop.world).people
    assert states(shop) == {2: "active", 1: "decrypt_only"}
    assert [one.actor for one in shop.world.records("acme", action="keys.rotate", limit=1)] == ["system:worker"]


def test_a_key_gets_a_new_version_when_it_sealed_as_much_as_it_may(shop):
    shop.seal("a", "b")
    assert rotate_due(shop, values=3) == 0
    shop.seal("c")
    assert rotate_due(shop, values=3) == 1
    assert states(shop) == {2: "active", 1: "decrypt_only"}
    assert rotate_due(shop, hours=0, values=3) == 0
