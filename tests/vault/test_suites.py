"""Each suite alone: sizes, and that nothing opens but what was sealed under the same key and context."""

import secrets

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.errors import BodyTooLarge, DoesNotOpen, InternalError, InvalidEnvelope
from guard.vault import suites
from guard.vault.envelope import MAX_ENVELOPE_BYTES, SuiteId
from guard.vault.suites import CBL256, DOES_NOT_OPEN, INGEST, MAX_FIELD_BYTES, SIV, SUITES, XAES

CONTEXT = b"guard/ctx/1\0" + bytes(100)
PLAINTEXT = b"alice@example.com"
X25519, HYBRID = INGEST.values()

ALL = (*SUITES.values(), *INGEST.values())
each_suite = pytest.mark.parametrize("suite", ALL, ids=lambda suite: suite.name)
each_kept = pytest.mark.parametrize("suite", SUITES.values(), ids=lambda suite: suite.name)


def new_key(suite):
    return secrets.token_bytes(suite.key_bytes)


def seal(suite, key, context, plaintext):
    return suite.seal(key, context, plaintext, secrets.token_bytes)


def refused(suite, key, context, body):
    with pytest.raises(DoesNotOpen) as caught:
        suite.open(key, context, body)
    assert caught.value.detail == DOES_NOT_OPEN
    assert caught.value.extra == {}
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_registry():
    assert {(suite.id, suite.name, suite.key_bytes, suite.deterministic) for suite in SUITES.values()} == {
        (SuiteId.CBL256, "cbl256", 32, False),
        (SuiteId.XAES, "xaes", 32, False),
        (SuiteId.SIV, "siv", 64, True),
    }
    assert suites.suite(SuiteId.SIV) is SIV
    assert {(suite.id, suite.name, suite.key_bytes, suite.deterministic) for suite in INGEST.values()} == {
        (SuiteId.SEAL, "seal_x25519", 32, False),
        (SuiteId.SEAL, "seal_mlkem768_x25519", 96, False),
    }
    assert {suite.name: suite for suite in (*ALL, suites.FF1)} == suites.BY_NAME


@pytest.mark.parametrize("suite_id", sorted(set(SuiteId) - SUITES.keys()))
def test_other_suites_are_refused_by_number(suite_id):
    with pytest.raises(InvalidEnvelope, match=f"Suite {suite_id.value} is not available"):
        suites.suite(suite_id)


@each_suite
@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 32, 16383, 16384, 16385, 32768, 100_000, MAX_FIELD_BYTES])
def test_there_and_back_and_the_stated_overhead(suite, size):
    key, plaintext = new_key(suite), secrets.token_bytes(size)
    body = seal(suite, key, CONTEXT, plaintext)
    assert suite.open(key, CONTEXT, body) == plaintext
    assert len(body) == size + suite.overhead(size)
    assert 16 + len(body) <= MAX_ENVELOPE_BYTES


@pytest.mark.parametrize(
    ("suite", "with_header"),
    [(CBL256, 88), (XAES, 56), (SIV, 32), (X25519, 64), (HYBRID, 1152)],
    ids=lambda one: getattr(one, "name", one),
)
def test_overhead_of_a_field_with_its_header(suite, with_header):
    assert 16 + suite.overhead(32) == with_header


@each_suite
def test_field_limit(suite):
    with pytest.raises(BodyTooLarge, match="at most 1048576 bytes; 1048577 came"):
        seal(suite, new_key(suite), CONTEXT, bytes(MAX_FIELD_BYTES + 1))


@each_suite
@pytest.mark.parametrize("size", [0, 16, 31, 33, 48, 63, 65, 128])
def test_keys_of_another_length_are_refused(suite, size):
    for use in (suite.sealer, suite.opener):
        with pytest.raises(InternalError, match=f"{suite.key_bytes} bytes; {size} came"):
            use(bytes(size))


def test_ff1_seals_nothing_without_a_format():
    for use in (suites.FF1.sealer, suites.FF1.opener):
        with pytest.raises(InternalError, match="needs the alphabet"):
            use(bytes(32))


def test_a_suite_that_draws_its_nonce_asks_for_the_source():
    with pytest.raises(InternalError, match="give it the source of randomness"):
        XAES.sealer(bytes(32))


def test_nonces_of_xaes_are_the_bytes_that_were_given():
    drawn = []
    body = XAES.seal(bytes(32), CONTEXT, PLAINTEXT, lambda size: drawn.append(secrets.token_bytes(size)) or drawn[-1])
    assert [len(one) for one in drawn] == [24]
    assert body.startswith(drawn[0])


@each_suite
@pytest.mark.parametrize("context", [CONTEXT, b""], ids=["context", "empty context"])
def test_every_flipped_bit_of_the_body(suite, context):
    key = new_key(suite)
    body = seal(suite, key, context, PLAINTEXT)
    open_body = suite.opener(key)
    for bit in range(len(body) * 8):
        changed = bytearray(body)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DoesNotOpen) as caught:
            open_body(context, bytes(changed))
        assert caught.value.detail == DOES_NOT_OPEN


@each_kept
def test_every_flipped_bit_of_the_context_and_the_key(suite):
    key = new_key(suite)
    body = seal(suite, key, CONTEXT, PLAINTEXT)
    for bit in range(0, len(CONTEXT) * 8, 7):
        changed = bytearray(CONTEXT)
        changed[bit // 8] ^= 1 << bit % 8
        refused(suite, key, bytes(changed), body)
    for bit in range(len(key) * 8):
        changed = bytearray(key)
        changed[bit // 8] ^= 1 << bit % 8
        refused(suite, bytes(changed), CONTEXT, body)


@pytest.mark.parametrize("suite", INGEST.values(), ids=lambda suite: suite.name)
def test_every_flipped_bit_of_the_context_of_what_comes_in(suite):
    """Of an X25519 key five bits are ignored (RFC 7748 section 5), so only the context is asked here."""
    key = new_key(suite)
    context = CONTEXT[:40]
    body = seal(suite, key, context, PLAINTEXT)
    for bit in range(len(context) * 8):
        changed = bytearray(context)
        changed[bit // 8] ^= 1 << bit % 8
        refused(suite, key, bytes(changed), body)
    refused(suite, new_key(suite), context, body)


@pytest.mark.parametrize("suite", ALL, ids=lambda suite: suite.name)
def test_the_suite_of_a_key(suite):
    assert suites.of_key(suite.id, suite.key_bytes) is suite


@pytest.mark.parametrize("size", [0, 31, 33, 64, 95, 97])
def test_an_ingest_key_of_another_size_has_no_suite(size):
    with pytest.raises(InvalidEnvelope, match="Suite 5 is not available"):
        suites.of_key(SuiteId.SEAL, size)


@each_suite
def test_cut_and_lengthened_bodies(suite):
    key = new_key(suite)
    body = seal(suite, key, CONTEXT, PLAINTEXT)
    for size in range(len(body)):
        refused(suite, key, CONTEXT, body[:size])
        refused(suite, key, CONTEXT, body[len(body) - size :] if size else b"")
    for more in (b"\0", bytes(16), body):
        refused(suite, key, CONTEXT, body + more)
        refused(suite, key, CONTEXT, more + body)


@each_suite
def test_long_bodies_release_nothing_when_their_end_is_wrong(suite):
    key, plaintext = new_key(suite), secrets.token_bytes(70_000)
    body = seal(suite, key, CONTEXT, plaintext)
    refused(suite, key, CONTEXT, body[:-1])
    refused(suite, key, CONTEXT, body[:-1] + bytes([body[-1] ^ 1]))
    refused(suite, key, CONTEXT, body[: 24 + 32 + 16 * 1024 + 16])  # whole chunks, the end is missing


@each_suite
def test_body_of_one_suite_is_no_body_of_another(suite):
    key = secrets.token_bytes(96)
    body = seal(suite, key[: suite.key_bytes], CONTEXT, PLAINTEXT)
    for other in ALL:
        if other is not suite:
            refused(other, key[: other.key_bytes], CONTEXT, body)


@each_suite
def test_parts_of_two_bodies_do_not_mix(suite):
    key = new_key(suite)
    one, other = seal(suite, key, CONTEXT, b"a" * 32), seal(suite, key, CONTEXT, b"b" * 32)
    for cut in (8, 16, 24, 40, len(one) - 16):
        refused(suite, key, CONTEXT, one[:cut] + other[cut:])


@pytest.mark.parametrize("at", [0, 24])
def test_salt_or_commitment_of_another_key_does_not_help(at):
    """Key commitment: one body for two keys would let two readers see two texts."""
    one_key, other_key = new_key(CBL256), new_key(CBL256)
    one, other = seal(CBL256, one_key, CONTEXT, PLAINTEXT), seal(CBL256, other_key, CONTEXT, PLAINTEXT)
    mixed = other[:at] + other[at:56] + one[56:]
    refused(CBL256, one_key, CONTEXT, mixed)
    refused(CBL256, other_key, CONTEXT, mixed)


def test_determinism_is_what_the_registry_says():
    for suite in ALL:
        key = new_key(suite)
        bodies = {seal(suite, key, CONTEXT, PLAINTEXT) for _ in range(50)}
        assert len(bodies) == (1 if suite.deterministic else 50)


@each_suite
def test_keys_may_be_bytearrays(suite):
    key = bytearray(new_key(suite))
    assert suite.open(bytes(key), CONTEXT, seal(suite, key, CONTEXT, PLAINTEXT)) == PLAINTEXT


@each_suite
@given(data=st.data())
@settings(max_examples=60)
def test_opens_only_in_the_same_context(suite, data):
    contexts = st.binary(max_size=40)
    one, other = data.draw(contexts), data.draw(contexts)
    plaintext = data.draw(st.binary(max_size=40))
    key = new_key(suite)
    body = seal(suite, key, one, plaintext)
    assert suite.open(key, one, body) == plaintext
    if one != other:
        refused(suite, key, other, body)


@each_suite
@given(st.binary(max_size=200))
@settings(max_examples=100)
def test_random_bodies_do_not_open(suite, body):
    refused(suite, bytes(suite.key_bytes), CONTEXT, body)
