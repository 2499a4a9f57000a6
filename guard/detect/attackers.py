"""Known attackers: what each does, and which shipped rules it fires by the generator's own knowledge. No I/O.

Law: sizes are far beyond the rules' thresholds, so that a rule tuned a little does not lose a demonstration. Each
attack takes a random source, its beginning in seconds, and the client. Addresses are reserved ones (RFC 5737, 3849).
"""

from collections.abc import Callable, Iterator
from random import Random
from typing import Final

from guard.detect.visitors import BROWSERS, Hit

NEVER_BAN_CLIENT: Final = "192.0.2.250"
"""The address that attacks and must be spared; it belongs into the never-ban set of whoever uses the truth."""
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

Attack = Callable[[Random, float, str], Iterator[Hit]]


def _address(rng: Random, client: str) -> str:
    """The client's address; over IPv6 a new one of its network for every request."""
    return f"{client}::{rng.randrange(1, 65536):x}" if ":" in client else client


def _flood(rng: Random, at: float, client: str) -> Iterator[Hit]:
    for i in range(1_000):
        page = f"GET /search?q={rng.randrange(10**6)} HTTP/1.1"
        yield Hit(at + i / 40, _address(rng, client), "-", page, 200, 9_000, "-", "python-requests/2.32")


def _stuffing(rng: Random, at: float, client: str) -> Iterator[Hit]:
    for i in range(120):
        user = f"user{rng.randrange(10**5):05}"
        yield Hit(at + i * 2, _address(rng, client), user, "POST /login HTTP/1.1", 401, 512, "-", "okhttp/4.12")


def _spread(rng: Random, at: float, client: str) -> Iterator[Hit]:
    """Here `client` is the account; thirty addresses try it once each."""
    for i in range(30):
        ip = f"2001:db8:{0x400 + i:x}::{rng.randrange(1, 65536):x}"
        yield Hit(at + i * 12, ip, client, "POST /login HTTP/1.1", 401, 512, "-", rng.choice(BROWSERS))


def _guessing(rng: Random, at: float, client: str) -> Iterator[Hit]:
    for i in range(90):
        yield Hit(
            at + i * 1.5, _address(rng, client), "-", "POST /session HTTP/1.1", 422, 300, "-", "Go-http-client/2.0"
        )


def _scan(rng: Random, at: float, client: str) -> Iterator[Hit]:
    for i in range(120):
        path = f"{_WANTED[i % len(_WANTED)]}{rng.randrange(10**4)}"
        yield Hit(at + i / 4, _address(rng, client), "-", f"GET {path} HTTP/1.1", 404, 153, "-", "dirsearch/0.4")


def _sql(rng: Random, at: float, client: str) -> Iterator[Hit]:
    for i in range(40):
        request = f"GET /products?id={_SQL[i % len(_SQL)]}&page={rng.randrange(9)} HTTP/1.1"
        yield Hit(
            at + i * 3, _address(rng, client), "-", request, 200 if i % 3 else 500, 4_000, "-", rng.choice(BROWSERS)
        )


def _climb(rng: Random, at: float, client: str) -> Iterator[Hit]:
    for i in range(30):
        request = f"GET {_CLIMBS[i % len(_CLIMBS)]} HTTP/1.1"
        yield Hit(at + i * 5, _address(rng, client), "-", request, 400, 166, "-", "curl/8.5.0")


def _files(rng: Random, at: float, client: str) -> Iterator[Hit]:
    for i, path in enumerate(_SENSITIVE * 2):
        yield Hit(
            at + i * 7, _address(rng, client), "-", f"GET {path} HTTP/1.1", 404, 153, "-", "Mozilla/5.0 zgrab/0.x"
        )


def _own_scanner(rng: Random, at: float, client: str) -> Iterator[Hit]:
    """Everything at once from an address that must be spared."""
    for attack in (_flood, _stuffing, _scan, _sql, _climb, _files):
        yield from attack(rng, at, client)
        at += 900


ATTACKS: Final[tuple[tuple[str, tuple[str, ...], Attack], ...]] = (
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
