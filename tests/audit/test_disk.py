"""Files that are written once: whole or not there at every moment at which the power may go (R04)."""

import stat
from contextlib import suppress

import pytest

from guard.audit.disk import SUFFIX, Disk, Folder
from guard.errors import StoreDamaged
from tests.audit.volumes import Memory, PowerCut

FILES = {
    "tile/0/000": b"first" * 50,
    "tile/0/001": b"second" * 50,
    "tile/1/x001/000": b"third" * 50,
    "tile/entries/000": b"fourth" * 50,
}
SEEDS = range(12)


class Hasty(Memory):
    """What a writer that forgets to sync the content would leave."""

    def create(self, path, data):
        super().create(path, data, sync=False)


class Careless(Memory):
    """What a writer that forgets to sync the folder would leave."""

    def sync(self, folder):
        self.tick()


def store_until_cut(kind, cut):
    volume = kind(cut)
    try:
        Disk(volume).store(FILES)
    except PowerCut:
        return volume, False
    return volume, True


def ticks(kind=Memory):
    volume, _ = store_until_cut(kind, None)
    return volume.ticks


def wrong(volume):
    """Final names whose content is not the one that was meant."""
    return [path for path in volume.live if not path.endswith(SUFFIX) and volume.read(path) != FILES[path]]


def cuts(kind):
    """Every tick and seed: what was found afterwards, and whether `store` had returned."""
    for cut in range(1, ticks(kind) + 2):
        volume, returned = store_until_cut(kind, cut)
        for seed in SEEDS:
            yield volume.after_the_cut(seed), returned


def test_at_every_moment_a_name_has_its_whole_content_or_is_not_there():
    found = list(cuts(Memory))
    assert len(found) > 400
    assert [volume for volume, _ in found if wrong(volume)] == []


def test_what_store_returned_from_is_there_after_any_cut():
    finished = [volume for volume, returned in cuts(Memory) if returned]
    assert len(finished) == len(SEEDS)
    for volume in finished:
        assert {path: volume.read(path) for path in FILES} == FILES


def test_after_any_cut_the_step_can_be_repeated_and_holds():
    for volume, _ in cuts(Memory):
        Disk(volume).store(FILES)
        for seed in SEEDS:
            again = volume.after_the_cut(seed)
            assert {path: again.read(path) for path in FILES} == FILES
            assert [path for path in again.live if path.endswith(SUFFIX)] == []


def test_a_second_cut_while_repeating_is_no_different():
    for first in range(1, ticks() + 1, 3):
        volume, _ = store_until_cut(Memory, first)
        for second in range(1, ticks() + 1, 5):
            found = volume.after_the_cut(first)
            found.cut = second
            with suppress(PowerCut):
                Disk(found).store(FILES)
            last = found.after_the_cut(second)
            assert wrong(last) == []
            Disk(last).store(FILES)
            assert {path: last.read(path) for path in FILES} == FILES


def test_the_simulator_finds_a_writer_that_does_not_sync_content():
    assert [volume for volume, _ in cuts(Hasty) if wrong(volume)]


def test_the_simulator_finds_a_writer_that_does_not_sync_folders():
    finished = [volume for volume, returned in cuts(Careless) if returned]
    assert [volume for volume in finished if {path: volume.read(path) for path in FILES} != FILES]


def test_removed_files_stay_removed_and_the_others_stay():
    volume = Memory()
    disk = Disk(volume)
    disk.store(FILES)
    disk.remove(["tile/entries/000", "tile/entries/001"])
    for seed in SEEDS:
        left = volume.after_the_cut(seed)
        assert left.read("tile/entries/000") is None
        assert {path: left.read(path) for path in list(FILES)[:3]} == dict(list(FILES.items())[:3])


def test_a_file_that_reads_back_as_something_else_is_named():
    class Liar(Memory):
        def read(self, path):
            found = super().read(path)
            return found and found[:-1] + b"!"

    with pytest.raises(StoreDamaged) as raised:
        Disk(Liar()).store(FILES)
    assert "tile/0/000" in raised.value.detail


class TestFolder:
    """The volume that is a real directory keeps to the same rules."""

    def test_files_are_private_and_read_only_and_read_back(self, tmp_path):
        disk = Disk(Folder(tmp_path / "log" / "1"))
        disk.store(FILES)
        for path, data in FILES.items():
            place = tmp_path / "log" / "1" / path
            assert place.read_bytes() == disk.read(path) == data
            assert stat.S_IMODE(place.stat().st_mode) == 0o400
        assert stat.S_IMODE((tmp_path / "log").stat().st_mode) == 0o700
        assert not list(tmp_path.rglob(f"*{SUFFIX}"))

    def test_storing_again_and_over_an_unfinished_file_is_no_error(self, tmp_path):
        disk = Disk(Folder(tmp_path))
        disk.store(FILES)
        (tmp_path / f"tile/0/000{SUFFIX}").write_bytes(b"half")
        disk.store(FILES)
        assert disk.read("tile/0/000") == FILES["tile/0/000"]
        assert not list(tmp_path.rglob(f"*{SUFFIX}"))

    def test_what_is_not_there_reads_as_nothing_and_can_be_removed(self, tmp_path):
        disk = Disk(Folder(tmp_path / "none"))
        assert disk.read("tile/0/000") is None
        disk.remove(["tile/0/000"])
        disk.store({"tile": b"a file where a folder is looked for"})
        assert disk.read("tile/0/000") is None

    def test_a_file_system_that_refuses_is_an_error_and_leaves_no_final_name(self, tmp_path):
        (tmp_path / "tile").mkdir()
        (tmp_path / "tile" / "0").write_bytes(b"in the way")
        with pytest.raises(OSError, match="tile/0"):
            Disk(Folder(tmp_path)).store(FILES)
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / "tile" / "0"]
