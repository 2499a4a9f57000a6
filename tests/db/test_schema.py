"""The migrations and the page of tables say the same, and what they make is strict."""

import shutil
import sqlite3

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, exc, inspect

from guard.db import engine
from guard.db.engine import open_store
from guard.db.schema import metadata


@pytest.fixture(scope="module")
def migrated(tmp_path_factory):
    path = tmp_path_factory.mktemp("schema") / "guard.db"
    open_store(path).close()
    return path


@pytest.fixture
def tx(migrated, tmp_path):
    made = create_engine(f"sqlite:///{shutil.copy(migrated, tmp_path)}")
    with made.connect() as connection:
        yield connection
    made.dispose()


def definitions(path):
    connection = sqlite3.connect(path)
    found = connection.execute("SELECT name, sql FROM sqlite_schema WHERE tbl_name != 'alembic_version'").fetchall()
    connection.close()
    return {name: " ".join((sql or "").replace('"', "").split()) for name, sql in found}


def test_alembic_finds_nothing_to_change(tx):
    assert compare_metadata(MigrationContext.configure(tx, opts={"compare_type": True}), metadata) == []


def test_alembic_would_find_a_column_that_only_one_side_has(tx):
    tx.exec_driver_sql("ALTER TABLE tenants ADD COLUMN stray TEXT")
    differences = compare_metadata(MigrationContext.configure(tx), metadata)
    assert [difference[0] for difference in differences] == ["remove_column"]


def test_the_tables_that_the_page_makes_are_the_tables_that_migrations_make(migrated, tmp_path):
    made = create_engine(f"sqlite:///{tmp_path / 'page.db'}")
    metadata.create_all(made)
    made.dispose()
    page, grown = definitions(tmp_path / "page.db"), definitions(migrated)
    assert grown.keys() == page.keys()
    shapes = {name for name in page if sorted(_parts(page[name])) != sorted(_parts(grown[name]))}
    assert shapes == set()


def _parts(definition):
    """The columns and constraints of a definition; tools name and order them differently."""
    inside = definition.partition("(")[2].rpartition(")")[0]
    return [part.strip().partition("CONSTRAINT ")[2].partition(" ")[2] or part.strip() for part in inside.split(", ")]


def test_every_table_is_strict(migrated):
    kinds = sqlite3.connect(migrated)
    found = kinds.execute("SELECT name, strict FROM pragma_table_list WHERE schema = 'main' AND type = 'table'")
    loose = {name for name, strict in found.fetchall() if not strict}
    kinds.close()
    assert loose == {"sqlite_schema", "alembic_version"}


def test_a_strict_table_refuses_a_text_where_a_number_belongs(tx):
    with pytest.raises(exc.IntegrityError, match="cannot store TEXT value in INTEGER column"):
        tx.exec_driver_sql("INSERT INTO tenants VALUES ('acme', '', 'yesterday')")


def test_times_are_whole_microseconds_and_keys_are_bytes(tx):
    columns = [column for table in metadata.tables for column in inspect(tx).get_columns(table)]
    kinds = {column["name"]: str(column["type"]) for column in columns}
    assert {kinds[name] for name in kinds if name.endswith("_us")} == {"INTEGER"}
    assert {kinds[name] for name in ("wrapped", "mac", "key_id", "leaf", "hashes", "root")} <= {"BLOB", "TEXT"}
    assert not set(kinds.values()) & {"REAL", "FLOAT", "NUMERIC"}


def test_the_history_is_one_line_with_one_head(migrated):
    script = ScriptDirectory(str(engine.Path(engine.__file__).parent / "migrations"))
    assert len(script.get_heads()) == len(script.get_bases()) == 1


def test_opening_a_store_of_this_release_changes_no_byte_of_its_schema(migrated):
    before = definitions(migrated)
    open_store(migrated).close()
    assert definitions(migrated) == before
