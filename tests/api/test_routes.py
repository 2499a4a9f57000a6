"""Routes and the OpenAPI document hold exactly what the catalogue holds, and a public set that may only shrink."""

import re
from collections import Counter

import pytest
from fastapi.routing import APIRoute
from jsonschema import Draft202012Validator

from guard.api.routes import PUBLIC
from guard.catalogue import collect
from guard.rooms import ROOMS

KNOWN_PUBLIC = {"/livez", "/readyz", "/version", "/metrics", "/openapi.json"}
CATALOGUE = collect(ROOMS)
ROUTED = {name: item for name, item in CATALOGUE.items() if item.path}
PARAMETER = re.compile(r"\{([a-z_]+)\}")
SEGMENT = re.compile(r"[a-z][a-z0-9_]*|\{[a-z_]+\}")
TILES = {  # of c2sp.org/tlog-tiles: the only paths of the catalogue that are not guard's own
    "/guard/{log}/checkpoint",
    "/guard/{log}/tile/{level}/{tile}",
    "/guard/{log}/tile/entries/{tile}",
}
METHODS = ("get", "post", "put", "patch", "delete")


@pytest.fixture(scope="module")
def routes(api):
    return api.world.guard.front._inner.routes


@pytest.fixture(scope="module")
def document(api):
    return api("GET", "/openapi.json", token=None).json


@pytest.fixture(scope="module")
def entries(document):
    """(method, path) -> what the document says of it."""
    return {
        (method.upper(), path): entry
        for path, methods in document["paths"].items()
        for method, entry in methods.items()
        if method in METHODS
    }


def test_what_the_application_routes_is_the_catalogue_and_the_public_set(routes):
    routed = Counter((method, route.path.replace(":path}", "}")) for route in routes for method in route.methods)
    expected = {(item.method, item.path) for item in ROUTED.values()} | {("GET", path) for path in PUBLIC}
    assert routed == Counter(expected)
    assert all(isinstance(route, APIRoute) for route in routes)


def test_the_public_set_does_not_grow():
    assert set(PUBLIC) <= KNOWN_PUBLIC


def test_the_document_lists_exactly_the_routes(entries, routes):
    assert set(entries) == {(method, route.path.replace(":path}", "}")) for route in routes for method in route.methods}


@pytest.mark.parametrize("name", sorted(ROUTED))
def test_each_entry_says_what_the_catalogue_says(entries, name):
    item = ROUTED[name]
    entry = entries[item.method, item.path]
    assert entry["operationId"] == item.operation_id
    assert entry["summary"] == item.summary
    assert f"`{item.permission}`" in entry["description"]
    assert item.effect.value in entry["description"]
    declared = {one["name"] for one in entry.get("parameters", ()) if one["in"] == "path"}
    assert declared == set(PARAMETER.findall(item.path))
    assert all(one["required"] for one in entry.get("parameters", ()) if one["in"] == "path")


@pytest.mark.parametrize("name", sorted(ROUTED))
def test_each_member_of_a_request_stands_in_one_place_of_the_document(entries, name):
    item = ROUTED[name]
    entry = entries[item.method, item.path]
    places = Counter(one["name"] for one in entry.get("parameters", ()))
    body = entry.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    places.update(body.get("properties", {}).keys())
    assert places == Counter(item.takes.model_fields.keys())
    assert (item.method == "GET") == ("requestBody" not in entry)


@pytest.mark.parametrize("name", sorted(ROUTED))
def test_each_example_fits_the_schema_that_stands_beside_it(entries, document, name):
    item = ROUTED[name]
    if item.method == "GET":
        assert item.example == {}
        return
    content = entries[item.method, item.path]["requestBody"]["content"]["application/json"]
    schema = {**content["schema"], "components": document["components"]}
    assert list(Draft202012Validator(schema).iter_errors(content["example"])) == []


def test_operation_ids_are_unique(entries):
    counts = Counter(entry["operationId"] for entry in entries.values())
    assert [name for name, count in counts.items() if count > 1] == []


def test_paths_are_plural_nouns_below_the_version(entries):
    for _, path in entries:
        if path in PUBLIC or path in TILES:
            continue
        assert path.startswith("/api/v1/")
        assert all(SEGMENT.fullmatch(part) for part in path.removeprefix("/api/v1/").split("/")), path


def test_the_document_asks_for_a_token_everywhere_but_in_public(document, entries):
    assert document["openapi"].startswith("3.1")
    assert document["security"] == [{"bearer": []}]
    open_to_all = {path for (_, path), entry in entries.items() if entry.get("security") == []}
    assert open_to_all == set(PUBLIC)
    without_if_set = {path for (_, path), entry in entries.items() if {} in entry.get("security", ())}
    assert without_if_set == {item.path for item in ROUTED.values() if item.public}


def test_every_reference_of_the_document_leads_somewhere(document):
    found, waiting = set(), [document]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            found |= {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node
    assert found, "a document without shared schemas would make this test say nothing"
    for reference in found:
        target = document
        for part in reference.removeprefix("#/").split("/"):
            assert part in target, reference
            target = target[part]


def test_the_document_refers_to_no_other_host(api):
    text = api("GET", "/openapi.json", token=None).body.decode()
    assert "http://" not in text
    assert "https://" not in text


@pytest.mark.parametrize("name", sorted(set(CATALOGUE) - set(ROUTED)))
def test_what_only_guard_may_call_has_no_way_in_from_outside(api, name):
    noun, verb = name.split(".")
    for path in (f"/api/v1/{noun}", f"/api/v1/{noun}/{verb}", f"/api/v1/{name}"):
        assert api("POST", path, {}).status in {401, 403, 404, 405, 422}
    records = api.world.records("system", action=name)
    assert all(record.actor.startswith("system:") for record in records)
