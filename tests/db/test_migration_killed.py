"""A migration that is killed at every statement (R11): the old schema or the new one, never between, and no row is lost."""

import os
import shutil
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import event

from guard.db import engine
from guard.db.engine import Store, open_store

OLD = "0001"
NEW = ScriptDirectory(str(Path(engine.__file__).parent / "migrations")).get_current_head()
ROWS = 50


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    """A store of the schema before, with tenants in it."""
    path = tmp_path_factory.mktemp("old") / "guard.db"
    path.touch(mode=0o600)
    store = Store(path)
    config = Config()
    config.set_main_option("script_location", str(Path(engine.__file__).parent / "migrations"))
    with store.writer_engine.begin() as tx:
        config.attributes["connection"] = tx
        command.upgrade(config, OLD)
        rows = [(f"t{number}", f"title {number}", number) for number in range(ROWS)]
        tx.exec_driver_sql("INSERT INTO tenants (tenant, title, created_us) VALUES (?, ?, ?)", rows)
    store.close()
    return path


def shape(path):
    """The schema's version and its objects, as another program reads the file."""
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        version = connection.execute("SELECT version_num FROM alembic_version").fetchone()[0]
        objects = connection.execute("SELECT name, sql FROM sqlite_schema ORDER BY name").fetchall()
        assert connection.execute("SELECT count(*) FROM tenants").fetchone() == (ROWS,)
    return version, objects


def statements(path):
    """Migrate; how many statements it took."""
    seen = []
    store = Store(path)
    event.listen(store.writer_engine, "before_cursor_execute", lambda *given: seen.append(given[2]))
    engine._migrate(store)
    store.close()
    return len(seen)


def killed(path, at, after):
    """The same in a child that dies by SIGKILL before or after its statement number *at*."""
    child = os.fork()
    if not child:  # pragma: no cover  the child ends by its own signal
        count = 0

        def die(*_given):
            nonlocal count
            count += 1
            if count == at:
                os.kill(os.getpid(), signal.SIGKILL)

        store = Store(path)
        event.listen(store.writer_engine, "after_cursor_execute" if after else "before_cursor_execute", die)
        engine._migrate(store)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


@pytest.mark.parametrize("after", [False, True])
def test_old_or_new_and_never_between(old, tmp_path, after):
    whole = shutil.copy(old, tmp_path / "whole.db")
    count = statements(whole)
    before, done = shape(old), shape(whole)
    assert (before[0], done[0]) == (OLD, NEW)
    assert count > 25
    for at in range(1, count + 1):
        path = tmp_path / f"{at}" / "guard.db"
        path.parent.mkdir()
        shutil.copy(old, path)
        assert killed(path, at, after), at
        assert shape(path) in (before, done), f"between two schemas after statement {at}"
        open_store(path).close()
        assert shape(path) == done, at
        shutil.rmtree(path.parent)
