"""A hundred personal values sent through every vault operation, right and wrong: where they may be found, and where not.

The server is a process of its own, as `guard dev` runs it, so that its log and its files are what an operator has.
"""

import base64
import io
import json
import zipfile
from dataclasses import dataclass, field

import pytest

from tests.api.asking import Answer, Wire, request_bytes
from tests.cli.processes import Server

COUNT = 100
FAMILIES = ("adler", "brown", "costa", "diaz", "eriksen", "fischer", "garcia", "hoang", "ito", "jansen")
CANARIES = [f"canary.{FAMILIES[number % 10]}{number:03d}@example.org" for number in range(COUNT)]


@dataclass
class Sent:
    """All answers, by whether they may hold a value in clear; and the values as the server could hold them."""

    quiet: list[Answer] = field(default_factory=list)
    authorised: list[Answer] = field(default_factory=list)

    def found_in(self, content: bytes) -> list[str]:
        """The canaries that stand in *content*, in clear or in base64."""
        return [one for one in CANARIES if one.encode() in content or encoded(one).rstrip("=").encode() in content]


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def sealable(canary: str, row: int, **other):
    return {"field": "customers.email", "context": {"row": str(row)}, "plaintext": encoded(canary)} | other


def openable(ciphertext: str, row: int, **other):
    return {"field": "customers.email", "context": {"row": str(row)}, "ciphertext": ciphertext} | other


class Shop:
    """Sends requests with a token and files their answers."""

    def __init__(self, server: Server, sent: Sent) -> None:
        self.wire = Wire(server.port)
        self.token = server.token()
        self.sent = sent

    def post(self, path: str, body, *, may_show: bool = False, **options) -> Answer:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.wire.send(request_bytes("POST", path, content, **{"token": self.token, **options}))
        answer = self.wire.read()
        (self.sent.authorised if may_show else self.sent.quiet).append(answer)
        assert answer.status != 500
        return answer


def encrypt_all(shop: Shop) -> list[str]:
    items = [sealable(one, row) for row, one in enumerate(CANARIES)]
    answer = shop.post("/api/v1/fields/encrypt", {"items": items})
    assert answer.status == 200
    return [result["ciphertext"] for result in answer.json["results"]]


def send_rightly(shop: Shop, sealed: list[str]) -> None:
    """Every vault operation that takes or gives a value, as it is meant to be used."""
    items = [openable(one, row) for row, one in enumerate(sealed)]
    clear = shop.post("/api/v1/fields/decrypt", {"purpose": "billing", "items": items}, may_show=True)
    assert [base64.b64decode(one["plaintext"]).decode() for one in clear.json["results"]] == CANARIES
    shop.post("/api/v1/fields/mask", {"purpose": "support", "items": items})
    searched = [{"field": "customers.email", "index": "exact", "value": one} for one in CANARIES]
    found = shop.post("/api/v1/indexes/compute", {"purpose": "support", "items": searched})
    assert all("tokens" in one for one in found.json["results"])


def send_wrongly(shop: Shop, sealed: list[str]) -> None:
    """The same values in every wrong place of the same operations."""
    for number, one in enumerate(CANARIES):
        cut = number % 10
        if cut == 0:  # a value where the ciphertext belongs
            shop.post("/api/v1/fields/decrypt", {"purpose": "billing", "items": [openable(one, number)]})
            shop.post("/api/v1/fields/mask", {"purpose": "support", "items": [openable(one, number)]})
        elif cut == 1:  # a member named after a person, of a request and of an item
            shop.post("/api/v1/fields/encrypt", {"items": [sealable(one, number)], one: one})
            shop.post("/api/v1/fields/encrypt", {"items": [sealable(one, number, **{one: one})]})
        elif cut == 2:  # a value that is not in base64, and one where a field, index or purpose belongs
            shop.post("/api/v1/fields/encrypt", {"items": [sealable("", number, plaintext=one)]})
            shop.post("/api/v1/fields/encrypt", {"items": [sealable(one, number, field=one)]})
            shop.post(
                "/api/v1/indexes/compute",
                {"purpose": one, "items": [{"field": "customers.email", "index": one, "value": one}]},
            )
        elif cut == 3:  # a value as context, and as a context's name
            shop.post(
                "/api/v1/fields/decrypt",
                {"purpose": "billing", "items": [openable(sealed[number], 0, context={"row": one})]},
            )
            shop.post("/api/v1/fields/encrypt", {"items": [sealable(one, 0, context={one: "1"})]})
        elif cut == 4:  # malformed and oversized bodies
            shop.post("/api/v1/fields/encrypt", json.dumps({"items": [sealable(one, number)]}).encode()[:-2])
            shop.post("/api/v1/fields/encrypt", json.dumps(one).encode())
        elif cut == 5:  # another type, no token, a value as token
            shop.post("/api/v1/fields/encrypt", {"items": [sealable(one, number)]}, kind=f"text/{one}")
            shop.post("/api/v1/fields/encrypt", {"items": [sealable(one, number)]}, token=None)
            shop.post("/api/v1/fields/encrypt", {"items": [sealable(one, number)]}, token=one)
        elif cut == 6:  # in a header and in the path
            shop.post("/api/v1/fields/encrypt", {"items": [sealable(one, number)]}, headers=[f"x-note: {one}"])
            shop.post(f"/api/v1/fields/encrypt/{one}", {})
            shop.post(f"/api/v1/keys/{one}/rotate", {})
            shop.post(f"/api/v1/fields/encrypt?email={one}", {"items": [sealable(one, number)]})
        elif cut == 7:  # an index that does not exist, a value that has no canonical form
            wrong = [{"field": "customers.email", "index": "nope", "value": one}]
            shop.post("/api/v1/indexes/compute", {"purpose": "support", "items": wrong})
            wrong = [{"field": "customers.email", "index": "exact", "value": one + "\u202e"}]
            shop.post("/api/v1/indexes/compute", {"purpose": "support", "items": wrong})
        elif cut == 8:  # duplicate members
            shop.post("/api/v1/fields/encrypt", f'{{"items":["{one}"],"items":["{one}"]}}'.encode())
            shop.post("/api/v1/fields/encrypt", f'{{ "{one}" : 1, "{one}" : 2 }}'.encode())
        else:  # a purpose that is not allowed, and another tenant's eyes
            shop.post(
                "/api/v1/fields/decrypt", {"purpose": "delivery_nope", "items": [openable(sealed[number], number)]}
            )
            shop.post("/api/v1/fields/mask", {"purpose": "support", "items": [openable(sealed[number], 10_000)]})


def export(server: Server) -> bytes:
    """Every byte of an audit export, unpacked."""
    with Wire(server.port) as wire:
        admin = server.token("admin")
        assert wire.ask("POST", "/api/v1/audit/checkpoints", b"{}", token=admin).status == 200
        view = wire.ask("POST", "/api/v1/audit/exports", b'{"prove":[0]}', token=admin).json
        archive = wire.ask("GET", f"/api/v1/audit/exports/{view['id']}/archive", token=admin).body
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        return b"\n".join(opened.read(name) for name in opened.namelist())


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What was sent, and all that is left of it: answers, the server's log, the home's files, the audit export."""
    home, sent = tmp_path_factory.mktemp("privacy") / "home", Sent()
    with Server(home) as server:
        shop = Shop(server, sent)
        sealed = encrypt_all(shop)
        send_rightly(shop, sealed)
        send_wrongly(shop, sealed)
        exported = export(server)
        running = {path.name: path.read_bytes() for path in home.rglob("*") if path.is_file()}
        shop.wire.close()
    stopped = {path.name: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    return {"sent": sent, "log": server.said, "export": exported, "running": running, "stopped": stopped}


def test_the_looking_itself_finds_what_is_there(told):
    clear = b"".join(answer.body for answer in told["sent"].authorised)
    assert len(told["sent"].found_in(clear)) == COUNT
    assert told["sent"].found_in(CANARIES[7].encode()) == [CANARIES[7]]


def test_no_answer_holds_a_value_but_those_that_were_allowed_to(told):
    found = {answer.status: told["sent"].found_in(answer.all_bytes) for answer in told["sent"].quiet}
    assert {status: values for status, values in found.items() if values} == {}
    assert {200, 400, 401, 403, 404, 415, 422} <= {answer.status for answer in told["sent"].quiet}


def test_the_log_of_the_server_holds_no_value_and_no_traceback(told):
    assert told["sent"].found_in(told["log"].encode()) == []
    assert "Traceback" not in told["log"]
    assert "unforeseen" not in told["log"]


@pytest.mark.parametrize("state", ["running", "stopped"])
def test_no_file_of_the_home_holds_a_value(told, state):
    files = told[state]
    assert {"guard.db", "root.key", "client.json"} <= set(files)
    assert state == "stopped" or files["guard.db-wal"], "the write-ahead log is looked at too"
    assert {name: values for name, content in files.items() if (values := told["sent"].found_in(content))} == {}


def test_the_audit_export_names_every_call_and_holds_no_value(told):
    for action in (b"fields.encrypt", b"fields.decrypt", b"fields.mask", b"indexes.compute"):
        assert action in told["export"]
    assert told["sent"].found_in(told["export"]) == []


def test_the_record_of_a_wrong_call_holds_its_code_and_nothing_of_its_body(told):
    assert told["export"].count(b"GRD-AUTHN-001") >= 10  # then the address is slowed down, which is no record
    assert b"canary" not in told["export"]
    assert b"example.org" not in told["export"]


def test_no_file_holds_a_token_but_the_two_that_are_for_that(told):
    for name, content in told["stopped"].items():
        assert (b"grd_pat_" in content) == (name in {"client.json", "admin.json"}), name
    assert "grd_pat_" not in told["log"]
    assert b"grd_pat_" not in told["export"]
