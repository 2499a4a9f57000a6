"""Leased keys: a wrap opens in its own place only, and what is sealed under one is a value of its field."""

import itertools
import json
from pathlib import Path

import pytest
from cryptography.cobblestone import Cobblestone256Encryptor
from hypothesis import given
from hypothesis import strategies as st

from guard.errors import DoesNotOpen, GuardError, InternalError, KeyStateConflict, LeaseEnded
from guard.vault import context, leases, suites
from guard.vault.envelope import (
    ENVELOPE_SUITES,
    FLAG_PADDED,
    HEADER_BYTES,
    SuiteId,
    census_prefixes,
    from_text,
    header_of,
    to_text,
)
from guard.vault.keys import KeyVersion, Secret
from guard.vault.leases import BLOCK_BYTES, LEASE_BYTES, START_BYTES, Lease
from guard.vault.sealing import Opener, Sealer, open_text, seal_text
from guard.vault.versions import State

COLUMN = {"tenant": "acme", "table": "users", "column": "email"}
CELL = COLUMN | {"row": "17"}
LEASE = bytes(range(16))
GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "leased.json"
US = 1_000_000


@pytest.fixture(scope="module")
def key(make_key):
    return make_key()


@pytest.fixture(scope="module")
def leased():
    return bytes(range(100, 132))


def sealed(key, leased, cell=CELL, value=b"ana@example.org", lease=LEASE, padded=False):
    """A value as a client makes it."""
    start = leases.start(key, lease, cell, leased)
    if padded:
        start = start[:3] + bytes([start[3] | FLAG_PADDED]) + start[4:]
    encryptor = Cobblestone256Encryptor(leased, context.encode(start[:HEADER_BYTES], cell))
    return to_text(start + encryptor.update(value) + encryptor.finalize())


def openers(key, cell=CELL):
    """The two ways in which the server opens a value."""
    shared = {name: cell[name] for name in ("tenant", "table", "column")}
    varying = {name: value for name, value in cell.items() if name not in shared}
    batch = Opener(key, shared, tuple(sorted(varying)))
    return (
        lambda text: open_text(key, cell, text),
        lambda text: batch.open(tuple(varying[name] for name in sorted(varying)), text),
    )


def refused_by_all(key, text, cell=CELL):
    for opener in openers(key, cell):
        with pytest.raises(DoesNotOpen, match=rf"^{suites.DOES_NOT_OPEN}$"):
            opener(text)


def test_what_a_client_seals_opens_as_a_value_of_its_field(key, leased):
    text = sealed(key, leased)
    assert [opener(text) for opener in openers(key)] == [b"ana@example.org"] * 2
    head = header_of(text)
    assert (head.suite, head.key_id, head.key_version) == (SuiteId.LEASED, key.key_id, key.version)
    assert len(from_text(text)) == START_BYTES + 72 + len(b"ana@example.org")


def test_the_census_counts_it_under_the_fields_key(key, leased):
    assert SuiteId.LEASED in ENVELOPE_SUITES
    assert sealed(key, leased)[:26] in census_prefixes(key.key_id, key.version)


def test_a_batch_opens_leased_and_other_values_together(key, leased):
    texts = [seal_text(key, CELL, b"one"), sealed(key, leased, value=b"two"), seal_text(key, CELL, b"three")]
    opened = Opener(key, COLUMN, ("row",)).open_many([(("17",), text) for text in [*texts, texts[1][:-2]]])
    assert opened[:3] == [b"one", b"two", b"three"]
    assert isinstance(opened[3], GuardError)


@pytest.mark.parametrize("value", [b"", b"a", b"a\x80", b"\0" * 40], ids=repr)
def test_padding_is_taken_off(key, leased, value):
    padded = value + b"\x80" + bytes(-(len(value) + 1) % 16)
    text = sealed(key, leased, value=padded, padded=True)
    assert [opener(text) for opener in openers(key)] == [value] * 2


def test_a_padded_value_without_its_mark_does_not_open(key, leased):
    refused_by_all(key, sealed(key, leased, value=b"no mark", padded=True))


@pytest.mark.parametrize("change", [{"row": "18"}, {"column": "phone"}, {"table": "people"}], ids=repr)
def test_it_opens_in_no_other_cell(key, leased, change):
    refused_by_all(key, sealed(key, leased), CELL | change)


@pytest.mark.parametrize("name", ["tenant", "table", "column"])
def test_a_wrap_of_another_column_serves_no_value(key, leased, name):
    """A client that was given the wrap for one column puts it before a value of another."""
    other = leases.start(key, LEASE, CELL | {name: "other"}, leased)
    body = from_text(sealed(key, leased))[START_BYTES:]
    refused_by_all(key, to_text(other + body))


def test_every_flipped_bit_is_refused_with_one_text(key, leased):
    raw = from_text(sealed(key, leased, value=b"x"))
    for at, bit in itertools.product(range(3, len(raw)), (1, 128)):  # the first three bytes name the format
        changed = bytearray(raw)
        changed[at] ^= bit
        with pytest.raises(GuardError) as caught:
            open_text(key, CELL, to_text(bytes(changed)))
        assert caught.value.detail == suites.DOES_NOT_OPEN, (at, bit)


@pytest.mark.parametrize("length", [0, 1, 3, 15, 16, 17, 32, 135, 136, 137, 191, 207], ids=str)
def test_every_cut_is_refused(key, leased, length):
    refused_by_all(key, to_text(from_text(sealed(key, leased))[:length]) if length else "gd1.RwEH")


def test_a_value_of_the_field_passes_for_no_wrap(key):
    """Who may lease for reading would otherwise have any 32-byte value handed to him as a "key"."""
    value = from_text(seal_text(key, CELL, bytes(32)))
    body = LEASE + value[HEADER_BYTES:]
    unwrap = suites.CBL256.opener(key.material.expose())
    with pytest.raises(DoesNotOpen):
        leases.subkey(unwrap, key.header, leases.leased_header(key), CELL, body)


def test_a_wrap_passes_for_no_value(key, leased):
    start = leases.start(key, LEASE, CELL, leased)
    with pytest.raises(DoesNotOpen):
        open_text(key, CELL, to_text(key.header + start[HEADER_BYTES + LEASE_BYTES :]))


@pytest.mark.parametrize("suite", [SuiteId.XAES, SuiteId.SIV])
def test_under_a_key_of_another_suite_nothing_leased_opens(make_key, key, leased, suite):
    other = make_key(suite, key_id=key.key_id, version=key.version)
    refused_by_all(other, sealed(key, leased))


def test_of_two_versions_each_opens_its_own(make_key, key, leased):
    newer = make_key(key_id=key.key_id, version=2)
    refused_by_all(newer, sealed(key, leased))
    refused_by_all(key, sealed(newer, leased))


def test_a_retired_version_opens_no_leased_value_either(make_key, leased):
    retired = make_key(state=State.RETIRED)
    text = sealed(retired, leased)
    with pytest.raises(KeyStateConflict):
        open_text(retired, CELL, text)


class TestOfAPerson:
    """The wrap names the person: a key that was leased for one seals nothing for another."""

    @pytest.fixture
    def dek(self, make_key):
        return make_key(subject_key=True)

    def test_it_opens_for_the_person(self, dek, leased):
        cell = CELL | {"subject": "u-17"}
        text = sealed(dek, leased, cell)
        assert [opener(text) for opener in openers(dek, cell)] == [b"ana@example.org"] * 2

    def test_what_is_sealed_for_another_person_with_it_does_not_open(self, dek, leased):
        start = leases.start(dek, LEASE, CELL | {"subject": "u-17"}, leased)
        cell = CELL | {"subject": "u-18"}
        encryptor = Cobblestone256Encryptor(leased, context.encode(start[:HEADER_BYTES], cell))
        text = to_text(start + encryptor.update(b"x") + encryptor.finalize())
        refused_by_all(dek, text, cell)
        refused_by_all(dek, text, CELL | {"subject": "u-17"})


def test_the_server_seals_for_a_lease_what_its_key_opens(key, leased):
    start = leases.start(key, LEASE, CELL, leased)
    version = KeyVersion(
        key.key_id, key.name, "acme", key.version, State.ACTIVE, SuiteId.CBL256, Secret(leased, "lease")
    )
    for step in (0, 32):
        text = Sealer(version, COLUMN, ("row",), pad_step=step, start=start).seal(("17",), b"ana@example.org")
        assert open_text(key, CELL, text) == b"ana@example.org"
        assert header_of(text).flags == (FLAG_PADDED if step else 0)


cells = st.fixed_dictionaries(
    {
        name: st.text("ab\0/é", min_size=1, max_size=5).filter(lambda text: text)
        for name in ("tenant", "table", "column", "subject")
    }
)


@given(cells, cells, st.sampled_from([0, 1]), st.binary(min_size=16, max_size=16), st.binary(min_size=16, max_size=16))
def test_two_places_have_one_context_only_if_they_are_the_same(first, second, flags, lease, other):
    """Lengths in front of names: ("ab", "c") is not ("a", "bc"). A subject counts where the key is a person's."""
    header = bytes.fromhex("470107") + bytes([flags]) + bytes(12)
    one, two = leases.context(header, lease, first), leases.context(header, other, second)
    names = ("tenant", "table", "column", "subject")[: 3 + flags]
    same = lease == other and all(first[name] == second[name] for name in names)
    assert (one == two) is same
    assert not one.startswith(context.PREFIX)


@given(st.binary(max_size=300))
def test_no_bytes_open_by_chance(body):
    key = KeyVersion(bytes(8), "users.email", "acme", 1, State.ACTIVE, SuiteId.CBL256, Secret(bytes(32), "k"))
    with pytest.raises(DoesNotOpen):
        open_text(key, CELL, to_text(leases.leased_header(key) + body))


def test_a_wrap_has_its_size(key, leased):
    assert len(leases.start(key, LEASE, CELL, leased)) == START_BYTES == 136
    assert BLOCK_BYTES == 120


def test_a_key_of_another_length_is_no_lease(key):
    start = leases.start(key, LEASE, CELL, bytes(31))
    with pytest.raises((DoesNotOpen, InternalError)):
        open_text(key, CELL, to_text(start + bytes(72)))


def test_golden_vectors():
    """Values that were made once must open for ever."""
    for vector in json.loads(GOLDEN.read_text()):
        key = KeyVersion(
            bytes.fromhex(vector["key_id"]),
            "users.email",
            "acme",
            vector["key_version"],
            State.ACTIVE,
            SuiteId.CBL256,
            Secret(bytes.fromhex(vector["key"]), "golden"),
            subject_key=vector["subject_key"],
        )
        raw = from_text(vector["text"])
        assert leases.leased_header(key).hex() == vector["header"]
        assert leases.context(raw[:16], raw[16:32], vector["cell"]).hex() == vector["wrap_context"]
        unwrap = suites.CBL256.opener(key.material.expose())
        leased, _ = leases.subkey(unwrap, key.header, raw[:16], vector["cell"], raw[16:])
        assert leased.hex() == vector["leased_key"]
        for opener in openers(key, vector["cell"]):
            assert opener(vector["text"]).hex() == vector["plaintext"]


class TestLasting:
    """When a lease holds."""

    LEASE = Lease("lse_1", "acme", "svc:a", "store", False, {"users.email": b""}, {"users.email": 3}, 0, 300 * US, 10)

    def test_it_holds_within_its_time_uses_and_epoch(self):
        self.LEASE.check({"users.email": 3}, 300 * US - 1)
        assert self.LEASE.fields == ["users.email"]

    @pytest.mark.parametrize(
        ("epochs", "now_us", "changed", "why"),
        [
            ({"users.email": 3}, 300 * US, {}, "end of its time"),
            ({"users.email": 4}, 1, {}, "was revoked"),
            ({}, 1, {}, "was revoked"),
            ({"users.email": 3}, 1, {"used": 10}, "end of its uses"),
            ({"users.email": 3}, 1, {"revoked_us": 1}, "was revoked"),
        ],
        ids=str,
    )
    def test_it_ends(self, epochs, now_us, changed, why):
        lease = Lease(**{name: getattr(self.LEASE, name) for name in Lease.__slots__} | changed)
        with pytest.raises(LeaseEnded, match=why):
            lease.check(epochs, now_us)
