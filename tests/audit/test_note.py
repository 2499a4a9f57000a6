"""Signed notes: the one spelling, whose signatures count, and the three kinds of signature."""

import base64
import hashlib
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.audit import note
from guard.audit.checkpoint import Checkpoint
from guard.audit.note import Kind, Note, Signature, VerifierKey
from guard.errors import InvalidInput, VerificationFailed
from tests.audit.building import KEY, ORIGIN, PQ_KEY, PQ_VKEY, STRANGER, VKEY, signed

ROOT = base64.b64decode("Q6ynC7xJmyY6QAzGYdLE9RNW5PhWNSGJ35GeABFbGQs=")
HEAD = Checkpoint(ORIGIN, 2, ROOT)
TEXT = HEAD.text()
GOLDEN_VKEY = "guard.example/guard/main+d200cf3d+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4"
GOLDEN_LINE = (
    "— guard.example/guard/main "
    "0gDPPQAKtVP7teaEUmcYZVHZNJjEFVCBbEawpWVmWuTXDQsZuRtTJyE3CUIXX49DUcmJ4aijVBDL4V+cs7Kk4kDilws=\n"
)
GOLDEN_NOTE = f"{TEXT}\n{GOLDEN_LINE}".encode()
WITNESS = "witness.example/w1"
WITNESS_VKEY = VerifierKey(WITNESS, Kind.COSIGNATURE, KEY.public_key().public_bytes_raw())
STRANGER_VKEY = VerifierKey(ORIGIN, Kind.ED25519, STRANGER.public_key().public_bytes_raw())
TIME = 1_790_000_000


def line(data=bytes(68), name="a"):
    return f"— {name} {base64.b64encode(data).decode()}\n"


class TestGolden:
    def test_the_signed_note(self):
        made = Note(TEXT, (note.sign_ed25519(TEXT, ORIGIN, KEY),))
        assert made.encode() == GOLDEN_NOTE
        assert note.parse(GOLDEN_NOTE) == made
        assert note.verify(made, [VKEY]) == (VKEY,)

    def test_the_verifier_key(self):
        assert VKEY.encode() == GOLDEN_VKEY
        assert VerifierKey.decode(GOLDEN_VKEY) == VKEY
        assert VKEY.key_id.hex() == "d200cf3d"

    def test_the_note_of_the_specification_parses(self):
        text = "Ognuno sta solo sul cuor della terra\ntrafitto da un raggio di sole:\n\ned è subito sera.\n"
        blob = "NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc="
        found = note.parse(f"{text}\n— quasimodo.example/salvatore {blob}\n".encode())
        assert found.text == text
        assert found.signatures[0].name == "quasimodo.example/salvatore"
        assert len(found.signatures[0].signature) == 64


MALFORMED = [
    b"",
    b"\n",
    b"\n\n",
    b"text\n",
    b"text\n\n",
    TEXT.encode(),
    TEXT.encode() + b"\n",
    TEXT.encode() + GOLDEN_LINE.encode(),
    GOLDEN_NOTE[:-1],
    GOLDEN_NOTE + b"\n",
    GOLDEN_NOTE + b"more",
    GOLDEN_NOTE.replace(b"\n", b"\r\n"),
    GOLDEN_NOTE.replace(b"guard.example", b"guard\x00example", 1),
    GOLDEN_NOTE.replace(b"guard.example", b"guard\texample", 1),
    GOLDEN_NOTE.replace(b"guard.example", b"guard\x1b[2Jexample", 1),
    GOLDEN_NOTE.replace(b"guard.example", b"guard\xffexample", 1),
    GOLDEN_NOTE.replace(b"guard.example", b"guard\xed\xa0\x80example", 1),
    GOLDEN_NOTE.replace("—".encode(), b"-"),
    GOLDEN_NOTE.replace("—".encode(), "–".encode()),
    GOLDEN_NOTE.replace("— ".encode(), "—".encode()),
    GOLDEN_NOTE.replace("— ".encode(), "—  ".encode()),
    f"text\n\n{line()}junk\n".encode(),
    f"text\n\n{line(name='')}".encode(),
    f"text\n\n{line(name='a+b')}".encode(),
    f"text\n\n{line(name='a b')}".encode(),
    "text\n\n— a\u00a0b AAAAAAA=\n".encode(),
    "text\n\n— a\u2028b AAAAAAA=\n".encode(),
    "text\n\n— a\u3000b AAAAAAA=\n".encode(),
    "text\n\n— a\u0085b AAAAAAA=\n".encode(),
    f"text\n\n{line(bytes(4))}".encode(),
    f"text\n\n{line(b'')}".encode(),
    "text\n\n— a AAAAAAA\n".encode(),
    "text\n\n— a AAAAAAB=\n".encode(),  # unused bits that are not zero
    "text\n\n— a AAAAAAA==\n".encode(),
    "text\n\n— a AAAA-AA=\n".encode(),
    "text\n\n— a AAAAAAA= \n".encode(),
    ("text\n\n" + line() * 65).encode(),
    b"a" * (1 << 20) + f"\n\n{line()}".encode(),
]


class TestParse:
    @pytest.mark.parametrize("data", MALFORMED)
    def test_malformed_notes_are_refused(self, data):
        with pytest.raises(InvalidInput):
            note.parse(data)

    @pytest.mark.parametrize("count", [1, 2, 16, 17, 64])
    def test_many_signatures_are_accepted(self, count):
        data = ("text\n\n" + "".join(line(name=f"key{number}") for number in range(count))).encode()
        assert len(note.parse(data).signatures) == count

    def test_the_last_empty_line_ends_the_text(self):
        found = note.parse(f"one\n\n\ntwo\n\n{line()}".encode())
        assert found.text == "one\n\n\ntwo\n"

    def test_a_text_may_hold_what_looks_like_a_signature(self):
        found = note.parse(f"{line()}\n{line(name='b')}".encode())
        assert found.text == line()
        assert [one.name for one in found.signatures] == ["b"]

    @given(
        st.lists(st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]), min_size=1), min_size=1),
        st.lists(
            st.tuples(st.text("abcé/.-", min_size=1), st.binary(min_size=4, max_size=4), st.binary(min_size=1)),
            min_size=1,
            max_size=20,
        ),
    )
    @settings(max_examples=100)
    def test_a_note_and_back(self, lines, signatures):
        made = Note("\n".join(lines) + "\n", tuple(Signature(*one) for one in signatures))
        assert note.parse(made.encode()) == made

    @given(st.binary(max_size=120))
    @settings(max_examples=150)
    def test_what_parses_is_written_the_same(self, junk):
        for data in (junk, TEXT.encode() + junk, GOLDEN_NOTE[: len(junk) * 2] + junk):
            try:
                found = note.parse(data)
            except InvalidInput:
                continue
            assert found.encode() == data

    def test_a_refusal_does_not_repeat_the_note(self):
        with pytest.raises(InvalidInput) as caught:
            note.parse(b"a secret text")
        assert "secret" not in caught.value.detail


class TestVerify:
    def test_unknown_keys_are_ignored(self):
        made = Note(TEXT, (note.sign_ed25519(TEXT, ORIGIN, STRANGER), note.sign_ed25519(TEXT, ORIGIN, KEY)))
        assert note.verify(made, [VKEY]) == (VKEY,)

    def test_a_key_of_the_same_id_under_another_name_is_unknown(self):
        good = note.sign_ed25519(TEXT, ORIGIN, KEY)
        impostor = Signature("guard.example/guard/other", good.key_id, bytes(64))
        assert note.verify(Note(TEXT, (impostor, good)), [VKEY]) == (VKEY,)

    @pytest.mark.parametrize("keys", [[], [STRANGER_VKEY], [WITNESS_VKEY]])
    def test_without_a_known_signer_a_note_says_nothing(self, keys):
        with pytest.raises(VerificationFailed, match="known keys was expected"):
            note.verify(note.parse(GOLDEN_NOTE), keys)

    def test_a_known_key_that_fails_refuses_the_note(self):
        good, other = note.sign_ed25519(TEXT, ORIGIN, KEY), note.sign_ed25519(TEXT, ORIGIN, STRANGER)
        broken = Signature(ORIGIN, other.key_id, good.signature)
        with pytest.raises(VerificationFailed, match="is wrong for this note"):
            note.verify(Note(TEXT, (good, broken)), [VKEY, STRANGER_VKEY])

    def test_each_key_counts_once(self):
        good = note.sign_ed25519(TEXT, ORIGIN, KEY)
        assert note.verify(Note(TEXT, (good, good)), [VKEY, VKEY]) == (VKEY,)

    @pytest.mark.parametrize("length", [1, 63, 65, 2428])
    def test_a_signature_of_another_length_fails(self, length):
        with pytest.raises(VerificationFailed):
            note.verify(Note(TEXT, (Signature(ORIGIN, VKEY.key_id, bytes(length)),)), [VKEY])

    @given(st.integers(0, len(GOLDEN_NOTE) - 1), st.integers(0, 7))
    @settings(max_examples=200)
    def test_no_changed_note_verifies(self, at, bit):
        data = bytearray(GOLDEN_NOTE)
        data[at] ^= 1 << bit
        with pytest.raises((InvalidInput, VerificationFailed)):
            note.verify(note.parse(bytes(data)), [VKEY])


class TestKinds:
    def test_a_checkpoint_carries_both_signatures(self):
        made = note.parse(signed(ORIGIN, 2, ROOT, pq=True))
        assert note.verify(made, [VKEY, PQ_VKEY]) == (VKEY, PQ_VKEY)
        assert note.verify(made, [PQ_VKEY]) == (PQ_VKEY,)
        assert [len(one.signature) for one in made.signatures] == [64, 8 + 2420]

    def test_the_post_quantum_message_is_that_of_the_specification(self):
        made = note.sign_mldsa44(HEAD, ORIGIN, PQ_KEY, TIME)
        name = ORIGIN.encode()
        message = (
            b"subtree/v1\n\x00"
            + bytes([len(name)])
            + name
            + TIME.to_bytes(8, "big")
            + bytes([len(name)])
            + name
            + bytes(8)
            + (2).to_bytes(8, "big")
            + ROOT
        )
        assert made.signature[:8] == TIME.to_bytes(8, "big")
        PQ_KEY.public_key().verify(made.signature[8:], message)

    def test_the_witness_message_is_that_of_the_specification(self):
        made = note.cosign_ed25519(TEXT, WITNESS, KEY, TIME)
        KEY.public_key().verify(made.signature[8:], f"cosignature/v1\ntime {TIME}\n{TEXT}".encode())
        assert note.verify(Note(TEXT, (made,)), [WITNESS_VKEY]) == (WITNESS_VKEY,)

    def test_one_key_has_another_id_for_each_kind(self):
        public = KEY.public_key().public_bytes_raw()
        ids = {VerifierKey(ORIGIN, kind, public).key_id for kind in Kind}
        assert len(ids) == 3
        expected = hashlib.sha256(ORIGIN.encode() + b"\n\x01" + public).digest()[:4]
        assert VerifierKey(ORIGIN, Kind.ED25519, public).key_id == expected

    @pytest.mark.parametrize(
        "other", [Checkpoint(ORIGIN, 3, ROOT), Checkpoint(ORIGIN, 2, bytes(32)), Checkpoint("other", 2, ROOT)]
    )
    def test_a_post_quantum_signature_is_bound_to_origin_size_and_root(self, other):
        made = note.sign_mldsa44(HEAD, ORIGIN, PQ_KEY, TIME)
        with pytest.raises(VerificationFailed):
            note.verify(Note(other.text(), (made,)), [PQ_VKEY])

    @pytest.mark.parametrize("kind", ["mldsa", "witness"])
    def test_a_changed_time_is_refused(self, kind):
        make = {
            "mldsa": lambda: (note.sign_mldsa44(HEAD, ORIGIN, PQ_KEY, TIME), PQ_VKEY),
            "witness": lambda: (note.cosign_ed25519(TEXT, WITNESS, KEY, TIME), WITNESS_VKEY),
        }
        made, vkey = make[kind]()
        later = (TIME + 1).to_bytes(8, "big") + made.signature[8:]
        with pytest.raises(VerificationFailed):
            note.verify(Note(TEXT, (Signature(made.name, made.key_id, later),)), [vkey])

    @pytest.mark.parametrize("time", [-1, 2**63, 2**64])
    def test_a_time_outside_posix_is_not_signed(self, time):
        with pytest.raises(InvalidInput, match="POSIX time"):
            note.sign_mldsa44(HEAD, ORIGIN, PQ_KEY, time)
        with pytest.raises(InvalidInput, match="POSIX time"):
            note.cosign_ed25519(TEXT, WITNESS, KEY, time)

    def test_a_time_outside_posix_is_not_believed_though_signed(self):
        stamp = (2**63).to_bytes(8, "big")
        text = f"cosignature/v1\ntime {2**63}\n{TEXT}".encode()
        made = Signature(WITNESS, WITNESS_VKEY.key_id, stamp + KEY.sign(text))
        with pytest.raises(VerificationFailed):
            note.verify(Note(TEXT, (made,)), [WITNESS_VKEY])

    def test_a_post_quantum_signature_under_a_text_that_is_no_checkpoint_fails(self):
        made = note.sign_mldsa44(HEAD, ORIGIN, PQ_KEY, TIME)
        with pytest.raises(VerificationFailed):
            note.verify(Note(TEXT + "extension\n", (made,)), [PQ_VKEY])

    @pytest.mark.parametrize("name", ["", "a b", "a+b", "a\n", "a" * 256])
    def test_no_signing_under_a_name_that_would_not_parse(self, name):
        with pytest.raises(InvalidInput, match="key name"):
            note.sign_ed25519(TEXT, name, KEY)
        with pytest.raises(InvalidInput, match="key name"):
            note.sign_mldsa44(HEAD, name, PQ_KEY, TIME)


def vkey(name=ORIGIN, key_id=None, material=b"\x01" + VKEY.public):
    right = hashlib.sha256(name.encode() + b"\n" + material).hexdigest()[:8]
    return f"{name}+{key_id or right}+{base64.b64encode(material).decode()}"


class TestVerifierKeys:
    @pytest.mark.parametrize("key", [VKEY, PQ_VKEY, WITNESS_VKEY, STRANGER_VKEY])
    def test_a_key_and_back(self, key):
        assert VerifierKey.decode(key.encode()) == key

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "+",
            "a+b",
            GOLDEN_VKEY + "\n",
            " " + GOLDEN_VKEY,
            GOLDEN_VKEY.replace("d200cf3d", "d200cf3e"),
            GOLDEN_VKEY.replace("d200cf3d", "D200CF3D"),
            GOLDEN_VKEY.replace("d200cf3d", "d200cf3"),
            GOLDEN_VKEY.replace("guard.example", "guard.exemple"),
            GOLDEN_VKEY[:-1],
            GOLDEN_VKEY[:-1] + "5",
            GOLDEN_VKEY + "=",
            vkey(name="a b"),
            vkey(name=""),
            vkey(name="a" * 256),
            vkey(material=b"\x01" + bytes(31)),
            vkey(material=b"\x01" + bytes(33)),
            vkey(material=b"\x01"),
            vkey(material=b"\x02" + bytes(32)),
            vkey(material=b"\x06" + bytes(32)),
            vkey(material=b"\x01" + bytes(1312)),
            vkey(material=b"\xff" + bytes(32)),
            f"{ORIGIN}+00000000+",
        ],
    )
    def test_other_texts_are_no_keys(self, text):
        with pytest.raises(InvalidInput, match="verifier key"):
            VerifierKey.decode(text)

    @given(st.integers(0, len(GOLDEN_VKEY) - 1), st.characters(min_codepoint=33, max_codepoint=126))
    @settings(max_examples=150)
    def test_no_character_can_be_changed(self, at, mark):
        changed = GOLDEN_VKEY[:at] + mark + GOLDEN_VKEY[at + 1 :]
        if changed != GOLDEN_VKEY:
            with pytest.raises(InvalidInput):
                VerifierKey.decode(changed)


class TestOpenCheckpoint:
    def test_a_good_note_gives_its_checkpoint(self):
        assert note.open_checkpoint(GOLDEN_NOTE, ORIGIN, [VKEY]) == HEAD

    def test_the_checkpoint_of_another_log_is_refused(self):
        with pytest.raises(VerificationFailed, match="another log"):
            note.open_checkpoint(GOLDEN_NOTE, "guard.example/guard/other", [VKEY])

    def test_a_forged_checkpoint_is_refused(self):
        with pytest.raises(VerificationFailed):
            note.open_checkpoint(signed(ORIGIN, 2, ROOT, key=STRANGER), ORIGIN, [VKEY])

    def test_a_note_that_is_no_checkpoint_is_refused(self):
        text = "only a text\n"
        made = Note(text, (note.sign_ed25519(text, ORIGIN, KEY),))
        with pytest.raises(InvalidInput):
            note.open_checkpoint(made.encode(), ORIGIN, [VKEY])


class TestWycheproof:
    def test_ed25519(self, conformance):
        """The 151 cases of C2SP/wycheproof, each as the signature of a note line."""
        groups = json.loads((conformance("wycheproof") / "ed25519_test.json").read_text())["testGroups"]
        wrong, count = [], 0
        for group in groups:
            key = VerifierKey("a", Kind.ED25519, bytes.fromhex(group["publicKey"]["pk"]))
            for case in group["tests"]:
                count += 1
                held = note_holds(key, bytes.fromhex(case["msg"]), bytes.fromhex(case["sig"]))
                if held != (case["result"] == "valid"):
                    wrong.append(case["tcId"])
        assert (count, wrong) == (151, [])


def note_holds(key, message, signature):
    """Messages that are no UTF-8 cannot be notes, so these are asked of the same key directly."""
    try:
        text = message.decode()
    except UnicodeDecodeError:
        return raw_holds(key, message, signature)
    try:
        note.verify(Note(text, (Signature(key.name, key.key_id, signature),)), [key])
    except VerificationFailed:
        return False
    return True


def raw_holds(key, message, signature):
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(key.public).verify(signature, message)
    except InvalidSignature:
        return False
    return True


def test_keys_are_made_from_seeds_for_these_tests_only():
    assert Ed25519PrivateKey.from_private_bytes(bytes(range(32))).public_key() == KEY.public_key()
