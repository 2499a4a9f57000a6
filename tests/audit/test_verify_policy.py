"""Whom the verifier believes: policies with witnesses and a quorum, cosignatures, and the sizes that a key may sign."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.audit import note, tree
from guard.audit.note import Kind, Note
from guard.audit.verifier.command import main, verify
from guard.audit.verifier.policy import MAX_LINES, Range, is_bare, parse_policy, parse_ranges
from tests.audit.building import ORIGIN, PQ_KEY, PQ_VKEY, STRANGER, VKEY, entries_of, write
from tests.audit.layouts import (
    NOW,
    WITNESS_KEYS,
    canonical,
    checkpoint,
    evidence,
    evidence_entries,
    head_of,
    sealed_again,
    tiles_log,
    witnessed,
)

LOG = f"log {VKEY.encode()}\n"
W1, W2, W3 = (f"witness {name} {key.encode()}\n" for name, key in WITNESS_KEYS.items())
LABELS = {name: f"{key.name}+{key.key_id.hex()}" for name, key in WITNESS_KEYS.items()}
STRANGERS = note.VerifierKey(ORIGIN, Kind.ED25519, STRANGER.public_key().public_bytes_raw())


def lines(files, folder, **options):
    return [str(fault) for fault in verify(write(folder, files.items()), **options).faults]


class TestPolicies:
    @pytest.mark.parametrize(
        ("rule", "signed", "met"),
        [
            ("quorum none\n", "", True),
            ("quorum w1\n", "w1", True),
            ("quorum w1\n", "w2 w3", False),
            ("group g any w1 w2 w3\nquorum g\n", "w3", True),
            ("group g any w1 w2 w3\nquorum g\n", "", False),
            ("group g all w1 w2 w3\nquorum g\n", "w1 w3", False),
            ("group g all w1 w2 w3\nquorum g\n", "w1 w2 w3", True),
            ("group g 2 w1 w2 w3\nquorum g\n", "w1 w3", True),
            ("group g 2 w1 w2 w3\nquorum g\n", "w1", False),
            ("group a any w1 w2\ngroup b all a w3\nquorum b\n", "w2 w3", True),
            ("group a any w1 w2\ngroup b all a w3\nquorum b\n", "w1 w2", False),
            ("group all 1 w1\nquorum all\n", "w1", True),
            ("quorum w1\ngroup g any w2\n", "w1", True),
        ],
    )
    def test_a_quorum_is_met_or_says_what_it_misses(self, rule, signed, met):
        policy = parse_policy(LOG + W1 + W2 + W3 + rule)
        short = policy.shortfall({LABELS[name] for name in signed.split()})
        assert (short == "") is met
        assert met or short.startswith("the quorum ")

    def test_spaces_tabs_comments_addresses_and_empty_lines(self):
        text = f"# ours\n \t\n\t log\t{VKEY.encode()}  https://guard.example/ \n  # more\n{W1[:-1]} https://w1.example/\nquorum w1"
        policy = parse_policy(text)
        assert list(policy.logs) == [f"{ORIGIN}+{VKEY.key_id.hex()}"]
        assert policy.quorum == "w1"

    def test_a_policy_without_a_log_is_one(self):
        assert parse_policy("quorum none\n").logs == {}

    def test_a_witness_may_sign_with_mldsa(self):
        key = note.VerifierKey("witness.example/pq", Kind.MLDSA44, PQ_VKEY.public)
        assert parse_policy(f"witness w {key.encode()}\nquorum w\n").witnesses["w"][1][0] == Kind.MLDSA44

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("", "one line `quorum NAME` was expected, none came"),
            (LOG, "one line `quorum NAME` was expected, none came"),
            ("quorum none\nquorum none\n", "line 2: one quorum was expected"),
            ("quorum w1\n" + W1, "line 1: one quorum was expected"),
            ("quorum\n", "line 1: another number of words was expected"),
            ("quorum a b\n", "line 1: another number of words was expected"),
            ("log\nquorum none\n", "line 1: another number of words was expected"),
            (LOG[:-1] + " a b\nquorum none\n", "line 1: another number of words was expected"),
            (LOG + LOG + "quorum none\n", "line 2: each key of the log once was expected"),
            (LOG.replace("AQ", "AR") + "quorum none\n", "line 1: a verifier key"),
            (f"log {WITNESS_KEYS['w1'].encode()}\nquorum none\n", "line 1: a verifier key"),
            (f"witness w {VKEY.encode()}\nquorum w\n", "line 1: a verifier key"),
            ("witness w x\nquorum w\n", "line 1: a verifier key"),
            (W1 + W1 + "quorum w1\n", "line 2: each key of a witness once was expected"),
            (W1 + W1.replace("w1 ", "w9 ", 1) + "quorum w1\n", "line 2: each key of a witness once was expected"),
            (W1 + W2.replace(" w2 ", " w1 ", 1) + "quorum w1\n", "line 2: a name of its own"),
            (W1.replace(" w1 ", " none ", 1) + "quorum none\n", "line 1: a name of its own"),
            (W1 + "group w1 any w1\nquorum w1\n", "line 2: a name of its own"),
            (W1 + "group none any w1\nquorum none\n", "line 2: a name of its own"),
            (W1 + "group g any\nquorum g\n", "line 2: any, all or a number"),
            (W1 + "group g 0 w1\nquorum g\n", "line 2: any, all or a number"),
            (W1 + "group g 2 w1\nquorum g\n", "line 2: any, all or a number"),
            (W1 + "group g 01 w1\nquorum g\n", "line 2: any, all or a number"),
            (W1 + "group g -1 w1\nquorum g\n", "line 2: any, all or a number"),
            (W1 + "group g most w1\nquorum g\n", "line 2: any, all or a number"),
            (W1 + "group g any w2\nquorum g\n", "line 2: members that stand in lines above"),
            (W1 + "group g any g\nquorum g\n", "line 2: members that stand in lines above"),
            (W1 + "group g any none\nquorum g\n", "line 2: members that stand in lines above"),
            (W1 + "group g 2 w1 w1\nquorum g\n", "line 2: members that stand in lines above"),
            (W1 + W2 + "group a any w1\ngroup b 2 a w1\nquorum b\n", "line 4: members that stand in lines above"),
            ("monitor x\nquorum none\n", "line 1: log, witness, group or quorum was expected"),
            ("quorum none # no comment here\n", "line 1: another number of words was expected"),
            ("quorum none\r\n", "no control characters"),
            ("quorum\x0bnone\n", "no control characters"),
            ("quorum none\n\x7f", "no control characters"),
            ("log x\n" * (MAX_LINES + 1), f"at most {MAX_LINES} lines were expected"),
        ],
    )
    def test_what_the_specification_forbids_is_refused_with_its_line(self, text, told):
        with pytest.raises(ValueError, match="expected") as caught:
            parse_policy(text)
        assert str(caught.value).startswith(told)

    def test_names_are_compared_by_their_letters(self):
        kelvin = W1.replace(" w1 ", " \u212a ", 1) + W2.replace(" w2 ", " K ", 1)
        assert set(parse_policy(kelvin + "quorum K\n").witnesses) == {"\u212a", "K"}

    @given(st.text(st.sampled_from("logwitneskuruma gp12\n\t#+"), max_size=60))
    @settings(max_examples=200)
    def test_any_text_is_read_or_refused(self, text):
        try:
            found = parse_policy(text)
        except ValueError:
            return
        assert found.quorum

    @pytest.mark.parametrize(
        ("text", "bare"),
        [
            (LOG + "quorum none\n", True),
            (LOG + f"log {PQ_VKEY.encode()}\nquorum none\n", True),
            ("quorum none\n", False),
            (LOG + "quorum none", False),
            (LOG + "\nquorum none\n", False),
            (LOG[:-1] + " \nquorum none\n", False),
            ("# x\n" + LOG + "quorum none\n", False),
        ],
    )
    def test_only_keys_and_no_quorum_need_no_manifest(self, text, bare):
        assert is_bare(text) is bare


class TestCosignatures:
    entries = entries_of(3)

    def test_a_quorum_that_is_met(self, tmp_path, capsys):
        files = tiles_log(self.entries, cosigned=("w1", "w3"), policy_text=witnessed())
        folder = write(tmp_path, files.items())
        report = verify(folder)
        assert report.faults == []
        assert report.cosigners == [LABELS["w1"], LABELS["w3"]]
        assert report.counts["cosignatures"] == 2
        assert main([str(folder)]) == 0
        assert f"cosigned by {LABELS['w1']}, {LABELS['w3']}" in capsys.readouterr().out

    @pytest.mark.parametrize(("cosigned", "by"), [((), "by nobody"), (("w2",), "w2"), (("w2", "w2", "w2"), "w2")])
    def test_one_that_is_not_is_named(self, tmp_path, cosigned, by):
        files = tiles_log(self.entries, cosigned=cosigned, policy_text=witnessed())
        assert lines(files, tmp_path) == [
            f"checkpoint: the quorum all_of (2 of w1, w2, w3) was expected, cosigned {by}"
        ]

    def test_a_wrong_cosignature_refuses_the_checkpoint(self, tmp_path):
        files = tiles_log(self.entries, cosigned=("w1", "w2"), policy_text=witnessed())
        found = note.parse(files["checkpoint"])
        one, two, three = found.signatures
        spoilt = note.Signature(two.name, two.key_id, two.signature[:8] + three.signature[8:])
        files["checkpoint"] = Note(found.text, (one, spoilt, three)).encode()
        assert lines(sealed_again(files), tmp_path) == [
            f"checkpoint: the signature by {LABELS['w1']} is wrong: the text or the signature was changed"
        ]

    def test_a_cosignature_of_another_time_does_not_hold(self, tmp_path):
        files = tiles_log(self.entries, cosigned=("w1", "w2"), policy_text=witnessed())
        found = note.parse(files["checkpoint"])
        one, two, three = found.signatures
        later = note.Signature(two.name, two.key_id, (NOW + 1).to_bytes(8) + two.signature[8:])
        files["checkpoint"] = Note(found.text, (one, later, three)).encode()
        assert "checkpoint: the signature by" in lines(sealed_again(files), tmp_path)[0]

    def test_a_post_quantum_witness_counts(self, tmp_path):
        name = "witness.example/pq"
        key = note.VerifierKey(name, Kind.MLDSA44, PQ_KEY.public_key().public_bytes_raw())
        rule = f"{LOG}witness pq {key.encode()}\nquorum pq\n".encode()
        head = head_of([tree.leaf_hash(entry) for entry in self.entries])
        files = tiles_log(self.entries, policy_text=rule)
        found = note.parse(files["checkpoint"])
        assert lines(files, tmp_path / "a") == ["checkpoint: the quorum pq (pq) was expected, cosigned by nobody"]
        line = note.sign_mldsa44(head, name, PQ_KEY, NOW)
        files["checkpoint"] = Note(found.text, (*found.signatures, line)).encode()
        assert lines(sealed_again(files), tmp_path / "b") == []

    def test_a_witness_is_no_key_of_the_log(self, tmp_path):
        files = tiles_log(self.entries, cosigned=("w1", "w2"), policy_text=witnessed())
        found = note.parse(files["checkpoint"])
        files["checkpoint"] = Note(found.text, found.signatures[1:]).encode()
        assert lines(sealed_again(files), tmp_path)[0].startswith("checkpoint: a signature by a known key of the log")

    def test_witnesses_in_a_policy_need_the_manifest(self, tmp_path):
        files = tiles_log(self.entries, cosigned=("w1", "w2"), policy_text=witnessed())
        for name in ("manifest.json", "manifest.note"):
            del files[name]
        assert any(line.startswith("policy.txt: `log VKEY` and") for line in lines(files, tmp_path))

    def test_a_policy_from_elsewhere_stands_over_the_one_inside(self, tmp_path, capsys):
        folder = write(tmp_path / "log", tiles_log(self.entries).items())
        own = tmp_path / "own.txt"
        own.write_bytes(witnessed())
        assert main([str(folder)]) == 0
        capsys.readouterr()
        assert main([str(folder), "--policy", str(own)]) == 7
        assert "FAULT checkpoint: the quorum all_of (2 of w1, w2, w3)" in capsys.readouterr().out
        own.write_bytes(f"log {STRANGERS.encode()}\nquorum none\n".encode())
        assert main([str(folder), "--policy", str(own)]) == 7

    def test_a_policy_from_elsewhere_that_is_none_ends_with_2(self, tmp_path, capsys):
        folder = write(tmp_path / "log", tiles_log(self.entries).items())
        own = tmp_path / "own.txt"
        for data in (b"quorum\n", b"\xff"):
            own.write_bytes(data)
            assert main([str(folder), "--policy", str(own)]) == 2
        assert main([str(folder), "--policy", str(tmp_path / "absent")]) == 2
        capsys.readouterr()


class TestRanges:
    entries = entries_of(3)

    def log(self, *, ranges, **options):
        return tiles_log(self.entries, documents={"ranges.json": canonical(ranges)}, **options)

    def test_a_key_within_its_sizes(self, tmp_path):
        for number, value in enumerate(
            ({"from_size": 0, "to_size": None}, {"from_size": 0}, {"from_size": 0, "to_size": 3})
        ):
            assert lines(self.log(ranges={VKEY.encode(): value}), tmp_path / str(number)) == []

    def test_a_stolen_key_signs_nothing_after_its_last_size(self, tmp_path):
        label = f"{ORIGIN}+{VKEY.key_id.hex()}"
        files = self.log(ranges={VKEY.encode(): {"from_size": 0, "to_size": 2}})
        assert lines(files, tmp_path) == [
            f"checkpoint: the key {label} may sign sizes 0 to 2 (ranges.json), and it signed size 3"
        ]

    def test_a_new_key_signs_nothing_before_its_first_size(self, tmp_path):
        files = self.log(ranges={VKEY.encode(): {"from_size": 1, "to_size": None}})
        told = lines(files, tmp_path)
        assert [line.partition(":")[0] for line in told] == ["checkpoints/0"]

    def test_a_key_without_a_range_signs_nothing(self, tmp_path):
        told = lines(self.log(ranges={STRANGERS.encode(): {"from_size": 0}}), tmp_path)
        assert told[0].endswith("may sign no size at all (ranges.json), and it signed size 3")

    def test_ranges_without_a_manifest_are_named(self, tmp_path):
        files = tiles_log(self.entries) | {"ranges.json": canonical({VKEY.encode(): {"from_size": 0}})}
        assert lines(files, tmp_path) == ["ranges.json: no manifest vouches for it"]

    def test_ranges_from_elsewhere_stand_over_those_inside(self, tmp_path, capsys):
        folder = write(tmp_path / "log", self.log(ranges={VKEY.encode(): {"from_size": 0}}).items())
        own = tmp_path / "ranges.json"
        own.write_bytes(canonical({VKEY.encode(): {"from_size": 0, "to_size": 2}}))
        assert main([str(folder), "--ranges", str(own)]) == 7
        assert "and it signed size 3" in capsys.readouterr().out
        own.write_bytes(b"[]")
        assert main([str(folder), "--ranges", str(own)]) == 2

    def test_since_and_proofs_are_held_to_them_too(self, tmp_path):
        later = checkpoint([tree.leaf_hash(entry) for entry in self.entries[:1]])
        files = self.log(ranges={VKEY.encode(): {"from_size": 2}})
        for name in ("checkpoints/0", "checkpoints/2", "proofs/1.tlog-proof"):
            del files[name]
        assert [line.partition(":")[0] for line in lines(files, tmp_path, since=later)] == ["--since"]

    def test_the_manifest_of_a_retired_key_is_refused(self, tmp_path):
        old = f"log {STRANGERS.encode()}\n".encode()
        ranges = {VKEY.encode(): {"from_size": 0}, STRANGERS.encode(): {"from_size": 0, "to_size": 2}}
        files = self.log(ranges=ranges, policy_text=old + LOG.encode() + b"quorum none\n")
        assert lines(files, tmp_path / "a") == []
        from tests.audit.layouts import signed_manifest

        files |= signed_manifest(json.loads(files["manifest.json"]), key=STRANGER)
        told = lines(files, tmp_path / "b")
        assert [line.partition(":")[0] for line in told] == ["manifest.note"]
        assert "may sign sizes 0 to 2" in told[0]

    def test_the_proofs_of_evidence_are_held_to_them(self, tmp_path):
        entries = evidence_entries()
        ranges = {"ranges.json": canonical({VKEY.encode(): {"from_size": 0, "to_size": 299}})}
        told = lines(evidence(entries, documents=ranges), tmp_path)
        assert "(ranges.json), and it signed size 300" in told[0]

    @pytest.mark.parametrize(
        "content",
        [
            [],
            7,
            {"x": {"from_size": 0}},
            {VKEY.encode(): 7},
            {VKEY.encode(): {}},
            {VKEY.encode(): {"from_size": "0"}},
            {VKEY.encode(): {"from_size": True}},
            {VKEY.encode(): {"from_size": -1}},
            {VKEY.encode(): {"from_size": 3, "to_size": 2}},
            {VKEY.encode(): {"from_size": 0, "to_size": "9"}},
            {VKEY.encode(): {"from_size": 0, "more": 1}},
            {VKEY.encode(): {"to_size": 1}},
        ],
    )
    def test_ranges_of_another_form_are_refused(self, content):
        with pytest.raises(ValueError, match="expected"):
            parse_ranges(canonical(content).decode())

    def test_an_open_end_is_no_end(self):
        (found,) = parse_ranges(canonical({VKEY.encode(): {"from_size": 5, "to_size": None}}).decode()).values()
        assert found == Range(5, 2**63 - 1)
