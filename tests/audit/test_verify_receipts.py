"""The verifier on receipts: kept, broken, not yet due, forged, and what cannot be told, each by its name."""

import base64
import json
import zipfile

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from guard.audit.entry import body, split
from guard.audit.receipt import Batch, ReceiptKey
from guard.audit.verifier.command import main, verify
from guard.catalogue import PLATFORM
from tests.audit.building import ORIGIN, STRANGER, T0, VKEY, entries_of, numbered, record, uuid, write
from tests.audit.layouts import (
    NOW,
    evidence,
    export,
    sealed_again,
    sha,
    signed_manifest,
    tiles_log,
    witnessed,
)
from tests.audit.test_shell_archive import fill
from tests.world import world

NODE = ReceiptKey.of(f"{ORIGIN}/receipts", Ed25519PrivateKey.from_private_bytes(b"node" * 8))
KEYS = {"receipts.vkey": f"{NODE.verifier.encode()}\n".encode()}
BEFORE, AFTER = NOW * 1_000_000 - 1, NOW * 1_000_000
"""Promises that were due, and were not, when the witnesses dated the checkpoint."""


def promised(*numbers, by=BEFORE, origin=ORIGIN, node=NODE):
    """The receipts of these records, under one signature."""
    return texts([(uuid(number), split(entries_of(number + 1)[number])[0]) for number in numbers], by, origin, node)


def texts(promises, by=BEFORE, origin=ORIGIN, node=NODE):
    batch = Batch(origin, node, promises, by)
    return [batch.text(at) for at in range(len(promises))]


def log(size=300, **options):
    """A log with its key of receipts, dated by witnesses at NOW."""
    return tiles_log(entries_of(size), documents=KEYS, policy_text=witnessed(), cosigned=("w1", "w2"), **options)


def verdicts(files, folder, receipts, **options):
    report = verify(write(folder, files.items()), receipts=receipts, **options)
    assert [one["receipt"] for one in report.receipts] == [f"--receipt {at + 1}" for at in range(len(receipts))]
    return [(one["verdict"], one["index"]) for one in report.receipts]


class TestKept:
    def test_both_versions_are_found_with_their_index(self, tmp_path, capsys):
        receipts = [*promised(17), *promised(3, 4, 299)]
        assert {base64.urlsafe_b64decode(one + "==")[0] for one in receipts} == {1, 2}
        folder = write(tmp_path, log().items())
        report = verify(folder, receipts=receipts)
        assert [(one["verdict"], one["index"]) for one in report.receipts] == [("kept", at) for at in (17, 3, 4, 299)]
        assert report.faults == []
        listed = tmp_path.parent / f"{tmp_path.name}.txt"
        listed.write_text("\n".join(receipts[1:]))
        assert main([str(folder), "--receipt", receipts[0], "--receipt", f"@{listed}"]) == 0
        shown = capsys.readouterr().out
        assert f"--receipt 1: kept: record {uuid(17)} is entry 17, with the body that was promised" in shown
        assert "--receipt 4: kept: " in shown

    @pytest.mark.parametrize("form", ["jsonl", "csv"])
    def test_in_another_format_too(self, tmp_path, form):
        files = export(entries_of(300), form) | KEYS
        content = json.loads(files["manifest.json"])
        content["files"] |= {"receipts.vkey": sha(KEYS["receipts.vkey"])}
        assert verdicts(files | signed_manifest(content), tmp_path, promised(17)) == [("kept", 17)]

    def test_in_evidence_too_and_what_is_not_there_is_not_checked(self, tmp_path):
        files = evidence(entries_of(300), openings={}, documents=KEYS)
        assert verdicts(files, tmp_path, promised(9) + promised(10)) == [("kept", 9), ("not checked", None)]

    def test_one_that_came_after_a_later_checkpoint_is_told(self, tmp_path):
        entries = entries_of(300)
        files = log() | {"checkpoints/200": log(200)["checkpoint"]}
        content = json.loads(files["manifest.json"])
        content["files"] |= {"checkpoints/200": sha(files["checkpoints/200"])}
        assert len(entries) == 300
        assert verdicts(files | signed_manifest(content), tmp_path, promised(199) + promised(200)) == [
            ("kept", 199),
            ("kept late", 200),
        ]


class TestBroken:
    def test_a_dated_checkpoint_without_the_record_convicts_the_log(self, tmp_path, capsys):
        folder = write(tmp_path, log().items())
        receipts = promised(300) + promised(17, 301)
        assert [(one["verdict"], one["index"]) for one in verify(folder, receipts=receipts).receipts] == [
            ("broken promise", None),
            ("kept", 17),
            ("broken promise", None),
        ]
        assert main([str(folder), "--receipt", receipts[0]]) == 7
        assert f"FAULT --receipt 1: broken promise: record {uuid(300)} was promised by" in capsys.readouterr().out

    def test_a_record_with_its_id_and_another_body_convicts_it_too(self, tmp_path):
        other = body(record(17, node="n9.9"))
        assert verdicts(log(), tmp_path, texts([(uuid(17), other)])) == [("broken promise", 17)]

    def test_the_id_of_another_part_of_a_record_is_not_its_own(self, tmp_path):
        entries = numbered([record(0, data={"id": uuid(5)}), record(1)])
        files = tiles_log(entries, documents=KEYS, policy_text=witnessed(), cosigned=("w1", "w2"))
        assert verdicts(files, tmp_path, promised(5)) == [("broken promise", None)]

    def test_the_logs_own_dated_line_is_enough(self, tmp_path):
        with world(tmp_path / "home") as made:
            fill(made, 20)
            log_of = made.guard.log
            due = texts([(uuid(1), b"{}")], made.clock.now_us, log_of.origin, log_of.receipts)
            later = texts([(uuid(1), b"{}")], made.clock.now_us + 60_000_000, log_of.origin, log_of.receipts)
            made.clock.advance(2)
            files = exported(made)
        assert verdicts(files, tmp_path / "log", due + later) == [("broken promise", None), ("not yet due", None)]


class TestNotYetDue:
    def test_without_a_later_checkpoint_nobody_is_accused(self, tmp_path, capsys):
        folder = write(tmp_path, log().items())
        receipts = promised(300, by=AFTER)
        assert [one["verdict"] for one in verify(folder, receipts=receipts).receipts] == ["not yet due"]
        assert main([str(folder), "--receipt", receipts[0]]) == 0
        assert "--receipt 1: not yet due: " in capsys.readouterr().out

    def test_a_checkpoint_that_nobody_dated_convicts_nobody(self, tmp_path):
        assert verdicts(tiles_log(entries_of(300), documents=KEYS), tmp_path, promised(300)) == [("not yet due", None)]


class TestForged:
    @pytest.mark.parametrize("at", [0, 1, 20, 50, 58, 62, 70, 124])
    def test_a_changed_receipt(self, tmp_path, at):
        data = bytearray(base64.urlsafe_b64decode(promised(17)[0] + "="))
        data[at] ^= 1
        text = base64.urlsafe_b64encode(data).rstrip(b"=").decode()
        folder = write(tmp_path, log().items())
        assert [one["verdict"] for one in verify(folder, receipts=[text]).receipts] == ["forged"]
        assert main([str(folder), "--receipt", text]) == 7

    @pytest.mark.parametrize("at", [62, 64, 66, 100, 170])
    def test_a_changed_receipt_of_version_2(self, tmp_path, at):
        text = promised(3, 4, 5)[0]
        data = bytearray(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        data[at] ^= 1
        text = base64.urlsafe_b64encode(data).rstrip(b"=").decode()
        assert verdicts(log(), tmp_path, [text]) == [("forged", None)]

    @pytest.mark.parametrize("text", ["", "A", "AQ", "A" * 167, "ü", "\x1b[2J", "A" * 3000])
    def test_what_is_no_receipt(self, tmp_path, text):
        assert verdicts(log(), tmp_path, [text]) == [("forged", None)]

    def test_a_strangers_receipt_and_that_of_another_log(self, tmp_path):
        stranger = ReceiptKey.of(NODE.name, STRANGER)
        other = ReceiptKey.of("guard.example/guard/other/receipts", NODE.key)
        receipts = promised(17, node=stranger) + promised(17, origin="guard.example/guard/other", node=other)
        assert verdicts(log(), tmp_path, receipts) == [("forged", None)] * 2


class TestNotChecked:
    def test_a_log_with_faults_says_nothing_of_receipts(self, tmp_path):
        files = log()
        files["tile/entries/001.p/44"] = files["tile/entries/001.p/44"].replace(b"n1.7", b"n9.9", 1)
        assert verdicts(files, tmp_path, promised(17) + promised(300)) == [("not checked", None)] * 2

    def test_a_key_that_nobody_signed_is_no_key(self, tmp_path):
        files = tiles_log(entries_of(300))
        assert verdicts(files, tmp_path / "none", promised(17)) == [("not checked", None)]
        report = verify(write(tmp_path / "added", (files | KEYS).items()), receipts=promised(17))
        assert report.receipts[0]["verdict"] == "not checked"
        assert [fault.path for fault in report.faults] == ["receipts.vkey"]

    def test_a_record_of_a_start_names_the_key_under_the_root(self, tmp_path):
        def files(**parts):
            data = {"origin": ORIGIN, "size": 0, "receipts": NODE.verifier.encode()}
            about = {"tenant": PLATFORM, "action": "services.start", "data": data} | parts
            return tiles_log(numbered([record(0, **about), *map(record, range(1, 300))]))

        entry = numbered(map(record, range(1, 18)))[16]
        receipts = texts([(uuid(17), split(entry)[0])])
        assert verdicts(files(), tmp_path / "a", receipts) == [("kept", 17)]
        assert verdicts(files(tenant="acme"), tmp_path / "b", receipts) == [("not checked", None)]
        other = {"origin": ORIGIN, "receipts": VKEY.encode()}
        assert verdicts(files(data=other), tmp_path / "c", receipts) == [("forged", None)]

    def test_a_record_that_may_have_been_pruned_accuses_nobody(self, tmp_path):
        files = log(1000)
        gone = {name: data for name, data in files.items() if name != "tile/entries/000"}
        pruned = sealed_again(gone, min_index=256)
        assert verdicts(pruned, tmp_path / "a", promised(17) + promised(300)) == [("not checked", None), ("kept", 300)]
        made = (T0 // 1000 + 3_600_000).to_bytes(6).hex()
        late = f"{made[:8]}-{made[8:]}-7def-8a12-000000000001"
        assert verdicts(pruned, tmp_path / "b", texts([(late, b"{}")])) == [("broken promise", None)]

    def test_a_part_of_the_log_accuses_nobody(self, tmp_path):
        files = export(entries_of(300), "jsonl", wanted=lambda at: at < 9, condition={"last": 9}) | KEYS
        content = json.loads(files["manifest.json"])
        content["files"] |= {"receipts.vkey": sha(KEYS["receipts.vkey"])}
        found = verdicts(files | signed_manifest(content), tmp_path, promised(3) + promised(17))
        assert found == [("kept", 3), ("not checked", None)]

    def test_what_lies_before_since_was_not_read(self, tmp_path):
        files = log(600)
        receipts = promised(17) + promised(590, by=AFTER)
        assert verdicts(files, tmp_path, receipts, since=log(512)["checkpoint"]) == [
            ("not checked", None),
            ("kept", 590),
        ]


def exported(made, **request):
    auditor = made.hire(PLATFORM, "user:local|aud", "role:auditor")
    made.call("checkpoints.publish")
    view = made.call("exports.create", auditor, **request)
    with zipfile.ZipFile(made.home / "exports" / f"{view.id}.zip") as found:
        return {name: found.read(name) for name in found.namelist()}


@pytest.mark.parametrize("form", ["tiles", "jsonl"])
def test_the_receipts_that_the_service_gives_are_kept(tmp_path, form):
    with world(tmp_path / "home") as made:
        ana = made.hire("acme", "user:local|ana", "role:support")
        operation = made.gate.operations["actors.whoami"]
        unit = made.gate.begin(operation, operation.takes(), ana, "r1")
        made.gate._durable(unit)
        text = unit.receipt()
        files = exported(made, format=form)
        vkey = made.guard.log.verifier.encode()
    assert "receipts.vkey" in json.loads(files["manifest.json"])["files"]
    assert [name for name, _ in verdicts(files, tmp_path / "log", [text], vkeys=[vkey])] == ["kept"]
