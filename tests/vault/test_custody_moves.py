"""Custody moves between SoftHSM2, a KMS, OpenBao and a passphrase; values stay, outages and wrong bytes are named."""

import json
import os
import sqlite3

import pytest

from guard.app import build
from guard.catalogue import PLATFORM
from guard.errors import NotUnsealed, Sealed, WrongRootKey
from guard.settings import Settings
from guard.vault import slots
from guard.vault.starting import opening
from guard.vault.wrap import key_check_value
from guard.wire.custody import UnsealService
from tests.vault.shop import EMAIL, Shop, b64, bare, item, shown
from tests.world import World

VALUES = 10_000
BATCH = 500
PHRASE = "correct horse battery staple a"
ORDER = ("pkcs11", "aws_kms", "transit", "passphrase")


def admins(made):
    return [made.hire(PLATFORM, f"user:local|{name}", "role:platform-admin") for name in ("eve", "bob")]


def move(made, plugin, options, old):
    """Two persons put a slot of this kind in the place of *old*; its name."""
    eve, bob = admins(made)
    secrets = {name: options.pop(name) for name in list(options) if name == "passphrase"}
    asked = made.call("custody.move", eve, slot=old, plugin=plugin, options=options, secrets=secrets)
    made.call("custody.approve", bob, slot=asked.slot)
    assert [one.plugin for one in made.call("custody.status", eve).slots] == [plugin]
    return asked.slot


def again(home, folder, opened=None):
    """The same home in a new process's place."""
    made = World.__new__(World)
    World.__init__(made, home, **bare(folder)) if opened is None else reopen(made, home, folder, opened)
    return made


def reopen(made, home, folder, opened):
    import itertools

    from tests.world import Clock

    made.clock, made.home, made._numbers = Clock(), home, itertools.count(1)
    made.guard = build(Settings(home=home, **bare(folder)), clock=made.clock, opened=opened)
    made.gate = made.guard.gate


def shop_of(made):
    return Shop(made)


def check(made, sealed, values):
    """Every value opens, in batches."""
    shop = shop_of(made)
    for at in range(0, len(sealed), BATCH):
        items = [item(EMAIL, str(at + n), ciphertext=one) for n, one in enumerate(sealed[at : at + BATCH])]
        found = shop.call("billing", "fields.decrypt", purpose="billing", items=items)["results"]
        assert [shown(one) for one in found] == values[at : at + BATCH]


def below_the_seal(home):
    """Every wrap under the seal secret, and what guard holds of data keys."""
    with sqlite3.connect(home / "guard.db") as database:
        return [
            database.execute(query).fetchall()
            for query in (
                "SELECT tenant, version, wrapped FROM tenant_keks ORDER BY 1, 2",
                "SELECT key_id, wrapped FROM key_versions ORDER BY 1",
                "SELECT tenant, name, version, wrapped FROM index_keys ORDER BY 1, 2, 3",
            )
        ]


def test_custody_moves_through_four_holders_and_every_value_opens(tmp_path, custody_peers):
    home = tmp_path / "home"
    made = again(home, tmp_path)
    shop = shop_of(made)
    values = [f"person{number}@example.com" for number in range(VALUES)]
    sealed = []
    for at in range(0, VALUES, BATCH):
        items = [item(EMAIL, str(at + n), plaintext=b64(one)) for n, one in enumerate(values[at : at + BATCH])]
        sealed += [one["ciphertext"] for one in shop.call("storing", "fields.encrypt", items=items)["results"]]
    before, slot, opened = below_the_seal(home), "file-1", None
    secret = made.guard.custodian.seal.expose()
    (home / "root.key").rename(tmp_path / "kept.key")
    for plugin in ORDER:
        slot = move(made, plugin, custody_peers.options(plugin), slot)
        made.close()
        if plugin == "passphrase":
            way = opening(Settings(home=home))
            way.offer(UnsealService(secrets={"passphrase": PHRASE}))
            opened = way.opened
        made = again(home, tmp_path, opened)
        assert made.guard.custodian.seal.expose() == secret
        check(made, sealed, values)
        assert below_the_seal(home) == before
    made.close()


def test_no_key_byte_is_in_the_database_its_wal_or_any_file_of_the_home(tmp_path, custody_peers):
    home = tmp_path / "home"
    made = again(home, tmp_path)
    eve, bob = admins(made)
    keys = {}
    shares = []
    for plugin in ("passphrase", "shares", "slip39", "aws_kms"):
        options = custody_peers.options(plugin)
        secrets = {name: options.pop(name) for name in list(options) if name == "passphrase"}
        asked = made.call("custody.add", eve, plugin=plugin, options=options, secrets=secrets)
        shares += asked.shares
        made.call("custody.approve", bob, slot=asked.slot)
    shop = shop_of(made)
    shop.seal("ana@example.com")
    keys["seal"] = made.guard.custodian.seal.expose()
    for one in made.guard.custodian.vault.keyring:
        keys[one.label + one.tenant] = one.material.expose()
    assert len(keys) > 3
    given = [PHRASE.encode(), *(one.encode() for one in shares)]
    found = [path for path in home.rglob("*") if path.is_file() and path.name != "root.key"]
    assert any(path.name == "guard.db-wal" and path.stat().st_size for path in found)
    for path in found:
        content = path.read_bytes()
        for name, key in keys.items():
            parts = (key, key[:16], key[-16:])
            assert not any(part in content or part.hex().encode() in content for part in parts), (path, name)
        assert not any(one in content for one in given), path
    root = bytes.fromhex((home / "root.key").read_text().strip())
    assert not any(root in path.read_bytes() for path in found)
    made.close()


def test_a_kms_that_gives_other_bytes_is_named_by_the_key_check_value(tmp_path, custody_peers):
    """The ciphertext is valid under the KMS key and the slot's own context; only what it holds is another secret."""
    home = tmp_path / "home"
    made = again(home, tmp_path)
    options = custody_peers.options("aws_kms")
    slot = move(made, "aws_kms", dict(options), "file-1")
    made.close()
    with sqlite3.connect(home / "guard.db") as database:
        (record,) = database.execute("SELECT record FROM seal_slots").fetchone()
        holder = slots.kind("aws_kms").attach(options)
        database.execute("UPDATE seal_slots SET wrapped = ?", (holder.wrap(record.encode(), os.urandom(64)),))
    told = []
    way = opening(Settings(home=home), lambda name, detail: told.append((name, detail)))
    assert not way.attempt()
    assert not way.attempt()
    assert told == [(slot, "The custody slot gave a secret that is not the one this data is sealed with.")]
    assert isinstance(way.waiting[slot], WrongRootKey)
    with pytest.raises(Sealed, match="not the one this data is sealed with"):
        build(Settings(home=home, **bare(tmp_path)))


def test_the_key_check_value_depends_on_secret_slot_and_version():
    values = {
        key_check_value(secret, slot, version)
        for secret in (bytes(64), b"\x01" + bytes(63))
        for slot in ("a", "b")
        for version in (1, 2)
    }
    assert len(values) == 8


def test_an_outage_stops_no_unsealed_service_and_a_start_waits_for_what_it_names(tmp_path, custody_peers):
    home = tmp_path / "home"
    clouds = custody_peers.clouds()
    made = again(home, tmp_path)
    slot = move(made, "gcp_kms", custody_peers.options("gcp_kms"), "file-1")
    made.close()
    made = again(home, tmp_path)
    clouds.status = 503
    try:
        shop = shop_of(made)
        assert shop.open(shop.seal("ana@example.com")[0]) == "ana@example.com"
        shop.rotate()
        made.close()
        with pytest.raises(Sealed) as caught:
            build(Settings(home=home, **bare(tmp_path)))
        assert f"{slot}: Google Cloud KMS answers with status 503." in caught.value.detail
        way = opening(Settings(home=home))
        assert not way.attempt()
        with pytest.raises(NotUnsealed, match="status 503"):
            way.offer(UnsealService())
    finally:
        clouds.status = 0
    assert way.attempt()
    again(home, tmp_path, way.opened).close()


@pytest.mark.parametrize("plugin", ["shares", "slip39"])
def test_shares_too_few_altered_or_of_another_set_open_nothing(tmp_path, plugin):
    home = tmp_path / "home"
    made = again(home, tmp_path)
    eve, bob = admins(made)
    sets = []
    for _ in range(2):
        asked = made.call("custody.add", eve, plugin=plugin)
        made.call("custody.approve", bob, slot=asked.slot)
        sets.append(asked)
    made.call("custody.remove", eve, slot="file-1")
    made.close()
    ours, theirs = sets
    way = opening(Settings(home=home))

    def offer(*shares):
        return way.offer(UnsealService(slot=ours.slot, secrets={"shares": "\n".join(shares)}))

    assert offer(*ours.shares[:2]).have == 2
    altered = "".join(ours.shares[2][:-4]) + ("0000" if plugin == "shares" else " zzz")
    with pytest.raises(NotUnsealed):
        offer(altered)
    with pytest.raises(NotUnsealed):
        offer(*ours.shares[:2], theirs.shares[2])
    with pytest.raises(NotUnsealed):
        offer(*theirs.shares[:3])
    assert way.failures == 3
    assert way.opened is None
    assert offer(*ours.shares[1:4]).state == "unsealed"
    assert way.opened.failures == 3
    text = json.dumps(way.view().model_dump())
    assert not any(share in text for share in (*ours.shares, *theirs.shares))
    way.opened.secret.wipe()
