"""Searches of a running guard: every filter against what the records say, proofs for hits, and an index that lies."""

import sqlite3
from contextlib import closing

import pytest

from guard.audit.note import VerifierKey
from guard.audit.proof import parse, verify
from guard.audit.tree import leaf_hash
from guard.catalogue import PLATFORM
from guard.cli.audit_search import moment
from guard.errors import Denied, IndexMismatch, InvalidInput, InvalidRequest, VerificationFailed
from tests.world import START_US, world

SECOND = 1_000_000


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Two tenants in which things were done over some minutes, some of them refused."""
    with world(tmp_path_factory.mktemp("search") / "home") as made:
        people = {
            (tenant, name): made.hire(tenant, f"user:local|{name}", "role:support", "role:key-admin")
            for tenant in ("acme", "globex")
            for name in ("ana", "ben")
        }
        for number in range(60):
            for (_, name), actor in people.items():
                made.call("actors.whoami", actor)
                if number % 7 == 0:
                    made.call("keys.list", actor)
                if number % 10 == 0 and name == "ana":
                    with pytest.raises(Denied):
                        made.call("plans.list", actor)
            made.clock.advance(10)
        made.call("checkpoints.publish")
        yield made


@pytest.fixture(scope="module")
def auditor(place):
    return place.hire(PLATFORM, "user:local|auditor", "role:auditor")


def pages(place, auditor, limit=500, tenant="acme", **wanted):
    found, before = [], None
    for _ in range(1000):
        given = {} if before is None else {"before": before}
        page = place.call("records.list", auditor, tenant=tenant, limit=limit, **wanted, **given)
        assert len(page.data) <= limit
        found += page.data
        before = page.next
        if before is None:
            return found
    raise AssertionError("the pages do not end")


AT_100, AT_300 = START_US + 100 * SECOND, START_US + 300 * SECOND
FILTERS = {
    "nothing": ({}, lambda _: True),
    "action": ({"action": "keys.list"}, lambda one: one.action == "keys.list"),
    "actor": ({"actor": "user:local|ben"}, lambda one: one.actor == "user:local|ben"),
    "resource": ({"resource": "keys/all"}, lambda one: one.resource == "keys/all"),
    "a resource that begins so": ({"resource": "actors/*"}, lambda one: one.resource.startswith("actors/")),
    "a star alone": ({"resource": "*"}, lambda _: True),
    "refused": ({"outcome": "refused"}, lambda one: one.status == "refused"),
    "allowed": ({"allowed": True}, lambda one: one.allowed),
    "not allowed": ({"allowed": False}, lambda one: not one.allowed),
    "from": ({"from_us": AT_100}, lambda one: one.time_us >= AT_100),
    "to": ({"to_us": AT_100}, lambda one: one.time_us < AT_100),
    "a window": ({"from_us": AT_100, "to_us": AT_300}, lambda one: AT_100 <= one.time_us < AT_300),
    "an empty window": ({"from_us": AT_300, "to_us": AT_100}, lambda _: False),
    "a window of an actor": (
        {"from_us": AT_100, "to_us": AT_300, "actor": "user:local|ana", "outcome": "refused"},
        lambda one: AT_100 <= one.time_us < AT_300 and one.actor == "user:local|ana" and one.status == "refused",
    ),
    "all at once": (
        {
            "action": "keys.list",
            "actor": "user:local|ben",
            "resource": "keys/*",
            "outcome": "ok",
            "allowed": True,
            "from_us": AT_100,
            "to_us": AT_300,
        },
        lambda one: one.action == "keys.list" and one.actor == "user:local|ben" and AT_100 <= one.time_us < AT_300,
    ),
}


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("limit", [3, 500])
def test_a_search_finds_all_and_only_what_it_asks_for_newest_first(place, auditor, name, limit):
    wanted, holds = FILTERS[name]
    everything = pages(place, auditor)
    expected = [one.index for one in everything if holds(one)]
    assert [one.index for one in pages(place, auditor, limit, **wanted)] == expected
    assert expected or name == "an empty window"


@pytest.mark.parametrize(
    "wanted",
    [
        {"outcome": "perhaps"},
        {"from_us": -1},
        {"to_us": 1 << 60},
        {"resource": "x" * 513},
        {"proof": True, "limit": 101},
        {"colour": "red"},
    ],
)
def test_a_search_of_another_form_is_refused(place, auditor, wanted):
    with pytest.raises(InvalidRequest):
        place.call("records.list", auditor, **wanted)


@pytest.mark.parametrize("before", [0, 1, 5, 10**9])
@pytest.mark.parametrize("wanted", [{}, {"from_us": AT_100}, {"action": "keys.list"}])
def test_a_cursor_that_no_page_gave_is_a_place_in_the_log(place, auditor, before, wanted):
    found = place.call("records.list", auditor, tenant="acme", before=before, limit=500, **wanted).data
    expected = [one.index for one in pages(place, auditor, **wanted) if one.index < before][:500]
    assert [one.index for one in found] == expected


def test_no_search_sorts_a_tenant(place):
    """Every page is read along an index and ends when it is full."""
    with closing(sqlite3.connect(place.home / "guard.db")) as db:
        for condition, order in (
            ("", "n DESC"),
            (" AND resource = 'x'", "n DESC"),
            (" AND action = 'x'", "idx DESC"),
            (" AND actor = 'x'", "idx DESC"),
            (" AND time_us >= 1 AND time_us < 2", "time_us DESC, idx DESC"),
            (" AND time_us >= 1 AND action = 'x'", "time_us DESC, idx DESC"),
        ):
            query = f"SELECT * FROM audit_index WHERE tenant = 'acme'{condition} ORDER BY {order} LIMIT 50"
            plan = " ".join(row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {query}"))
            assert "USING INDEX" in plan
            if "action = 'x'" not in condition or "time_us" not in condition:
                assert "TEMP B-TREE" not in plan, (query, plan)


# proofs


def test_each_hit_comes_with_a_proof_that_holds_or_says_that_it_is_not_covered_yet(place, auditor):
    size = place.call("checkpoints.publish").size
    place.call("actors.whoami", auditor)
    key = VerifierKey.decode(place.guard.log.verifier.encode())
    covered = []
    for tenant in ("acme", PLATFORM):
        for one in pages(place, auditor, 100, tenant, proof=True):
            assert (one.evidence.proof is not None) == (one.index < size)
            covered.append(one.evidence.proof is not None)
            if one.evidence.proof:
                proof = parse(one.evidence.proof.encode())
                head = verify(proof, leaf_hash(one.evidence.entry.encode()), place.guard.log.origin, [key])
                assert (proof.index, head.size) == (one.index, size)
    assert set(covered) == {True, False}


def test_without_asking_there_is_no_proof(place, auditor):
    assert all(one.evidence is None for one in place.call("records.list", auditor).data)


CHANGES = {
    "actor": "user:local|eve",
    "action": "keys.read",
    "resource": "keys/other",
    "allowed": 0,
    "status": "refused",
    "code": "GRD-AUTHZ-001",
    "time_us": START_US + 12345,
    "phase": "late",
    "intent": "019a0000-0000-7000-8000-000000000000",
    "id": "019a0000-0000-7000-8000-000000000000",
    "n": 10_000,
    "tenant": "globex",
    "leaf": b"\0" * 32,
}


@pytest.mark.parametrize("column", CHANGES)
def test_an_index_that_somebody_changed_is_named_with_its_column(tmp_path, column):
    with world(tmp_path / "home") as made:
        ana = made.hire("acme", "user:local|ana", "role:support")
        made.call("actors.whoami", ana)
        auditor = made.hire(PLATFORM, "user:local|auditor", "role:auditor")
        made.call("checkpoints.publish")
        index = made.call("records.list", auditor, tenant="acme", action="actors.whoami").data[0].index
        with closing(sqlite3.connect(made.home / "guard.db")) as db, db:
            db.execute(f"UPDATE audit_index SET {column} = ? WHERE idx = ?", (CHANGES[column], index))
        tenant = "globex" if column == "tenant" else "acme"
        listed = made.call("records.list", auditor, tenant=tenant).data  # what the index says, and no more
        assert index in {one.index for one in listed}
        with pytest.raises(IndexMismatch) as raised:
            made.call("records.list", auditor, tenant=tenant, proof=True)
        assert raised.value.extra == {"index": index, "columns": [column]}
        assert raised.value.code == "GRD-AUDIT-042"
        assert "eve" not in raised.value.detail


def test_a_record_that_was_changed_together_with_its_index_fails_its_proof(tmp_path):
    with world(tmp_path / "home") as made:
        ana = made.hire("acme", "user:local|ana", "role:support")
        made.call("actors.whoami", ana)
        auditor = made.hire(PLATFORM, "user:local|auditor", "role:auditor")
        made.call("checkpoints.publish")
        index = made.call("records.list", auditor, tenant="acme", action="actors.whoami").data[0].index
        with closing(sqlite3.connect(made.home / "guard.db")) as db, db:
            entry = db.execute("SELECT entry FROM audit_entries WHERE idx = ?", (index,)).fetchone()[0]
            forged = entry.replace(b"local|ana", b"local|eve")
            db.execute("UPDATE audit_entries SET entry = ? WHERE idx = ?", (forged, index))
            db.execute(
                "UPDATE audit_index SET actor = 'user:local|eve', leaf = ? WHERE idx = ?", (leaf_hash(forged), index)
            )
        with pytest.raises(VerificationFailed):
            made.call("records.list", auditor, tenant="acme", action="actors.whoami", proof=True)


# times on the command line


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", None),
        ("1970-01-01", 0),
        ("2026-11-25", 1_795_564_800_000_000),
        ("2026-11-25T04:00Z", 1_795_579_200_000_000),
        ("2026-11-25T04:00:00.000001+01:00", 1_795_575_600_000_001),
    ],
)
def test_a_moment_is_read_to_the_microsecond(text, found):
    assert moment(text) == found


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01", "1969-12-31", "1795564800"])
def test_what_is_no_moment_is_refused(text):
    with pytest.raises(InvalidInput):
        moment(text)
