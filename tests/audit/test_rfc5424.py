"""Records as syslog messages: one message a record whatever it holds, and the entry comes back byte for byte."""

import base64
import hashlib
import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.audit.canonical import canonical
from guard.audit.entry import entry
from guard.audit.exports import rfc5424
from guard.audit.exports.rfc5424 import BOM, MEDIA_TYPE, SUFFIX, line, message, write
from guard.audit.row import Row

HEADER = re.compile(rb"<(\d{1,3})>1 (\S{1,128}) (\S{1,255}) (\S{1,48}) (\S{1,128}) (\S{1,32}) ")
PARAMETER = re.compile(r' ([^= \]"]{1,32})="((?:[^"\\\]]|\\.)*)"', re.DOTALL)
HOSTILE = [
    "\r\nMar 1 evil: <0>1 - - - - - -",
    "\x00\x07\x1b[2J",
    "a\u2028b\u2029c\x85d",
    "\u202ereversed\u2066",
    '"] [evil@1 x="y"]',
    'back\\slash " quote ] bracket',
    "\\",
    '\\"',
    "=cmd|' /C calc'!A0",
    "|pipe|=eq",
    "ẞ漢字😀",
    "x" * 5000,
    " ",
]
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60) | st.sampled_from(HOSTILE)


def row_of(index=7, n=3, **changes):
    body = {
        "action": "keys.rotate",
        "actor": {"id": "user:local|ana", "type": "user", "auth": ""},
        "id": "019a0000-0000-7000-8000-000000000000",
        "node": "guard-17",
        "phase": "event",
        "resource": {"id": "keys/customers.email"},
        "result": {"status": "ok"},
        "tenant": "acme",
        "time": "2026-11-25T04:00:00.000001Z",
        "v": 1,
    }
    return Row.of(index, entry(canonical(body | changes), n))


def parsed(text_of_row):
    """Header fields, parameters and MSG, read by the grammar of RFC 5424 section 6."""
    head = HEADER.match(text_of_row)
    assert head, text_of_row[:200]
    rest = text_of_row[head.end() :]
    text = rest.decode("utf-8")
    assert text.startswith("[guard@32473")
    at, parameters = len("[guard@32473"), {}
    while found := PARAMETER.match(text, at):
        assert found[1] not in parameters
        parameters[found[1]] = re.sub(r'\\(["\\\]])', r"\1", found[2])
        at = found.end()
    assert text[at : at + 2] == "] "
    return head.groups(), parameters, text[at + 2 :].encode()


def test_the_message_of_a_record_as_a_whole():
    told = message(row_of()).decode()
    entry_text = row_of().entry.decode()
    leaf = base64.b64encode(hashlib.sha256(b"\0" + row_of().entry).digest()).decode()
    assert told == (
        "<110>1 2026-11-25T04:00:00.000001Z - guard guard-17 keys.rotate "
        '[guard@32473 idx="7" n="3" id="019a0000-0000-7000-8000-000000000000" tenant="acme" phase="event" '
        'action="keys.rotate" actor="user:local|ana" resource="keys/customers.email" outcome="ok" '
        f'leaf="{leaf}"] \ufeff{entry_text}'
    )


@pytest.mark.parametrize(
    ("result", "pri"),
    [
        ({"status": "ok"}, 110),
        ({"status": "refused", "code": "GRD-AUTHZ-001"}, 108),
        ({"status": "unknown"}, 107),
        ({"status": "something new"}, 109),
        ({}, 109),
    ],
)
def test_the_priority_tells_the_outcome(result, pri):
    head, parameters, _ = parsed(message(row_of(result=result)))
    assert head[0] == str(pri).encode()
    assert parameters.get("code", "") == result.get("code", "")


@pytest.mark.parametrize("hostile", HOSTILE)
def test_no_text_of_a_record_makes_a_second_line_or_leaves_its_quotes(hostile):
    row = row_of(action=hostile, node=hostile, actor={"id": hostile}, resource={"id": hostile}, tenant=hostile)
    told = message(row)
    _, parameters, text = parsed(told)
    assert text == BOM + row.entry
    assert not re.search(rb"[\x00-\x1f\x7f]", told)
    shown = re.sub(
        "[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]", lambda one: f"\\u{ord(one[0]):04x}", hostile
    )
    assert parameters["actor"] == parameters["resource"] == shown


@given(texts, texts, texts, texts, st.integers(0, 2**53 - 1), st.integers(0, 2**53 - 1))
def test_every_record_comes_back(action, actor, resource, tenant, index, n):
    row = row_of(index, n, action=action, actor={"id": actor}, resource={"id": resource}, tenant=tenant)
    head, parameters, text = parsed(message(row))
    assert text == BOM + row.entry
    assert (parameters["idx"], parameters["n"]) == (str(index), str(n))
    assert len(head[5]) <= 32
    assert b"\n" not in message(row)
    assert Row.of(index, text.removeprefix(BOM)) == row


@given(st.lists(texts, max_size=8))
def test_a_file_has_one_line_for_each_record_in_order(found):
    rows = [row_of(number, number, resource={"id": text}) for number, text in enumerate(found)]
    out = io.BytesIO()
    assert write(iter(rows), out) == len(rows)
    assert out.getvalue().split(b"\n")[:-1] == [message(row) for row in rows]
    assert b"".join(map(line, rows)) == out.getvalue()


def test_a_record_without_the_usual_members_is_a_message_too():
    row = Row.of(0, b'{"b":{},"n":0}')
    head, parameters, text = parsed(message(row))
    assert head == (b"109", b"-", b"-", b"guard", b"-", b"-")
    assert parameters.keys() == {"idx", "n", "leaf"}
    assert text == BOM + row.entry


def test_the_format_has_what_its_folder_promises():
    assert (MEDIA_TYPE.partition(";")[0], SUFFIX) == ("text/plain", "log")
    assert rfc5424.__doc__
