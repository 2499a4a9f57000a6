"""The live stream against a real rsyslog: every record once and in order, and no gap when either end is killed."""

import base64
import itertools
import json

import pytest

from guard.audit.tree import leaf_hash
from guard.catalogue import PLATFORM
from guard.settings import Sink
from tests.audit.receivers import rsyslog, wait_for
from tests.world import world

BOM = "\ufeff"
PATIENCE_SECONDS = 30


def syslog(port, **options):
    return Sink(name="siem", plugin="syslog", address=f"tcp://127.0.0.1:{port}", total_seconds=5, **options)


def grow(made, actor, count):
    for _ in range(count):
        made.call("actors.whoami", actor)


def caught_up(made, auditor):
    """The sink as it is when it has everything but the records of looking at it."""

    def look():
        view = made.call("sinks.list", auditor).data[0]
        return view if view.behind <= 5 else None

    return wait_for(look, PATIENCE_SECONDS, "the sink did not catch up")


def received(receiver, size):
    """Indexes up to *size* as they came, when the last of them is there."""
    wait_for(lambda: size - 1 in receiver.indexes(), PATIENCE_SECONDS, "the last record did not come")
    return [index for index in receiver.indexes() if index < size]


def firsts(indexes):
    """Each index where it came for the first time."""
    return list(dict.fromkeys(indexes))


@pytest.fixture
def program(need):
    return need("rsyslogd")


@pytest.mark.parametrize("tls", [False, True])
def test_rsyslog_gets_every_record_once_in_order_and_each_hashes_to_its_leaf(program, tmp_path, free_port, tls):
    with rsyslog(program, tmp_path / "rsyslog", free_port(), tls=tls) as receiver:
        sink = syslog(receiver.port)
        if tls:
            sink = Sink(
                name="siem",
                plugin="syslog",
                address=f"tls://127.0.0.1:{receiver.port}",
                ca_file=str(receiver.folder / "ca.pem"),
            )
        with world(tmp_path / "home", sinks=(sink,)) as made:
            auditor = made.hire(PLATFORM, "user:local|auditor", "role:auditor")
            ana = made.hire("acme", "user:local|ana", "role:support")
            grow(made, ana, 300)
            made.guard.worker.start()
            grow(made, ana, 300)
            view = caught_up(made, auditor)
            size = made.guard.log.size
            indexes = received(receiver, size)
            assert indexes == list(range(size))
            assert (view.state, view.complete, view.repeated, view.first) == ("connected", True, 0, 0)
            messages = receiver.messages()[:size]
        for message in messages:
            text = message["msg"].removeprefix(BOM)
            assert message["msg"].startswith(BOM)
            assert base64.b64decode(message["sd"]["leaf"]) == leaf_hash(text.encode())
            entry = json.loads(text)
            assert (message["sd"]["tenant"], message["sd"]["n"]) == (entry["b"]["tenant"], str(entry["n"]))
            assert (message["app"], message["msgid"]) == ("guard", entry["b"]["action"][:32])


def test_no_gap_when_rsyslog_is_killed_and_comes_back(program, tmp_path, free_port):
    port = free_port()
    sinks = (syslog(port),)
    with rsyslog(program, tmp_path / "rsyslog", port) as receiver, world(tmp_path / "home", sinks=sinks) as made:
        auditor = made.hire(PLATFORM, "user:local|auditor", "role:auditor")
        ana = made.hire("acme", "user:local|ana", "role:support")
        made.guard.worker.start()
        for _ in range(2):
            grow(made, ana, 50)
            caught_up(made, auditor)
            receiver.freeze()
            grow(made, ana, 20)
            caught_up(made, auditor)  # acknowledged by the system that rsyslog runs on, and never read
            receiver.kill()
            grow(made, ana, 50)
            receiver.start()
        grow(made, ana, 10)
        view = caught_up(made, auditor)
        size = made.guard.log.size
        indexes = received(receiver, size)
        assert sorted(set(indexes)) == list(range(size))
        assert view.complete
        assert view.delivered - view.repeated == view.next - view.first
        # What came twice is a run that was begun again, never a record out of its place.
        assert all(later <= earlier + 1 for earlier, later in itertools.pairwise(indexes))
