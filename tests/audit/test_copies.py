"""The log as objects with Object Lock, against a real server of S3: copied once, resumed anywhere, damage named."""

import contextlib

import pytest

from guard.audit.anchor_settings import bucket as checked
from guard.audit.anchors import Anchors
from guard.audit.copies import LONGEST_PAUSE, Copies
from guard.audit.copying import partials
from guard.audit.files import FOLDER
from guard.audit.tiles import Tile, tiles_of
from guard.audit.worm_store import Worm
from guard.catalogue import PLATFORM
from guard.errors import Conflict, InvalidSetting, NotFound
from tests.audit.test_prune import archive
from tests.audit.test_shell_archive import fill
from tests.world import world

FIRST = "guard.local/guard/main"
FOLDER_OF = f"guard/{FIRST}/"


class PowerCutError(BaseException):
    """Ends the process where it stands; nothing catches it."""


class Cut(Worm):
    """A bucket before whose n-th object the power fails."""

    left = 0

    def put(self, key, content):
        if self.left == 0:
            raise PowerCutError
        self.left -= 1
        return super().put(key, content)


@contextlib.contextmanager
def guarded(home, table, kind=Worm):
    """A guard that copies its tiles, with 1,400 records in files; its bucket may be of another kind."""
    with world(home, worm=table | {"tiles": True}) as made:
        made.anchors = made.gate._doors.parts[Anchors]
        made.copies = made.gate._doors.parts[Copies]
        made.anchors.worm.close()
        made.anchors.worm = kind(checked(table | {"tiles": True}), FIRST, made.clock, home)
        if made.guard.log.size < 1400:
            fill(made)
            archive(made)
        yield made
        made.anchors.worm.close()


def copy_all(made):
    """Portions until nothing waits; up to which record the bucket has the log."""
    while (answer := made.call("log.copy")).more:
        assert not answer.alarm
    assert not answer.alarm
    return answer.size


def held(client, table):
    """What the bucket holds of the log's tiles: name below the log -> number of versions."""
    pages = client.get_paginator("list_object_versions").paginate(Bucket=table["bucket"], Prefix=f"{FOLDER_OF}tile/")
    names = [one["Key"].removeprefix(FOLDER_OF) for page in pages for one in page.get("Versions", ())]
    return {name: names.count(name) for name in names}


def content(client, table, name):
    return client.get_object(Bucket=table["bucket"], Key=FOLDER_OF + name)["Body"].read()


def expected(size):
    return {tile.path() for tile in tiles_of(size) if tile.width == 256}


def remark(made):
    admin = made.hire(PLATFORM, "user:local|root", "role:platform-admin")
    return next(one for one in made.call("anchors.list", admin).data if one.kind == "worm-tiles")


def reports(made):
    return [one for one in made.records(action="copies.report") if one.status == "ok"]


def test_each_finished_tile_and_bundle_is_there_once_as_it_is_on_disk(tmp_path, table, client):
    with guarded(tmp_path / "home", table) as made:
        size = made.guard.log.size
        assert copy_all(made) == size // 256 * 256
        assert held(client, table) == dict.fromkeys(expected(size), 1)
        for name in expected(size):
            assert content(client, table, name) == (tmp_path / "home" / FOLDER / "1" / name).read_bytes()
        one = client.head_object(Bucket=table["bucket"], Key=f"{FOLDER_OF}tile/entries/000")
        assert (one["ObjectLockMode"], one["ObjectLockRetainUntilDate"].year) == ("COMPLIANCE", 2036)
        assert made.guard.log.size == size, "copying leaves no record"
        assert copy_all(made) == size // 256 * 256
        assert remark(made).size == size // 256 * 256
        assert remark(made).remark == ""


def test_a_power_cut_before_any_object_is_gone_on_from_with_nothing_missing_or_doubled(tmp_path, table, client):
    cuts = 0
    with guarded(tmp_path / "home", table, Cut) as made:
        size = made.guard.log.size
        for left in range(len(expected(size)) + 1):
            made.anchors.worm.left = left % 5
            with contextlib.suppress(PowerCutError):
                made.call("log.copy")
                continue
            cuts += 1
            assert set(held(client, table).values()) <= {1}
    with guarded(tmp_path / "home", table) as made:
        assert remark(made).size < 256 * 5, "the cursor is in the database, and stood before the cut"
        assert copy_all(made) == size // 256 * 256
        assert held(client, table) == dict.fromkeys(expected(size), 1)
    assert cuts > 3


def test_the_cursor_goes_on_after_a_restart_and_asks_for_nothing_twice(tmp_path, table, client):
    with guarded(tmp_path / "home", table) as made:
        first = made.call("log.copy")
        assert (first.size, first.more) == (1024, True)
    with guarded(tmp_path / "home", table, Cut) as made:
        made.anchors.worm.left = len(expected(1400)) - len(expected(1024))
        assert copy_all(made) == made.guard.log.size // 256 * 256


def test_a_bucket_out_of_reach_is_told_once_and_again_when_it_answers(tmp_path, table, client, free_port):
    away = table | {"endpoint": f"http://127.0.0.1:{free_port()}"}
    with guarded(tmp_path / "home", away) as made:
        for _ in range(3):
            answer = made.call("log.copy")
            assert (answer.size, answer.more) == (0, False)
            assert table["bucket"] in answer.alarm
        assert made.copies.pause_seconds == 20
        assert "records in files wait" in remark(made).remark
        assert table["bucket"] in remark(made).remark
        assert len(reports(made)) == 1
        for _ in range(9):
            made.copies.lost("down")
        assert made.copies.pause_seconds == LONGEST_PAUSE
        made.anchors.worm = Worm(checked(table | {"tiles": True}), FIRST, made.clock, tmp_path)
        copy_all(made)
        assert len(reports(made)) == 2
        assert remark(made).remark == ""


def test_an_object_that_is_there_with_other_bytes_stops_it_by_name_and_is_not_overwritten(tmp_path, table, client):
    client.put_object(
        Bucket=table["bucket"], Key=f"{FOLDER_OF}tile/0/002", Body=b"x" * 8192, ChecksumAlgorithm="SHA256"
    )
    with guarded(tmp_path / "home", table) as made:
        for _ in range(2):
            answer = made.call("log.copy")
            assert (answer.size, answer.more) == (0, False)
            assert f"{FOLDER_OF}tile/0/002" in answer.alarm
        assert len(reports(made)) == 1
        assert f"{FOLDER_OF}tile/0/002: other bytes" in remark(made).remark
    assert held(client, table)["tile/0/002"] == 1
    assert content(client, table, "tile/0/002") == b"x" * 8192


def test_who_comes_between_the_look_and_the_write_is_not_overwritten(tmp_path, table, client):
    class Blind(Worm):
        """Sees no object: as if each came after the look."""

        def _digest(self, key):
            return None

    worm = Blind(checked(table), FIRST, lambda: 1_790_000_000_000_000, tmp_path)
    assert worm.put("guard/x", b"one")
    with pytest.raises(Conflict, match="came meanwhile"):
        worm.put("guard/x", b"two")
    assert client.get_object(Bucket=table["bucket"], Key="guard/x")["Body"].read() == b"one"
    worm.close()


def look_all(made):
    """Two rounds; what the first answers with an alarm said."""
    answers = [made.call("copies.look") for _ in range(8)]
    return [answer.alarm for answer in answers if answer.alarm], {name for one in answers for name in one.faults}


def test_what_is_done_to_a_copy_is_named_once_in_a_record_and_in_the_list(tmp_path, table, client):
    with guarded(tmp_path / "home", table) as made:
        copy_all(made)
        assert look_all(made) == ([], set())
        name = f"{FOLDER_OF}tile/entries/001"
        client.put_object(Bucket=table["bucket"], Key=name, Body=b"forged", ChecksumAlgorithm="SHA256")
        client.delete_object(Bucket=table["bucket"], Key=f"{FOLDER_OF}tile/0/003")
        alarms, faults = look_all(made)
        assert faults == {name, f"{FOLDER_OF}tile/0/003"}
        said = {f"{name} in the bucket: overwritten", f"{FOLDER_OF}tile/0/003 in the bucket: deleted"}
        assert (set(alarms), len(alarms)) == (said, 2)
        assert len(reports(made)) == 2
        assert look_all(made)[0] == []
        assert f"{name}: overwritten" in remark(made).remark
        assert copy_all(made) == made.guard.log.size // 256 * 256


def test_a_copy_that_is_gone_altogether_is_missing(tmp_path, table, client):
    with guarded(tmp_path / "home", table | {"mode": "GOVERNANCE"}) as made:
        copy_all(made)
        name = f"{FOLDER_OF}tile/1/000"
        for one in client.list_object_versions(Bucket=table["bucket"], Prefix=f"{FOLDER_OF}tile/entries/004")[
            "Versions"
        ]:
            client.delete_object(
                Bucket=table["bucket"], Key=one["Key"], VersionId=one["VersionId"], BypassGovernanceRetention=True
            )
        alarms, _ = look_all(made)
        assert alarms == [f"{FOLDER_OF}tile/entries/004 in the bucket: missing"]
        assert name not in held(client, table), "1,400 records have no full tile of tiles"


def test_with_a_checkpoint_goes_what_completes_it(tmp_path, table, client):
    with guarded(tmp_path / "home", table) as made:
        copy_all(made)
        made.call("checkpoints.publish")
        size = made.call("checkpoints.copy").size
        with made.guard.store.read() as tx:
            rest = partials(made.guard.log.reader(tx), size)
        assert set(held(client, table)) == {tile.path() for tile in tiles_of(size)}
        for name, data in rest.items():
            assert content(client, table, name) == data
        assert Tile(None, size // 256, size % 256).path() in rest


def test_a_checkpoint_far_ahead_of_the_copies_is_an_anchor_all_the_same(tmp_path, table, client):
    with guarded(tmp_path / "home", table) as made:
        made.call("checkpoints.publish")
        size = made.call("checkpoints.copy").size
        assert size >= 1400
        notes = list(made.anchors.worm.notes())
        assert notes[0].splitlines()[1] == str(size)
        assert held(client, table) == {}, "what is not copied yet cannot be completed"


def test_pruned_bundles_are_not_asked_for(tmp_path, table, client):
    with guarded(tmp_path / "home", table) as made:
        made.clock.advance(200 * 86_400)
        fill(made, 2000)
        archive(made)
        eve, bob = (made.hire(PLATFORM, f"user:local|{name}", "role:platform-admin") for name in ("eve", "bob"))
        to = made.call("prunes.request", eve, keep_days=180).requested_to
        made.call("prunes.approve", bob, to=to)
        made.beat("prunes.sweep", lambda _now: [(PLATFORM, {})] * 3)
        copy_all(made)
        assert "tile/entries/000" not in held(client, table)
        assert "tile/0/000" in held(client, table)
        assert look_all(made) == ([], set())


@pytest.mark.parametrize("tiles", ["yes", 1])
def test_the_setting_is_true_or_false(table, tiles):
    with pytest.raises(InvalidSetting, match="true or false for tiles"):
        checked(table | {"tiles": tiles})


def test_without_the_setting_nothing_but_checkpoints_is_copied(tmp_path, table, client):
    with world(tmp_path / "home", worm=table) as made:
        fill(made, 300)
        archive(made)
        made.call("checkpoints.copy")
        with pytest.raises(NotFound, match="tiles = true"):
            made.call("log.copy")
        assert held(client, table) == {}
        made.gate._doors.parts[Anchors].worm.close()
