"""`guard fields search | tokens | plan | claim`, `guard indexes` and `guard budgets`, typed as a person types them."""

import json

import pytest

EMAIL, NUMBER = "customers.email", "customers.identity_number"
POLICY = """
version: 1
table: people
rows: 1000000
columns:
  born: {class: birth, suite: cbl256, bind: [row], mask: none, purposes: [support], entropy: 15, index: [
    {name: range, kind: range, of: date, low: "1900-01-01", high: "2030-12-31", bits: 24, shows_order: FLAG}]}
"""


def told(done):
    """What stands on standard error, as one line."""
    return " ".join(done.stderr.decode().split())


def answer(done):
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_tokens_of_a_row_are_what_a_search_asks_for(dev):
    stored = answer(dev.run("fields", "tokens", EMAIL, "--row", "17", "-o", "json", stdin=b"ana@example.org"))
    asked = answer(dev.run("fields", "search", EMAIL, "--kind", "exact", "-o", "json", stdin=b" ANA@example.org\n"))
    assert stored["indexes"][0]["tokens"][0] in {one["token"] for one in asked["tokens"]}


@pytest.mark.parametrize(
    ("kind", "stdin", "message"),
    [
        ("range", "1980-01-01", "Expected a range as low..high on standard input"),
        ("range", "1980-01-01..1984-12-31", "Expected an index of customers.email, got of kind range"),
        ("compound", "ana\nPorto", "Expected column=value on each line behind the first"),
        ("exact", "nobody", "An e-mail address has a local part"),
        ("exact", "", "Expected a value of 1 to"),
    ],
)
def test_what_does_not_fit_is_one_sentence_and_repeats_no_value(dev, kind, stdin, message):
    done = dev.run("fields", "search", EMAIL, "--kind", kind, stdin=stdin.encode())
    assert done.returncode == 2
    assert message in told(done)
    assert not stdin or stdin not in told(done)


def test_a_plan_is_read_before_it_is_loaded(dev, tmp_path):
    (tmp_path / "people.yaml").write_text(POLICY.replace("FLAG", "true"))
    [planned] = answer(dev.run("fields", "plan", "--policy", str(tmp_path / "people.yaml"), "-o", "json"))["data"]
    assert (planned["row_bits"], planned["tokens_per_query"]) == ("15 of 18", 32)
    (tmp_path / "people.yaml").write_text(POLICY.replace("FLAG", "false"))
    done = dev.run("fields", "plan", "--policy", str(tmp_path / "people.yaml"))
    assert done.returncode == 2
    assert "people.yaml:7: expected 'shows_order: true'" in told(done)


def test_a_value_is_claimed_once_and_released(dev):
    claimed = ("fields", "claim", NUMBER, "--row")
    assert answer(dev.run(*claimed, "1", "-o", "json", stdin=b"CD987654"))["tokens"] >= 1
    done = dev.run(*claimed, "2", stdin=b"CD987654")
    assert done.returncode == 6
    assert "CD987654" not in told(done)
    assert answer(dev.run("fields", "release", NUMBER, "--row", "1", "-o", "json"))["tokens"] >= 1
    assert answer(dev.run(*claimed, "2", "-o", "json", stdin=b"CD987654"))["row"] == "2"
    dev.run("fields", "release", NUMBER, "--row", "2")


def test_who_looked_up_how_much_is_listed(dev):
    answer(dev.run("fields", "search", EMAIL, "-o", "json", stdin=b"ana@example.org"))
    listed = answer(dev.run("budgets", "list", "-o", "json"))["data"]
    assert any(one["index"] == "customers.email.exact" and one["day"] >= 1 for one in listed)
    assert answer(dev.run("indexes", "list", "-o", "json"))["data"][0]["current"]
