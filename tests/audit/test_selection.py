"""The filter of an export against a plain oracle, and the texts of the manifest."""

import json
from hashlib import sha256

import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from guard.audit.checkpoint import Checkpoint
from guard.audit.entry import body, entry
from guard.audit.manifest import PartFile, Request, manifest, note_text
from guard.audit.row import Row
from guard.audit.selection import Filter
from tests.audit.building import T0, record

TENANTS, ACTORS = ("acme", "globex", "system"), ("svc:billing", "user:local|ana", "nobody")
ACTIONS, STATES = ("fields.decrypt", "fields.encrypt", "keys.rotate", "keys"), ("ok", "refused", "unknown")
RESOURCES = ("fields/users.email", "keys/customers.email keys/b", "", "keys/b")


def log():
    made = [
        record(
            number,
            tenant=TENANTS[number % 3],
            actor={"id": ACTORS[number // 3 % 3], "type": "x", "auth": "y"},
            action=ACTIONS[number // 2 % 4],
            resource={"id": RESOURCES[number // 5 % 4]},
            result={"status": STATES[number // 7 % 3]},
            time_us=T0 + number * 500_000,
        )
        for number in range(120)
    ]
    return [Row.of(index, entry(body(one), index)) for index, one in enumerate(made)]


LOG = log()


def oracle(row, wanted):
    """The same conditions, one sentence each, over parsed JSON and integers."""
    found = json.loads(row.entry)["b"]
    number = row.index
    checks = [
        wanted.tenant is None or found["tenant"] == wanted.tenant,
        wanted.actor is None or found["actor"]["id"] == wanted.actor,
        wanted.outcome is None or found["result"]["status"] == wanted.outcome,
        wanted.first is None or number >= wanted.first,
        wanted.last is None or number < wanted.last,
        wanted.from_us is None or T0 + number * 500_000 >= wanted.from_us,
        wanted.to_us is None or T0 + number * 500_000 < wanted.to_us,
    ]
    if wanted.action is not None:
        stem = wanted.action.rstrip("*")
        checks.append(found["action"] == wanted.action or (stem != wanted.action and found["action"].find(stem) == 0))
    if wanted.resource is not None:
        stem = wanted.resource.rstrip("*")
        names = found["resource"]["id"].split(" ")
        checks.append(wanted.resource in names or (stem != wanted.resource and any(n.find(stem) == 0 for n in names)))
    return all(checks)


maybe = lambda *values: st.none() | st.sampled_from(values)  # noqa: E731
moment = st.none() | st.integers(T0 - 1_000_000, T0 + 61_000_000)
index = st.none() | st.integers(0, 130)


@given(
    st.builds(
        Filter,
        tenant=maybe(*TENANTS, "absent"),
        actor=maybe(*ACTORS),
        action=maybe(*ACTIONS, "fields.*", "*", "keys*"),
        resource=maybe("keys/b", "keys/*", "fields/users.email", "nothing", "fields/*"),
        outcome=maybe(*STATES),
        from_us=moment,
        to_us=moment,
        first=index,
        last=index,
    )
)
def test_a_filter_holds_where_the_oracle_says_so(wanted):
    assert [row.index for row in LOG if wanted.holds(row)] == [row.index for row in LOG if oracle(row, wanted)]


def test_no_condition_holds_for_every_record_even_one_without_parts():
    bare = entry(body(record(0, resource=None, result=None, decision=None)), 0)
    assert Filter().holds(Row.of(0, bare))
    assert not Filter(outcome="ok").holds(Row.of(0, bare))
    assert not Filter(resource="keys/b").holds(Row.of(0, bare))


def test_each_condition_tells_records_apart():
    """None of the conditions of the oracle's test is idle."""
    one = {
        "tenant": "acme",
        "actor": "nobody",
        "action": "keys.*",
        "resource": "keys/b",
        "outcome": "refused",
        "from_us": T0 + 1_000_000,
        "to_us": T0 + 2_000_000,
        "first": 3,
        "last": 9,
    }
    for name, value in one.items():
        assert 0 < sum(Filter(**{name: value}).holds(row) for row in LOG) < len(LOG), name
    assert Filter(**one).given() == one
    assert Filter().given() == {}


HEAD = Checkpoint("guard.example/guard/main", 7, bytes(range(32)))


@given(st.text(max_size=50), st.text(max_size=20), st.integers(0, 2**53 - 1))
def test_a_manifest_is_canonical_and_says_what_was_asked(purpose, actor, number):
    asked = Request("exp_1", "csv", {"actor": actor, "first": number}, purpose, "user:local|ana", number)
    parts = [PartFile("parts/00000.csv", 0, 7, 3, "ab" * 32, number)]
    written = manifest(HEAD, asked, 3, parts, {"checkpoint": b"x", "policy.txt": b"y"})
    found = json.loads(written)
    assert rfc8785.dumps(found) == written
    assert sorted(found) == sorted(
        [
            "v",
            "export",
            "origin",
            "size",
            "root",
            "format",
            "filter",
            "purpose",
            "requester",
            "created_us",
            "matched",
            "parts",
            "files",
        ]
    )
    assert found["purpose"] == purpose
    assert found["filter"] == {"actor": actor, "first": number}
    assert found["parts"][0] == {
        "path": "parts/00000.csv",
        "first": 0,
        "last": 7,
        "matched": 3,
        "sha256": "ab" * 32,
        "bytes": number,
    }
    assert found["files"] == {"checkpoint": sha256(b"x").hexdigest(), "policy.txt": sha256(b"y").hexdigest()}


def test_the_signed_text_names_the_log_and_the_manifest_and_is_no_checkpoint():
    text = note_text("guard.example/guard/main", b"{}")
    assert text == f"guard/manifest/v1\nguard.example/guard/main\n{sha256(b'{}').hexdigest()}\n"
