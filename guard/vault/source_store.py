"""Application tables whose sealed columns guard re-encrypts and counts. SQLAlchemy over the URL in the settings.

Law: a row is changed only if it still holds what was read (compare and swap), and the job's cursor commits in the
same transaction as the rows, in the application's own database; so a kill loses no row and repeats no change.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Integer,
    MetaData,
    Table,
    Text,
    case,
    create_engine,
    event,
    exc,
    func,
    inspect,
    null,
    select,
    text,
    update,
)
from sqlalchemy import column as column_clause
from sqlalchemy.sql.elements import ColumnElement

from guard.errors import InvalidSetting, StoreUnavailable
from guard.settings import Source
from guard.vault.envelope import TEXT_HEADER_CHARACTERS, TEXT_PREFIX

CHECKPOINTS = "guard_checkpoints"
MAX_RETRIES = 3  # a row that changes under us this often is being written all the time; the next pass takes it


@dataclass(frozen=True, slots=True)
class Cell:
    """One value: primary key, as text too for the context, what stands in the column, and whom the row is about."""

    key: object
    row: str
    value: str
    subject: object = None


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a job stands: the last primary key (JSON), and how many rows it looked at, changed, skipped, failed on."""

    cursor: str = ""
    examined: int = 0
    changed: int = 0
    skipped: int = 0
    failed: int = 0

    def text(self) -> str:
        """As it is stored."""
        return json.dumps({name: getattr(self, name) for name in Progress.__slots__})


class Occupied(Exception):
    """A unique column holds the new value in another row already."""


class Sources:
    """The configured sources; one engine each, opened at first use."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = {source.name: source for source in sources}
        self._engines: dict[str, Engine] = {}

    def of_tenant(self, tenant: str) -> list[Source]:
        """The sources of a tenant, by name."""
        return [source for _, source in sorted(self._sources.items()) if source.tenant == tenant]

    def and_replicas(self, tenant: str) -> list[Source]:
        """The sources of a tenant, each followed by its replicas as sources of their own names; only to read from."""
        return [
            one
            for source in self.of_tenant(tenant)
            for one in (
                source,
                *(
                    replace(source, name=f"{source.name}.replica{n}", url=url)
                    for n, url in enumerate(source.replicas, 1)
                ),
            )
        ]

    def declared(self, source: Source) -> dict[tuple[str, str], set[str]]:
        """(table, column) of everything that is declared of a source's database, and the tenants that declare it."""
        found: dict[tuple[str, str], set[str]] = {}
        for one in self._sources.values():
            for column in one.columns if source.url in {one.url, *one.replicas} else ():
                found.setdefault((one.table, column), set()).add(one.tenant)
        return found

    def find(self, name: str, tenant: str) -> Source:
        """A tenant's source by name.

        Raises:
            InvalidSetting: there is none.
        """
        source = self._sources.get(name)
        if source is None or source.tenant != tenant:
            raise InvalidSetting(f"Expected a source of this tenant in the settings, got {name}; declare it there.")
        return source

    @contextmanager
    def open(self, source: Source) -> Iterator["Opened"]:
        """One transaction on a source; commits at the end of the block.

        Raises:
            StoreUnavailable: the database refuses, or the table is not as declared.
        """
        engine = self._engines.get(source.name) or self._connect(source)
        try:
            with engine.begin() as connection:
                yield Opened(connection, source)
        except exc.SQLAlchemyError as error:
            raise StoreUnavailable(
                f"Expected the source {source.name} to answer, got {type(error).__name__}; nothing was lost, try again."
            ) from None

    def close(self) -> None:
        """Close every connection."""
        for engine in self._engines.values():
            engine.dispose()

    def _connect(self, source: Source) -> Engine:
        try:
            engine = create_engine(source.url)
        except exc.ArgumentError:
            raise InvalidSetting(f"Expected a SQLAlchemy URL for source {source.name}, got another text.") from None
        except ModuleNotFoundError as error:
            raise InvalidSetting(
                f"Expected the driver {error.name} for source {source.name}, but it is not there; install it."
            ) from None
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", _wait_for_others)
        self._engines[source.name] = engine
        return engine


class Opened:
    """A source with an open transaction."""

    def __init__(self, connection: Connection, source: Source) -> None:
        self.connection = self._connection = connection
        self._source = source.name
        metadata = MetaData()
        names = list(dict.fromkeys([source.primary_key, *source.columns, *filter(None, [source.subject])]))
        self._present = present = {str(column["name"]) for column in inspect(connection).get_columns(source.table)}
        missing = [name for name in names if name not in present]
        if missing:
            raise InvalidSetting(f"Expected columns {', '.join(missing)} in {source.table} of source {source.name}.")
        self._table = Table(source.table, metadata, *[Column(name) for name in names])
        self._key = self._table.c[source.primary_key]
        self._subject = self._table.c[source.subject] if source.subject else null()
        self._checkpoints = Table(
            CHECKPOINTS, metadata, Column("job", Text, primary_key=True), Column("progress", Text)
        )

    def count(self) -> int:
        """Rows of the table."""
        total: int = self._connection.execute(select(func.count()).select_from(self._table)).scalar_one()
        return total

    def lag_seconds(self, statement: str) -> float:
        """How far behind the replicas are, as a statement of the operator's tells; nothing (NULL) means not at all.

        Raises:
            InvalidSetting: it gives no number.
        """
        found = self._connection.execute(text(statement)).scalar()
        try:
            return float(0 if found is None else found)
        except (TypeError, ValueError):
            raise InvalidSetting(
                f"Expected seconds from the lag statement of source {self._source}, got another value; correct it."
            ) from None

    def headers(self, column: str) -> list[tuple[str, int]]:
        """(first 26 characters, count) of every value of a column that is not null."""
        head = func.substr(self._table.c[column], 1, TEXT_HEADER_CHARACTERS)
        wanted = select(head.label("head"), func.count().label("n")).where(self._table.c[column].is_not(None))
        return [(str(row.head), row.n) for row in self._connection.execute(wanted.group_by(head))]

    def companions(self, column: str) -> list[tuple[str, int]]:
        """(key version, count) of every value of a column that keeps its format, from `<column>_kv` beside it.

        Where nothing stands there, the first 26 characters of a sealed text stand for the version, and "" for any other
        value: a column that keeps its format since lately still holds values with headers.

        Raises:
            InvalidSetting: there is no such column, so nobody can tell which version a value needs.
        """
        name = f"{column}_kv"
        if name not in self._present:
            raise InvalidSetting(
                f"Expected column {name} in {self._table.name}, which holds the key version of {column}; add it."
            )
        version, value = column_clause(name, Integer), self._table.c[column]
        head = case((value.like(f"{TEXT_PREFIX}%"), func.substr(value, 1, TEXT_HEADER_CHARACTERS)), else_="")
        wanted = select(version.label("version"), head.label("head"), func.count().label("n")).select_from(self._table)
        counted = self._connection.execute(wanted.where(value.is_not(None)).group_by(version, head))
        return [(row.head if row.version is None else str(row.version), row.n) for row in counted]

    def cells(self, column: str, cursor: str, limit: int) -> list[Cell]:
        """The next rows after *cursor* in primary-key order."""
        value = self._table.c[column]
        wanted = select(self._key, value.label("value"), self._subject.label("subject")).where(value.is_not(None))
        if cursor:
            wanted = wanted.where(self._key > json.loads(cursor))
        rows = self._connection.execute(wanted.order_by(self._key).limit(limit))
        return [Cell(row[0], str(row[0]), str(row[1]), row[2]) for row in rows]

    def count_beginning(self, column: str, heads: Sequence[str]) -> int:
        """How many values of a column begin with one of these 26 characters."""
        head = func.substr(self._table.c[column], 1, TEXT_HEADER_CHARACTERS)
        wanted = select(func.count()).select_from(self._table).where(head.in_(heads))
        total: int = self._connection.execute(wanted).scalar_one()
        return total

    def cells_beginning(self, column: str, heads: Sequence[str], cursor: str, limit: int) -> list[Cell]:
        """As `cells`, but only values that begin with one of these 26 characters."""
        value = self._table.c[column]
        wanted = select(self._key, value).where(func.substr(value, 1, TEXT_HEADER_CHARACTERS).in_(heads))
        if cursor:
            wanted = wanted.where(self._key > json.loads(cursor))
        rows = self._connection.execute(wanted.order_by(self._key).limit(limit))
        return [Cell(row[0], str(row[0]), str(row[1])) for row in rows]

    def swap(self, column: str, cell: Cell, sealed: Callable[[Cell], str | None]) -> bool:
        """Replace a cell by what *sealed* makes of it, if nobody else writes meanwhile; False where it needed none.

        *sealed* gets the cell as read and returns the new value, or None where the value is new already.

        Raises:
            StoreUnavailable: the row changed under us time and again.
        """
        for _ in range(MAX_RETRIES):
            fresh = sealed(cell)
            if fresh is None:
                return False
            here = (self._key == cell.key) & (self._table.c[column] == cell.value)
            if self._replaced(here, column, fresh):
                return True
            wanted = select(self._table.c[column], self._subject.label("subject")).where(self._key == cell.key)
            read = self._connection.execute(wanted).first()
            if read is None or read[0] is None:
                return False
            cell = replace(cell, value=str(read[0]), subject=read[1])
        raise StoreUnavailable("A row was written by others at every try; the job goes on later.")

    def _replaced(self, here: ColumnElement[bool], column: str, fresh: str) -> bool:
        change = update(self._table).where(here).values({column: fresh})
        try:
            if self._connection.dialect.name == "sqlite":  # a statement that fails there undoes itself only
                return self._connection.execute(change).rowcount == 1
            with self._connection.begin_nested():
                return self._connection.execute(change).rowcount == 1
        except exc.IntegrityError:
            raise Occupied from None

    def progress(self, job: str) -> Progress:
        """Where a job stands; at its beginning where it never ran."""
        self._checkpoints.create(self._connection, checkfirst=True)
        here = select(self._checkpoints.c.progress).where(self._checkpoints.c.job == job)
        stored = self._connection.execute(here).scalar()
        return Progress(**json.loads(stored)) if stored else Progress()

    def checkpoint(self, job: str, progress: Progress) -> None:
        """Store where a job stands, in this transaction."""
        text = progress.text()
        here = self._checkpoints.c.job == job
        if self._connection.execute(update(self._checkpoints).where(here).values(progress=text)).rowcount == 0:
            self._connection.execute(self._checkpoints.insert().values(job=job, progress=text))


def _wait_for_others(connection: object, _record: object) -> None:
    cursor = connection.cursor()  # type: ignore[attr-defined]  # a DBAPI connection has no common type
    cursor.execute("PRAGMA busy_timeout=10000")
    cursor.close()
