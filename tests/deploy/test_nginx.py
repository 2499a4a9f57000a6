"""The TLS front as it ships, really run: what a stranger writes about himself does not reach guard."""

import datetime as dt
import getpass
import http.client
import ipaddress
import json
import re
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from guard import errors

CONF = Path(__file__).parents[2] / "deploy/nginx.conf"
HOST = "guard.example.org"
LIMIT_BYTES = 4 << 20
BURST = 200
HOUR = dt.timedelta(hours=1)
START_SECONDS = 10
BANNED, COUNTED, COUNTED_TOO = "127.0.0.2", "127.0.0.3", "127.0.0.4"

MAIN = """
daemon off; master_process on; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log info;
{user}
events {{ worker_connections 512; }}
http {{
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi; access_log off;
    include {folder}/site.conf;
}}
"""


class Echo(BaseHTTPRequestHandler):
    """Answers with what arrived, as guard would see it; `/status/N` answers N, `/hang-up` closes without an answer."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # headers and body leave in one packet; in two, a delayed ACK makes each answer 40 ms late

    def do_POST(self):
        size = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(size)
        self.server.seen.append(self.path)
        if self.path == "/hang-up":
            self.close_connection = True
            return
        status = int(self.path.removeprefix("/status/")) if self.path.startswith("/status/") else 200
        answer = json.dumps({"path": self.path, "headers": self.headers.items(), "bytes": len(body)}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.send_header("Request-Id", "req_of_guard")
        if "/tile/" in self.path:
            who = "public" if self.path.startswith("/guard/main/tile/0") else "private"
            self.send_header("Cache-Control", f"{who}, max-age=31536000, immutable")
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST  # noqa: N815 - http.server looks for this name

    def log_message(self, *_):
        """Nothing; the test reads `seen`."""


@dataclass
class Front:
    """A running nginx with its ports, its folder and what its upstream saw."""

    folder: Path
    tls_port: int
    plain_port: int
    seen: list[str] = field(default_factory=list)

    def connect(self, source="127.0.0.1"):
        """A connection over TLS from the address *source*."""
        context = ssl.create_default_context(cafile=self.folder / "guard.crt")
        raw = socket.create_connection(("127.0.0.1", self.tls_port), timeout=20, source_address=(source, 0))
        connection = http.client.HTTPConnection(HOST, timeout=20)
        connection.sock = context.wrap_socket(raw, server_hostname=HOST)
        return connection

    def ask(self, path, method="GET", body=None, headers=(), source="127.0.0.1", host=HOST, **more):
        """One request over a connection of its own: (status, headers, body)."""
        connection = self.connect(source)
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        connection.putheader("Host", host)
        for name, value in headers:
            connection.putheader(name, value)
        if body is not None and not more.get("encode_chunked"):
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body, **more)
        response = connection.getresponse()
        answer = response.read()
        connection.close()
        return response.status, dict(response.getheaders()), answer

    def hurry(self, path, count, source):
        """*count* requests as fast as one connection carries them: a list of (status, headers, body)."""
        connection, answers = self.connect(source), []
        for _ in range(count):
            connection.request("GET", path)
            response = connection.getresponse()
            answers.append((response.status, dict(response.getheaders()), response.read()))
        connection.close()
        return answers

    def arrives(self, *headers):
        """The headers that the upstream got when a client sent *headers*, lower-case names."""
        status, _, answer = self.ask("/echo", headers=headers)
        assert status == 200
        return [(name.lower(), value) for name, value in json.loads(answer)["headers"]]


def certificate(folder: Path) -> None:
    """A self-signed certificate for HOST, valid for an hour."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - HOUR).not_valid_after(now + HOUR)
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    cert = builder.sign(key, hashes.SHA256())
    encoding = serialization.Encoding.PEM
    (folder / "guard.crt").write_bytes(cert.public_bytes(encoding))
    private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "guard.key").write_bytes(private)


def site(folder: Path, tls_port: int, plain_port: int, upstream_port: int) -> str:
    """The shipped file with the ports and paths of this run; each is there to be replaced, or this fails."""
    text = CONF.read_text(encoding="utf-8")
    for pattern, replacement in (
        (r"127\.0\.0\.1:8420", f"127.0.0.1:{upstream_port}"),
        (r"^ +listen \[::\]:.*\n", ""),
        (r"listen 443", f"listen 127.0.0.1:{tls_port}"),
        (r"listen 80;", f"listen 127.0.0.1:{plain_port};"),
        (r"/etc/nginx/guard\.", f"{folder}/guard."),
        (r"/var/log/nginx/", f"{folder}/"),
        (r"/var/cache/nginx/", f"{folder}/"),
    ):
        text, count = re.subn(pattern, replacement, text, flags=re.MULTILINE)
        assert count, f"nothing in deploy/nginx.conf matches {pattern}"
    return text


def started(process: subprocess.Popen, port: int) -> None:
    """Wait until nginx listens on *port*."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    pytest.fail(f"nginx did not listen on port {port}; see its error log above")


def prepare(folder: Path, upstream_port: int, ports: tuple[int, int]) -> Path:
    """All files that one nginx needs in *folder*; returns its main configuration."""
    certificate(folder)
    (folder / "guard.geo").write_text(f"{BANNED}/32 ban;\n198.51.100.0/24 ban;\n", encoding="utf-8")
    (folder / "site.conf").write_text(site(folder, *ports, upstream_port), encoding="utf-8")
    root = "user root root;" if getpass.getuser() == "root" else ""  # the test's folder is closed to nginx's own user
    (folder / "nginx.conf").write_text(MAIN.format(folder=folder, user=root), encoding="utf-8")
    return folder / "nginx.conf"


@pytest.fixture(scope="module")
def front(need, free_port, tmp_path_factory) -> Iterator[Front]:
    """nginx with the shipped site, in front of an upstream that tells what it got."""
    nginx = need("nginx")
    folder = tmp_path_factory.mktemp("nginx")
    upstream = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    upstream.seen = []
    threading.Thread(target=upstream.serve_forever, daemon=True).start()
    tls_port, plain_port = free_port(), free_port()
    conf = prepare(folder, upstream.server_address[1], (tls_port, plain_port))
    process = subprocess.Popen([nginx, "-e", folder / "error.log", "-c", conf])
    try:
        started(process, tls_port)
        yield Front(folder, tls_port, plain_port, upstream.seen)
    finally:
        process.terminate()
        process.wait(timeout=START_SECONDS)
        upstream.shutdown()
        upstream.server_close()


def test_nginx_accepts_the_file(need, free_port, tmp_path):
    conf = prepare(tmp_path, 8420, (free_port(), free_port()))
    answer = subprocess.run(
        [need("nginx"), "-e", tmp_path / "log", "-t", "-c", conf], capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    assert "[warn]" not in answer.stderr


def test_a_forged_address_does_not_get_through(front):
    got = front.arrives(("X-Forwarded-For", "203.0.113.9"), ("X-Forwarded-For", "10.0.0.1, 127.0.0.1"))
    assert [value for name, value in got if name == "x-forwarded-for"] == ["127.0.0.1"]


@pytest.mark.parametrize(
    "name",
    [
        "Forwarded",
        "X-Real-IP",
        "X-Forwarded-Host",
        "X-Forwarded-Port",
        "X-Forwarded-Prefix",
        "X-Original-URI",
        "X-Original-Method",
        "True-Client-IP",
        "CF-Connecting-IP",
        "X_Forwarded_For",
        "X_Real_IP",
    ],
)
def test_other_claims_do_not_get_through(front, name):
    got = front.arrives((name, "203.0.113.9"))
    assert "203.0.113.9" not in [value for _, value in got]


def test_guard_learns_the_scheme_and_its_own_host(front):
    got = dict(front.arrives(("X-Forwarded-Proto", "gopher")))
    assert (got["x-forwarded-proto"], got["host"]) == ("https", HOST)


def test_credentials_and_keys_of_requests_get_through(front):
    sent = [
        ("Authorization", "Bearer t"),
        ("Idempotency-Key", '"k"'),
        ("If-Match", '"3"'),
        ("traceparent", "00-1-2-01"),
    ]
    got = front.arrives(*sent)
    assert {(name.lower(), value) for name, value in sent} <= set(got)


@pytest.mark.parametrize(
    ("sent", "got"), [("abc-1.2_3", "abc-1.2_3"), ("a b", None), ("x" * 65, None), ("<script>", None)]
)
def test_a_request_id_is_passed_on_only_in_guards_form(front, sent, got):
    assert dict(front.arrives(("Request-Id", sent))).get("request-id") == got


def test_the_answer_keeps_guards_request_id_and_tells_no_version(front):
    _, headers, _ = front.ask("/echo")
    assert headers["Request-Id"] == "req_of_guard"
    assert headers["Server"] == "nginx"
    assert headers["Strict-Transport-Security"].startswith("max-age=")


def test_a_body_up_to_the_limit_arrives_and_never_touches_the_disk(front):
    status, _, answer = front.ask("/echo", "POST", bytes(LIMIT_BYTES))
    assert (status, json.loads(answer)["bytes"]) == (200, LIMIT_BYTES)
    assert "buffered to a temporary file" not in (front.folder / "error.log").read_text(encoding="utf-8")


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_the_limit_is_refused_before_guard_sees_it(front, chunked):
    size = LIMIT_BYTES + 1
    body, headers = bytes(size), [("Transfer-Encoding", "chunked")] if chunked else []
    try:
        status, got, answer = front.ask("/over", "POST", body, headers, encode_chunked=chunked)
    except ConnectionError:
        pytest.fail("nginx closed before it said why")
    assert (status, got["Content-Type"]) == (413, "application/problem+json")
    assert json.loads(answer)["code"] == errors.BodyTooLarge.code
    assert "/over" not in front.seen


def test_guards_own_refusals_are_left_alone(front):
    for status in (403, 413, 429, 502, 503):
        got, headers, answer = front.ask(f"/status/{status}")
        assert (got, headers["Request-Id"]) == (status, "req_of_guard")
        assert json.loads(answer)["path"] == f"/status/{status}"


def test_a_banned_address_is_refused_before_guard_sees_it(front):
    status, _, _ = front.ask("/banned", source=BANNED)
    assert status == 403
    assert "/banned" not in front.seen


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/guard/main/tile/0/000", 1),
        ("/guard/main/tile/0/x001/234", 1),
        ("/guard/main/tile/0/001.p/7", 2),
        ("/guard/main/tile/entries/000", 2),
        ("/guard/closed/tile/0/000", 2),
        ("/guard/main/checkpoint", 2),
    ],
)
def test_only_full_hash_tiles_of_an_open_log_are_kept(front, path, asked):
    answers = {front.ask(path)[2] for _ in range(2)}
    assert front.seen.count(path) == asked
    assert len(answers) == 1
    assert dict(json.loads(answers.pop())["headers"])["X-Forwarded-For"] == "127.0.0.1"


def test_metrics_are_not_for_the_outside(front):
    assert front.ask("/metrics")[0] == 404
    assert "/metrics" not in front.seen


def test_a_stranger_is_slowed_and_a_known_server_is_not(front):
    refused = [answer for answer in front.hurry("/many", 400, COUNTED) if answer[0] == 429]
    assert 0 < len(refused) <= 400 - BURST
    _, headers, body = refused[0]
    assert (headers["Retry-After"], headers["Content-Type"]) == ("1", "application/problem+json")
    assert json.loads(body)["code"] == errors.RateLimited.code
    assert {status for status, _, _ in front.hurry("/many", 400, "127.0.0.1")} == {200}
    assert front.ask("/many", source=COUNTED_TOO)[0] == 200


def test_a_lost_answer_stays_a_502_so_that_nobody_repeats_the_request(front):
    status, headers, body = front.ask("/hang-up", "POST", b"{}")
    assert (status, headers["Content-Type"]) == (502, "application/problem+json")
    assert json.loads(body)["code"] == errors.Unreachable.code
    assert "Retry-After" not in headers
    assert front.seen.count("/hang-up") == 1


def test_plain_http_leads_to_guards_own_name_whatever_the_client_calls_it(front):
    connection = http.client.HTTPConnection("127.0.0.1", front.plain_port, timeout=20)
    connection.request("GET", "/a?b=1", headers={"Host": "evil.example"})
    response = connection.getresponse()
    assert (response.status, response.getheader("Location")) == (308, f"https://{HOST}/a?b=1")
    connection.close()


def test_another_name_gets_no_certificate(front):
    context = ssl._create_unverified_context()
    with (
        socket.create_connection(("127.0.0.1", front.tls_port), timeout=20) as raw,
        pytest.raises(ssl.SSLError, match=r"(?i)unrecognized"),
    ):
        context.wrap_socket(raw, server_hostname="evil.example")


def test_another_host_inside_the_connection_reaches_nobody(front):
    assert front.ask("/inside", host="evil.example")[0] == 421
    assert "/inside" not in front.seen


@pytest.mark.parametrize(
    ("cipher", "accepted"),
    [
        ("ECDHE-ECDSA-AES128-GCM-SHA256", True),
        ("ECDHE-ECDSA-CHACHA20-POLY1305", True),
        ("ECDHE-ECDSA-AES256-SHA", False),
    ],
)
def test_only_authenticated_ciphers_are_spoken(front, cipher, accepted):
    context = ssl.create_default_context(cafile=front.folder / "guard.crt")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(cipher)
    with socket.create_connection(("127.0.0.1", front.tls_port), timeout=20) as raw:
        if accepted:
            assert context.wrap_socket(raw, server_hostname=HOST).cipher()[0] == cipher
        else:
            with pytest.raises(ssl.SSLError, match=r"(?i)handshake"):
                context.wrap_socket(raw, server_hostname=HOST)


def test_the_log_holds_paths_without_their_query(front):
    front.ask("/logged?name=Wang")
    deadline = time.monotonic() + START_SECONDS
    while "/logged" not in (log := (front.folder / "guard.log").read_text(encoding="utf-8")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    entry = json.loads(next(line for line in log.splitlines() if "/logged" in line))
    assert (entry["path"], entry["client"], entry["request_id"]) == ("/logged", "127.0.0.1", "req_of_guard")
    assert "Wang" not in log


def test_the_addresses_in_the_file_are_documentation_or_loopback():
    found = re.findall(r"\b\d+\.\d+\.\d+\.\d+\b", CONF.read_text(encoding="utf-8"))
    allowed = [ipaddress.ip_network(each) for each in ("127.0.0.0/8", "192.0.2.0/24")]
    assert all(any(ipaddress.ip_address(each) in network for network in allowed) for each in found)
