"""Random predicates against an interpreter that follows the tree step by step, with none of the compiler's tricks."""

import re
from ipaddress import ip_address, ip_network

from hypothesis import given, settings
from hypothesis import strategies as st

from guard.detect.event import FIELDS, KEYWORD_VIEWS
from guard.detect.predicate import compile_predicate, fields_of, statuses_of
from tests.detect.building import event

LOWER = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")
COMPARE = {
    "lt": lambda a, b: a < b,
    "lte": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "gte": lambda a, b: a >= b,
    "neq": lambda a, b: a != b,
}


def texts(field, each):
    values = [getattr(each, view) for view in (KEYWORD_VIEWS if field is None else FIELDS[field].views)]
    return [str(value) for value in values if value is not None]


def like(parts, text, *, cased):
    pattern = "".join(
        ".*" if part == 0 else "." if part == 1 else re.escape(part if cased else part.translate(LOWER))
        for part in parts
    )
    return re.fullmatch(pattern, text if cased else text.translate(LOWER), re.DOTALL) is not None


def interpret(pred, each):
    ((node, body),) = pred.items()
    match node:
        case "and":
            return all(interpret(part, each) for part in body)
        case "or":
            return any(interpret(part, each) for part in body)
        case "not":
            return not interpret(body, each)
        case "eq":
            return like([str(body["value"])], "", cased=True) or any(
                like([str(body["value"])], text, cased=body["cased"]) for text in texts(body["field"], each)
            )
        case "in":
            return any(
                like([str(value)], text, cased=body["cased"])
                for value in body["values"]
                for text in texts(body["field"], each)
            )
        case "like":
            return any(like(body["parts"], text, cased=body["cased"]) for text in texts(body["field"], each))
        case "keyword":
            return any(like([0, *body["parts"], 0], text, cased=body["cased"]) for text in texts(None, each))
        case "re":
            flags = re.ASCII | sum(
                {"i": re.IGNORECASE, "m": re.MULTILINE, "s": re.DOTALL}[flag] for flag in body["flags"]
            )
            found = texts(body["field"], each)
            if "i" in body["flags"]:  # RE2 folds the Kelvin sign into k
                found = [text.replace("\u212a", "k") for text in found]
            return any(re.search(body["pattern"], text, flags) for text in found)
        case "cmp":
            value = getattr(each, FIELDS[body["field"]].views[0])
            return value is not None and COMPARE[body["op"]](value, body["value"])
        case "exists":
            return (getattr(each, FIELDS[body["field"]].views[0]) is not None) is body["value"]
        case "null":
            return getattr(each, FIELDS[body["field"]].views[0]) is None
        case "cidr":
            address, net = ip_address(each.ip), ip_network(body["network"])
            return address.version == net.version and address in net
    raise AssertionError(node)


words = st.text(st.sampled_from("aAbB./é\u212a1"), min_size=1, max_size=3)
text_fields = st.sampled_from(
    ["cs-method", "cs-uri-stem", "cs-uri-query", "cs-username", "cs-user-agent", "cs-referer", "c-uri-extension"]
)
numbers = st.sampled_from([0, 1, 200, 404])
parts = st.lists(st.one_of(words, st.sampled_from([0, 1])), min_size=1, max_size=4)

leaves = st.one_of(
    st.builds(lambda f, v, c: {"eq": {"field": f, "value": v, "cased": c}}, text_fields, words, st.booleans()),
    st.builds(
        lambda f, v, c: {"in": {"field": f, "values": v, "cased": c}},
        text_fields,
        st.lists(words, min_size=1, max_size=4),
        st.booleans(),
    ),
    st.builds(lambda v: {"eq": {"field": "sc-status", "value": v, "cased": False}}, numbers),
    st.builds(
        lambda v: {"in": {"field": "sc-status", "values": v, "cased": False}}, st.lists(numbers, min_size=1, max_size=3)
    ),
    st.builds(lambda f, p, c: {"like": {"field": f, "parts": p, "cased": c}}, text_fields, parts, st.booleans()),
    st.builds(
        lambda p: {"like": {"field": "sc-status", "parts": p, "cased": False}},
        st.lists(st.sampled_from(["4", "0", "20", 0, 1]), min_size=1, max_size=3),
    ),
    st.builds(lambda p, c: {"keyword": {"parts": p, "cased": c}}, parts, st.booleans()),
    st.builds(
        lambda f, p, x: {"re": {"field": f, "pattern": p, "flags": x}},
        text_fields,
        st.sampled_from(["a+b", "^a", "b$", "[^a]", "a|1", r"\w", r"\d", "(a)(b)?", "A"]),
        st.sampled_from(["", "i", "ims"]),
    ),
    st.builds(
        lambda o, v: {"cmp": {"field": "sc-status", "op": o, "value": v}}, st.sampled_from(sorted(COMPARE)), numbers
    ),
    st.builds(lambda f, v: {"exists": {"field": f, "value": v}}, text_fields, st.booleans()),
    st.builds(lambda f: {"null": {"field": f}}, text_fields),
    st.builds(
        lambda n: {"cidr": {"field": "c-ip", "network": n}},
        st.sampled_from(["198.51.100.0/25", "0.0.0.0/0", "2001:db8::/33", "::/0"]),
    ),
)
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(lambda p: {"and": p}, st.lists(inner, min_size=1, max_size=4)),
        st.builds(lambda p: {"or": p}, st.lists(inner, min_size=1, max_size=6)),
        st.builds(lambda p: {"not": p}, inner),
    ),
    max_leaves=12,
)

maybe = st.one_of(st.none(), st.text(st.sampled_from("aAbB./é\u212aK1\n"), max_size=6))
requests = st.builds(
    lambda ip, user, status, method, path, query, agent, referer: event(
        0,
        ip,
        user,
        status,
        path,
        user_key=user and user.lower(),
        method=method,
        query=query,
        target=path,
        decoded=path and path.replace("b", "a"),
        path_raw=path and path.upper(),
        ua=agent,
        referer=referer,
    ),
    st.sampled_from(["198.51.100.1", "198.51.100.200", "2001:db8::1", "2001:db8:8000::1"]),
    maybe,
    st.one_of(st.none(), numbers),
    *[maybe] * 5,
)


@settings(max_examples=400)
@given(trees, st.lists(requests, min_size=1, max_size=6))
def test_a_compiled_predicate_says_what_its_tree_says(tree, asked):
    test = compile_predicate(tree)
    for each in (*asked, *asked):
        assert test(each) == interpret(tree, each)


@settings(max_examples=200)
@given(trees, requests)
def test_the_pre_filter_by_status_never_hides_a_match(tree, each):
    statuses = statuses_of(tree)
    if statuses is not None and each.status not in statuses:
        assert not interpret(tree, each)


@settings(max_examples=200)
@given(trees, requests, maybe, maybe)
def test_fields_that_a_predicate_does_not_name_do_not_matter(tree, each, user, agent):
    named = fields_of(tree)
    changed = each
    if not named & {"cs-username", "*"}:
        changed = changed._replace(user=user, user_key=user)
    if not named & {"cs-user-agent", "*"}:
        changed = changed._replace(ua=agent)
    assert interpret(tree, each) == interpret(tree, changed)
    assert compile_predicate(tree)(each) == compile_predicate(tree)(changed)
