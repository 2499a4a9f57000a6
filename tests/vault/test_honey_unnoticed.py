"""What gives bait away: errors, lists, records, sizes, names of readers and rows, and ways of reading beside the usual."""

import pytest

from guard.errors import GuardError, NotFound
from tests.vault.clinic import DIARY, NOTE, Clinic, plain, source, store_row
from tests.vault.clinic import POLICY as PATIENTS
from tests.vault.shop import b64, policies_with
from tests.vault.tokenising import CARD, PHONE, PURPOSE, till

VALUE = "4000000000000002"
LONG_TABLE, LONG_COLUMN = "t" * 63, "c" * 63
LONG = f"""
version: 1
table: {LONG_TABLE}
rows: 1000000
columns:
  {LONG_COLUMN}:
    class: contact
    suite: cbl256
    bind: [row]
    mask: none
    purposes: [billing]
    tokens:
      domains: {{checkout: {{form: random}}}}
      reveal: [{{role: billing-service, purpose: billing, mask: full}}]
"""
LONGEST = ["svc:" + "b" * 64, "user:" + "i" * 58 + "|" + "b" * 64, "user:local|" + "b" * 64]


@pytest.fixture
def shop(tmp_path):
    policies_with(tmp_path, "long.yaml", LONG)
    with till(tmp_path / "home") as made:
        yield made


def incidents(shop):
    return shop.call("analyst", "incidents.list").data


def plant(shop, subject="nobody-1", domain="checkout", field=CARD, value=VALUE):
    wanted = {"field": field, "domain": domain, "subject": subject, "value": value}
    return shop.call("analyst", "honey.plant_token", **wanted)


def plant_row(shop, field, **context):
    return shop.call("analyst", "honey.plant_row", field=field, context=context)


# who reads, and what it is called


@pytest.mark.parametrize("subject", LONGEST, ids=len)
@pytest.mark.parametrize("field", [CARD, f"{LONG_TABLE}.{LONG_COLUMN}"], ids=len)
def test_however_long_the_names_of_reader_and_field_are_bait_opens_and_is_found(shop, subject, field):
    reader = shop.world.hire("acme", subject, "role:billing-service")
    planted = plant(shop, field=field)
    assert shop.reveal(planted.token, reader, "billing", field) == {"value": VALUE, "mask": "full"}
    [incident] = incidents(shop)
    assert incident.title.startswith(f"The planted token {planted.id} of {field}"[:200])
    assert len(incident.title) <= 200


@pytest.mark.parametrize("subject", LONGEST, ids=len)
def test_a_row_of_a_long_name_read_by_somebody_of_a_long_name_opens_and_is_found(shop, subject):
    field = f"{LONG_TABLE}.{LONG_COLUMN}"
    reader = shop.world.hire("acme", subject, "role:billing-service")
    plant_row(shop, field, row="9")
    sealed = shop.call("storing", "fields.encrypt", items=[item(field, "9", plaintext=b64("Eve"))])["results"][0]
    opened = [item(field, "9", ciphertext=sealed["ciphertext"])]
    assert "plaintext" in shop.call(reader, "fields.decrypt", purpose="billing", items=opened)["results"][0]
    assert len(incidents(shop)) == 1


def item(field, row, **rest):
    return {"field": field, "context": {"row": row}, **rest}


def test_two_readers_of_long_names_that_differ_at_the_end_are_two_incidents(shop):
    token = plant(shop).token
    for end in "xyz":
        reader = shop.world.hire("acme", "svc:" + "b" * 63 + end, "role:billing-service")
        shop.reveal(token, reader, "billing"), shop.reveal(token, reader, "billing")
    assert [one.occurrences for one in incidents(shop)] == [2, 2, 2]


@pytest.mark.parametrize("planted", [7, "7"], ids=["a number", "its text"])
@pytest.mark.parametrize("read", [7, "7"], ids=["a number", "its text"])
def test_a_row_is_watched_whether_callers_name_it_by_number_or_by_text(shop, planted, read):
    field = f"{LONG_TABLE}.{LONG_COLUMN}"
    plant_row(shop, field, row=planted)
    sealed = shop.call("storing", "fields.encrypt", items=[item(field, read, plaintext=b64("Eve"))])["results"][0]
    opened = [item(field, read, ciphertext=sealed["ciphertext"])]
    shop.call("billing", "fields.decrypt", purpose="billing", items=opened)
    assert len(incidents(shop)) == 1


@pytest.mark.parametrize("read", ["07", " 7", "7 ", "+7", "7.0", "\uff17", 70, -7])
def test_other_names_are_other_rows(shop, read):
    field = f"{LONG_TABLE}.{LONG_COLUMN}"
    plant_row(shop, field, row=7)
    sealed = shop.call("storing", "fields.encrypt", items=[item(field, read, plaintext=b64("Eve"))])["results"][0]
    opened = [item(field, read, ciphertext=sealed["ciphertext"])]
    assert "plaintext" in shop.call("billing", "fields.decrypt", purpose="billing", items=opened)["results"][0]
    assert incidents(shop) == []


# what lists, rows and records show


def test_in_the_list_of_issued_tokens_bait_stands_under_the_name_of_who_issues(shop):
    shop.token("4111111111111111", "ana")
    plant(shop)
    shop.token("5555555555554444", "bo")
    assert {row.issued_by for row in shop.listed()} == {"user:local|storing"}


def test_bait_takes_the_name_from_its_own_domain_then_its_field_then_the_tenant(shop):
    other = shop.world.hire("acme", "svc:other", "role:storing-service")

    def issue(who, domain, field=CARD):
        wanted = {"field": field, "domain": domain, "subject": "ana", "value": "4111111111111111"}
        shop.call(who, "tokens.issue", items=[wanted])

    def issuer(subject, domain, field=CARD):
        plant(shop, subject, domain, field)
        return shop.listed(field)[0].issued_by

    assert issuer("n-0", "checkout") == "user:local|analyst"  # nobody has issued anything
    issue("storing", "checkout", PHONE)
    assert issuer("n-1", "checkout", PHONE) == "user:local|storing"
    issue(other, "refunds")
    assert issuer("n-2", "refunds") == "svc:other"
    issue("storing", "checkout")
    assert issuer("n-3", "refunds") == "svc:other"
    assert issuer("n-4", "checkout") == "user:local|storing"
    assert issuer("n-5", "receipts") == "user:local|storing"  # nobody issued one: the newest of the field


def test_another_tenant_s_issuer_lends_no_name(shop):
    foreign = shop.world.hire("globex", "svc:theirs", "role:storing-service")
    wanted = {"field": CARD, "domain": "checkout", "subject": "ana", "value": VALUE}
    shop.call(foreign, "tokens.issue", items=[wanted])
    plant(shop)
    assert shop.listed()[0].issued_by == "user:local|analyst"


def test_who_planted_is_on_record_and_in_the_list_of_bait_all_the_same(shop):
    shop.token("4111111111111111", "ana")
    planted = plant(shop)
    assert shop.call("analyst", "honey.list").data[0].planted_by == "user:local|analyst"
    body = shop.records("honey.plant_token")[-1]
    assert body["actor"]["id"] == "user:local|analyst"
    assert body["data"]["honey"] == planted.id


def test_rows_of_bait_and_of_others_are_alike_in_every_column_that_is_not_random(shop):
    shop.token(VALUE, "ana-77", "refunds")
    plant(shop, "nobody", "refunds")
    with shop.world.guard.store.read() as tx:
        rows = tx.exec_driver_sql("SELECT * FROM vault_tokens").mappings().all()
    random = {"id", "reference", "value_index", "dek_id", "sealed", "issued_us", "expires_us"}
    real, bait = ({name: value for name, value in row.items() if name not in random} for row in rows)
    assert real == bait
    sized = ("id", "reference", "value_index", "dek_id")
    first, second = ([len(row[name]) for name in sized] for row in rows)
    assert first == second


@pytest.mark.parametrize("who", sorted(set(PURPOSE) - {"colleague"}))
@pytest.mark.parametrize("domain", ["checkout", "receipts", "refunds"])
def test_every_role_gets_the_same_answer_for_bait_as_for_a_real_token(shop, who, domain):
    real, bait = shop.token(VALUE, "ana", domain), plant(shop, "nobody", domain).token
    for _ in range(3):
        answers = [shop.reveal(token, who) for token in (real, bait)]
        if "request" in answers[0]:
            numbers = [answer.pop("request") for answer in answers]
            details = [answer["problem"].pop("detail") for answer in answers]
            assert details[0].replace(*numbers) == details[1]
        assert answers[0] == answers[1]


def test_the_records_of_reading_bait_have_the_fields_of_any_other(shop):
    real, bait = shop.token(VALUE, "ana"), plant(shop).token
    shop.reveal(real), shop.reveal(bait)
    first, second = shop.records("tokens.reveal")[-2:]
    assert first["data"].keys() == second["data"].keys()
    assert {**first["data"], "tokens": ""} == {**second["data"], "tokens": ""}


def test_bait_of_the_format_of_a_card_looks_like_one(shop):
    bait, real = plant(shop, domain="partner").token, shop.token(VALUE, "ana", "partner")
    assert (len(bait), bait[:2], bait[-4:]) == (len(real), real[:2], real[-4:])
    assert shop.shown(bait) == shop.shown(real) == VALUE
    assert len(incidents(shop)) == 1


def test_a_batch_with_bait_among_many_is_answered_as_without(shop):
    tokens = [shop.token(VALUE, f"u-{number}") for number in range(9)]
    tokens[4:4] = [plant(shop, f"n-{number}").token for number in range(3)]
    items = [{"field": CARD, "token": token} for token in [*tokens, "tok_unknown", *tokens[:2]]]
    results = shop.call("billing", "tokens.reveal", purpose="billing", items=items)["results"]
    assert [one.get("value", "") for one in results] == [VALUE] * 12 + [""] + [VALUE] * 2
    assert [one.occurrences for one in incidents(shop)] == [3]  # one reader, three baits


def test_bait_that_stands_twice_in_a_batch_is_one_reading(shop):
    items = [{"field": CARD, "token": plant(shop).token}] * 5
    shop.call("billing", "tokens.reveal", purpose="billing", items=items)
    assert [one.occurrences for one in incidents(shop)] == [1]


def test_waiting_for_a_second_person_is_no_reading_and_the_reveal_that_follows_is(shop):
    token = plant(shop).token
    request = shop.reveal(token, "officer")["request"]
    shop.approve(request)
    assert incidents(shop) == []
    assert shop.shown(token, "officer") == VALUE
    assert "user:local|officer" in incidents(shop)[0].title


def test_asking_for_a_token_of_the_planted_value_gives_the_bait_away_to_nobody(shop):
    planted = plant(shop)
    assert shop.issue(VALUE, "nobody-1") == {"token": planted.token, "expires_us": None, "single_use": False}
    assert incidents(shop) == []


def test_forgetting_the_made_up_person_ends_the_bait_as_it_ends_any_token(shop):
    planted, real = plant(shop), shop.token(VALUE, "ana")
    shop.forget("nobody-1"), shop.forget("ana")
    assert shop.reveal(planted.token) == shop.reveal(real)
    assert incidents(shop) == []


# an access request reads too


def test_an_access_request_for_the_made_up_person_is_a_reading(shop):
    planted = plant(shop, "nobody-1")
    shop.token(VALUE, "ana")
    shop.call("privacy", "subjects.export", subject="ana")
    shop.call("privacy", "subjects.report", subject="nobody-1")  # counts, and opens nothing
    assert incidents(shop) == []
    found = shop.call("privacy", "subjects.export", subject="nobody-1").data
    assert [plain(one.plaintext) for one in found] == [VALUE]
    [incident] = incidents(shop)
    assert planted.id in incident.title
    assert "user:local|privacy" in incident.title


def test_a_page_of_an_access_request_raises_what_it_shows_and_no_more(shop):
    acts = (lambda: plant(shop, "n"), lambda: shop.token("x", "n", "refunds"), lambda: plant(shop, "n", "receipts"))
    for act in acts:
        act()
        shop.world.clock.advance(1)  # pages go by ids, whose order within a millisecond is random
    first = shop.call("privacy", "subjects.export", subject="n", limit=1)
    assert len(incidents(shop)) == 1
    second = shop.call("privacy", "subjects.export", subject="n", limit=1, cursor=first.cursor)
    assert [one.occurrences for one in incidents(shop)] == [1]
    shop.call("privacy", "subjects.export", subject="n", limit=1, cursor=second.cursor)
    assert [one.occurrences for one in incidents(shop)] == [2]


@pytest.mark.parametrize("named", [3, "3"], ids=["a number", "its text"])
def test_an_access_request_that_opens_a_planted_row_is_a_reading(tmp_path, named):
    policies_with(tmp_path, "patients.yaml", PATIENTS)
    table = tmp_path / "ward.db"
    with till(tmp_path / "home", sources=(source(table),)) as shop:
        ward = Clinic(shop.world)
        for number, name in ((1, "ana"), (3, "nobody")):
            store_row(table, number, note=ward.seal(name, "x", row=str(number)))
        plant_row(shop, NOTE, row=named, subject="nobody")
        ward.world.call("subjects.export", ward.officer, subject="ana")
        assert incidents(shop) == []
        found = ward.world.call("subjects.export", ward.officer, subject="nobody").data
        assert [plain(one.plaintext) for one in found] == ["x"]
        assert "The planted row" in incidents(shop)[0].title


def test_a_diary_bound_to_a_person_alone_is_planted_by_the_person(tmp_path):
    policies_with(tmp_path, "patients.yaml", PATIENTS)
    with till(tmp_path / "home") as shop:
        ward = Clinic(shop.world)
        plant_row(shop, DIARY, subject="nobody")
        for name, expected in (("ana", 0), ("nobody", 1)):
            assert ward.open(name, ward.seal(name, "dear", field=DIARY), field=DIARY) == "dear"
            assert len(incidents(shop)) == expected


# what is asked for wrongly


@pytest.mark.parametrize(
    ("context", "sentence"),
    [({"subject": "ana"}, "row"), ({"row": "1", "subject": "a"}, "row"), ({"x": "1"}, "row"), ({}, "request")],
)
def test_a_row_is_named_by_what_its_field_is_bound_to(shop, context, sentence):
    with pytest.raises(GuardError) as caught:
        plant_row(shop, f"{LONG_TABLE}.{LONG_COLUMN}", **context)
    assert sentence in caught.value.detail
    assert shop.call("analyst", "honey.list").data == []


@pytest.mark.parametrize("honey", ["hny_0198", "tok_x", "vtk_0198"])
def test_removing_what_is_not_planted_says_where_to_look(shop, honey):
    with pytest.raises(NotFound, match="see guard honey list"):
        shop.call("analyst", "honey.remove", honey=honey)


def test_bait_whose_value_has_not_the_format_is_refused_and_leaves_nothing(shop):
    with pytest.raises(GuardError, match="13 to 256 characters") as caught:
        plant(shop, domain="partner", value="canary")
    assert "canary" not in caught.value.detail
    assert shop.call("analyst", "honey.list").data == []
    assert shop.listed() == []
