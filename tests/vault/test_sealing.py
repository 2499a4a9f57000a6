"""Fields as callers seal and open them: text, context, key state, batches."""

import pickle
import secrets
import traceback
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.errors import (
    BodyTooLarge,
    DoesNotOpen,
    GuardError,
    InternalError,
    InvalidContext,
    InvalidEnvelope,
    KeyStateConflict,
    Sealed,
)
from guard.vault import context, sealing
from guard.vault.envelope import FLAG_PADDED, SuiteId, from_text, header_of, to_text
from guard.vault.keys import KeyVersion, Secret
from guard.vault.sealing import PAD_STEPS, Opener, open_text
from guard.vault.suites import DOES_NOT_OPEN, MAX_FIELD_BYTES, SUITES
from guard.vault.versions import State

KEY_ID = bytes.fromhex("0011223344556677")
COLUMN = {"tenant": "acme", "table": "users", "column": "email"}
CELL = COLUMN | {"row": "17"}
PLAINTEXT = b"alice@example.com"

Sealer = partial(sealing.Sealer, random=secrets.token_bytes)
seal_text = partial(sealing.seal_text, random=secrets.token_bytes)

each_suite = pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)


def cell_for(suite):
    return COLUMN if SUITES[suite].deterministic else CELL


def does_not_open(key, fields, text):
    with pytest.raises(DoesNotOpen) as caught:
        open_text(key, fields, text)
    assert caught.value.detail == DOES_NOT_OPEN
    assert caught.value.extra == {}


def test_golden_vector_cbl256():
    key = KeyVersion(
        KEY_ID, "users.email", "acme", 3, State.ACTIVE, SuiteId.CBL256, Secret(bytes(range(32)), "k"), subject_key=True
    )
    text = (
        "gd1.RwEBAQARIjNEVWZ3AAAAA4CBgoOEhYaHiImKi4yNjo-QkZKTlJWWlxl4VwVd73HxoKfNnFPOMT99snKf8Fb-t7Ir1RVtGwXagGWe-Y8o"
        "XyQybFzSe34LSXeXcoGjK0HQp6WxpQ3Vzb_4"
    )
    assert open_text(key, COLUMN | {"subject": "u-17"}, text) == PLAINTEXT
    does_not_open(key, COLUMN | {"subject": "u-18"}, text)


def test_golden_vector_xaes():
    key = KeyVersion(
        KEY_ID, "users.email", "acme", 3, State.ACTIVE, SuiteId.XAES, Secret(bytes(range(32)), "k"), subject_key=True
    )
    text = "gd1.RwECAQARIjNEVWZ3AAAAA0FCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWOvRAu3EtqgGucruUuCzb_9rpfHpA2eAd_6bOozLDMNcsw"
    fields, nonce = COLUMN | {"subject": "u-17"}, b"ABCDEFGHIJKLMNOPQRSTUVWX"
    assert sealing.seal_text(key, fields, PLAINTEXT, random=lambda _: nonce) == text
    assert open_text(key, fields, text) == PLAINTEXT
    does_not_open(key, COLUMN | {"subject": "u-18"}, text)


def test_golden_vector_siv():
    key = KeyVersion(KEY_ID, "users.email", "acme", 3, State.ACTIVE, SuiteId.SIV, Secret(bytes(range(64)), "k"))
    text = "gd1.RwEDAAARIjNEVWZ3AAAAA97j9DgnoNBTtfznpsqAffe3raFvfQre0z_PLxjq4x_FrQ"
    assert seal_text(key, COLUMN, PLAINTEXT) == text
    assert open_text(key, COLUMN, text) == PLAINTEXT


@each_suite
@given(plaintext=st.binary(max_size=100), pad_step=st.sampled_from(PAD_STEPS))
@settings(max_examples=60)
def test_there_and_back(suite, plaintext, pad_step, make_key):
    key = make_key(suite)
    text = seal_text(key, cell_for(suite), plaintext, pad_step=pad_step)
    assert open_text(key, cell_for(suite), text) == plaintext
    header = header_of(text)
    assert (header.suite, header.key_id, header.key_version) == (suite, key.key_id, key.version)
    assert bool(header.flags & FLAG_PADDED) == bool(pad_step)


@each_suite
def test_header_says_when_the_key_is_a_subjects(suite, make_key):
    for subject_key in (False, True):
        key = make_key(suite, subject_key=subject_key)
        assert header_of(seal_text(key, cell_for(suite), PLAINTEXT)).flags == int(subject_key)


@each_suite
@pytest.mark.parametrize("pad_step", [0, 16])
def test_every_flipped_bit_of_the_envelope(suite, pad_step, make_key):
    key = make_key(suite)
    raw = from_text(seal_text(key, cell_for(suite), PLAINTEXT, pad_step=pad_step))
    for bit in range(len(raw) * 8):
        changed = bytearray(raw)
        changed[bit // 8] ^= 1 << bit % 8
        does_not_open(key, cell_for(suite), to_text(bytes(changed)))


@each_suite
def test_every_cut_of_the_envelope(suite, make_key):
    key = make_key(suite)
    raw = from_text(seal_text(key, cell_for(suite), PLAINTEXT))
    for size in range(1, len(raw)):
        does_not_open(key, cell_for(suite), to_text(raw[:size]))
    does_not_open(key, cell_for(suite), to_text(raw + b"\0"))


@each_suite
def test_every_changed_character_of_the_text(suite, make_key):
    key = make_key(suite)
    text = seal_text(key, cell_for(suite), PLAINTEXT)
    for at, character in enumerate(text):
        for other in "AQgw-_9=+/ \n\0é":
            if other != character:
                with pytest.raises((DoesNotOpen, InvalidEnvelope)):
                    open_text(key, cell_for(suite), text[:at] + other + text[at + 1 :])


@pytest.mark.parametrize(
    "changed",
    [
        {"row": "18"},
        {"row": 17},
        {"row": b"17"},
        {"row": "17 "},
        {"row": "１７"},
        {"row": None},
        {"column": "phone"},
        {"column": "Email"},
        {"table": "customers"},
        {"tenant": "globex"},
        {"subject": "u-17"},
        {"region": "eu"},
    ],
    ids=repr,
)
@each_suite
def test_swapped_values_do_not_open(suite, changed, make_key):
    key = make_key(suite)
    does_not_open(key, CELL | changed, seal_text(key, cell_for(suite), PLAINTEXT))


@pytest.mark.parametrize("missing", ["row", "column", "table", "tenant"])
def test_a_missing_field_does_not_open(missing, make_key):
    key = make_key()
    text = seal_text(key, CELL, PLAINTEXT)
    does_not_open(key, {name: value for name, value in CELL.items() if name != missing}, text)


@each_suite
def test_another_tenants_key_does_not_open(suite, make_key):
    """The copied row brings its header along; with the same id, version and even the same bytes it stays closed."""
    ours = make_key(suite)
    theirs = make_key(suite, tenant="globex", key_id=ours.key_id, material=Secret(ours.material.expose(), "copy"))
    text = seal_text(ours, cell_for(suite), PLAINTEXT)
    does_not_open(theirs, cell_for(suite), text)
    does_not_open(theirs, cell_for(suite) | {"tenant": "globex"}, text)


@each_suite
def test_another_key_or_version_does_not_open(suite, make_key):
    key = make_key(suite)
    text = seal_text(key, cell_for(suite), PLAINTEXT)
    does_not_open(make_key(suite), cell_for(suite), text)
    does_not_open(make_key(suite, key_id=key.key_id), cell_for(suite), text)
    does_not_open(make_key(suite, key_id=key.key_id, version=2, material=key.material), cell_for(suite), text)
    does_not_open(make_key(suite, key_id=key.key_id, subject_key=True, material=key.material), cell_for(suite), text)


def test_sealing_with_another_tenants_key_is_refused(make_key):
    with pytest.raises(InvalidContext, match="own tenant"):
        seal_text(make_key(tenant="globex"), CELL, PLAINTEXT)


def test_a_value_needs_a_row_unless_it_is_portable(make_key):
    key = make_key()
    with pytest.raises(InvalidContext, match="'row' or its 'subject'"):
        seal_text(key, COLUMN, PLAINTEXT)
    assert open_text(key, COLUMN, seal_text(key, COLUMN, PLAINTEXT, portable=True)) == PLAINTEXT


def test_a_deterministic_value_has_no_row(make_key):
    with pytest.raises(InvalidContext, match="no 'row'"):
        seal_text(make_key(SuiteId.SIV), CELL, PLAINTEXT)


def test_equal_values_are_equal_only_under_the_deterministic_suite(make_key):
    for suite in SUITES:
        key = make_key(suite)
        texts = {seal_text(key, cell_for(suite), PLAINTEXT) for _ in range(20)}
        assert len(texts) == (1 if SUITES[suite].deterministic else 20)


def test_deterministic_values_of_two_columns_differ(make_key):
    key = make_key(SuiteId.SIV)
    assert seal_text(key, COLUMN, PLAINTEXT)[26:] != seal_text(key, COLUMN | {"column": "phone"}, PLAINTEXT)[26:]


@pytest.mark.parametrize(
    ("state", "compromised", "seals", "opens", "opens_granted"),
    [
        (State.PRE_ACTIVE, False, False, False, False),
        (State.ACTIVE, False, True, True, True),
        (State.ACTIVE, True, False, False, True),
        (State.DECRYPT_ONLY, False, False, True, True),
        (State.DECRYPT_ONLY, True, False, False, True),
        (State.RETIRED, False, False, False, False),
        (State.RETIRED, True, False, False, False),
        (State.DESTROY_PENDING, False, False, False, False),
        (State.DESTROYED, False, False, False, False),
    ],
)
def test_states_are_obeyed(state, compromised, seals, opens, opens_granted, make_key):
    active = make_key()
    text = seal_text(active, CELL, PLAINTEXT)
    key = make_key(key_id=active.key_id, material=active.material, state=state, compromised=compromised)

    def check(allowed, use):
        if allowed:
            use()
            return
        with pytest.raises(KeyStateConflict, match=f"is {state.value}") as caught:
            use()
        assert caught.value.extra == {"key": "users.email", "version": 1, "state": state.value, "changed_us": 0}

    check(seals, lambda: seal_text(key, CELL, PLAINTEXT))
    check(opens, lambda: open_text(key, CELL, text))
    check(opens_granted, lambda: open_text(key, CELL, text, compromised_granted=True))


def test_field_limit_holds_with_padding_and_without(make_key):
    key = make_key()
    assert len(open_text(key, CELL, seal_text(key, CELL, bytes(MAX_FIELD_BYTES)))) == MAX_FIELD_BYTES
    with pytest.raises(BodyTooLarge):
        seal_text(key, CELL, bytes(MAX_FIELD_BYTES + 1))
    with pytest.raises(BodyTooLarge):
        seal_text(key, CELL, bytes(MAX_FIELD_BYTES), pad_step=16)


@pytest.mark.parametrize("pad_step", [16, 32, 64])
@pytest.mark.parametrize("tail", [b"", b"\x80", b"\0", b"\x80\0\0", b"\0" * 40])
def test_padding_hides_the_length_and_gives_back_every_byte(pad_step, tail, make_key):
    key = make_key()
    sizes = set()
    for size in range(pad_step):
        text = seal_text(key, CELL, bytes(size), pad_step=pad_step)
        sizes.add(len(text))
    assert len(sizes) == 1
    assert open_text(key, CELL, seal_text(key, CELL, b"x" + tail, pad_step=pad_step)) == b"x" + tail


@pytest.mark.parametrize("pad_step", [-16, 1, 8, 17, 128])
def test_other_padding_steps_are_refused(pad_step, make_key):
    with pytest.raises(InternalError, match="padding step"):
        seal_text(make_key(), CELL, PLAINTEXT, pad_step=pad_step)


def test_a_padded_value_without_its_mark_does_not_open(make_key):
    """Sealed by somebody with the key and a wrong padding; it still gets the one answer."""
    key = make_key()
    padded = from_text(seal_text(key, CELL, b"", pad_step=16))[:16]
    suite = SUITES[SuiteId.CBL256]
    for content in (b"", bytes(16), b"x" * 16):
        body = suite.seal(key.material.expose(), context.encode(padded, CELL), content)
        does_not_open(key, CELL, to_text(padded + body))


@pytest.mark.parametrize(
    "text",
    ["", "gd1.", "alice@example.com", "vault:v1:AAAA", "gd1.====", "gd1.A", "GD1.RwEB", "gd1.RwEB\n"],
)
def test_what_is_no_sealed_text_is_called_so(text, make_key):
    with pytest.raises(InvalidEnvelope):
        open_text(make_key(), CELL, text)


# Batches


@each_suite
def test_batch_equals_single_calls(suite, make_key):
    key = make_key(suite)
    plaintexts = [str(number).encode() * 3 for number in range(20)]
    if SUITES[suite].deterministic:
        sealed = Sealer(key, COLUMN).seal_many(((), one) for one in plaintexts)
        assert sealed == [seal_text(key, COLUMN, one) for one in plaintexts]
        assert Opener(key, COLUMN).open_many(((), text) for text in sealed) == plaintexts
        return
    rows = [f"row-{number}" for number in range(20)]
    sealed = Sealer(key, COLUMN, ("row",)).seal_many(((row,), one) for row, one in zip(rows, plaintexts, strict=True))
    assert [open_text(key, COLUMN | {"row": row}, text) for row, text in zip(rows, sealed, strict=True)] == plaintexts
    singles = [seal_text(key, COLUMN | {"row": row}, one) for row, one in zip(rows, plaintexts, strict=True)]
    opened = Opener(key, COLUMN, ("row",)).open_many(((row,), text) for row, text in zip(rows, singles, strict=True))
    assert opened == plaintexts


@each_suite
def test_batch_opens_under_its_own_header_only(suite, make_key):
    """A version that was imported twice has one material and two headers; each stays its own."""
    key = make_key(suite)
    again = make_key(suite, key_id=key.key_id, version=2, material=key.material)
    for step in (0, 16):
        text = seal_text(key, cell_for(suite), PLAINTEXT, pad_step=step)
        [answer] = Opener(again, cell_for(suite)).open_many([((), text)])
        assert isinstance(answer, DoesNotOpen)
        assert Opener(key, cell_for(suite)).open((), text) == PLAINTEXT


def test_batch_with_two_varying_fields(make_key):
    key = make_key(subject_key=True)
    sealer, opener = Sealer(key, COLUMN, ("row", "subject")), Opener(key, COLUMN, ("row", "subject"))
    text = sealer.seal((5, "u-1"), PLAINTEXT)
    assert opener.open((5, "u-1"), text) == PLAINTEXT
    assert open_text(key, COLUMN | {"row": 5, "subject": "u-1"}, text) == PLAINTEXT
    for swapped in ((5, "u-2"), (6, "u-1"), ("u-1", 5)):
        with pytest.raises(DoesNotOpen):
            opener.open(swapped, text)


def test_batch_opens_padded_and_unpadded_values_together(make_key):
    key = make_key()
    texts = [seal_text(key, CELL, PLAINTEXT, pad_step=step) for step in (0, 16, 0, 64)]
    assert Opener(key, COLUMN, ("row",)).open_many((("17",), text) for text in texts) == [PLAINTEXT] * 4


def test_one_bad_item_spoils_only_itself_when_sealing(make_key):
    items = [(("1",), b"a"), ((None,), b"b"), ((1.5,), b"c"), (("2",), bytes(MAX_FIELD_BYTES + 1)), (("3",), b"d")]
    answers = Sealer(make_key(), COLUMN, ("row",)).seal_many(items)
    assert [type(answer) for answer in answers] == [str, InvalidContext, InvalidContext, BodyTooLarge, str]


def test_one_bad_item_spoils_only_itself_when_opening(make_key):
    key = make_key()
    text = seal_text(key, CELL, PLAINTEXT)
    items = [
        (("17",), text),
        (("18",), text),
        (("17",), "alice@example.com"),
        (("17",), to_text(b"\0" * 120)),
        (("",), text),
        (("17",), text),
    ]
    answers = Opener(key, COLUMN, ("row",)).open_many(items)
    kinds = [bytes, DoesNotOpen, InvalidEnvelope, DoesNotOpen, InvalidContext, bytes]
    assert [type(answer) for answer in answers] == kinds


def test_errors_in_answers_hold_no_frames(make_key):
    """A kept traceback would keep the plaintext and the key of its frames alive, and a logger could print them."""
    key = make_key()
    text = seal_text(key, CELL, PLAINTEXT)
    [answer] = Opener(key, COLUMN, ("row",)).open_many([(("18",), text)])
    assert isinstance(answer, GuardError)
    assert answer.__traceback__ is None
    assert answer.__context__ is None
    assert "Traceback" not in "".join(traceback.format_exception(answer))


def test_an_empty_batch_is_an_empty_answer(make_key):
    key = make_key()
    assert Sealer(key, COLUMN, ("row",)).seal_many([]) == []
    assert Opener(key, COLUMN, ("row",)).open_many([]) == []


def test_a_batch_checks_its_cell_before_its_items(make_key):
    with pytest.raises(InvalidContext, match="'row' or its 'subject'"):
        Sealer(make_key(), COLUMN)
    with pytest.raises(InvalidContext, match="own tenant"):
        Sealer(make_key(), COLUMN | {"tenant": "globex"}, ("row",))
    with pytest.raises(InvalidContext, match="'tenant'"):
        Sealer(make_key(), {"table": "users", "column": "email"}, ("row",))
    with pytest.raises(InvalidContext, match="sorted order"):
        Sealer(make_key(), CELL, ("row",))
    with pytest.raises(DoesNotOpen):
        Opener(make_key(), COLUMN | {"tenant": "globex"}, ("row",))


def test_a_batch_needs_one_value_for_each_varying_field(make_key):
    sealer = Sealer(make_key(), COLUMN, ("row",))
    with pytest.raises(InternalError, match="varying"):
        sealer.seal((), PLAINTEXT)
    with pytest.raises(InternalError, match="varying"):
        sealer.seal(("1", "2"), PLAINTEXT)


def test_tenant_cannot_vary_within_a_batch(make_key):
    with pytest.raises(InvalidContext):
        Sealer(make_key(), {"table": "users", "column": "email"}, ("row", "tenant"))


def test_wiping_the_key_stops_new_work_and_never_seals_under_zeros(make_key):
    secret = Secret(b"\x07" * 32, "k")
    key = make_key(material=secret)
    sealer = Sealer(key, COLUMN, ("row",))
    secret.wipe()
    zero = make_key(key_id=key.key_id, material=Secret(bytes(32), "zero"))
    text = sealer.seal(("17",), PLAINTEXT)
    does_not_open(zero, CELL, text)
    with pytest.raises(Sealed):
        seal_text(key, CELL, PLAINTEXT)


def test_a_key_version_cannot_leave_by_pickling(make_key):
    with pytest.raises(TypeError, match=r"users\.email version 1"):
        pickle.dumps(make_key())


@given(
    st.lists(
        st.tuples(st.one_of(st.integers(-5, 5), st.text(min_size=1, max_size=3)), st.binary(max_size=20)), max_size=8
    )
)
@settings(max_examples=60)
def test_batches_open_row_by_row_and_nowhere_else(make_key, items):
    key = make_key()
    rows = [(row,) for row, _ in items if not isinstance(row, str) or row.isprintable()]
    items = [(row, plaintext) for row, (_, plaintext) in zip(rows, items, strict=False)]
    texts = Sealer(key, COLUMN, ("row",)).seal_many(items)
    opener = Opener(key, COLUMN, ("row",))
    assert opener.open_many(zip(rows, texts, strict=True)) == [plaintext for _, plaintext in items]
    for (row, _), text in zip(items, texts, strict=True):
        for other, _ in items:
            if other != row:
                with pytest.raises(DoesNotOpen):
                    opener.open(other, text)
