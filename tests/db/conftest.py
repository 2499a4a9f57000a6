"""What several tests of the store look at."""

import pytest
from sqlalchemy import event


@pytest.fixture
def commits(made):
    """Counts the writer's transactions that were committed."""
    counted = []
    listener = lambda _connection: counted.append(1)  # noqa: E731  removed again by the same name
    event.listen(made.guard.store.writer_engine, "commit", listener)
    yield counted
    event.remove(made.guard.store.writer_engine, "commit", listener)
