"""Copies in a bucket with Object Lock: written once, deleted by nobody, and an anchor at the next start."""

import contextlib
import shutil

import pytest
from botocore.exceptions import ClientError

from guard.audit.anchor_settings import bucket as checked
from guard.audit.anchors import Anchors
from guard.audit.checkpoint import Checkpoint
from guard.audit.worm_store import Worm
from guard.errors import Conflict, InvalidSetting, NotFound, RollbackDetected, Unreachable
from tests.world import START_US, world

FIRST = "guard.local/guard/main"


@pytest.fixture
def worm(table, tmp_path):
    made = Worm(checked(table), FIRST, lambda: 4_000_000_000_000_000, tmp_path)
    yield made
    made.close()


def head(size, origin=FIRST):
    return Checkpoint(origin, size, bytes(32))


def versions(client, name):
    return client.list_object_versions(Bucket=name).get("Versions", [])


def test_a_checkpoint_is_put_once_with_retention(worm, client, table):
    assert worm.put_checkpoint(head(5), "five")
    assert not worm.put_checkpoint(head(5), "five")
    (one,) = versions(client, table["bucket"])
    held = client.head_object(Bucket=table["bucket"], Key=one["Key"])
    assert held["ObjectLockMode"] == "COMPLIANCE"
    assert held["ObjectLockRetainUntilDate"].year == 2106
    with pytest.raises(Conflict, match="other bytes"):
        worm.put_checkpoint(head(5), "another five")
    assert len(versions(client, table["bucket"])) == 1


@pytest.mark.parametrize("mode", ["COMPLIANCE", "GOVERNANCE"])
def test_no_version_can_be_deleted_and_overwriting_adds_only_another(table, client, tmp_path, mode):
    worm = Worm(checked(table | {"mode": mode}), FIRST, lambda: 4_000_000_000_000_000, tmp_path)
    worm.put_checkpoint(head(5), "five")
    (one,) = versions(client, table["bucket"])
    with pytest.raises(ClientError) as raised:
        client.delete_object(Bucket=table["bucket"], Key=one["Key"], VersionId=one["VersionId"])
    assert raised.value.response["Error"]["Code"] == "AccessDenied"
    client.put_object(Bucket=table["bucket"], Key=one["Key"], Body=b"forged", ChecksumAlgorithm="SHA256")
    assert "five" in list(worm.notes())
    assert not worm.put_checkpoint(head(5), "five"), "the first version counts"
    client.delete_object(Bucket=table["bucket"], Key=one["Key"])  # a marker: it hides the name and deletes nothing
    assert "five" in list(worm.notes())
    worm.close()


def test_the_largest_comes_first_and_a_later_incarnation_before_it(worm):
    for size in (1, 10, 9, 2, 100):
        worm.put_checkpoint(head(size), f"size {size}")
    assert list(worm.notes()) == [f"size {size}" for size in (100, 10, 9, 2, 1)]
    worm.put_checkpoint(head(3, f"{FIRST}.2"), "the next one")
    worm.put_checkpoint(head(3, f"{FIRST}.10"), "the tenth")
    assert list(worm.notes())[:3] == ["the tenth", "the next one", "size 100"]


def test_a_file_of_the_log_is_put_once(worm, client, table, tmp_path):
    path = tmp_path / "000"
    path.write_bytes(b"x" * 8192)
    assert worm.put_file(path, "tile/0/000")
    assert not worm.put_file(path, "tile/0/000")
    (one,) = versions(client, table["bucket"])
    assert one["Key"] == f"guard/{FIRST}/tile/0/000"
    path.write_bytes(b"y" * 8192)
    with pytest.raises(Conflict):
        worm.put_file(path, "tile/0/000")


def test_a_bucket_that_is_not_there_or_does_not_answer_is_named_without_its_keys(table, tmp_path, free_port):
    for change in ({"bucket": "no-such-bucket"}, {"endpoint": f"http://127.0.0.1:{free_port()}"}):
        worm = Worm(checked(table | change), FIRST, lambda: START_US, tmp_path)
        with pytest.raises(Unreachable) as raised:
            worm.put_checkpoint(head(1), "one")
        assert "testing" not in raised.value.detail
        with pytest.raises(Unreachable):
            list(worm.notes())
        worm.close()


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ({"mode": "NONE"}, "COMPLIANCE"),
        ({"retention_days": 0}, "retention_days"),
        ({"retention_days": "many"}, "retention_days"),
        ({"retention_days": 99_999}, "36500"),
        ({"endpoint": "ftp://x"}, "https"),
        ({"buckett": "x"}, "buckett"),
        ({"bucket": 5}, "bucket"),
    ],
)
def test_a_wrong_table_is_named(table, change, shown):
    with pytest.raises(InvalidSetting, match=shown):
        checked(table | change)


@pytest.mark.parametrize("content", [None, "", "[guard]\n", "[other]\naws_access_key_id = a\n", "nonsense"])
def test_credentials_that_are_none_are_named_and_not_shown(table, tmp_path, content):
    path = tmp_path / "credentials"
    path.unlink()
    if content is not None:
        path.write_text(content)
    with pytest.raises(InvalidSetting, match="aws_access_key_id") as raised:
        Worm(checked(table), FIRST, lambda: 0, tmp_path)
    assert str(path) in raised.value.detail


# with a guard


def closed(place):
    place.guard.gate._doors.parts[Anchors].worm.close()


@contextlib.contextmanager
def guarded(home, table):
    with world(home, worm=table) as made:
        yield made
        closed(made)


def test_the_largest_checkpoint_in_the_bucket_is_an_anchor(tmp_path, table):
    home = tmp_path / "home"
    with guarded(home, table) as made:
        made.hire("acme", "user:local|ana", "role:support")
        made.call("checkpoints.publish")
    backup = shutil.copytree(home, tmp_path / "backup")
    with guarded(home, table) as made:
        for number in range(9):
            made.hire("acme", f"user:local|u{number}", "role:support")
        made.clock.advance(10)
        size = made.call("checkpoints.publish").size
        assert made.call("checkpoints.copy").size == size
    with guarded(home, table) as made:
        assert made.guard.standing.serving
    for path in home.glob("guard.db*"):
        path.unlink()
    shutil.copy2(backup / "guard.db", home / "guard.db")
    with guarded(home, table) as made:
        assert made.guard.standing.name == "READ_ONLY(ROLLBACK_DETECTED)"
        with pytest.raises(RollbackDetected, match=f"size {size} "):
            made.call("actors.whoami")


def test_what_others_put_beside_it_is_no_anchor(tmp_path, table, client):
    home = tmp_path / "home"
    with guarded(home, table) as made:
        made.call("checkpoints.publish")
        made.call("checkpoints.copy")
    name = f"guard/{FIRST}/checkpoint/000000000/0000000000000000000/9"
    client.put_object(Bucket=table["bucket"], Key=name, Body=b"forged", ChecksumAlgorithm="SHA256")
    with guarded(home, table) as made:
        assert made.guard.standing.serving
        assert made.guard.gate._doors.parts[Anchors].answered[0].head.size > 0


def test_a_bucket_out_of_reach_does_not_stop_the_start_unless_anchors_are_required(tmp_path, table, free_port):
    away = table | {"endpoint": f"http://127.0.0.1:{free_port()}"}
    with guarded(tmp_path / "home", away) as made:
        assert made.guard.standing.serving
        made.call("checkpoints.publish")
        with pytest.raises(Unreachable):
            made.call("checkpoints.copy")
    with world(tmp_path / "home", worm=away, anchors_required=1) as made:
        assert made.guard.standing.name == "READ_ONLY(ANCHOR_MISSING)"
        closed(made)


def test_a_rollback_is_found_when_the_bucket_answers_again(tmp_path, table, free_port):
    home = tmp_path / "home"
    with guarded(home, table) as made:
        made.call("checkpoints.publish")
    backup = shutil.copytree(home, tmp_path / "backup")
    with guarded(home, table) as made:
        made.clock.advance(10)
        for number in range(60):
            made.hire("acme", f"user:local|u{number}", "role:support")
        made.call("checkpoints.publish")
        made.call("checkpoints.copy")
    for path in home.glob("guard.db*"):
        path.unlink()
    shutil.copy2(backup / "guard.db", home / "guard.db")
    with world(home) as made:  # as with a bucket out of reach: nothing shows
        made.clock.advance(10)
        made.call("checkpoints.publish")
        assert made.guard.standing.serving
        made.guard.gate._doors.parts[Anchors].worm = Worm(checked(table), FIRST, made.clock, home)
        with pytest.raises(RollbackDetected):
            made.call("checkpoints.copy")
        assert made.guard.standing.name == "READ_ONLY(ROLLBACK_DETECTED)"
        closed(made)


def test_without_a_bucket_nothing_is_copied(tmp_path):
    with world(tmp_path / "home") as made:
        made.call("checkpoints.publish")
        with pytest.raises(NotFound, match="worm"):
            made.call("checkpoints.copy")
