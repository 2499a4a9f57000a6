"""A rebuild gives row by row what was there, mends hash tiles, and stops at damage by its exact index."""

import json
import shutil
import sqlite3
from contextlib import closing

import pytest
from typer.testing import CliRunner

from guard.app import offline
from guard.audit.indexing import placed
from guard.audit.rebuild import rebuild
from guard.catalogue import PLATFORM
from guard.cli.main import app
from guard.errors import InvalidSetting, StoreDamaged, StoreLocked
from guard.settings import Settings
from tests.audit.building import entries_of
from tests.audit.test_shell_archive import fill
from tests.world import world

TABLES = ("audit_index", "audit_tenants", "audit_head", "audit_tiles", "audit_archive", "audit_entries")


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A home whose log lies in files and in a tail, with checkpoints between, one of them amid a bundle."""
    home = tmp_path_factory.mktemp("rebuild") / "home"
    with world(home) as made:
        for count in (300, 700, 1500):
            fill(made, count)
        made.beat("log.archive", lambda _now: [(PLATFORM, {})] * 3)
        fill(made, 1700)
    return home


@pytest.fixture
def home(template, tmp_path):
    return shutil.copytree(template, tmp_path / "home")


def change(home, *statements):
    with closing(sqlite3.connect(home / "guard.db")) as db, db:
        for statement in statements:
            db.execute(statement)


def rows(home):
    with closing(sqlite3.connect(home / "guard.db")) as db:
        return {table: db.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall() for table in TABLES}


def files(home):
    return {str(path.relative_to(home)): path.read_bytes() for path in (home / "log").rglob("*") if path.is_file()}


def run(home):
    seen = []
    with offline(Settings(home=home)) as (store, log, place), store.write() as tx:
        found = rebuild(tx, log, place, lambda done, total: seen.append((done, total)))
    assert seen[-1] == (found.size, found.size)
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    return found


def spoil(home, path, new):
    place = home / "log" / "1" / path
    place.chmod(0o600)
    place.write_bytes(new(place.read_bytes()))


def flipped(at):
    return lambda data: data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def archived(home):
    return rows(home)["audit_archive"][0][1]


@pytest.mark.parametrize(
    "statements",
    [
        (),
        ("DELETE FROM audit_index",),
        ("DELETE FROM audit_index WHERE idx % 7 = 3",),
        ("UPDATE audit_index SET actor = 'user:local|nobody', leaf = zeroblob(32) WHERE idx < 400",),
        ("DELETE FROM audit_tenants", "DELETE FROM audit_head"),
        ("UPDATE audit_tenants SET next_n = 1", "UPDATE audit_head SET root = zeroblob(32), edge = x'00'"),
        ("DELETE FROM audit_tiles",),
        ("DELETE FROM audit_archive",),
        (
            "DELETE FROM audit_index",
            "DELETE FROM audit_tenants",
            "DELETE FROM audit_tiles",
            "DELETE FROM audit_archive",
        ),
    ],
)
def test_whatever_was_lost_or_changed_is_as_before_row_by_row(home, statements):
    before = rows(home)
    assert len(before["audit_index"]) >= 1700
    assert before["audit_archive"][0][1] == 1280
    change(home, *statements)
    assert (rows(home) == before) is (not statements)
    found = run(home)
    after = rows(home)
    for table in TABLES:
        if table != "audit_head":
            assert after[table] == before[table], table
    assert [row[:4] for row in after["audit_head"]] == [row[:4] for row in before["audit_head"]]
    assert (found.size, found.archived, found.mended) == (len(before["audit_index"]), 1280, [])
    with world(home) as made:
        made.clock.advance(3600)
        assert made.call("checkpoints.publish").size > found.size


@pytest.mark.parametrize("damage", [lambda _: b"", flipped(4000), lambda data: data[:-1], None])
@pytest.mark.parametrize("n", [0, 2, 4])
def test_a_damaged_hash_tile_is_mended_since_the_checkpoints_come_out(home, n, damage):
    before = files(home)
    if damage:
        spoil(home, f"tile/0/{n:03d}", damage)
    else:
        (home / "log" / "1" / "tile" / "0" / f"{n:03d}").unlink()
    with pytest.raises(StoreDamaged), world(home):
        pass
    assert run(home).mended == [f"tile/0/{n:03d}"]
    assert files(home) == before
    with world(home) as made:
        made.call("services.start", version="0", fresh=False)


@pytest.mark.parametrize("place", [0, 1, 2, 5000, 90_000, -1])
@pytest.mark.parametrize("n", [0, 3])
def test_a_damaged_bundle_stops_with_the_exact_index_and_changes_nothing(home, n, place):
    change(home, "DELETE FROM audit_index")
    before, tiles = rows(home), files(home)
    path = f"tile/entries/{n:03d}"
    data = tiles[f"log/1/{path}"]
    at = place % len(data)
    spoil(home, path, flipped(at))
    with pytest.raises(StoreDamaged) as raised:
        run(home)
    assert raised.value.extra["index"] == n * 256 + index_of(data, at)
    assert rows(home) == before
    assert files(home) == tiles | {f"log/1/{path}": flipped(at)(data)}


def index_of(data, place):
    """Which entry of a bundle the byte at *place* belongs to, its length included."""
    at = number = 0
    while True:
        at += 2 + int.from_bytes(data[at : at + 2], "big")
        if place < at:
            return number
        number += 1


def test_a_damaged_tile_does_not_hide_a_damaged_bundle_behind_it(home):
    spoil(home, "tile/0/000", flipped(0))
    spoil(home, "tile/entries/004", flipped(50))
    with pytest.raises(StoreDamaged) as raised:
        run(home)
    assert raised.value.extra["index"] == 4 * 256


def test_a_record_and_its_tile_forged_together_are_bounded_by_the_checkpoints(home):
    data = files(home)["log/1/tile/entries/004"]
    from guard.audit.tiles import decode_bundle, encode_bundle
    from guard.audit.tree import leaf_hash

    entries = decode_bundle(data)
    entries[9] = entries[9].replace(b'"ok"', b'"oK"', 1)
    spoil(home, "tile/entries/004", lambda _: encode_bundle(entries))
    spoil(home, "tile/0/004", lambda old: old[: 9 * 32] + leaf_hash(entries[9]) + old[10 * 32 :])
    with pytest.raises(StoreDamaged) as raised:
        run(home)
    assert raised.value.extra["index"] <= 4 * 256 + 9
    assert "signed checkpoint" in raised.value.detail


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        ("DELETE FROM audit_entries WHERE idx = 1400", 1400),
        ("DELETE FROM audit_entries WHERE idx = 1280", 1280),
        ("DELETE FROM audit_entries WHERE idx > 1600", 1601),
        ("DELETE FROM audit_entries", 1280),
    ],
)
def test_missing_rows_of_the_tail_are_named(home, statement, index):
    change(home, statement)
    with pytest.raises(StoreDamaged) as raised:
        run(home)
    assert raised.value.extra["index"] == index


def test_a_missing_bundle_is_named(home):
    (home / "log" / "1" / "tile" / "entries" / "002").unlink()
    with pytest.raises(StoreDamaged) as raised:
        run(home)
    assert raised.value.extra["index"] == 512


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_checkpoints SET root = zeroblob(32) WHERE size = (SELECT max(size) FROM audit_checkpoints)",
        "UPDATE audit_checkpoints SET note = replace(note, 'A', 'B') WHERE size = (SELECT max(size) FROM audit_checkpoints)",
        "UPDATE audit_checkpoints SET root = zeroblob(32) WHERE size = (SELECT min(size) FROM audit_checkpoints)",
    ],
)
def test_a_checkpoint_that_does_not_come_out_stops_it(home, statement):
    before = rows(home)
    change(home, statement)
    with pytest.raises(StoreDamaged):
        run(home)
    assert rows(home) == before


def test_a_home_that_is_served_or_has_no_store_is_refused(home, tmp_path):
    with world(home), pytest.raises(StoreLocked), offline(Settings(home=home)):
        pass
    with pytest.raises(InvalidSetting), offline(Settings(home=tmp_path / "none")):
        pass
    assert not (tmp_path / "none").exists()


def test_the_verb_rebuilds_and_leaves_a_record(home):
    change(home, "DELETE FROM audit_index")
    spoil(home, "tile/0/001", flipped(1))
    done = CliRunner().invoke(app, ["audit", "rebuild", "--home", str(home), "-o", "json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["mended"] == ["tile/0/001"]
    with closing(sqlite3.connect(home / "guard.db")) as db:
        found = db.execute("SELECT action, status FROM audit_index ORDER BY idx DESC LIMIT 1").fetchone()
        assert found == ("log.rebuilt", "ok")
        assert db.execute("SELECT count(*) FROM audit_index").fetchone()[0] == told["size"] + 2  # the start, and this


def test_the_verb_ends_with_the_index_where_a_record_is_damaged(home):
    spoil(home, "tile/entries/001", flipped(40))
    done = CliRunner().invoke(app, ["audit", "rebuild", "--home", str(home), "-o", "json"])
    assert done.exit_code == 75
    assert "record 256" in done.stderr


def test_a_row_of_the_index_is_made_from_the_entry_alone():
    (entry,) = entries_of(1)
    row = placed(7, entry)
    assert (row.index, row.n, row.entry.tenant, row.entry.actor) == (7, 0, "acme", "svc:billing")
    assert row.entry.time_us == 1_790_000_000_000_000


@pytest.mark.parametrize("entry", [b"", b"{}", b'{"b":{},"n":0}', b'{"b":{"time":1},"n":0}', b'{"b":[],"n":0}'])
def test_what_is_no_record_is_refused_by_index(entry):
    with pytest.raises(StoreDamaged) as raised:
        placed(7, entry)
    assert "index 7" in raised.value.detail
