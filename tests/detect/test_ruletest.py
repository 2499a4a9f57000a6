import pytest

from guard.detect.block import Expected, RuleTest, TestLine
from guard.detect.ruletest import TEST_START_US, combined_time, lines_of, run_rule_tests
from tests.detect.building import SECOND, counting, distinct, plain

LINE = '198.51.100.{n} - - [{time}] "GET / HTTP/1.1" 200 1 "-" "-"'


def test_a_line_is_written_as_often_and_as_far_apart_as_asked():
    test = RuleTest("n", (TestLine(LINE, at_ms=1_500, every_ms=60_000, count=3), TestLine("as it is")), ())
    assert lines_of(test) == [
        b'198.51.100.0 - - [01/Jan/2026:00:00:01 +0000] "GET / HTTP/1.1" 200 1 "-" "-"',
        b'198.51.100.1 - - [01/Jan/2026:00:01:01 +0000] "GET / HTTP/1.1" 200 1 "-" "-"',
        b'198.51.100.2 - - [01/Jan/2026:00:02:01 +0000] "GET / HTTP/1.1" 200 1 "-" "-"',
        b"as it is",
    ]


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (0, "01/Jan/2026:00:00:00 +0000"),
        (59, "01/Jan/2026:00:00:59 +0000"),
        (86_399, "01/Jan/2026:23:59:59 +0000"),
        (58 * 86_400, "28/Feb/2026:00:00:00 +0000"),
        (59 * 86_400, "01/Mar/2026:00:00:00 +0000"),
    ],
)
def test_times(seconds, written):
    assert combined_time(TEST_START_US + seconds * SECOND) == written


def block(lines, expect):
    return f"{{tests: [{{name: n, lines: {lines}, expect: {expect}}}]}}"


def lines(*specs):
    return "[" + ", ".join(f"{{text: '{LINE}', {spec}}}" for spec in specs) + "]"


SAME = LINE.replace("{n}", "7")


@pytest.mark.parametrize(
    ("rule", "failures"),
    [
        (lambda: counting(guard=block("[]", "[]")), 0),
        (lambda: counting(guard=block("[]", "[{key: 198.51.100.7}]")), 1),
        (
            lambda: counting(
                guard=block(f"[{{text: '{SAME}', count: 3}}]", "[{key: 198.51.100.7, t0_ms: 0, count: 3}]")
            ),
            0,
        ),
        (lambda: counting(guard=block(f"[{{text: '{SAME}', count: 2}}]", "[]")), 0),
        (
            lambda: counting(
                "{gte: 2}",
                guard=block(f"[{{text: '{SAME}', count: 2, every_ms: 10000}}]", "[{key: 198.51.100.7, t0_ms: 10000}]"),
            ),
            0,
        ),
        (lambda: counting("{gte: 2}", guard=block(f"[{{text: '{SAME}', count: 2, every_ms: 11000}}]", "[]")), 0),
        (lambda: counting("{gte: 1}", guard=block(lines("count: 2"), "[{key: 198.51.100.1}, {key: 198.51.100.0}]")), 0),
        (lambda: counting("{gte: 1}", guard=block(lines("count: 3"), "[{key: 198.51.100.1}]")), 2),
        (
            lambda: counting(
                "{gte: 1}", key="[c-ip, sc-status]", guard=block(lines("count: 1"), "[{key: [198.51.100.0, '200']}]")
            ),
            0,
        ),
        (lambda: counting("{gte: 1}", guard=block("['no log line']", "[]")), 1),
        (
            lambda: distinct(
                "{field: c-ip, gte: 3}", key="[sc-status]", guard=block(lines("count: 3"), "[{key: '200', count: 3}]")
            ),
            0,
        ),
        (
            lambda: plain(
                "{s: {sc-status: 200}, condition: s}", block(lines("count: 1"), "[{key: 198.51.100.0, count: 1}]")
            ),
            0,
        ),
        (lambda: plain("{s: {sc-status: 404}, condition: s}", block(lines("count: 1"), "[]")), 0),
    ],
)
def test_a_test_passes_only_with_exactly_the_alerts_that_are_written_down(rule, failures):
    assert len(run_rule_tests(rule())) == failures


def test_order_of_lines_does_not_matter():
    backwards = block(
        f"[{{text: '{SAME}', at_ms: 5000}}, {{text: '{SAME}', at_ms: 2000}}, '{SAME.replace('{time}', '01/Jan/2026:00:00:00 +0000')}']",
        "[{key: 198.51.100.7, t0_ms: 5000, count: 3}]",
    )
    assert run_rule_tests(counting(guard=backwards)) == []


def test_failures_name_the_rule_and_the_test_and_no_address():
    (failure,) = run_rule_tests(counting("{gte: 1}", guard=block(lines("count: 1"), "[]")))
    assert failure == "counting, n: an alert with peak 1 was not expected."


def test_an_expectation_is_met_once():
    rule = counting("{gte: 1}", guard=block(lines("count: 1"), "[{key: 198.51.100.0}, {key: 198.51.100.0}]"))
    assert len(run_rule_tests(rule)) == 1
    assert rule.tests[0].expect == (Expected(("198.51.100.0",)), Expected(("198.51.100.0",)))
