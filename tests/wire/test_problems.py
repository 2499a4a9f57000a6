"""What is said of a request that does not fit: where and why, never what was sent."""

import json
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from guard.catalogue import collect
from guard.errors import InvalidRequest
from guard.rooms import ROOMS
from guard.wire.access import AddGrant, CreateToken
from guard.wire.model import Model
from guard.wire.problems import MAX_PROBLEMS, MESSAGES, problems
from guard.wire.vault import Decrypt, Encrypt

CANARY = "canary7f3a"
ITEM = {"field": "customers.email", "context": {"row": "17"}, "plaintext": "YQ=="}
TAKEN = [entry.takes for entry in collect(ROOMS).values()]

leaves = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.just(CANARY) | st.just(f"a.{CANARY}")
)
names = st.sampled_from(
    [CANARY, f"{CANARY}/x", f"~{CANARY}", "items", "field", "context", "subject", "row", "role", "tenant"]
)
bodies = st.dictionaries(
    names,
    st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3), max_leaves=8
    ),
    max_size=5,
)


def found(model, body):
    with pytest.raises(ValidationError) as refusal:
        model.model_validate(body)
    return problems(refusal.value, model)


def said_of(model, body):
    """The problems of *body*; none where it fits."""
    try:
        model.model_validate(body)
    except ValidationError as error:
        return problems(error, model)
    return []


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(TAKEN), bodies)
def test_nothing_of_what_was_sent_is_said_again(model, body):
    said = said_of(model, body)
    assert len(said) <= MAX_PROBLEMS
    assert CANARY not in json.dumps(said)
    for one in said:
        assert one.keys() == {"pointer", "code", "message"}
        assert one["pointer"].startswith("/")
        assert one["message"].endswith(".")


@given(st.sampled_from([CreateToken, AddGrant, Encrypt]), st.binary(max_size=40))
def test_bytes_that_are_no_json_are_a_problem_without_their_text(model, raw):
    with pytest.raises(ValidationError) as refusal:
        model.model_validate_json(CANARY.encode() + raw)
    assert CANARY not in json.dumps(problems(refusal.value, model))


@pytest.mark.parametrize(
    ("model", "body", "expected"),
    [
        (CreateToken, {}, [("/subject", "missing")]),
        (CreateToken, {"subject": 1}, [("/subject", "string_type")]),
        (CreateToken, {"subject": "ana"}, [("/subject", "string_pattern_mismatch")]),
        (CreateToken, {"subject": "svc:x", CANARY: 1}, [("/", "extra_forbidden")]),
        (CreateToken, {"subject": "svc:x", "kind": "adm"}, [("/kind", "literal_error")]),
        (CreateToken, {"subject": "svc:x", "expires_in_seconds": 1}, [("/expires_in_seconds", "greater_than_equal")]),
        (
            CreateToken,
            {"subject": "svc:x", "expires_in_seconds": 1 << 40},
            [("/expires_in_seconds", "less_than_equal")],
        ),
        (CreateToken, {"subject": "svc:x", "note": "x" * 2001}, [("/note", "string_too_long")]),
        (Encrypt, {"items": "x"}, [("/items", "list_type")]),
        (Encrypt, {"items": [ITEM, ITEM | {"plaintext": 1}]}, [("/items/1/plaintext", "string_type")]),
        (Encrypt, {"items": [ITEM | {CANARY: 1}]}, [("/items/0", "extra_forbidden")]),
        (Decrypt, {"purpose": "billing"}, [("/items", "missing")]),
    ],
)
def test_a_pointer_shows_the_place_and_a_code_the_reason(model, body, expected):
    assert [(one["pointer"], one["code"]) for one in found(model, body)] == expected


@pytest.mark.parametrize(
    ("body", "limit"),
    [
        ({"expires_in_seconds": 1 << 40}, "at most 31536000."),
        ({"note": "x" * 2001}, "at most 2000 characters."),
        ({"kind": CANARY}, "'svc', 'pat' or 'one'"),
    ],
)
def test_a_message_names_the_limit_of_the_schema(body, limit):
    (said,) = found(CreateToken, {"subject": "svc:x"} | body)
    assert limit in said["message"]


def test_a_key_of_a_map_is_not_shown():
    said = found(Encrypt, {"items": [ITEM | {"context": {CANARY: 1.5}}]})
    assert {one["pointer"] for one in said} == {"/items/0/context"}


def test_a_hostile_body_gives_no_more_than_a_page():
    assert len(found(Encrypt, {"items": [{} for _ in range(500)]})) == MAX_PROBLEMS


def test_messages_are_sentences_of_our_own():
    for message in MESSAGES.values():
        assert message[0].isupper()
        assert message.endswith(".")


def test_an_error_of_a_kind_without_a_message_names_the_kind_only():
    class Timed(Model):
        at: date

    said = found(Timed, {"at": CANARY})
    assert [one["message"] for one in said] == ["The value is not of the required kind (date_type)."]


def test_pydantic_s_own_text_holds_no_input_either():
    with pytest.raises(ValidationError) as refusal:
        CreateToken.model_validate({"subject": CANARY, "kind": CANARY, "note": 5})
    assert CANARY not in str(refusal.value)


def test_the_error_that_carries_them_holds_nothing_else():
    said = found(CreateToken, {"subject": CANARY})
    error = InvalidRequest("The request does not fit tokens.create; see errors.", errors=said)
    assert CANARY not in f"{error} {error.extra} {error.hint}"
