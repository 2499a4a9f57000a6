"""The loop that copies, in server processes: killed in the middle, and before a bucket that takes all and answers nothing."""

import asyncio
import json
import socket
import statistics
import threading
import time
import urllib.request

import pytest

from guard.client import Client, discover
from tests.audit.foreign.making import drive
from tests.audit.test_copies import expected, held
from tests.cli.processes import Server

SECONDS = 60
ASKED = 150
RATIO = 3  # of medians in the same run: a request that waited for the bucket would take a thousand times as long


def settle(home, table):
    """A home whose guard copies its tiles."""
    home.mkdir(mode=0o700, exist_ok=True)
    values = table | {"tiles": True}
    lines = [f"{name} = {json.dumps(value)}" for name, value in values.items()]
    (home / "guard.toml").write_text("requests_per_minute = 1_000_000_000\n[worm]\n" + "\n".join(lines) + "\n")


def until(holds, seconds=SECONDS):
    end = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
    return found


def listed(home):
    with Client(discover(home, "admin")) as admin:
        return next(one for one in admin.call("anchors.list")["data"] if one["kind"] == "worm-tiles")


def test_a_server_that_is_killed_while_it_copies_goes_on_where_it_was(tmp_path, table, client):
    home = tmp_path / "home"
    settle(home, table)
    for objects in (3, 9):
        with Server(home) as server:
            writer = threading.Thread(target=lambda: asyncio.run(drive(server.port, server.token(), 1500)))
            writer.start()
            writer.join()
            until(lambda least=objects: len(held(client, table)) >= least)
            server.kill()
        assert set(held(client, table).values()) <= {1}
    with Server(home) as server:
        asyncio.run(drive(server.port, server.token(), 300))
        row = until(lambda: (found := listed(home))["size"] >= 3072 and not found["remark"] and found)
        size = row["size"]
        found = held(client, table)
        server.stop()
    assert set(found.values()) == {1}
    assert expected(size) <= found.keys()
    for name in expected(size):
        one = client.get_object(Bucket=table["bucket"], Key=f"guard/guard.local/guard/main/{name}")
        assert one["Body"].read() == (home / "log/1" / name).read_bytes()


@pytest.fixture
def hole():
    """A port that takes connections and answers nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield listener.getsockname()[1]


def median_of(server):
    """The time of one request, durable record included."""
    took = []
    with Client(discover(server.home, "admin")) as admin:
        for _ in range(ASKED):
            start = time.perf_counter()
            admin.call("actors.whoami")
            took.append(time.perf_counter() - start)
    return statistics.median(took), max(took)


def test_a_bucket_that_answers_nothing_slows_no_request_and_is_no_reason_to_be_unready(tmp_path, table, hole):
    with Server(tmp_path / "plain") as server:
        asyncio.run(drive(server.port, server.token(), 600))
        plain, _ = median_of(server)
    settle(tmp_path / "home", table)
    with Server(tmp_path / "home") as server:  # a start asks the bucket for its largest checkpoint
        server.stop()
    settle(tmp_path / "home", table | {"endpoint": f"http://127.0.0.1:{hole}"})
    with Server(tmp_path / "home") as server:
        asyncio.run(drive(server.port, server.token(), 600))
        stuck, longest = median_of(server)
        with Client(discover(server.home, "admin")) as admin:
            until(lambda: "records in files wait" in listed(server.home)["remark"])
            assert admin.call("checkpoints.publish")["size"] >= 600
            assert admin.call("actors.whoami")
        with urllib.request.urlopen(f"{server.url}/readyz", timeout=SECONDS) as ready:
            assert ready.status == 200
        server.stop()
    assert stuck < plain * RATIO
    assert longest < 2, "not even one request waited for the bucket"
