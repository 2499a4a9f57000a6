"""Search through the gate: every kind, bad input, other tenants, plans, and what the record says of it."""

import hashlib

import pytest

from guard.errors import Denied, InvalidPolicy, PurposeRefused
from tests.vault.people import BORN, CITY, NAME, NUMBER, People, alternatives, matches, world
from tests.vault.shop import b64, item

INVALID = "GRD-VAL-001"


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    with world(tmp_path_factory.mktemp("search") / "home") as made:
        yield People(made)


@pytest.fixture(scope="module")
def other(people):
    return People(people.world, "globex")


@pytest.fixture(autouse=True)
def _a_new_day(people):
    people.world.clock.advance(86_400)


def test_an_exact_search_asks_for_a_token_of_each_partition(people):
    found = people.search(NAME, value="ANA Silva")
    assert (found["index"], found["kind"]) == ("exact", "exact")
    assert len(found["tokens"]) == 4
    for row in ("1", "2", "17", "x"):
        assert matches(found, people.stored(NAME, "ana silva", row)["exact"])
        assert not matches(found, people.stored(NAME, "ana silvan", row)["exact"])


def test_a_prefix_search_asks_for_all_lengths_up_to_its_own(people):
    found = people.search(NAME, kind="prefix", value="Ana S")
    assert [len(one["tokens"]) for one in found["alternatives"]] == [3]
    assert matches(found, people.stored(NAME, "ANA SILVA")["start"])
    assert not matches(found, people.stored(NAME, "ANATOL")["start"])
    assert len(people.stored(NAME, "ANA SILVA")["start"]) == 4


def test_a_compound_search_needs_all_its_parts(people):
    found = people.search(NAME, kind="compound", value="Ana", values={"city": "Porto"})
    assert matches(found, people.stored(NAME, "ana", city="PORTO")["both"])
    assert not matches(found, people.stored(NAME, "ana", city="Lisboa")["both"])
    assert people.search(NAME, kind="compound", value="Ana")["problem"]["code"] == INVALID


def test_a_range_search_asks_for_tokens_in_no_order_of_the_dates(people):
    found = people.search(BORN, low="1980-01-01", high="1984-12-31")
    tokens = [one["token"] for one in found["tokens"]]
    assert found["kind"] == "range"
    assert 1 < len(tokens) <= 32
    assert tokens == sorted(tokens)
    for born, inside in (("1979-12-31", False), ("1980-01-01", True), ("1984-12-31", True), ("1985-01-01", False)):
        assert matches(found, people.stored(BORN, born)["range"]) == inside


def test_a_search_for_exact_is_answered_as_before(people):
    answer = people.call(
        "support", "fields.search", purpose="support", items=[{"field": "customers.email", "value": "a@example.org"}]
    )["results"][0]
    computed = people.call(
        "support",
        "indexes.compute",
        purpose="support",
        items=[{"field": "customers.email", "index": "exact", "value": " A@example.org"}],
    )["results"][0]
    assert answer["index"] == "exact"
    assert answer["tokens"] == computed["tokens"]
    assert [one["version"] for one in answer["tokens"]] == [1]


@pytest.mark.parametrize(
    ("field", "asked", "message"),
    [
        (NAME, {"kind": "range", "low": "1"}, "Expected an index of people.name, got of kind range"),
        (NAME, {"index": "nothing", "value": "ana"}, "got nothing"),
        (NAME, {"index": "start", "kind": "exact", "value": "ana"}, "got start of kind exact"),
        (NAME, {"index": "start", "value": "an"}, "at least 3 characters"),
        (NAME, {"value": ""}, "Expected a value of name"),
        (NAME, {"value": "  "}, "leaves nothing"),
        (NAME, {"value": "ana", "values": {"name": "ana"}}, "got it in 'values'"),
        (NAME, {"value": "ana", "values": {"shoe": "42"}}, "Expected columns of people as keys"),
        (BORN, {"value": "1984-02-29"}, "Expected low, high or both"),
        (BORN, {"low": "yesterday"}, "YYYY-MM-DD"),
        (BORN, {"low": "1990-01-01", "high": "1980-01-01"}, "other way round"),
        (CITY, {"value": "Porto"}, "Expected an index of people.city, got none"),
    ],
)
def test_bad_input_is_answered_in_its_place_and_not_repeated(people, field, asked, message):
    good = {"field": NUMBER, "index": "exact", "value": "4711"}
    results = people.call("support", "fields.search", purpose="support", items=[{"field": field, **asked}, good])
    problem = results["results"][0]["problem"]
    assert message in problem["detail"]
    assert problem["code"] == INVALID
    assert "tokens" in results["results"][1]
    for value in ("yesterday", "1984-02-29", "Porto"):
        assert value not in problem["detail"]


def test_a_search_needs_its_purpose_and_its_permission(people):
    with pytest.raises(Denied):
        people.search(NAME, "billing", value="ana")
    with pytest.raises(PurposeRefused):
        people.call("support", "fields.search", purpose="support", items=[{"field": "customers.identity_number"}])
    with pytest.raises(Denied):
        people.call("support", "fields.index_tokens", items=[{"field": NAME, "value": "ana"}])
    assert people.search(NAME, "storing", value="ana")["tokens"]


def test_another_tenant_has_other_tokens_for_the_same_value(people, other):
    for asked in ({"value": "ana"}, {"kind": "prefix", "value": "anatol"}):
        ours, theirs = people.search(NAME, **asked), other.search(NAME, **asked)
        assert not {frozenset(one) for _, one in alternatives(ours)} & {
            frozenset(one) for _, one in alternatives(theirs)
        }
    assert people.stored(NUMBER, "4711")["unique"] != other.stored(NUMBER, "4711")["unique"]


def test_sealing_brings_the_tokens_of_all_indexes_with_their_version(people):
    items = [item(NAME, "9", plaintext=b64("Ana Silva")), item(CITY, "9", plaintext=b64("Porto"))]
    sealed = people.call("storing", "fields.encrypt", indexes=True, items=items)["results"]
    found = {one["index"]: one for one in sealed[0]["indexes"]}
    assert {one["version"] for one in found.values()} == {1}
    assert {name: one["tokens"] for name, one in found.items()} == people.stored(NAME, "Ana Silva", "9", city="Porto")
    assert "indexes" not in sealed[1]  # a column without indexes
    assert "missing" not in sealed[0]


def test_sealing_without_the_other_part_names_the_index_that_lacks_it(people):
    items = [item(NAME, "9", plaintext=b64("Ana Silva"))]
    sealed = people.call("storing", "fields.encrypt", indexes=True, items=items)["results"][0]
    assert sealed["missing"] == ["both"]
    assert {one["index"] for one in sealed["indexes"]} == {"exact", "start"}
    plain = people.call("storing", "fields.encrypt", items=items)["results"][0]
    assert plain.keys() == {"ciphertext", "key_version"}


@pytest.mark.parametrize("value", ["not a date", "2031-01-01", "x" * 5000])
def test_a_value_without_a_form_is_sealed_all_the_same(people, value):
    items = [item(BORN, "9", plaintext=b64(value))]
    sealed = people.call("storing", "fields.encrypt", indexes=True, items=items)["results"][0]
    assert people.open(sealed["ciphertext"], "9", BORN) == value
    assert not sealed.get("indexes")


def test_an_index_that_needs_the_row_says_so(people):
    answer = people.call("storing", "fields.index_tokens", items=[{"field": NAME, "value": "ana"}])["results"][0]
    assert "row's id in 'row'" in answer["problem"]["detail"]


def test_the_old_operation_answers_for_exact_indexes_only(people):
    asked = [{"field": NAME, "index": name, "value": "ana"} for name in ("exact", "start", "both")]
    answers = people.call("support", "indexes.compute", purpose="support", items=asked)["results"]
    assert all("use fields.search" in one["problem"]["detail"] for one in answers)


def test_a_plan_says_what_is_stored_and_shown(people):
    tables = {one.table: one for one in people.call("keys", "fields.plan").data}
    email = tables["customers"].indexes[0]
    assert (tables["customers"].spent_bits, tables["customers"].coincidences) == (18, 3)
    assert (email.bits, email.advised_bits, email.bytes_per_row, email.tokens_per_query) == (18, 18, 3, 1)
    assert "groups of about 4 rows" in email.leak
    assert email.look_ups == {"minute": 250, "hour": 1250, "day": 5000}
    kinds = {one.index: one for one in tables["people"].indexes}
    assert (kinds["people.born.range"].tokens_per_row, kinds["people.born.range"].tokens_per_query) == (16, 32)
    assert kinds["people.name.start"].bytes_per_row == 4
    assert kinds["people.name.exact"].partitions == 4


def test_a_plan_of_a_policy_that_is_sent_and_of_one_that_is_refused(people):
    text = """
version: 1
table: people
rows: 1000000
columns:
  born: {class: birth, suite: cbl256, bind: [row], mask: none, purposes: [support], entropy: 15, index: [
    {name: range, kind: range, of: date, low: '1900-01-01', high: '2030-12-31', bits: 24, shows_order: FLAG}]}
"""
    [planned] = people.call("keys", "fields.plan", policy=text.replace("FLAG", "true"), file="mine.yaml").data
    [born] = planned.indexes
    assert "which rows lie close together" in born.leak
    assert "names them all" not in born.leak
    assert born.look_ups["day"] == 327  # one in a hundred of 2^15
    with pytest.raises(InvalidPolicy, match=r"mine.yaml:7: expected 'shows_order: true'"):
        people.call("keys", "fields.plan", policy=text.replace("FLAG", "false"), file="mine.yaml")


def test_no_value_and_no_token_and_no_hash_of_one_is_in_the_record(people):
    secrets = {"Canaria", "canaria", "1977-07-07", "123456789"}
    people.search(NAME, kind="prefix", value="Canaria")
    people.search(BORN, low="1977-07-07")
    people.search(NUMBER, index="exact", value="123456789")
    tokens = set(people.stored(NUMBER, "123456789")["unique"])
    assert len(people.world.records("acme", action="fields.search")) >= 3
    kept = b"".join(path.read_bytes() for path in sorted(people.world.home.rglob("*")) if path.is_file())
    for looked_up in (b"people_number_exact", b"people_name_start", b"people_born_range"):
        assert looked_up in kept  # it is the record that is looked at
    hashes = {hashlib.new(name, secret.encode()).hexdigest() for secret in secrets for name in ("sha256", "md5")}
    for secret in secrets | tokens | hashes:
        assert secret.encode() not in kept
    for secret in hashes | tokens:
        assert bytes.fromhex(secret) not in kept
