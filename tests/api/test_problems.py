"""One shape for every refusal (RFC 9457), whoever refuses; security headers and a request id on every answer."""

import re

import pytest

from guard import errors
from guard.api.problem import FRAMEWORK, STATUS, from_framework, problem
from guard.errors import GuardError, Kind
from tests.api.asking import Wire, request_bytes
from tests.api.conftest import LIMIT

REQUEST_ID = re.compile(r"req_[0-9a-f]{24}")
SECURITY = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
}
CLASSES = [found for found in vars(errors).values() if isinstance(found, type) and issubclass(found, GuardError)]


def check_headers(answer):
    assert REQUEST_ID.fullmatch(answer.headers["request-id"])
    assert {name: answer.headers.get(name) for name in SECURITY} == SECURITY
    assert "server" not in answer.headers


def check(answer, status: int, code: str):
    """The whole shape of a problem."""
    check_headers(answer)
    assert (answer.status, answer.code) == (status, code), answer.body
    assert answer.headers["content-type"] == "application/problem+json"
    assert int(answer.headers["content-length"]) == len(answer.body)
    members = answer.json
    assert members["status"] == status
    assert members["type"] == f"urn:guard:error:{code}"
    assert members["title"]
    assert members["detail"].endswith((".", "]")) or members["detail"]
    assert members["request_id"] == answer.headers["request-id"]
    assert ("retry-after" in answer.headers) == (status == 429 or "retry_after_seconds" in members)


def test_200_has_the_headers_too(api):
    check_headers(api("GET", "/api/v1/whoami"))


def test_400_for_a_body_that_is_no_json(api):
    check(api("POST", "/api/v1/runs", b"{"), 400, "GRD-HTTP-400")


def test_401_without_a_token(api):
    check(api("GET", "/api/v1/keys", token=None), 401, "GRD-AUTHN-001")


def test_403_names_what_is_missing(api):
    answer = api("GET", "/api/v1/keys", token=api.nobody)
    check(answer, 403, "GRD-AUTHZ-001")
    assert answer.json["missing_permission"] == "keys.list"


def test_404_for_a_thing_and_for_a_path(api):
    check(api("GET", "/api/v1/keys/nope"), 404, "GRD-STORE-404")
    check(api("GET", "/nope"), 404, "GRD-HTTP-404")
    check(api("GET", "/api/v1/keys/"), 404, "GRD-HTTP-404")
    check(api("GET", "//api/v1/keys"), 404, "GRD-HTTP-404")


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "TRACE", "BREW"])
@pytest.mark.parametrize("path", ["/api/v1/keys", "/api/v1/fields/encrypt", "/livez", "/openapi.json"])
def test_405_for_another_method_on_a_known_path(api, method, path):
    answer = api(method, path)
    check(answer, 405, "GRD-HTTP-405")


def test_405_names_the_allowed_methods(api):
    assert api("DELETE", "/api/v1/keys").headers["allow"] == "GET, POST"
    assert api("DELETE", "/api/v1/runs").headers["allow"] == "GET, POST"


def test_409_when_the_state_forbids(api):
    check(api("POST", "/api/v1/tenants", {"tenant": "acme"}, token=api.platform), 409, "GRD-STORE-409")


def test_413_by_length_and_by_count(api):
    declared = api("POST", "/api/v1/runs", headers=[("content-length", str(LIMIT + 1))], parts=[b"x"])
    check(declared, 413, "GRD-HTTP-413")
    assert declared.received == 0, "a length that says too much is refused before anything is read"
    check(api("POST", "/api/v1/runs", parts=[b" " * (LIMIT // 2)] * 3), 413, "GRD-HTTP-413")


def test_415_for_another_kind_of_body(api):
    check(api("POST", "/api/v1/runs", b"plan=x", kind="application/x-www-form-urlencoded"), 415, "GRD-HTTP-415")
    check(api("POST", "/api/v1/runs", b"{}", kind=None), 415, "GRD-HTTP-415")


def test_422_points_at_the_member(api):
    answer = api("POST", "/api/v1/incidents", {"title": 5, "severity": 9})
    check(answer, 422, "GRD-VAL-001")
    assert {(one["pointer"], one["code"]) for one in answer.json["errors"]} == {
        ("/title", "string_type"),
        ("/severity", "less_than_equal"),
    }
    assert answer.json["detail"] == (
        "The request does not fit incidents.open at /title: Expected text. 1 more in errors."
    )


def test_422_says_the_first_error_in_its_sentence_and_never_what_was_given(api):
    wanted = {"items": [{"field": "customers.email", "context": {"row": ["canary"]}, "plaintext": "", "canary": "x"}]}
    answer = api("POST", "/api/v1/fields/encrypt", wanted)
    check(answer, 422, "GRD-VAL-001")
    first = answer.json["errors"][0]
    assert f" at {first['pointer']}: {first['message']}" in answer.json["detail"]
    assert "canary" not in str(answer.json)


def test_429_for_too_many_requests_and_for_too_many_failures(fresh_api):
    api = fresh_api(requests_per_minute=60, failures_per_minute=60)
    answers = [api("GET", "/api/v1/whoami") for _ in range(15)]
    check(answers[-1], 429, "GRD-RATE-001")
    assert answers[0].status == 200
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 60
    failures = [api("GET", "/api/v1/whoami", token=None) for _ in range(15)]
    check(failures[0], 401, "GRD-AUTHN-001")
    check(failures[-1], 429, "GRD-RATE-001")


def test_503_when_the_writer_has_stopped_and_nothing_is_answered_from_memory(fresh_api):
    api = fresh_api()
    api.world.guard.pipeline.stop()
    for method, path, body in (
        ("GET", "/api/v1/whoami", b""),
        ("GET", "/api/v1/keys", b""),
        ("POST", "/api/v1/incidents", {"title": "Down"}),
        (
            "POST",
            "/api/v1/fields/encrypt",
            {"items": [{"field": "customers.email", "context": {"row": "1"}, "plaintext": ""}]},
        ),
        ("POST", "/api/v1/censuses", {}),
        ("POST", "/api/v1/events", {"stream": "shop", "fingerprint": "0" * 16, "offset": 0}),
    ):
        check(api(method, path, body), 503, "GRD-STORE-003")


def test_503_for_a_full_queue_says_when_to_try_again(fresh_api):
    api = fresh_api()
    api.world.guard.pipeline._limit = 0
    answer = api("GET", "/api/v1/whoami")
    check(answer, 503, "GRD-STORE-004")
    assert answer.headers["retry-after"] == "1"


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_has_one_status(kind):
    assert 400 <= STATUS[kind] <= 507


@pytest.mark.parametrize("kind", CLASSES, ids=[one.__name__ for one in CLASSES])
def test_every_error_becomes_a_problem_of_its_own_code(kind):
    status, body, headers = problem(kind("Expected this, got that; do so."), "req_0")
    assert headers["content-type"] == "application/problem+json"
    assert status == STATUS[kind.kind]
    assert f'"code":"{kind.code}"'.encode() in body


def test_codes_are_unique_and_formed_alike():
    codes = [one.code for one in CLASSES]
    assert len({*codes}) == len(codes) - 1, "only GuardError itself and InternalError share one"
    assert all(re.fullmatch(r"GRD-[A-Z]+-[0-9]{3}", code) for code in codes)


@pytest.mark.parametrize("status", [*FRAMEWORK, 418, 500, 503])
def test_what_the_framework_refuses_is_ours_too(status):
    error = from_framework(status)
    assert isinstance(error, FRAMEWORK.get(status, errors.InternalError))


def test_what_is_no_http_at_all_is_refused_without_an_echo(hot):
    assert hot.ask("GET", "/livez").status == 200
    for nonsense in (b"WANDA CANARY\r\n\r\n", request_bytes("GET", "/a b"), b"\x16\x03\x01\x02\x00\x01\x00"):
        with Wire(hot.port) as wire:
            wire.send(nonsense)
            refused = wire.read()
            assert refused.status == 400
            assert b"CANARY" not in refused.all_bytes
            assert wire.ended()
