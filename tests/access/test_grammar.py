"""The one grammar of names and patterns: what is canonical, what `*` and `**` mean, and that no input raises."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.access.grammar import (
    ACTION,
    ACTION_PATTERN,
    MAX_SEGMENTS,
    ROLE,
    SUBJECT,
    action_matches,
    is_resource,
    is_resource_pattern,
    resource_matches,
)
from tests.access.building import covers, covers_action

segments = st.text("abC09._~:@|-", min_size=1, max_size=4).filter(lambda text: text not in {".", ".."})
resources = st.lists(segments, min_size=1, max_size=5).map("/".join)
patterns = st.tuples(st.lists(segments | st.just("*"), max_size=4), st.booleans()).map(
    lambda made: "/".join([*made[0], "**"] if made[1] or not made[0] else made[0])
)
actions = st.from_regex(r"[ab]{1,2}\.[ab]{1,2}", fullmatch=True)
action_patterns = st.just("*") | actions | st.from_regex(r"[ab]{1,2}\.\*", fullmatch=True)

CANONICAL = [
    "a",
    "a/b",
    "tenants/~/subjects/user:local|ana",
    "runs/run_01-9.x/role:sme",
    "a" * 128,
    "/".join("a" * 16),
    "...",
    "a..b",
    "a+b",
]
NOT_CANONICAL = [
    *("", "/", "a/", "/a", "a//b", ".", "..", "a/./b", "a/../b", "../a", "a b", "a\n", "a/b\n", "\na", "a\0", "a\t"),
    *("a%2fb", "a%00", "a;x", "a?x", "a#x", "a\\b", "*", "a/*", "**", "a/**", "\u00e9", "\uff0fa", "a\u200b", "\u212a"),
    *("a" * 129, "/".join("a" * 17), "/".join(["a" * 128] * 9), "a,b", "a'b", '"', "{a}", "a$", "(a+)+"),
]


@pytest.mark.parametrize("text", CANONICAL)
def test_a_canonical_resource(text):
    assert is_resource(text)
    assert is_resource_pattern(text)


@pytest.mark.parametrize("text", NOT_CANONICAL, ids=ascii)
def test_what_is_not_canonical_is_refused(text):
    assert not is_resource(text)


@pytest.mark.parametrize("text", ["*", "**", "a/*", "*/b", "*/*", "a/**", "*/**", "a/*/c/**"])
def test_a_pattern(text):
    assert is_resource_pattern(text)
    assert not is_resource(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "**/a",
        "a/**/b",
        "**/**",
        "a*",
        "*a",
        "a/b*",
        "***",
        "a/***",
        "a/",
        "a/../**",
        "/".join("*" * 17),
        "a/?",
        "[a]",
        " *",
    ],
)
def test_what_is_no_pattern(text):
    assert not is_resource_pattern(text)


MATCHES = [
    ("keys/a", "keys/a", True),
    ("keys/a", "keys/b", False),
    ("keys/a", "keys", False),
    ("keys", "keys/a", False),
    ("keys/a", "*", False),
    ("keys", "*", True),
    ("keys/a", "keys/*", True),
    ("keys/a/b", "keys/*", False),
    ("keys", "keys/*", False),
    ("keys/a", "*/a", True),
    ("keys", "keys/**", False),
    ("keys/a", "keys/**", True),
    ("keys/a/b/c", "keys/**", True),
    ("keys", "**", True),
    ("keys/a/b", "**", True),
    ("keys/a", "*/**", True),
    ("keys", "*/**", False),
    ("fields/x/billing", "fields/*/billing", True),
    ("fields/x/y/billing", "fields/*/billing", False),
    ("fields/x/billing/more", "fields/*/billing", False),
    ("keyss/a", "keys/**", False),
    ("key/a", "keys/**", False),
    ("KEYS/a", "keys/**", False),
    ("tenants/acme-evil/x", "tenants/acme/**", False),
    ("tenants/~/x", "tenants/~/**", True),
    ("tenants/acme/x", "tenants/~/**", False),
    ("keys/a/", "keys/*", False),
    ("", "**", True),
    ("", "*", True),
]


@pytest.mark.parametrize(("resource", "pattern", "expected"), MATCHES)
def test_one_star_is_one_segment_and_two_are_one_or_more(resource, pattern, expected):
    assert resource_matches(resource, pattern) is expected


@given(resources, patterns)
def test_matching_is_what_a_recursive_reading_of_the_grammar_says(resource, pattern):
    assert is_resource(resource)
    assert is_resource_pattern(pattern)
    assert resource_matches(resource, pattern) == covers(pattern.split("/"), resource.split("/"))


@given(resources)
def test_a_resource_matches_itself_and_every_generalisation_of_it(resource):
    parts = resource.split("/")
    assert resource_matches(resource, resource)
    for place in range(len(parts)):
        assert resource_matches(resource, "/".join([*parts[:place], "*", *parts[place + 1 :]]))
        assert resource_matches(resource, "/".join([*parts[:place], "**"]))
    assert not resource_matches(resource, resource + "/**")
    assert not resource_matches(resource, resource + "/*")


@given(st.text(), st.text())
def test_matchers_are_total(left, right):
    assert resource_matches(left, right) in {True, False}
    assert action_matches(left, right) in {True, False}
    assert is_resource(left) in {True, False}
    assert is_resource_pattern(left) in {True, False}


@pytest.mark.parametrize(
    ("action", "pattern", "expected"),
    [
        ("keys.rotate", "*", True),
        ("keys.rotate", "keys.*", True),
        ("keys.rotate", "keys.rotate", True),
        ("keys.rotate", "keys.read", False),
        ("keys.rotate", "key.*", False),
        ("keysx.rotate", "keys.*", False),
        ("keys", "keys.*", True),
        ("keys.rotate", "keys", False),
        ("keys.rotate", "*.rotate", False),
        ("keys.rotate", "keys.rot*", False),
        ("", "*", True),
        ("", "keys.*", False),
    ],
)
def test_actions_match_whole_names(action, pattern, expected):
    assert action_matches(action, pattern) is expected


@given(actions, action_patterns)
def test_matching_actions_is_what_a_second_reading_says(action, pattern):
    assert ACTION.fullmatch(action)
    assert ACTION_PATTERN.fullmatch(pattern)
    assert action_matches(action, pattern) == covers_action(pattern, action)


@pytest.mark.parametrize("text", ["keys.rotate", "a", "a1.b_2.c"])
def test_an_action(text):
    assert ACTION.fullmatch(text)


@pytest.mark.parametrize(
    "text",
    ["", "Keys.rotate", "keys.", ".rotate", "keys..rotate", "keys.rotate\n", "keys rotate", "1.a", "keys.*", "*"],
)
def test_what_is_no_action(text):
    assert not ACTION.fullmatch(text)


@pytest.mark.parametrize(
    "text", ["user:local|ana", "user:corp-sso|Ana.Q+x@example.org", "svc:billing", "group:on-call", "system:worker"]
)
def test_a_subject_can_stand_as_a_segment_of_a_resource(text):
    assert SUBJECT.fullmatch(text)
    assert is_resource(f"tenants/~/subjects/{text}")


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "ana",
            "role:support",
            "user:ana",
            "user:|ana",
            "user:local|",
            "user:local|a b",
            "svc:",
            "svc:Billing",
            "*",
        ),
        *(
            "user:local|ana\n",
            "svc:a/b",
            "user:LOCAL|ana",
            "user:local|" + "a" * 65,
            "svc:" + "a" * 65,
            "group:-x",
            "user:local|an\u00e4",
        ),
    ],
    ids=ascii,
)
def test_what_is_no_subject(text):
    assert not SUBJECT.fullmatch(text)


def test_a_role_is_never_a_subject():
    for text in ("role:support", "role:platform-admin"):
        assert ROLE.fullmatch(text)
        assert not SUBJECT.fullmatch(text)


def test_the_longest_resource_is_matched_quickly():
    longest = "/".join(["a" * 63] * MAX_SEGMENTS)
    assert is_resource(longest)
    assert resource_matches(longest, "/".join(["*"] * MAX_SEGMENTS))
