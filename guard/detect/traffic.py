"""Access logs of a web shop as they look in life, with known attacks in them: for demonstrations, tests, benchmarks.

Law: the same seed gives the same lines. Every address is reserved for documentation (RFC 5737, RFC 3849), so no line
can name a real client. The truth (who attacks, and which shipped rules that fires) is stated by the generator, from
what it planted, and not computed with the detector. Lines stand in the order in which a server writes them, at the end
of each request, with the time of its start: out of order by at most `MAX_DELAY_SECONDS`. No I/O, no clock.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Final

from guard.detect.attackers import ATTACKS, NEVER_BAN_CLIENT
from guard.detect.formats.combined import MONTHS
from guard.detect.visitors import Hit, Visits
from guard.errors import InvalidInput

DEFAULT_LINES: Final = 50_000
MIN_LINES: Final = 8_000
"""The planted attacks alone are about 5,000 lines."""
MAX_LINES: Final = 5_000_000
DEFAULT_START_US: Final = 1_772_409_600_000_000
"""2026-03-02 00:00:00 UTC, a Monday."""
MAX_DELAY_SECONDS: Final = 59

NEVER_BAN_REASON: Final = "own vulnerability scanner and load test"


@dataclass(frozen=True, slots=True)
class Traffic:
    """A generated log. `attacks` and `spared`: client or account -> names of the shipped rules that it fires.

    Keys are as alerts have them: an IPv4 address, an IPv6 /64, or an account. `spared` are those of the never-ban set.
    All times lie in [start_us, end_us).
    """

    lines: tuple[bytes, ...]
    attacks: Mapping[str, frozenset[str]]
    spared: Mapping[str, frozenset[str]]
    start_us: int
    end_us: int


def generate(seed: int, lines: int = DEFAULT_LINES, start_us: int = DEFAULT_START_US, hours: int = 24) -> Traffic:
    """A log of `lines` lines, without line ends, from `start_us` on over `hours`.

    Raises:
        InvalidInput: a number of lines outside `MIN_LINES` to `MAX_LINES`, or of hours outside 1 to 744.
    """
    if not MIN_LINES <= lines <= MAX_LINES or not 1 <= hours <= 31 * 24:
        raise InvalidInput(
            f"Traffic has {MIN_LINES} to {MAX_LINES} lines and 1 to 744 hours; found {lines} and {hours}."
        )
    rng = Random(seed)  # noqa: S311 - a repeatable log is wanted, not an unpredictable one
    start = start_us // 1_000_000
    hits: list[Hit] = []
    attacks: dict[str, frozenset[str]] = {}
    for client, rules, attack in ATTACKS:
        hits += attack(rng, start + rng.uniform(0.05, 0.9) * hours * 3600, client)
        attacks[_key(client)] = frozenset(rules)
    spared = {NEVER_BAN_CLIENT: attacks.pop(NEVER_BAN_CLIENT)}
    visits = Visits(rng, start, hours)
    while len(hits) < lines:
        hits += visits.one()
    del hits[lines:]
    written = sorted((hit.ts + _delay(rng), i) for i, hit in enumerate(hits))
    stamps = _Stamps()
    return Traffic(
        lines=tuple(_line(hits[i], stamps) for _, i in written),
        attacks=attacks,
        spared=spared,
        start_us=start_us,
        end_us=int(max(hit.ts for hit in hits) + 1) * 1_000_000,
    )


def _key(client: str) -> str:
    """The client as an alert names it; IPv6 attackers are written as the first four groups of their network."""
    return f"{client}::/64" if ":" in client else client


def _delay(rng: Random) -> float:
    """Most requests take a moment, a few take long; a line is written at the end."""
    return rng.uniform(1, MAX_DELAY_SECONDS) if rng.random() < 0.02 else rng.expovariate(6) % 5  # noqa: PLR2004 - two in a hundred are slow


class _Stamps:
    """Times in the log's form, one per second made once."""

    def __init__(self) -> None:
        self._made: dict[int, str] = {}

    def of(self, second: int) -> str:
        found = self._made.get(second)
        if found is None:
            day, rest = divmod(second, 86_400)
            year, month, date = _civil(day)
            hour, rest = divmod(rest, 3600)
            found = f"{date:02}/{MONTHS[month - 1]}/{year}:{hour:02}:{rest // 60:02}:{rest % 60:02} +0000"
            self._made[second] = found
        return found


def _civil(day: int) -> tuple[int, int, int]:
    """Year, month and day of the Gregorian calendar from days since 1970."""
    era_day = day + 719_468
    era, of_era = divmod(era_day, 146_097)
    year = (of_era - of_era // 1_460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    shifted = (5 * of_year + 2) // 153
    month = shifted + 3 if shifted < 10 else shifted - 9  # noqa: PLR2004 - years begin in March in this reckoning
    return year + era * 400 + (month <= 2), month, of_year - (153 * shifted + 2) // 5 + 1  # noqa: PLR2004 - as above


def _line(hit: Hit, stamps: _Stamps) -> bytes:
    stamp = stamps.of(int(hit.ts))
    return (
        f'{hit.ip} - {hit.user} [{stamp}] "{hit.request}" {hit.status} {hit.size} "{hit.referer}" "{hit.agent}"'
    ).encode()
