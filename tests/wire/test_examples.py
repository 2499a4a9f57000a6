"""Every operation's example is a request that it takes; the documentation shows nothing that would be refused."""

import json
import re

import orjson
import pytest

from guard.catalogue import collect
from guard.rooms import ROOMS

CATALOGUE = {name: entry for name, entry in collect(ROOMS).items() if entry.path}
PARAMETER = re.compile(r"\{([a-z_]+)\}")
PATH = {
    "decision": "dec_019a0000-0000-7000-8000-000000000000",
    "evidence": "evd_019a0000-0000-7000-8000-000000000000",
    "export": "exp_019a0000-0000-7000-8000-000000000000",
    "erasure": "ers_019a0000-0000-7000-8000-000000000000",
    "grant": "grt_019a0000-0000-7000-8000-000000000000",
    "hold": "hld_019a0000-0000-7000-8000-000000000000",
    "honey": "hny_019a0000-0000-7000-8000-000000000000",
    "handle": "0123456789AB",
    "incident": "inc_019a0000-0000-7000-8000-000000000000",
    "index": 17,
    "job": "job_019a0000-0000-7000-8000-000000000000",
    "field": "customers.email",
    "key": "customers.email",
    "lease": "lse_019a0000-0000-7000-8000-000000000000",
    "level": "0",
    "log": "guard.example.org",
    "n": 0,
    "name": "customers.email.exact",
    "matter": "case-17",
    "plan": "region-outage",
    "request": "rvl_019a0000-0000-7000-8000-000000000000",
    "run": "run_019a0000-0000-7000-8000-000000000000",
    "slot": "passphrase-0a1b2c",
    "source": "customers",
    "stream": "shop",
    "tile": "000",
    "version": 1,
}
QUERY = {"checkpoints.prove": {"first": 1, "second": 2}}
"""What a GET needs beside its path; a GET has no body to show an example of."""


@pytest.fixture(params=CATALOGUE)
def entry(request):
    return CATALOGUE[request.param]


def whole(entry):
    """The example with the parameters of the path filled in."""
    path = {name: PATH[name] for name in PARAMETER.findall(entry.path)}
    return dict(entry.example) | path | QUERY.get(entry.name, {})


def test_the_example_with_its_path_is_taken(entry):
    request = entry.takes.model_validate(whole(entry))
    assert type(request) is entry.takes


def test_the_example_is_taken_from_json_bytes_too(entry):
    assert entry.takes.model_validate_json(orjson.dumps(whole(entry))) == entry.takes.model_validate(whole(entry))


def test_the_example_leaves_the_path_s_parameters_to_the_path(entry):
    assert not set(PARAMETER.findall(entry.path)) & entry.example.keys()


def test_a_call_without_a_body_needs_no_example_and_one_with_a_body_has_one(entry):
    required = set(entry.takes.model_json_schema().get("required", [])) - set(PARAMETER.findall(entry.path))
    if entry.method == "GET":
        assert not entry.example
    else:
        assert required <= entry.example.keys(), f"the example of {entry.name} lacks {required - entry.example.keys()}"


def test_the_resources_of_the_example_are_named(entry):
    found = entry.resources(entry.takes.model_validate(whole(entry)))
    assert found
    assert all(resource and "{" not in resource for resource in found)


def test_the_example_is_plain_json(entry):
    assert json.loads(json.dumps(dict(entry.example))) == dict(entry.example)
