"""A backup that is taken under load and restored elsewhere (R12): it verifies, what is missing is named, erased is erased."""

import shutil
import sqlite3
import threading
from contextlib import closing

import pytest

from guard.audit.anchor_store import AnchorFile, create
from guard.audit.verifier.command import verify
from guard.catalogue import PLATFORM
from guard.errors import RollbackDetected
from tests.audit.exporting import auditor, directory, ordered
from tests.audit.privacy import SUBJECT, Office, leftovers, office
from tests.world import world

WRITERS, PAGES = 3, 8


@pytest.fixture
def anchor(tmp_path):
    create(tmp_path / "anchor")
    return AnchorFile(tmp_path / "anchor")


def copied(home, to, meanwhile):
    """A backup by SQLite's own means, some pages at a time, while *meanwhile* writes between them."""
    to.mkdir()
    with closing(sqlite3.connect(home / "guard.db")) as source, closing(sqlite3.connect(to / "guard.db")) as target:
        source.backup(target, pages=PAGES, sleep=0.001, progress=meanwhile)
    with closing(sqlite3.connect(home / "keys.db")) as source, closing(sqlite3.connect(to / "keys.db")) as target:
        source.backup(target)  # after the database: an older key store than the database's is refused
    for name in ("guard.db", "keys.db"):
        (to / name).chmod(0o600)
    shutil.copy2(home / "root.key", to / "root.key")
    if (home / "log").exists():
        shutil.copytree(home / "log", to / "log")
    return to


def under_load(made, home, to):
    """The backup of a guard whose people go on working."""
    people = [made.hire("acme", f"user:local|w{number}", "role:support") for number in range(WRITERS)]
    stop, done = threading.Event(), [0] * WRITERS

    def work(number):
        while not stop.is_set():
            made.call("actors.whoami", people[number])
            done[number] += 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(WRITERS)]
    for one in threads:
        one.start()
    try:
        while min(done) < 20:
            made.call("checkpoints.publish")
        steps = []
        copied(home, to, lambda *given: steps.append(given))
    finally:
        stop.set()
        for one in threads:
            one.join()
    assert len(steps) > 1, "it was one step, so nothing was written in between"
    assert min(done) > 20
    return to


def test_it_opens_goes_on_and_verifies(tmp_path, anchor):
    with world(tmp_path / "home", anchor_file=anchor.path) as made:
        vkey = made.guard.log.verifier.encode()
        under_load(made, tmp_path / "home", tmp_path / "elsewhere")
        size = made.guard.log.size
    with world(tmp_path / "elsewhere") as made:
        assert made.guard.standing.serving
        assert 0 < made.guard.log.size <= size + 1
        made.clock.advance(3600)
        made.call("checkpoints.publish")
        root = auditor(made)
        made.clock.advance(1)
        made.call("checkpoints.publish")
        folder = directory(made, root, ordered(made, root, format="tiles"), tmp_path / "out")
        report = verify(folder, vkeys=[vkey])
        assert report.faults == []
        assert report.counts["records"] == report.size


def test_beside_the_anchor_it_is_a_rollback_with_both_sizes(tmp_path, anchor):
    with world(tmp_path / "home", anchor_file=anchor.path) as made:
        under_load(made, tmp_path / "home", tmp_path / "elsewhere")
        made.clock.advance(60)
        made.hire("acme", "user:local|late", "role:support")
        later = made.call("checkpoints.publish").size
    with world(tmp_path / "elsewhere", anchor_file=anchor.path) as made:
        assert made.guard.standing.name == "READ_ONLY(ROLLBACK_DETECTED)"
        assert made.guard.log.size < later
        with pytest.raises(RollbackDetected, match=f"size {later} .*size {made.guard.log.size} "):
            made.hire(PLATFORM, "user:local|x", "role:auditor")


def test_who_was_erased_before_it_is_in_no_byte_of_it(tmp_path):
    with office(tmp_path / "first") as made:
        desk = Office(made)
        for _ in range(30):
            desk.search()
        desk.erase()
        index = made.guard.log.size
        copied(made.home, tmp_path / "elsewhere", None)
    with world(tmp_path / "elsewhere") as made:
        assert made.guard.log.size >= index
        assert leftovers(made, SUBJECT) == []
