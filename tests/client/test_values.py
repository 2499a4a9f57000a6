"""Encrypt, decrypt and mask through the SDK on a real server: what goes in comes out, and what fails raises."""

import base64
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guard.client import Client, discover
from guard.errors import (
    Denied,
    DoesNotOpen,
    InvalidContext,
    InvalidEnvelope,
    InvalidInput,
    InvalidRequest,
    NotFound,
    PurposeRefused,
)

TEXTS = {
    "ordinary": "ana@example.org",
    "Chinese": "陈美@例子.公司",
    "emoji": "ana🧑‍🚀@example.org",
    "blanks": "  ana  ",
    "control characters": "a\x00b\r\nc",
    "right to left": "אבג\u202e",
    "long": "a" * 100_000,
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_what_goes_in_comes_out(client, text):
    sealed = client.encrypt("customers.email", text, row="17")
    assert sealed.startswith("gd1.")
    assert sealed.isascii()
    assert client.decrypt("customers.email", sealed, "billing", row="17") == text


@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=60), row=st.integers(0, 2**53 - 1))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_in_any_row_comes_out(client, text, row):
    sealed = client.encrypt("customers.email", text, row=str(row))
    assert client.decrypt("customers.email", sealed, "billing", row=str(row)) == text


def test_the_same_text_is_sealed_differently_each_time(client):
    assert client.encrypt("customers.email", "a", row="1") != client.encrypt("customers.email", "a", row="1")


def test_a_mask_shows_what_the_policy_shows(client):
    sealed = client.encrypt("customers.email", "ana@example.org", row="17")
    masked = client.mask("customers.email", sealed, row="17")
    assert "ana@example.org" not in masked
    assert masked.startswith("a")
    assert "*" in masked
    phone = client.encrypt("customers.phone", "+1-555-0199", row="17")
    assert client.mask("customers.phone", phone, row="17").endswith("0199")


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"row": "18"}, DoesNotOpen),
        ({"field": "customers.phone", "purpose": "delivery"}, DoesNotOpen),
        ({"ciphertext": "gd1.AAAA"}, InvalidEnvelope),
        ({"ciphertext": "ana@example.org"}, InvalidEnvelope),
        ({"ciphertext": ""}, InvalidEnvelope),
        ({"subject": "u-17"}, InvalidContext),
        ({"purpose": "identity_check"}, (Denied, PurposeRefused)),
        ({"field": "customers.shoe"}, (Denied, InvalidRequest)),
    ],
)
def test_what_does_not_open_raises_and_never_gives_its_input_back(client, change, error):
    sealed = client.encrypt("customers.email", "ana@example.org", row="17")
    given_members = {"field": "customers.email", "ciphertext": sealed, "purpose": "billing", "row": "17"} | change
    if "subject" in change:
        del given_members["row"]
    with pytest.raises(error) as refusal:
        client.decrypt(**given_members)
    assert "ana@" not in str(refusal.value)


def test_every_changed_character_of_a_ciphertext_is_noticed(client):
    sealed = client.encrypt("customers.email", "ana@example.org", row="17")
    for place in range(4, len(sealed), 9):
        changed = sealed[:place] + ("A" if sealed[place] != "A" else "B") + sealed[place + 1 :]
        with pytest.raises((DoesNotOpen, InvalidEnvelope, NotFound)):
            client.decrypt("customers.email", changed, "billing", row="17")


def test_bytes_that_are_no_text_are_told_so_without_showing_them(client):
    item = {"field": "customers.email", "context": {"row": "1"}, "plaintext": base64.b64encode(b"canary\xff").decode()}
    sealed = client.call("fields.encrypt", items=[item])["results"][0]["ciphertext"]
    with pytest.raises(InvalidInput) as refusal:
        client.decrypt("customers.email", sealed, "billing", row="1")
    assert "canary" not in str(refusal.value)
    assert refusal.value.__suppress_context__


def test_a_rotated_key_still_opens_what_it_sealed(client):
    old = client.encrypt("customers.phone", "+1-555-0100", row="1")
    client.keys.rotate(key="customers.phone")
    new = client.encrypt("customers.phone", "+1-555-0100", row="1")
    assert [client.decrypt("customers.phone", one, "delivery", row="1") for one in (old, new)] == ["+1-555-0100"] * 2


def test_one_client_serves_several_threads(client):
    failed = []

    def work(number: int) -> None:
        for row in range(10):
            text = f"p{number}-{row}@example.org"
            sealed = client.encrypt("customers.email", text, row=str(row))
            if client.decrypt("customers.email", sealed, "billing", row=str(row)) != text:
                failed.append(text)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_an_export_is_downloaded_as_bytes(admin):
    admin.call("checkpoints.publish")
    view = admin.call("exports.create")
    assert admin.download("exports.download", export=view["id"]).startswith(b"PK\x03\x04")


def test_a_closed_client_is_not_used_again(dev):
    made = Client(discover(dev.home))
    with made:
        assert made.call("actors.whoami")["tenant"] == "dev"
    with pytest.raises(RuntimeError, match="closed"):
        made.call("actors.whoami")
