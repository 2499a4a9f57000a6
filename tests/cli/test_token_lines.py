"""JSON lines typed into `guard tokens`: an answer for each, in order, and one problem for each bad line."""

import io
import json

import pytest

from guard.cli.lines import MAX_LINE_BYTES, read
from guard.errors import Denied, InvalidRequest, Unreachable
from tests.cli.asking import answered

PARTIAL = 8
EMAIL = "customers.email"
SECRET = "canary@example.org"


def wanted(subject="u-1", value=SECRET, **more):
    return {"field": EMAIL, "domain": "delivery", "subject": subject, "value": value, **more}


def lines(*items):
    return b"".join(item if isinstance(item, bytes) else json.dumps(item).encode() + b"\n" for item in items)


def typed(dev, *arguments, given=b"", status=0):
    done = dev.run("tokens", *arguments, stdin=given)
    assert done.returncode == status, done.stderr.decode()
    return [json.loads(line) for line in done.stdout.splitlines()], done


# reading


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"", []),
        (b"\n \n", []),
        (b'{"a": 1}', [(1, {"a": 1}, "")]),
        (b'\n{"a": 1}\n', [(2, {"a": 1}, "")]),
        (b'{"a": 1}\r\n{"b": 2}\n', [(1, {"a": 1}, ""), (2, {"b": 2}, "")]),
        (b"{\n[]\n", [(1, {}, "a JSON object in UTF-8"), (2, {}, "a JSON object on the line")]),
        (b"\xff\n7\n", [(1, {}, "a JSON object in UTF-8"), (2, {}, "a JSON object on the line")]),
        (b"[" * 60_000 + b"\n", [(1, {}, "a JSON object in UTF-8")]),
        (b"x" * (3 * MAX_LINE_BYTES) + b'\n{"a": 1}\n', [(1, {}, "a line of at most"), (2, {"a": 1}, "")]),
        (b" " * MAX_LINE_BYTES + b'{"a": 1}', [(1, {}, "a line of at most")]),
    ],
)
def test_each_line_is_an_object_or_says_what_is_wrong(raw, expected):
    found = [(one.number, one.item, one.error.detail if one.error else "") for one in read(io.BytesIO(raw))]
    assert [one[:2] for one in found] == [one[:2] for one in expected]
    assert all(part[2] in one[2] for one, part in zip(found, expected, strict=True))
    assert not any("xxx" in one[2] for one in found)


class Refusing:
    """A server that refuses a request in which any item is bad, as the real one does with a malformed item."""

    def __init__(self, error):
        self.error, self.done = error, []

    def call(self, _operation, *, items):
        if any(one.get("bad") for one in items):
            raise self.error
        self.done += [one["n"] for one in items]
        return {"results": [{"token": str(one["n"])} for one in items]}


@pytest.mark.parametrize("bad", [{0}, {7}, {3, 4}, {0, 1, 2, 3, 4, 5, 6, 7}, set()])
def test_a_line_that_spoils_its_request_is_found_and_the_others_are_done_once(bad):
    raw = lines(*({"n": number, "bad": number in bad} for number in range(8)))
    server = Refusing(InvalidRequest("no", errors=[{"pointer": "/items/0/bad", "code": "x", "message": "Not so."}]))
    found = answered(server, "tokens.issue", {}, list(read(io.BytesIO(raw))))
    assert [("problem" in one) for one in found] == [number in bad for number in range(8)]
    assert server.done == [number for number in range(8) if number not in bad]
    assert all(one["line"] in {number + 1 for number in bad} for one in found if "problem" in one)
    assert all(one["problem"]["detail"] == "The line does not fit. /bad: Not so." for one in found if "problem" in one)


def test_an_error_that_is_of_no_line_ends_it():
    with pytest.raises(Unreachable):
        answered(Refusing(Unreachable("down")), "tokens.issue", {}, list(read(io.BytesIO(b'{"n": 1, "bad": true}'))))


def test_who_may_not_is_told_for_each_line():
    found = answered(Refusing(Denied("no")), "x", {}, list(read(io.BytesIO(lines({"n": 1, "bad": True}, {"n": 2})))))
    assert [one.get("problem", {}).get("code") for one in found] == ["GRD-AUTHZ-001", None]


# on a real server


def test_values_go_in_and_come_out_as_the_role_may_see_them(dev):
    issued, _ = typed(dev, "issue", given=lines(wanted("u-21"), wanted("u-22", single_use=True)))
    assert [one["single_use"] for one in issued] == [False, True]
    asked = lines(*({"field": EMAIL, "token": one["token"]} for one in issued))
    shown, _ = typed(dev, "reveal", "delivery", given=asked)
    assert shown == [{"value": SECRET, "mask": "full"}] * 2
    shown, _ = typed(dev, "reveal", "support", given=asked, status=PARTIAL)
    assert shown[0] == {"value": "c****@e******.org", "mask": "email"}
    assert (shown[1]["line"], shown[1]["problem"]["code"]) == (2, "GRD-TOKEN-001")
    assert typed(dev, "revoke", given=asked)[0] == [{"state": "revoked"}] * 2


def test_one_problem_for_each_bad_line_and_none_shows_what_it_held(dev):
    given = lines(
        wanted(),
        b'{"value": "' + SECRET.encode() + b'"\n',
        wanted(domain="canary domain"),
        wanted(canary=SECRET),
        wanted(value=""),
        {"field": "customers.canary", **dict.fromkeys(("domain", "subject", "value"), "x")},
        wanted(),
    )
    answers, done = typed(dev, "issue", given=given, status=PARTIAL)
    assert ["problem" in one for one in answers] == [False, True, True, True, True, True, False]
    assert [one["line"] for one in answers if "problem" in one] == [2, 3, 4, 5, 6]
    assert answers[0]["token"] == answers[-1]["token"]
    assert done.stderr == b""
    assert SECRET.encode() not in done.stdout
    assert b"canary domain" not in done.stdout


def test_more_lines_than_a_request_takes(dev):
    given = lines(*(wanted(f"u-{number}", str(number)) for number in range(450)))
    issued, _ = typed(dev, "issue", given=given)
    asked = lines(*({"field": EMAIL, "token": one["token"]} for one in issued))
    shown, _ = typed(dev, "reveal", "delivery", given=asked)
    assert [one["value"] for one in shown] == [str(number) for number in range(450)]


def test_nothing_in_is_nothing_out(dev):
    assert typed(dev, "issue")[0] == []


def test_without_a_server_one_sentence_says_so(dev):
    done = dev.run(
        "tokens", "issue", stdin=lines(wanted()), variables={"GUARD_URL": "http://127.0.0.1:9", "GUARD_TOKEN": "x"}
    )
    assert done.returncode == 69
    assert done.stdout == b""
    assert SECRET.encode() not in done.stderr
