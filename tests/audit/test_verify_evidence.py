"""The verifier on evidence bundles: single records with their proofs, openings, custody and time-stamps."""

import json
import os
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.audit import tree
from guard.audit.canonical import b64u, commitment
from guard.audit.verifier import evidence as checks
from guard.audit.verifier import stamps
from guard.audit.verifier.command import main, verify
from tests.audit.building import STRANGER, VKEY, entries_of, files_of, record, write
from tests.audit.layouts import (
    NONCE,
    VALUES,
    canonical,
    checkpoint,
    evidence,
    evidence_entries,
    opening,
    sealed_again,
    sha,
    signed_manifest,
    witnessed,
)
from tests.audit.stamping import Authority

ENTRIES = evidence_entries()


def lines(files, folder, **options):
    return [str(fault) for fault in verify(write(folder, files.items()), **options).faults]


@pytest.fixture(scope="module")
def authority(need, tmp_path_factory):
    return Authority(need("openssl"), tmp_path_factory.mktemp("tsa"))


def stamped(authority, entries=ENTRIES, **changes):
    """A bundle whose checkpoint was stamped."""
    head = checkpoint([tree.leaf_hash(entry) for entry in entries])
    documents = {
        f"tsa/{len(entries)}.checkpoint": head,
        f"tsa/{len(entries)}.tsr": authority.stamp(head),
        "tsa/chain.pem": authority.chain(),
    }
    return evidence(entries, documents=documents | changes)


class TestGoodEvidence:
    def test_records_custody_and_openings(self, tmp_path, capsys):
        folder = write(tmp_path, evidence(ENTRIES, openings={7: opening(**VALUES)}).items())
        report = verify(folder, vkeys=[VKEY.encode()])
        assert report.faults == []
        assert (report.kind, report.size) == ("evidence", 300)
        assert (report.counts["records"], report.counts["proofs"], report.counts["openings"]) == (4, 4, len(VALUES))
        assert main([str(folder)]) == 0
        assert "evidence from the log guard.example/guard/main, size 300, root " in capsys.readouterr().out

    def test_a_proof_of_custody_may_lie_with_the_others(self, tmp_path):
        files = evidence(ENTRIES)
        files["proofs/20.tlog-proof"] = files.pop("custody/20.tlog-proof")
        content = json.loads(files["manifest.json"])
        content["files"] = {name: sha(data) for name, data in files.items() if not name.startswith("manifest")}
        assert lines(files | signed_manifest(content), tmp_path) == []

    def test_records_of_a_tenant_and_of_the_first_and_last_place(self, tmp_path):
        report = verify(write(tmp_path, evidence(ENTRIES, (0, 255, 256, 299), custody=()).items()))
        assert (report.faults, report.counts["records"]) == ([], 4)

    def test_a_zip_verifies_like_the_directory(self, tmp_path):
        with zipfile.ZipFile(tmp_path / "bundle.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in evidence(ENTRIES).items():
                archive.writestr(name, data)
        report = verify(tmp_path / "bundle.zip")
        assert (report.faults, report.counts["records"]) == ([], 4)

    def test_a_quorum_is_asked_for(self, tmp_path):
        files = evidence(ENTRIES, cosigned=("w1", "w2"), text=witnessed())
        assert lines(files, tmp_path / "a") == []
        files = evidence(ENTRIES, cosigned=("w1",), text=witnessed())
        assert "checkpoint: the quorum all_of (2 of w1, w2, w3) was expected, cosigned w1" in lines(
            files, tmp_path / "b"
        )

    def test_since_says_that_it_was_not_compared(self, tmp_path, capsys):
        folder = write(tmp_path / "bundle", evidence(ENTRIES).items())
        seen = tmp_path / "seen"
        seen.write_bytes(checkpoint([tree.leaf_hash(entry) for entry in ENTRIES[:5]]))
        assert main([str(folder), "--since", str(seen)]) == 0
        assert "not checked: --since: an evidence bundle has no whole log" in capsys.readouterr().out


class TestRecords:
    def files(self, **changes):
        return evidence(ENTRIES) | changes

    def test_a_changed_record_is_named_with_its_index(self, tmp_path):
        changed = ENTRIES[9].replace(b"n1.7", b"n9.9")
        files = sealed_again(self.files(**{"records/9.json": changed}))
        assert "records/9.json: entry 9 is not the one that its proof proves: one was changed" in lines(files, tmp_path)

    def test_a_record_under_another_index_is_named(self, tmp_path):
        files = self.files()
        files["records/9.json"], files["records/7.json"] = files["records/7.json"], files["records/9.json"]
        told = lines(sealed_again(files), tmp_path)
        assert {line.partition(":")[0] for line in told} == {
            *("records/7.json", "records/9.json", "proofs/7.tlog-proof", "proofs/9.tlog-proof")
        }

    @pytest.mark.parametrize(
        "name", ["records/9.json", "proofs/9.tlog-proof", "custody/20.json", "README", "policy.txt"]
    )
    def test_a_removed_file_is_named(self, tmp_path, name):
        files = self.files()
        del files[name]
        assert any(line.startswith(f"{name}: ") for line in lines(files, tmp_path))

    @pytest.mark.parametrize(
        "name",
        [
            "records/x.json",
            "records/09.json",
            "records/9.txt",
            "proofs/8.tlog-proof",
            "tile/0/000",
            "extra",
            "checkpoints/2",
        ],
    )
    def test_a_file_without_a_place_is_named(self, tmp_path, name):
        told = lines(self.files(**{name: b"x"}), tmp_path)
        assert told == [f"{name}: is no file of an evidence bundle, and no manifest vouches for it"]

    def test_a_proof_of_another_index_is_named(self, tmp_path):
        files = self.files()
        files["proofs/9.tlog-proof"] = files["proofs/7.tlog-proof"]
        told = lines(sealed_again(files), tmp_path)
        assert told == ["proofs/9.tlog-proof: a proof of the index 9 of its name was expected"]

    def test_a_record_of_another_form_is_named(self, tmp_path):
        entries = [*ENTRIES[:9], b'{"b":{},"n":9}', *ENTRIES[10:]]
        assert "records/9.json: entry 9: a record of version 1 was expected" in lines(evidence(entries), tmp_path)[0]

    def test_a_proof_under_an_older_checkpoint_stands_for_itself(self, tmp_path):
        early = evidence(ENTRIES[:50], (7, 9))
        files = self.files(**{"proofs/9.tlog-proof": early["proofs/9.tlog-proof"]})
        assert lines(sealed_again(files), tmp_path) == []

    def test_a_proof_under_an_older_checkpoint_needs_the_quorum_too(self, tmp_path):
        files = evidence(ENTRIES, cosigned=("w1", "w2"), text=witnessed())
        files["proofs/9.tlog-proof"] = evidence(ENTRIES[:50], (7, 9))["proofs/9.tlog-proof"]
        told = lines(sealed_again(files), tmp_path)
        assert told == ["proofs/9.tlog-proof: the quorum all_of (2 of w1, w2, w3) was expected, cosigned by nobody"]

    def test_a_proof_under_another_root_of_the_same_size_is_a_fork(self, tmp_path):
        other = [*ENTRIES[:100], ENTRIES[101], *ENTRIES[101:]]
        files = self.files(**{"proofs/9.tlog-proof": evidence(other)["proofs/9.tlog-proof"]})
        told = lines(sealed_again(files), tmp_path)
        assert told == [
            "proofs/9.tlog-proof: signs another root for size 300 than `checkpoint`: the log has two histories"
        ]

    def test_a_bundle_of_a_stranger_is_refused(self, tmp_path):
        files = self.files(checkpoint=checkpoint([tree.leaf_hash(entry) for entry in ENTRIES], key=STRANGER))
        told = lines(sealed_again(files), tmp_path)
        assert told == ["checkpoint: a signature by a known key of the log itself was expected, none came"]

    @pytest.mark.parametrize("name", ["manifest.json", "manifest.note"])
    def test_evidence_without_its_signed_manifest_is_none(self, tmp_path, name):
        files = self.files()
        del files[name]
        assert any(line.startswith(f"{name}: the file is missing") for line in lines(files, tmp_path))


class TestOpenings:
    def bundle(self, data, index=7):
        return evidence(ENTRIES, openings={index: data})

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("email", "mallory@example.com"),
            ("amount", 13),
            ("amount", "12"),
            ("blocked", 0),
            ("more", {"b": [1, None]}),
        ],
    )
    def test_another_value_is_named(self, tmp_path, field, value):
        told = lines(self.bundle(opening(**VALUES | {field: value})), tmp_path)
        assert told == [f"openings/7.json: {field} is not what record 7 committed to: one was changed"]

    def test_another_nonce_is_named(self, tmp_path):
        data = json.loads(opening(**VALUES))
        data["email"]["nonce"] = b64u(bytes(32))
        assert "email is not what record 7 committed to" in lines(self.bundle(canonical(data)), tmp_path)[0]

    def test_a_field_that_the_record_does_not_have_is_named(self, tmp_path):
        told = lines(self.bundle(opening(phone="1")), tmp_path)
        assert told == ["openings/7.json: phone is not what record 7 committed to: one was changed"]

    def test_an_opening_of_a_record_without_commitments_is_named(self, tmp_path):
        told = lines(self.bundle(opening(email="x"), index=9), tmp_path)
        assert told == ["openings/9.json: email is not what record 9 committed to: one was changed"]

    def test_an_opening_without_its_record_is_named(self, tmp_path):
        told = lines(self.bundle(opening(**VALUES), index=8), tmp_path)
        assert told == ["openings/8.json: the record 8 was expected beside its openings"]

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"[]",
            b"7",
            b'{"email":7}',
            b'{"email":{"nonce":"x"}}',
            b'{"email":{"nonce":7,"value":1}}',
            b'{"email":{"nonce":"AAAA","value":1}}',
            b'{"email":{"nonce":"' + b"!" * 43 + b'","value":1}}',
            b'{"email": {"nonce":"x","value":1}}',
            b'{"email":{"nonce":"x","value":1.5}}',
            b"[" * 5000,
            b"\xff",
        ],
    )
    def test_an_opening_of_another_form_is_named(self, tmp_path, data):
        assert [line.partition(":")[0] for line in lines(self.bundle(data), tmp_path)] == ["openings/7.json"]

    def test_a_name_of_another_form_is_named(self, tmp_path):
        told = lines(self.bundle(opening(**VALUES), index="x"), tmp_path)
        assert told[0].startswith("openings/x.json: openings/<index>.json with")

    def test_the_golden_commitment(self):
        found = checks.commitment({"nonce": b64u(NONCE), "value": "alice@example.com"})
        assert found == "2EK1OSLAqRqmH5-pje4upiu2JHK63TvLuorvvT2KVTQ"

    values = st.recursive(
        st.none()
        | st.booleans()
        | st.integers(1 - 2**53, 2**53 - 1)
        | st.text(st.characters(exclude_categories=["Cs"])),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abz_1", min_size=1), inner, max_size=3),
        max_leaves=5,
    )

    @given(st.binary(min_size=32, max_size=32), values)
    @settings(max_examples=100)
    def test_both_sides_make_one_commitment(self, nonce, value):
        assert checks.commitment({"nonce": b64u(nonce), "value": value}) == b64u(commitment(nonce, value))


class TestStamps:
    def test_a_time_stamp_is_checked_and_its_time_told(self, tmp_path, authority, capsys):
        folder = write(tmp_path, stamped(authority).items())
        report = verify(folder)
        assert (report.faults, report.counts["stamps"], report.unchecked) == ([], 1, [])
        assert main([str(folder)]) == 0
        assert "time-stamped tsa/300.tsr: " in capsys.readouterr().out

    def test_a_root_from_elsewhere_is_trusted_alone(self, tmp_path, authority, need, tmp_path_factory, capsys):
        other = Authority(need("openssl"), tmp_path_factory.mktemp("other"))
        folder = write(tmp_path / "bundle", stamped(authority).items())
        (tmp_path / "ca.pem").write_bytes(authority.chain())
        assert main([str(folder), "--tsa-ca", str(tmp_path / "ca.pem")]) == 0
        assert ", under the given certificate" in capsys.readouterr().out
        assert main([str(folder)]) == 0
        assert ", under a certificate that lies in the bundle: pass --tsa-ca" in capsys.readouterr().out
        (tmp_path / "ca.pem").write_bytes(other.chain())
        assert main([str(folder), "--tsa-ca", str(tmp_path / "ca.pem")]) == 7
        assert "FAULT tsa/300.tsr: openssl ts does not accept it: " in capsys.readouterr().out

    def test_a_forger_with_an_authority_of_his_own_is_told_by_the_given_root(
        self, tmp_path, authority, need, tmp_path_factory
    ):
        forger = Authority(need("openssl"), tmp_path_factory.mktemp("forger"))
        files = stamped(forger)
        assert lines(files, tmp_path / "a") == []
        told = lines(files, tmp_path / "b", tsa_ca=authority.chain())
        assert told[0].startswith("tsa/300.tsr: openssl ts does not accept it: ")

    def test_without_a_certificate_it_says_not_checked(self, tmp_path, authority):
        files = stamped(authority)
        content = json.loads(files["manifest.json"])
        del files["tsa/chain.pem"], content["files"]["tsa/chain.pem"]
        files |= signed_manifest(content)
        report = verify(write(tmp_path, files.items()))
        told = ["tsa/300.tsr: no certificate of a time-stamp authority is here, pass one with --tsa-ca"]
        assert (report.faults, report.stamps, report.unchecked) == ([], [], told)
        assert verify(tmp_path, tsa_ca=authority.chain()).counts["stamps"] == 1

    def test_certificates_count_as_of_the_time_of_the_stamp(self):
        assert stamps._at("Nov 25 09:00:00 2026 GMT") == ["-attime", "1795597200"]
        assert stamps._at("Nov  5 09:00:00.25 2026 GMT") == ["-attime", "1793869200"]
        assert stamps._at("unknown") == []

    def test_a_certificate_that_was_not_yet_good_at_the_time_is_refused(self, tmp_path, authority, need):
        (tmp_path / "data").write_bytes(b"x")
        (tmp_path / "token").write_bytes(authority.stamp(b"x"))
        (tmp_path / "roots").write_bytes(authority.chain())
        command = ["-verify", "-data", "data", "-in", "token", "-CAfile", "roots"]
        early = stamps._at("Jan  1 00:00:00 2000 GMT")
        assert stamps._openssl(str(need("openssl")), tmp_path, command)[0]
        assert not stamps._openssl(str(need("openssl")), tmp_path, [*command, *early])[0]

    def test_a_stamp_over_other_bytes_is_named(self, tmp_path, authority):
        files = stamped(authority, **{"tsa/300.tsr": authority.stamp(b"other")})
        told = lines(files, tmp_path)
        assert told[0].startswith("tsa/300.tsr: openssl ts does not accept it: ")

    def test_a_stamp_under_another_root_is_named(self, tmp_path, authority, need, tmp_path_factory):
        other = Authority(need("openssl"), tmp_path_factory.mktemp("other"))
        told = lines(stamped(authority, **{"tsa/chain.pem": other.chain()}), tmp_path)
        assert told[0].startswith("tsa/300.tsr: openssl ts does not accept it: ")

    @pytest.mark.parametrize("data", [b"", b"x", b"\x30\x03\x02\x01\x00"])
    def test_what_is_no_stamp_is_named(self, tmp_path, authority, data):
        told = lines(stamped(authority, **{"tsa/300.tsr": data}), tmp_path)
        assert [line.partition(":")[0] for line in told] == ["tsa/300.tsr"]

    def test_without_openssl_it_says_not_checked(self, tmp_path, authority, monkeypatch, capsys):
        folder = write(tmp_path, stamped(authority).items())
        monkeypatch.setitem(os.environ, "PATH", str(tmp_path))
        assert main([str(folder)]) == 0
        assert "not checked: tsa/300.tsr: the program openssl is not installed" in capsys.readouterr().out

    def test_the_stamped_checkpoint_must_be_of_this_log_and_its_size(self, tmp_path, authority):
        head = checkpoint([tree.leaf_hash(entry) for entry in entries_of(5)])
        files = stamped(authority, **{"tsa/300.checkpoint": head, "tsa/300.tsr": authority.stamp(head)})
        assert "tsa/300.checkpoint: it is the checkpoint of size 5, not the one of its name" in lines(files, tmp_path)

    def test_a_stamped_fork_is_named(self, tmp_path, authority):
        head = checkpoint([tree.leaf_hash(entry) for entry in entries_of(300)])
        files = stamped(authority, **{"tsa/300.checkpoint": head, "tsa/300.tsr": authority.stamp(head)})
        assert "the log has two histories" in lines(files, tmp_path)[0]

    def test_a_stamp_that_covers_no_record_says_so(self, tmp_path, authority):
        head = checkpoint([tree.leaf_hash(entry) for entry in ENTRIES[:40]])
        more = {"tsa/40.checkpoint": head, "tsa/40.tsr": authority.stamp(head)}
        report = verify(write(tmp_path, stamped(authority, **more).items()))
        assert report.faults == []
        assert report.unchecked == [
            "tsa/40.checkpoint: no record here is proved under it, so it says nothing of their time"
        ]

    def test_a_stamp_without_its_checkpoint_is_named(self, tmp_path, authority):
        files = stamped(authority)
        del files["tsa/300.checkpoint"]
        assert "tsa/300.checkpoint: the file is missing" in lines(files, tmp_path)


class TestEveryByte:
    def test_one_flipped_bit_in_any_byte_of_any_file_is_found(self, tmp_path):
        entries = evidence_entries(9)
        files = evidence(entries, (7, 8), custody=(2,), openings={7: opening(**VALUES)})
        folder = write(tmp_path / "bundle", files.items())
        assert verify(folder).faults == []
        missed, flips = [], 0
        for place in files_of(folder):
            name, good = place.relative_to(folder).as_posix(), place.read_bytes()
            for at in range(len(good)):
                data = bytearray(good)
                data[at] ^= 1 << (at * 5 % 8)
                place.write_bytes(data)
                found = {fault.path for fault in verify(folder).faults}
                if name not in found and not found & {"manifest.json", "manifest.note"}:
                    missed.append((name, at))
                flips += 1
            place.write_bytes(good)
        assert missed == []
        assert flips > 3000

    def test_every_missing_file_is_named(self, tmp_path):
        folder = write(tmp_path / "bundle", evidence(ENTRIES, openings={7: opening(**VALUES)}).items())
        for place in files_of(folder):
            name, good = place.relative_to(folder).as_posix(), place.read_bytes()
            place.unlink()
            assert name in {fault.path for fault in verify(folder).faults} or name == "manifest.json"
            place.write_bytes(good)
        assert verify(folder).faults == []


def test_a_sealed_record_is_what_the_gate_writes():
    assert json.loads(ENTRIES[7])["b"]["sealed"].keys() == VALUES.keys()
    assert record(7).sealed is None
