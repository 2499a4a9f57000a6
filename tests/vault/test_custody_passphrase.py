"""The passphrase slot: its key derivation, its stored form, and what counts as the same passphrase."""

import pytest
from argon2.low_level import Type, hash_secret_raw
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from guard.errors import InternalError, InvalidInput, RootKeyMissing, WrongRootKey
from guard.vault.custody import passphrase
from guard.vault.suites import CBL256

SALT = bytes(range(16))
PHRASE = "correct horse battery staple"
RECORD = b"record"


@pytest.fixture(scope="module")
def wrapped():
    return create().wrap(RECORD, b"secret")


def create(phrase=PHRASE, salt=SALT):
    return passphrase.create({"passphrase": phrase}, salt)


def attach(phrase=PHRASE):
    return passphrase.attach({"passphrase": phrase})


def derived(phrase, salt):
    """The same derivation by another implementation."""
    return hash_secret_raw(phrase, salt, time_cost=3, memory_cost=65536, parallelism=4, hash_len=32, type=Type.ID)


def test_argon2id_of_rfc_9106_section_5_3():
    kdf = Argon2id(
        salt=b"\x02" * 16, length=32, iterations=3, lanes=4, memory_cost=32, ad=b"\x04" * 12, secret=b"\x03" * 8
    )
    assert kdf.derive(b"\x01" * 32).hex() == "0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659"


def test_the_stored_form_can_be_opened_by_hand(wrapped):
    assert wrapped[:17] == b"\x01" + SALT
    assert CBL256.open(derived(PHRASE.encode(), SALT), RECORD, wrapped[17:]) == b"secret"
    assert len(wrapped) == len(b"secret") + 89


def test_a_stored_form_made_by_hand_opens():
    wrapped = b"\x01" + SALT + CBL256.seal(derived(PHRASE.encode(), SALT), RECORD, b"secret")
    assert attach().unwrap(RECORD, wrapped) == b"secret"


@pytest.mark.parametrize("phrase", ["Correct horse battery staple", PHRASE + " ", PHRASE[:-1], "", "x" * 20])
def test_another_passphrase_is_noticed(wrapped, phrase):
    with pytest.raises((WrongRootKey, RootKeyMissing)):
        attach(phrase).unwrap(RECORD, wrapped)


def test_one_wrap_does_not_open_under_two_passphrases(wrapped):
    """The suite commits to its key; parts of two wraps for one salt do not join into one for both."""
    other = create("another long passphrase").wrap(RECORD, b"secret")
    for cut in (17, 17 + 24, 17 + 24 + 32):
        mixed = wrapped[:cut] + other[cut:]
        for slot in (attach(), attach("another long passphrase")):
            if mixed not in {wrapped, other}:
                with pytest.raises(WrongRootKey):
                    slot.unwrap(RECORD, mixed)


def test_the_same_letters_in_two_unicode_forms_are_one_passphrase():
    wrapped = create("cafe\u0301 cafe\u0301 cafe\u0301").wrap(RECORD, b"secret")
    assert attach("café café café").unwrap(RECORD, wrapped) == b"secret"


def test_letters_that_only_look_alike_are_not_folded():
    wrapped = create("ﬁne ﬁne ﬁne ﬁne").wrap(RECORD, b"secret")
    with pytest.raises(WrongRootKey):
        attach("fine fine fine fine").unwrap(RECORD, wrapped)


@pytest.mark.parametrize("phrase", ["", "short", "elevenchars"])
def test_a_new_passphrase_has_a_least_length(phrase):
    with pytest.raises(InvalidInput, match="at least 12 characters"):
        create(phrase)


def test_an_old_short_passphrase_still_opens():
    """The least length is asked for when a passphrase is set; a rule made later must not lock anybody out."""
    wrapped = b"\x01" + SALT + CBL256.seal(derived(b"short", SALT), RECORD, b"secret")
    assert attach("short").unwrap(RECORD, wrapped) == b"secret"


@pytest.mark.parametrize("use", [create, attach])
@pytest.mark.parametrize(
    ("phrase", "message"), [("x" * 1025, "at most 1024 bytes; 1025"), ("twelve \ud800 characters", "lone surrogate")]
)
def test_passphrases_that_are_refused(use, phrase, message):
    with pytest.raises(InvalidInput, match=message) as caught:
        use(phrase)
    assert "twelve" not in str(caught.value)


@pytest.mark.parametrize("options", [{}, {"passphrase": ""}])
def test_no_passphrase(options):
    with pytest.raises(RootKeyMissing, match="none was given"):
        passphrase.attach(options)


def test_a_slot_that_was_found_again_has_no_salt_to_wrap_with():
    with pytest.raises(InternalError, match="salt of 16 bytes"):
        attach().wrap(RECORD, b"secret")


@pytest.mark.parametrize("head", [b"\x00", b"\x02", b"\xff"])
def test_a_form_of_a_later_version_is_not_guessed_at(wrapped, head):
    with pytest.raises(WrongRootKey, match="a form that is known"):
        attach().unwrap(RECORD, head + wrapped[1:])


@pytest.mark.parametrize("size", [0, 1, 16, 17])
def test_a_cut_wrap_costs_no_derivation(wrapped, size):
    with pytest.raises(WrongRootKey, match="a form that is known"):
        attach().unwrap(RECORD, wrapped[:size])


def test_a_slot_does_not_show_its_passphrase():
    slot = create()
    assert "horse" not in f"{slot!r} {slot._passphrase!r}"
