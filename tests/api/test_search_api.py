"""Search over HTTP: each kind's answer, refusals with their status, budgets with Retry-After, tenants, nothing repeated."""

import json
import re
from pathlib import Path

import pytest

from tests.api.conftest import open_api, policies_with_everything
from tests.vault.people import POLICY, Table, source_of
from tests.vault.shop import b64

SEARCH, TOKENS, CLAIM = "/api/v1/fields/search", "/api/v1/fields/index_tokens", "/api/v1/fields/claim"
RELEASE, PLAN, SOURCE = "/api/v1/fields/release", "/api/v1/fields/plan", "/api/v1/sources/people"
NAME, BORN, NUMBER = "people.name", "people.born", "people.number"
HEX = re.compile(r"(?:[0-9a-f]{2})+")
PEOPLE = [("Ana Silva", "Porto", "1984-02-29", "4711"), ("Anatol", "Faro", "1970-01-01", "4712")]


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    """A guard whose field policy has an index of every kind, and a source with two people."""
    folder = tmp_path_factory.mktemp("search-api")
    policies = folder / "own"
    policies.mkdir()
    copy = policies_with_everything(policies)
    (copy / "fields" / "people.yaml").write_text(POLICY, encoding="utf-8")
    table = Table(folder / "people.db")
    for made in open_api(folder, policies=copy, sources=(source_of(table.path),)):
        fill(made, table)
        yield made


def fill(api, table):
    for row, values in enumerate(PEOPLE, 1):
        columns = zip((NAME, "people.city", BORN, NUMBER), values, strict=True)
        items = [{"field": field, "context": {"row": str(row)}, "plaintext": b64(value)} for field, value in columns]
        sealed = [one["ciphertext"] for one in api("POST", "/api/v1/fields/encrypt", {"items": items}).json["results"]]
        table.run("INSERT INTO people (id, name, city, born, number) VALUES (?, ?, ?, ?, ?)", row, *sealed)
    for field in (NAME, BORN, NUMBER):
        assert api("POST", f"{SOURCE}/index", {"field": field}).json["done"]


@pytest.fixture(autouse=True)
def _later(api):
    api.world.clock.advance(3_600)


def search(api, **item):
    answer = api("POST", SEARCH, {"purpose": "support", "items": [item]})
    assert answer.status == 200, answer.body
    return answer.json["results"][0]


KINDS = [
    ({"field": NAME, "value": "Ana"}, "exact", "tokens", 4, 4),
    ({"field": NAME, "kind": "prefix", "value": "Ana"}, "prefix", "tokens", 1, 2),
    ({"field": NAME, "kind": "prefix", "value": "Ana S"}, "prefix", "alternatives", 1, 2),
    ({"field": NAME, "kind": "compound", "value": "Ana", "values": {"city": "Porto"}}, "compound", "tokens", 1, 4),
    ({"field": BORN, "kind": "range", "low": "1984-01-01", "high": "1984-12-31"}, "range", "tokens", 10, 6),
    ({"field": BORN, "low": "2030-12-31"}, "range", "tokens", 1, 6),
    ({"field": NUMBER, "index": "unique", "value": "4711"}, "exact", "tokens", 1, 32),
    ({"field": NUMBER, "index": "exact", "kind": "exact", "value": "4711"}, "exact", "tokens", 1, 4),
]


@pytest.mark.parametrize(("asked", "kind", "form", "count", "characters"), KINDS)
def test_each_kind_is_answered_in_its_form(api, asked, kind, form, count, characters):
    found = search(api, **asked)
    assert found["kind"] == kind
    assert found.keys() == {"index", "kind", form}
    assert 1 <= len(found[form]) <= max(count, 1)
    for one in found[form]:
        assert one["version"] == 1
        tokens = one["tokens"] if form == "alternatives" else [one["token"]]
        assert all(HEX.fullmatch(token) and len(token) == characters for token in tokens)
    assert "problem" not in found


@pytest.mark.parametrize(
    ("asked", "rows"),
    [
        ({"field": NAME, "value": " ANA SILVA "}, ["1"]),
        ({"field": NAME, "kind": "prefix", "value": "ana"}, ["1", "2"]),
        ({"field": NAME, "kind": "prefix", "value": "anatolia"}, []),
        ({"field": NAME, "kind": "compound", "value": "anatol", "values": {"city": "FARO"}}, ["2"]),
        ({"field": NAME, "kind": "compound", "value": "anatol", "values": {"city": "Porto"}}, []),
        ({"field": BORN, "low": "1970-01-01", "high": "1970-01-01"}, ["2"]),
        ({"field": BORN, "low": "1970-01-02"}, ["1"]),
        ({"field": BORN, "high": "1899-12-31"}, []),
        ({"field": NUMBER, "index": "exact", "value": "47 12"}, ["2"]),
    ],
)
def test_a_source_answers_with_row_ids_and_nothing_else(api, asked, rows):
    answer = api("POST", f"{SOURCE}/search", {"purpose": "support", **asked})
    assert answer.status == 200
    assert answer.json.keys() == {"index", "rows", "dropped", "more"}
    assert sorted(answer.json["rows"]) == rows
    assert not answer.json["more"]
    for value in ("Silva", "1984-02-29", "4711", "Porto"):
        assert value.encode() not in answer.all_bytes


HOSTILE = "Rua-Augusta-7"
SHAPES = [
    (SEARCH, {"purpose": "support", "items": []}),
    (SEARCH, {"purpose": "support", "items": [{"field": NAME, "value": "x"}] * 1001}),
    (SEARCH, {"purpose": "support", "items": [{"value": HOSTILE}]}),
    (SEARCH, {"purpose": "support", "items": [{"field": NAME, "value": 7}]}),
    (SEARCH, {"purpose": "support", "items": [{"field": NAME, "value": HOSTILE + "x" * 4096}]}),
    (SEARCH, {"purpose": "support", "items": [{"field": NAME, "kind": "fuzzy", "value": HOSTILE}]}),
    (SEARCH, {"purpose": "support", "items": [{"field": NAME, "value": HOSTILE, "more": 1}]}),
    (
        SEARCH,
        {"purpose": "support", "items": [{"field": NAME, "value": "x", "values": {str(n): "x" for n in range(9)}}]},
    ),
    (SEARCH, {"purpose": "support", "items": [{"field": NAME, "value": "x", "values": {"city": None}}]}),
    (SEARCH, {"items": [{"field": NAME, "value": HOSTILE}]}),
    (TOKENS, {"items": [{"field": NAME}]}),
    (TOKENS, {"items": [{"field": NAME, "value": HOSTILE, "row": ""}]}),
    (TOKENS, {"items": [{"field": NAME, "value": HOSTILE, "row": "r" * 257}]}),
    (CLAIM, {"field": NUMBER, "index": "unique", "row": "", "value": HOSTILE}),
    (CLAIM, {"field": NUMBER, "index": "unique", "value": HOSTILE}),
    (RELEASE, {"field": NUMBER, "index": "unique"}),
    (PLAN, {"policy": "x" * 262_145}),
    ("/api/v1/budgets/thaw", {"principal": "svc:x", "index": "a.b.c:other"}),
    ("/api/v1/budgets/thaw", {"principal": "svc:x", "index": "A.b.c"}),
    (f"{SOURCE}/search", {"purpose": "support", "field": NAME, "value": HOSTILE, "limit": 0}),
    (f"{SOURCE}/search", {"purpose": "support", "field": NAME, "value": HOSTILE, "limit": 501}),
    (f"{SOURCE}/index", {"field": NAME, "rows": 5001}),
]


@pytest.mark.parametrize(
    ("path", "body"), SHAPES, ids=[f"{number}-{path[8:]}" for number, (path, _) in enumerate(SHAPES)]
)
def test_a_body_of_another_shape_is_refused_and_not_repeated(api, path, body):
    answer = api("POST", path, body)
    assert answer.status == 422, answer.body
    assert answer.code.startswith("GRD-VAL-")
    assert HOSTILE.encode() not in answer.all_bytes


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        (SEARCH, {"purpose": "support", "items": [{"field": "people.shoe", "value": HOSTILE}]}, 422),
        (SEARCH, {"purpose": "marketing", "items": [{"field": NAME, "value": HOSTILE}]}, 403),
        (f"{SOURCE}/search", {"purpose": "support", "field": NAME, "kind": "range", "low": HOSTILE}, 422),
        (f"{SOURCE}/search", {"purpose": "support", "field": BORN, "low": HOSTILE}, 422),
        (f"{SOURCE}/search", {"purpose": "support", "field": NAME, "value": "a", "values": {HOSTILE: "x"}}, 422),
        ("/api/v1/sources/nowhere/search", {"purpose": "support", "field": NAME, "value": HOSTILE}, 422),
        (f"{SOURCE}/index", {"field": "people.city"}, 422),
        (CLAIM, {"field": NUMBER, "index": "exact", "row": "1", "value": HOSTILE}, 422),
        (CLAIM, {"field": NUMBER, "index": "unique", "row": "1", "value": HOSTILE.replace("7", "")}, 422),
        ("/api/v1/indexes/people.name.nothing/rotate", {}, 404),
        ("/api/v1/indexes/people.name.exact/versions/9/retire", {}, 404),
        ("/api/v1/indexes/people.name.exact/versions/1/retire", {}, 409),
        ("/api/v1/budgets/thaw", {"principal": "svc:nobody", "index": "people.name.exact"}, 404),
    ],
)
def test_what_does_not_fit_has_its_status_and_repeats_no_value(api, path, body, status):
    answer = api("POST", path, body)
    assert answer.status == status, answer.body
    assert answer.headers["content-type"] == "application/problem+json"
    for hidden in (HOSTILE, HOSTILE.replace("7", "")):
        assert hidden.encode() not in answer.all_bytes


@pytest.mark.parametrize("surrogate", ['"\\ud800"', '"a\\udfffb"'])
def test_half_a_character_in_json_is_no_server_error(api, surrogate):
    body = f'{{"purpose": "support", "items": [{{"field": "{NAME}", "value": {surrogate}}}]}}'.encode()
    answer = api("POST", SEARCH, body)
    assert answer.status in {400, 422} or "problem" in answer.json["results"][0]


def test_who_holds_no_role_reaches_no_part_of_search(api):
    for path, body in (
        (SEARCH, {"purpose": "support", "items": [{"field": NAME, "value": "ana"}]}),
        (TOKENS, {"items": [{"field": NAME, "value": "ana", "row": "1"}]}),
        (CLAIM, {"field": NUMBER, "index": "unique", "row": "1", "value": "1"}),
        (RELEASE, {"field": NUMBER, "index": "unique", "row": "1"}),
        (PLAN, {}),
        (f"{SOURCE}/search", {"purpose": "support", "field": NAME, "value": "ana"}),
        (f"{SOURCE}/index", {"field": NAME}),
        ("/api/v1/indexes/people.name.exact/rotate", {}),
        ("/api/v1/budgets/thaw", {"principal": "svc:x", "index": "people.name.exact"}),
    ):
        answer = api("POST", path, body, token=api.nobody)
        assert (answer.status, answer.code) == (403, "GRD-AUTHZ-001"), path
    for path in ("/api/v1/indexes", "/api/v1/budgets"):
        assert api("GET", path, token=api.nobody).status == 403


def test_a_used_up_budget_is_a_429_with_the_time_to_wait_and_then_a_freeze(api):
    items = [{"field": BORN, "low": "1984-01-01"}] * 20
    assert api("POST", SEARCH, {"purpose": "support", "items": items}).status == 200
    again = api("POST", SEARCH, {"purpose": "support", "items": items[:1]})
    assert (again.status, again.code) == (429, "GRD-RATE-020")
    assert 1 <= int(again.headers["retry-after"]) <= 60
    assert int(again.headers["retry-after"]) == again.json["retry_after_seconds"]
    assert (again.json["window"], again.json["limit"]) == ("minute", 20)
    assert api("POST", SEARCH, {"purpose": "support", "items": items * 5}).code == "GRD-RATE-020"
    frozen = api("POST", SEARCH, {"purpose": "support", "items": items[:1]})
    assert (frozen.status, frozen.code) == (423, "GRD-RATE-021")
    assert "retry-after" not in frozen.headers
    place = {"principal": "user:local|ana", "index": "people.born.range"}
    assert api("POST", "/api/v1/budgets/thaw", place).status in {200, 204}
    assert api("POST", SEARCH, {"purpose": "support", "items": items[:1]}).status == 200


def test_a_value_is_taken_with_409_and_free_after_its_release(api):
    claim = {"field": NUMBER, "index": "unique", "value": "99-1"}
    assert api("POST", CLAIM, claim | {"row": "1"}).json == {"row": "1", "tokens": 1}
    taken = api("POST", CLAIM, claim | {"row": "2", "value": "991"})
    assert taken.status == 409
    assert b"99" not in taken.json["detail"].encode()
    assert api("POST", RELEASE, {"field": NUMBER, "index": "unique", "row": "1"}).json["tokens"] == 1
    assert api("POST", CLAIM, claim | {"row": "2"}).status == 200


def test_a_plan_over_http_is_the_one_of_the_policy_and_of_a_text(api):
    loaded = api("POST", PLAN, {}).json["data"]
    assert {one["table"] for one in loaded} == {"customers", "messages", "people"}
    [sent] = api("POST", PLAN, {"policy": POLICY, "file": "mine.yaml"}).json["data"]
    assert sent == next(one for one in loaded if one["table"] == "people")
    assert sent["rows"] is None
    assert all("unknown while the policy gives no 'rows'" in one["leak"] for one in sent["indexes"])
    for text in ("{", "version: 1", "a: &x [*x]", POLICY.replace("bits: 16", "bits: 0"), "\x00"):
        answer = api("POST", PLAN, {"policy": text, "file": "mine.yaml"})
        assert answer.status == 422, text
        assert "mine.yaml:" in answer.json["detail"]


def test_no_value_that_was_asked_for_is_in_any_file_of_the_service(api):
    rare = {"name": "Quetzalcoatl", "born": "1911-11-11", "number": "8675309867"}
    search(api, field=NAME, value=rare["name"])
    search(api, field=BORN, low=rare["born"], high=rare["born"])
    search(api, field=NUMBER, index="exact", value=rare["number"])
    api("POST", f"{SOURCE}/search", {"purpose": "support", "field": NAME, "value": rare["name"]})
    api("POST", CLAIM, {"field": NUMBER, "index": "unique", "row": "7", "value": rare["number"]})
    api("POST", SEARCH, json.dumps({"items": rare}).encode())
    api.world.call("checkpoints.publish")
    home = Path(api.world.home)
    for path in (one for one in home.rglob("*") if one.is_file()):
        kept = path.read_bytes().lower()
        assert not [value for value in rare.values() if value.lower().encode() in kept], path.name
