import csv
import json
from urllib.parse import quote

import pytest

from guard.detect.address import NeverBan
from guard.detect.block import ActionType
from guard.detect.decide import decide
from guard.detect.engine import Engine
from guard.detect.predicate import compile_predicate
from guard.detect.rules import parse_rules
from guard.detect.ruletest import run_rule_tests
from tests.detect.building import POLICIES, SECOND, counting, event, events_of, replay, shipped

RULES = {rule.name: rule for rule in shipped()}


def test_what_is_shipped():
    assert {name: (rule.action.type, rule.shadow.acting_percent == 100) for name, rule in RULES.items()} == {
        "request_flood": (ActionType.THROTTLE, True),
        "credential_stuffing": (ActionType.BAN, True),
        "account_spread": (ActionType.STEP_UP, False),
        "login_bruteforce": (ActionType.THROTTLE, True),
        "scan_404": (ActionType.BAN, True),
        "sensitive_files": (ActionType.BAN, True),
        "sqli_probe": (ActionType.BAN, True),
        "traversal_probe": (ActionType.BAN, True),
    }
    assert RULES["credential_stuffing"].action.runbook == "credential-stuffing"


@pytest.mark.parametrize("path", sorted(POLICIES.glob("*.yaml")), ids=lambda path: path.name)
def test_every_file_loads_by_itself(path):
    assert parse_rules(path.read_text(), path.name)


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_a_shipped_rule_explains_itself(rule):
    assert len(rule.description) > 60
    assert any("automated-threats" in reference for reference in rule.references)
    assert rule.falsepositives
    assert rule.level in {"medium", "high", "critical"}
    assert any(test.expect for test in rule.tests)
    assert any(not test.expect for test in rule.tests)


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_the_tests_that_a_rule_carries_pass(rule):
    assert run_rule_tests(rule) == []
    assert run_rule_tests(rule, [other for other in RULES.values() if other is not rule]) == []


def test_a_rule_test_that_should_fail_does():
    line = '198.51.100.1 - - [01/Jan/2026:00:00:00 +0000] "GET / HTTP/1.1" 200 1 "-" "-"'

    def rule(expect, text=line):
        return counting("{gte: 1}", guard=f"{{tests: [{{name: n, lines: ['{text}'], expect: {expect}}}]}}")

    assert run_rule_tests(rule("[{key: 198.51.100.1, t0_ms: 0, count: 1}]")) == []
    assert run_rule_tests(rule("[]")) == ["counting, n: an alert with peak 1 was not expected."]
    assert run_rule_tests(rule("[{key: 198.51.100.2}]")) == [
        "counting, n: an alert with peak 1 was not expected.",
        "counting, n: an expected alert is missing (count None).",
    ]
    assert len(run_rule_tests(rule("[{key: 198.51.100.1, count: 2}]"))) == 2
    assert len(run_rule_tests(rule("[{key: 198.51.100.1, t0_ms: 1}]"))) == 2
    assert run_rule_tests(rule("[]", "nonsense")) == ["counting, n: line 1 is no combined log line (head)."]


def test_ten_thousand_real_lines_ban_nobody(apache_log):
    events, rejected = events_of(apache_log)
    assert rejected == []
    alerts = replay(RULES.values(), events)
    assert [(alert.rule, alert.key) for alert in alerts] == []


def test_real_lines_do_reach_the_rules(apache_log):
    """The silence above is not that of rules that never match: some lines match, too few of one client."""
    events, _ = events_of(apache_log)
    matched = dict.fromkeys(RULES, 0)
    engine = Engine(list(RULES.values()))
    for each in events:
        for runtime in engine._matcher.waiting_for(each):
            matched[runtime.rule.name] += 1
    assert matched["request_flood"] == 10_000
    assert matched["scan_404"] > 50
    assert matched["sqli_probe"] == 0


def hits(rule_name, events):
    test = compile_predicate(RULES[rule_name].ir["inputs"][0]["pred"])
    return sum(map(test, events))


def requests_with(payloads):
    lines = [
        f'198.51.100.1 - - [01/Jan/2026:00:00:00 +0000] "GET /item?id={quote(payload)} HTTP/1.1" 200 1 "-" "-"'.encode()
        for payload in payloads
    ]
    events, rejected = events_of(lines)
    assert rejected == []
    return events


def test_labelled_parameters(conformance):
    """Recall of single requests, and false alarms on normal values; the rules ask for three in ten minutes."""
    path = conformance("http-params/payload_full.csv")
    by_type = {}
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        for row in csv.DictReader(file):
            by_type.setdefault(row["attack_type"], []).append(row["payload"])
    requests = {kind: requests_with(payloads) for kind, payloads in by_type.items()}
    assert hits("sqli_probe", requests["sqli"]) >= 0.985 * len(requests["sqli"])
    # Half of these samples lost their separators before they were published ("........etcpasswd").
    assert hits("traversal_probe", requests["path-traversal"]) >= 0.6 * len(requests["path-traversal"])
    normal = requests["norm"]
    assert hits("sqli_probe", normal) + hits("traversal_probe", normal) + hits(
        "sensitive_files", normal
    ) <= 0.001 * len(normal)


@pytest.mark.parametrize(
    "target",
    [
        "/search?q=select+a+gift+from+our+shop",
        "/search?q=o%27brien+and+sons",
        "/search?q=rock+%27n%27+roll",
        "/docs/sql/order-by",
        "/search?q=size+5+or+6+(uk)&color=red",
        "/x?filter=price%3E10+and+size%3C5",
        "/q?q=union+station+selection",
        "/a/../b",
        "/search?q=drop+in+centre;+call+us",
        "/list?order=asc&by=1",
        "/cb?cb=jQuery1(2)",
        "/next?to=../home",
        "/blog/wait....what",
        "/search?q=%22foo%22+or+%22bar%22",
        "/x?name=%22john%22&and=1",
        "/etc/about",
        "/windows/frames",
        "/envelopes",
        "/news.sqlite.html",
    ],
)
def test_words_that_people_use_are_no_attack(target):
    line = f'198.51.100.1 - - [01/Jan/2026:00:00:00 +0000] "GET {target} HTTP/1.1" 200 1 "-" "-"'.encode()
    events, _ = events_of([line])
    assert [name for name in ("sqli_probe", "traversal_probe", "sensitive_files") if hits(name, events)] == []


@pytest.mark.parametrize(
    "spelling",
    [
        "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/%252e%252e/%252e%252e/etc/passwd",
        "/%c0%ae%c0%ae/%c0%ae%c0%ae/etc/passwd",
        "/..;/..;/etc/passwd",
        "/..//..//etc/passwd",
        "/..%5c..%5cetc%5cpasswd",
        "/%2E%2e/%2e%2E/ETC/Passwd",
        "/%ef%bc%8e%ef%bc%8e/%ef%bc%8e%ef%bc%8e/etc/passwd",
        "/a?f=..%2f..%2fetc%2fpasswd",
        "/a?f=....//....//etc/passwd",
    ],
)
def test_a_traversal_is_seen_in_every_spelling(spelling):
    line = f'198.51.100.1 - - [01/Jan/2026:00:00:00 +0000] "GET {spelling} HTTP/1.1" 400 1 "-" "-"'.encode()
    assert hits("traversal_probe", events_of([line])[0]) == 1


def test_one_missing_path_with_many_queries_is_one_and_many_paths_are_many():
    def lines(form):
        return [
            f'198.51.100.1 - - [01/Jan/2026:00:00:{n // 20:02} +0000] "GET {form.format(n=n)} HTTP/1.1" 404 1 "-" "-"'.encode()
            for n in range(1000)
        ]

    assert replay([RULES["scan_404"]], events_of(lines("/a?x={n}"))[0]) == []
    spelled = [line for form in ("/a?{n}", "//a?{n}", "/%61?{n}", "/a;{n}", "/x/../a?{n}") for line in lines(form)]
    assert replay([RULES["scan_404"]], events_of(spelled)[0]) == []
    (alert,) = replay([RULES["scan_404"]], events_of(lines("/a{n}"))[0])
    assert alert.peak == 1000


def test_account_spread_names_every_client_and_joins_spellings_of_the_account():
    spellings = ("Alice", "alice", "ALICE", "alice ", "\uff21lice")
    events = [
        event(SECOND * n, f"198.51.100.{n}", spellings[n % 5], 401, "/login", method="POST", user_key="alice")
        for n in range(12)
    ]
    (alert,) = replay([RULES["account_spread"]], events)
    assert alert.key == (("cs-username", "alice"),)
    assert alert.entities == tuple(f"198.51.100.{n}" for n in range(12))


def test_an_office_behind_one_address_with_some_mistyped_passwords_is_left_alone():
    events = [event(SECOND * n * 3, "203.0.113.1", f"person{n % 20}", 401, "/login", method="POST") for n in range(29)]
    busy = [event(SECOND * n // 15, "203.0.113.1", path=f"/p{n}") for n in range(3000)]
    assert replay(RULES.values(), sorted(events + busy, key=lambda each: each.ts)) == []


def test_crowdsecs_samples_in_combined_format_ban_nobody_but_their_attackers(conformance):
    folder = conformance("crowdsec-hub")
    found = set()
    for case in json.loads((folder / "index.json").read_text()):
        if not case["http_access_log"]:
            continue
        attackers = {ip for overflow in case["expected_overflows"] for ip in overflow["source_ips"]}
        for name in case["log_files"]:
            log = (folder / "tests" / case["test"] / name.rpartition("/")[2]).read_bytes()
            events, _ = events_of(log.split(b"\n"))
            alerts = replay(RULES.values(), events, late_us=10 * 365 * 86_400 * SECOND)
            sources = {decide(alert, RULES[alert.rule], 0, NeverBan())[0].value for alert in finals_of(alerts)}
            assert sources <= attackers, (case["test"], sources - attackers)
            found |= {(case["test"], source) for source in sources}
    assert len(found) >= 3


def finals_of(alerts):
    return [alert for alert in alerts if RULES[alert.rule].action.type.is_enforced]
