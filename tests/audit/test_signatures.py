"""Each checkpoint is signed by both keys of the log, and a foreign verifier reads both kinds of line."""

import base64
import json
import shutil
import sqlite3
import zipfile
from contextlib import closing

import pytest
from tlog_scales import signing
from tlog_scales.tlog import Checkpoint as ForeignCheckpoint

from guard.audit.note import Kind, VerifierKey, parse, verify
from guard.audit.verifier.command import verify as verify_export
from guard.catalogue import PLATFORM
from guard.errors import Conflict, Denied, DoesNotOpen, InvalidRequest, StoreDamaged, VerificationFailed
from tests.world import world

DAY = 86_400


@pytest.fixture
def place(tmp_path):
    with world(tmp_path / "home") as made:
        yield made


@pytest.fixture
def admin(place):
    return place.hire(PLATFORM, "user:local|admin", "role:platform-admin")


def publish(place):
    return place.call("checkpoints.publish")


def grow(place):
    place.clock.advance(1)
    place.hire("acme", "user:local|ana", "role:support")
    return publish(place)


def keys(place):
    return [one.vkey for one in place.call("log_keys.list", auditor(place)).data]


def auditor(place):
    return place.hire(PLATFORM, "user:local|auditor", "role:auditor")


def signers(view, vkeys):
    return verify(parse(view.note.encode()), [VerifierKey.decode(one) for one in vkeys])


def export(place, tmp_path, name="log.zip"):
    made = auditor(place)
    view = place.call("exports.create", made)
    path = place.call("exports.download", made, export=view.id).path
    return shutil.copy(path, tmp_path / name)


def foreign(view, vkeys):
    """The vkeys whose line holds, by tlog-scales."""
    note = parse(view.note.encode())
    lines = [signing.NoteSignature.from_line(one.encode().rstrip("\n")) for one in note.signatures]
    origin, size, root = note.text.splitlines()
    head = ForeignCheckpoint(origin, int(size), base64.b64decode(root), [])
    known = signing.VkeySet(*(signing.Vkey.from_string(one) for one in vkeys))
    return {vkey.serialize() for vkey, _ in known.verify(lines, head)}


def test_both_keys_sign_and_either_verifies_alone(place):
    view = publish(place)
    published = keys(place)
    assert [VerifierKey.decode(one).kind for one in published] == [Kind.ED25519, Kind.MLDSA44]
    assert [one.encode() for one in signers(view, published)] == published
    for one in published:
        assert [found.encode() for found in signers(view, [one])] == [one]
    assert view.vkey == published[0]


def test_a_foreign_verifier_reads_both_lines(place):
    view = publish(place)
    assert foreign(view, keys(place)) == set(keys(place))


def test_a_foreign_verifier_refuses_both_lines_over_another_root(place):
    first, second = publish(place), grow(place)
    mixed = second.model_copy(update={"note": second.note.replace(second.root, first.root)})
    assert foreign(mixed, keys(place)) == set()
    with pytest.raises(VerificationFailed):
        signers(mixed, keys(place))


def test_the_post_quantum_line_states_the_second_of_signing(place):
    view = publish(place)
    line = next(one for one in parse(view.note.encode()).signatures if len(one.signature) > 100)
    assert int.from_bytes(line.signature[:8], "big") == view.time_us // 1_000_000


def test_keys_and_signatures_are_the_same_after_a_restart(tmp_path):
    with world(tmp_path / "home") as made:
        first, published = publish(made), keys(made)
    with world(tmp_path / "home") as made:
        assert keys(made) == published
        assert [one.encode() for one in signers(grow(made), published)] == published
        assert [one.encode() for one in signers(first, published)] == published


def test_a_published_key_that_is_not_the_secret_s_is_refused_at_the_start(tmp_path):
    with world(tmp_path / "home"):
        pass
    with closing(sqlite3.connect(tmp_path / "home" / "guard.db")) as db, db:
        db.execute("UPDATE audit_log_keys SET secret = 'checkpoint_key_other' WHERE secret = 'checkpoint_key'")
    with pytest.raises(StoreDamaged, match="published key"), world(tmp_path / "home"):
        pass


def test_a_changed_secret_of_the_post_quantum_key_does_not_open(tmp_path):
    with world(tmp_path / "home"):
        pass
    with closing(sqlite3.connect(tmp_path / "home" / "guard.db")) as db, db:
        name = "checkpoint_key_mldsa44"
        db.execute("UPDATE secrets SET wrapped = zeroblob(72) WHERE name = ?", (name,))
    with pytest.raises(DoesNotOpen), world(tmp_path / "home"):
        pass


class TestRotation:
    def test_old_and_new_sign_together_and_then_only_the_new(self, place, admin):
        publish(place)
        old = keys(place)
        rotated = place.call("log_keys.rotate", admin, overlap_days=10)
        new = [one.vkey for one in rotated.data if one.vkey not in old]
        assert len(new) == 2
        assert {one.encode() for one in signers(grow(place), old + new)} == {*old, *new}
        place.clock.advance(10 * DAY)
        late = grow(place)
        assert [one.encode() for one in signers(late, old + new)] == new
        with pytest.raises(VerificationFailed, match="none"):
            signers(late, old)

    def test_the_record_names_the_new_keys_under_the_signature_of_the_old(self, place, admin):
        old = keys(place)
        new = [one.vkey for one in place.call("log_keys.rotate", admin).data if one.vkey not in old]
        (record,) = place.records(action="log.key_rotated")
        view = grow(place)
        assert view.size > record.index
        assert {*old} <= {one.encode() for one in signers(view, old + new)}
        proof = place.call("records.prove", auditor(place), index=record.index)
        assert all(one in proof.entry for one in new)
        (request,) = place.records(action="log_keys.rotate")
        assert request.actor == "user:local|admin"

    def test_ranges_say_up_to_where_each_key_signed(self, place, admin):
        publish(place)
        old = keys(place)
        began = place.guard.log.size
        place.call("log_keys.rotate", admin, overlap_days=1)
        last = grow(place)
        place.clock.advance(DAY)
        place.hire("acme", "user:local|ben", "role:support")
        grow(place)
        rows = {one.vkey: one for one in place.call("log_keys.list", admin).data}
        assert {rows[one].from_size for one in old} == {0}
        assert {rows[one].to_size for one in old} == {last.size}
        new = [row for vkey, row in rows.items() if vkey not in old]
        assert [(row.to_size, row.until_us) for row in new] == [(None, None)] * 2
        assert {row.from_size for row in new} == {began}

    def test_an_export_over_a_rotation_verifies_with_either_key_and_holds_the_ranges(self, place, admin, tmp_path):
        publish(place)
        old = keys(place)
        place.call("log_keys.rotate", admin, overlap_days=1)
        grow(place)
        place.clock.advance(2 * DAY)
        grow(place)
        path = export(place, tmp_path)
        published = keys(place)
        report = verify_export(path, vkeys=published[-2:])
        assert report.faults == []
        assert report.counts["checkpoints"] == 2
        with zipfile.ZipFile(path) as archive:
            ranges = json.loads(archive.read("ranges.json"))
            policy = archive.read("policy.txt").decode()
        assert ranges.keys() == set(published)
        assert {one: ranges[one]["to_size"] is None for one in published} == {one: one not in old for one in published}
        assert policy == "".join(f"log {one}\n" for one in published) + "quorum none\n"

    def test_a_rotation_survives_a_restart_in_the_middle_of_its_overlap(self, tmp_path):
        with world(tmp_path / "home") as made:
            admin = made.hire(PLATFORM, "user:local|admin", "role:platform-admin")
            made.call("log_keys.rotate", admin, overlap_days=10)
            published = keys(made)
            assert len(signers(publish(made), published)) == 4
        with world(tmp_path / "home") as made:
            made.clock.advance(5 * DAY)
            assert len(signers(grow(made), published)) == 4
        with world(tmp_path / "home") as made:
            made.clock.advance(11 * DAY)
            view = grow(made)
            assert [one.encode() for one in signers(view, published)] == published[-2:]
            assert view.vkey == published[2]
        with world(tmp_path / "home") as made:
            made.clock.advance(12 * DAY)
            assert [one.encode() for one in signers(grow(made), published)] == published[-2:]

    def test_no_more_than_four_pairs_sign_at_once(self, place, admin):
        for _ in range(3):
            place.clock.advance(1)
            place.call("log_keys.rotate", admin)
        assert len(signers(publish(place), keys(place))) == 8
        with pytest.raises(Conflict, match="4"):
            place.call("log_keys.rotate", admin)
        place.clock.advance(31 * DAY)
        grow(place)
        place.call("log_keys.rotate", admin)

    @pytest.mark.parametrize("days", [0, -1, 367])
    def test_an_overlap_that_is_none_is_refused(self, place, admin, days):
        with pytest.raises(InvalidRequest):
            place.call("log_keys.rotate", admin, overlap_days=days)

    def test_only_those_who_run_the_platform_rotate(self, place):
        with pytest.raises(Denied):
            place.call("log_keys.rotate", auditor(place))
