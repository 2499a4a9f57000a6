"""The seal over HTTP: sealing is answered and holds before the answer leaves; then every operation says the same."""

import json

import pytest

from guard.catalogue import collect
from guard.rooms import ROOMS
from tests.api.asking import Wire, ask, request_bytes
from tests.api.conftest import Live
from tests.api.test_refusals import PARTS
from tests.world import World

ROUTED = {name: item for name, item in collect(ROOMS).items() if item.path}

STILL = {"checkpoints.publish", "heads.read"}
"""What was taken before is still signed and shown, in the moment until the server ends; it is public and holds no value."""
SEAL = "/api/v1/custody/seal"
SEALED = (503, "GRD-SEAL-002")
ITEM = {"field": "customers.email", "context": {"row": "1"}, "plaintext": "aGk="}


@pytest.fixture
def sealed(fresh_api):
    """A guard that was sealed over HTTP, and what it sealed and answered before."""
    api = fresh_api()
    api.before = api.encrypt("ana@example.org")[0]
    api.sealing = api("POST", SEAL, {}, token=api.platform)
    return api


def test_it_is_answered_and_recorded(sealed):
    assert (sealed.sealing.status, sealed.sealing.json) == (
        200,
        {"state": "sealed", "slot": "", "have": 0, "need": 0},
    )
    guard = sealed.world.guard
    with guard.store.read() as tx:
        reader = guard.log.reader(tx)
        actions = [json.loads(reader.entry(index))["b"]["action"] for index in range(guard.log.size)]
    assert actions[-1] == "custody.seal"


def test_every_operation_of_the_catalogue_says_that_it_is_sealed_and_what_to_do(sealed):
    answers = {}
    for name, item in ROUTED.items():
        path = item.path.format_map(PARTS)
        body = dict(item.example) if item.method != "GET" else b""
        for token in (sealed.full, sealed.platform):
            answer = sealed(item.method, path, body, token=token)
            told = json.loads(answer.body) if "json" in answer.headers["content-type"] else {}
            answers[name] = (answer.status, told.get("code"), "guard custody unseal" in told.get("hint", ""))
    assert {name for name, found in answers.items() if found != (*SEALED, True)} == STILL
    assert {answers[name][0] for name in STILL} == {200}
    assert len(answers) > 90


@pytest.mark.parametrize("token", [None, "", "grd_pat_nothing", "x" * 5000])
def test_who_shows_no_token_or_a_wrong_one_learns_no_more(sealed, token):
    answer = sealed("POST", "/api/v1/fields/encrypt", {"items": [ITEM]}, token=token)
    assert answer.status in {401, 503}
    assert b"plaintext" not in answer.all_bytes


def test_it_lives_and_is_not_ready(sealed):
    assert sealed("GET", "/livez", token=None).status == 200
    assert sealed("GET", "/version", token=None).status == 200
    ready = sealed("GET", "/readyz", token=None)
    assert ready.status == 503


def test_sealing_it_again_changes_nothing(sealed):
    again = sealed("POST", SEAL, {}, token=sealed.platform)
    assert (again.status, again.code) == SEALED
    size = sealed.world.guard.log.size
    assert sealed("POST", SEAL, {}, token=sealed.platform).status == 503
    assert sealed.world.guard.log.size == size


def test_a_connection_that_was_open_gets_the_same_answer_by_the_quick_way_and_the_other(fresh_api):
    """The hot operations are answered from keys in memory: these are gone, and no cached head brings them back."""
    api = fresh_api()
    quick, ordinary = Live(api, api.world.guard.protocol), Live(api, "httptools")
    body = json.dumps({"items": [ITEM]}).encode()
    raw = request_bytes("POST", "/api/v1/fields/encrypt", body, token=api.full)
    try:
        with Wire(quick.port) as one, Wire(ordinary.port) as other:
            for _ in range(2):
                for wire in (one, other):
                    wire.send(raw)
                    assert wire.read().status == 200
            assert api("POST", SEAL, {}, token=api.platform).status == 200
            for _ in range(2):
                for wire in (one, other):
                    wire.send(raw)
                    answer = wire.read()
                    assert (answer.status, answer.code) == SEALED
                    assert b"ciphertext" not in answer.all_bytes
    finally:
        quick.stop()
        ordinary.stop()


@pytest.mark.parametrize("who", ["full", "nobody"])
def test_nobody_but_the_platform_s_administrator_seals_it(fresh_api, who):
    api = fresh_api()
    answer = api("POST", SEAL, {}, token=getattr(api, who))
    assert (answer.status, answer.code) in {(404, "GRD-STORE-404"), (403, "GRD-AUTHZ-001")}
    assert api.encrypt("ana@example.org")


def test_what_was_sealed_before_opens_after_an_unsealing_and_the_old_tokens_are_good(sealed):
    """The next process of the same home: the token's pepper was under the seal, and is the same again."""
    settings = sealed.world.guard.settings
    sealed.world.close()
    made = World(
        settings.home, policies=settings.policies, sources=settings.sources, max_body_bytes=settings.max_body_bytes
    )
    try:
        items = [{"field": "customers.email", "context": {"row": "0"}, "ciphertext": sealed.before}]
        body = {"purpose": "billing", "items": items}
        answer = ask(made.guard.front, "POST", "/api/v1/fields/decrypt", body, token=sealed.full)
        assert answer.json["results"] == [{"plaintext": "YW5hQGV4YW1wbGUub3Jn"}]
    finally:
        made.close()
