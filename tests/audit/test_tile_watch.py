"""Files of the log that were taken away, cut or replaced are named, and pruned ones are not missed."""

import shutil

import pytest

from guard.audit.tile_watch import NEWEST, PER_BEAT, TileWatch
from guard.audit.tiles import Tile

BUNDLE, TILE = 256, 1 << 16


def put(folder, level, n, content=b"x" * 64):
    place = folder / "1" / Tile(level, n).path()
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
    return place


def archive(folder, count):
    """A log of so many bundles in files, small ones."""
    for n in range(count):
        put(folder, None, n)
        put(folder, 0, n)
    for n in range(count * BUNDLE // TILE):
        put(folder, 1, n)
    return count * BUNDLE


def found(watch, end, first=0, beats=3):
    return next((lost for _ in range(beats) if (lost := watch.lost(lambda: (1, first, end)))), "")


@pytest.mark.parametrize("change", ["unlink", "shorter", "replaced"])
@pytest.mark.parametrize("place", [(None, 0), (0, 0), (0, 299), (None, 299), (1, 0), (None, 150)])
def test_a_file_that_was_taken_away_or_changed(tmp_path, place, change):
    watch, end = TileWatch(tmp_path), archive(tmp_path, 300)
    assert found(watch, end, beats=6) == ""
    gone = tmp_path / "1" / Tile(*place).path()
    if change == "unlink":
        gone.unlink()
    elif change == "shorter":
        gone.write_bytes(b"x")
    else:
        shutil.copy(gone, tmp_path / "other")
        (tmp_path / "other").rename(gone)
    assert found(watch, end, beats=6).startswith(f"{gone} was {'removed' if change == 'unlink' else 'changed'}")


def test_a_file_that_was_gone_before_the_first_look_is_missed_too(tmp_path):
    end = archive(tmp_path, 4)
    (tmp_path / "1" / Tile(None, 1).path()).unlink()
    assert "entries/001 was removed" in found(TileWatch(tmp_path), end)


def test_the_newest_are_looked_at_in_every_beat(tmp_path):
    watch, end = TileWatch(tmp_path), archive(tmp_path, 2 * PER_BEAT)
    assert found(watch, end, beats=20) == ""
    (tmp_path / "1" / Tile(None, 2 * PER_BEAT - NEWEST).path()).unlink()
    assert "was removed" in watch.lost(lambda: (1, 0, end))


def test_what_is_not_in_the_archive_yet_is_not_watched(tmp_path):
    watch, end = TileWatch(tmp_path), archive(tmp_path, 2)
    part, early = put(tmp_path, 0, 2), tmp_path / "1/tile/entries/002.part"
    early.write_bytes(b"x")
    assert found(watch, end) == ""
    for path in (part, early):
        path.unlink()
    assert found(watch, end) == ""
    archive(tmp_path, 3)
    with_more = end + BUNDLE
    assert found(TileWatch(tmp_path), with_more) == ""


def test_files_of_an_incarnation_that_ended_may_be_moved_away(tmp_path):
    watch, end = TileWatch(tmp_path), archive(tmp_path, 3)
    assert found(watch, end) == ""
    (tmp_path / "1").rename(tmp_path / "elsewhere")
    assert watch.lost(lambda: (2, 0, 0)) == ""
    assert "was removed" in watch.lost(lambda: (2, 0, end))


def test_pruned_bundles_may_go_and_hash_tiles_may_not(tmp_path):
    watch, end = TileWatch(tmp_path), archive(tmp_path, 3)
    assert found(watch, end) == ""
    for n in (0, 1):
        (tmp_path / "1" / Tile(None, n).path()).unlink()
    assert found(watch, end, first=2 * BUNDLE, beats=6) == ""
    (tmp_path / "1" / Tile(0, 0).path()).unlink()
    assert "tile/0/000 was removed" in found(watch, end, first=2 * BUNDLE)


def test_a_bundle_that_is_pruned_while_it_is_looked_for_is_no_loss(tmp_path):
    watch, end = TileWatch(tmp_path), archive(tmp_path, 3)
    (tmp_path / "1" / Tile(None, 0).path()).unlink()
    answers = iter([(1, 0, end)])
    assert watch.lost(lambda: next(answers, (1, BUNDLE, end))) == ""


def test_a_beat_looks_at_a_bounded_number_of_files_and_each_has_its_turn(tmp_path, monkeypatch):
    import os

    watch, end = TileWatch(tmp_path), archive(tmp_path, 2 * PER_BEAT)
    looked = []
    real = os.stat
    monkeypatch.setattr(os, "stat", lambda path, **more: looked.append(str(path)) or real(path, **more))
    beats = 0
    while len(set(looked)) < 4 * PER_BEAT + 2 * PER_BEAT * BUNDLE // TILE:
        looked_before = len(looked)
        assert watch.lost(lambda: (1, 0, end)) == ""
        assert len(looked) - looked_before <= PER_BEAT + 9 * NEWEST
        beats += 1
    assert beats <= 6
