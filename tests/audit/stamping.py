"""A time-stamping authority of RFC 3161 made by the program openssl, for one test run."""

import subprocess

CONFIG = """
[req]
distinguished_name = name
prompt = no
[name]
CN = test authority
[tsa]
keyUsage = critical, digitalSignature
extendedKeyUsage = critical, timeStamping
[ca]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign
[authority]
serial = serial
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
accuracy = secs:1
ordering = no
ess_cert_id_alg = sha256
"""


class Authority:
    """Issues time-stamps under a root certificate of its own, all in one folder."""

    def __init__(self, openssl, folder):
        self.openssl, self.folder = openssl, folder
        (folder / "conf").write_text(CONFIG)
        (folder / "serial").write_text("01\n")
        self._certificate("root", "ca", "-x509", "-days", "2", "-subj", "/CN=test root")
        self._certificate("tsa", "tsa", "-x509", "-days", "2", "-CA", "root.pem", "-CAkey", "root.key")

    def stamp(self, data):
        """A time-stamp token over these bytes."""
        (self.folder / "data").write_bytes(data)
        self._run("ts", "-query", "-data", "data", "-sha256", "-cert", "-out", "query")
        signing = ("-signer", "tsa.pem", "-inkey", "tsa.key")
        self._run(
            "ts", "-reply", "-config", "conf", "-section", "authority", "-queryfile", "query", *signing, "-out", "reply"
        )
        return (self.folder / "reply").read_bytes()

    def chain(self):
        return (self.folder / "root.pem").read_bytes()

    def _certificate(self, name, extensions, *options):
        key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-keyout", f"{name}.key")
        self._run("req", "-config", "conf", "-extensions", extensions, *key, "-out", f"{name}.pem", *options)

    def _run(self, *arguments):
        subprocess.run([self.openssl, *arguments], cwd=self.folder, check=True, capture_output=True, timeout=60)
