"""Two persons for each key that comes in clear or leaves, whoever tries to be both, and counters that outlive keys."""

import base64
import json
import secrets
import sqlite3
from contextlib import closing

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from guard.errors import AlreadyExists, Conflict, Denied, InvalidInput, InvalidRequest, KeyStateConflict, NotFound
from guard.vault import tink_binary
from guard.vault.gcm96 import REFUSE_AT, ROTATE_AT
from guard.vault.suites import DOES_NOT_OPEN
from guard.vault.tink import parse_keyset
from tests.vault.movers import Movers, enc
from tests.vault.shop import EMAIL, policies_with, world

URL = "type.googleapis.com/google.crypto.tink."
HEADS = {"AesGcmKey": b"\x1a\x20", "AesSivKey": b"\x12\x40", "XAesGcmKey": b"\x12\x02\x08\x0c\x1a\x20"}
FIELDS = """
version: 1
table: vault
rows: 1000000
columns:
  pair: {class: contact, suite: xaes, bind: [row], mask: none, purposes: [billing]}
"""


def keyset(kind="XAesGcmKey", material=None, key_id=7, prefix="TINK"):
    material = material or secrets.token_bytes(HEADS[kind][-1])
    data = {"typeUrl": URL + kind, "value": enc(HEADS[kind] + material), "keyMaterialType": "SYMMETRIC"}
    one = {"keyData": data, "status": "ENABLED", "keyId": key_id, "outputPrefixType": prefix}
    return json.dumps({"primaryKeyId": key_id, "key": [one]})


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("persons")
    with world(folder / "home", policies=policies_with(folder, "vault.yaml", FIELDS)) as made:
        yield made


@pytest.fixture(scope="module")
def movers(place):
    return Movers(place)


@pytest.fixture(scope="module")
def strangers(place):
    return Movers(place, "globex")


@pytest.fixture
def database(tmp_path_factory, place):
    with closing(sqlite3.connect(place.home / "guard.db", timeout=10, isolation_level=None)) as found:
        yield found


def fresh():
    return f"k{secrets.token_hex(6)}"


# a KEK is for keysets


def test_who_seals_under_a_kek_cannot_make_a_keyset_and_bring_it_in_alone(movers):
    """The attack: the keyset's buffer as a value, sealed by the operation for values, then imported under the KEK."""
    kek, name = fresh(), fresh()
    movers.bring(kek, keyset(), use="keysets")
    mine = parse_keyset(keyset())
    raw = []
    tink_binary.write_encrypted(mine, lambda clear: raw.append(clear) or b"")
    with pytest.raises(Conflict, match="imported for values"):
        movers.sealed(kek, raw[0])
    other = fresh()
    movers.bring(other, keyset())
    forged = json.dumps({"encryptedKeyset": enc(movers.sealed(other, raw[0])[0])})
    for under in (kek, other):
        with pytest.raises((Conflict, InvalidInput)):
            movers.call("keys", "keys.import", key=name, format="tink", material=forged, kek=under)
    assert name not in {one.key for one in movers.call("keys", "imported_keys.list").data}


def test_who_opens_values_opens_no_export(movers):
    kek, name = fresh(), fresh()
    movers.bring(kek, keyset(), use="keysets")
    movers.bring(name, keyset())
    out = json.loads(movers.take_out(name, kek=kek))["encryptedKeyset"]
    item = {"ciphertext": out}
    with pytest.raises(Conflict, match="imported for values"):
        movers.opened(kek, item)
    with pytest.raises(Conflict, match="imported for values"):
        movers.call(
            "mover",
            "imported_keys.convert",
            key=kek,
            items=[item | {"field": EMAIL, "context": {"row": "1"}}],
        )
    assert movers.opened(name, item) == [DOES_NOT_OPEN]


def test_a_key_of_values_wraps_nothing_and_a_kek_comes_under_none(movers):
    values, kek = fresh(), fresh()
    movers.bring(values, keyset())
    movers.bring(kek, keyset(), use="keysets")
    with pytest.raises(Conflict, match="imported for keysets"):
        movers.call("keys", "keys.export", key=kek, kek=values)
    with pytest.raises(InvalidInput, match="two persons bring"):
        movers.call("keys", "keys.import", key=fresh(), format="tink", material="{}", kek=kek, use="keysets")
    shown = {one.key: one.use for one in movers.call("keys", "imported_keys.list").data}
    assert (shown[values], shown[kek]) == ("values", "keysets")


def test_a_kek_that_waits_wraps_nothing(movers):
    kek = fresh()
    movers.call("keys", "keys.import", key=kek, format="tink", material=keyset(), use="keysets")
    with pytest.raises(Conflict, match="waits for a second person"):
        movers.call("keys", "keys.import", key=fresh(), format="tink", material="{}", kek=kek)


def test_a_kek_stays_one_when_it_turns(movers):
    kek, name = fresh(), fresh()
    movers.bring(kek, keyset("AesGcmKey"), use="keysets")
    movers.call("keys", "imported_keys.rotate", key=kek)
    with pytest.raises(Conflict, match="imported for values"):
        movers.sealed(kek, b"x")
    movers.bring(name, keyset())
    movers.take_out(name, kek=kek)
    assert [one.sealed for one in movers.versions(kek)] == [0, 1]  # an export is a message like any other


# approvals


def ask_import(movers, name):
    return movers.call("keys", "keys.import", key=name, format="tink", material=keyset()).request


def ask_export(movers, name):
    movers.bring(name, keyset())
    return movers.call("keys", "keys.export", key=name).request


each_way = pytest.mark.parametrize(
    ("ask", "approve"), [(ask_import, "keys.approve_import"), (ask_export, "keys.approve_export")], ids=["in", "out"]
)


@each_way
def test_an_approval_counts_once_for_one_request_of_one_tenant(movers, strangers, ask, approve):
    name, other = fresh(), fresh()
    request, another = ask(movers, name), ask(movers, other)
    attempts = [
        (movers, "second", name, another, NotFound),
        (movers, "second", other, request, NotFound),
        (movers, "second", name, request + "x", NotFound),
        (movers, "second", name, "", InvalidRequest),
        (movers, "second", name, "*", (NotFound, InvalidRequest)),
        (strangers, "second", name, request, NotFound),
        (strangers, "keys", name, request, NotFound),
        (movers, "keys", name, request, Denied),
        (movers, "mover", name, request, Denied),
        (movers, "foreign", name, request, Denied),
        (movers, "support", name, request, Denied),
    ]
    for side, who, key, given, error in attempts:
        with pytest.raises(error):
            side.call(who, approve, key=key, request=given)
    done = movers.call("second", approve, key=name, request=request)
    assert done.state == {"keys.approve_import": "live", "keys.approve_export": "approved"}[approve]
    with pytest.raises(NotFound):
        movers.call("second", approve, key=name, request=request)


def test_an_approval_of_an_import_is_none_of_an_export(movers):
    name = fresh()
    request = ask_import(movers, name)
    with pytest.raises(NotFound):
        movers.call("second", "keys.approve_export", key=name, request=request)
    movers.call("second", "keys.approve_import", key=name, request=request)
    out = movers.call("keys", "keys.export", key=name).request
    with pytest.raises(NotFound):
        movers.call("second", "keys.approve_import", key=name, request=out)


def test_the_second_person_collects_nothing_and_the_first_once(movers):
    name = fresh()
    request = ask_export(movers, name)
    movers.call("second", "keys.approve_export", key=name, request=request)
    with pytest.raises(Conflict, match="asked for an export"):
        movers.call("second", "keys.export", key=name)
    assert movers.call("keys", "keys.export", key=name).keyset
    again = movers.call("keys", "keys.export", key=name)
    assert (again.state, again.keyset) == ("asked", None)
    with pytest.raises(NotFound):  # the used approval is none for what was asked since
        movers.call("second", "keys.approve_export", key=name, request=request)


def test_under_another_kek_it_is_another_request(movers):
    name, kek = fresh(), fresh()
    movers.bring(kek, keyset(), use="keysets")
    movers.bring(name, keyset())
    under = movers.call("keys", "keys.export", key=name, kek=kek)
    movers.call("second", "keys.approve_export", key=name, request=under.request)
    clear = movers.call("keys", "keys.export", key=name)  # approved was: under the KEK
    assert (clear.state, clear.keyset, clear.request != under.request) == ("asked", None, True)
    assert movers.call("keys", "keys.export", key=name, kek=kek).state == "asked"


def test_with_a_key_go_the_exports_of_it_and_under_it(movers):
    name, kek = fresh(), fresh()
    movers.bring(kek, keyset(), use="keysets")
    movers.bring(name, keyset())
    asked = movers.call("keys", "keys.export", key=name, kek=kek)
    movers.call("second", "keys.approve_export", key=name, request=asked.request)
    for who in ("keys", "second"):
        movers.call(who, "imported_keys.remove", key=kek)
    movers.bring(kek, keyset(), use="keysets")  # another key under the name that was approved
    found = movers.call("keys", "keys.export", key=name, kek=kek)
    assert (found.state, found.keyset) == ("asked", None)
    for who in ("keys", "second"):
        movers.call(who, "imported_keys.remove", key=name)
    assert name not in {one.key for one in movers.call("keys", "key_requests.list").data}


def test_a_name_that_became_a_field_s_is_not_approved_and_does_not_leave(tmp_path):
    """The policy declares a field between the request and the approval, and beside a live key of the same name."""
    policies = policies_with(tmp_path, "vault.yaml", FIELDS)
    later = policies / "fields" / "vault.yaml"
    text = later.read_text()
    later.unlink()
    with world(tmp_path / "home", policies=policies) as made:
        movers = Movers(made)
        live = FIELDS.replace("vault", "other")
        movers.bring("other.pair", keyset())
        asked = movers.call("keys", "keys.import", key="vault.pair", format="tink", material=keyset())
    later.write_text(text)
    (policies / "fields" / "other.yaml").write_text(live)
    with world(tmp_path / "home", policies=policies) as made:
        movers = Movers(made)
        with pytest.raises(AlreadyExists, match="the key of a field"):
            movers.call("second", "keys.approve_import", key="vault.pair", request=asked.request)
        movers.rotate("other.pair")
        with pytest.raises(AlreadyExists, match="the key of a field"):
            movers.call("keys", "keys.export", key="other.pair")


def test_what_waits_to_be_destroyed_does_not_leave(movers, database):
    first = movers.call("keys", "keys.export", key="vault.pair")
    movers.call("second", "keys.approve_export", key="vault.pair", request=first.request)
    before = json.loads(movers.call("keys", "keys.export", key="vault.pair").keyset)
    movers.rotate("vault.pair")
    pending = "UPDATE key_versions SET state = 'destroy_pending' WHERE name = 'vault.pair' AND version = 1"
    assert database.execute(pending).rowcount >= 1
    after = json.loads(movers.take_out("vault.pair"))
    gone = before["key"][0]["keyData"]["value"]
    assert gone not in {one["keyData"]["value"] for one in after["key"]}
    assert [one["keyId"] for one in after["key"]] == [2]


def test_a_rotation_makes_no_old_removal_young(tmp_path):
    with world(tmp_path / "home") as made:
        movers = Movers(made)
        movers.bring("a.b", keyset())
        movers.call("keys", "imported_keys.remove", key="a.b")
        for _ in range(2):
            made.clock.advance(4 * 86400)
            movers = Movers(made)
            movers.call("keys", "imported_keys.rotate", key="a.b")
        assert movers.call("second", "imported_keys.remove", key="a.b").state == "removing"  # the first of two again
        assert movers.sealed("a.b", b"x")


# one key's ciphertexts under another


@pytest.mark.parametrize("prefix", ["TINK", "RAW"])
@pytest.mark.parametrize("kind", HEADS)
def test_a_ciphertext_opens_under_its_own_key_alone(movers, strangers, kind, prefix):
    names = [fresh() for _ in range(3)]
    for name in names[:2]:  # one id for both, so that nothing but the key tells them apart
        movers.bring(name, keyset(kind, prefix=prefix))
    strangers.bring(names[2], keyset(kind, prefix=prefix))
    item = {"ciphertext": enc(movers.sealed(names[0], b"value")[0])}
    assert movers.opened(names[0], item) == [enc(b"value")]
    assert movers.opened(names[1], item) == [DOES_NOT_OPEN]
    assert strangers.opened(names[2], item) == [DOES_NOT_OPEN]


# counters


class Histories(RuleBasedStateMachine):
    """Two AES-GCM keys under names that come and go; the model is one number for each key, and what each name holds."""

    movers = None
    names = st.sampled_from(["left", "right"])

    def __init__(self):
        super().__init__()
        self.materials = [secrets.token_bytes(32) for _ in range(2)]
        self.prefix = secrets.token_hex(4)
        self.held = {}  # name -> materials by key id, the last one seals
        self.count = {}

    def name(self, short):
        return f"{self.prefix}.{short}"

    @rule(short=names, which=st.integers(0, 1), before=st.sampled_from([0, 0, 5, 1000]))
    def bring(self, short, which, before):
        material = self.materials[which]
        arguments = {"key": self.name(short), "material": keyset("AesGcmKey", material), "sealed_before": before}
        if short in self.held:
            with pytest.raises(AlreadyExists):
                self.movers.call("keys", "keys.import", format="tink", **arguments)
            return
        self.movers.bring(**arguments)
        self.held[short] = {7: material}
        self.count[material] = max(self.count.get(material, 0), before)

    @precondition(lambda self: self.held)
    @rule(short=names, messages=st.integers(1, 4))
    def seal(self, short, messages):
        if short not in self.held:
            with pytest.raises(NotFound):
                self.movers.sealed(self.name(short), b"x")
            return
        sealed = self.movers.sealed(self.name(short), *[b"x"] * messages)
        assert len({one[5:17] for one in sealed}) == messages
        key_id = int.from_bytes(sealed[0][1:5], "big")
        assert key_id == list(self.held[short])[-1]
        self.count[self.held[short][key_id]] += messages

    @precondition(lambda self: self.held)
    @rule(short=names)
    def rotate(self, short):
        if short in self.held:
            view = self.movers.call("keys", "imported_keys.rotate", key=self.name(short))
            fresh_key = object()  # nobody outside knows its bytes
            self.held[short][view.versions[-1].id] = fresh_key
            self.count[fresh_key] = 0

    @precondition(lambda self: self.held)
    @rule(short=names)
    def remove(self, short):
        if short in self.held:
            for who in ("keys", "second"):
                self.movers.call(who, "imported_keys.remove", key=self.name(short))
            del self.held[short]

    @precondition(lambda self: self.held)
    @rule(short=names)
    def leave_and_come_back(self, short):
        """What leaves with all its keys and comes back under the name goes on where it was."""
        if short in self.held:
            before, text = dict(self.held[short]), self.movers.take_out(self.name(short))
            self.remove(short)
            kept = {one["keyId"]: base64.b64decode(one["keyData"]["value"])[2:] for one in json.loads(text)["key"]}
            self.movers.bring(self.name(short), text)
            self.held[short] = dict.fromkeys(kept)
            for view in self.movers.versions(self.name(short)):
                assert view.sealed == self.count[before[view.id]]
                self.count[kept[view.id]] = view.sealed
                self.held[short][view.id] = kept[view.id]

    @rule()
    def counts(self):
        for short, keys in self.held.items():
            shown = {one.id: one.sealed for one in self.movers.versions(self.name(short))}
            assert shown == {key_id: self.count[material] for key_id, material in keys.items()}

    def teardown(self):
        self.counts()


def test_a_history_of_names_loses_no_count_of_a_key(movers):
    Histories.movers = movers
    run_state_machine_as_test(
        Histories,
        settings=settings(
            max_examples=12, stateful_step_count=14, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


@pytest.mark.parametrize(
    ("before", "messages", "left"),
    [
        (0, 1, None),
        (ROTATE_AT - 2, 1, None),
        (REFUSE_AT - 3, 3, None),
        (REFUSE_AT - 3, 4, 3),
        (REFUSE_AT, 1, 0),
    ],
)
def test_up_to_the_limit_and_not_one_message_beyond(movers, before, messages, left):
    name = fresh()
    movers.bring(name, keyset("AesGcmKey"), sealed_before=before)
    if left is None:
        assert len(movers.sealed(name, *[b"x"] * messages)) == messages
        assert movers.versions(name)[0].sealed == before + messages
        assert (len(movers.versions(name)) == 2) == (before + messages >= ROTATE_AT)
        return
    with pytest.raises(KeyStateConflict, match=f"at most {left} messages"):
        movers.sealed(name, *[b"x"] * messages)
    assert [one.sealed for one in movers.versions(name)] == [before]


def test_a_count_is_of_the_key_in_every_tenant(movers, strangers):
    """Two tenants that brought one key must not seal 2^32 messages each."""
    material, ours, theirs = secrets.token_bytes(32), fresh(), fresh()
    movers.bring(ours, keyset("AesGcmKey", material), sealed_before=REFUSE_AT - 1)
    strangers.bring(theirs, keyset("AesGcmKey", material, key_id=9, prefix="RAW"))
    strangers.sealed(theirs, b"x")
    with pytest.raises(KeyStateConflict, match="at most 0"):
        movers.sealed(ours, b"x")


@pytest.mark.parametrize("before", [-1, REFUSE_AT + 1, 1.5, "many"])
def test_a_count_that_is_none_is_refused(movers, before):
    with pytest.raises(InvalidRequest):
        movers.call("keys", "keys.import", key=fresh(), format="tink", material=keyset(), sealed_before=before)


def test_a_rolled_back_counter_repeats_no_nonce(movers, database):
    """The row is set back as a restored backup would; 96 bits of HMAC over fresh random bytes do not repeat."""
    name = fresh()
    movers.bring(name, keyset("AesGcmKey"))
    nonces = []
    for _ in range(5):
        nonces += [one[5:17] for one in movers.sealed(name, *[b"same"] * 40)]
        database.execute("UPDATE gcm_counters SET reserved = 0")
    assert len(set(nonces)) == len(nonces) == 200
