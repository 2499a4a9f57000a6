"""Logs for foreign verifiers: one made through the API of a real server process, and synthetic ones of a given size."""

import asyncio
import base64
import json

from guard.audit import export, tree
from guard.audit.entry import body, entry
from guard.client import Client, discover
from tests.audit.building import ORIGIN, PQ_VKEY, VKEY, record, signed, write
from tests.bench.load import Connection, Tally
from tests.cli.processes import Server, guard

CONNECTIONS = 16
BATCHES = 8  # after each a checkpoint is asked for; under load the worker publishes more of its own
SIZES = (1, 2, 255, 256, 257, 65_535, 65_536, 65_537, 70_000)  # a tile, a tile of tiles, and one beside each
CHECK = {"subject": "user:local|developer", "action": "fields.mask", "resource": "fields/customers.email/support"}


class Counted(Connection):
    """A connection that ends when all requests of the tally were sent."""

    def _send(self):
        if self.tally.left:
            self.tally.left -= 1
            super()._send()
        else:
            self.transport.abort()

    def connection_lost(self, error):
        super().connection_lost(error)
        if self.tally.lost == CONNECTIONS:
            self.tally.done.set_result(None)


async def drive(port, token, count):
    """Send *count* permission checks; each leaves a record."""
    content = json.dumps(CHECK).encode()
    head = f"POST /api/v1/checks HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    loop, tally = asyncio.get_running_loop(), Tally()
    tally.left, tally.done = count, loop.create_future()
    for _ in range(CONNECTIONS):
        await loop.create_connection(lambda: Counted(head.encode() + content, tally), "127.0.0.1", port)
    await tally.done
    assert (tally.ok, tally.other) == (count, 0)


def log_of_a_server(folder, count):
    """The exported directory of a log to which *count* requests over HTTP added a record each, and the log's keys."""
    home = folder / "home"
    home.mkdir(mode=0o700)
    (home / "guard.toml").write_text("requests_per_minute = 1_000_000_000\n")  # or this would be a flood
    with Server(home) as server:
        with Client(discover(home, "admin")) as admin:
            for part in range(BATCHES):
                share = count * (part + 1) // BATCHES - count * part // BATCHES
                asyncio.run(drive(server.port, server.token(), share))
                key = admin.call("checkpoints.publish")["vkey"]
        done = guard("audit", "export", str(folder / "log"), "--as", "admin", "--home", str(home), seconds=600)
        assert done.returncode == 0, done.stderr.decode()
    return folder / "log", key


def synthetic_log(folder, size):
    """A log directory of this size, with a checkpoint at every smaller size of `SIZES`, signed by both kinds of key."""
    whole = entry(body(record(0)), 0)
    head, _, rest = whole.partition(base64.urlsafe_b64encode(bytes(16)).rstrip(b"="))
    tail = rest.removesuffix(b'"n":0}')
    entries = [b'%s%022d%s"n":%d}' % (head, n, tail, n) for n in range(size)]
    leaves = [tree.leaf_hash(one) for one in entries]
    sizes = [*(one for one in (0, *SIZES) if one < size), size]
    notes = [signed(ORIGIN, one, tree.root_of(leaves[:one]), pq=True) for one in sizes]
    policy = export.policy_text([VKEY, PQ_VKEY])
    return write(folder, export.layout(ORIGIN, notes, entries, leaves, policy)), [VKEY.encode(), PQ_VKEY.encode()]
