"""Building blocks of the detection tests: events, rules and shipped policies from few words."""

from itertools import count
from pathlib import Path

from guard.detect.alert import Stage
from guard.detect.engine import Engine
from guard.detect.event import Fields, LineIds, Parse, event_of
from guard.detect.formats import Rejected
from guard.detect.formats.combined import parse
from guard.detect.rules import load_rules, parse_rules

POLICIES = Path(__file__).resolve().parents[2] / "policies" / "detections"
SECOND = 1_000_000
NOON = 1_772_452_800 * SECOND
FOREVER = 1 << 60

_numbers = count()

HEAD = """
title: Hit
name: hit
logsource: {category: webserver}
detection: {sel: {c-ip|exists: true}, condition: sel}
"""


def shipped():
    return load_rules((path.name, path.read_text()) for path in sorted(POLICIES.glob("*.yaml")))


def counting(condition="{gte: 3}", *, span="10s", key="[c-ip]", guard="{}", detection=None):
    """A rule that counts events."""
    head = HEAD if detection is None else HEAD.replace("{sel: {c-ip|exists: true}, condition: sel}", detection)
    return parse_rules(
        f"{head}---\ntitle: Counting\nname: counting\ncorrelation: {{type: event_count, rules: [hit], "
        f"group-by: {key}, timespan: {span}, condition: {condition}}}\nguard: {guard}\n",
        "counting.yaml",
    )[0]


def distinct(condition="{field: cs-username, gte: 3}", *, span="10s", key="[c-ip]", guard="{}"):
    """A rule that counts values."""
    return parse_rules(
        f"{HEAD}---\ntitle: Distinct\nname: distinct\ncorrelation: {{type: value_count, rules: [hit], "
        f"group-by: {key}, timespan: {span}, condition: {condition}}}\nguard: {guard}\n",
        "distinct.yaml",
    )[0]


def plain(detection, guard="{}", name="plain"):
    """A rule for single events."""
    return parse_rules(
        f"title: Plain\nname: {name}\nlogsource: {{category: webserver}}\ndetection: {detection}\nguard: {guard}\n",
        "plain.yaml",
    )[0]


def event(ts, ip="198.51.100.1", user=None, status=200, path="/", *, eid=None, stream="web", tenant="t", **more):
    """An event at `ts` microseconds; a new id each time unless one is given."""
    fields = {
        "ts": ts,
        "ip": ip,
        "ip_key": ip,
        "user": user,
        "user_key": user,
        "method": "GET",
        "target": path,
        "decoded": path,
        "path_raw": path,
        "path": path,
        "query": None,
        "host": None,
        "proto": "HTTP/1.1",
        "status": status,
        "bytes_out": 10,
        "referer": None,
        "ua": "test",
        "parse": Parse.STRICT,
        "flags": (),
    } | more
    return event_of(eid or next(_numbers).to_bytes(16, "big"), tenant, stream, Fields(**fields))


def events_of(lines, tenant="t", stream="web"):
    """Events and rejections of a file's lines."""
    ids, offset, events, rejected = LineIds(tenant, stream, b"fingerprint"), 0, [], []
    for line in lines:
        fields = parse(line)
        if isinstance(fields, Rejected):
            rejected.append((fields.reason, line))
        else:
            events.append(event_of(ids.at(offset, line), tenant, stream, fields))
        offset += len(line) + 1
    return events, rejected


def finals(news):
    return [each.alert for each in news if each.stage is Stage.FINAL]


def facts(alerts):
    """What must not depend on how a log was read."""
    return sorted((a.rule, a.key, a.t0_us, a.t1_us, a.peak, a.entities, a.evidence, a.exact, str(a.id)) for a in alerts)


def replay(rules, events, *, late_us=60 * SECOND, now_us=FOREVER, chunk=None):
    """Feed, flush, and return the final alerts."""
    engine = Engine(rules, late_us)
    events = list(events)
    step = chunk or len(events) or 1
    news = []
    for at in range(0, len(events), step):
        news += engine.feed(events[at : at + step], now_us)
    return finals(news + engine.flush())
