"""What is held on a person: counted by column, opened for an access request, a page at a time, and on record."""

import json

import pytest

from guard.errors import Denied, InvalidRequest, SubjectForgotten
from tests.vault.clinic import DIARY, clinic, plain, source, store_row


@pytest.fixture
def ward(tmp_path):
    table = tmp_path / "ward.db"
    with clinic(tmp_path / "home", sources=(source(table),)) as one:
        for number in range(1, 8):
            name = "ana" if number % 2 else "bob"
            note = one.seal(name, f"{name}{number}", row=str(number))
            diary = one.seal(name, f"diary of {name}", field=DIARY)
            store_row(table, number, note=note, diary=diary)
        yield one


def export(one, subject="ana", **more):
    return one.world.call("subjects.export", one.officer, subject=subject, **more)


def test_the_report_counts_this_person_s_values_by_column_and_names_what_it_cannot_tell(ward):
    report = ward.world.call("subjects.report", ward.officer, subject="ana")
    assert {row.column: row.count for row in report.data} == {"note": 4, "diary": 4}
    assert (report.state, report.hold, report.unattributed) == ("live", None, ["ward.room"])
    assert {row.data_class for row in report.data} == {"health"}


def test_the_report_says_held_and_revoked(ward):
    hold = ward.world.call("holds.place", ward.second, scope="subject", subject="ana", matter="case-1").id
    report = ward.world.call("subjects.report", ward.second, subject="ana")
    assert (report.state, report.hold) == ("held", hold)
    ward.forget("bob")
    report = ward.world.call("subjects.report", ward.officer, subject="bob")
    assert report.state == "revoked"
    assert sum(row.count for row in report.data) == 6


def test_of_whom_nothing_is_held_and_who_is_destroyed_look_the_same(ward):
    ward.forget_now("bob")
    for name in ("bob", "stranger"):
        report = ward.world.call("subjects.report", ward.officer, subject=name)
        assert (report.state, report.data) == ("none", [])
        assert export(ward, name).data == []


def test_the_export_opens_all_of_it_and_nobody_else_s(ward):
    found = export(ward).data
    assert sorted(plain(one.plaintext) for one in found) == [*["ana1", "ana3", "ana5", "ana7"], *["diary of ana"] * 4]
    assert {one.row for one in found} == {"1", "3", "5", "7"}


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, 8])
def test_pages_together_are_the_whole_without_a_row_twice(ward, limit):
    found, cursor, pages = [], "", 0
    while True:
        page = export(ward, limit=limit, cursor=cursor)
        found += [(one.column, one.row) for one in page.data]
        cursor, pages = page.cursor, pages + 1
        if not cursor:
            break
    assert len(found) == len(set(found)) == 8
    assert pages == -(-8 // limit)


@pytest.mark.parametrize("cursor", ["x", "[]", "[0, 1]", '["0", ""]', '[0, "{"]', '[0, "{}"]', json.dumps([0, "1.5"])])
def test_a_cursor_of_one_s_own_making_is_refused(ward, cursor):
    with pytest.raises(InvalidRequest):
        export(ward, cursor=cursor)


def test_a_value_that_was_moved_to_another_row_says_so_and_spoils_no_other(ward, tmp_path):
    store_row(tmp_path / "ward.db", 90, note=ward.seal("ana", "moved", row="1"))
    found = export(ward).data
    assert [one.problem for one in found if one.row == "90"] == ["Ciphertext does not open"]
    assert sum(one.plaintext is not None for one in found) == 8


def test_nothing_is_exported_of_who_is_revoked(ward):
    ward.forget("ana")
    with pytest.raises(SubjectForgotten):
        export(ward)


def test_only_the_privacy_officer_exports_and_the_record_names_nobody(ward):
    for who in (ward.second, ward.billing, ward.storing):
        with pytest.raises(Denied):
            ward.world.call("subjects.export", who, subject="ana")
    export(ward)
    record = next(one for one in ward.world.records("acme") if one.action == "subjects.export" and one.status == "ok")
    assert "ana" not in record.model_dump_json()
