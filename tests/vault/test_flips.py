"""Each single bit of a sealed value and of its context, flipped, through the operations that open: always one answer.

Suites of guard: header and body of every suite that authenticates (FF1 does not, and says so), also padded, under the
key of a person and on the way in. Foreign formats: Tink with and without prefix, Transit with its associated data and
its derivation context.
"""

import base64
import json
import secrets

import pytest

from guard.client.sealing import FieldSealer
from guard.vault.envelope import from_text, to_text
from guard.vault.keys import Secret
from guard.vault.suites import DOES_NOT_OPEN
from guard.vault.tink import Keyset, Kind, TinkKey, write_keyset
from guard.vault.versions import State
from tests.vault.movers import Movers, enc
from tests.vault.shop import policies_with, world

FIELDS = """
version: 1
table: flips
rows: 1000000
columns:
  cbl256: {class: contact, suite: cbl256, bind: [row], mask: none, purposes: [billing], ingest: x25519}
  padded: {class: contact, suite: cbl256, bind: [row], mask: none, purposes: [billing], pad: 32}
  xaes: {class: contact, suite: xaes, bind: [row], mask: none, purposes: [billing], ingest: mlkem768_x25519}
  siv: {class: contact, suite: siv, deterministic: true, entropy: 40, bind: [], mask: none, purposes: [billing]}
  person: {class: contact, suite: cbl256, bind: [row, subject], keyed_by: subject, mask: none, purposes: [billing]}
"""
VALUE = "Zürich 8001"
CONTEXTS = {"siv": {}, "person": {"row": "17", "subject": "u-17"}}
SIZES = {Kind.AES256_GCM: 32, Kind.AES256_SIV: 64, Kind.XAES: 32}
ONE_TEXT = {("GRD-CRYPT-001", DOES_NOT_OPEN)}
BATCH = 1000


@pytest.fixture(scope="module")
def movers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("flips")
    policies = policies_with(folder, "flips.yaml", FIELDS)
    with (policies / "access" / "roles.csv").open("a") as roles:
        roles.write("p, role:masking, *, fields/*/billing, fields.mask, allow\n")
    with world(folder / "home", policies=policies) as place:
        made = Movers(place)
        made.people["form"] = place.hire("acme", "svc:form", "role:writing-service")
        made.people["masks"] = place.hire("acme", "svc:masks", "role:masking")
        yield made


def flipped(raw):
    """Every neighbour of *raw* at a distance of one bit."""
    for bit in range(len(raw) * 8):
        changed = bytearray(raw)
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)


def flipped_text(text):
    """As `flipped`, where what comes out is still text that a context may hold."""
    for raw in flipped(text.encode()):
        if raw.isascii() and raw.decode().isprintable():
            yield raw.decode()


def problems(movers, who, operation, items, **rest):
    """Code and text of every answer; an answer without a problem is told apart."""
    found = set()
    for at in range(0, len(items), BATCH):
        answer = movers.call(who, operation, items=items[at : at + BATCH], **rest)
        results = answer["results"] if isinstance(answer, dict) else answer.model_dump(exclude_none=True)["results"]
        for one in results:
            found.add((one["problem"]["code"], one["problem"]["detail"]) if "problem" in one else ("opened", ""))
    return found


def cell(column, **rest):
    return {"field": f"flips.{column}", "context": CONTEXTS.get(column, {"row": "17"}), **rest}


def sealed(movers, column):
    items = [cell(column, plaintext=base64.b64encode(VALUE.encode()).decode())]
    return movers.call("storing", "fields.encrypt", items=items)["results"][0]["ciphertext"]


@pytest.mark.parametrize("column", ["cbl256", "padded", "xaes", "siv", "person"])
@pytest.mark.parametrize(("who", "operation"), [("billing", "fields.decrypt"), ("masks", "fields.mask")])
def test_every_bit_of_header_and_body(movers, column, who, operation):
    text = sealed(movers, column)
    right = cell(column, ciphertext=text)
    assert problems(movers, who, operation, [right], purpose="billing") == {("opened", "")}
    items = [right | {"ciphertext": to_text(raw)} for raw in flipped(from_text(text))]
    assert problems(movers, who, operation, items, purpose="billing") == ONE_TEXT


@pytest.mark.parametrize("column", ["cbl256", "padded", "xaes", "person"])
def test_every_bit_of_the_context(movers, column):
    text = sealed(movers, column)
    right = CONTEXTS.get(column, {"row": "17"})
    contexts = [right | {name: other} for name, value in right.items() for other in flipped_text(value)]
    items = [{"field": f"flips.{column}", "context": context, "ciphertext": text} for context in contexts]
    assert len(items) >= 10
    assert problems(movers, "billing", "fields.decrypt", items, purpose="billing") == ONE_TEXT


@pytest.mark.parametrize("column", ["cbl256", "xaes"], ids=["x25519", "mlkem768_x25519"])
def test_every_bit_on_the_way_in(movers, column):
    key = movers.call("form", "fields.read_ingest_key", field=f"flips.{column}").model_dump()
    raw = from_text(FieldSealer(key).seal(VALUE, row="17"))
    assert problems(movers, "form", "fields.ingest", [cell(column, ciphertext=to_text(raw))]) == {("opened", "")}
    items = [cell(column, ciphertext=to_text(changed)) for changed in flipped(raw)]
    assert problems(movers, "form", "fields.ingest", items) == ONE_TEXT


@pytest.mark.parametrize("prefix", ["TINK", "RAW"])
@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.name.lower())
def test_every_bit_of_a_tink_ciphertext_and_its_associated_data(movers, kind, prefix):
    key = TinkKey(9, kind, State.ACTIVE, prefix == "RAW", Secret(secrets.token_bytes(SIZES[kind]), "k"))
    other = TinkKey(8, kind, State.DECRYPT_ONLY, prefix == "TINK", Secret(secrets.token_bytes(SIZES[kind]), "k"))
    name = f"{kind.name.lower()}.{prefix.lower()}"
    movers.bring(name, write_keyset(Keyset((key, other))))
    [raw] = movers.sealed(name, VALUE.encode(), associated=b"row 17")
    right = {"ciphertext": enc(raw), "associated_data": enc(b"row 17")}
    assert problems(movers, "foreign", "imported_keys.decrypt", [right], key=name) == {("opened", "")}
    items = [right | {"ciphertext": enc(one)} for one in flipped(raw)]
    items += [right | {"associated_data": enc(one)} for one in flipped(b"row 17")]
    assert problems(movers, "foreign", "imported_keys.decrypt", items, key=name) == ONE_TEXT
    moved = [one | cell("cbl256") for one in items]
    assert problems(movers, "mover", "imported_keys.convert", moved, key=name) == ONE_TEXT


@pytest.mark.parametrize("derived", [False, True], ids=["plain", "derived"])
@pytest.mark.parametrize("number", [0, 5, 8], ids=["aes256-gcm96", "chacha20-poly1305", "aes128-gcm96"])
def test_every_bit_of_a_transit_ciphertext_and_what_it_is_bound_to(movers, number, derived):
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    keys = {version: secrets.token_bytes(16 if number == 8 else 32) for version in ("1", "2", "3")}
    policy = {
        "name": "k",
        "type": number,
        "derived": derived,
        "kdf": 1,
        "convergent_encryption": False,
        "min_decryption_version": 2,
        "keys": {version: {"key": enc(key)} for version, key in keys.items()},
    }
    name = f"transit.{number}.{derived}".lower()
    movers.bring(name, enc(json.dumps({"policy": policy}).encode()), "openbao")
    key = HKDF(SHA256(), len(keys["3"]), None, b"tenant acme").derive(keys["3"]) if derived else keys["3"]
    nonce = secrets.token_bytes(12)
    body = nonce + (ChaCha20Poly1305 if number == 5 else AESGCM)(key).encrypt(nonce, VALUE.encode(), b"row 17")
    right = {"ciphertext": f"vault:v3:{enc(body)}", "associated_data": enc(b"row 17")}
    right |= {"derivation_context": enc(b"tenant acme")} if derived else {}
    assert problems(movers, "foreign", "imported_keys.decrypt", [right], key=name) == {("opened", "")}
    items = [right | {"ciphertext": f"vault:v3:{enc(one)}"} for one in flipped(body)]
    items += [right | {"ciphertext": f"vault:v{version}:{enc(body)}"} for version in (1, 2, 7, 11, 19, 35)]
    items += [right | {"associated_data": enc(one)} for one in flipped(b"row 17")]
    if derived:
        items += [right | {"derivation_context": enc(one)} for one in flipped(b"tenant acme")]
    assert problems(movers, "foreign", "imported_keys.decrypt", items, key=name) == ONE_TEXT
