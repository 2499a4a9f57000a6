"""Access logs from few words, and somebody who ships them to a guard, for the tests of the detection shell."""

import base64
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from itertools import count

from tests.world import START_US, World

NOW = START_US // 1_000_000
FINGERPRINT = "00112233445566778899aabbccddeeff"


_numbers = count()


def line(at, ip="198.51.100.20", path="/", status=200, user="-", method="GET"):
    """One line of the combined format, *at* seconds after the world's beginning."""
    stamp = datetime.fromtimestamp(NOW + at, UTC).strftime("%d/%b/%Y:%H:%M:%S +0000")
    return f'{ip} - {user} [{stamp}] "{method} {path} HTTP/1.1" {status} 512 "-" "test"'


def scan(at, ip="198.51.100.20", count=25, every=1.0):
    """A scan for pages that are not there: fires `scan_404` at the twentieth."""
    return [line(at + number * every, ip, f"/admin{number}.php", 404) for number in range(count)]


def stuffing(at, ip="198.51.100.9", count=25):
    """Many accounts from one client: fires `credential_stuffing` at the twenty-first."""
    return [line(at + number, ip, "/login", 401, f"user{number}", "POST") for number in range(count)]


def guessing(at, ip="198.51.100.30", count=35):
    """Failed log-ins without a name: fires `login_bruteforce` at the thirtieth."""
    return [line(at + number, ip, "/session", 422, method="POST") for number in range(count)]


def visits(at, count, ip="192.0.2.50", every=10):
    """Somebody who reads pages."""
    return [line(at + number * every, ip, f"/page/{number}") for number in range(count)]


def text_of(lines):
    return "".join(f"{each}\n" for each in lines).encode("utf-8", "surrogateescape")


class Shipper:
    """Ships logs of one tenant, a new one where none is named, and looks at what became of them."""

    def __init__(self, world: World, tenant: str = "") -> None:
        self.world, self.tenant = world, tenant or f"shop-{next(_numbers)}"
        tenant = self.tenant
        self.actor = world.hire(tenant, "svc:ship", "role:log-shipper")
        self.analyst = world.hire(tenant, "user:local|dora", "role:analyst")

    def push(self, lines, offset=0, stream="web", fingerprint=FINGERPRINT, **more):
        data = lines if isinstance(lines, bytes) else text_of(lines)
        members = {
            "stream": stream,
            "fingerprint": fingerprint,
            "offset": offset,
            "data": base64.b64encode(data).decode(),
        }
        return self.world.call("events.push", self.actor, **(members | more))

    def replay(self, lines, sizes, stream="web", fingerprint=FINGERPRINT):
        """The log in pieces of so many lines, each at its place in the file, then the end of it."""
        answers, at, offset = [], 0, 0
        for size in sizes:
            piece = text_of(lines[at : at + size])
            answers.append(self.push(piece, offset, stream, fingerprint))
            at, offset = at + size, offset + len(piece)
        answers.append(self.push(lines[at:], offset, stream, fingerprint, end=True))
        return answers

    def call(self, name, **request):
        return self.world.call(name, self.analyst, **request)

    def alerts(self):
        return self.call("alerts.list", limit=500).data

    def decisions(self, **wanted):
        return self.call("decisions.list", limit=500, **wanted).data

    def check(self, value):
        return self.call("decisions.check", value=value)

    def incidents(self):
        return self.call("incidents.list", limit=500).data


def facts(shipper):
    """What must not depend on how a log was shipped."""
    alerts = sorted((one.rule, one.key, one.t0_us, one.t1_us, one.peak, one.outcome) for one in shipper.alerts())
    found = shipper.decisions()
    return alerts, sorted((one.value, one.type, one.rule, one.step, one.until_us) for one in found)


def sql(world, statement, *values):
    """One statement on guard's own database, as somebody with the file would run it."""
    with closing(sqlite3.connect(world.home / "guard.db", timeout=5)) as db, db:
        return db.execute(statement, values).fetchall()
