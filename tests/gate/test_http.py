"""The same laws over HTTP: nothing happens without its record, 401 comes first, and no answer tells what was sent."""

import asyncio

import httpx2
import pytest

from guard.api.asgi import SECURITY
from tests.db.building import held, on_writer
from tests.gate.building import BROKEN_LOG, CANARY, PEER, stage

PROBLEM = "application/problem+json"
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    with stage(
        tmp_path_factory.mktemp("http") / "home", queue_limit=1, max_body_bytes=4096, failures_per_minute=60_000
    ) as made:
        made.admin = made.token("acme", "user:local|ana", "role:tenant-admin", "role:tester", "role:auditor")
        made.sam = made.token("acme", "user:local|sam", "role:support")
        made.auditor = made.token("system", "user:local|eve", "role:auditor")
        yield made


def ask(made, method, path, token="", app=None, **more):
    """One request to the application of the guard itself."""
    headers = more.pop("headers", {}) | ({"authorization": f"Bearer {token}"} if token else {})

    async def client():
        transport = httpx2.ASGITransport(app or made.guard.front, raise_app_exceptions=False, client=PEER)
        async with httpx2.AsyncClient(transport=transport, base_url="http://guard") as http:
            return await http.request(method, path, headers=headers, **more)

    return asyncio.run(client())


def state(made):
    tables = ("tokens", "grants", "tenants", "incidents", "audit_entries", "meta")
    return {table: made.rows(f"SELECT count(*) FROM {table}")[0][0] for table in tables}


CALLS = [
    ("POST", "/api/v1/tokens", {"subject": "svc:x"}),
    ("POST", "/api/v1/grants", {"member": "svc:x", "role": "role:support"}),
    ("POST", "/api/v1/checks", {"subject": "svc:x", "action": "keys.read", "resource": "keys/x"}),
    ("GET", "/api/v1/grants", None),
    ("GET", "/api/v1/whoami", None),
]


@pytest.mark.parametrize(("method", "path", "body"), CALLS)
def test_without_a_record_nothing_happens_and_the_answer_is_503(made, method, path, body):
    on_writer(made.pipeline, BROKEN_LOG)
    before = state(made)
    answer = ask(made, method, path, made.admin, json=body)
    on_writer(made.pipeline, "DROP TRIGGER broken")
    assert state(made) == before
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert answer.json()["code"] == "GRD-AUDIT-001"
    assert "the log is broken" in answer.json()["detail"]  # the cause, for waiters of an event loop too
    assert "token" not in answer.json()
    assert ask(made, method, path, made.admin, json=body).status_code == 200


@pytest.mark.parametrize(("method", "path", "body"), CALLS)
def test_a_full_queue_is_503_with_retry_after_and_nothing_happens(made, method, path, body):
    async def client():
        transport = httpx2.ASGITransport(made.guard.front, client=PEER)
        headers = {"authorization": f"Bearer {made.admin}"}
        async with httpx2.AsyncClient(transport=transport, base_url="http://guard", headers=headers) as http:
            with held(made.pipeline):
                waiting = asyncio.create_task(http.get("/api/v1/whoami"))
                while made.pipeline.waiting == 0:  # noqa: ASYNC110  another thread's queue tells nobody
                    await asyncio.sleep(0.001)
                refused = await http.request(method, path, json=body)
            return refused, await waiting

    before = state(made)
    refused, waited = asyncio.run(client())
    assert (refused.status_code, refused.json()["code"]) == (503, "GRD-STORE-004")
    assert int(refused.headers["retry-after"]) >= 1
    assert waited.status_code == 200
    assert state(made) == before | {"audit_entries": before["audit_entries"] + 1}


@pytest.mark.parametrize("body", [b"", b"{", b'{"subject": "svc:x"}', b"\xff" * 10_000])
def test_401_comes_before_anything_is_read_and_is_recorded(made, body):
    for token in ("", "grd_svc_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdef1H3IOv", CANARY):
        size = made.size
        answer = ask(made, "POST", "/api/v1/tokens", token, content=body)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert CANARY not in answer.text
        (record,) = made.bodies(size, "system")
        assert record["actor"]["id"] == "nobody"
        assert (record["action"], record["result"]["code"]) == ("tokens.create", "GRD-AUTHN-001")
        assert record["request"]["id"] == answer.headers["request-id"]
        assert CANARY not in str(record)


def test_a_log_in_whose_refusal_cannot_be_recorded_is_503(made):
    on_writer(made.pipeline, BROKEN_LOG)
    answer = ask(made, "POST", "/api/v1/tokens", "wrong")
    on_writer(made.pipeline, "DROP TRIGGER broken")
    assert answer.status_code == 503


def test_denied_is_403_and_what_hides_is_404(made):
    denied = ask(made, "POST", "/api/v1/notes/keep", made.sam, app=made.front, json={})
    assert (denied.status_code, denied.json()["missing_permission"]) == (403, "notes.keep")
    hidden = ask(made, "POST", "/api/v1/notes/hide", made.sam, app=made.front, json={})
    assert hidden.status_code == 404
    assert "missing_permission" not in hidden.text
    proof = ask(made, "GET", "/api/v1/audit/records/0/proof", made.sam)
    assert proof.status_code == 404


BODIES = [
    (b'{"subject": "svc:x", "subject": "svc:y"}', JSON, 400),
    (b'{"subject": NaN}', JSON, 400),
    (b"[]", JSON, 400),
    (b'"text"', JSON, 400),
    (b"{", JSON, 400),
    (b"\xff\xfe{}", JSON, 400),
    (b"[" * 4000, JSON, 400),
    (b'{"subject": "svc:\\ud800"}', JSON, (400, 422)),
    (b'{"subject": "svc:x", "kind": "root"}', JSON, 422),
    (b'{"subject": "svc:x", "expires_in_seconds": 60.5}', JSON, 422),
    (b'{"subject": "svc:x", "expires_in_seconds": "60"}', JSON, 422),
    (b'{"subject": "svc:x", "expires_in_seconds": 1' + b"0" * 500 + b"}", JSON, (400, 422)),
    (b'{"subject": "svc:x", "' + CANARY.encode() + b'": 1}', JSON, 422),
    (b'{"subject": "' + CANARY.encode() + b'"}', JSON, 422),
    (b'{"subject": "svc:x"}', {"content-type": "text/plain"}, 415),
    (b'{"subject": "svc:x"}', {}, 415),
    (b'{"note": "' + b"x" * 5000 + b'"}', JSON, 413),
]


@pytest.mark.parametrize(("body", "headers", "status"), BODIES, ids=range(len(BODIES)))
def test_a_body_that_does_not_fit_is_refused_and_not_echoed(made, body, headers, status):
    before = state(made)["tokens"]
    answer = ask(made, "POST", "/api/v1/tokens", made.admin, content=body, headers=headers)
    assert answer.status_code in ({status} if isinstance(status, int) else set(status))
    assert answer.headers["content-type"] == PROBLEM
    problem = answer.json()
    assert problem["status"] == answer.status_code
    assert problem["request_id"] == answer.headers["request-id"]
    assert CANARY not in answer.text
    assert state(made)["tokens"] == before


def test_a_body_that_does_not_fit_leaves_a_record_of_the_refusal(made):
    size = made.size
    assert ask(made, "POST", "/api/v1/tokens", made.admin, json={"subject": 1}).status_code == 422
    assert [body["result"].get("code") for body in made.bodies(size)] == ["GRD-VAL-001"]


def test_a_path_parameter_in_the_body_too_is_refused(made):
    answer = ask(made, "POST", "/api/v1/tokens/0123456789AB/revoke", made.admin, json={"handle": "0123456789AB"})
    assert answer.status_code == 422


NUMBERS = [
    "/api/v1/audit/records?before={n}",
    "/api/v1/audit/records?limit={n}",
    "/api/v1/audit/records/{n}/proof",
    "/api/v1/audit/consistency?first={n}&second={n}",
    "/api/v1/audit/consistency?first=0&second={n}",
    "/api/v1/grants?limit={n}",
]


@pytest.mark.parametrize("path", NUMBERS)
@pytest.mark.parametrize("number", [2**53, 2**63 - 1, 2**63, 10**30, -1])
def test_a_number_that_no_record_and_no_column_holds_is_refused_as_invalid(made, path, number):
    on = path.format(n=number)
    size = made.size
    answer = ask(made, "GET", on, made.auditor if "consistency" in path else made.admin)
    assert answer.status_code == 422, answer.text
    assert made.size == size + 1  # refused by its schema, and on record


@pytest.mark.parametrize("name", ["/livez", "/version", "/openapi.json", "/api/v1/whoami", "/no/such/path"])
def test_every_answer_has_a_request_id_and_the_security_headers(made, name):
    answer = ask(made, "GET", name)
    assert answer.headers["request-id"].startswith("req_")
    for header, value in SECURITY:
        assert answer.headers[header.decode()] == value.decode()


def test_request_ids_differ(made):
    assert len({ask(made, "GET", "/livez").headers["request-id"] for _ in range(20)}) == 20


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/no/such", 404),
        ("DELETE", "/api/v1/tokens", 405),
        ("GET", "/api/v1/principals", 404),
        ("GET", "/", 404),
    ],
)
def test_what_is_not_there_is_a_problem_too(made, method, path, status):
    answer = ask(made, method, path, made.admin)
    assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM)


def test_internal_operations_have_no_route(made):
    paths = {route.path for route in made.guard.front._inner.routes}
    internal = [entry for entry in made.guard.gate.operations.values() if entry.path is None]
    assert internal
    for entry in internal:
        noun, verb = entry.name.split(".")
        assert not {f"/api/v1/{noun}/{verb}", f"/api/v1/{entry.name}", f"/api/v1/{noun}:{verb}"} & paths


def test_readiness_tells_what_fails(made):
    assert ask(made, "GET", "/readyz").json()["checks"] == dict.fromkeys(
        ("writer", "disk", "database", "SERVING"), True
    )
