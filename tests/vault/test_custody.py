"""The contract of custody slots, over every module of the folder."""

import contextlib
import importlib
import pkgutil
import secrets

import pytest

from guard.errors import AlreadyExists, GuardError, RootKeyMissing, WrongRootKey
from guard.vault import custody
from guard.vault.custody import RANDOMNESS_BYTES
from guard.vault.keys import Secret
from guard.vault.wrap import check_secret, key_check_value

NAMES = sorted(module.name for module in pkgutil.iter_modules(custody.__path__))
RECORD = b'{"slot_id":"first","version":1}'
SECRET = bytes(range(64))


class Kind:
    """One module with two independent keys for it."""

    def __init__(self, name, directory, peers):
        self.name = name
        self.module = importlib.import_module(f"guard.vault.custody.{name}")
        self.options = [
            {"path": str(directory / f"custody-{variant}" / "root.key")}
            if name == "file"
            else peers.options(name, variant)
            for variant in "ab"
        ]
        self.slot = self.create(0)

    def create(self, which):
        return self.module.create(self.options[which], secrets.token_bytes(RANDOMNESS_BYTES))

    def attach(self):
        """The first slot, found again with what people were handed out."""
        shares = "\n".join(self.slot.handout[-3:])
        return self.module.attach(self.options[0] | ({"shares": shares} if shares else {}))


@pytest.fixture(params=NAMES)
def kind(request, tmp_path, custody_peers):
    return Kind(request.param, tmp_path, custody_peers)


def wrong(use):
    with pytest.raises(WrongRootKey) as caught:
        use()
    assert caught.value.detail.endswith(".")


def test_the_folder_is_not_empty():
    assert {"file", "passphrase", "slip39", "shares", "aws_kms", "pkcs11", "transit", "gcp_kms", "azure_kv"} == set(
        NAMES
    )


def test_what_was_wrapped_comes_back_as_memory_to_overwrite(kind):
    unwrapped = kind.slot.unwrap(RECORD, kind.slot.wrap(RECORD, SECRET))
    assert isinstance(unwrapped, bytearray)
    assert unwrapped == SECRET


def test_a_slot_that_is_found_again_unwraps(kind):
    wrapped = kind.slot.wrap(RECORD, SECRET)
    assert kind.attach().unwrap(RECORD, wrapped) == SECRET


def test_only_what_people_hold_is_a_secret_and_every_option_is_declared(kind):
    declared = {*kind.module.OPTIONS, *kind.module.OPTIONAL, *kind.module.SECRETS}
    assert set(kind.options[0]) <= declared
    assert len(declared) == len(kind.module.OPTIONS) + len(kind.module.OPTIONAL) + len(kind.module.SECRETS)
    assert bool(kind.module.SECRETS) == (kind.name in {"passphrase", "slip39", "shares"})


def test_shares_are_handed_out_once_and_by_their_kinds_alone(kind):
    assert len(kind.slot.handout) == (5 if "shares" in kind.module.SECRETS else 0)
    assert kind.attach().handout == ()


def test_the_wrap_does_not_show_the_secret(kind):
    wrapped = kind.slot.wrap(RECORD, SECRET)
    assert isinstance(wrapped, bytes)
    assert not any(SECRET[at : at + 8] in wrapped for at in range(len(SECRET) - 7))


def test_wrapping_twice_gives_two_wraps_that_both_open(kind):
    wraps = {kind.slot.wrap(RECORD, SECRET) for _ in range(3)}
    assert len(wraps) == 3
    assert all(kind.slot.unwrap(RECORD, wrapped) == SECRET for wrapped in wraps)


def test_another_record_is_noticed(kind):
    wrapped = kind.slot.wrap(RECORD, SECRET)
    for record in (b"{}", RECORD + b" ", RECORD.replace(b"1}", b"2}"), RECORD.replace(b"first", b"other")):
        wrong(lambda record=record: kind.slot.unwrap(record, wrapped))


def test_another_slot_is_noticed(kind):
    wrapped = kind.slot.wrap(RECORD, SECRET)
    other = kind.create(1)
    wrong(lambda: other.unwrap(RECORD, wrapped))
    wrong(lambda: kind.slot.unwrap(RECORD, other.wrap(RECORD, SECRET)))


def test_changed_bytes_are_noticed(kind):
    wrapped = kind.slot.wrap(RECORD, SECRET)
    for at in sorted({0, 1, 5, 16, 17, 24, 40, 60, len(wrapped) - 17, len(wrapped) - 1}):
        changed = bytearray(wrapped)
        changed[at] ^= 0x10
        wrong(lambda changed=bytes(changed): kind.slot.unwrap(RECORD, changed))


def test_other_lengths_are_noticed(kind):
    wrapped = kind.slot.wrap(RECORD, SECRET)
    for changed in (b"", wrapped[:1], wrapped[:16], wrapped[:-1], wrapped[1:], wrapped + b"\0", bytes(200)):
        wrong(lambda changed=changed: kind.slot.unwrap(RECORD, changed))


def test_errors_hold_no_secret(kind):
    wrapped = kind.slot.wrap(RECORD, SECRET)
    with pytest.raises(WrongRootKey) as caught:
        kind.slot.unwrap(b"{}", wrapped)
    shown = f"{caught.value!r} {caught.value.detail} {caught.value.hint} {caught.value.extra} {kind.slot!r}"
    assert "horse" not in shown
    assert not any(part in shown for part in (SECRET.hex()[:16], wrapped.hex()[:16]))


def test_attaching_to_nothing_says_what_is_missing(kind):
    absent = dict.fromkeys((*kind.module.OPTIONS, *kind.module.SECRETS), "")
    with pytest.raises(RootKeyMissing) as caught:
        kind.module.attach(absent)
    assert caught.value.detail.endswith(".")


def test_creating_twice_never_loses_the_first(kind):
    wrapped = kind.slot.wrap(RECORD, SECRET)
    with contextlib.suppress(AlreadyExists):
        kind.create(0)
    assert kind.attach().unwrap(RECORD, wrapped) == SECRET


def test_too_little_randomness_makes_no_slot(kind):
    with pytest.raises(GuardError, match="randomness; 8 came"):
        kind.module.create(kind.options[1], bytes(8))


def test_the_secret_passes_its_key_check(kind):
    expected = key_check_value(SECRET, "first", 1)
    secret = Secret(kind.slot.unwrap(RECORD, kind.slot.wrap(RECORD, SECRET)), "seal secret version 1")
    check_secret(secret.expose(), "first", 1, expected)
    secret.wipe()
