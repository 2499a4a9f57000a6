"""Keys of other systems through the gate: two persons, one counter per key, nothing in a record; values move on."""

import base64
import json
import sqlite3

import pytest
import tink
from tink import aead, daead, secret_key_access

from guard.errors import AlreadyExists, Conflict, Denied, InvalidInput, KeyStateConflict, NotFound
from guard.vault.gcm96 import REFUSE_AT, ROTATE_AT
from guard.vault.suites import DOES_NOT_OPEN
from guard.vault.tink import parse_keyset
from tests.vault.movers import Movers, enc
from tests.vault.shop import EMAIL, b64, dump, policies_with, world

aead.register()
daead.register()
TEMPLATES = {
    "aes256_gcm": aead.aead_key_templates.AES256_GCM,
    "aes256_siv": daead.deterministic_aead_key_templates.AES256_SIV,
    "xaes": aead.aead_key_templates.XAES_256_GCM_192_BIT_NONCE,
}
FIELDS = """
version: 1
table: moved
rows: 1000000
columns:
  compact: {class: contact, suite: xaes, bind: [row], mask: none, purposes: [billing]}
  equal: {class: contact, suite: siv, deterministic: true, entropy: 40, bind: [], mask: none, purposes: [billing]}
  person: {class: contact, suite: cbl256, bind: [subject], keyed_by: subject, mask: none, purposes: [billing]}
"""
each_kind = pytest.mark.parametrize("kind", sorted(TEMPLATES))


def clear(handle):
    return tink.json_proto_keyset_format.serialize(handle, secret_key_access.TOKEN)


def there(text):
    return tink.json_proto_keyset_format.parse(text, secret_key_access.TOKEN)


def theirs(handle, kind, plaintext, associated):
    if kind == "aes256_siv":
        return handle.primitive(daead.DeterministicAead).encrypt_deterministically(plaintext, associated)
    return handle.primitive(aead.Aead).encrypt(plaintext, associated)


def theirs_opened(handle, kind, ciphertext, associated):
    if kind == "aes256_siv":
        return handle.primitive(daead.DeterministicAead).decrypt_deterministically(ciphertext, associated)
    return handle.primitive(aead.Aead).decrypt(ciphertext, associated)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("imports")
    policies = policies_with(folder, "moved.yaml", FIELDS)
    with (policies / "access" / "roles.csv").open("a") as roles:
        roles.write("p, role:half-mover, *, imported_keys/**, imported_keys.convert, allow\n")
    with world(folder / "home", policies=policies) as made:
        yield made


@pytest.fixture(scope="module")
def movers(place):
    return Movers(place)


@each_kind
def test_their_keyset_and_ciphertexts_come_in_and_ours_go_out(movers, kind):
    handle, name = tink.new_keyset_handle(TEMPLATES[kind]), f"old.{kind}"
    movers.bring(name, clear(handle))
    ciphertext = enc(theirs(handle, kind, b"ana@example.org", b"row 17"))
    right = {"ciphertext": ciphertext, "associated_data": enc(b"row 17")}
    assert movers.opened(name, right, {"ciphertext": ciphertext}) == [enc(b"ana@example.org"), DOES_NOT_OPEN]
    for ours in movers.sealed(name, b"one", b"", associated=b"row 18"):
        assert theirs_opened(handle, kind, ours, b"row 18") in {b"one", b""}
    back = there(movers.take_out(name))
    assert theirs_opened(back, kind, base64.b64decode(ciphertext), b"row 17") == b"ana@example.org"
    assert theirs_opened(back, kind, movers.sealed(name, b"x")[0], b"") == b"x"


@each_kind
def test_a_rotated_keyset_seals_anew_and_opens_both(movers, kind):
    handle, name = tink.new_keyset_handle(TEMPLATES[kind]), f"turned.{kind}"
    movers.bring(name, clear(handle))
    before = movers.sealed(name, b"before")[0]
    shown = movers.call("keys", "imported_keys.rotate", key=name)
    assert [one.state for one in shown.versions] == ["decrypt_only", "active"]
    after = movers.sealed(name, b"after")[0]
    with pytest.raises(tink.TinkError):
        theirs_opened(handle, kind, after, b"")
    back = there(movers.take_out(name))
    assert [theirs_opened(back, kind, one, b"") for one in (before, after)] == [b"before", b"after"]
    assert movers.opened(name, *({"ciphertext": enc(one)} for one in (before, after))) == [
        enc(b"before"),
        enc(b"after"),
    ]


@pytest.mark.parametrize("kek", ["aes256_gcm", "xaes"])
@each_kind
def test_keysets_under_a_kek_come_and_go(movers, kind, kek):
    kek_handle, kek_name, name = tink.new_keyset_handle(TEMPLATES[kek]), f"kek.{kek}.{kind}", f"under.{kek}.{kind}"
    movers.bring(kek_name, clear(kek_handle), use="keysets")
    handle = tink.new_keyset_handle(TEMPLATES[kind])
    text = tink.json_proto_keyset_format.serialize_encrypted(handle, kek_handle.primitive(aead.Aead), b"")
    came = movers.call("keys", "keys.import", key=name, format="tink", material=text, kek=kek_name)
    assert came.state == "live"
    ours = movers.sealed(name, b"value", associated=b"a")[0]
    assert theirs_opened(handle, kind, ours, b"a") == b"value"
    out = movers.take_out(name, kek=kek_name)
    assert clear(handle) not in out
    back = tink.json_proto_keyset_format.parse_encrypted(out, kek_handle.primitive(aead.Aead), b"")
    assert theirs_opened(back, kind, ours, b"a") == b"value"


def test_another_kek_is_told_apart_from_a_broken_keyset(movers):
    keks = [tink.new_keyset_handle(TEMPLATES["xaes"]) for _ in range(2)]
    movers.bring("kek.right", clear(keks[0]), use="keysets")
    handle = tink.new_keyset_handle(TEMPLATES["xaes"])
    wrong = tink.json_proto_keyset_format.serialize_encrypted(handle, keks[1].primitive(aead.Aead), b"")
    for text, message in ((wrong, "encrypted under kek.right"), ("{}", "under this KEK"), (clear(handle), "this KEK")):
        with pytest.raises(InvalidInput, match=message):
            movers.call("keys", "keys.import", key="x.wrong", format="tink", material=text, kek="kek.right")
    with pytest.raises(InvalidInput, match="of Tink only"):
        movers.call("keys", "keys.import", key="x.wrong", format="openbao", material="e30=", kek="kek.right")
    with pytest.raises(InvalidInput, match="which Tink refuses"):
        movers.bring("kek.siv", clear(tink.new_keyset_handle(TEMPLATES["aes256_siv"])), use="keysets")


@pytest.mark.parametrize(("field", "suite"), [("moved.compact", "xaes"), ("moved.equal", "aes256_siv")])
def test_a_key_of_a_field_leaves_as_a_keyset_that_opens_its_values(movers, field, suite):
    context = {"row": "1"} if field == "moved.compact" else {}

    def seal(value):
        items = [{"field": field, "context": context, "plaintext": b64(value)}]
        return movers.call("storing", "fields.encrypt", items=items)["results"][0]["ciphertext"]

    from guard.vault import context as contexts
    from guard.vault.envelope import from_text

    texts = [seal("before")]
    movers.rotate(field)
    texts.append(seal("after"))
    handle = there(movers.take_out(field))
    for text, value in zip(texts, (b"before", b"after"), strict=True):
        raw = from_text(text)
        table, column = field.split(".")
        cell = {"tenant": "acme", "table": table, "column": column, **context}
        assert theirs_opened(handle, suite, raw[16:], contexts.encode(raw[:16], cell)) == value


def test_a_key_for_which_tink_has_no_type_does_not_leave(movers):
    with pytest.raises(Conflict, match="no key type"):
        movers.call("keys", "keys.export", key=EMAIL)
    with pytest.raises(NotFound):
        movers.call("keys", "keys.export", key="nothing.here")


def test_one_person_alone_brings_nothing_in_and_takes_nothing_out(movers):
    handle = tink.new_keyset_handle(TEMPLATES["xaes"])
    asked = movers.call("keys", "keys.import", key="two.persons", format="tink", material=clear(handle))
    with pytest.raises(Denied, match="second person"):
        movers.call("keys", "keys.approve_import", key="two.persons", request=asked.request)
    with pytest.raises(Conflict, match="waits for a second person"):
        movers.sealed("two.persons", b"x")
    with pytest.raises(Conflict, match="waits for a second person"):
        movers.call("keys", "keys.export", key="two.persons")
    with pytest.raises(Conflict, match="asked to import"):
        movers.call("second", "keys.import", key="two.persons", format="tink", material=clear(handle))
    again = movers.call("keys", "keys.import", key="two.persons", format="tink", material=clear(handle))
    with pytest.raises(NotFound):  # what was put in its place is another request
        movers.call("second", "keys.approve_import", key="two.persons", request=asked.request)
    movers.call("second", "keys.approve_import", key="two.persons", request=again.request)
    with pytest.raises(AlreadyExists):
        movers.call("keys", "keys.import", key="two.persons", format="tink", material=clear(handle))
    with pytest.raises(AlreadyExists):
        movers.call("keys", "keys.import", key=EMAIL, format="tink", material=clear(handle))
    out = movers.call("keys", "keys.export", key="two.persons")
    with pytest.raises(Denied, match="second person"):
        movers.call("keys", "keys.approve_export", key="two.persons", request=out.request)
    assert movers.call("keys", "keys.export", key="two.persons").state == "asked"
    with pytest.raises(Conflict, match="asked for an export"):
        movers.call("second", "keys.export", key="two.persons")
    shown = movers.call("second", "key_requests.list").data
    assert [(one.key, one.action, one.request) for one in shown] == [("two.persons", "export", out.request)]
    movers.call("second", "keys.approve_export", key="two.persons", request=out.request)
    assert movers.call("keys", "keys.export", key="two.persons").keyset
    assert movers.call("keys", "keys.export", key="two.persons").state == "asked"  # the approval is used up


def test_old_requests_and_old_approvals_are_none(tmp_path):
    with world(tmp_path / "home") as made:
        movers = Movers(made)
        handle = tink.new_keyset_handle(TEMPLATES["xaes"])
        asked = movers.call("keys", "keys.import", key="a.b", format="tink", material=clear(handle))
        made.clock.advance(8 * 86400)
        movers = Movers(made)
        with pytest.raises(Conflict, match="last 7 days"):
            movers.call("second", "keys.approve_import", key="a.b", request=asked.request)
        movers.bring("a.b", clear(handle))
        out = movers.call("keys", "keys.export", key="a.b")
        movers.call("second", "keys.approve_export", key="a.b", request=out.request)
        made.clock.advance(2 * 86400)
        again = Movers(made).call("keys", "keys.export", key="a.b")
        assert (again.state, again.request != out.request) == ("asked", True)


def test_a_removal_takes_two_and_a_withdrawal_one(movers):
    handle = tink.new_keyset_handle(TEMPLATES["aes256_gcm"])
    movers.call("keys", "keys.import", key="go.away", format="tink", material=clear(handle))
    movers.call("keys", "imported_keys.remove", key="go.away")
    with pytest.raises(NotFound):
        movers.sealed("go.away", b"x")
    movers.bring("go.away", clear(handle))
    movers.sealed("go.away", b"1", b"2", b"3")
    assert movers.call("keys", "imported_keys.remove", key="go.away").state == "removing"
    with pytest.raises(Denied, match="second person"):
        movers.call("keys", "imported_keys.remove", key="go.away")
    movers.sealed("go.away", b"4")
    movers.call("second", "imported_keys.remove", key="go.away")
    with pytest.raises(NotFound):
        movers.sealed("go.away", b"x")
    movers.bring("came.back", clear(handle))  # under another name: its messages go on where they were
    assert [one.sealed for one in movers.versions("came.back")] == [4]


def test_messages_under_gcm_are_counted_and_the_keyset_turns_at_half_of_the_limit(movers):
    handle = tink.new_keyset_handle(TEMPLATES["aes256_gcm"])
    movers.bring("counted", clear(handle), sealed_before=ROTATE_AT - 3)
    movers.sealed("counted", b"1", b"2")
    assert [one.sealed for one in movers.versions("counted")] == [ROTATE_AT - 1]
    last = movers.sealed("counted", b"3")[0]
    assert theirs_opened(handle, "aes256_gcm", last, b"") == b"3"
    assert [(one.state, one.sealed) for one in movers.versions("counted")] == [
        ("decrypt_only", ROTATE_AT),
        ("active", 0),
    ]
    movers.sealed("counted", b"4")
    assert [one.sealed for one in movers.versions("counted")] == [ROTATE_AT, 1]


def test_at_the_limit_nothing_is_sealed(movers):
    """A key that came with nearly all of its messages sealed."""
    handle = tink.new_keyset_handle(TEMPLATES["aes256_gcm"])
    movers.bring("full", clear(handle), sealed_before=REFUSE_AT - 1)
    with pytest.raises(KeyStateConflict, match="at most 1 messages more"):
        movers.sealed("full", b"1", b"2")
    assert [one.sealed for one in movers.versions("full")] == [REFUSE_AT - 1]
    old = movers.sealed("full", b"1")[0]
    assert movers.opened("full", {"ciphertext": enc(old)}) == [enc(b"1")]
    movers.bring("full.too", clear(handle))  # the same key once more
    with pytest.raises(KeyStateConflict, match="at most 0 messages"):
        movers.sealed("full.too", b"x")


def test_nonces_of_gcm_never_repeat(movers):
    movers.bring("nonces", clear(tink.new_keyset_handle(TEMPLATES["aes256_gcm"])))
    nonces = [one[5:17] for _ in range(4) for one in movers.sealed("nonces", *[b"same"] * 50)]
    assert len(set(nonces)) == 200
    assert [one.sealed for one in movers.versions("nonces")] == [200]


def test_values_move_into_fields_and_are_seen_by_nobody_on_the_way(movers):
    handle = tink.new_keyset_handle(TEMPLATES["aes256_gcm"])
    movers.bring("moving", clear(handle))
    cells = [
        (EMAIL, {"row": "7"}),
        ("moved.compact", {"row": "7"}),
        ("moved.equal", {}),
        ("moved.person", {"subject": "u-7"}),
    ]
    items = [
        {
            "ciphertext": enc(theirs(handle, "aes256_gcm", b"ana@example.org", b"row 7")),
            "associated_data": enc(b"row 7"),
            "field": field,
            "context": context,
        }
        for field, context in cells
    ]
    bad = items[0] | {"associated_data": enc(b"row 8")}
    odd = items[0] | {"context": {"subject": "x"}}
    results = movers.call("mover", "imported_keys.convert", key="moving", items=[*items, bad, odd]).results
    assert "ana@example.org" not in json.dumps(results)
    assert [one["problem"]["code"] for one in results[4:]] == ["GRD-CRYPT-001", "GRD-CRYPT-003"]
    for (field, context), result in zip(cells, results[:4], strict=True):
        opened = [{"field": field, "context": context, "ciphertext": result["ciphertext"]}]
        answer = movers.call("billing", "fields.decrypt", purpose="billing", items=opened)["results"]
        assert answer == [{"plaintext": b64("ana@example.org")}]


def test_who_moves_reads_nothing_and_who_looks_after_keys_sees_no_value(movers):
    movers.bring("rights", clear(tink.new_keyset_handle(TEMPLATES["xaes"])))
    ciphertext = enc(movers.sealed("rights", b"x")[0])
    for who in ("mover", "keys", "storing", "support"):
        with pytest.raises(Denied):
            movers.call(who, "imported_keys.decrypt", key="rights", items=[{"ciphertext": ciphertext}])
    item = {"ciphertext": ciphertext, "field": EMAIL, "context": {"row": "1"}}
    for who in ("keys", "foreign", "billing"):
        with pytest.raises(Denied):
            movers.call(who, "imported_keys.convert", key="rights", items=[item])
    for who in ("mover", "foreign", "storing"):
        with pytest.raises(Denied):
            movers.call(who, "keys.export", key="rights")


def test_a_mover_stores_in_no_field_that_is_not_his(place, movers):
    """The right to store is asked for in the field, beside the right to use the key."""
    movers.bring("narrow", clear(tink.new_keyset_handle(TEMPLATES["xaes"])))
    item = {"ciphertext": enc(movers.sealed("narrow", b"x")[0]), "field": EMAIL, "context": {"row": "1"}}
    half = place.hire("acme", "svc:half", "role:half-mover")
    with pytest.raises(Denied, match=r"fields\.encrypt"):
        place.call("imported_keys.convert", half, key="narrow", items=[item])


def test_keys_of_another_tenant_are_not_there(place, movers):
    movers.bring("ours", clear(tink.new_keyset_handle(TEMPLATES["xaes"])))
    other = Movers(place, "globex")
    ciphertext = enc(movers.sealed("ours", b"x")[0])
    with pytest.raises(NotFound):
        other.opened("ours", {"ciphertext": ciphertext})
    with pytest.raises(NotFound):
        other.call("keys", "keys.export", key="ours")
    assert other.call("keys", "imported_keys.list").data == []


def test_keys_survive_a_restart_and_stand_nowhere_in_the_clear(tmp_path):
    handle = tink.new_keyset_handle(TEMPLATES["aes256_gcm"])
    raw = parse_keyset(clear(handle)).primary.material.expose()
    with world(tmp_path / "home") as made:
        movers = Movers(made)
        movers.bring("kept", clear(handle))
        before = movers.sealed("kept", b"value")[0]
        exported = movers.take_out("kept")
    with world(tmp_path / "home") as made:
        movers = Movers(made)
        assert movers.opened("kept", {"ciphertext": enc(before)}) == [enc(b"value")]
        assert [one.sealed for one in movers.versions("kept")] == [1]
    needles = [
        raw,
        base64.b64encode(raw).rstrip(b"=")[:40],
        raw.hex().encode(),
        json.loads(exported)["key"][0]["keyData"]["value"].encode(),
    ]
    for path in (tmp_path / "home").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not [one for one in needles if one in content], path
    shown = "\n".join(dump(tmp_path / "home" / "guard.db"))
    assert raw.hex().upper() not in shown.upper()


def test_a_row_that_was_moved_opens_nowhere(tmp_path):
    """Somebody who writes to the database puts one key under the name, or into the tenant, of another."""
    with world(tmp_path / "home") as made:
        movers = Movers(made)
        for name in ("one", "two"):
            movers.bring(name, clear(tink.new_keyset_handle(TEMPLATES["xaes"])))
    with sqlite3.connect(tmp_path / "home" / "guard.db") as database:
        database.execute("UPDATE imported_keys SET name = 'three' WHERE name = 'one'")
        database.execute(
            "UPDATE imported_keys SET body = (SELECT body FROM imported_keys WHERE name = 'three') WHERE name = 'two'"
        )
    with world(tmp_path / "home") as made:
        movers = Movers(made)
        for name in ("two", "three"):
            with pytest.raises(Exception, match=DOES_NOT_OPEN):
                movers.sealed(name, b"x")


def test_no_key_stands_in_a_repr(movers):
    handle = tink.new_keyset_handle(TEMPLATES["xaes"])
    text = clear(handle)
    value = json.loads(text)["key"][0]["keyData"]["value"]
    _, request = movers.world.gate.parse("keys.import", {"key": "a.b", "format": "tink", "material": text})
    movers.bring("shown", text)
    exported = movers.call("keys", "keys.export", key="shown")
    movers.call("second", "keys.approve_export", key="shown", request=exported.request)
    exported = movers.call("keys", "keys.export", key="shown")
    assert value in (exported.keyset or "")
    assert value not in repr(request) + str(request) + repr(exported) + str(exported)
