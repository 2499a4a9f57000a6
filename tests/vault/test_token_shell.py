"""Tokens through the gate: issued once for each purpose, shown by role, over in time, dead with the person."""

import itertools
import re
import threading

import pytest

from guard.errors import Denied, InvalidRequest, SubjectForgotten
from guard.vault.mask import HIDDEN
from tests.vault.shop import dump
from tests.vault.tokenising import CARD, NAME, PHONE, till

VALUE = "4111111111111111"
GONE, UNKNOWN, REFUSED, INVALID = "GRD-TOKEN-001", "GRD-STORE-404", "GRD-AUTHZ-001", "GRD-VAL-001"
FORGOTTEN = SubjectForgotten.code
persons = map("u-{}".format, itertools.count(1000))


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    with till(tmp_path_factory.mktemp("tokens") / "home") as made:
        yield made


@pytest.fixture
def person():
    """Somebody of whom nobody has heard."""
    return next(persons)


# who gets which token


def test_a_token_gives_its_value_back(shop, person):
    token = shop.token(VALUE, person)
    assert re.fullmatch(r"tok_[a-z2-7]{26}", token)
    assert shop.reveal(token) == {"value": VALUE, "mask": "full"}


def test_the_same_value_of_a_person_has_one_token_in_a_domain(shop, person):
    assert shop.token(VALUE, person) == shop.token(VALUE, person)
    rows = [row for row in shop.listed() if row.domain == "checkout" and row.reveals == 0]
    shop.token(VALUE, person)
    assert [row for row in shop.listed() if row.domain == "checkout" and row.reveals == 0] == rows


def test_domains_persons_fields_and_values_have_tokens_of_their_own(shop, person):
    other = next(persons)
    found = [
        shop.token(VALUE, person),
        shop.token(VALUE, person, "refunds"),
        shop.token(VALUE, other),
        shop.token(VALUE, person, field=PHONE),
        shop.token(VALUE + "0", person),
    ]
    assert len(set(found)) == len(found)


def test_tokens_of_two_domains_have_nothing_in_common_but_what_is_kept(shop):
    """Of 40 persons, the tokens of one domain say nothing of who has which in the other."""
    people = [next(persons) for _ in range(40)]
    pairs = [(shop.token(VALUE, one, "checkout"), shop.token(VALUE, one, "refunds")) for one in people]
    parts = [{token[at : at + 6] for at in range(4, len(token) - 5)} for pair in pairs for token in pair]
    assert all(first.isdisjoint(second) for first, second in itertools.combinations(parts, 2))
    same = [(shop.token(VALUE, one, "partner"), shop.token("41" + "0" * 10 + "1111", one, "partner")) for one in people]
    assert {token[:2] + token[-4:] for pair in same for token in pair} == {"411111"}
    assert len({token for pair in same for token in pair}) == 80


def test_what_the_store_holds_of_two_domains_is_not_alike_either(shop, person):
    shop.token(VALUE, person, "checkout"), shop.token(VALUE, person, "refunds")
    with shop.world.guard.store.read() as tx:
        rows = tx.exec_driver_sql(
            "SELECT reference, value_index FROM vault_tokens ORDER BY issued_us DESC LIMIT 2"
        ).all()
    assert len({bytes(value) for row in rows for value in row}) == 4


def test_a_batch_is_answered_in_order_with_a_problem_for_each_bad_item(shop, person):
    good = {"field": CARD, "domain": "checkout", "subject": person, "value": VALUE}
    items = [good, good | {"domain": "nowhere"}, good | {"field": NAME}, good | {"field": "no.field"}, good]
    items.insert(1, good | {"domain": "partner", "value": "4111 1111"})
    results = shop.call("storing", "tokens.issue", items=items)["results"]
    assert results[0] == results[-1]
    codes = [one["problem"]["code"] for one in results[1:-1]]
    assert codes == [INVALID] * 4
    details = " ".join(one["problem"]["detail"] for one in results[1:-1])
    assert VALUE not in details
    assert "4111 1111" not in details
    assert "checkout, partner, receipts, refunds" in details
    assert "'tokens'" in details


# who sees what


@pytest.mark.parametrize(
    ("who", "purpose", "shown"),
    [
        ("support", "support", "****1111"),
        ("delivery", "delivery", HIDDEN),
        ("billing", "billing", VALUE),
        ("clerk", "identity_check", "4****1"),
        ("officer", "identity_check", "GRD-TOKEN-002"),
        ("stranger", "billing", REFUSED),  # the gate lets the role pass, the field's policy does not
    ],
)
def test_each_role_sees_what_the_policy_says(shop, person, who, purpose, shown):
    assert shop.shown(shop.token(VALUE, person), who, purpose) == shown


@pytest.mark.parametrize(
    ("who", "purpose"),
    [
        ("support", "billing"),
        ("billing", "support"),
        ("delivery", "identity_check"),
        ("storing", "billing"),
        ("privacy", "billing"),
    ],
)
def test_another_purpose_than_that_of_the_role_is_refused_by_the_gate(shop, person, who, purpose):
    with pytest.raises(Denied):
        shop.reveal(shop.token(VALUE, person), who, purpose)


def test_a_caller_cannot_ask_for_a_mask(shop, person):
    items = [{"field": CARD, "token": shop.token(VALUE, person), "mask": "full"}]
    with pytest.raises(InvalidRequest):
        shop.call("support", "tokens.reveal", purpose="support", items=items)


def test_of_two_roles_the_one_to_which_more_is_shown_decides(shop, person):
    both = shop.world.hire("acme", "user:local|both", "role:support", "role:billing-service")
    token = shop.token(VALUE, person)
    items = [{"field": CARD, "token": token}]
    for purpose, shown in (("support", "****1111"), ("billing", VALUE)):
        answer = shop.call(both, "tokens.reveal", purpose=purpose, items=items)["results"][0]
        assert answer["value"] == shown


def test_step_up_is_refused_with_what_to_do_since_there_is_none_yet(shop, person):
    answer = shop.reveal(shop.token("139000", person, field=PHONE), field=PHONE)
    assert answer["problem"]["code"] == "GRD-TOKEN-003"
    assert "this service offers none yet; have the policy ask for a second_person" in answer["problem"]["detail"]
    assert "value" not in answer


def test_another_field_or_text_finds_no_token_and_is_not_repeated(shop, person):
    token = shop.token(VALUE, person)
    for field, text in ((CARD, token[:-1]), (CARD, token.upper()), (CARD, f" {token}"), (CARD, VALUE)):
        answer = shop.reveal(text, field=field)
        assert answer["problem"]["code"] == UNKNOWN
        assert text not in answer["problem"]["detail"]
    answer = shop.call("billing", "tokens.reveal", purpose="billing", items=[{"field": PHONE, "token": token}])
    assert answer["results"][0]["problem"]["code"] == UNKNOWN


def test_the_token_of_another_tenant_does_not_exist(shop, person, tmp_path_factory):
    token = shop.token(VALUE, person)
    storing = shop.world.hire("globex", "svc:s", "role:storing-service")
    billing = shop.world.hire("globex", "svc:b", "role:billing-service")
    items = [{"field": CARD, "token": token}]
    answer = shop.call(billing, "tokens.reveal", purpose="billing", items=items)["results"][0]
    assert answer["problem"]["code"] == UNKNOWN
    assert shop.call(storing, "tokens.revoke_issued", items=items)["results"][0]["problem"]["code"] == UNKNOWN
    wanted = {"field": CARD, "domain": "checkout", "subject": person, "value": VALUE}
    assert shop.call(storing, "tokens.issue", items=[wanted])["results"][0]["token"] != token
    officer = shop.world.hire("globex", "user:local|o", "role:privacy-officer")
    assert len(shop.call(officer, "tokens.list_issued").data) == 1
    assert shop.shown(token) == VALUE


# time, use, revocation


def test_a_time_to_live_is_over_at_its_microsecond(shop, person):
    issued = shop.issue(VALUE, person, "refunds")
    clock = shop.world.clock
    clock.now_us = issued["expires_us"] - 10  # the gate reads the clock a few times, a microsecond each
    assert shop.shown(issued["token"]) == VALUE
    clock.now_us = issued["expires_us"]
    answer = shop.reveal(issued["token"])
    assert answer["problem"]["code"] == GONE
    assert "its time to live is over" in answer["problem"]["detail"]


def test_a_caller_shortens_a_life_and_never_lengthens_it(shop, person):
    before = shop.world.clock.now_us
    hours = 3_600_000_000
    assert shop.issue(VALUE, person, "refunds", ttl_seconds=60)["expires_us"] - before < 61_000_000
    again = shop.issue(VALUE, person, "refunds", ttl_seconds=10**8)
    assert abs(again["expires_us"] - before - 2 * hours) < 1_000_000  # asked for again, it lives as long as allowed
    assert shop.issue(VALUE, person, "refunds", ttl_seconds=1)["expires_us"] == again["expires_us"]
    assert shop.issue(VALUE, person)["expires_us"] is None


def test_a_value_whose_token_is_over_gets_another(shop, person):
    token = shop.token(VALUE, person, "refunds")
    shop.world.clock.advance(7201)
    assert shop.token(VALUE, person, "refunds") != token
    assert shop.shown(token) == GONE


def test_what_is_over_is_swept_out_of_the_store(shop, person):
    token, kept = shop.token(VALUE, person, "refunds"), shop.token(VALUE, person)
    shop.world.clock.advance(7201)
    assert shop.world.call("tokens.sweep").tokens >= 1
    assert shop.world.call("tokens.sweep").tokens == 0
    assert (shop.shown(token), shop.shown(kept)) == (GONE, VALUE)


def test_a_token_for_one_use_gives_its_value_once(shop, person):
    issued = shop.issue(VALUE, person, "receipts")
    assert issued["single_use"] is True
    assert shop.token(VALUE, person, "receipts") != issued["token"]
    assert shop.shown(issued["token"]) == VALUE
    answer = shop.reveal(issued["token"])
    assert answer["problem"]["code"] == GONE
    assert "it was for one use" in answer["problem"]["detail"]


def test_any_domain_gives_a_token_for_one_use_where_that_is_asked_for(shop, person):
    lasting = shop.token(VALUE, person)
    once = shop.issue(VALUE, person, single_use=True)
    assert once["token"] != lasting
    assert shop.token(VALUE, person) == lasting
    assert [shop.shown(once["token"]) for _ in range(2)] == [VALUE, GONE]


def test_who_is_shown_nothing_uses_nothing_up(shop, person):
    token = shop.token(VALUE, person, "receipts")
    assert shop.shown(token, "delivery") == HIDDEN
    assert shop.shown(token) == VALUE


def test_the_same_token_for_one_use_twice_in_a_batch_is_shown_once(shop, person):
    items = [{"field": CARD, "token": shop.token(VALUE, person, "receipts")}] * 2
    first, second = shop.call("billing", "tokens.reveal", purpose="billing", items=items)["results"]
    assert first["value"] == VALUE
    assert second["problem"]["code"] in {GONE, "GRD-CRYPT-001"}


def test_of_many_who_reveal_a_token_for_one_use_at_once_one_wins(shop, person):
    for _ in range(5):
        token, answers, gate = shop.token(VALUE, person, "receipts"), [], threading.Barrier(8)

        def ask(token=token, answers=answers, gate=gate):
            gate.wait()
            answers.append(shop.shown(token))

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        assert sorted(answers) == sorted([VALUE, *[GONE] * 7])


def test_of_many_first_issues_at_once_all_get_one_token(shop, person):
    answers, gate = [], threading.Barrier(8)

    def ask():
        gate.wait()
        answers.append(shop.token(VALUE, person))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(answers) == 8
    assert len(set(answers)) == 1


def test_a_revoked_token_gives_nothing_and_its_value_gets_another(shop, person):
    token = shop.token(VALUE, person)
    assert shop.revoke(token) == {"state": "revoked"}
    assert shop.revoke(token) == {"state": "revoked"}
    answer = shop.reveal(token)
    assert answer["problem"]["code"] == GONE
    assert "it was revoked" in answer["problem"]["detail"]
    assert shop.token(VALUE, person) != token
    assert shop.revoke("tok_x")["problem"]["code"] == UNKNOWN


def test_the_list_says_how_tokens_stand_and_never_what_they_are(shop, person):
    tokens = [shop.token(VALUE, person, domain) for domain in ("checkout", "receipts", "partner", "refunds")]
    shop.revoke(tokens[2])
    shop.shown(tokens[0]), shop.shown(tokens[1])
    shop.world.clock.advance(7201)
    rows = shop.listed()[:4]
    assert [(row.domain, row.state, row.reveals) for row in rows] == [
        ("refunds", "expired", 0),
        ("partner", "revoked", 0),
        ("receipts", "used", 1),
        ("checkout", "live", 1),
    ]
    text = str(rows)
    assert not any(one in text for one in [VALUE, person, *tokens])


# persons


def test_with_the_person_the_tokens_die(shop, person):
    token, other = shop.token(VALUE, person), shop.token(VALUE, next(persons))
    shop.forget(person, for_good=False)
    assert shop.shown(token) == FORGOTTEN
    assert shop.issue(VALUE, person)["problem"]["code"] == FORGOTTEN
    shop.call("privacy", "subjects.restore", subject=person)
    assert shop.shown(token) == VALUE
    shop.forget(person)
    assert shop.shown(token) == GONE
    assert "the person whom it was about is forgotten" in shop.reveal(token)["problem"]["detail"]
    assert shop.shown(other) == VALUE


def test_with_the_person_go_value_and_index_of_the_row(shop, person):
    shop.token(VALUE, person)
    row_id = shop.listed()[0].id
    shop.forget(person)
    with shop.world.guard.store.read() as tx:
        row = tx.exec_driver_sql("SELECT sealed, value_index FROM vault_tokens WHERE id = ?", (row_id,)).one()
    assert tuple(row) == (None, None)
    assert next(one.state for one in shop.listed() if one.id == row_id) == "forgotten"


def test_who_comes_back_after_being_forgotten_gets_new_tokens(shop, person):
    token = shop.token(VALUE, person)
    shop.forget(person)
    again = shop.token(VALUE, person)
    assert again != token
    assert (shop.shown(token), shop.shown(again)) == (GONE, VALUE)


# rows


def test_a_row_of_the_vault_opens_as_itself_only(shop, person):
    first, second = shop.token(VALUE, person), shop.token(VALUE + "0", person)
    ids = [row.id for row in shop.listed()[:2]]
    with shop.world.guard.store.write() as tx:
        sealed = tx.exec_driver_sql("SELECT sealed FROM vault_tokens WHERE id = ?", (ids[0],)).scalar_one()
        tx.exec_driver_sql("UPDATE vault_tokens SET sealed = ? WHERE id = ?", (sealed, ids[1]))
    assert (shop.shown(first), shop.shown(second)) == ("GRD-CRYPT-001", VALUE + "0")


def test_no_field_opens_a_row_of_the_vault(shop, person):
    shop.token(VALUE, person)
    with shop.world.guard.store.read() as tx:
        row_id, sealed = tx.exec_driver_sql("SELECT id, sealed FROM vault_tokens ORDER BY issued_us DESC LIMIT 1").one()
    for field in (CARD, NAME):
        items = [{"field": field, "context": {"row": row_id}, "ciphertext": sealed}]
        answer = shop.call("billing", "fields.decrypt", purpose="billing", items=items)["results"][0]
        assert answer["problem"]["code"] in {"GRD-CRYPT-001", UNKNOWN}


def test_neither_value_nor_token_nor_person_stands_in_database_records_or_log(tmp_path, capfd):
    value, person = "4929000000006" + "canary", "u-canary-17"
    with till(tmp_path / "home") as shop:
        token, once = shop.token(value, person), shop.token(value, person, "receipts")
        for who in ("billing", "support", "stranger", "officer"):
            shop.reveal(token, who)
        shop.reveal(once), shop.reveal(once), shop.revoke(token), shop.reveal(token)
        shop.issue(value, person, "partner")
        with pytest.raises(Denied):
            shop.reveal(token, "support", "billing")
        bodies = str(shop.records())
    shown = capfd.readouterr()
    texts = [*dump(tmp_path / "home" / "guard.db"), bodies, shown.out, shown.err]
    for secret in (value, token, once, person):
        assert not any(secret in text for text in texts)
    raw = b"".join(path.read_bytes() for path in (tmp_path / "home").rglob("*") if path.is_file())
    assert not any(secret.encode() in raw for secret in (value, token, once, person))


def test_a_record_names_rows_masks_and_purpose(shop, person):
    token = shop.token(VALUE, person)
    row = shop.listed()[0]
    shop.call(
        "support", "tokens.reveal", purpose="support", items=[{"field": CARD, "token": one} for one in (token, "xx")]
    )
    body = shop.records("tokens.reveal")[-1]
    assert body["data"] == {
        "items": 2,
        "failed": {"grd_store_404": 1},
        "tokens": row.id,
        "shown": {"last4": 1},
        "purpose": "support",
    }
    assert body["resource"] == {"id": f"fields/{CARD}/support"}
    assert shop.records("tokens.issue")[-1]["data"] == {"items": 1, "tokens": row.id}


def test_a_record_holds_the_ids_of_the_largest_batch(shop, person):
    items = [{"field": CARD, "domain": "checkout", "subject": person, "value": f"{number}"} for number in range(200)]
    tokens = [one["token"] for one in shop.call("storing", "tokens.issue", items=items)["results"]]
    shown = shop.call(
        "billing", "tokens.reveal", purpose="billing", items=[{"field": CARD, "token": one} for one in tokens]
    )
    assert [one["value"] for one in shown["results"]] == [str(number) for number in range(200)]
    assert len(shop.records("tokens.reveal")[-1]["data"]["tokens"].split()) == 200
    with pytest.raises(InvalidRequest):
        shop.call("billing", "tokens.reveal", purpose="billing", items=[{"field": CARD, "token": "xx"}] * 201)


def test_a_reveal_whose_record_cannot_be_written_shows_nothing_and_uses_nothing_up(shop, person, monkeypatch):
    token = shop.token(VALUE, person, "receipts")
    recorder = shop.world.gate._doors.recorder
    with monkeypatch.context() as patch:
        patch.setattr(type(recorder), "_framed", lambda *_: (_ for _ in ()).throw(InvalidRequest("no record")))
        with pytest.raises(InvalidRequest, match="no record"):
            shop.reveal(token)
    assert shop.shown(token) == VALUE
