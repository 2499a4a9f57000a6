"""What stands on standard input of `guard fields search | tokens | claim`: lines, ends of lines, nothing at all."""

import json

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.cli.fields_search import _wanted
from guard.errors import InvalidInput

EMAIL, NUMBER = "customers.email", "customers.identity_number"


def told(done):
    """What stands on standard error, as one line."""
    return " ".join(done.stderr.decode().split())


@pytest.mark.parametrize(
    ("kind", "text", "wanted"),
    [
        ("", "ana", {"value": "ana"}),
        ("exact", "low..high", {"value": "low..high"}),
        ("prefix", "a=b\nc=d", {"value": "a=b\nc=d"}),
        ("suffix", "", {"value": ""}),
        ("range", "1..2", {"low": "1", "high": "2"}),
        ("range", " 1 .. 2 ", {"low": "1", "high": "2"}),
        ("range", "..2", {"high": "2"}),
        ("range", "1..", {"low": "1"}),
        ("range", "..", {}),
        ("range", "-5..-1", {"low": "-5", "high": "-1"}),
        ("compound", "", {"value": ""}),
        ("compound", "ana", {"value": "ana"}),
        ("compound", "ana\ncity=Porto", {"value": "ana", "values": {"city": "Porto"}}),
        ("compound", "ana\r\ncity=Porto\r\nzip=1", {"value": "ana", "values": {"city": "Porto", "zip": "1"}}),
        ("compound", "ana\n\ncity = Porto=x \n", {"value": "ana", "values": {"city": " Porto=x "}}),
        ("compound", "a\u2028b\ncity=c\x0bd\x1ce\x85f", {"value": "a\u2028b", "values": {"city": "c\x0bd\x1ce\x85f"}}),
    ],
)
def test_what_each_text_asks_for(kind, text, wanted):
    assert _wanted(kind, text) == wanted


@given(
    st.text(st.characters(exclude_characters="\r\n", codec="utf-8"), max_size=20), st.text("abc\x0b\x85 =", max_size=9)
)
@settings(max_examples=200)
def test_a_value_of_one_line_arrives_whole(own, other):
    assert _wanted("compound", f"{own}\ncity={other}") == {"value": own, "values": {"city": other}}


@pytest.mark.parametrize(
    ("kind", "text"), [("range", ""), ("range", "1-2"), ("compound", "ana\nPorto"), ("compound", "\nx")]
)
def test_what_says_nothing_is_refused_without_its_text(kind, text):
    with pytest.raises(InvalidInput) as caught:
        _wanted(kind, text)
    assert "Porto" not in caught.value.detail
    assert not isinstance(caught.value, typer.Exit)


@pytest.mark.parametrize("verb", [("claim", NUMBER), ("tokens", EMAIL)])
@pytest.mark.parametrize("stdin", [b"", b"\n", b"\r\n", b"   "])
def test_nothing_on_standard_input_is_one_sentence_and_no_trace(dev, verb, stdin):
    done = dev.run("fields", *verb, "--row", "31", stdin=stdin)
    assert done.returncode == 2, done.stdout
    assert "Traceback" not in done.stderr.decode()
    assert "leaves nothing" in told(done) or "Expected" in told(done) or "e-mail address" in told(done)


@pytest.mark.parametrize(
    ("arguments", "stdin", "code", "message"),
    [
        (("fields", "search", "customers.nothing"), b"x", 2, "Expected a field of the field policy"),
        (("fields", "search", EMAIL, "--index", "other"), b"a@b.example", 2, "got other"),
        (("fields", "search", EMAIL, "--kind", "fuzzy"), b"a@b.example", 2, "none of the allowed words"),
        (("fields", "search", EMAIL, "--purpose", "marketing"), b"a@b.example", 5, "Expected one of the purposes"),
        (("fields", "search", EMAIL, "--source", "nowhere"), b"a@b.example", 2, "Expected a source of this tenant"),
        (("fields", "claim", EMAIL, "--row", "1"), b"a@b.example", 2, "Expected a unique index of customers.email"),
        (("fields", "release", EMAIL, "--row", "1"), b"", 2, "Expected a unique index of customers.email"),
        (("fields", "plan", "--policy", "/nowhere.yaml"), b"", 2, "Expected to read /nowhere.yaml as UTF-8"),
        (("indexes", "rotate", "customers.email.nothing"), b"", 3, "Expected the whole name of an index"),
        (("indexes", "retire", "customers.email.exact", "99"), b"", 3, "Expected a live version"),
        (("indexes", "retire", "customers.email.exact", "zero"), b"", 2, "as an integer"),
        (("indexes", "build", "nowhere", EMAIL), b"", 2, "Expected a source of this tenant"),
        (("budgets", "thaw", "svc:nobody", "customers.email.exact"), b"", 3, "Expected a principal that searched"),
        (("budgets", "thaw", "svc:nobody", "Customers"), b"", 2, ""),
    ],
)
def test_what_does_not_fit_has_its_exit_code_and_sentence(dev, arguments, stdin, code, message):
    done = dev.run(*arguments, stdin=stdin)
    assert (done.returncode, "Traceback" in done.stderr.decode()) == (code, False), told(done)
    assert message in told(done)
    assert "a@b.example" not in told(done)


def test_a_source_is_indexed_and_searched_from_the_command_line(dev):
    built = json.loads(dev.run("indexes", "build", "customers", EMAIL, "--again", "-o", "json").stdout)
    assert built["done"]
    assert built["failed"] == 0
    done = dev.run("fields", "search", EMAIL, "--source", "customers", "-o", "json", stdin=b"nobody@example.org")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"] == []


def test_what_a_service_stores_is_listed_and_lifted_under_the_name_that_is_shown(dev):
    dev.json("fields", "tokens", EMAIL, "--row", "5", "-o", "json", stdin=b"ben@example.org")
    listed = dev.json("budgets", "list", "-o", "json")["data"]
    [stored] = [one for one in listed if one["index"] == f"{EMAIL}.exact:store"]
    assert stored["day"] >= 1
    lifted = dev.json("budgets", "thaw", stored["principal"], stored["index"], "-o", "json")
    assert lifted == {"principal": stored["principal"], "index": stored["index"], "frozen": False}
    left = dev.json("budgets", "list", "-o", "json")["data"]
    assert stored["index"] not in {one["index"] for one in left if one["principal"] == stored["principal"]}
