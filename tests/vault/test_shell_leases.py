"""Leases through the gate: given, renewed, counted, revoked; what they sealed stays data of its field."""

import base64
import json

import pytest

from guard.client.lease import Lease
from guard.errors import (
    Conflict,
    Denied,
    DoesNotOpen,
    GuardError,
    InvalidRequest,
    LeaseEnded,
    NotFound,
    PurposeRefused,
    SubjectForgotten,
)
from guard.vault import leases
from guard.vault.envelope import SuiteId, from_text, header_of
from tests.vault.clinic import DAY, NOTE, clinic, source
from tests.vault.shop import (
    EMAIL,
    ORDERS,
    PHONE,
    Shop,
    Table,
    b64,
    code_of,
    dump,
    item,
    policies_with,
    source_of,
    world,
)

DOES_NOT_OPEN = "GRD-CRYPT-001"


@pytest.fixture
def shop(tmp_path):
    with world(tmp_path / "home") as made:
        yield with_both(Shop(made))


@pytest.fixture(scope="module")
def still(tmp_path_factory):
    """A shop whose clock nobody moves and whose leases nobody revokes."""
    folder = tmp_path_factory.mktemp("leases")
    with world(folder / "home", policies=policies_with(folder, "orders.yaml", ORDERS)) as made:
        yield with_both(Shop(made))


def with_both(shop):
    """Also somebody who may store and read."""
    shop.people["both"] = shop.world.hire(shop.tenant, "svc:both", "role:storing-service", "role:billing-service")
    return shop


def given(shop, who="storing", fields=(EMAIL,), purpose="store", **more):
    return shop.call(who, "leases.create", fields=list(fields), purpose=purpose, **more)


def held(shop, answer):
    """The client's side of a lease, on the clock of the shop."""
    now = lambda: shop.world.clock.now_us / 1_000_000  # noqa: E731
    return Lease(answer.model_dump(), now(), now)


def renewed(shop, answer, used=0, who="storing", **more):
    members = {"fields": [one.field for one in answer.fields], "purpose": answer.purpose, "opens": answer.opens}
    return shop.call(who, "leases.renew", lease=answer.lease_id, **(members | {"used": used} | more))


def start_of(text):
    return base64.b64encode(from_text(text)[:136]).decode()


def records(shop, action):
    with shop.world.guard.store.read() as tx:
        entries = [json.loads(one)["b"] for one in tx.exec_driver_sql("SELECT entry FROM audit_entries").scalars()]
    return [one for one in entries if one["action"] == action]


def test_what_is_sealed_under_a_lease_opens_in_its_row_for_who_may_read(still):
    answer = given(still)
    text = held(still, answer).seal(EMAIL, "ana@example.org", row="1")
    assert header_of(text).suite is SuiteId.LEASED
    assert still.open(text) == "ana@example.org"
    assert still.open(text, "2") == DOES_NOT_OPEN
    assert still.open(text, field=PHONE, who="delivery") == DOES_NOT_OPEN
    assert still.call("support", "fields.mask", purpose="support", items=[item(EMAIL, "1", ciphertext=text)])[
        "results"
    ] == [{"masked": "a****@e******.org"}]


def test_two_fields_have_one_key_and_a_wrap_each(still):
    answer = given(still, fields=(PHONE, EMAIL))
    assert [one.field for one in answer.fields] == [EMAIL, PHONE]
    lease = held(still, answer)
    assert still.open(lease.seal(EMAIL, "a@example.org", row="1")) == "a@example.org"
    phone = lease.seal(PHONE, "079 1", row="1")
    assert still.open(phone, field=PHONE, who="delivery") == "079 1"


def test_the_key_is_fresh_and_not_the_fields(still):
    first, second = given(still), given(still)
    assert first.key != second.key
    assert base64.b64decode(first.key) not in [one.expose() for one in keys_of(still)]


def keys_of(shop):
    from guard.vault.vault import Vault

    return shop.world.gate._doors.parts[Vault].keyring.materials()


@pytest.mark.parametrize(
    ("who", "fields", "purpose", "error"),
    [
        ("billing", (EMAIL,), "store", Denied),
        ("billing", (EMAIL,), "billing", Denied),
        ("storing", (EMAIL,), "billing", Denied),
        ("both", (EMAIL,), "delivery", Denied),
        ("support", (EMAIL,), "support", Denied),
        ("keys", (EMAIL,), "store", Denied),
        ("both", (EMAIL, PHONE), "billing", PurposeRefused),
        ("storing", ("orders.nope",), "store", InvalidRequest),
        ("storing", ("orders.city",), "store", InvalidRequest),
    ],
    ids=str,
)
def test_a_fresh_key_needs_the_right_to_store_and_to_read_for_its_purpose(still, who, fields, purpose, error):
    with pytest.raises(error):
        given(still, who, fields, purpose)


def test_who_may_do_both_has_a_lease_for_both(still):
    lease = held(still, given(still, "both", purpose="billing"))
    text = lease.seal(EMAIL, "x", row="1")
    assert lease.open(EMAIL, text, row="1") == b"x"
    with pytest.raises(DoesNotOpen):
        lease.open(EMAIL, text, row="2")


def test_the_key_of_a_value_is_leased_again_to_who_may_read_it(still):
    text = held(still, given(still)).seal(EMAIL, "ana", row="1")
    again = given(still, "billing", purpose="billing", start=start_of(text))
    assert again.opens
    assert held(still, again).open(EMAIL, text, row="1") == b"ana"
    with pytest.raises(GuardError):  # whoever only reads is given no way to seal
        held(still, again).seal(EMAIL, "x", row="1")


@pytest.mark.parametrize(
    ("who", "purpose", "field", "error"),
    [
        ("storing", "store", EMAIL, InvalidRequest),
        ("billing", "store", EMAIL, Denied),
        ("storing", "billing", EMAIL, Denied),
        ("billing", "delivery", EMAIL, Denied),
        ("delivery", "delivery", PHONE, DoesNotOpen),
        ("billing", "billing", PHONE, PurposeRefused),
    ],
)
def test_of_another_purpose_or_field_it_is_not(still, who, purpose, field, error):
    text = held(still, given(still)).seal(EMAIL, "ana", row="1")
    with pytest.raises(error):
        given(still, who, (field,), purpose, start=start_of(text))


def test_of_another_tenant_it_is_not(still):
    other = with_both(Shop(still.world, "globex"))
    text = held(still, given(still)).seal(EMAIL, "ana", row="1")
    with pytest.raises(DoesNotOpen):
        given(other, "billing", purpose="billing", start=start_of(text))
    assert other.open(text) == "GRD-CRYPT-001"
    answer = given(still)
    for act in (
        lambda: renewed(other, answer),
        lambda: other.call("keys", "leases.revoke", lease=answer.lease_id),
        lambda: other.call("storing", "leases.encrypt", lease=answer.lease_id, items=[item(EMAIL, "1", plaintext="")]),
    ):
        with pytest.raises(NotFound):
            act()
    assert renewed(still, answer).ttl_seconds == 300


@pytest.mark.parametrize("at", range(0, 136, 5))
def test_a_changed_start_has_one_text(still, at):
    raw = bytearray(from_text(held(still, given(still)).seal(EMAIL, "ana", row="1"))[:136])
    raw[at] ^= 1
    if at == 3:  # the flag says that the key is a person's
        raw[at] ^= 3
    with pytest.raises(DoesNotOpen, match=r"^ciphertext does not open in this context$"):
        given(still, "billing", purpose="billing", start=base64.b64encode(bytes(raw)).decode())


def test_a_stored_value_passes_for_no_start(still):
    [text] = still.seal("x" * 100)
    with pytest.raises(DoesNotOpen):
        given(still, "billing", purpose="billing", start=start_of(text))


def test_the_server_seals_for_the_holder_of_a_lease(still):
    answer = given(still, "both", purpose="billing")
    items = [item(EMAIL, "1", plaintext=b64("ana")), item(EMAIL, "1", plaintext="?")]
    good, bad = still.call("storing", "leases.encrypt", lease=answer.lease_id, items=items).results
    assert held(still, answer).open(EMAIL, good["ciphertext"], row="1") == b"ana"
    assert still.open(good["ciphertext"]) == "ana"
    assert "problem" in bad


def test_the_server_seals_for_no_other_field_than_the_leases(still):
    answer = given(still)
    with pytest.raises(InvalidRequest, match=EMAIL):
        still.call("storing", "leases.encrypt", lease=answer.lease_id, items=[item(PHONE, "1", plaintext=b64("ana"))])


@pytest.mark.parametrize("name", ["orders.note", "orders.both"])
def test_each_way_to_bind(still, name):
    cell = {"orders.note": {"subject": "u-1"}, "orders.both": {"row": "1", "subject": "u-1"}}[name]
    text = held(still, given(still, fields=(name,))).seal(name, "x", **cell)
    items = [{"field": name, "context": cell, "ciphertext": text}]
    assert still.call("billing", "fields.decrypt", purpose="billing", items=items)["results"] == [{"plaintext": "eA=="}]


# time, uses, revocation


def test_a_lease_is_renewed_and_counts_uses(shop):
    answer = given(shop, ttl_seconds=60, max_uses=100)
    shop.world.clock.advance(50)
    state = renewed(shop, answer, used=10, ttl_seconds=60)
    assert (state.ttl_seconds, state.used) == (60, 10)
    shop.world.clock.advance(50)
    assert renewed(shop, answer, used=7).used == 10  # a report that came late takes nothing back
    assert shop.call("keys", "leases.list").data[0].used == 10


def test_after_its_time_it_is_renewed_no_more(shop):
    answer = given(shop, ttl_seconds=60)
    shop.world.clock.advance(61)
    with pytest.raises(LeaseEnded, match="end of its time"):
        renewed(shop, answer)
    assert shop.call("keys", "leases.list").data == []


def test_its_uses_end_it(shop):
    answer = given(shop, max_uses=10)
    assert renewed(shop, answer, used=10).ttl_seconds == 0
    with pytest.raises(LeaseEnded):
        renewed(shop, answer, used=10)
    with pytest.raises(InvalidRequest, match="at most the 10 uses"):
        renewed(shop, given(shop, max_uses=10), used=11)


def test_it_is_given_back(shop):
    answer = given(shop)
    assert renewed(shop, answer, used=3, ttl_seconds=0).ttl_seconds == 0
    with pytest.raises(LeaseEnded):
        renewed(shop, answer, used=3)


def test_a_day_is_all(shop):
    answer, left = given(shop, ttl_seconds=3600), []
    for _ in range(40):
        shop.world.clock.advance(2400)
        try:
            left.append(renewed(shop, answer, ttl_seconds=3600).ttl_seconds)
        except LeaseEnded:
            break
    assert len(left) in {35, 36}
    assert left[:34] == [3600] * 34
    assert left[-1] < 3600


@pytest.mark.parametrize(("name", "value"), [("ttl_seconds", 3601), ("ttl_seconds", 0), ("max_uses", 2**20 + 1)])
def test_terms_have_bounds(still, name, value):
    with pytest.raises(InvalidRequest):
        given(still, **{name: value})


@pytest.mark.parametrize("how", ["lease", "field"])
def test_a_revoked_lease_is_refused_at_once_and_the_answer_names_the_gap(shop, how):
    first, second, phone = given(shop), given(shop, ttl_seconds=600), given(shop, fields=(PHONE,))
    text = held(shop, first).seal(EMAIL, "before", row="1")
    named = {"lease": first.lease_id} if how == "lease" else {"field": EMAIL}
    answer = shop.call("keys", "leases.revoke", **named)
    seconds = {"lease": 300, "field": 600}[how]
    assert answer.revoked == {"lease": 1, "field": 2}[how]
    assert abs(answer.until_us - shop.world.clock.now_us - seconds * 1_000_000) < 1000
    for act in (
        lambda: renewed(shop, first),
        lambda: shop.call(
            "storing", "leases.encrypt", lease=first.lease_id, items=[item(EMAIL, "1", plaintext="eA==")]
        ),
    ):
        with pytest.raises(LeaseEnded, match="was revoked"):
            act()
    assert code_of(lambda: renewed(shop, second)) == ("" if how == "lease" else "GRD-KEY-030")
    assert renewed(shop, phone).ttl_seconds == 300
    assert shop.open(text) == "before"  # what was sealed before is data, and nothing is lost
    assert renewed(shop, given(shop)).ttl_seconds == 300  # who still may takes a new one


def test_a_second_revocation_finds_nothing(shop):
    given(shop)
    shop.call("keys", "leases.revoke", field=EMAIL)
    again = shop.call("keys", "leases.revoke", field=EMAIL)
    assert (again.revoked, again.until_us) == (0, None)
    with pytest.raises(InvalidRequest):
        shop.call("keys", "leases.revoke")
    with pytest.raises(InvalidRequest):
        shop.call("keys", "leases.revoke", field="customers.nope")


@pytest.mark.parametrize("who", ["storing", "billing", "support"])
def test_only_who_looks_after_keys_revokes_and_lists(still, who):
    for name, members in (("leases.revoke", {"field": EMAIL}), ("leases.list", {})):
        with pytest.raises(Denied):
            still.call(who, name, **members)


def test_another_holder_renews_nothing(shop):
    answer = given(shop)
    other = shop.world.hire(shop.tenant, "svc:other", "role:storing-service")
    with pytest.raises(NotFound):
        shop.world.call("leases.renew", other, lease=answer.lease_id, fields=[EMAIL], purpose="store", used=0)


@pytest.mark.parametrize("changed", [{"fields": [PHONE]}, {"fields": [EMAIL, PHONE]}], ids=str)
def test_a_lease_is_renewed_for_its_own_fields_only(still, changed):
    with pytest.raises(NotFound):
        renewed(still, given(still), **changed)


def test_after_a_rotation_a_lease_to_seal_ends_and_one_to_read_goes_on(shop):
    answer = given(shop)
    text = held(shop, answer).seal(EMAIL, "x", row="1")
    reading = given(shop, "billing", purpose="billing", start=start_of(text))
    shop.rotate()
    with pytest.raises(LeaseEnded, match="rotated"):
        renewed(shop, answer)
    assert renewed(shop, reading, who="billing").ttl_seconds == 300
    assert header_of(held(shop, given(shop)).seal(EMAIL, "x", row="1")).key_version == 2


def test_one_holder_has_a_thousand_leases_at_most(shop, monkeypatch):
    monkeypatch.setattr(leases, "MAX_LIVE", 3)
    for _ in range(3):
        given(shop)
    with pytest.raises(Conflict, match="keep a lease"):
        given(shop)
    shop.world.clock.advance(301)
    given(shop)


def test_leases_that_ended_long_ago_are_swept(shop):
    given(shop)
    shop.world.clock.advance(8 * DAY)
    given(shop)
    with shop.world.guard.store.read() as tx:
        assert tx.exec_driver_sql("SELECT count(*) FROM leases").scalar() == 1


# census, rotation, restart, records


def test_census_and_re_encryption_take_leased_values_as_any_other(tmp_path):
    table = Table(tmp_path / "shop.db")
    with world(tmp_path / "home", sources=(source_of(table.path),)) as made:
        shop = Shop(made)
        lease = held(shop, given(shop))
        table.fill(shop, ["one"], [1])
        table.write("INSERT INTO customers (id, email) VALUES (2, ?)", lease.seal(EMAIL, "two", row="2"))
        assert shop.census() == {1: 2}
        shop.rotate()
        assert code_of(lambda: shop.call("keys", "keys.retire", key=EMAIL, version=1)) == "GRD-KEY-002"
        assert shop.run_job().state == "done"
        assert shop.census() == {1: 0, 2: 2}
        assert [shop.open(text, str(row)) for row, text in table.all().items()] == ["one", "two"]
        assert {header_of(text).suite for text in table.all().values()} == {SuiteId.CBL256}


def test_leases_and_values_survive_a_restart_and_no_key_is_stored(tmp_path):
    with world(tmp_path / "home") as made:
        shop = Shop(made)
        answer = given(shop)
        text = held(shop, answer).seal(EMAIL, "ana", row="1")
        lost = given(shop)
        shop.call("keys", "leases.revoke", lease=lost.lease_id)
        now_us = made.clock.now_us
    kept = "\n".join(dump(tmp_path / "home" / "guard.db"))
    raw = base64.b64decode(answer.key)
    for form in (answer.key, raw.hex(), raw.hex().upper()):
        assert form not in kept
    for path in (tmp_path / "home").rglob("*"):
        assert not path.is_file() or raw not in path.read_bytes()
    with world(tmp_path / "home") as made:
        made.clock.now_us = now_us + 1000
        shop = Shop(made)
        assert shop.open(text) == "ana"
        assert renewed(shop, answer, used=1).used == 1
        with pytest.raises(LeaseEnded):
            renewed(shop, lost)


def test_records_name_lease_fields_and_purpose_and_no_key(shop):
    answer = given(shop, fields=(EMAIL, PHONE))
    renewed(shop, answer, used=5)
    shop.call("keys", "leases.revoke", field=EMAIL)
    assert code_of(lambda: renewed(shop, answer, used=9)) == "GRD-KEY-030"
    [created] = records(shop, "leases.create")
    fields = f"{EMAIL} {PHONE}"
    assert created["data"] == {
        "fields": fields,
        "lease": answer.lease_id,
        "max_uses": 10000,
        "opens": False,
        "purpose": "store",
        "ttl_seconds": 300,
    }
    fine, refused = records(shop, "leases.renew")
    assert fine["data"] == {
        "fields": fields,
        "lease": answer.lease_id,
        "purpose": "store",
        "ttl_seconds": 300,
        "used": 5,
    }
    assert refused["data"]["used"] == 9  # late uses are on record although the lease was refused
    [revoked] = records(shop, "leases.revoke")
    assert (revoked["data"]["epoch"], revoked["data"]["revoked"]) == (1, 1)
    everything = json.dumps([created, fine, refused, revoked])
    assert answer.key not in everything
    assert all(one.start not in everything for one in answer.fields)


def test_the_answer_shows_no_key_when_it_is_printed(still):
    answer = given(still)
    assert answer.key not in repr(answer)
    assert answer.key not in str(answer)


# of a person


class TestOfAPerson:
    @pytest.fixture
    def ward(self, tmp_path):
        table = source(tmp_path / "ward.db")
        with clinic(tmp_path / "home", sources=(table,)) as made:
            yield made

    def lease(self, ward, subject="u-17", fields=(NOTE,)):
        answer = ward.world.call("leases.create", ward.storing, fields=list(fields), purpose="store", subject=subject)
        now = lambda: ward.world.clock.now_us / 1_000_000  # noqa: E731
        return answer, Lease(answer.model_dump(), now(), now)

    def test_it_seals_for_the_person(self, ward):
        _, lease = self.lease(ward)
        text = lease.seal(NOTE, "well", row="1", subject="u-17")
        assert ward.open("u-17", text) == "well"
        assert ward.open("u-18", text) == DOES_NOT_OPEN
        other = lease.seal(NOTE, "well", row="1", subject="u-18")
        assert ward.open("u-18", other) == DOES_NOT_OPEN  # whoever seals it for another finds out at once

    def test_without_a_person_there_is_no_key(self, ward):
        with pytest.raises(InvalidRequest) as caught:
            self.lease(ward, subject="")
        assert caught.value.extra["keyed_by"] == "subject"
        with pytest.raises(InvalidRequest):
            self.lease(ward, fields=("patients.room",))

    def test_forgetting_ends_it_and_the_receipt_names_the_gap(self, ward):
        answer, lease = self.lease(ward)
        text = lease.seal(NOTE, "well", row="1", subject="u-17")
        ward.forget("u-17")
        with pytest.raises(SubjectForgotten):
            ward.world.call("leases.renew", ward.storing, lease=answer.lease_id, fields=[NOTE], purpose="store", used=1)
        assert ward.open("u-17", text) == "GRD-KEY-020"
        with pytest.raises(SubjectForgotten):
            self.lease(ward)
        with pytest.raises(SubjectForgotten):
            ward.world.call(
                "leases.create",
                ward.billing,
                fields=[NOTE],
                purpose="billing",
                subject="u-17",
                start=start_of(text),
            )
        late = lease.seal(NOTE, "late", row="2", subject="u-17")  # offline, within its time: the gap
        assert ward.open("u-17", late, "2") == "GRD-KEY-020"
        ward.world.clock.advance(301)
        with pytest.raises(LeaseEnded):
            lease.seal(NOTE, "later", row="3", subject="u-17")
        assert "leased keys until they expire" in ward.receipts()[0].receipt

    def test_the_reader_leases_it_for_the_same_person_only(self, ward):
        _, lease = self.lease(ward)
        text = lease.seal(NOTE, "well", row="1", subject="u-17")
        ask = {"fields": [NOTE], "purpose": "billing", "start": start_of(text)}
        again = ward.world.call("leases.create", ward.billing, subject="u-17", **ask)
        now = lambda: ward.world.clock.now_us / 1_000_000  # noqa: E731
        assert Lease(again.model_dump(), now(), now).open(NOTE, text, row="1", subject="u-17") == b"well"
        for subject in ("u-18", ""):
            with pytest.raises(DoesNotOpen):
                ward.world.call("leases.create", ward.billing, subject=subject, **ask)

    def test_the_server_seals_for_its_holder_about_the_one_person(self, ward):
        answer, _ = self.lease(ward)
        cells = [{"row": "1", "subject": "u-17"}, {"row": "2", "subject": "u-17"}]
        items = [{"field": NOTE, "context": cell, "plaintext": b64("x")} for cell in cells]
        done = ward.world.call("leases.encrypt", ward.storing, lease=answer.lease_id, items=items).results
        assert [ward.open("u-17", one["ciphertext"], row) for row, one in zip("12", done, strict=True)] == ["x", "x"]
        items[1]["context"]["subject"] = "u-18"
        with pytest.raises(InvalidRequest, match="one person"):
            ward.world.call("leases.encrypt", ward.storing, lease=answer.lease_id, items=items)

    def test_what_is_held_counts_leased_values(self, ward, tmp_path):
        from tests.vault.clinic import store_row

        _, lease = self.lease(ward)
        store_row(tmp_path / "ward.db", 1, note=lease.seal(NOTE, "local", row="1", subject="u-17"))
        store_row(tmp_path / "ward.db", 2, note=ward.seal("u-17", "sealed there", row="2"))
        report = ward.world.call("subjects.report", ward.officer, subject="u-17")
        assert [one.count for one in report.data if one.field == NOTE] == [2]
        export = ward.world.call("subjects.export", ward.officer, subject="u-17")
        values = {base64.b64decode(one.plaintext or "").decode() for one in export.data}
        assert values == {"local", "sealed there"}

    def test_the_person_stands_in_no_record_in_clear(self, ward):
        self.lease(ward, "u-very-secret")
        with ward.world.guard.store.read() as tx:
            text = b"\n".join(tx.exec_driver_sql("SELECT entry FROM audit_entries").scalars()).decode()
            rows = str(tx.exec_driver_sql("SELECT * FROM leases").all())
        assert "u-very-secret" not in text
        assert "u-very-secret" not in rows
