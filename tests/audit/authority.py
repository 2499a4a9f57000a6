"""A time-stamp authority of our own: `openssl ts` behind a small HTTP server on a free port."""

import http.server
import subprocess
import threading
from pathlib import Path

CONFIGURATION = """
oid_section = oids
[oids]
policy = 1.2.3.4.1
[tsa]
default_tsa = one
[one]
serial = {folder}/serial
crypto_device = builtin
signer_cert = {folder}/tsa.pem
signer_key = {folder}/tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha384, sha512
accuracy = secs:1
ordering = yes
tsa_name = yes
ess_cert_id_chain = no
ess_cert_id_alg = sha256
[root]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
[stamping]
basicConstraints = critical, CA:false
keyUsage = critical, digitalSignature
extendedKeyUsage = critical, timeStamping
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""


class AuthorityServer:
    """Answers RFC 3161 queries with real tokens. `spoil` changes an answer, `stamped` counts them."""

    def __init__(self, folder: Path, openssl: Path) -> None:
        self.folder, self._openssl = folder, openssl
        self.spoil = lambda answer: answer
        self.status = 200
        self.queries = []
        folder.mkdir(parents=True)
        (folder / "serial").write_text("01\n")
        (folder / "tsa.cnf").write_text(CONFIGURATION.format(folder=folder))
        self._issue()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.headers["content-type"] == "application/timestamp-query"
                query = self.rfile.read(int(self.headers["content-length"]))
                answer = outer.spoil(outer.answer(query))
                self.send_response(outer.status)
                self.send_header("content-type", "application/timestamp-reply")
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                return None

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def chain(self) -> Path:
        return self.folder / "root.pem"

    def answer(self, query: bytes) -> bytes:
        self.queries.append(query)
        (self.folder / "query").write_bytes(query)
        self.run("ts", "-reply", "-queryfile", "query", "-out", "reply", "-config", "tsa.cnf")
        return (self.folder / "reply").read_bytes()

    def run(self, *arguments: str) -> str:
        done = subprocess.run(
            [self._openssl, *arguments], cwd=self.folder, capture_output=True, text=True, timeout=30, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def _issue(self) -> None:
        curve = ("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out")
        self.run(*curve, "root.key")
        self.run(*curve, "tsa.key")
        request = ("req", "-new", "-config", "tsa.cnf", "-subj")
        (self.folder / "tsa.cnf").open("a").write("[req]\ndistinguished_name = name\n[name]\n")
        self.run(
            *request, "/CN=Root", "-x509", "-key", "root.key", "-out", "root.pem", "-days", "30", "-extensions", "root"
        )
        self.run(*request, "/CN=Stamps", "-key", "tsa.key", "-out", "tsa.csr")
        signing = ("x509", "-req", "-in", "tsa.csr", "-CA", "root.pem", "-CAkey", "root.key", "-CAcreateserial")
        self.run(*signing, "-out", "tsa.pem", "-days", "30", "-extfile", "tsa.cnf", "-extensions", "stamping")
