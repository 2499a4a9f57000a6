"""Fields of every suite through the gate, as a field policy declares them."""

import hashlib
import json
import sqlite3
from contextlib import closing

import pytest

from guard.errors import InvalidRequest, InvalidSetting, KeyInUse
from guard.vault.envelope import SuiteId, from_text, header_of
from tests.vault.shop import Shop, b64, item, policies_with, source_of, world

CARDS = """
version: 1
table: cards
rows: 1000000
columns:
  note: {class: contact, suite: xaes, bind: [row], mask: partial, purposes: [billing]}
  number:
    class: contact
    suite: ff1
    bind: [row]
    format: {alphabet: "0123456789", min_length: 12, keep_first: 2, keep_last: 4}
    mask: last4
    purposes: [billing, support]
  padded: {class: contact, suite: xaes, bind: [row], mask: partial, purposes: [billing], pad: 32}
"""
DOES_NOT_OPEN = "GRD-CRYPT-001"


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("suites")
    with world(folder / "home", policies=policies_with(folder, "cards.yaml", CARDS)) as made:
        yield Shop(made)


def test_a_compact_field_is_sealed_with_xaes(shop):
    sealed = shop.seal("ana", "bo", field="cards.note")
    assert [len(from_text(one)) for one in sealed] == [56 + 3, 56 + 2]
    assert {header_of(one).suite for one in sealed} == {SuiteId.XAES}
    assert [shop.open(one, row, "cards.note") for one, row in zip(sealed, "12", strict=True)] == ["ana", "bo"]
    assert shop.open(sealed[0], "2", "cards.note") == DOES_NOT_OPEN


def test_compact_values_of_one_batch_have_different_nonces(shop):
    sealed = [from_text(one) for one in shop.seal(*["same"] * 300, field="cards.note")]
    assert len({one[16:40] for one in sealed}) == 300


def test_a_padded_compact_field(shop):
    sealed = shop.seal("ana", "a" * 31, field="cards.padded")
    assert {len(from_text(one)) for one in sealed} == {56 + 32}
    assert shop.open(sealed[0], "1", "cards.padded") == "ana"


def test_a_compact_key_rotates(shop):
    old = shop.seal("ana", field="cards.note")[0]
    assert shop.rotate("cards.note") == 2
    items = [item("cards.note", "1", plaintext=b64("ana"))]
    [new] = shop.call("storing", "fields.encrypt", items=items)["results"]
    assert new["key_version"] == 2
    assert [shop.open(one, "1", "cards.note") for one in (old, new["ciphertext"])] == ["ana", "ana"]


def formatted(shop, value, row="1", **rest):
    items = [item("cards.number", row, plaintext=b64(value), **rest)]
    return shop.call("storing", "fields.encrypt", items=items)["results"][0]


def shown_again(shop, ciphertext, row="1", who="billing", operation="fields.decrypt", **rest):
    items = [item("cards.number", row, ciphertext=ciphertext, **rest)]
    return shop.call(who, operation, purpose=who, items=items)["results"][0]


def test_a_field_keeps_its_format_and_says_its_version(shop):
    result = formatted(shop, "424242000000004242")
    assert result["key_version"] == 1
    sealed = result["ciphertext"]
    assert (len(sealed), sealed[:2], sealed[-4:], sealed.isdecimal()) == (18, "42", "4242", True)
    assert sealed != "424242000000004242"
    opened = shown_again(shop, sealed, key_version=1)
    assert opened == {"plaintext": b64("424242000000004242")}
    masked = shown_again(shop, sealed, who="support", operation="fields.mask", key_version=1)
    assert masked["masked"].endswith("4242")
    assert "0000" not in masked["masked"]


def test_equal_values_of_two_rows_differ(shop):
    assert len({formatted(shop, "424242000000004242", str(row))["ciphertext"] for row in range(20)}) == 20


def test_another_row_opens_to_another_value_because_nothing_is_authenticated(shop):
    sealed = formatted(shop, "424242000000004242")["ciphertext"]
    opened = shown_again(shop, sealed, "2", key_version=1)
    assert "plaintext" in opened
    assert opened != {"plaintext": b64("424242000000004242")}


@pytest.mark.parametrize(
    "value",
    ["4242-4242-4242", "４２４２４２４２４２４２", "42424242424", "4" * 257, "", "42424242424x", " 424242424242"],
)
def test_what_has_not_the_format_is_refused_without_being_repeated(shop, value):
    problem = formatted(shop, value)["problem"]
    assert problem["code"] == "GRD-VAL-001"
    assert not value or value not in problem["detail"]


def test_a_value_in_the_wrong_format_does_not_open(shop):
    for text in ("4242-4242-4242", "42", "gd1.RwEB", "４２４２４２４２４２４２"):
        assert shown_again(shop, text, key_version=1)["problem"]["code"] == DOES_NOT_OPEN
    assert shown_again(shop, "4" * 12)["problem"]["code"] == "GRD-VAL-001"
    assert shown_again(shop, "4" * 12, key_version=99)["problem"]["code"] == "GRD-STORE-404"


def test_a_format_key_rotates_and_the_companion_tells_the_versions_apart(shop):
    old = formatted(shop, "424242000000004242")
    version = shop.rotate("cards.number")
    new = formatted(shop, "424242000000004242")
    assert (old["key_version"], new["key_version"]) == (version - 1, version)
    assert old["ciphertext"] != new["ciphertext"]
    for one in (old, new):
        assert shown_again(shop, **one) == {"plaintext": b64("424242000000004242")}


def test_the_record_names_no_hash_of_a_value_that_may_stand_in_clear(shop):
    """Every text of the format opens, also one that was never sealed: its hash would be guessed from the record."""
    shown_again(shop, "424242000000004242", key_version=1)
    with shop.world.guard.store.read() as tx:
        rows = [
            json.loads(one)["b"] for one in tx.exec_driver_sql("SELECT entry FROM audit_entries ORDER BY idx").scalars()
        ]
    data = [row for row in rows if row["action"] == "fields.decrypt"][-1]["data"]
    assert data["opened"] == hashlib.sha256(b"").hexdigest()


@pytest.fixture
def counted(tmp_path):
    """A tenant, and its table whose column keeps the format and has the version beside it."""
    path = tmp_path / "cards.db"
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE cards (id INTEGER PRIMARY KEY, number TEXT, number_kv INTEGER)")
    source = source_of(path, name="cards", table="cards", columns={"number": "cards.number"})
    policies = policies_with(tmp_path, "cards.yaml", CARDS)
    with world(tmp_path / "home", policies=policies, sources=(source,)) as made:
        yield Shop(made), path


def store(shop, path, rows):
    with closing(sqlite3.connect(path)) as db, db:
        for row in rows:
            sealed = formatted(shop, f"4242000000{row:04}", str(row))
            db.execute("INSERT INTO cards VALUES (?, ?, ?)", (row, sealed["ciphertext"], sealed["key_version"]))


def test_the_census_counts_a_format_by_its_companion_and_keeps_its_keys(counted):
    shop, path = counted
    store(shop, path, range(3))
    shop.rotate("cards.number")
    store(shop, path, range(3, 5))
    assert shop.census("cards.number") == {1: 3, 2: 2}
    with pytest.raises(KeyInUse, match="still seals 3 values"):
        shop.call("keys", "keys.retire", key="cards.number", version=1)
    with pytest.raises(InvalidRequest, match="keeps its format"):
        shop.call("keys", "reencryptions.create", source="cards", field="cards.number")


def test_a_census_without_the_companion_column_is_refused(counted):
    shop, path = counted
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("ALTER TABLE cards DROP COLUMN number_kv")
    with pytest.raises(InvalidSetting, match="number_kv in cards"):
        shop.census("cards.number")
