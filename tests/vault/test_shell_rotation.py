"""Rotation while the service works, the census, and the retirement of a version that nothing needs any more."""

import json
import threading

import pytest

from guard.errors import Denied, InvalidPolicy, InvalidRequest, KeyInUse, KeyStateConflict, NotFound, StoreUnavailable
from guard.settings import Source
from tests.vault.shop import EMAIL, PHONE, Shop, b64, item, policies_with, shown, source_of, world

NAMES = [f"person{number}@example.org" for number in range(1, 26)]


@pytest.fixture
def shop(tmp_path, table):
    sources = (source_of(table.path), source_of(table.path, "globex", name="foreign"))
    with world(tmp_path / "home", sources=sources) as made:
        yield Shop(made)


def rows(shop, field=EMAIL):
    return {(row.version, row.state): row.count for row in shop.call("keys", "censuses.run", field=field).data}


# rotation


def test_rotation_makes_one_new_version_and_the_old_ones_still_open(shop):
    sealed = []
    for expected in (2, 3, 4):
        sealed.append(shop.seal("ana")[0])
        assert shop.rotate() == expected
    view = shop.call("keys", "keys.read", key=EMAIL)
    assert [one.state for one in view.versions] == ["active", "decrypt_only", "decrypt_only", "decrypt_only"]
    assert len({one.key_id for one in view.versions}) == 4
    assert [shop.open(one) for one in sealed] == ["ana"] * 3
    assert [one.version for one in shop.call("keys", "keys.read", key=PHONE).versions] == [1]


def test_a_rotation_that_was_refused_changes_nothing(shop):
    with pytest.raises(Denied):
        shop.call("storing", "keys.rotate", key=EMAIL)
    assert [one.version for one in shop.call("keys", "keys.read", key=EMAIL).versions] == [1]


def test_rotating_one_tenant_leaves_the_other_alone(shop):
    other = Shop(shop.world, "globex")
    shop.rotate()
    answer = other.call("storing", "fields.encrypt", items=[item(EMAIL, "1", plaintext=b64("eve"))])["results"][0]
    assert answer["key_version"] == 1


def test_no_read_fails_and_every_new_value_opens_while_keys_rotate(shop):
    stop = threading.Event()
    made, failures = [[] for _ in range(4)], []

    def work(place):
        number = 0
        while not stop.is_set():
            number += 1
            value = f"{place}-{number}"
            answer = shop.call("storing", "fields.encrypt", items=[item(EMAIL, "1", plaintext=b64(value))])
            sealed = answer["results"][0].get("ciphertext")
            if sealed is None or shop.open(sealed) != value:
                failures.append(value)
            made[place].append((value, sealed, answer["results"][0].get("key_version")))

    threads = [threading.Thread(target=work, args=(place,)) for place in range(4)]
    for thread in threads:
        thread.start()
    last = [shop.rotate() for _ in range(12)][-1]
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert last == 13
    versions = [[version for _, _, version in one] for one in made]
    assert all(one == sorted(one) for one in versions)  # nobody ever seals under an older version again
    assert all(shop.open(sealed) == value for one in made for value, sealed, _ in one[::7])
    assert shop.seal("after")[0] != ""


def test_versions_that_two_people_make_at_once_are_two(shop):
    threads = [threading.Thread(target=shop.rotate) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    versions = shop.call("keys", "keys.read", key=EMAIL).versions
    assert [one.version for one in versions] == [7, 6, 5, 4, 3, 2, 1]
    assert [one.state for one in versions].count("active") == 1


# the census


def test_the_census_counts_what_stands_in_the_columns(shop, table):
    table.fill(shop, NAMES[:10])
    shop.rotate()
    table.fill(shop, NAMES[10:14], rows=list(range(11, 15)))
    table.write("INSERT INTO customers (id, email) VALUES (15, 'ana@example.org'), (16, NULL), (17, '')")
    stranger = "gd1.RwEBAAECAwQFBgcIAAAAAw" + "A" * 90
    table.write("INSERT INTO customers (id, email) VALUES (18, ?)", stranger)
    assert rows(shop) == {
        (1, "decrypt_only"): 10,
        (2, "active"): 4,
        (0, "not sealed"): 2,
        (3, "unknown"): 1,
    }


def test_a_value_of_another_key_or_tenant_is_counted_under_its_own(shop, table):
    other = Shop(shop.world, "globex")
    table.write("INSERT INTO customers (id, email) VALUES (1, ?)", shop.seal("079", field=PHONE)[0])
    table.write("INSERT INTO customers (id, email) VALUES (2, ?)", other.seal("eve")[0])
    counted = [row for row in shop.call("keys", "censuses.run", field=EMAIL).data if row.count]
    assert sorted((row.version, row.state) for row in counted) == [(1, "active"), (1, "unknown")]
    named = {one.key_id: key.key for key in shop.call("keys", "keys.list").data for one in key.versions}
    assert {named.get(row.key_id) for row in counted} == {PHONE, None}


def test_versions_with_no_values_are_counted_as_zero(shop, table):
    table.fill(shop, NAMES[:1])
    shop.rotate()
    assert rows(shop) == {(1, "decrypt_only"): 1, (2, "active"): 0}
    assert rows(shop, PHONE) == {(1, "active"): 0}


def test_the_census_of_all_fields_has_every_registered_column_of_the_tenant_only(shop, table):
    table.fill(shop, NAMES[:2])
    table.fill(shop, ["079"], rows=[9], column="phone")
    data = shop.call("keys", "censuses.run").data
    assert {(row.source, row.column, row.field) for row in data} == {
        ("customers", "email", EMAIL),
        ("customers", "phone", PHONE),
    }
    assert sum(row.count for row in data) == 3


def test_a_census_shows_no_value(shop, table):
    table.fill(shop, NAMES[:3])
    table.write("INSERT INTO customers (id, email) VALUES (9, 'canary@example.org')")
    assert "canary" not in json.dumps([row.model_dump() for row in shop.call("keys", "censuses.run").data])


def test_a_census_of_what_is_no_field_is_refused(shop):
    with pytest.raises(InvalidRequest):
        shop.call("keys", "censuses.run", field="Customers.Email")
    assert shop.call("keys", "censuses.run", field="customers.shoe_size").data == []


# retirement


def retire(shop, version, key=EMAIL):
    return shop.call("keys", "keys.retire", key=key, version=version)


def test_a_version_in_use_is_not_retired_and_the_refusal_says_where(shop, table):
    table.fill(shop, NAMES[:10])
    shop.rotate()
    with pytest.raises(KeyInUse) as raised:
        retire(shop, 1)
    assert raised.value.extra == {"source": "customers", "table": "customers", "column": "email", "count": 10}
    assert "10 values of customers.email" in raised.value.detail
    assert shop.open(table.all()[1]) == NAMES[0]
    assert shop.call("keys", "keys.read", key=EMAIL).versions[1].state == "decrypt_only"


def test_a_version_that_nothing_needs_is_retired_and_opens_no_more_after_a_restart_either(shop, table):
    table.fill(shop, NAMES[:10])
    kept = table.all()[1]
    shop.rotate()
    assert shop.run_job().state == "done"
    view = retire(shop, 1)
    assert [one.state for one in view.versions] == ["active", "retired"]
    assert view == shop.call("keys", "keys.read", key=EMAIL)
    assert shop.open(kept) == "GRD-KEY-001"
    assert shop.open(table.all()[1]) == NAMES[0]
    home, sources = shop.world.home, shop.world.guard.settings.sources
    shop.world.close()
    with world(home, sources=sources) as again:
        shop = Shop(again)
        assert shop.open(kept) == "GRD-KEY-001"
        assert rows(shop) == {(1, "retired"): 0, (2, "active"): 10}


def test_a_value_put_back_after_the_retirement_is_counted_and_does_not_open(shop, table):
    table.fill(shop, NAMES[:1])
    kept = table.all()[1]
    shop.rotate()
    shop.run_job()
    retire(shop, 1)
    table.write("UPDATE customers SET email = ? WHERE id = 1", kept)
    assert rows(shop) == {(1, "retired"): 1, (2, "active"): 0}
    assert shop.run_job().failed == 1
    assert table.all()[1] == kept


@pytest.mark.parametrize(("version", "error"), [(1, KeyStateConflict), (2, NotFound), (99, NotFound)])
def test_the_active_version_and_one_that_does_not_exist_are_not_retired(shop, version, error):
    with pytest.raises(error):
        retire(shop, version)


def test_a_version_is_retired_once(shop):
    shop.rotate()
    retire(shop, 1)
    with pytest.raises(KeyStateConflict):
        retire(shop, 1)


def test_a_retirement_is_an_intent_with_an_outcome_in_the_record(shop):
    shop.rotate()
    retire(shop, 1)
    made = shop.world.records("acme", action="keys.retire")
    assert [(one.phase, one.status) for one in made] == [("outcome", "ok"), ("intent", "ok")]


def test_a_source_that_does_not_answer_keeps_the_version(tmp_path):
    source = source_of(tmp_path / "none.db")
    with world(tmp_path / "home", sources=(source,)) as made:
        shop = Shop(made)
        shop.rotate()
        with pytest.raises(StoreUnavailable):
            retire(shop, 1)
        assert shop.call("keys", "keys.read", key=EMAIL).versions[1].state == "decrypt_only"


def test_a_column_of_an_undeclared_field_is_named(tmp_path, table):
    source = Source("customers", "acme", f"sqlite:///{table.path}", "customers", "id", {"email": "customers.shoe_size"})
    with world(tmp_path / "home", sources=(source,)) as made, pytest.raises(InvalidRequest) as raised:
        Shop(made).call("keys", "censuses.run")
    assert "customers.shoe_size" in raised.value.detail


def test_a_batch_of_both_versions_opens_in_one_call(shop):
    old = shop.seal("ana", "ben")
    shop.rotate()
    new = shop.seal("cle", "dan", rows=["3", "4"])
    items = [item(EMAIL, str(row), ciphertext=one) for row, one in enumerate([*old, *new], 1)]
    answers = shop.call("billing", "fields.decrypt", purpose="billing", items=items[::-1])["results"]
    assert [shown(one) for one in answers] == ["dan", "cle", "ben", "ana"]


# what the policy says of suites


def city(suite, key="orders.city"):
    """A policy with one more field, deterministic or not."""
    deterministic = "deterministic: true, entropy: 40, " if suite == "siv" else "portable: true, "
    return (
        "version: 1\ntable: orders\nrows: 1000000\ncolumns:\n"
        f"  city: {{class: contact, suite: {suite}, bind: [], {deterministic}mask: full, purposes: [billing], key: {key}}}\n"
    )


def test_a_policy_that_takes_determinism_back_seals_nothing_under_the_old_key(tmp_path):
    one = [{"field": "orders.city", "context": {}, "plaintext": b64("Bern")}]
    policies = policies_with(tmp_path, "orders.yaml", city("siv"))
    with world(tmp_path / "home", policies=policies) as made:
        old = Shop(made).call("storing", "fields.encrypt", items=one)["results"][0]["ciphertext"]
    with world(tmp_path / "home", policies=policies_with(tmp_path, "orders.yaml", city("cbl256"))) as made:
        shop = Shop(made)
        with pytest.raises(KeyStateConflict) as raised:
            shop.call("storing", "fields.encrypt", items=one)
        assert "rotate" in raised.value.detail
        view = shop.call("keys", "keys.rotate", key="orders.city")
        assert [version.suite for version in view.versions] == ["cbl256", "siv"]
        made_now = shop.call("storing", "fields.encrypt", items=one * 2)["results"]
        assert len({answer["ciphertext"] for answer in made_now}) == 2
        back = [{"field": "orders.city", "context": {}, "ciphertext": old}]
        assert shown(shop.call("billing", "fields.decrypt", purpose="billing", items=back)["results"][0]) == "Bern"


def test_two_fields_that_share_a_key_must_share_its_suite(tmp_path):
    policies = policies_with(tmp_path, "orders.yaml", city("siv", key=EMAIL))
    with pytest.raises(InvalidPolicy) as raised, world(tmp_path / "home", policies=policies):
        pass
    assert "policies/fields/orders.yaml: orders.city and customers.email share the key" in raised.value.detail
    assert not (tmp_path / "home").exists()
