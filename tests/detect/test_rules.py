import json
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.detect.engine import Engine
from guard.detect.rules import SINGLE_EVENT_SPAN_US, canonical_json, load_rules, parse_rules
from guard.errors import InvalidRule
from tests.detect.building import HEAD, SECOND, counting, distinct, event, plain, replay

DETECTION = "{sel: {cs-method: GET}, condition: sel}"


def correlation(body, guard="", head=HEAD):
    return f"{head}---\ntitle: C\nname: c\ncorrelation: {{{body}}}\n{guard}"


GOOD = "type: event_count, rules: [hit], group-by: [c-ip], timespan: 10s, condition: {gte: 3}"


def test_a_rule_says_what_it_means_in_canonical_form():
    rule = distinct("{field: cs-username, gt: 20}", span="5m", guard="{action: {type: ban}, shadow: false}")
    assert json.loads(canonical_json(rule.ir)) == {
        "inputs": [{"name": "0", "pred": {"exists": {"field": "c-ip", "value": True}}}],
        "key": ["c-ip"],
        "ipv6_prefix": 64,
        "window": {"kind": "sliding", "span_us": 300_000_000, "gap_us": None},
        "agg": {"fn": "value_count", "field": "cs-username"},
        "cond": [["gt", 20]],
        "caps": {"max_groups": 100_000, "max_distinct": 4_096},
        "approx": False,
    }
    assert len(rule.rule_hash) == 32


def test_a_plain_rule_counts_single_events_and_joins_those_close_together():
    rule = plain(DETECTION)
    assert (rule.ir["key"], rule.ir["cond"]) == (["c-ip"], [["gte", 1]])
    assert rule.ir["window"]["span_us"] == SINGLE_EVENT_SPAN_US
    assert rule.ir["inputs"][0]["pred"] == {"eq": {"field": "cs-method", "value": "GET", "cased": False}}
    assert plain(DETECTION, "{entity: cs-username}").ir["key"] == ["cs-username"]


def test_a_new_title_or_action_is_not_a_new_rule_but_a_new_meaning_is():
    text = correlation(GOOD)
    one = parse_rules(text, "a.yaml")[0]
    same = [
        text.replace("title: C", "title: Other\nlevel: high\ndescription: words"),
        text.replace("title: Hit\nname: hit", "title: Renamed\nname: other").replace("[hit]", "[other]"),
        text + "guard: {action: {type: ban}, shadow: false, evidence: {lines: 4}}\n",
    ]
    different = [
        text.replace("gte: 3", "gte: 4"),
        text.replace("gte: 3", "gt: 3"),
        text.replace("10s", "11s"),
        text.replace("group-by: [c-ip]", "group-by: [cs-username]"),
        text.replace("exists: true", "exists: false"),
        text + "guard: {ipv6_prefix: 56}\n",
        text + "guard: {max_groups: 5}\n",
    ]
    assert {parse_rules(each, "b.yaml")[0].rule_hash for each in same} == {one.rule_hash}
    hashes = [parse_rules(each, "b.yaml")[0].rule_hash for each in different]
    assert len({one.rule_hash, *hashes}) == len(different) + 1


def test_the_order_of_a_list_or_of_inputs_is_not_a_new_rule():
    a = plain("{sel: {sc-status: [401, 403]}, condition: sel}")
    b = plain("{sel: {sc-status: [403, '401', 401]}, condition: sel}")
    assert a.rule_hash == b.rule_hash
    two = HEAD + "---\ntitle: Two\nname: two\nlogsource: {category: webserver}\ndetection: " + DETECTION + "\n"
    first = parse_rules(correlation(GOOD.replace("[hit]", "[hit, two]"), head=two), "a.yaml")[0]
    second = parse_rules(correlation(GOOD.replace("[hit]", "[two, hit]"), head=two), "a.yaml")[0]
    assert first.rule_hash == second.rule_hash


def test_a_two_sided_condition_keeps_both_sides():
    assert counting("{gte: 5, lte: 9}").ir["cond"] == [["lte", 9], ["gte", 5]]


def test_inputs_do_not_fire_on_their_own_unless_they_say_so():
    assert [rule.name for rule in parse_rules(correlation(GOOD), "a.yaml")] == ["c"]
    with_block = correlation(GOOD, head=HEAD + "guard: {shadow: true}\n")
    assert [rule.name for rule in parse_rules(with_block, "a.yaml")] == ["hit", "c"]
    generating = correlation(GOOD + ", generate: true")
    assert [rule.name for rule in parse_rules(generating, "a.yaml")] == ["hit", "c"]


def test_rules_refer_across_files_by_name_and_by_id():
    head = HEAD + "id: 6f1c2b5e-0001-4d5a-9a11-000000000001\n"
    by_id = correlation(GOOD.replace("[hit]", "6f1c2b5e-0001-4d5a-9a11-000000000001"), head="")
    rules = load_rules([("b.yaml", by_id), ("a.yaml", head)])
    assert [(rule.name, rule.file) for rule in rules] == [("c", "b.yaml")]
    with pytest.raises(InvalidRule, match=r"^b\.yaml: rule 'C': it refers to"):
        parse_rules(by_id, "b.yaml")


def test_names_fall_back_to_id_and_title():
    body = f"logsource: {{category: webserver}}\ndetection: {DETECTION}\n"
    assert parse_rules("title: Some words\n" + body, "a.yaml")[0].name == "Some words"
    rule = parse_rules("title: T\nid: 6F1C2B5E-0001-4D5A-9A11-000000000001\n" + body, "a.yaml")[0]
    assert UUID(rule.name) == UUID(rule.id)


def test_what_the_rule_tells_people():
    rule = parse_rules(
        f"title: T\nlogsource: {{category: webserver}}\ndetection: {DETECTION}\nlevel: critical\ndescription: d\n"
        "references: [https://x.example]\nfalsepositives: [tests]\nsimulation: kept by other tools\n",
        "a.yaml",
    )[0]
    assert (rule.level, rule.description, rule.references, rule.falsepositives) == (
        "critical",
        "d",
        ("https://x.example",),
        ("tests",),
    )


FILTER = """---
title: Own probes
logsource: {category: webserver}
filter: {rules: %s, probes: {c-ip|cidr: 192.0.2.0/28}, condition: not probes}
"""


@pytest.mark.parametrize("chosen", ["[hit]", "hit", "any"])
def test_a_filter_excludes_from_the_rules_it_names(chosen):
    rule = parse_rules(HEAD + FILTER % chosen, "a.yaml")[0]
    test = Engine([rule])._matcher.watches[0].test
    assert test(event(0, ip="192.0.2.16"))
    assert not test(event(0, ip="192.0.2.15"))


def test_filters_reach_the_inputs_of_correlations_and_no_other_rule():
    other = f"---\ntitle: O\nname: other\nlogsource: {{category: webserver}}\ndetection: {DETECTION}\n"
    plain_text = correlation(GOOD) + other
    unfiltered = {rule.name: rule.rule_hash for rule in parse_rules(plain_text, "a.yaml")}
    filtered = {rule.name: rule.rule_hash for rule in parse_rules(plain_text + FILTER % "[hit]", "a.yaml")}
    assert unfiltered["c"] != filtered["c"]
    assert unfiltered["other"] == filtered["other"]


def test_filters_with_several_names_and_selectors():
    text = (
        HEAD
        + "---\ntitle: F\nlogsource: {category: webserver}\nfilter: {rules: [hit], a1: {cs-method: GET}, a2: {sc-status: 200}, condition: not 1 of a*}\n"
    )
    test = Engine(parse_rules(text, "a.yaml"))._matcher.watches[0].test
    assert not test(event(0))
    assert not test(event(0, method="PUT"))
    assert test(event(0, method="PUT", status=500))


PLAIN = "title: Bad\nlogsource: {category: webserver}\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        # documents
        ("title: [", "not valid YAML"),
        ("title: a\ntitle: b", 'found duplicate key "title"'),
        (f"{PLAIN}detection: {{sel: {{cs-method: GET, cs-method: PUT}}, condition: sel}}", "duplicate key"),
        ("- a\n- b", "is a rule as a mapping"),
        ("just text", "is a rule as a mapping"),
        ("a: &a [1]\nb: !!python/object:os.system x", "not valid YAML"),
        ("date: 2024-13-45", "not valid YAML"),
        ("x" * (1 << 20) + "x", "characters; at most"),
        ("---\na: 1\n" * 1001, "documents; at most"),
        ("a: &a {b: *a}", "unfolds into more than"),
        (
            "a: &a [1,2,3,4,5,6,7,8,9]\n"
            + "".join(
                f"{c}: &{c} [{', '.join('*' + p for _ in range(9))}]\n" for p, c in zip("abcdef", "bcdefg", strict=True)
            ),
            "unfolds",
        ),
        # Sigma
        ("logsource: {category: webserver}", "not valid Sigma"),
        (PLAIN, "not valid Sigma"),
        (f"{PLAIN}detection: {{sel: {{cs-method: GET}}}}", "not valid Sigma"),
        (f"{PLAIN}detection: {{sel: {{cs-method: GET}}, condition: other}}", "not defined"),
        (f"{PLAIN}detection: {{sel: {{cs-method: GET}}, condition: sel |count() > 5}}", "not valid Sigma"),
        (f"{PLAIN}detection: {{sel: {{cs-method|guess: GET}}, condition: sel}}", "Unknown modifier"),
        (f"{PLAIN}detection: {{condition: sel}}", "not valid Sigma"),
        (f"{PLAIN}detection: [1]", "not valid Sigma"),
        (f"{PLAIN}id: 5\ndetection: {DETECTION}", "not valid Sigma"),
        (
            f"title: Bad\nlogsource: {{product: windows, category: process_creation}}\ndetection: {DETECTION}",
            "logsource",
        ),
        (f"title: Bad\ndetection: {DETECTION}", "not valid Sigma"),
        # what request logs cannot answer
        (
            f"{PLAIN}detection: {{sel: {{CommandLine: x}}, condition: sel}}",
            "the field 'CommandLine' is none that request logs carry",
        ),
        (f"{PLAIN}detection: {{sel: {{cs-cookie: x}}, condition: sel}}", "the field 'cs-cookie'"),
        (f"{PLAIN}detection: {{sel: {{cs-method|expand: '%x%'}}, condition: sel}}", "placeholders"),
        (f"{PLAIN}detection: {{sel: {{sc-status|hour: 5}}, condition: sel}}", "time modifiers"),
        (f"{PLAIN}detection: {{sel: {{sc-status: abc}}, condition: sel}}", "can never equal"),
        (f"{PLAIN}detection: {{sel: {{sc-status: 4.5}}, condition: sel}}", "fraction"),
        (f"{PLAIN}detection: {{sel: {{cs-method|gt: 5}}, condition: sel}}", "|gt is for numbers"),
        (f"{PLAIN}detection: {{sel: {{cs-method|cidr: 192.0.2.0/24}}, condition: sel}}", "|cidr is for addresses"),
        (f"{PLAIN}detection: {{sel: {{c-ip|cidr: 192.0.2.1/24}}, condition: sel}}", "not valid Sigma"),
        (f"{PLAIN}detection: {{sel: {{c-ip: 192.0.2.300}}, condition: sel}}", "can never equal"),
        (f"{PLAIN}detection: {{sel: {{sc-status|re: '4..'}}, condition: sel}}", "|re is for texts"),
        (f"{PLAIN}detection: {{sel: {{cs-method: true}}, condition: sel}}", "SigmaBool"),
        (f"{PLAIN}detection: {{sel: {{cs-method|fieldref: sc-status}}, condition: sel}}", "different kinds"),
        (f"{PLAIN}detection: {{sel: {{cs-method|re: '(?=x)'}}, condition: sel}}", "Sigma"),
        (f"{PLAIN}detection: {{sel: {{cs-method|re: '{'a' * 2001}'}}, condition: sel}}", "2001 characters"),
        (f"{PLAIN}detection: {{sel: {{cs-method: []}}, condition: sel}}", "empty list"),
        (f"{PLAIN}detection: {{sel: [{{cs-method: []}}], condition: sel}}", "empty list"),
        (f"{PLAIN}detection: {{sel: {{cs-method: GET}}, condition: '{'not ' * 70}sel'}}", ""),
        # correlations
        (correlation(GOOD.replace("event_count", "temporal")), "the correlation type 'temporal'"),
        (correlation(GOOD.replace("event_count", "value_sum")), "the correlation type 'value_sum'"),
        (correlation(GOOD.replace("event_count", "guard_leaky")), "the correlation type 'guard_leaky'"),
        (correlation(GOOD.replace("[hit]", "[nobody]")), "it refers to 'nobody'"),
        (correlation(GOOD.replace("[hit]", "[c]")), "it refers to 'c'"),
        (correlation(GOOD.replace("[hit]", "[]")), "names no rules"),
        (correlation(GOOD.replace("{gte: 3}", "{gte: 0}")), "the count of gte"),
        (correlation(GOOD.replace("{gte: 3}", "{gte: 2.5}")), "the count of gte"),
        (correlation(GOOD.replace("{gte: 3}", "{gte: true}")), "the count of gte"),
        (correlation(GOOD.replace("{gte: 3}", "{gte: 1000001}")), "the count of gte"),
        (correlation(GOOD.replace("{gte: 3}", "{}")), "one or more of lt"),
        (correlation(GOOD.replace("{gte: 3}", "{gte: 3, percentile: 5}")), "one or more of lt"),
        (correlation(GOOD.replace("{gte: 3}", "{gte: 9, lte: 5}")), "can never be true"),
        (correlation(GOOD.replace("{gte: 3}", "{eq: 0}")), "can never be true"),
        (correlation(GOOD.replace("{gte: 3}", "{lt: 1}")), "can never be true"),
        (correlation(GOOD.replace("{gte: 3}", "{gt: 3, lt: 4}")), "can never be true"),
        (correlation(GOOD.replace("{gte: 3}", "{eq: 3, neq: 3}")), "can never be true"),
        (correlation(GOOD.replace("{gte: 3}", "hit")), "a mapping such as"),
        (correlation(GOOD.replace("{gte: 3}", "{gte: 3, field: c-ip}")), "value_count counts"),
        (correlation(GOOD.replace("event_count", "value_count")), "value_count counts"),
        (
            correlation(GOOD.replace("event_count", "value_count").replace("{gte", "{field: [a, b], gte")),
            "value_count counts",
        ),
        (
            correlation(GOOD.replace("event_count", "value_count").replace("{gte: 3", "{field: c-ip, gte: 5000")),
            "from 1 to 4096",
        ),
        (
            correlation(GOOD.replace("event_count", "value_count").replace("{gte", "{field: cs-uri, gte")),
            "the field 'cs-uri' is none to group by",
        ),
        (correlation(GOOD.replace("[c-ip]", "[cs-cookie]")), "the field 'cs-cookie' is none to group by"),
        (correlation(GOOD.replace("[c-ip]", "[c-ip, c-ip]")), "twice"),
        (correlation(GOOD.replace("10s", "31d")), "longer than 30 days"),
        (correlation(GOOD.replace("10s", "0s")), "not valid Sigma"),
        (correlation(GOOD.replace("10s", "10x")), "not valid Sigma"),
        (correlation(GOOD + ", aliases: {x: {hit: c-ip}}"), "aliases"),
        (HEAD + "---\ntitle: C\ncorrelation: text", "correlation type None"),
        # filters
        (HEAD + FILTER % "[nobody]", "it refers to 'nobody'"),
        (HEAD + (FILTER % "[hit]").replace("category: webserver", "category: proxy"), "its logsource differs"),
        (correlation(GOOD) + FILTER % "[c]", "it refers to 'c'"),
        (HEAD + FILTER % "[hit]" + "guard: {shadow: false}", "a filter has no guard block"),
        # guard blocks and names
        (f"{PLAIN}detection: {DETECTION}\ngaurd: {{shadow: false}}", "looks like guard"),
        (f"{PLAIN}detection: {DETECTION}\nGuard: {{shadow: false}}", "looks like guard"),
        (f"{PLAIN}detection: {DETECTION}\naction: global", "collection key 'action'"),
        (f"{PLAIN}detection: {DETECTION}\nguard: {{shadows: false}}", "unknown key 'shadows'"),
        (
            f"{PLAIN}detection: {DETECTION}\nguard: {{entity: cs-host, action: {{type: ban}}}}",
            "needs c-ip or cs-username",
        ),
        (correlation(GOOD, "guard: {entity: cs-username}"), "not among the group-by fields"),
        (
            correlation(GOOD.replace("group-by: [c-ip], ", ""), "guard: {action: {type: ban}}"),
            "needs c-ip or cs-username",
        ),
        (HEAD + "---\n" + HEAD, "taken by another rule"),
        (
            HEAD + "---\n" + HEAD.replace("name: hit", "name: hat").replace("title: Hit", "title: Hat"),
            "means the same as 'Hit'",
        ),
    ],
)
def test_what_cannot_be_evaluated_exactly_is_refused_with_the_reason(text, reason):
    with pytest.raises(InvalidRule) as refusal:
        parse_rules(text, "bad.yaml")
    message = refusal.value.detail
    assert message.startswith("bad.yaml: ")
    assert reason in message
    assert message.endswith(".")
    assert "\n" not in message
    assert refusal.value.extra["file"] == "bad.yaml"


@pytest.mark.parametrize(
    "condition", ["{gte: 5, lte: 5}", "{gt: 3, lt: 5}", "{lte: 1}", "{neq: 1}", "{eq: 1}", "{gte: 2, neq: 2}"]
)
def test_a_condition_that_some_count_fulfils_is_taken(condition):
    assert counting(condition).ir["cond"]


def test_a_value_count_may_be_zero_since_a_value_may_be_missing():
    (alert,) = replay([distinct("{field: cs-username, eq: 0}")], [event(SECOND), event(99 * SECOND, user="a")])
    assert (alert.t0_us, alert.peak) == (SECOND, 0)


def test_two_rules_of_one_name_are_refused():
    body = "title: Same\nlogsource: {category: webserver}\ndetection: {sel: {cs-method: %s}, condition: sel}\n"
    with pytest.raises(InvalidRule, match="has the name of 'Same'"):
        parse_rules(body % "A" + "---\n" + body % "B", "a.yaml")


def test_a_refusal_names_the_rule():
    with pytest.raises(InvalidRule, match=r"^x\.yaml: rule 'Bad': the field 'nope'"):
        parse_rules(f"{PLAIN}detection: {{sel: {{nope: 1}}, condition: sel}}", "x.yaml")


def test_empty_documents_are_passed_over():
    assert parse_rules("", "a.yaml") == ()
    assert len(parse_rules("---\n" + HEAD + "---\n", "a.yaml")) == 1


words = st.sampled_from(
    [
        "title",
        "x",
        "c-ip",
        "cs-method",
        "sel",
        "condition",
        "detection",
        "logsource",
        "category",
        "webserver",
        "guard",
        "GET",
        "correlation",
        "type",
        "event_count",
        "rules",
        "hit",
        "timespan",
        "10s",
        "gte",
        "filter",
        "any",
        "not sel",
        "cs-uri|re",
        "(",
        "all of them",
    ]
)
values = st.recursive(
    st.one_of(
        words,
        st.integers(-5, 500),
        st.booleans(),
        st.none(),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(max_size=5),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(words, inner, max_size=4)),
    max_leaves=8,
)


@settings(max_examples=200)
@given(st.dictionaries(words, values, max_size=6), st.sampled_from(["detection", "correlation", "filter"]), values)
def test_any_document_loads_or_is_refused_and_nothing_else(document, part, value):
    document = {"title": "T", "logsource": {"category": "webserver"}} | document | {part: value}
    refusal = None
    try:
        rules = parse_rules(json.dumps(document), "fuzz.yaml")
    except InvalidRule as error:
        refusal = error
    if refusal:
        assert refusal.detail.startswith("fuzz.yaml: ")
    else:
        Engine(rules).feed([event(SECOND)], SECOND)


# Target and user agent of a request that the published rule must see, by file.
HIT = {
    "web_f5_tm_utility_bash_api_request.yml": {"method": "POST", "target": "/mgmt/tm/util/bash"},
    "web_iis_tilt_shortname_scan.yml": {"target": "/x*~1*/a.aspx"},
    "web_java_payload_in_access_logs.yml": {"target": "/a?b=${(#a=@x"},
    "web_jndi_exploit.yml": {"ua": "${jndi:ldap://x/Basic/Command/Base64/eA==}"},
    "web_path_traversal_exploitation_attempt.yml": {"target": "/a?f=../../../etc/x"},
    "web_source_code_enumeration.yml": {"target": "/.git/config"},
    "web_sql_injection_in_access_logs.yml": {"target": "/a?b=1%20UNION%20SELECT%202"},
    "web_ssti_in_access_logs.yml": {"target": "/a?b={{7*7}}"},
    "web_susp_useragents.yml": {"ua": "sqlmap/1.8"},
    "web_susp_windows_path_uri.yml": {"target": "/a?f=C%3A%5CWindows%5Cx"},
    "web_webshell_regeorg.yml": {"method": "POST", "target": "/t.aspx?cmd=connect&target=x", "ua": None},
    "web_win_webshells_in_access_logs.yml": {"target": "/s.aspx?c=whoami"},
    "web_xss_in_access_logs.yml": {"target": "/a?b=%3Cscript%3E", "decoded": "/a?b=<script>"},
}


@pytest.mark.parametrize("name", HIT)
def test_published_sigma_rules_are_evaluated(conformance, name):
    path = conformance(f"sigma/{name}")
    (rule,) = parse_rules(path.read_text(encoding="utf-8"), name)
    engine = Engine([rule])
    engine.feed([event(SECOND, **({"decoded": HIT[name].get("target", "/")} | HIT[name]))], 2 * SECOND)
    engine.feed([event(SECOND, ip="198.51.100.9")], 2 * SECOND)
    (hit,) = engine.flush()
    assert hit.alert.key == (("c-ip", "198.51.100.1"),)


def test_no_published_sigma_rule_is_left_out(conformance):
    assert {path.name for path in conformance("sigma").glob("*.yml")} == set(HIT)
