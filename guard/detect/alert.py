"""Alerts: one per episode, with an id that depends on what happened and not on when or how often it was read.

Law: the id is the first 16 bytes of SHA-256 over the length-prefixed domain `guard-alert-v1`, tenant, rule hash, key as
canonical JSON and first time; so a second reading of the same log gives the same ids. Shown as UUIDv8 (RFC 9562).
No I/O.
"""

import json
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from typing import Final
from uuid import UUID

from guard.detect.event import length_prefixed

_DOMAIN: Final = b"guard-alert-v1"
_VERSION_8: Final = 0x8 << 76
_VARIANT: Final = 0x2 << 62
_KEEP: Final = ~(0xF << 76 | 0x3 << 62)


class Stage(StrEnum):
    """Provisional: true of what has come so far. Final: no line that may still come can change it."""

    PROVISIONAL = "provisional"
    FINAL = "final"


@dataclass(frozen=True, slots=True)
class Alert:
    """An episode of one rule and key: true from `t0_us` to `t1_us`, at most `peak` events or values in one window.

    `key`: (field, value) pairs, of personal data. `entities`: the distinct values that a value_count saw, in time order
    and capped. `evidence`: ids of the first and last events of the window that first fired. `exact` is false where a
    cap took effect, so that counts and first time may be off.
    """

    id: UUID
    tenant: str
    rule: str
    rule_hash: bytes
    key: tuple[tuple[str, str], ...] = field(repr=False)
    t0_us: int
    t1_us: int
    peak: int
    entities: tuple[str, ...] = field(repr=False)
    evidence: tuple[bytes, ...] = field(repr=False)
    exact: bool


@dataclass(frozen=True, slots=True)
class AlertChange:
    """News of an alert. `serial` acknowledges it; `replaces` are other, provisional ids that this final one settles.

    A provisional alert is announced again under its id while its episode lasts, so that a decision can be prolonged.
    """

    serial: int
    stage: Stage
    alert: Alert
    replaces: tuple[UUID, ...] = ()


def alert_id(tenant: str, rule_hash: bytes, key: tuple[tuple[str, str], ...], t0_us: int) -> UUID:
    """The id of the episode of this rule and key that begins at `t0_us`."""
    key_json = json.dumps(dict(key), sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()
    parts = length_prefixed(_DOMAIN, tenant.encode(), rule_hash, key_json, t0_us.to_bytes(8, "big", signed=True))
    number = int.from_bytes(sha256(parts).digest()[:16], "big")
    return UUID(int=number & _KEEP | _VERSION_8 | _VARIANT)
