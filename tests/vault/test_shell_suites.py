"""Fields of every suite through the gate, as a field policy declares them."""

import pytest

from guard.vault.envelope import SuiteId, from_text, header_of
from tests.vault.shop import Shop, b64, item, policies_with, world

CARDS = """
version: 1
table: cards
rows: 1000000
columns:
  note: {class: contact, suite: xaes, bind: [row], mask: partial, purposes: [billing]}
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
