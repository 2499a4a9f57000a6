"""Ids that are stored. A change here breaks every stored alert, evidence and bookmark: it needs a new domain string."""

from hashlib import blake2b, sha256
from uuid import UUID

import pytest

from guard.detect.alert import alert_id
from guard.detect.event import LineIds, length_prefixed, request_event_id
from tests.detect.building import NOON, counting, distinct, event, plain, replay

LINE = b'203.0.113.7 - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 5 "-" "UA"'


@pytest.mark.parametrize(
    ("tenant", "stream", "fingerprint", "offset", "line", "eid"),
    [
        ("acme", "web", b"", 0, b"", "d8bb82dba961447d3cccd4e26a7e0950"),
        ("acme", "web", bytes(32), 0, LINE, "0a46edcce91c96d1c558c92ec169e30a"),
        ("acme", "web", bytes(32), 4_294_967_296, LINE, "c5311f8c1ba49b76f6b21fbf4bb4c792"),
        ("\u00fc", "\u8336", b"\xff", 1, b"\x00\xff", "8feed688a3ce289db0570f7508d10d38"),
    ],
)
def test_line_ids(tenant, stream, fingerprint, offset, line, eid):
    assert LineIds(tenant, stream, fingerprint).at(offset, line).hex() == eid


@pytest.mark.parametrize(
    ("tenant", "request_id", "eid"),
    [("acme", "", "1fb80f16744b5c6b4223bac459ea7be2"), ("acme", "7c9e-1", "f0e531352fee88dd72a2201f0b1c0590")],
)
def test_request_ids(tenant, request_id, eid):
    assert request_event_id(tenant, request_id).hex() == eid


@pytest.mark.parametrize(
    ("tenant", "rule_hash", "key", "t0", "identity"),
    [
        ("acme", bytes(32), (), 0, "b13dd30e-1130-8e07-baa1-d848eaf27215"),
        ("acme", bytes(32), (("c-ip", "203.0.113.7"),), 1_431_857_103_000_000, "c0566408-3de2-8910-b1f1-1a51591bfcdd"),
        (
            "acme",
            bytes(range(32)),
            (("c-ip", "2001:db8::/64"), ("cs-username", "j\u00fcrgen")),
            -1,
            "2ec18982-ce4a-8294-b735-7c000816f622",
        ),
    ],
)
def test_alert_ids(tenant, rule_hash, key, t0, identity):
    assert alert_id(tenant, rule_hash, key, t0) == UUID(identity)


@pytest.mark.parametrize(
    ("rule", "rule_hash"),
    [
        (lambda: counting("{gte: 3}"), "9d644834760c701521a91d0060bb25f52ce9f82138bf6b0d51a9d397700c4409"),
        (
            lambda: counting("{gte: 2, lt: 9}", span="5m", key="[c-ip, cs-username]"),
            "88d12aa245a0536b8a4c16468b732fe42a1bc81bd81fc0f35c7e1792da3758c2",
        ),
        (
            lambda: distinct("{field: cs-uri-stem, gt: 20}", span="1h"),
            "a7e875656ff8cf1d1918bd6eddb99c447ef53895bd8fc6bf7f65ffc78141d76a",
        ),
        (
            lambda: plain("{a: {cs-uri|re|i: 'x+'}, k: ['${jndi'], condition: a or not k}"),
            "3752de0d04cf5d70485623a53682767f8ac1f78afd49b09bc2f72f3da51bf91d",
        ),
        (
            lambda: plain("{a: {c-ip|cidr: 192.0.2.0/28, sc-status|gte: 500}, condition: a}"),
            "7c184f2e604ff94d502ba99f2a17c3bcb48f017f5944daa7b52221e8973b7c6e",
        ),
    ],
)
def test_rule_hashes(rule, rule_hash):
    assert rule().rule_hash.hex() == rule_hash


def test_line_ids_are_made_as_written_down():
    parts = (b"acme", b"web", bytes(32), (9).to_bytes(8, "big"), LINE)
    expected = blake2b(b"".join(len(part).to_bytes(4, "big") + part for part in parts), digest_size=16).digest()
    assert LineIds("acme", "web", bytes(32)).at(9, LINE) == expected
    assert length_prefixed(*parts) == b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def test_alert_ids_are_made_as_written_down():
    rule = counting("{gte: 2}", key="[c-ip, cs-username]")
    (alert,) = replay([rule], [event(NOON, user="b"), event(NOON, user="b")])
    key = b'{"c-ip":"198.51.100.1","cs-username":"b"}'
    parts = (b"guard-alert-v1", b"t", rule.rule_hash, key, NOON.to_bytes(8, "big", signed=True))
    digest = bytearray(sha256(b"".join(len(part).to_bytes(4, "big") + part for part in parts)).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x80
    digest[8] = digest[8] & 0x3F | 0x80
    assert alert.id.bytes == bytes(digest)
    assert (alert.id.version, alert.id.variant) == (8, "specified in RFC 4122")
