"""Policy files: rows as they are read, and what each bad row says, with its file and line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.access.policy import MAX_DEPTH, parse_rows
from guard.errors import InvalidPolicy
from tests.access.building import FOLDER, SHIPPED, ask, grant, rows_of, snapshot_of

GOOD = "p, role:support, *, fields/*/support, fields.mask, allow"


def test_rows_are_read_with_their_places_and_comments_are_not():
    text = f"# a comment\n\n  {GOOD}  \n\t# another\np,role:support,*,keys/**,*,deny\ng, role:lead, role:support, *\n"
    rows = parse_rows(text, "roles.csv")
    assert rows.rules == (
        ("role:support", "fields/*/support", "fields.mask", "allow", "roles.csv:3"),
        ("role:support", "keys/**", "*", "deny", "roles.csv:5"),
    )
    assert rows.links == (("role:lead", "role:support"),)
    assert rows.roles == {"role:support", "role:lead"}


BAD = {
    "an unknown kind": ("x, role:a, role:b, *", "starts with p or g, got 'x'"),
    "a second policy type": ("p2, role:a, *, a, a.b, allow", "starts with p or g, got 'p2'"),
    "upper case": ("P, role:a, *, a, a.b, allow", "starts with p or g, got 'P'"),
    "a text": ("this is no policy", "starts with p or g"),
    "too few columns": ("p, role:a, *, keys/**, allow", "got 4 columns"),
    "too many columns": (GOOD + ", more", "got 6 columns"),
    "a user for a role": ("p, user:local|ana, *, a, a.b, allow", "a role such as role:support, got 'user:local|ana'"),
    "a bare role": ("p, support, *, a, a.b, allow", "a role such as role:support, got 'support'"),
    "a role of capitals": ("p, role:Support, *, a, a.b, allow", "a role such as"),
    "an empty role": ("p, , *, a, a.b, allow", "a role such as role:support, got ''"),
    "a named tenant": ("p, role:a, acme, a, a.b, allow", "* as tenant, got 'acme'"),
    "an empty tenant": ("p, role:a, , a, a.b, allow", "* as tenant, got ''"),
    "an empty resource": ("p, role:a, *, , a.b, allow", "a resource pattern, got ''"),
    "dots in a resource": ("p, role:a, *, a/../b, a.b, allow", "a resource pattern, got 'a/../b'"),
    "stars inside": ("p, role:a, *, **/a, a.b, allow", "a resource pattern"),
    "a regular expression": ("p, role:a, *, keys/(a+)+, a.b, allow", "a resource pattern"),
    "a trailing slash": ("p, role:a, *, keys/, a.b, allow", "a resource pattern"),
    "a resource with a blank": ("p, role:a, *, a b, a.b, allow", "a resource pattern"),
    "an action without a verb": (
        "p, role:a, *, a, keys, allow",
        "an action pattern such as keys.rotate or keys.*, got 'keys'",
    ),
    "a star for a noun": ("p, role:a, *, a, *.read, allow", "an action pattern"),
    "an effect of capitals": ("p, role:a, *, a, a.b, Allow", "allow or deny, got 'Allow'"),
    "an empty effect": ("p, role:a, *, a, a.b, ", "allow or deny, got ''"),
    "an effect of one's own": ("p, role:a, *, a, a.b, maybe", "allow or deny, got 'maybe'"),
    "quotes": ('p, "role:a", *, a, a.b, allow', "a role such as"),
    "a link of two columns": ("g, role:a, role:b", "expected g, role:member, role:parent, *"),
    "a link in one tenant": ("g, role:a, role:b, acme", "expected g, role:member, role:parent, *"),
    "a link of a user": ("g, user:local|ana, role:b, *", "expected g, role:member, role:parent, *"),
    "an empty link": ("g, , , *", "expected g, role:member, role:parent, *"),
}


@pytest.mark.parametrize(("row", "expected"), BAD.values(), ids=BAD)
@pytest.mark.parametrize("line", [1, 7])
def test_a_bad_row_names_its_file_and_line_and_what_was_expected(row, expected, line):
    text = "# comment\n" * (line - 1) + row + f"\n{GOOD}\n"
    with pytest.raises(InvalidPolicy) as refusal:
        parse_rows(text, "policies/access/roles.csv")
    assert refusal.value.detail.startswith(f"policies/access/roles.csv:{line}: expected ")
    assert expected in refusal.value.detail
    assert refusal.value.detail.endswith(".")


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n", "g, role:a, role:b, *\n"])
def test_a_policy_without_rules_is_refused_since_nobody_could_do_anything(text):
    with pytest.raises(InvalidPolicy, match=r"roles\.csv: expected at least one p row, got none"):
        parse_rows(text, "roles.csv")


@given(st.text(max_size=200))
def test_any_text_is_rows_or_refused(text):
    with pytest.raises(InvalidPolicy):
        parse_rows("x" + text, "roles.csv")


# the role graph


CYCLES = [["a a"], ["a b", "b a"], ["a b", "b c", "c a"], ["x a", "a b", "b c", "c b"], ["a b", "a c", "c d", "d a"]]


@pytest.mark.parametrize("links", CYCLES, ids=[" ".join(links) for links in CYCLES])
def test_a_cycle_is_refused_and_printed(links):
    with pytest.raises(InvalidPolicy, match="without cycles") as refusal:
        rows_of("p a x a.b", *(f"g {link}" for link in links))
    path = refusal.value.detail.split(" got ")[1].split(";")[0].split(" -> ")
    assert len(path) != len(set(path))


def chain(length):
    """Roles r1 -> r2 -> ... of this many roles; the last one may read, and must not write."""
    links = [f"g r{number} r{number + 1}" for number in range(1, length)]
    return rows_of(
        f"p r{length} notes/** notes.read",
        f"p r{length} notes/** notes.write deny",
        "p r1 notes/** notes.write",
        *links,
    )


@pytest.mark.parametrize("length", range(1, MAX_DEPTH + 1))
def test_every_legal_depth_is_followed_to_its_end_for_allows_and_for_denies(length):
    snapshot = snapshot_of(chain(length), grant("svc:x", "r1"))
    assert ask(snapshot, "svc:x", "notes.read", "notes/a").allow
    assert not ask(snapshot, "svc:x", "notes.write", "notes/a").allow
    assert ask(snapshot, "svc:x", "notes.read", "notes/a").path == (
        "svc:x",
        *(f"role:r{n}" for n in range(1, length + 1)),
    )


def test_a_role_deeper_than_casbin_follows_is_refused_and_not_cut_off():
    with pytest.raises(InvalidPolicy, match="at most 9 deep, got role:r1 -> role:r2"):
        chain(MAX_DEPTH + 1)


def test_a_diamond_is_no_cycle():
    rows = rows_of("p top notes/** notes.read", "g a left", "g a right", "g left top", "g right top")
    assert ask(snapshot_of(rows, grant("svc:x", "a")), "svc:x", "notes.read", "notes/a").allow


def test_the_shipped_policy_is_read_and_names_no_role_twice_in_one_rule():
    assert len(SHIPPED.rules) == len({rule[:4] for rule in SHIPPED.rules})
    assert len(SHIPPED.links) == len(set(SHIPPED.links))
    assert SHIPPED.roles >= {"role:member", "role:platform-admin", "role:tenant-admin", "role:auditor"}
    assert (FOLDER / "model.conf").is_file()
