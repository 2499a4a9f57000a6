"""The tests that a rule carries, run as code: lines in, and exactly the alerts that the rule's author wrote down.

Law: a test passes only if the rule's final alerts are the expected ones and no others. Lines are in combined format;
their time is `TEST_START_US` plus what the test says. No I/O.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from guard.detect.alert import Alert, Stage
from guard.detect.block import Expected, RuleTest
from guard.detect.engine import Engine
from guard.detect.event import Event, LineIds, event_of
from guard.detect.formats import Rejected
from guard.detect.formats.combined import MONTHS, parse
from guard.detect.rules import Rule

TEST_START_US: Final = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000


def combined_time(ts_us: int) -> str:
    """A time as the combined format writes it, in UTC and whole seconds: `01/Jan/2026:00:00:00 +0000`."""
    when = datetime.fromtimestamp(ts_us // 1_000_000, tz=UTC)
    return f"{when.day:02}/{MONTHS[when.month - 1]}/{when.year:04}:{when:%H:%M:%S} +0000"


def lines_of(test: RuleTest) -> list[bytes]:
    """The log lines of a test in the order written."""
    lines = []
    for each in test.lines:
        for n in range(each.count):
            time = combined_time(TEST_START_US + (each.at_ms + n * each.every_ms) * 1_000)
            lines.append(each.text.replace("{n}", str(n)).replace("{time}", time).encode())
    return lines


def run_rule_tests(rule: Rule, beside: Sequence[Rule] = ()) -> list[str]:
    """The failures of a rule's own tests, one plain sentence each; empty if all pass. `beside`: rules to run along."""
    return [failure for test in rule.tests for failure in _failures(rule, test, beside)]


def _failures(rule: Rule, test: RuleTest, beside: Sequence[Rule]) -> list[str]:
    ids = LineIds("test", test.name, rule.rule_hash)
    events: list[Event] = []
    for number, line in enumerate(lines_of(test), 1):
        fields = parse(line)
        if isinstance(fields, Rejected):
            return [f"{rule.name}, {test.name}: line {number} is no combined log line ({fields.reason})."]
        events.append(event_of(ids.at(number, line), "test", test.name, fields))
    newest = max((event.ts for event in events), default=TEST_START_US)
    oldest = min((event.ts for event in events), default=TEST_START_US)
    engine = Engine([rule, *beside], late_us=newest - oldest)
    news = engine.feed(events, now_us=newest) + engine.flush()
    alerts = [each.alert for each in news if each.stage is Stage.FINAL and each.alert.rule_hash == rule.rule_hash]
    return _differences(f"{rule.name}, {test.name}", alerts, list(test.expect))


def _differences(place: str, alerts: list[Alert], expect: list[Expected]) -> list[str]:
    failures = []
    for alert in alerts:
        met = next((each for each in expect if _fits(each, alert)), None)
        if met is None:
            failures.append(f"{place}: an alert with peak {alert.peak} was not expected.")
        else:
            expect.remove(met)
    return failures + [f"{place}: an expected alert is missing (count {each.count})." for each in expect]


def _fits(expected: Expected, alert: Alert) -> bool:
    return (
        expected.key == tuple(value for _, value in alert.key)
        and expected.t0_ms in {None, (alert.t0_us - TEST_START_US) // 1_000}
        and expected.count in {None, alert.peak}
    )
