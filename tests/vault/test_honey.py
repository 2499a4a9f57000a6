"""Planted tokens and rows: they open as every other does, the reader notices nothing, and an incident is open at once."""

import hashlib
import hmac
import struct

import pytest

from guard.errors import Conflict, Denied, GuardError, InvalidRequest, NotFound
from guard.vault import honey
from guard.vault.honey import Honey, mark
from guard.vault.keys import Secret
from tests.vault.shop import b64, dump, policies_with
from tests.vault.tokenising import CARD, till

VALUE = "4000000000000002"
MIXED = """
version: 1
table: mixed
rows: 1000000
columns:
  note: {class: contact, suite: cbl256, bind: [row], mask: partial, purposes: [billing, support]}
  both: {class: contact, suite: cbl256, bind: [row, subject], mask: none, purposes: [billing]}
  city: {class: contact, suite: siv, bind: [], deterministic: true, entropy: 40, mask: full, purposes: [billing]}
"""


@pytest.fixture
def shop(tmp_path):
    policies_with(tmp_path, "mixed.yaml", MIXED)
    with till(tmp_path / "home") as made:
        yield made


def incidents(shop):
    return shop.call("analyst", "incidents.list").data


def plant(shop, subject="nobody-1"):
    return shop.call("analyst", "honey.plant_token", field=CARD, domain="checkout", subject=subject, value=VALUE)


def plant_row(shop, row="999", field="mixed.note", **more):
    return shop.call("analyst", "honey.plant_row", field=field, context={"row": row, **more})


def sealed(shop, row, field="mixed.note", **more):
    items = [{"field": field, "context": {"row": row, **more}, "plaintext": b64("Eve")}]
    return items[0], shop.call("storing", "fields.encrypt", items=items)["results"][0]["ciphertext"]


def opened(shop, row="999", field="mixed.note", operation="fields.decrypt", **more):
    asked, ciphertext = sealed(shop, row, field, **more)
    items = [{"field": field, "context": asked["context"], "ciphertext": ciphertext}]
    who = "support" if operation == "fields.mask" else "billing"
    return shop.call(who, operation, purpose=who, items=items)["results"][0]


def test_a_planted_token_is_answered_as_any_other_and_opens_an_incident(shop):
    planted = plant(shop)
    assert incidents(shop) == []
    real = shop.token(VALUE, "u-1")
    assert planted.token != real
    assert len(planted.token) == len(real)
    assert shop.reveal(planted.token) == shop.reveal(real) == {"value": VALUE, "mask": "full"}
    [incident] = incidents(shop)
    assert (incident.severity, incident.state) == (2, "reported")
    assert planted.id in incident.title
    assert "user:local|billing" in incident.title


def test_a_second_reading_by_the_same_person_is_one_more_occurrence(shop):
    token = plant(shop).token
    shop.reveal(token), shop.reveal(token), shop.reveal(token, "support")
    assert sorted(one.triggers if hasattr(one, "triggers") else one.occurrences for one in incidents(shop)) == [1, 2]


def test_a_masked_reading_raises_the_finding_too_and_a_refused_one_does_not(shop):
    token = plant(shop).token
    shop.reveal(token, "stranger")
    with pytest.raises(Denied):
        shop.reveal(token, "support", "billing")
    assert incidents(shop) == []
    assert shop.reveal(token, "delivery")["mask"] == "none"
    assert len(incidents(shop)) == 1


@pytest.mark.parametrize("operation", ["fields.decrypt", "fields.mask"])
def test_a_planted_row_opens_as_any_other_and_opens_an_incident(shop, operation):
    plant_row(shop)
    other = opened(shop, "998", operation=operation)
    assert incidents(shop) == []
    assert opened(shop, operation=operation) == other
    [incident] = incidents(shop)
    assert "The planted row hny_" in incident.title


def test_rotation_and_sealing_anew_move_the_mark_nowhere(shop):
    plant_row(shop)
    keys = shop.world.hire("acme", "user:local|keys", "role:key-admin")
    asked, old = sealed(shop, "999")
    shop.call(keys, "keys.rotate", key="mixed.note")
    for ciphertext in (old, sealed(shop, "999")[1]):
        items = [{"field": "mixed.note", "context": asked["context"], "ciphertext": ciphertext}]
        shop.call("billing", "fields.decrypt", purpose="billing", items=items)
    assert [one.occurrences for one in incidents(shop)] == [2]


def test_what_does_not_open_raises_nothing(shop):
    plant_row(shop)
    _, ciphertext = sealed(shop, "998")
    items = [{"field": "mixed.note", "context": {"row": "999"}, "ciphertext": ciphertext}]
    assert "problem" in shop.call("billing", "fields.decrypt", purpose="billing", items=items)["results"][0]
    assert incidents(shop) == []


def test_other_rows_columns_bindings_and_tenants_raise_nothing(shop):
    plant_row(shop)
    opened(shop, "99"), opened(shop, "9990")
    opened(shop, "999", "mixed.both", subject="u-1")
    assert incidents(shop) == []
    plant_row(shop, "999", "mixed.both", subject="u-1")
    opened(shop, "999", "mixed.both", subject="u-2")
    assert incidents(shop) == []
    opened(shop, "999", "mixed.both", subject="u-1")
    assert len(incidents(shop)) == 1


def test_a_row_in_the_middle_of_a_batch_is_seen(shop):
    plant_row(shop)
    items = []
    for row in ("1", "999", "2"):
        asked, ciphertext = sealed(shop, row)
        items.append({"field": "mixed.note", "context": asked["context"], "ciphertext": ciphertext})
    shop.call("billing", "fields.decrypt", purpose="billing", items=items)
    assert len(incidents(shop)) == 1


def test_what_is_planted_outlives_a_restart(tmp_path):
    policies_with(tmp_path, "mixed.yaml", MIXED)
    with till(tmp_path / "home") as first:
        token = plant(first).token
        plant_row(first)
    with till(tmp_path / "home") as second:
        second.reveal(token)
        opened(second)
        assert [one.occurrences for one in incidents(second)] == [2]


def test_what_is_removed_raises_nothing_more(shop):
    planted = plant(shop)
    assert shop.call("analyst", "honey.list").data[0].id == planted.id
    shop.call("analyst", "honey.remove", honey=planted.id)
    assert shop.call("analyst", "honey.list").data == []
    assert shop.shown(planted.token) == VALUE
    assert incidents(shop) == []
    with pytest.raises(NotFound):
        shop.call("analyst", "honey.remove", honey=planted.id)


def test_planting_twice_watches_once(shop):
    assert plant_row(shop).id == plant_row(shop).id
    opened(shop)
    assert [one.occurrences for one in incidents(shop)] == [1]


def test_a_value_that_has_a_token_is_not_planted(shop):
    token = shop.token(VALUE, "nobody-1")
    with pytest.raises(Conflict, match="made-up value"):
        plant(shop)
    assert shop.call("analyst", "honey.list").data == []
    assert shop.shown(token) == VALUE
    assert incidents(shop) == []


def test_a_planted_value_of_another_person_is_another_token(shop):
    planted = plant(shop)
    assert shop.token(VALUE, "u-1") != planted.token
    with pytest.raises(Conflict):
        plant(shop)


def test_a_bait_that_is_over_is_refused_as_any_token_is(shop):
    planted = shop.call("analyst", "honey.plant_token", field=CARD, domain="refunds", subject="n", value=VALUE)
    real = shop.token(VALUE, "u-1", "refunds")
    shop.world.clock.advance(7201)
    assert shop.reveal(planted.token) == shop.reveal(real)
    assert incidents(shop) == []


def test_a_revoked_bait_is_refused_as_any_token_is(shop):
    planted = plant(shop)
    assert shop.revoke(planted.token) == {"state": "revoked"}
    assert shop.shown(planted.token) == "GRD-TOKEN-001"


def test_another_tenants_analyst_sees_and_removes_no_bait(shop):
    planted = plant(shop)
    foreign = shop.world.hire("globex", "user:local|gus", "role:analyst")
    assert shop.call(foreign, "honey.list").data == []
    with pytest.raises(NotFound):
        shop.call(foreign, "honey.remove", honey=planted.id)
    shop.reveal(planted.token)
    assert len(incidents(shop)) == 1
    assert shop.call(foreign, "incidents.list").data == []


def test_the_incident_is_there_with_the_reading_and_not_later(shop):
    """Both are one unit of the commit pipeline: no reader of the store ever sees one without the other."""
    token = plant(shop).token
    shop.reveal(token)
    with shop.world.guard.store.read() as tx:
        reveals = tx.exec_driver_sql("SELECT reveals FROM vault_tokens").scalar_one()
        opened = tx.exec_driver_sql("SELECT count(*) FROM incidents").scalar_one()
    assert (reveals, opened) == (1, 1)


def test_a_column_whose_values_are_nobodys_row_cannot_be_planted(shop):
    with pytest.raises(InvalidRequest, match="bound to row or subject"):
        shop.call("analyst", "honey.plant_row", field="mixed.city", context={"row": "1"})


@pytest.mark.parametrize("who", ["billing", "support", "storing", "privacy", "clerk"])
@pytest.mark.parametrize("operation", ["honey.list", "honey.plant_row"])
def test_who_reads_values_neither_plants_nor_learns_what_is_planted(shop, who, operation):
    request = {"field": "mixed.note", "context": {"row": "1"}} if operation == "honey.plant_row" else {}
    with pytest.raises(Denied):
        shop.call(who, operation, **request)


def test_the_store_does_not_tell_what_is_planted(shop):
    planted, view = plant(shop), plant_row(shop, "row-canary-7")
    lines = dump(shop.world.home / "guard.db")
    token_row = shop.listed()[0].id
    for secret in ("row-canary-7", planted.token, VALUE):
        assert not any(secret in line for line in lines)
    assert not any(token_row in line for line in lines if "honeys" in line)
    assert view.id != planted.id


def test_a_finding_is_on_record_under_another_name_beside_the_reading(shop):
    token = plant(shop).token
    shop.reveal(token)
    finding, reading = shop.records()[-2:]
    assert (finding["action"], reading["action"]) == ("incidents.open", "tokens.reveal")
    assert (finding["actor"]["id"], reading["actor"]["id"]) == ("system:runbook", "user:local|billing")
    assert finding["request"]["id"].startswith(reading["request"]["id"])


def test_a_reading_whose_finding_cannot_be_raised_shows_nothing_and_does_not_say_why(shop, monkeypatch):
    token = plant(shop).token
    policy = shop.world.gate._doors.policy
    decide = type(policy).decide

    def refusing(self, actor, permission, resource, now_us):
        decision = decide(self, actor, permission, resource, now_us)
        return decision if permission != "incidents.open" else type(decision)(allow=False, rule="none")

    monkeypatch.setattr(type(policy), "decide", refusing)
    with pytest.raises(GuardError) as caught:
        shop.reveal(token)
    assert "planted" not in caught.value.detail
    assert "incident" not in caught.value.detail


# the marks


def test_a_mark_is_the_one_of_the_page():
    parts = ("acme", "row", "users", "row", "str", "17")
    message = b"guard/honey/1" + b"".join(struct.pack(">I", len(one)) + one.encode() for one in parts)
    expected = hmac.new(bytes(32), message, hashlib.sha256).digest()
    assert mark(bytes(32), "acme", honey.ROW, *honey.row_parts("users", [("row", "17")])) == expected


def test_a_number_and_its_text_are_one_row_and_bytes_another():
    assert honey.row_parts("t", [("row", 17)]) == honey.row_parts("t", [("row", "17")])
    assert honey.row_parts("t", [("row", "01")]) != honey.row_parts("t", [("row", b"\x01")])
    assert honey.row_parts("t", [("row", b"\x01")]) == ["t", "row", "bytes", "01"]


def test_without_anything_planted_nothing_is_computed():
    empty = Honey()
    assert not empty.watches("acme")
    assert empty.planted_token("acme", "vtk_1") is None
    made = Honey(Secret(bytes(32), "k"), [("acme", mark(bytes(32), "acme", "token", "vtk_1"))])
    assert made.watches("acme")
    assert not made.watches("globex")
    assert made.planted_token("acme", "vtk_1") is not None
    assert made.planted_token("globex", "vtk_1") is None
