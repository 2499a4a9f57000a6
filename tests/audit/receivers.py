"""Receivers of the log that tests really run: rsyslog with and without TLS, a black hole, and a collector of posts."""

import datetime as dt
import ipaddress
import json
import signal
import socket
import subprocess
import threading
import time
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

START_SECONDS = 10
DAY = dt.timedelta(days=1)
BEGINNING = b'{"pri":"'  # of each line of what rsyslog writes; inside a value the quotes would be escaped

RSYSLOG = """
global(workDirectory="{folder}" maxMessageSize="72k" parser.escapeControlCharactersOnReceive="off" {tls})
module(load="imtcp" {mode})
module(load="mmpstrucdata")
template(name="parsed" type="list" option.jsonf="on") {{
  property(outname="pri" name="pri" format="jsonf")
  property(outname="app" name="app-name" format="jsonf")
  property(outname="procid" name="procid" format="jsonf")
  property(outname="msgid" name="msgid" format="jsonf")
  property(outname="time" name="timestamp" dateFormat="rfc3339" format="jsonf")
  property(outname="sd" name="$!rfc5424-sd!guard@32473" format="jsonf")
  property(outname="msg" name="msg" format="jsonf")
}}
input(type="imtcp" address="127.0.0.1" port="{port}")
action(type="mmpstrucdata" sd_name.lowercase="off")
action(type="omfile" file="{folder}/received.json" template="parsed")
"""
TLS = (
    'defaultNetstreamDriver="gtls" defaultNetstreamDriverCAFile="{folder}/ca.pem"'
    ' defaultNetstreamDriverCertFile="{folder}/cert.pem" defaultNetstreamDriverKeyFile="{folder}/key.pem"'
)
TLS_MODE = 'streamDriver.name="gtls" streamDriver.mode="1" streamDriver.authMode="anon"'


class Rsyslog:
    """A real rsyslogd with a configuration of its own; it writes what it understood as JSON, one message a line."""

    def __init__(self, program, folder, port, *, tls=False):
        self.program, self.folder, self.port = program, folder, port
        self.output = folder / "received.json"
        if tls:
            make_certificates(folder)
        text = RSYSLOG.format(
            folder=folder,
            port=port,
            tls=TLS.format(folder=folder) if tls else "",
            mode=TLS_MODE if tls else "",
        )
        (folder / "rsyslog.conf").write_text(text)
        self.process = None

    def start(self):
        command = [str(self.program), "-n", "-iNONE", "-f", str(self.folder / "rsyslog.conf")]
        log = (self.folder / "rsyslog.out").open("ab")
        with log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        wait_for(lambda: reachable(self.port), START_SECONDS, "rsyslogd did not listen")

    def kill(self):
        """SIGKILL: what it had not written is gone."""
        self.process.kill()
        self.process.wait()

    def freeze(self):
        """SIGSTOP: its system takes what comes, and it reads nothing of that."""
        self.process.send_signal(signal.SIGSTOP)

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()

    def messages(self):
        """What it has written, in order. A line that is not whole is left out: the last one while it is being written, and
        one that a kill cut short, behind which the next life of the receiver wrote on."""
        if not self.output.exists():
            return []
        lines = self.output.read_bytes().split(b"\n")[:-1]
        found = [json.loads(line[line.rindex(BEGINNING) :]) for line in lines if line]
        return [one | {"sd": json.loads(one["sd"])} for one in found]

    def indexes(self):
        return [int(message["sd"]["idx"]) for message in self.messages()]


@contextmanager
def rsyslog(program, folder, port, *, tls=False):
    folder.mkdir(exist_ok=True)
    made = Rsyslog(program, folder, port, tls=tls)
    made.start()
    try:
        yield made
    finally:
        made.stop()


@contextmanager
def black_hole(port):
    """Accepts connections and never reads; the window is small, so that it is shut at once."""
    with closing(socket.socket()) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2304)
        listener.bind(("127.0.0.1", port))
        listener.listen(64)
        taken = []

        def accept():
            while True:
                try:
                    taken.append(listener.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield taken
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)
            for one in taken:
                one.close()


class Collector(BaseHTTPRequestHandler):
    """Keeps each posted batch; answers with the next of `server.answers`, else 204."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        status = self.server.answers.pop(0) if self.server.answers else 204
        self.server.seen.append((dict(self.headers), body, status))
        if status == "hang":
            self.server.released.wait(30)
            status = 204
        self.send_response(status)
        if status == 302:
            self.send_header("location", "/elsewhere")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        """Nothing; the test reads `seen`."""


@contextmanager
def collector():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    server.seen, server.answers, server.released = [], [], threading.Event()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        server.server_close()
        thread.join(5)


def reachable(port):
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_for(condition, seconds, complaint):
    """Wait until *condition* holds; its value."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, complaint() if callable(complaint) else complaint
        time.sleep(0.02)
    return found


def make_certificates(folder):
    """A certificate authority, and a certificate of 127.0.0.1 by it."""
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name, name = named("test authority"), named("127.0.0.1")
    ca = signed(ca_name, ca_name, ca_key, ca_key, x509.BasicConstraints(ca=True, path_length=0))
    leaf = signed(
        name,
        ca_name,
        key,
        ca_key,
        x509.BasicConstraints(ca=False, path_length=None),
        x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
    )
    (folder / "ca.pem").write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    (folder / "cert.pem").write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
    )


def named(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def signed(subject, issuer, key, signer, *extensions):
    now = dt.datetime.now(dt.UTC)
    made = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    made = made.serial_number(x509.random_serial_number()).not_valid_before(now - DAY).not_valid_after(now + DAY)
    for extension in extensions:
        made = made.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
    made = made.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    made = made.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    return made.sign(signer, hashes.SHA256())
