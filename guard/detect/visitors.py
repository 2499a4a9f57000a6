"""The visitors of a made-up web shop: people who browse and sometimes mistype a password, and crawlers. No I/O.

Law: the same random source gives the same requests, and every address is reserved for documentation (RFC 5737,
RFC 3849).
"""

from bisect import bisect_left
from itertools import accumulate
from random import Random
from typing import Final, NamedTuple

BROWSERS: Final = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1",
    "Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Safari",
)
_HOURLY: Final = (3, 2, 1, 1, 1, 2, 4, 7, 10, 12, 13, 13, 12, 13, 13, 12, 11, 11, 12, 13, 13, 11, 8, 5)
_PAGES: Final = (
    "/", "/products", "/products/kettle", "/products/teapot", "/products/cups", "/products/o'hara-mug", "/about",
    "/blog", "/blog/union-of-tea-growers", "/blog/select-the-right-leaf", "/help/order-by-phone", "/help/returns",
    "/search?q=green+tea", "/search?q=o%27brien+and+sons", "/search?q=select+a+gift+from+our+shop",
    "/search?q=size+5+or+6&sort=price", "/cart", "/account", "/docs/../help/shipping", "/press/logo;v=2",
)  # fmt: skip
_ASSETS: Final = ("/static/app.css", "/static/app.js", "/static/logo.svg", "/static/hero.webp", "/static/font.woff2")
_BROKEN: Final = ("/favicon.ico", "/apple-touch-icon.png", "/blog/old-news", "/img/summer.jpg", "/feed.rss")
_CRAWLERS: Final = ("ExampleBot/2.1 (+https://bot.example/)", "SampleSpider/1.0 (+https://spider.example/about)")
_SHOP: Final = "https://shop.example"
_PEOPLE: Final = ("j.alvarez", "m.okafor", "s.lindgren", "t.nguyen", "a.rossi", "k.yamada", "l.dubois", "p.novak")


class Hit(NamedTuple):
    """One request; `ts` in seconds since 1970."""

    ts: float
    ip: str
    user: str
    request: str
    status: int
    size: int
    referer: str
    agent: str


class Visits:
    """Sessions of people and rounds of crawlers, more of them by day than by night."""

    def __init__(self, rng: Random, start: int, hours: int) -> None:
        self._rng = rng
        self._start = start
        self._hours = hours
        first = start // 3600 % 24
        self._weights = list(accumulate(_HOURLY[(first + hour) % 24] for hour in range(hours)))
        self._popular = list(accumulate(1 / (rank + 1) for rank in range(len(_PAGES))))

    def one(self) -> list[Hit]:
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

    def _session(self, at: float) -> list[Hit]:
        rng = self._rng
        ip, agent = self._client(), rng.choice(BROWSERS)
        referer, hits = rng.choice(("-", "https://search.example/?q=tea", "-")), []
        if rng.random() < 0.15:  # noqa: PLR2004 - some visits begin with a login
            hits += self._login(at, ip, agent)
        seen: set[str] = set()
        for _ in range(rng.randrange(1, 9)):
            page = self._page()
            hits.append(
                Hit(at, ip, "-", f"GET {page} HTTP/1.1", self._status(), rng.randrange(2_000, 60_000), referer, agent)
            )
            referer = _SHOP + page
            for asset in _ASSETS[: rng.randrange(len(_ASSETS) + 1)]:
                status, size = (304, 0) if asset in seen else (200, rng.randrange(800, 200_000))
                seen.add(asset)
                hits.append(Hit(at + rng.random() * 2, ip, "-", f"GET {asset} HTTP/1.1", status, size, referer, agent))
            if rng.random() < 0.04:  # noqa: PLR2004 - broken links are rare
                missing = rng.choice(_BROKEN)
                hits.append(Hit(at + 1, ip, "-", f"GET {missing} HTTP/1.1", 404, 153, referer, agent))
            at += rng.expovariate(1 / 25)
        return hits

    def _status(self) -> int:
        return self._rng.choices((200, 301, 304, 500, 206), (92, 3, 3, 1, 1))[0]

    def _login(self, at: float, ip: str, agent: str) -> list[Hit]:
        """One or two mistyped passwords at most, then in."""
        user = self._rng.choice(_PEOPLE)
        request, page = "POST /login HTTP/1.1", _SHOP + "/login"
        wrong = self._rng.choices((0, 1, 2), (80, 15, 5))[0]
        failed = [Hit(at + 6 * i, ip, user, request, 401, 512, page, agent) for i in range(wrong)]
        return [*failed, Hit(at + 6 * wrong, ip, user, request, 302, 0, page, agent)]

    def _crawl(self, at: float) -> list[Hit]:
        rng = self._rng
        ip, agent = f"192.0.2.{rng.randrange(1, 9)}", rng.choice(_CRAWLERS)
        hits = [Hit(at, ip, "-", "GET /robots.txt HTTP/1.1", 200, 120, "-", agent)]
        for _ in range(rng.randrange(3, 20)):
            at += rng.expovariate(1 / 12)
            missing = rng.random() < 0.05  # noqa: PLR2004 - crawlers keep old links
            path, status = (f"/archive/{rng.randrange(40)}", 404) if missing else (self._page(), 200)
            hits.append(Hit(at, ip, "-", f"GET {path} HTTP/1.1", status, rng.randrange(150, 60_000), "-", agent))
        return hits
