"""Log directories that many tests of this room read."""

import pytest

from tests.audit.building import PQ_VKEY, VKEY, Plan, entries_of, write


@pytest.fixture(scope="session")
def small_log(tmp_path_factory):
    """Three records, two older checkpoints, a proof and a README; small enough to flip every byte."""
    plan = Plan(entries_of(3), older=(0, 2), proofs=(1,), documents={"README": b"read me\n"})
    return write(tmp_path_factory.mktemp("small"), plan.parts())


@pytest.fixture(scope="session")
def middle_log(tmp_path_factory):
    """600 records in three bundles, signed by both kinds of key."""
    plan = Plan(
        entries_of(600),
        older=(0, 1, 255, 256, 257, 512),
        proofs=(0, 255, 256, 599),
        pq=True,
        vkeys=(VKEY, PQ_VKEY),
    )
    return write(tmp_path_factory.mktemp("middle"), plan.parts())
