"""Receipts: 167 characters that convict a log which drops a record."""

import base64
import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.audit import receipt
from guard.audit.note import Kind, VerifierKey
from guard.errors import InvalidInput, VerificationFailed
from tests.audit.building import KEY, ORIGIN, STRANGER, T0, TOY_BODY, uuid

NODE = f"{ORIGIN}/receipt/n1"
NODE_VKEY = VerifierKey(NODE, Kind.ED25519, KEY.public_key().public_bytes_raw())
OTHER_VKEY = VerifierKey(NODE, Kind.ED25519, STRANGER.public_key().public_bytes_raw())
BY = T0 + receipt.DEFAULT_PROMISE_US
GIVEN = receipt.sign(ORIGIN, NODE, KEY, record_id=uuid(7), body=TOY_BODY, promise_by_us=BY)
TEXT = GIVEN.encode()


def flipped(text, at, bit):
    data = bytearray(base64.urlsafe_b64decode(text + "="))
    data[at] ^= 1 << bit
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class TestForm:
    def test_the_header_has_167_characters_in_the_stated_order(self):
        assert len(TEXT) == 167
        data = base64.urlsafe_b64decode(TEXT + "=")
        assert data[0] == 1
        assert data[1:17].hex() == uuid(7).replace("-", "")
        assert data[17:49] == hashlib.sha256(TOY_BODY).digest()
        assert int.from_bytes(data[49:57], "big") == BY
        assert data[57:61] == NODE_VKEY.key_id
        message = f"guard/receipt/v1\n{ORIGIN}\n".encode() + data[1:57]
        KEY.public_key().verify(data[61:], message)

    def test_a_receipt_and_back(self):
        assert receipt.parse(TEXT) == GIVEN

    @given(st.uuids(), st.binary(max_size=50), st.integers(0, 2**63 - 1))
    @settings(max_examples=60)
    def test_every_receipt_comes_back_and_verifies(self, record_id, body, by):
        made = receipt.sign(ORIGIN, NODE, KEY, record_id=str(record_id), body=body, promise_by_us=by)
        read = receipt.parse(made.encode())
        assert read == made
        assert receipt.verify(read, ORIGIN, [NODE_VKEY], body) == NODE_VKEY

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "A" * 166,
            "A" * 167,
            "A" * 168,
            TEXT[:-1],
            TEXT + "=",
            TEXT + "A",
            " " + TEXT[1:],
            TEXT[:-1] + "\n",
            "é" * 167,
            TEXT[:50] + "+" + TEXT[51:],
            TEXT[:50] + "/" + TEXT[51:],
            TEXT[:50] + "." + TEXT[51:],
            flipped(TEXT, 0, 1),
        ],
    )
    def test_other_texts_are_no_receipts(self, text):
        with pytest.raises(InvalidInput, match="Expected a receipt"):
            receipt.parse(text)

    def test_unused_bits_of_the_last_character_are_zero(self):
        marks = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        spelled = TEXT[:-1] + marks[marks.index(TEXT[-1]) + 1]
        assert base64.urlsafe_b64decode(spelled + "=") == base64.urlsafe_b64decode(TEXT + "=")
        with pytest.raises(InvalidInput):
            receipt.parse(spelled)

    @pytest.mark.parametrize("by", [-1, 2**63])
    def test_no_promise_outside_time(self, by):
        with pytest.raises(InvalidInput, match="microseconds"):
            receipt.sign(ORIGIN, NODE, KEY, record_id=uuid(1), body=TOY_BODY, promise_by_us=by)


class TestVerify:
    def test_the_key_that_gave_it_is_named(self):
        assert receipt.verify(GIVEN, ORIGIN, [OTHER_VKEY, NODE_VKEY], TOY_BODY) == NODE_VKEY
        assert receipt.verify(GIVEN, ORIGIN, [NODE_VKEY]) == NODE_VKEY

    def test_the_receipt_for_another_body_is_refused(self):
        with pytest.raises(VerificationFailed, match="another body"):
            receipt.verify(GIVEN, ORIGIN, [NODE_VKEY], TOY_BODY + b" ")

    def test_the_receipt_of_another_log_is_refused(self):
        with pytest.raises(VerificationFailed, match="known node key"):
            receipt.verify(GIVEN, "guard.example/guard/other", [NODE_VKEY], TOY_BODY)

    @pytest.mark.parametrize(
        "keys",
        [
            [],
            [OTHER_VKEY],
            [VerifierKey("guard.example/other", Kind.ED25519, NODE_VKEY.public)],
            [VerifierKey(NODE, Kind.COSIGNATURE, NODE_VKEY.public)],
        ],
    )
    def test_an_unknown_node_is_refused(self, keys):
        with pytest.raises(VerificationFailed, match="known node key"):
            receipt.verify(GIVEN, ORIGIN, keys)

    @pytest.mark.parametrize("at", range(1, 125))
    def test_no_byte_can_be_changed(self, at):
        with pytest.raises(VerificationFailed):
            receipt.verify(receipt.parse(flipped(TEXT, at, at % 8)), ORIGIN, [NODE_VKEY], TOY_BODY)

    def test_a_key_id_that_collides_is_decided_by_the_signature(self):
        class Colliding(VerifierKey):
            @property
            def key_id(self):
                return NODE_VKEY.key_id

        impostor = Colliding(NODE, Kind.ED25519, OTHER_VKEY.public)
        assert receipt.verify(GIVEN, ORIGIN, [impostor, NODE_VKEY]) == NODE_VKEY


class TestBatch:
    @pytest.mark.parametrize("size", [*range(1, 34), 63, 64, 65, 255, 256])
    def test_each_of_a_batch_verifies_for_its_own_body_only(self, size):
        promises = [(uuid(number), b"body %d" % number) for number in range(size)]
        batch = receipt.Batch(ORIGIN, receipt.ReceiptKey.of(NODE, KEY), promises, BY)
        for index, (record_id, body) in enumerate(promises):
            read = receipt.parse(batch.text(index))
            assert read.encode() == batch.text(index)
            assert (read.id, read.promise_by_us) == (record_id, BY)
            assert receipt.verify(read, ORIGIN, [NODE_VKEY], body) == NODE_VKEY
            with pytest.raises(VerificationFailed, match="another body"):
                receipt.verify(read, ORIGIN, [NODE_VKEY], body + b" ")

    def test_a_batch_of_one_is_a_receipt_of_version_1(self):
        batch = receipt.Batch(ORIGIN, receipt.ReceiptKey.of(NODE, KEY), [(uuid(7), TOY_BODY)], BY)
        assert batch.text(0) == TEXT

    @pytest.mark.parametrize("index", range(5))
    def test_no_bit_of_a_shared_receipt_can_be_changed(self, index):
        promises = [(uuid(number), b"body %d" % number) for number in range(5)]
        text = receipt.Batch(ORIGIN, receipt.ReceiptKey.of(NODE, KEY), promises, BY).text(index)
        size = len(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        for at in range(size):
            for bit in range(8):
                with pytest.raises((VerificationFailed, InvalidInput)):
                    receipt.verify(receipt.parse(changed(text, at, bit)), ORIGIN, [NODE_VKEY], promises[index][1])

    def test_a_receipt_of_one_log_is_none_of_another(self):
        promises = [(uuid(number), TOY_BODY) for number in range(3)]
        read = receipt.parse(receipt.Batch(ORIGIN, receipt.ReceiptKey.of(NODE, KEY), promises, BY).text(1))
        with pytest.raises(VerificationFailed, match="known node key"):
            receipt.verify(read, "guard.example/guard/other", [NODE_VKEY], TOY_BODY)

    @given(st.binary(max_size=700))
    @settings(max_examples=200)
    def test_bytes_that_claim_version_2_are_refused_or_fail(self, rest):
        text = base64.urlsafe_b64encode(b"\x02" + rest).rstrip(b"=").decode()
        with pytest.raises((VerificationFailed, InvalidInput)):
            receipt.verify(receipt.parse(text), ORIGIN, [NODE_VKEY])


def changed(text, at, bit):
    data = bytearray(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    data[at] ^= 1 << bit
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
