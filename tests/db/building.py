"""Building blocks of the database tests: a stopped writer, units of work, and what is in the log."""

import sqlite3
import threading
from concurrent.futures import Future
from contextlib import contextmanager

from guard.audit.entry import Record, body
from guard.db.commit import Pipeline
from guard.db.entry import Entry
from guard.db.unit import Unit
from guard.errors import InvalidInput
from guard.wire.ids import uuid7

PATIENCE_SECONDS = 20


def entry_of(number, tenant="acme"):
    """A record that only its number tells from others."""
    name = uuid7(1_790_000_000_000_000 + number, number.to_bytes(10, "big"))
    record = Record(
        id=name, salt=bytes(16), tenant=tenant, time_us=1_790_000_000_000_000 + number, phase="event", node="test",
        actor={"id": "svc:test"}, action="notes.write", data={"number": number},
    )  # fmt: skip
    return Entry(
        body(record), name, tenant, record.time_us, "event", None, "svc:test", "notes.write", "", True, "ok", None
    )


def queued(pipeline: Pipeline, unit: Unit) -> Future:
    """Submit *unit* as a thread would; the future that it resolves."""
    waiter: Future = Future()
    unit.waiter = waiter
    pipeline.submit(unit)
    return waiter


def on_writer(pipeline: Pipeline, *statements: str):
    """Run SQL on the writer connection, in a transaction of its own; the first column of the last answer."""

    def work(tx):
        found = None
        for statement in statements:
            result = tx.exec_driver_sql(statement)
            found = result.scalar() if result.returns_rows else None
        unit.result = found
        return []

    unit = Unit(work=work)
    return pipeline.wait(unit)


def keep(name: str, value: str = "kept", number: int | None = None, error: Exception | None = None) -> Unit:
    """A unit that adds a row of `meta`, with a record if it has a number."""

    def work(tx):
        tx.exec_driver_sql("INSERT INTO meta VALUES (?, ?)", (name, value))
        unit.result = name
        if error is not None:
            raise error
        return [] if number is None else [entry_of(number)]

    unit = Unit(work=work)
    return unit


@contextmanager
def held(pipeline: Pipeline):
    """The writer stands still inside a group until the block ends, so that what the block queues piles up."""
    inside, free = threading.Event(), threading.Event()

    def work(_tx):
        inside.set()
        assert free.wait(PATIENCE_SECONDS)
        return []

    waiter = queued(pipeline, Unit(work=work))
    assert inside.wait(PATIENCE_SECONDS)
    try:
        yield
    finally:
        free.set()
        waiter.result(PATIENCE_SECONDS)


def rows(path, statement, *arguments):
    """What a stranger's connection reads: committed rows only."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return connection.execute(statement, arguments).fetchall()
    finally:
        connection.close()


def names(path):
    """The rows that `keep` left, in order of insertion."""
    return [name for (name,) in rows(path, "SELECT name FROM meta WHERE value = 'kept' ORDER BY rowid")]


class Refusal(InvalidInput):
    """An error of the business kind."""
