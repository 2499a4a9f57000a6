"""What an attacker or a bad disk can do to a log directory, and that each is found and named."""

import hashlib
import json
import shutil

import pytest

from guard.audit import note, tree
from guard.audit.checkpoint import Checkpoint
from guard.audit.note import Note, Signature
from guard.audit.tiles import encode_bundle
from guard.audit.verifier.command import verify
from tests.audit.building import (
    KEY,
    ORIGIN,
    PQ_VKEY,
    STRANGER,
    VKEY,
    Plan,
    copied,
    entries_of,
    files_of,
    numbered,
    record,
    signed,
    uuid,
    write,
)


@pytest.fixture
def log(tmp_path, middle_log):
    """A copy of the middle log that may be damaged."""
    return copied(middle_log, tmp_path / "log")


@pytest.fixture
def bare(log):
    """The same without a manifest."""
    (log / "manifest.json").unlink()
    return log


def paths(folder, **options):
    return [fault.path for fault in verify(folder, **options).faults]


def lines(folder):
    return [str(fault) for fault in verify(folder).faults]


def change(place, at, mask=1):
    data = bytearray(place.read_bytes())
    data[at] ^= mask
    place.write_bytes(data)


def swap(folder, one, other):
    spare = folder.parent / "spare"
    (folder / one).rename(spare)
    (folder / other).rename(folder / one)
    spare.rename(folder / other)


class TestEveryByte:
    @pytest.mark.parametrize("manifest", [True, False])
    def test_one_flipped_bit_in_any_byte_of_any_file_is_found_and_named(self, tmp_path, small_log, manifest):
        folder = copied(small_log, tmp_path / "log")
        if not manifest:
            (folder / "manifest.json").unlink()
            (folder / "README").unlink()
        missed, flips = [], 0
        for place in files_of(folder):
            name, good = place.relative_to(folder).as_posix(), place.read_bytes()
            for at in range(len(good)):
                change(place, at, 1 << (at * 5 % 8))
                if name not in paths(folder):
                    missed.append((name, at))
                place.write_bytes(good)
                flips += 1
        assert missed == []
        assert flips > 2000
        assert verify(folder).faults == []

    @pytest.mark.parametrize("mask", [0x01, 0x20, 0x80])
    def test_samples_of_a_larger_log(self, log, mask):
        missed = []
        for place in files_of(log):
            name, good = place.relative_to(log).as_posix(), place.read_bytes()
            for at in {0, 1, len(good) // 2, len(good) - 1}:
                change(place, at, mask)
                if name not in paths(log):
                    missed.append((name, at))
                place.write_bytes(good)
        assert missed == []

    def test_one_changed_byte_of_an_entry_is_one_fault_with_its_index(self, bare):
        place = bare / "tile/entries/001"
        change(place, place.read_bytes().index(uuid(300).encode()) - 40)
        faults = verify(bare).faults
        assert [(fault.path, fault.at) for fault in faults] == [("tile/entries/001", 300)]

    def test_the_changed_entry_is_named_first_and_what_follows_from_it_later(self, bare):
        place = bare / "tile/entries/001"
        place.write_bytes(place.read_bytes().replace(b'"n":300}', b'"n":309}'))
        assert lines(bare) == [
            "tile/entries/001: entry 300 does not match its leaf hash in tile/0/001: the entry was changed after it was logged",
            "tile/entries/001: entry 300 has number 309 of acme, not 300: a record is missing",
            "tile/entries/001: entry 301 has number 301 of acme, not 310: a record is missing",
        ]

    def test_one_changed_byte_of_a_leaf_tile_blames_the_tile(self, bare):
        change(bare / "tile/0/002.p/88", 5 * 32)
        assert lines(bare) == [
            "tile/0/002.p/88: entry 517 does not match its leaf hash in tile/0/002.p/88: one of the two was changed"
        ]

    def test_one_changed_byte_of_an_upper_tile_names_the_tile_below(self, bare):
        change(bare / "tile/1/000.p/2", 40)
        assert lines(bare) == ["tile/1/000.p/2: hash 1 is not the root of tile/0/001: one of the two was changed"]


class TestEveryFile:
    def test_a_missing_file_is_named(self, log):
        for place in files_of(log):
            name = place.relative_to(log).as_posix()
            place.rename(log.parent / "away")
            found = paths(log)
            assert name in found or name == "manifest.json", name
            (log.parent / "away").rename(place)
        assert verify(log).faults == []

    @pytest.mark.parametrize("keep", [0, 1, -1])
    def test_a_truncated_file_is_named(self, log, keep):
        for place in files_of(log):
            name, good = place.relative_to(log).as_posix(), place.read_bytes()
            place.write_bytes(good[:keep])
            assert name in paths(log), name
            place.write_bytes(good)

    @pytest.mark.parametrize("extra", [b"\n", b"\x00", b"\x00\x00", b" ", b"# x\n"])
    def test_extra_bytes_are_named(self, log, extra):
        for place in files_of(log):
            name, good = place.relative_to(log).as_posix(), place.read_bytes()
            place.write_bytes(good + extra)
            assert name in paths(log), name
            place.write_bytes(good)

    def test_extra_bytes_are_named_without_a_manifest_too(self, bare):
        for place in files_of(bare):
            name, good = place.relative_to(bare).as_posix(), place.read_bytes()
            for extra in (b"\n", b"# x\n", b"\x00"):
                place.write_bytes(good + extra)
                assert name in paths(bare), name
            place.write_bytes(good)

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("tile/entries/000", "tile/entries/001"),
            ("tile/0/000", "tile/0/001"),
            ("tile/entries/000", "tile/0/000"),
            ("checkpoints/256", "checkpoints/257"),
            ("checkpoints/512", "checkpoint"),
            ("proofs/0.tlog-proof", "proofs/255.tlog-proof"),
            ("policy.txt", "checkpoint"),
        ],
    )
    def test_swapped_files_are_named(self, bare, one, other):
        swap(bare, one, other)
        found = paths(bare)
        assert one in found or other in found

    @pytest.mark.parametrize(
        "name",
        [
            "extra.txt",
            "tile/0/003",
            "tile/0/002.p/87",
            "tile/0/002",
            "tile/2/000.p/1",
            "tile/entries/002.p/89",
            "tile/entries/x001/000",
            "tile/8/000",
            "checkpoint.bak",
            "proofs/1.tlog-proof.txt",
            "checkpoints/latest",
            ".hidden/deep/file",
        ],
    )
    def test_a_file_for_which_nothing_vouches_is_named(self, log, name):
        write(log, [(name, b"x")])
        assert paths(log) == [name]

    def test_a_link_is_no_file_of_a_log(self, log):
        place = log / "tile/entries/000"
        place.rename(log.parent / "000")
        place.symlink_to(log.parent / "000")
        assert "tile/entries/000: the file is missing" in lines(log)
        assert "tile/entries/001: entry 256 has number 256 of acme, not 0: a record is missing" in lines(log)

    def test_a_linked_folder_is_not_followed(self, log):
        (log / "proofs").rename(log.parent / "proofs")
        (log / "proofs").symlink_to(log.parent / "proofs")
        assert "proofs" in paths(log)

    def test_a_folder_in_the_place_of_a_file_is_named(self, log):
        (log / "checkpoint").unlink()
        (log / "checkpoint").mkdir()
        assert "checkpoint" in paths(log)

    def test_an_empty_folder_is_nothing(self, log):
        (log / "tile/9").mkdir()
        assert paths(log) == []

    def test_bundle_and_tile_gone_together(self, bare):
        (bare / "tile/entries/001").unlink()
        (bare / "tile/0/001").unlink()
        found = paths(bare)
        assert {"tile/entries/001", "tile/0/001", "checkpoint"} <= set(found)

    def test_a_missing_tile_alone_does_not_hide_a_changed_entry(self, bare):
        (bare / "tile/0/001").unlink()
        change(bare / "tile/entries/001", 300)
        assert {"tile/0/001", "checkpoint"} <= set(paths(bare))


class TestBundles:
    def test_a_changed_length_names_where_the_bundle_breaks(self, bare):
        place = bare / "tile/entries/000"
        size = int.from_bytes(place.read_bytes()[:2], "big")
        change(place, (size + 2) + 1)
        found = verify(bare).faults
        assert ("tile/entries/000", 1) in {(fault.path, fault.at) for fault in found}
        assert "256 entries and no more were expected, it breaks at 1" in {fault.detail for fault in found}

    def test_an_entry_dropped_from_a_bundle(self, bare):
        entries = entries_of(600)[512:]
        (bare / "tile/entries/002.p/88").write_bytes(encode_bundle(entries[:10] + entries[11:]))
        assert ("tile/entries/002.p/88", 522) in {(fault.path, fault.at) for fault in verify(bare).faults}

    def test_two_entries_exchanged(self, bare):
        entries = entries_of(600)[512:]
        entries[3], entries[4] = entries[4], entries[3]
        (bare / "tile/entries/002.p/88").write_bytes(encode_bundle(entries))
        found = {fault.at for fault in verify(bare).faults if "after it was logged" in fault.detail}
        assert found == {515, 516}

    def test_a_file_larger_than_any_bundle_is_not_read(self, bare):
        with (bare / "tile/entries/000").open("r+b") as file:
            file.truncate(1 << 30)
        assert any("at most 16777472 bytes" in fault.detail for fault in verify(bare).faults)


class TestRewrites:
    """An attacker who rewrites entries and tiles consistently, with and without the key."""

    def rewritten(self, folder, **parts):
        records = [record(number, node="evil") if number == 300 else record(number) for number in range(600)]
        return write(folder, Plan(numbered(records), **parts).parts())

    def test_without_the_key_the_root_is_not_the_signed_one(self, tmp_path, bare):
        other = self.rewritten(tmp_path / "other")
        for place in files_of(other / "tile"):
            shutil.copy(place, bare / place.relative_to(other))
        found = paths(bare)
        assert "checkpoint" in found
        assert not [path for path in found if path.startswith("tile/")]

    def test_a_stranger_cannot_sign(self, tmp_path):
        folder = self.rewritten(tmp_path / "other", key=STRANGER)
        assert paths(folder) == ["checkpoint"]

    def test_with_the_stolen_key_earlier_checkpoints_convict(self, tmp_path, bare):
        other = self.rewritten(tmp_path / "other", older=(255, 512), proofs=(5,))
        for size in (256, 257, 512):
            shutil.copy(bare / f"checkpoints/{size}", other / f"checkpoints/{size}")
        (other / "manifest.json").unlink()
        policy = f"log {VKEY.encode()}\nlog {PQ_VKEY.encode()}\nquorum none\n"
        (other / "policy.txt").write_text(policy)
        assert lines(other) == [
            "checkpoints/512: signs another root than the first 512 entries give: it is no earlier state of this log"
        ]

    def test_with_the_stolen_key_an_earlier_proof_convicts(self, tmp_path):
        good = write(tmp_path / "good", Plan(entries_of(600), proofs=(300,)).parts())
        other = self.rewritten(tmp_path / "other")
        write(other, [("proofs/300.tlog-proof", (good / "proofs/300.tlog-proof").read_bytes())])
        assert paths(other) == ["proofs/300.tlog-proof", "proofs/300.tlog-proof"]

    def test_records_cut_off_at_the_end_and_signed_again(self, tmp_path, bare):
        shorter = write(tmp_path / "shorter", Plan(entries_of(300), pq=True, vkeys=(VKEY, PQ_VKEY)).parts())
        assert verify(shorter).faults == []
        (shorter / "manifest.json").unlink()
        write(shorter, [("checkpoints/512", (bare / "checkpoints/512").read_bytes())])
        assert paths(shorter) == ["checkpoints/512"]


class TestSignatures:
    def renoted(self, folder, *signatures, text=None):
        found = note.parse((folder / "checkpoint").read_bytes())
        made = Note(text or found.text, (*found.signatures[:1], *signatures))
        (folder / "checkpoint").write_bytes(made.encode())
        return found

    def test_a_signature_by_an_unknown_key_needs_the_manifest(self, bare):
        found = note.parse((bare / "checkpoint").read_bytes())
        self.renoted(bare, note.cosign_ed25519(found.text, "witness.example/w1", KEY, 1_790_000_000))
        assert [line.partition(", and")[0] for line in lines(bare)] == [
            "checkpoint: a signature is by the unknown key witness.example/w1+"
            + note.VerifierKey("witness.example/w1", note.Kind.COSIGNATURE, VKEY.public).key_id.hex()
        ]

    def test_a_signature_by_an_unknown_key_is_ignored_where_the_manifest_lists_the_note(self, tmp_path):
        head = Checkpoint(ORIGIN, 3, tree.root_of(map(tree.leaf_hash, entries_of(3))))
        first = note.sign_ed25519(head.text(), ORIGIN, KEY)
        witness = note.cosign_ed25519(head.text(), "witness.example/w1", STRANGER, 1_790_000_000)
        plan = dict(Plan(entries_of(3)).parts())
        plan["checkpoint"] = Note(head.text(), (first, witness)).encode()
        written = json.loads(plan["manifest.json"])
        written["files"]["checkpoint"] = hashlib.sha256(plan["checkpoint"]).hexdigest()
        plan["manifest.json"] = json.dumps(written, sort_keys=True, separators=(",", ":")).encode()
        assert lines(write(tmp_path, plan.items())) == []

    def test_a_wrong_signature_by_a_known_key_refuses_the_note(self, bare):
        self.renoted(bare, Signature(ORIGIN, PQ_VKEY.key_id, bytes(2428)))
        label = f"{ORIGIN}+{PQ_VKEY.key_id.hex()}"
        assert lines(bare) == [f"checkpoint: the signature by {label} is wrong: the text or the signature was changed"]

    @pytest.mark.parametrize("count", [64, 65])
    def test_at_most_64_signature_lines(self, bare, count):
        found = note.parse((bare / "checkpoint").read_bytes())
        self.renoted(bare, *found.signatures[:1] * (count - 1))
        assert ("checkpoint" in paths(bare)) == (count > 64)

    def test_a_checkpoint_with_a_time_beyond_posix_is_not_believed(self, bare):
        found = note.parse((bare / "checkpoint").read_bytes())
        line = found.signatures[1]
        self.renoted(bare, Signature(line.name, line.key_id, b"\xff" * 8 + line.signature[8:]))
        assert paths(bare) == ["checkpoint"]

    @pytest.mark.parametrize("text", ["guard.example/guard/main\n600\n", "a b\n1\n" + "A" * 43 + "=\n", "\n\n\n"])
    def test_a_note_that_is_no_checkpoint(self, bare, text):
        made = Note(text, (note.sign_ed25519(text, ORIGIN, KEY),))
        (bare / "checkpoint").write_bytes(made.encode())
        assert paths(bare) == ["checkpoint"]

    def test_a_size_beyond_all_entries_ends_soon(self, bare):
        (bare / "checkpoint").write_bytes(signed(ORIGIN, 10**18, bytes(32)))
        found = verify(bare).faults
        assert len(found) == 1000
        assert {"tile/0/004", "tile/entries/004"} <= {fault.path for fault in found}

    def test_a_checkpoint_of_another_log_is_named(self, tmp_path, bare):
        (bare / "checkpoints/256").write_bytes(signed("guard.example/guard/other", 256, bytes(32)))
        assert paths(bare) == ["checkpoints/256"]

    def test_an_older_checkpoint_larger_than_the_log_is_named(self, bare):
        write(bare, [("checkpoints/601", signed(ORIGIN, 601, bytes(32)))])
        assert lines(bare) == ["checkpoints/601: a checkpoint of this log up to size 600 was expected, not 601"]

    def test_an_older_checkpoint_with_another_root_is_named(self, bare):
        (bare / "checkpoints/0").write_bytes(signed(ORIGIN, 0, bytes(32)))
        assert paths(bare) == ["checkpoints/0"]


class TestPolicy:
    @pytest.mark.parametrize(
        "text",
        [
            "",
            "quorum none\n",
            f"log {VKEY.encode()}\n",
            f"log  {VKEY.encode()}\nquorum none\n",
            f"log {VKEY.encode()} https://guard.example/\nquorum none\n",
            f"# our log\nlog {VKEY.encode()}\nquorum none\n",
            f"log {VKEY.encode()}\n\nquorum none\n",
            f"quorum none\nlog {VKEY.encode()}\n",
            f"log {VKEY.encode()}\r\nquorum none\r\n",
            f"log {VKEY.encode()}x\nquorum none\n",
            f"log {VKEY.encode()}\nwitness w {VKEY.encode()}\nquorum w\n",
        ],
    )
    def test_what_no_key_vouches_for_is_named(self, tmp_path, text):
        folder = write(tmp_path, Plan(entries_of(3)).parts())
        (folder / "manifest.json").unlink()
        (folder / "policy.txt").write_text(text, newline="")
        assert "policy.txt" in paths(folder)

    @pytest.mark.parametrize(
        ("text", "accepted"),
        [
            (f"# our log\nlog {VKEY.encode()} https://guard.example/\n\nquorum none\n", True),
            (f"log {VKEY.encode()}\nwitness w {VKEY.encode()}\nquorum w\n", False),
            (f"log {VKEY.encode()}\n", False),
        ],
    )
    def test_comments_and_addresses_need_the_manifest_and_witnesses_are_refused(self, tmp_path, text, accepted):
        plan = dict(Plan(entries_of(3)).parts())
        written = json.loads(plan["manifest.json"])
        plan["policy.txt"] = text.encode()
        written["files"]["policy.txt"] = hashlib.sha256(plan["policy.txt"]).hexdigest()
        plan["manifest.json"] = json.dumps(written, sort_keys=True, separators=(",", ":")).encode()
        folder = write(tmp_path, plan.items())
        assert ("policy.txt" in paths(folder)) is not accepted


class TestManifest:
    def rewritten(self, folder, **changes):
        written = json.loads((folder / "manifest.json").read_text())
        text = json.dumps(written | changes, sort_keys=True, separators=(",", ":"))
        (folder / "manifest.json").write_text(text)

    @pytest.mark.parametrize(
        "changes", [{"size": 599}, {"origin": "other"}, {"root": "A" * 43 + "="}, {"more": 1}, {"size": "600"}]
    )
    def test_it_must_say_what_the_checkpoint_says(self, log, changes):
        self.rewritten(log, **changes)
        assert lines(log) == ["manifest.json: origin, root and size are not those of the checkpoint"]

    def test_a_removed_proof_is_noticed(self, log):
        (log / "proofs/256.tlog-proof").unlink()
        assert set(paths(log)) == {"proofs/256.tlog-proof", "manifest.json"}

    def test_a_removed_signature_line_is_noticed(self, log):
        found = note.parse((log / "checkpoint").read_bytes())
        (log / "checkpoint").write_bytes(Note(found.text, found.signatures[:1]).encode())
        assert set(paths(log)) == {"checkpoint", "manifest.json"}

    @pytest.mark.parametrize("name", ["../../../etc/passwd", "/etc/passwd", "manifest.json", "nothing"])
    def test_it_cannot_lead_outside_nor_to_itself(self, log, name):
        files = json.loads((log / "manifest.json").read_text())["files"]
        self.rewritten(log, files=files | {name: hashlib.sha256(b"").hexdigest()})
        assert set(paths(log)) == {name, "manifest.json"}

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "{}",
            "[]",
            "null",
            "1",
            '{"files":{}}',
            '{"files":[],"origin":"a","root":"b","size":1}',
            "[" * 5000,
            "NaN",
        ],
    )
    def test_other_json_is_named(self, log, text):
        (log / "manifest.json").write_text(text)
        assert "manifest.json" in paths(log)

    @pytest.mark.parametrize("spelling", [{"indent": 1}, {"separators": (", ", ":")}, {"sort_keys": False}])
    def test_another_spelling_is_named(self, log, spelling):
        written = json.loads((log / "manifest.json").read_text())
        written = dict(reversed(written.items()))
        given = {"sort_keys": True, "separators": (",", ":")} | spelling
        (log / "manifest.json").write_text(json.dumps(written, **given))
        assert "manifest.json" in paths(log)


class TestProofs:
    @pytest.mark.parametrize(
        ("name", "change"),
        [
            ("proofs/00.tlog-proof", lambda text: text.replace("index 0", "index 00")),
            ("proofs/600.tlog-proof", lambda text: text.replace("index 0", "index 600")),
            ("proofs/999999.tlog-proof", lambda text: text.replace("index 0", "index 999999")),
            ("proofs/1.tlog-proof", lambda text: text.replace("index 0", "index 1")),
            ("proofs/2.tlog-proof", lambda text: text),
            ("proofs/0.tlog-proof", lambda text: text.replace("index 0\n", "extra AAAA\nindex 0\n")),
            ("proofs/x.tlog-proof", lambda text: text),
            ("proofs/0.txt", lambda text: text),
        ],
    )
    def test_a_proof_that_does_not_fit_is_named_and_nothing_else(self, bare, name, change):
        text = (bare / "proofs/0.tlog-proof").read_text()
        write(bare, [(name, change(text).encode())])
        assert set(paths(bare)) == {name}

    def test_a_proof_of_an_earlier_size_verifies(self, tmp_path):
        early = write(tmp_path / "early", Plan(entries_of(300), proofs=(7,)).parts())
        late = write(tmp_path / "late", Plan(entries_of(600)).parts())
        write(late, [("proofs/7.tlog-proof", (early / "proofs/7.tlog-proof").read_bytes())])
        report = verify(late)
        assert (report.faults, report.counts["proofs"]) == ([], 1)
