"""Secrets that do not slip out, and keyrings that answer for one tenant."""

import copy
import dataclasses
import json
import logging
import pickle
import traceback

import pytest

from guard.errors import InvalidEnvelope, KeyStateConflict, NotFound, Sealed, StoreDamaged
from guard.vault.envelope import SuiteId
from guard.vault.keys import IndexKey, Keyring, KeyVersion, Secret
from guard.vault.versions import State

RAW = bytes.fromhex("c0ffee") * 11
ONE_ID, OTHER_ID = b"11111111", b"22222222"


def shown_forms(secret):
    yield from (repr(secret), str(secret), f"{secret}", f"{secret!r}", "%s" % secret)  # noqa: UP031  # loggers use this form
    yield repr([secret])
    yield repr({"key": secret})
    yield "".join(traceback.format_exception(ValueError(secret)))


def test_a_secret_shows_its_label_only():
    secret = Secret(RAW, "users.email version 3")
    for shown in shown_forms(secret):
        assert "users.email version 3" in shown
        assert "c0ffee" not in shown
        assert repr(RAW)[2:10] not in shown


def test_a_secret_is_not_logged_or_serialised(caplog):
    secret = Secret(RAW, "k")
    with caplog.at_level(logging.INFO):
        logging.getLogger("test").info("key %s %r", secret, {"a": secret})
    assert "c0ffee" not in caplog.text
    assert r"\xc0" not in caplog.text
    with pytest.raises(TypeError):
        json.dumps(secret)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_secret_refuses_pickling(protocol):
    with pytest.raises(TypeError, match="not pickled or copied"):
        pickle.dumps(Secret(RAW, "k"), protocol)


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
def test_a_secret_refuses_copying(duplicate):
    with pytest.raises(TypeError, match="not pickled or copied"):
        duplicate(Secret(RAW, "k"))


def test_a_secret_has_no_hash_no_bytes_and_no_attributes():
    secret = Secret(RAW, "k")
    with pytest.raises(TypeError):
        hash(secret)
    with pytest.raises(TypeError):
        bytes(secret)
    with pytest.raises(TypeError):
        list(secret)
    assert not hasattr(secret, "__dict__")


def test_secrets_compare_by_their_bytes():
    assert Secret(RAW, "a") == Secret(bytearray(RAW), "b")
    assert Secret(RAW, "a") != Secret(RAW[:-1] + b"\0", "a")
    assert Secret(RAW, "a") != Secret(RAW[:-1], "a")
    assert Secret(RAW, "a") != RAW
    assert len(Secret(RAW, "a")) == len(RAW)


def test_exposing_gives_the_key_and_not_its_memory():
    memory = bytearray(RAW)
    secret = Secret(memory, "k")
    assert secret.expose() == RAW
    assert isinstance(secret.expose(), bytes)


def test_wiping_overwrites_the_memory_that_was_handed_over():
    memory = bytearray(RAW)
    secret = Secret(memory, "k")
    secret.wipe()
    assert memory == bytes(len(RAW))
    with pytest.raises(Sealed, match="<Secret k> was wiped"):
        secret.expose()


def test_a_key_version_shows_no_material(make_key):
    key = make_key(SuiteId.SIV, material=Secret(RAW[:32] * 2, "users.email version 1"))
    assert RAW[:32].hex() not in repr(key)
    assert repr(RAW[:32])[2:-1] not in repr(key)  # whole: the key id is random, and may share a byte with the material
    assert "<Secret users.email version 1>" in repr(key)


def test_a_key_version_is_equal_by_its_place(make_key):
    key = make_key()
    again = dataclasses.replace(key, material=Secret(bytes(32), "k"))
    assert key == again
    assert hash(key) == hash(again)
    assert key != dataclasses.replace(key, version=2)
    assert key != dataclasses.replace(key, state=State.RETIRED)


def test_a_key_version_is_frozen_and_refuses_copies_of_its_key(make_key):
    key = make_key()
    with pytest.raises(dataclasses.FrozenInstanceError):
        key.state = State.ACTIVE
    with pytest.raises(TypeError):
        copy.deepcopy(key)
    with pytest.raises(TypeError):
        dataclasses.asdict(key)


def test_a_key_version_has_its_header():
    key = KeyVersion(ONE_ID, "k", "acme", 7, State.ACTIVE, SuiteId.SIV, Secret(bytes(64), "k"), subject_key=True)
    assert key.header == b"\x47\x01\x03\x01" + ONE_ID + b"\0\0\0\x07"
    assert key.label == "k version 7"


@pytest.mark.parametrize("parts", [{"key_id": b"short"}, {"version": -1}, {"version": 2**32}])
def test_a_key_version_that_no_header_can_name_is_refused(parts, make_key):
    with pytest.raises(InvalidEnvelope):
        make_key(**parts)


# Keyring


def versions_of(make_key, *states, **parts):
    return [
        make_key(key_id=ONE_ID, version=number, state=state, **parts) for number, state in enumerate(states, start=1)
    ]


@pytest.mark.parametrize(
    ("states", "newest"),
    [
        ([State.ACTIVE], 1),
        ([State.DECRYPT_ONLY, State.ACTIVE], 2),
        ([State.ACTIVE, State.ACTIVE], 2),
        ([State.ACTIVE, State.PRE_ACTIVE], 1),
        ([State.RETIRED, State.DECRYPT_ONLY, State.ACTIVE, State.PRE_ACTIVE], 3),
    ],
)
def test_active_is_the_newest_active_version(states, newest, make_key):
    versions = versions_of(make_key, *states)
    for order in (versions, versions[::-1]):
        assert Keyring(order).active("acme", "users.email").version == newest


@pytest.mark.parametrize("state", [state for state in State if state is not State.ACTIVE])
def test_without_an_active_version_nothing_seals(state, make_key):
    with pytest.raises(KeyStateConflict, match=r"users\.email may encrypt"):
        Keyring(versions_of(make_key, state)).active("acme", "users.email")


def test_a_compromised_version_does_not_seal(make_key):
    sound, compromised = make_key(key_id=ONE_ID), make_key(key_id=ONE_ID, version=2, compromised=True)
    assert Keyring([sound, compromised]).active("acme", "users.email") is sound
    with pytest.raises(KeyStateConflict):
        Keyring([compromised]).active("acme", "users.email")


def test_an_unknown_name_is_not_found(make_key):
    ring = Keyring([make_key()])
    for tenant, name in [("acme", "users.phone"), ("globex", "users.email"), ("", "users.email")]:
        with pytest.raises(NotFound, match=f"no key named {name}"):
            ring.active(tenant, name)
    with pytest.raises(NotFound):
        Keyring().active("acme", "users.email")


def test_find_gives_exactly_the_version_that_a_header_names(make_key):
    versions = versions_of(make_key, State.RETIRED, State.ACTIVE)
    ring = Keyring(versions)
    assert ring.find("acme", ONE_ID, 1) is versions[0]
    assert ring.find("acme", ONE_ID, 2) is versions[1]
    for key_id, version in [(ONE_ID, 3), (OTHER_ID, 1), (b"", 1), (ONE_ID[:7], 1)]:
        with pytest.raises(NotFound):
            ring.find("acme", key_id, version)


def test_find_never_answers_for_another_tenant(make_key):
    ours, theirs = make_key(key_id=ONE_ID), make_key(key_id=OTHER_ID, tenant="globex")
    ring = Keyring([ours, theirs])
    assert ring.find("globex", OTHER_ID, 1) is theirs
    with pytest.raises(NotFound) as foreign:
        ring.find("acme", OTHER_ID, 1)
    with pytest.raises(NotFound) as absent:
        Keyring([ours]).find("acme", OTHER_ID, 1)
    assert str(foreign.value) == str(absent.value)


def test_two_tenants_may_use_one_name(make_key):
    ours, theirs = make_key(), make_key(tenant="globex")
    ring = Keyring([ours, theirs])
    assert ring.active("acme", "users.email") is ours
    assert ring.active("globex", "users.email") is theirs
    assert len(ring) == 2
    assert set(ring) == {ours, theirs}


def test_a_version_that_stands_twice_is_damage(make_key):
    with pytest.raises(StoreDamaged, match="twice"):
        Keyring([make_key(key_id=ONE_ID), make_key(key_id=ONE_ID)])


def test_one_id_with_two_names_is_damage(make_key):
    with pytest.raises(StoreDamaged, match="two names"):
        Keyring([make_key(key_id=ONE_ID), make_key(key_id=ONE_ID, name="users.phone", version=2)])


def test_replace_gives_a_new_snapshot_and_leaves_the_old(make_key):
    old = make_key(key_id=ONE_ID)
    before = Keyring([old, make_key(tenant="globex", key_id=OTHER_ID)])
    new = make_key(key_id=ONE_ID, version=2)
    after = before.replace([new, dataclasses.replace(old, state=State.DECRYPT_ONLY)])
    assert before.active("acme", "users.email") is old
    assert after.active("acme", "users.email") is new
    assert after.find("acme", ONE_ID, 1).state is State.DECRYPT_ONLY
    assert after.find("globex", OTHER_ID, 1) is before.find("globex", OTHER_ID, 1)
    assert (len(before), len(after)) == (2, 3)


def test_replace_can_take_versions_away(make_key):
    one, two = versions_of(make_key, State.ACTIVE, State.ACTIVE)
    after = Keyring([one, two]).replace(without=[two])
    assert after.active("acme", "users.email") is one
    with pytest.raises(NotFound):
        after.find("acme", ONE_ID, 2)
    assert len(after.replace(without=[one])) == 0
    assert len(after.replace(without=[two])) == 1


def test_replace_with_nothing_changes_nothing(make_key):
    ring = Keyring([make_key()], [index_key(1)])
    again = ring.replace()
    assert list(again) == list(ring)
    assert again.index_keys("acme", "users.email.exact") == ring.index_keys("acme", "users.email.exact")


def test_replace_checks_as_building_does(make_key):
    ring = Keyring([make_key(key_id=ONE_ID)])
    with pytest.raises(StoreDamaged, match="two names"):
        ring.replace([make_key(key_id=ONE_ID, name="users.phone", version=2)])


# Index keys


def index_key(version, **parts):
    given = {"tenant": "acme", "index": "users.email.exact", "material": Secret(bytes([version]) * 32, "i")} | parts
    return IndexKey(version=version, **given)


def test_index_keys_come_newest_first():
    ring = Keyring(index_keys=[index_key(2), index_key(3), index_key(1)])
    assert [one.version for one in ring.index_keys("acme", "users.email.exact")] == [3, 2, 1]


def test_index_keys_that_are_not_live_are_left_out():
    ring = Keyring(index_keys=[index_key(1, live=False), index_key(2)])
    assert [one.version for one in ring.index_keys("acme", "users.email.exact")] == [2]
    with pytest.raises(NotFound):
        Keyring(index_keys=[index_key(1, live=False)]).index_keys("acme", "users.email.exact")


def test_index_keys_belong_to_one_tenant_and_one_index():
    ring = Keyring(index_keys=[index_key(1), index_key(1, tenant="globex"), index_key(1, index="users.phone.exact")])
    assert [one.tenant for one in ring.index_keys("acme", "users.email.exact")] == ["acme"]
    for tenant, index in [
        ("acme", "users.name.exact"),
        ("globex", "users.phone.exact"),
        ("initech", "users.email.exact"),
    ]:
        with pytest.raises(NotFound, match=f"index {index}"):
            ring.index_keys(tenant, index)


def test_an_index_key_that_stands_twice_is_damage():
    with pytest.raises(StoreDamaged, match="two kinds of tokens"):
        Keyring(index_keys=[index_key(1), index_key(1, live=False)])


def test_replace_rotates_index_keys(make_key):
    before = Keyring([make_key()], [index_key(1)])
    during = before.replace(index_keys=[index_key(2)])
    after = during.replace(index_keys=[index_key(1, live=False)])
    assert [
        [one.version for one in ring.index_keys("acme", "users.email.exact")] for ring in (before, during, after)
    ] == [
        [1],
        [2, 1],
        [2],
    ]
    assert len(after) == 1


def test_an_index_key_shows_no_material():
    assert r"\x01" not in repr(index_key(1))
