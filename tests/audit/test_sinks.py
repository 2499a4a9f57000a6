"""The contract of sinks, over every module of the folder."""

import base64
import hashlib
import importlib
import json
import pkgutil
import socket
import threading
import time
from contextlib import closing, contextmanager

import pytest

from guard.audit import sinks
from guard.audit.exports.jsonl import line as json_line
from guard.audit.sinks import file, syslog, webhook
from guard.errors import InvalidSetting, SinkUnavailable
from guard.settings import Sink
from tests.audit.receivers import black_hole, collector, make_certificates, wait_for
from tests.audit.test_rfc5424 import row_of

NAMES = sorted(module.name for module in pkgutil.iter_modules(sinks.__path__))
ROWS = [row_of(index, index) for index in range(10)]


class Drain:
    """A plain TCP receiver that keeps what it reads."""

    def __init__(self):
        self.data, self.connections = b"", []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self):
        while True:
            try:
                made = self.listener.accept()[0]
            except OSError:
                return
            self.connections.append(made)
            threading.Thread(target=self._read, args=(made,), daemon=True).start()

    def _read(self, made):
        try:
            while found := made.recv(65536):
                self.data += found
        except OSError:
            pass

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for one in self.connections:
            one.close()

    def indexes(self):
        found, data = [], self.data
        while data:
            length, _, rest = data.partition(b" ")
            message, data = rest[: int(length)], rest[int(length) :]
            found.append(int(message.split(b'idx="')[1].split(b'"')[0]))
        return found


@contextmanager
def target(name, folder):
    """A working receiver of this kind: the plan to reach it, and the indexes that it has."""
    if name == "syslog":
        with closing(Drain()) as drain:
            yield plan_of(name, address=f"tcp://127.0.0.1:{drain.port}"), drain.indexes
    elif name == "file":
        path = folder / "audit.jsonl"
        yield (
            plan_of(name, path=str(path)),
            lambda: [json.loads(one)["index"] for one in path.read_bytes().splitlines()],
        )
    else:
        assert name == "webhook", f"no test receiver for the sink {name!r}; add one"
        with collector() as server:
            address = f"http://127.0.0.1:{server.server_port}/log"
            yield (
                plan_of(name, address=address),
                lambda: [json.loads(one)["index"] for _, body, _ in server.seen for one in body.splitlines()],
            )


def plan_of(plugin, **options):
    return Sink(name="siem", plugin=plugin, total_seconds=1, **options)


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


def test_a_module_says_what_it_takes_and_what_its_acknowledgement_means(name):
    module = importlib.import_module(f"guard.audit.sinks.{name}")
    assert len(module.ACKNOWLEDGED) > 10
    assert {"address", "path"} >= module.TAKES
    assert {"ca_file", "token_file"} >= module.MAY_TAKE


def test_what_is_sent_is_there_when_send_returns_in_order_and_once(name, tmp_path):
    module = importlib.import_module(f"guard.audit.sinks.{name}")
    with target(name, tmp_path) as (plan, indexes):
        module.check(plan)
        connection = module.connect(plan, 0)
        assert connection.send(ROWS[:4]) == 4
        assert connection.send(ROWS[4:]) == 6
        wait_for(lambda: len(indexes()) == 10, 5, indexes)
        connection.close()
        assert indexes() == list(range(10))


def test_a_closed_connection_takes_nothing(name, tmp_path):
    module = importlib.import_module(f"guard.audit.sinks.{name}")
    with target(name, tmp_path) as (plan, indexes):
        connection = module.connect(plan, 0)
        connection.send(ROWS[:2])
        connection.close()
        connection.close()
        with pytest.raises(SinkUnavailable):
            connection.send(ROWS[2:])
        wait_for(lambda: len(indexes()) >= 2, 5, indexes)
        assert indexes() == [0, 1]


def test_a_receiver_that_is_not_there_is_told_without_its_name(name, tmp_path, free_port):
    module = importlib.import_module(f"guard.audit.sinks.{name}")
    path = tmp_path / "gone" / "audit.jsonl"
    port = free_port()
    address = {"syslog": f"tcp://127.0.0.1:{port}", "webhook": f"http://127.0.0.1:{port}/"}.get(name, "")
    with pytest.raises(SinkUnavailable) as raised:
        module.connect(plan_of(name, address=address, path=str(path) if name == "file" else ""), 0).send(ROWS)
    assert str(port) not in raised.value.detail
    assert raised.value.extra["cause"]


# syslog


@pytest.mark.parametrize(
    "address", ["", "127.0.0.1:514", "udp://h:514", "tcp://h", "tcp://h:0", "tcp://h:1/x", "tcp://"]
)
def test_an_address_of_another_form_is_refused(address):
    with pytest.raises(InvalidSetting):
        syslog.check(plan_of("syslog", address=address))


def test_a_ca_file_wants_tls_and_certificates(tmp_path):
    (tmp_path / "ca.pem").write_text("no certificate")
    for address in ("tcp://h:514", "tls://h:6514"):
        with pytest.raises(InvalidSetting):
            syslog.check(plan_of("syslog", address=address, ca_file=str(tmp_path / "ca.pem")))


def test_a_receiver_that_never_reads_is_given_up_in_time(free_port):
    port = free_port()
    with black_hole(port):
        connection = syslog.connect(plan_of("syslog", address=f"tcp://127.0.0.1:{port}"), 0)
        began = time.monotonic()
        with pytest.raises(SinkUnavailable):
            for _ in range(100):
                connection.send(ROWS * 50)
        assert time.monotonic() - began < 5
        assert connection.doubtful == 0


def test_a_send_under_way_ends_when_the_connection_is_closed_by_another_thread(free_port):
    port = free_port()
    with black_hole(port):
        plan = Sink(name="siem", plugin="syslog", address=f"tcp://127.0.0.1:{port}", total_seconds=30)
        connection = syslog.connect(plan, 0)
        closer = threading.Timer(0.3, connection.close)
        closer.start()
        began = time.monotonic()
        with pytest.raises(SinkUnavailable):
            for _ in range(100):
                connection.send(ROWS * 50)
        assert time.monotonic() - began < 5
        closer.join()


def test_a_connection_that_the_receiver_closed_takes_nothing_more(tmp_path):
    with closing(Drain()) as drain:
        connection = syslog.connect(plan_of("syslog", address=f"tcp://127.0.0.1:{drain.port}"), 0)
        connection.send(ROWS[:2])
        wait_for(lambda: len(drain.indexes()) == 2, 5, "not read")
        drain.connections[0].shutdown(socket.SHUT_RDWR)
        time.sleep(0.1)
        with pytest.raises(SinkUnavailable):
            connection.send(ROWS[2:])
        assert connection.doubtful == 0


def test_what_is_doubtful_is_the_last_eight_mebibytes():
    with closing(Drain()) as drain:
        connection = syslog.connect(plan_of("syslog", address=f"tcp://127.0.0.1:{drain.port}"), 0)
        large = [row_of(index, index, resource={"id": "x" * 30_000}) for index in range(300)]
        size = sum(len(b"%d " % len(one)) + len(one) for one in map(syslog.message, large[:10]))
        for at in range(0, 300, 10):
            connection.send(large[at : at + 10])
        doubtful = connection.doubtful
        assert doubtful % 10 == 0
        sent = (300 - doubtful) // 10 * size
        assert syslog.RESEND_BYTES <= sent <= syslog.RESEND_BYTES + 2 * size
        connection.close()


def test_a_certificate_by_a_stranger_is_refused(tmp_path, need, free_port):
    from tests.audit.receivers import rsyslog

    (tmp_path / "other").mkdir()
    make_certificates(tmp_path / "other")
    with rsyslog(need("rsyslogd"), tmp_path / "rsyslog", free_port(), tls=True) as receiver:
        address = f"tls://127.0.0.1:{receiver.port}"
        with pytest.raises(SinkUnavailable) as raised:
            syslog.connect(plan_of("syslog", address=address, ca_file=str(tmp_path / "other" / "ca.pem")), 0)
        assert raised.value.extra["cause"] == "SSLCertVerificationError"


# file


def test_a_line_holds_the_exact_entry_its_index_and_its_leaf():
    row = row_of(7, 3)
    written = json_line(row)
    assert written.startswith(b'{"entry":' + row.entry + b',"index":7,')
    assert base64.b64decode(json.loads(written)["leaf"]) == hashlib.sha256(b"\0" + row.entry).digest()


@pytest.mark.parametrize("torn", [b'{"entry":{"b":{"acti', b"x", b"\n\nx" * 100_000])
def test_a_line_that_a_crash_left_half_written_is_cut_off(tmp_path, torn):
    path = tmp_path / "audit.jsonl"
    path.write_bytes(json_line(ROWS[0]) + torn)
    whole = path.read_bytes().rpartition(b"\n")[0] + b"\n"
    connection = file.connect(plan_of("file", path=str(path)), 1)
    connection.send(ROWS[1:2])
    connection.close()
    assert path.read_bytes() == whole + json_line(ROWS[1])


def test_a_file_that_was_renamed_or_removed_is_begun_again(tmp_path):
    path = tmp_path / "audit.jsonl"
    connection = file.connect(plan_of("file", path=str(path)), 0)
    connection.send(ROWS[:3])
    path.rename(tmp_path / "audit.jsonl.1")
    connection.send(ROWS[3:6])
    path.unlink()
    connection.send(ROWS[6:])
    connection.close()
    kept = [json.loads(one)["index"] for one in (tmp_path / "audit.jsonl.1").read_bytes().splitlines()]
    assert kept == [0, 1, 2]
    assert [json.loads(one)["index"] for one in path.read_bytes().splitlines()] == [6, 7, 8, 9]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_full_disk_is_a_failure_and_no_gap():
    with pytest.raises(SinkUnavailable):
        file.connect(plan_of("file", path="/dev/full"), 0).send(ROWS)


@pytest.mark.parametrize("path", ["audit.jsonl", "/no-such-directory/audit.jsonl", "/"])
def test_a_path_that_is_of_no_use_is_refused(path):
    with pytest.raises(InvalidSetting):
        file.check(plan_of("file", path=path))


# webhook


def test_a_batch_has_the_same_id_when_it_comes_again():
    with collector() as server:
        server.answers = [503, 204]
        plan = plan_of("webhook", address=f"http://127.0.0.1:{server.server_port}/log")
        connection = webhook.connect(plan, 0)
        with pytest.raises(SinkUnavailable) as raised:
            connection.send(ROWS)
        assert raised.value.extra["cause"] == "HTTP 503"
        connection.close()
        webhook.connect(plan, 0).send(ROWS)
        (first, body, _), (second, again, _) = server.seen
        assert first["guard-batch"] == second["guard-batch"] == "siem-0-9"
        assert first["content-type"] == "application/x-ndjson"
        assert body == again == b"".join(map(json_line, ROWS))


@pytest.mark.parametrize("status", [199, 302, 307, 400, 401, 413, 500])
def test_only_2xx_is_an_acknowledgement_and_no_redirect_is_followed(status):
    with collector() as server:
        server.answers = [status if status != 199 else 304]
        with pytest.raises(SinkUnavailable):
            webhook.connect(plan_of("webhook", address=f"http://127.0.0.1:{server.server_port}/"), 0).send(ROWS)
        assert len(server.seen) == 1


def test_a_receiver_that_does_not_answer_is_given_up_in_time():
    with collector() as server:
        server.answers = ["hang"]
        began = time.monotonic()
        connection = webhook.connect(plan_of("webhook", address=f"http://127.0.0.1:{server.server_port}/"), 0)
        with pytest.raises(SinkUnavailable):
            connection.send(ROWS)
        assert time.monotonic() - began < 5
        connection.close()


def test_the_token_comes_from_a_file_and_stands_in_no_error(tmp_path):
    secret = tmp_path / "token"
    secret.write_text("s3cret-token\n")
    with collector() as server:
        server.answers = [403]
        address = f"http://127.0.0.1:{server.server_port}/"
        plan = plan_of("webhook", address=address, token_file=str(secret))
        webhook.check(plan)
        with pytest.raises(SinkUnavailable) as raised:
            webhook.connect(plan, 0).send(ROWS)
        assert server.seen[0][0]["authorization"] == "Bearer s3cret-token"
        assert "s3cret" not in str(raised.value) + str(raised.value.extra)


@pytest.mark.parametrize(
    "options",
    [
        {"address": "http://siem.example.org/"},
        {"address": "ftp://127.0.0.1/"},
        {"address": "https://"},
        {"address": "https://user:pass@siem.example.org/"},
        {"address": "https://siem.example.org/", "ca_file": "/no-such-file"},
        {"address": "https://siem.example.org/", "token_file": "/no-such-file"},
    ],
)
def test_an_address_without_tls_or_files_that_are_not_there_are_refused(options):
    with pytest.raises(InvalidSetting):
        webhook.check(plan_of("webhook", **options))
