"""The key hierarchy on disk: what survives a restart, and what a wrong root key or a moved wrap leads to."""

import shutil
import sqlite3
import stat
from contextlib import closing

import pytest

from guard.catalogue import PLATFORM
from guard.errors import (
    DoesNotOpen,
    GuardError,
    KeyStateConflict,
    NotFound,
    RootKeyMissing,
    StoreDamaged,
    StoreLocked,
    WrongRootKey,
)
from tests.vault.shop import EMAIL, ORDERS, PHONE, Shop, bare, dump, policies_with, world
from tests.world import World


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A home directory in which two tenants have rotated a key."""
    home = tmp_path_factory.mktemp("prepared") / "home"
    with world(home) as made:
        for tenant in ("acme", "globex"):
            Shop(made, tenant).rotate()
    return home


@pytest.fixture
def home(prepared, tmp_path):
    """A copy of it, to be changed."""
    return shutil.copytree(prepared, tmp_path / "home")


def change(home, statement, *values):
    """One statement on guard's own database, as somebody with the file would run it."""
    with closing(sqlite3.connect(home / "guard.db")) as db, db:
        return db.execute(statement, values).rowcount


def refused(home, error):
    """Starting on *home* raises *error*; its sentence."""
    with pytest.raises(error) as raised:
        World(home, **bare(home.parent))
    return raised.value.detail


def test_values_sealed_before_a_restart_open_after_it(tmp_path):
    with world(tmp_path / "home") as made:
        shop = Shop(made)
        sealed = {1: shop.seal("ana@example.org")[0]}
        for version in (2, 3):
            assert shop.rotate() == version
            sealed[version] = shop.seal("ana@example.org")[0]
    for _ in range(2):
        with world(tmp_path / "home") as made:
            shop = Shop(made)
            assert {version: shop.open(text) for version, text in sealed.items()} == dict.fromkeys(
                sealed, "ana@example.org"
            )
            fresh = shop.call("storing", "fields.encrypt", items=[{**_item(), "plaintext": "YQ=="}])["results"][0]
            assert fresh["key_version"] == 3


def _item():
    return {"field": EMAIL, "context": {"row": "1"}}


def test_tokens_index_tokens_and_the_checkpoint_key_survive_a_restart(tmp_path):
    ask = {"purpose": "support", "items": [{"field": EMAIL, "index": "exact", "value": "Ana@Example.org"}]}
    with world(tmp_path / "home") as made:
        token = made.token("acme", "user:local|ben", "role:support")
        before = made.call("indexes.compute", made.gate.identify(f"Bearer {token}", "here"), **ask)
        vkey = made.guard.log.verifier.encode()
    with world(tmp_path / "home") as made:
        assert made.call("indexes.compute", made.gate.identify(f"Bearer {token}", "here"), **ask) == before
        assert made.guard.log.verifier.encode() == vkey


def test_the_root_key_file_is_private_and_written_before_the_store(tmp_path):
    with world(tmp_path / "home"):
        key = tmp_path / "home" / "root.key"
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        assert stat.S_IMODE((tmp_path / "home" / "guard.db").stat().st_mode) == 0o600
        assert stat.S_IMODE(key.parent.stat().st_mode) == 0o700


def test_no_key_stands_in_clear_in_the_database(tmp_path):
    with world(tmp_path / "home") as made:
        Shop(made)
        vault = next(part for kind, part in made.gate._doors.parts.items() if kind.__name__ == "Vault")
        material = [version.material.expose() for version in vault.keyring]
        root = bytes.fromhex((made.home / "root.key").read_text())
    raw = b"".join(path.read_bytes() for path in (tmp_path / "home").glob("guard.db*"))
    assert len(material) == 4
    assert not [secret for secret in [root, *material] if secret in raw or secret.hex().encode() in raw]


def test_the_root_key_of_another_store_is_refused_in_one_sentence_and_nothing_changes(home, tmp_path):
    before = dump(home / "guard.db")
    own = (home / "root.key").read_text()
    with world(tmp_path / "other"):
        pass
    (home / "root.key").write_text((tmp_path / "other" / "root.key").read_text())
    sentence = refused(home, WrongRootKey)
    assert sentence.count(".") - sentence.count(".key") == 1
    assert sentence.endswith(".")
    assert str(home / "root.key") in sentence
    assert dump(home / "guard.db") == before
    (home / "root.key").write_text(own)
    with world(home) as made:
        assert Shop(made).open(Shop(made).seal("ana")[0]) == "ana"


def test_a_store_whose_root_key_is_gone_does_not_start_and_gets_no_new_key(home):
    before = dump(home / "guard.db")
    (home / "root.key").rename(home / "kept.key")
    assert "root.key" in refused(home, RootKeyMissing)
    assert not (home / "root.key").exists()
    assert dump(home / "guard.db") == before
    (home / "kept.key").rename(home / "root.key")
    with world(home):
        pass


@pytest.mark.parametrize(
    "content", ["", "00" * 32, "not a key\n", "0" * 63 + "\n"], ids=["empty", "zeros", "words", "short"]
)
def test_other_contents_of_the_root_key_file_are_refused(home, content):
    (home / "root.key").write_text(content)
    error = WrongRootKey if content == "00" * 32 else RootKeyMissing
    assert content.strip() not in refused(home, error) or not content


def test_a_root_key_that_others_may_read_is_refused(home):
    (home / "root.key").chmod(0o644)
    assert "0644" in refused(home, RootKeyMissing)


def test_a_second_process_on_the_same_home_is_refused(tmp_path):
    with world(tmp_path / "home"):
        refused(tmp_path / "home", StoreLocked)
    with world(tmp_path / "home"):
        pass


def test_a_refused_start_leaves_the_home_free_for_the_next(home):
    change(home, "UPDATE tenant_keks SET wrapped = zeroblob(80)")
    refused(home, DoesNotOpen)
    refused(home, DoesNotOpen)


MOVED = {
    "a KEK of another tenant": (
        "UPDATE tenant_keks SET wrapped = (SELECT wrapped FROM tenant_keks WHERE tenant = 'globex') WHERE tenant = 'acme'"
    ),
    "a KEK under another id": "UPDATE tenant_keks SET key_id = x'0102030405060708' WHERE tenant = 'acme'",
    "a version of another tenant": (
        "UPDATE key_versions SET wrapped = (SELECT wrapped FROM key_versions WHERE tenant = 'globex' "
        f"AND name = '{EMAIL}' AND version = 1) WHERE tenant = 'acme' AND name = '{EMAIL}' AND version = 1"
    ),
    "a version of another key": (
        "UPDATE key_versions SET wrapped = (SELECT wrapped FROM key_versions WHERE tenant = 'acme' "
        f"AND name = '{PHONE}') WHERE tenant = 'acme' AND name = '{EMAIL}' AND version = 1"
    ),
    "an older version in place of the newer": (
        "UPDATE key_versions SET wrapped = (SELECT wrapped FROM key_versions WHERE tenant = 'acme' "
        f"AND name = '{EMAIL}' AND version = 1) WHERE tenant = 'acme' AND name = '{EMAIL}' AND version = 2"
    ),
    "a version with another number": f"UPDATE key_versions SET version = 9 WHERE tenant = 'acme' AND name = '{PHONE}'",
    "a version under another suite": (
        f"UPDATE key_versions SET suite = 'siv' WHERE tenant = 'acme' AND name = '{PHONE}'"
    ),
    "an index key of another tenant": (
        "UPDATE index_keys SET wrapped = (SELECT wrapped FROM index_keys WHERE tenant = 'globex' "
        "AND name = 'customers.email.exact') WHERE tenant = 'acme' AND name = 'customers.email.exact'"
    ),
    "an index key under another name": (
        "UPDATE index_keys SET wrapped = (SELECT wrapped FROM index_keys WHERE tenant = 'acme' "
        "AND name = 'customers.identity_number.unique') WHERE tenant = 'acme' AND name = 'customers.email.exact'"
    ),
    "one system secret as the other": (
        "UPDATE secrets SET wrapped = (SELECT wrapped FROM secrets WHERE name = 'token_pepper') "
        "WHERE name = 'checkpoint_key'"
    ),
}


@pytest.mark.parametrize("statement", MOVED.values(), ids=MOVED)
def test_a_wrap_that_was_moved_does_not_open(home, statement):
    assert change(home, statement) == 1
    refused(home, DoesNotOpen)


def test_one_flipped_bit_in_any_wrap_is_found_at_the_start(home):
    for table in ("tenant_keks", "key_versions", "index_keys", "secrets"):
        with closing(sqlite3.connect(home / "guard.db")) as db, db:
            row, wrapped = db.execute(f"SELECT rowid, wrapped FROM {table} LIMIT 1").fetchone()
            flipped = wrapped[:-1] + bytes([wrapped[-1] ^ 1])
            db.execute(f"UPDATE {table} SET wrapped = ? WHERE rowid = ?", (flipped, row))
        refused(home, DoesNotOpen)
        change(home, f"UPDATE {table} SET wrapped = ? WHERE rowid = ?", wrapped, row)
    with world(home):
        pass


def test_a_missing_kek_is_named_with_its_tenant(home):
    assert change(home, "DELETE FROM tenant_keks WHERE tenant = 'acme'") == 1
    sentence = refused(home, StoreDamaged)
    assert "acme" in sentence
    assert "restore" in sentence


def test_a_changed_check_value_of_the_slot_is_a_wrong_root_key(home):
    assert change(home, "UPDATE seal_slots SET check_value = zeroblob(16)") == 1
    refused(home, WrongRootKey)


def test_keys_are_listed_by_name_with_their_versions_newest_first(tmp_path):
    with world(tmp_path / "home") as made:
        shop, other = Shop(made), Shop(made, "globex")
        shop.rotate()
        listed = shop.call("keys", "keys.list").data
        assert [key.key for key in listed] == [
            EMAIL,
            "customers.identity_number",
            "customers.identity_number.ingest",
            PHONE,
        ]
        assert [(one.version, one.state) for one in listed[0].versions] == [(2, "active"), (1, "decrypt_only")]
        assert shop.call("keys", "keys.read", key=EMAIL) == listed[0]
        ids = {one.key_id for key in listed for one in key.versions}
        others = {one.key_id for key in other.call("keys", "keys.list").data for one in key.versions}
        assert len(ids) == 5
        assert not ids & others


@pytest.mark.parametrize("name", ["keys.read", "keys.rotate"])
def test_a_key_that_the_tenant_does_not_have_is_not_found(tmp_path, name):
    with world(tmp_path / "home") as made, pytest.raises(NotFound):
        Shop(made).call("keys", name, key="customers.shoe_size")


def test_the_platform_has_no_keys_of_its_own(tmp_path):
    with world(tmp_path / "home") as made:
        admin = made.hire(PLATFORM, "user:local|root", "role:key-admin")
        assert made.call("keys.list", admin).data == []


def test_a_key_with_no_active_version_seals_nothing_and_says_so(home):
    change(home, "UPDATE key_versions SET state = 'decrypt_only' WHERE tenant = 'acme' AND name = ?", EMAIL)
    with world(home) as made:
        shop = Shop(made)
        with pytest.raises(KeyStateConflict) as raised:
            shop.seal("ana")
        assert "Rotate" in raised.value.hint
        shop.rotate()
        assert shop.open(shop.seal("ana")[0]) == "ana"


def test_a_tenant_made_again_is_refused_and_keeps_its_keys(tmp_path):
    with world(tmp_path / "home") as made:
        shop = Shop(made)
        sealed = shop.seal("ana")[0]
        root = made.hire(PLATFORM, "user:local|root", "role:platform-admin")
        with pytest.raises(GuardError):
            made.call("tenants.create", root, tenant="acme", title="again")
        assert shop.open(sealed) == "ana"


def test_a_field_that_is_declared_later_gets_its_keys_at_the_next_start(tmp_path):
    with world(tmp_path / "home") as made:
        Shop(made)
        Shop(made, "globex")
    note = [{"field": "orders.note", "context": {"subject": "u-1"}, "plaintext": "YQ=="}]
    policies = policies_with(tmp_path, "orders.yaml", ORDERS)
    for _ in range(2):
        with world(tmp_path / "home", policies=policies) as made:
            for tenant in ("acme", "globex"):
                shop = Shop(made, tenant)
                assert shop.call("storing", "fields.encrypt", items=note)["results"][0]["key_version"] == 1
                assert len(shop.call("keys", "keys.list").data) == 7
    with world(tmp_path / "home") as made:
        assert len(made.records("acme", action="keyrings.create")) == 2
