"""Tokens in the report on a person and in the access request: the vault's values are the person's too."""

import pytest

from guard.errors import SubjectForgotten
from tests.vault.clinic import plain
from tests.vault.tokenising import CARD, PHONE, till


@pytest.fixture
def shop(tmp_path):
    with till(tmp_path / "home") as made:
        for number in range(5):
            made.token(f"value {number}", "ana")
        made.token("value 0", "ana", "refunds")
        made.token("139000", "ana", field=PHONE)
        made.token("of bo", "bo")
        yield made


def export(shop, subject="ana", **more):
    return shop.call("privacy", "subjects.export", subject=subject, **more)


def test_the_report_counts_values_by_field_and_domain(shop):
    report = shop.call("privacy", "subjects.report", subject="ana")
    assert {(row.source, row.table, row.field, row.column): row.count for row in report.data} == {
        ("guard", "tokens", CARD, "checkout"): 5,
        ("guard", "tokens", CARD, "refunds"): 1,
        ("guard", "tokens", PHONE, "checkout"): 1,
    }
    assert {row.data_class for row in report.data} == {"payment", "contact"}


def test_the_export_opens_all_and_nobody_elses(shop):
    found = export(shop).data
    assert sorted(plain(one.plaintext) for one in found) == ["139000", "value 0", *[f"value {n}" for n in range(5)]]
    assert "tok_" not in str(found)
    assert [plain(one.plaintext) for one in export(shop, "bo").data] == ["of bo"]


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8])
def test_pages_together_are_the_whole_without_a_value_twice(shop, limit):
    found, cursor, pages = [], "", 0
    while True:
        page = export(shop, limit=limit, cursor=cursor)
        assert len(page.data) <= limit
        found, cursor, pages = found + page.data, page.cursor, pages + 1
        if not cursor:
            break
    assert (len(found), len({one.row for one in found})) == (7, 7)
    assert pages == -(-7 // limit)


def test_what_was_revoked_is_held_no_more(shop):
    shop.revoke(shop.token("value 1", "ana"))
    assert "value 1" not in [plain(one.plaintext) for one in export(shop).data]


def test_of_a_revoked_person_nothing_is_opened(shop):
    shop.forget("ana", for_good=False)
    with pytest.raises(SubjectForgotten):
        export(shop)


def test_of_a_forgotten_person_nothing_is_held(shop):
    shop.forget("ana")
    assert export(shop).data == []
    assert shop.call("privacy", "subjects.report", subject="ana").state == "none"
