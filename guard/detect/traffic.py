"""Access logs of a web shop as they look in life, with known attacks in them: for demonstrations, tests, benchmarks.

Law: the same seed gives the same lines. Every address is reserved for documentation (RFC 5737, RFC 3849), so no line
can name a real client. The truth (who attacks, and which shipped rules that fires) is stated by the generator, from
what it planted, and not computed with the detector. Lines stand in the order in which a server writes them, at the end
of each request, with the time of its start: out of order by at most `MAX_DELAY_SECONDS`. No I/O, no clock.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from random import Random
from typing import Final, NamedTuple

from guard.detect.formats.combined import MONTHS
from guard.errors import InvalidInput

DEFAULT_LINES: Final = 50_000
MIN_LINES: Final = 8_000
"""The planted attacks alone are about 5,000 lines."""
MAX_LINES: Final = 5_000_000
DEFAULT_START_US: Final = 1_772_409_600_000_000
"""2026-03-02 00:00:00 UTC, a Monday."""
MAX_DELAY_SECONDS: Final = 59

NEVER_BAN_CLIENT: Final = "192.0.2.250"
"""The address that attacks and must be spared; it belongs into the never-ban set of whoever uses the truth."""
NEVER_BAN_REASON: Final = "own vulnerability scanner and load test"

_HOURLY: Final = (3, 2, 1, 1, 1, 2, 4, 7, 10, 12, 13, 13, 12, 13, 13, 12, 11, 11, 12, 13, 13, 11, 8, 5)
_PAGES: Final = (
    "/", "/products", "/products/kettle", "/products/teapot", "/products/cups", "/products/o'hara-mug", "/about",
    "/blog", "/blog/union-of-tea-growers", "/blog/select-the-right-leaf", "/help/order-by-phone", "/help/returns",
    "/search?q=green+tea", "/search?q=o%27brien+and+sons", "/search?q=select+a+gift+from+our+shop",
    "/search?q=size+5+or+6&sort=price", "/cart", "/account", "/docs/../help/shipping", "/press/logo;v=2",
)  # fmt: skip
_ASSETS: Final = ("/static/app.css", "/static/app.js", "/static/logo.svg", "/static/hero.webp", "/static/font.woff2")
_BROKEN: Final = ("/favicon.ico", "/apple-touch-icon.png", "/blog/old-news", "/img/summer.jpg", "/feed.rss")
_BROWSERS: Final = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1",
    "Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Safari",
)
_CRAWLERS: Final = ("ExampleBot/2.1 (+https://bot.example/)", "SampleSpider/1.0 (+https://spider.example/about)")
_SHOP: Final = "https://shop.example"
_PEOPLE: Final = ("j.alvarez", "m.okafor", "s.lindgren", "t.nguyen", "a.rossi", "k.yamada", "l.dubois", "p.novak")

_WANTED: Final = (
    "/wp-login.php", "/administrator/index.php", "/phpmyadmin/", "/xmlrpc.php", "/owa/auth", "/manager/html",
    "/solr/admin", "/jenkins/script", "/console/login", "/cgi-bin/status", "/vendor/phpunit/eval", "/api/v1/pods",
)  # fmt: skip
_SQL: Final = (
    "1'+OR+'1'='1", "1+UNION+ALL+SELECT+NULL,NULL,NULL--", "1%27%20AND%20SLEEP(5)--+", "1;DROP+TABLE+orders--",
    "(SELECT+(CASE+WHEN+(1=1)+THEN+1+ELSE+0+END))", "1)+AND+7=7--", "1%2527%2520OR%25201=1--", "1'||(select+'x')||'",
    "1+ORDER+BY+9--", "1%27;WAITFOR%20DELAY%20%270:0:5%27--",
)  # fmt: skip
_CLIMBS: Final = (
    "/file?name=../../../../etc/passwd", "/file?name=..%2f..%2f..%2fetc%2fshadow", "/%2e%2e/%2e%2e/%2e%2e/etc/hosts",
    "/static/..%252f..%252f..%252fetc/passwd", "/file?name=..%5c..%5c..%5cwindows%5cwin.ini",
    "/%c0%ae%c0%ae/%c0%ae%c0%ae/",
)  # fmt: skip
_SENSITIVE: Final = ("/.env", "/.git/config", "/backup.sql", "/.aws/credentials", "/id_rsa", "/server-status")


class _Hit(NamedTuple):
    """One request; `ts` in seconds since 1970."""

    ts: float
    ip: str
    user: str
    request: str
    status: int
    size: int
    referer: str
    agent: str


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
    hits: list[_Hit] = []
    attacks: dict[str, frozenset[str]] = {}
    for client, rules, attack in _ATTACKS:
        hits += attack(rng, start + rng.uniform(0.05, 0.9) * hours * 3600, client)
        attacks[_key(client)] = frozenset(rules)
    spared = {NEVER_BAN_CLIENT: attacks.pop(NEVER_BAN_CLIENT)}
    visits = _Visits(rng, start, hours)
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


def _line(hit: _Hit, stamps: _Stamps) -> bytes:
    stamp = stamps.of(int(hit.ts))
    return (
        f'{hit.ip} - {hit.user} [{stamp}] "{hit.request}" {hit.status} {hit.size} "{hit.referer}" "{hit.agent}"'
    ).encode()


# Visitors


class _Visits:
    """Sessions of people and rounds of crawlers, more of them by day than by night."""

    def __init__(self, rng: Random, start: int, hours: int) -> None:
        self._rng = rng
        self._start = start
        self._hours = hours
        first = start // 3600 % 24
        self._weights = list(accumulate(_HOURLY[(first + hour) % 24] for hour in range(hours)))
        self._popular = list(accumulate(1 / (rank + 1) for rank in range(len(_PAGES))))

    def one(self) -> list[_Hit]:
        """A person's visit or, one time in eight, a crawler's round."""
        at = self._moment()
        return self._crawl(at) if self._rng.random() < 0.125 else self._session(at)  # noqa: PLR2004 - one in eight

    def _moment(self) -> float:
        hour = bisect_left(self._weights, self._rng.uniform(0, self._weights[-1]))
        return self._start + (min(hour, self._hours - 1) + self._rng.random()) * 3600

    def _page(self) -> str:
        return _PAGES[min(bisect_left(self._popular, self._rng.uniform(0, self._popular[-1])), len(_PAGES) - 1)]

    def _client(self) -> str:
        rng = self._rng
        if rng.random() < 0.25:  # noqa: PLR2004 - a quarter comes by IPv6
            return f"2001:db8:{rng.randrange(0x100, 0x200):x}:{rng.randrange(64):x}::{rng.randrange(1, 65536):x}"
        return f"{rng.choice(('198.51.100', '203.0.113'))}.{rng.randrange(1, 200)}"

    def _session(self, at: float) -> list[_Hit]:
        rng = self._rng
        ip, agent = self._client(), rng.choice(_BROWSERS)
        referer, hits = rng.choice(("-", "https://search.example/?q=tea", "-")), []
        if rng.random() < 0.15:  # noqa: PLR2004 - some visits begin with a login
            hits += self._login(at, ip, agent)
        seen: set[str] = set()
        for _ in range(rng.randrange(1, 9)):
            page = self._page()
            hits.append(
                _Hit(at, ip, "-", f"GET {page} HTTP/1.1", self._status(), rng.randrange(2_000, 60_000), referer, agent)
            )
            referer = _SHOP + page
            for asset in _ASSETS[: rng.randrange(len(_ASSETS) + 1)]:
                status, size = (304, 0) if asset in seen else (200, rng.randrange(800, 200_000))
                seen.add(asset)
                hits.append(_Hit(at + rng.random() * 2, ip, "-", f"GET {asset} HTTP/1.1", status, size, referer, agent))
            if rng.random() < 0.04:  # noqa: PLR2004 - broken links are rare
                missing = rng.choice(_BROKEN)
                hits.append(_Hit(at + 1, ip, "-", f"GET {missing} HTTP/1.1", 404, 153, referer, agent))
            at += rng.expovariate(1 / 25)
        return hits

    def _status(self) -> int:
        return self._rng.choices((200, 301, 304, 500, 206), (92, 3, 3, 1, 1))[0]

    def _login(self, at: float, ip: str, agent: str) -> list[_Hit]:
        """One or two mistyped passwords at most, then in."""
        user = self._rng.choice(_PEOPLE)
        request, page = "POST /login HTTP/1.1", _SHOP + "/login"
        wrong = self._rng.choices((0, 1, 2), (80, 15, 5))[0]
        failed = [_Hit(at + 6 * i, ip, user, request, 401, 512, page, agent) for i in range(wrong)]
        return [*failed, _Hit(at + 6 * wrong, ip, user, request, 302, 0, page, agent)]

    def _crawl(self, at: float) -> list[_Hit]:
        rng = self._rng
        ip, agent = f"192.0.2.{rng.randrange(1, 9)}", rng.choice(_CRAWLERS)
        hits = [_Hit(at, ip, "-", "GET /robots.txt HTTP/1.1", 200, 120, "-", agent)]
        for _ in range(rng.randrange(3, 20)):
            at += rng.expovariate(1 / 12)
            missing = rng.random() < 0.05  # noqa: PLR2004 - crawlers keep old links
            path, status = (f"/archive/{rng.randrange(40)}", 404) if missing else (self._page(), 200)
            hits.append(_Hit(at, ip, "-", f"GET {path} HTTP/1.1", status, rng.randrange(150, 60_000), "-", agent))
        return hits


# Attackers. Each is (random source, begin in seconds, client) -> requests; sizes are far beyond the rules' thresholds.

_Attack = Callable[[Random, float, str], Iterator[_Hit]]


def _address(rng: Random, client: str) -> str:
    """The client's address; over IPv6 a new one of its network for every request."""
    return f"{client}::{rng.randrange(1, 65536):x}" if ":" in client else client


def _flood(rng: Random, at: float, client: str) -> Iterator[_Hit]:
    for i in range(1_000):
        page = f"GET /search?q={rng.randrange(10**6)} HTTP/1.1"
        yield _Hit(at + i / 40, _address(rng, client), "-", page, 200, 9_000, "-", "python-requests/2.32")


def _stuffing(rng: Random, at: float, client: str) -> Iterator[_Hit]:
    for i in range(120):
        user = f"user{rng.randrange(10**5):05}"
        yield _Hit(at + i * 2, _address(rng, client), user, "POST /login HTTP/1.1", 401, 512, "-", "okhttp/4.12")


def _spread(rng: Random, at: float, client: str) -> Iterator[_Hit]:
    """Here `client` is the account; thirty addresses try it once each."""
    for i in range(30):
        ip = f"2001:db8:{0x400 + i:x}::{rng.randrange(1, 65536):x}"
        yield _Hit(at + i * 12, ip, client, "POST /login HTTP/1.1", 401, 512, "-", rng.choice(_BROWSERS))


def _guessing(rng: Random, at: float, client: str) -> Iterator[_Hit]:
    for i in range(90):
        yield _Hit(
            at + i * 1.5, _address(rng, client), "-", "POST /session HTTP/1.1", 422, 300, "-", "Go-http-client/2.0"
        )


def _scan(rng: Random, at: float, client: str) -> Iterator[_Hit]:
    for i in range(120):
        path = f"{_WANTED[i % len(_WANTED)]}{rng.randrange(10**4)}"
        yield _Hit(at + i / 4, _address(rng, client), "-", f"GET {path} HTTP/1.1", 404, 153, "-", "dirsearch/0.4")


def _sql(rng: Random, at: float, client: str) -> Iterator[_Hit]:
    for i in range(40):
        request = f"GET /products?id={_SQL[i % len(_SQL)]}&page={rng.randrange(9)} HTTP/1.1"
        yield _Hit(
            at + i * 3, _address(rng, client), "-", request, 200 if i % 3 else 500, 4_000, "-", rng.choice(_BROWSERS)
        )


def _climb(rng: Random, at: float, client: str) -> Iterator[_Hit]:
    for i in range(30):
        request = f"GET {_CLIMBS[i % len(_CLIMBS)]} HTTP/1.1"
        yield _Hit(at + i * 5, _address(rng, client), "-", request, 400, 166, "-", "curl/8.5.0")


def _files(rng: Random, at: float, client: str) -> Iterator[_Hit]:
    for i, path in enumerate(_SENSITIVE * 2):
        yield _Hit(
            at + i * 7, _address(rng, client), "-", f"GET {path} HTTP/1.1", 404, 153, "-", "Mozilla/5.0 zgrab/0.x"
        )


def _own_scanner(rng: Random, at: float, client: str) -> Iterator[_Hit]:
    """Everything at once from an address that must be spared."""
    for attack in (_flood, _stuffing, _scan, _sql, _climb, _files):
        yield from attack(rng, at, client)
        at += 900


_ATTACKS: Final[tuple[tuple[str, tuple[str, ...], _Attack], ...]] = (
    ("198.51.100.210", ("request_flood",), _flood),
    ("2001:db8:bad:1", ("request_flood",), _flood),
    ("203.0.113.211", ("credential_stuffing", "login_bruteforce"), _stuffing),
    ("2001:db8:bad:2", ("credential_stuffing", "login_bruteforce"), _stuffing),
    ("w.mensah", ("account_spread",), _spread),
    ("198.51.100.213", ("login_bruteforce",), _guessing),
    ("203.0.113.214", ("scan_404",), _scan),
    ("198.51.100.215", ("sqli_probe",), _sql),
    ("203.0.113.216", ("traversal_probe",), _climb),
    ("198.51.100.217", ("sensitive_files",), _files),
    (
        NEVER_BAN_CLIENT,
        (
            "request_flood", "credential_stuffing", "login_bruteforce", "scan_404", "sqli_probe", "traversal_probe",
            "sensitive_files",
        ),
        _own_scanner,
    ),
)  # fmt: skip
