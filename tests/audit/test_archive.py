"""Bundles leave the database for files: at every size, after every cut, and with every kind of damage named."""

import random
import shutil

import pytest

from guard.audit import archive_store, archiving
from guard.audit.archiving import BUNDLES_PER_STEP
from guard.audit.checkpoint import Verdict
from guard.audit.files import tiles_ending_at
from guard.audit.reader import Reader
from guard.audit.tiles import WIDTH
from guard.audit.tree import leaf_hash, root_of
from guard.errors import StoreDamaged
from tests.audit.archived import Archived, path_of
from tests.audit.test_shell_log import NOW, closed
from tests.audit.volumes import Memory, PowerCut


@pytest.fixture
def archived(tmp_path):
    with closed(Archived(tmp_path / "log.db")) as made:
        yield made


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 511, 512, 513, 1025])
def test_at_every_size_what_is_complete_goes_to_files_and_all_reads_as_before(archived, size):
    archived.append(size, ("acme", "globex"))
    archived.publish()
    assert archived.log.waiting_bundles == size // 256
    assert archived.archive() == size // 256
    assert archived.log.waiting_bundles == 0
    for _ in range(2):
        archived.check_reads()
        archived.check_files()
        archived.check_proofs(sorted({1, min(size, 256), size}), (0, 255, 256))
        assert archived.rows()[1] == size % 256
        archived.restart()
    archived.append(300)
    archived.publish()
    archived.archive()
    archived.check_reads()
    archived.check_files()


def test_what_no_checkpoint_covers_stays_in_the_database(archived):
    assert archived.archive() == 0
    archived.append(255)
    archived.publish()
    archived.append(700)
    assert archived.log.waiting_bundles == 0
    assert archived.archive() == 0
    archived.append(1)
    archived.publish()
    assert archived.archive() == 3
    assert archived.span().archived == 768


def test_checkpoints_go_on_over_archived_records_and_restarts(archived):
    rng = random.Random(11)
    for number in range(12):
        archived.append(rng.choice([1, 100, 256, 300, 700]))
        with archived.store.read() as tx:
            assert archived.log.reread(tx) == archived.log.size
        head = archived.publish()
        assert head.root == root_of([leaf_hash(one) for one in archived.given])
        archived.step()
        if number % 3 == 2:
            archived.restart()
    with archived.store.write() as tx:
        assert archived.log.publish(tx, NOW + archived.log.size + 2)[2] is Verdict.WAIT
    archived.check_proofs([1, 255, 256, 257, len(archived.given)], (0, 256, 700))


@pytest.fixture(scope="module")
def deep(tmp_path_factory):
    """65,535 records, then 65,536 and 65,537: the first tile of the second level fills and is archived."""
    with closed(Archived(tmp_path_factory.mktemp("deep") / "log.db")) as made:
        made.append(65_535)
        made.publish()
        made.archive()
        yield made


def test_a_tile_of_the_second_level_fills_and_goes_to_a_file(deep):
    assert deep.volume.read("tile/1/000") is None
    for size, bundles in ((65_536, 256), (65_537, 256)):
        deep.append(1)
        deep.publish()
        deep.archive()
        assert (deep.log.size, deep.span().archived) == (size, bundles * 256)
        deep.check_proofs([1, 256, 65_535, size], (0, 255, 256, 40_000))
    deep.check_files()
    deep.check_reads()
    assert len(deep.volume.read("tile/1/000")) == 8192
    deep.restart()
    deep.append(600)
    deep.publish()
    deep.archive()
    deep.check_files()
    deep.check_proofs([255, 65_536, 65_537, deep.log.size], (0, 65_535, 65_536))


def test_damage_above_the_first_level_is_named_too(deep):
    file = deep.volume.live["tile/1/000"]
    sound = deep.volume.content[file]
    try:
        deep.volume.content[file] = sound[:100] + bytes([sound[100] ^ 1]) + sound[101:]
        with deep.store.read() as tx, pytest.raises(StoreDamaged) as raised:
            deep.log.reader(tx).hashes(0, 3)
        assert raised.value.extra == {"index": 0, "tile": "tile/1/000"}
    finally:
        deep.volume.content[file] = sound


def test_a_restart_with_many_files_does_not_read_the_bundles(deep):
    asked = []

    class Watched(Memory):
        def read(self, path):
            asked.append(path)
            return super().read(path)

    watched = Watched()
    vars(watched).update({name: value for name, value in vars(deep.volume).items() if name != "cut"})
    deep.files._disk._volume = watched
    deep.restart()
    assert len(asked) < 2 * 256 + 10
    assert not [path for path in asked if "entries" in path]


# cuts


@pytest.fixture(scope="module")
def ready(tmp_path_factory):
    """`ready(folder, cut)`: five bundles that may go to files; the volume's power goes at tick *cut*."""
    template = tmp_path_factory.mktemp("ready") / "log.db"
    with closed(Archived(template)) as made:
        made.append(1300, ("acme", "globex"))
        made.publish()
        given = made.given

    def copy(folder, cut=None):
        folder.mkdir()
        shutil.copy(template, folder / "log.db")
        found = Archived(folder / "log.db")
        found.given, found.volume.cut = given, cut
        return found

    return copy


def test_a_cut_at_any_tick_of_any_step_loses_nothing_and_is_gone_on_from(tmp_path, ready):
    with closed(ready(tmp_path / "whole")) as made:
        assert made.archive() == 5
        total = made.volume.ticks
    assert total > 60
    chance = random.Random(3)
    for cut in range(1, total + 1, 3):  # test_disk cuts at every one
        with closed(ready(tmp_path / str(cut), cut)) as made:
            with pytest.raises(PowerCut):
                made.archive()
            made.power_is_back(chance.randrange(100))
            done = made.span().archived // 256
            assert done in {0, 4, 5}
            made.check_reads()
            assert made.archive() == 5 - done
            made.check_files()
            made.check_reads()


@pytest.mark.parametrize("leave", [False, True])
def test_files_whose_rows_did_not_leave_are_written_again(archived, leave):
    size = (BUNDLES_PER_STEP + 1) * WIDTH + 20
    archived.append(size)
    archived.publish()
    assert archived.step(leave=False) == BUNDLES_PER_STEP
    archived.restart()
    archived.check_reads()
    assert archived.rows() == (0, size)
    assert archived.step(leave=leave) == BUNDLES_PER_STEP
    assert archived.archive() == (1 if leave else BUNDLES_PER_STEP + 1)
    archived.check_reads()
    archived.check_files()


def test_a_torn_file_under_the_final_name_is_written_again(archived):
    archived.append(300)
    archived.publish()
    archived.step(leave=False)
    for path in ("tile/entries/000", "tile/0/000"):
        file = archived.volume.live[path]
        content = archived.volume.content[file]
        archived.volume.content[file] = content[:1000] + bytes(len(content) - 1000)
    archived.restart()
    assert archived.archive() == 1
    archived.check_reads()
    archived.check_files()


def test_a_database_that_was_put_back_does_not_write_over_the_files_of_its_future(archived, tmp_path):
    archived.append(200)
    archived.publish()
    archived.store.close()
    yesterday = (tmp_path / "log.db").read_bytes()
    archived.open()
    archived.append(400)
    archived.publish()
    assert archived.archive() == 2
    future = archived.volume.read("tile/entries/000")
    archived.store.close()
    (tmp_path / "log.db").write_bytes(yesterday)
    archived.given = archived.given[:200]
    archived.open()
    archived.append(200, ("globex",))
    archived.publish()
    with pytest.raises(StoreDamaged) as raised:
        archived.archive()
    assert "tile/entries/000" in raised.value.detail
    assert archived.volume.read("tile/entries/000") == future
    assert archived.rows() == (0, 400)


# damage


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    with closed(Archived(tmp_path_factory.mktemp("sound") / "log.db")) as made:
        made.append(1100, ("acme", "globex"))
        made.publish()
        made.archive()
        yield made


@pytest.fixture
def spoil(sound):
    """`spoil(path, change)` changes a file; it is put back afterwards."""
    before = dict(sound.volume.content)

    def change(path, new):
        file = sound.volume.live[path]
        sound.volume.content[file] = new(sound.volume.content[file])

    yield change
    sound.volume.content = before


def flipped(at):
    return lambda data: data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize("seed", range(40))
def test_any_flipped_bit_of_a_bundle_is_named_by_its_record(sound, spoil, seed):
    rng = random.Random(seed)
    n = rng.randrange(4)
    ends, at = [], 0
    for entry in sound.given[n * 256 : n * 256 + 256]:
        at += 2 + len(entry)
        ends.append(at)
    place = rng.randrange(at)
    spoil(f"tile/entries/{path_of(n)}", flipped(place))
    wanted = n * 256 + next(number for number, end in enumerate(ends) if place < end)
    with sound.store.read() as tx:
        reader = sound.log.reader(tx)
        with pytest.raises(StoreDamaged) as raised:
            list(reader.entries(0, 1100))
        assert raised.value.extra["index"] == wanted
        other = (n + 1) % 4
        assert list(reader.entries(other * 256, other * 256 + 256)) == sound.given[other * 256 : other * 256 + 256]


@pytest.mark.parametrize(
    ("change", "index"),
    [
        (lambda data: data[:-1], 511),
        (lambda data: data + b"\0", 511),
        (lambda _: b"", 256),
        (lambda data: data[3:], 256),
    ],
    ids=["a byte short", "a byte more", "empty", "its beginning gone"],
)
def test_a_cut_bundle_is_named_by_its_first_wrong_record(sound, spoil, change, index):
    spoil("tile/entries/001", change)
    with sound.store.read() as tx, pytest.raises(StoreDamaged) as raised:
        sound.log.reader(tx).entry(300)
    assert raised.value.extra["index"] == index


def test_a_missing_bundle_is_named_and_the_others_are_read(sound, spoil):
    file = sound.volume.live.pop("tile/entries/002")
    try:
        with sound.store.read() as tx:
            with pytest.raises(StoreDamaged) as raised:
                sound.log.reader(tx).entry(600)
            assert "tile/entries/002" in raised.value.detail
            assert sound.log.reader(tx).entry(100) == sound.given[100]
    finally:
        sound.volume.live["tile/entries/002"] = file


@pytest.mark.parametrize("at", [0, 31, 32, 4000, 8191])
@pytest.mark.parametrize("n", [0, 3])
def test_any_flipped_bit_of_a_hash_tile_is_named_by_its_tile(sound, spoil, n, at):
    spoil(f"tile/0/{path_of(n)}", flipped(at))
    with sound.store.read() as tx:
        for ask in (lambda reader: reader.entry(n * 256), lambda reader: list(reader.leaves(1100))):
            with pytest.raises(StoreDamaged) as raised:
                ask(sound.log.reader(tx))
            assert raised.value.extra == {"index": n * 256, "tile": f"tile/0/{path_of(n)}"}


@pytest.mark.parametrize("change", [lambda data: data[:-32], lambda _: b"", flipped(77)])
def test_a_damaged_hash_tile_stops_the_start_by_name(sound, spoil, change):
    spoil("tile/0/001", change)
    with pytest.raises(StoreDamaged) as raised:
        sound.restart()
    assert "tile/0/001" in raised.value.detail
    assert "guard audit rebuild" in raised.value.detail


def test_a_record_that_changed_in_the_database_is_not_archived(archived):
    archived.append(600)
    archived.publish()
    with archived.store.write() as tx:
        tx.exec_driver_sql("UPDATE audit_entries SET entry = x'00' WHERE idx = 300")
    with pytest.raises(StoreDamaged) as raised:
        archived.archive()
    assert raised.value.extra["index"] == 300
    assert archived.rows() == (0, 600)
    assert archived.volume.live == {}


def test_rows_that_somebody_removed_meanwhile_undo_the_step(archived):
    archived.append(600)
    archived.publish()
    with archived.store.read() as tx:
        step = archiving.read_step(tx)
    archived.log.files.store(step.bundles, step.tiles)
    with archived.store.write() as tx:
        tx.exec_driver_sql("DELETE FROM audit_entries WHERE idx = 7")
    with pytest.raises(StoreDamaged), archived.store.write() as tx:
        archive_store.advance(tx, step.span, step.end, list(step.tiles))
    assert archived.span().archived == 0


def test_two_archivers_cannot_both_move_on(archived):
    archived.append(600)
    archived.publish()
    with archived.store.read() as tx:
        step = archiving.read_step(tx)
    archived.step()
    with pytest.raises(StoreDamaged), archived.store.write() as tx:
        archive_store.advance(tx, step.span, step.end, list(step.tiles))
    archived.check_reads()


# arithmetic


@pytest.mark.parametrize(
    ("end", "tiles"),
    [
        (0, []),
        (255, []),
        (256, [(0, 0)]),
        (512, [(0, 1)]),
        (65_536, [(0, 255), (1, 0)]),
        (131_072, [(0, 511), (1, 1)]),
        (1 << 24, [(0, 65_535), (1, 255), (2, 0)]),
    ],
)
def test_which_tiles_end_with_a_record(end, tiles):
    assert tiles_ending_at(end) == tiles


def test_a_reader_without_files_reads_a_log_that_is_all_in_the_database(archived):
    archived.append(300)
    with archived.store.read() as tx:
        assert list(Reader(tx).entries(0, 300)) == archived.given
