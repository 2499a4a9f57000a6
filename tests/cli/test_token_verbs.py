"""`guard tokens` and `guard honey` on a real server: second persons, lists, bait, and lines that no request can hold."""

import json

import pytest

from guard.client import Client

PARTIAL = 8
FIELD, NUMBER = "customers.email", "customers.identity_number"
SECRET = "canary-77@example.org"


def wanted(subject, value=SECRET, field=FIELD, domain="delivery", **more):
    return {"field": field, "domain": domain, "subject": subject, "value": value, **more}


def lines(*items):
    return b"".join(item if isinstance(item, bytes) else json.dumps(item).encode() + b"\n" for item in items)


def typed(dev, *arguments, given=b"", status=0):
    done = dev.run("tokens", *arguments, stdin=given)
    assert done.returncode == status, done.stderr.decode()
    return [json.loads(line) for line in done.stdout.splitlines()]


def issued(dev, subject, **more):
    return typed(dev, "issue", given=lines(wanted(subject, **more)))[0]["token"]


HOSTILE = {
    "not a number": b'{"field":"customers.email","domain":"delivery","subject":"u","value":"canary-77","ttl_seconds":NaN}',
    "infinity": b'{"field":"customers.email","domain":"delivery","subject":"u","value":"canary-77","ttl_seconds":1e999}',
    "half a character": b'{"field":"customers.email","domain":"delivery","subject":"u","value":"canary-77\\ud800"}',
    "a very long number": b'{"value":"canary-77","ttl_seconds":' + b"9" * 5000 + b"}",
    "a huge number": b'{"field":"customers.email","domain":"delivery","subject":"u","value":"canary-77","ttl_seconds":'
    + b"9" * 400
    + b"}",
    "a name that is a value": b'{"canary-77":1}',
    "half a name": b'{"canary-77\\ud800":1}',
    "deep lists": b'{"value":' + b"[" * 900 + b'"canary-77"' + b"]" * 900 + b"}",
    "an empty object": b"{}",
    "two objects": b'{"value":"canary-77"} {"value":"canary-77"}',
    "a mark of byte order": b'\xef\xbb\xbf{"value":"canary-77"}',
    "UTF-16": '{"value":"canary-77"}'.encode("utf-16"),
    "zeros": b'{"value":"canary-77"}\x00',
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_line_is_one_problem_and_its_neighbours_are_answered(dev, name):
    given = lines(wanted("before"), HOSTILE[name].replace(b"\n", b" ") + b"\n", wanted("after"))
    done = dev.run("tokens", "issue", stdin=given)
    assert done.returncode == PARTIAL, done.stderr.decode()
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert ["problem" in one for one in answers] == [False, True, False]
    assert answers[1]["line"] == 2
    assert answers[1]["problem"]["detail"].endswith((".", "]"))
    assert done.stderr == b""
    assert b"Traceback" not in done.stdout
    if not name.startswith(("a name", "half a name")):
        assert b"canary-77" not in done.stdout


def test_a_reveal_that_needs_a_second_person_from_asking_to_seeing(dev):
    token = issued(dev, "u-31", value="1234567890", field=NUMBER, domain="identity_check")
    with dev.client() as client:
        client.grants.add(member="user:local|off1", role="role:identity-officer")
        client.grants.add(member="user:local|off2", role="role:identity-officer")
        tokens = [client.tokens.create(subject=f"user:local|off{n}", kind="pat")["token"] for n in (1, 2)]
    first, second = ({"GUARD_URL": dev.server.url, "GUARD_TOKEN": one} for one in tokens)
    asked = lines({"field": NUMBER, "token": token})
    done = dev.run("tokens", "reveal", "identity_check", stdin=asked, variables=first)
    assert done.returncode == PARTIAL
    answer = json.loads(done.stdout)
    assert token.encode() not in done.stdout + done.stderr
    request = answer["request"]
    told = f"guard tokens approve {request} --field {NUMBER} --purpose identity_check"
    assert told in answer["problem"]["detail"]
    listed = json.loads(dev.run("tokens", "requests", "-o", "json", variables=second).stdout)["data"]
    assert [one["asked_by"] for one in listed if one["id"] == request] == ["user:local|off1"]
    words = told.split()[1:]
    alone = dev.run(*words, variables=first)
    assert alone.returncode != 0
    assert b"second person" in alone.stderr
    assert dev.run(*words, variables=second).returncode == 0
    again = dev.run(*words, variables=second)
    assert again.returncode != 0
    assert b"approved this reveal already" in again.stderr
    done = dev.run("tokens", "reveal", "identity_check", stdin=asked, variables=first)
    assert json.loads(done.stdout) == {"value": "1234567890", "mask": "full"}
    done = dev.run("tokens", "reveal", "identity_check", stdin=asked, variables=first)
    assert json.loads(done.stdout)["problem"]["code"] == "GRD-TOKEN-002"


def test_the_list_shows_how_tokens_stand_and_neither_token_nor_value(dev):
    live, gone = issued(dev, "u-41", value="canary-list"), issued(dev, "u-42", value="canary-list")
    typed(dev, "revoke", given=lines({"field": FIELD, "token": gone}))
    done = dev.run("tokens", "list", "--field", FIELD, "--limit", "2", "-o", "json")
    assert [one["state"] for one in json.loads(done.stdout)["data"]] == ["revoked", "live"]
    for secret in (live, gone, "canary-list", "u-41"):
        assert secret.encode() not in done.stdout


def test_bait_is_planted_read_found_and_removed(dev):
    done = dev.run("honey", "token", FIELD, "delivery", "--subject", "nobody-cli", "-o", "json", stdin=b"eve@x.example")
    assert done.returncode == 0, done.stderr.decode()
    planted = json.loads(done.stdout)
    asked = lines({"field": FIELD, "token": planted["token"]})
    assert typed(dev, "reveal", "delivery", given=asked) == [{"value": "eve@x.example", "mask": "full"}]
    listed = dev.run("honey", "list", "-o", "json").stdout
    assert planted["id"].encode() in listed
    assert planted["token"].encode() not in listed
    with dev.client() as client:
        assert any(planted["id"] in one["title"] for one in client.incidents.list(limit=200)["data"])
    assert json.loads(dev.run("honey", "remove", planted["id"], "-o", "json").stdout) == {"removed": planted["id"]}
    again = dev.run("honey", "remove", planted["id"])
    assert again.returncode != 0
    assert b"see guard honey list" in again.stderr


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (b"", b"Expected a value of 1 to 16384 bytes"),
        (b" \n", b"Expected a value of 1 to 16384 bytes"),
        (b"x" * 16385, b"Expected a value of 1 to 16384 bytes"),
        (b"canary\xff", b"Expected a value in UTF-8"),
        ("canary".encode("utf-16"), b"Expected a value in UTF-8"),
    ],
    ids=["nothing", "blank", "too long", "no UTF-8", "UTF-16"],
)
def test_a_value_of_bait_that_is_none_is_refused_in_one_sentence(dev, given, sentence):
    done = dev.run("honey", "token", FIELD, "delivery", "--subject", "nobody-bad", stdin=given)
    assert done.returncode != 0
    assert sentence in done.stderr
    assert done.stdout == b""
    assert b"canary" not in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("row", ["999", "r-7"])
def test_a_planted_row_is_named_once_and_listed_without_its_name(dev, row):
    planted = json.loads(dev.run("honey", "row", FIELD, "--row", row, "-o", "json").stdout)
    assert (planted["kind"], planted["field"]) == ("row", FIELD)
    with dev.client() as client:
        view = next(one for one in client.honey.list()["data"] if one["id"] == planted["id"])
    assert row not in [str(value) for value in view.values()]
    dev.run("honey", "remove", planted["id"])


def test_who_holds_no_role_is_told_so_for_each_line(dev):
    with dev.client() as client:
        token = client.tokens.create(subject="user:local|idle", kind="pat")["token"]
        assert isinstance(client, Client)
    idle = {"GUARD_URL": dev.server.url, "GUARD_TOKEN": token}
    asked = lines(*({"field": FIELD, "token": f"tok_canary{number}"} for number in range(3)))
    done = dev.run("tokens", "reveal", "delivery", stdin=asked, variables=idle)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == PARTIAL
    assert [one["line"] for one in found] == [1, 2, 3]
    assert {one["problem"]["code"] for one in found} == {"GRD-AUTHZ-001"}
    assert b"canary" not in done.stdout + done.stderr
