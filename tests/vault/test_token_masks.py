"""The matrix of masks: what each role sees of each kind of value, as a table that a reviewer reads."""

import itertools

import pytest

from guard.vault.mask import HIDDEN, MASKS
from tests.vault.shop import policies_with
from tests.vault.tokenising import PURPOSE, till

FIELD = "masked.{}"
TABLE = """
version: 1
table: masked
columns:
"""
COLUMN = """
  {name}:
    class: any
    suite: cbl256
    bind: [row]
    mask: none
    purposes: [support]
    tokens:
      domains: {{all: {{form: random}}}}
      reveal: [{{role: support, purpose: support, mask: {name}}}]
"""
KINDS = {
    "card": "4111111111111111",
    "address": "ana.maria@example.org",
    "phone": "+49 151 2345678",
    "name": "Ana",
    "short": "Bo",
    "chinese": "王小明先生太太",
    "blank": "  Ana Maria  ",
    "marks": "e\u0301e\u0301e\u0301e\u0301e\u0301e\u0301e\u0301e\u0301",
    "steering": "abcd\u202eefgh",
}
SHOWN = (
    {("full", kind): value for kind, value in KINDS.items()}
    | {("none", kind): HIDDEN for kind in KINDS}
    | {
        ("last4", "card"): "****1111",
        ("last4", "address"): "****.org",
        ("last4", "phone"): "****5678",
        ("last4", "name"): HIDDEN,
        ("last4", "short"): HIDDEN,
        ("last4", "chinese"): HIDDEN,
        ("last4", "blank"): "****aria",
        ("last4", "marks"): "****" + "\u00e9" * 4,
        ("last4", "steering"): "****efgh",
        ("partial", "card"): "4****1",
        ("partial", "address"): "a****g",
        ("partial", "phone"): "+****8",
        ("partial", "name"): HIDDEN,
        ("partial", "short"): HIDDEN,
        ("partial", "chinese"): "王*****",
        ("partial", "blank"): "A****a",
        ("partial", "marks"): "\u00e9****\u00e9",
        ("partial", "steering"): "a****h",
        ("email", "card"): HIDDEN,
        ("email", "address"): "a****@e******.org",
        ("email", "phone"): HIDDEN,
        ("email", "name"): HIDDEN,
        ("email", "short"): HIDDEN,
        ("email", "chinese"): HIDDEN,
        ("email", "blank"): HIDDEN,
        ("email", "marks"): HIDDEN,
        ("email", "steering"): HIDDEN,
    }
)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("masks")
    columns = "".join(COLUMN.format(name=name) for name in sorted(MASKS))
    policies_with(folder, "masked.yaml", TABLE + columns)
    with till(folder / "home") as made:
        yield made


def test_the_table_has_every_mask_and_every_kind():
    assert set(SHOWN) == set(itertools.product(MASKS, KINDS))


@pytest.mark.parametrize(("name", "kind"), sorted(SHOWN), ids=lambda one: one)
def test_what_is_shown(shop, name, kind):
    field = FIELD.format(name)
    token = shop.token(KINDS[kind], "u-1", "all", field=field)
    assert shop.reveal(token, "support", field=field) == {"value": SHOWN[name, kind], "mask": name}


@pytest.mark.parametrize("name", sorted(MASKS))
@pytest.mark.parametrize("who", sorted(set(PURPOSE) - {"support", "stranger"}))
def test_nobody_else_sees_anything(shop, name, who):
    field = FIELD.format(name)
    token = shop.token("4111111111111111", "u-1", "all", field=field)
    assert shop.shown(token, who, field=field) == "GRD-AUTHZ-001"


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_no_mask_but_full_shows_a_value_whole(kind):
    assert all(SHOWN[name, kind] != KINDS[kind] for name in MASKS if name != "full")
