"""`guard witness`: cosigns the checkpoints of logs that other people run, so that they cannot rewrite them unseen.

Law: the key is made once and never leaves its file; without its database a witness would sign any history again, so a
key whose database is gone starts nothing.
"""

import os
import signal
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from guard.cli.session import Session, verb
from guard.errors import InvalidInput, StoreDamaged

SEED_BYTES = 32
OPEN_TO_OTHERS = 0o077
DEFAULT_PORT = 8421

LogOption = Annotated[
    list[str], typer.Option("--log", help="vkey of a log to cosign; repeat it for more logs and keys")
]
NameOption = Annotated[str, typer.Option(help="name of this witness, at its first start only; a URL without scheme")]
MldsaOption = Annotated[bool, typer.Option("--mldsa/--no-mldsa", help="sign with ML-DSA-44 too")]


def register(app: typer.Typer) -> None:
    """Add the verb to *app*."""
    verb(app, "witness")(witness)


def witness(
    session: Session,
    log: LogOption,
    port: int = DEFAULT_PORT,
    host: str = "127.0.0.1",
    name: NameOption = "",
    mldsa: MldsaOption = False,
) -> None:
    """Run a witness for the logs of these vkeys, in the foreground. Run it where the logs' operators have no access.

    Example: guard witness --home /var/lib/guard-witness --log guard.example/guard/main+d200cf3d+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4
    """
    from guard.cli.serving import listen
    from guard.cli.witness_app import Witness
    from guard.db.engine import ProcessLock

    home = (session.home or Path("guard-witness")).absolute()
    keys = [_log_key(text) for text in log]
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = ProcessLock(home)
    store = None
    try:
        cosigner = _cosigner(home, name, mldsa=mldsa)
        store = _store(home)
        listener = listen(host, port)
        url = f"http://{host}:{listener.getsockname()[1]}"
        session.show({"name": cosigner.name, "url": url, "vkeys": cosigner.vkeys()})
        sys.stdout.flush()  # whoever reads the vkey from a pipe does not wait for the end
        session.say(f"guard witness {cosigner.name} listens on {url} for {len(keys)} keys of logs")
        _run(Witness(store, cosigner, keys, lambda: int(time.time())), listener)
    finally:
        if store is not None:
            store.close()
        lock.release()


def _log_key(text: str) -> Any:
    from guard.audit.note import Kind, VerifierKey

    key = VerifierKey.decode(text)
    if key.kind is Kind.COSIGNATURE:
        raise InvalidInput("Expected the vkey of a log for --log, got that of a witness; ask the log's operator.")
    return key


def _cosigner(home: Path, name: str, *, mldsa: bool) -> Any:
    """The witness of *home*, made at the first start."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

    from guard.audit.checkpoint import is_origin
    from guard.cli.witness_app import Cosigner

    path = home / "witness.key"
    if not path.exists():
        _make_key(path, name, is_name=is_origin)
        _store(home, fresh=True).close()
    found, first, second = _read_key(path)
    if name and name != found:
        raise InvalidInput(f"Expected the name {found} that this witness has, got another; leave --name out.")
    post_quantum = MLDSA44PrivateKey.from_seed_bytes(second) if mldsa else None
    return Cosigner(found, Ed25519PrivateKey.from_private_bytes(first), post_quantum)


def _make_key(path: Path, name: str, *, is_name: Any) -> None:
    seeds = [os.urandom(SEED_BYTES) for _ in range(2)]
    name = name or f"witness.local/{os.urandom(4).hex()}"
    if not is_name(name):
        raise InvalidInput("Expected a --name without white space and plus signs, got another; choose one.")
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{name}\n{seeds[0].hex()}\n{seeds[1].hex()}\n")
        file.flush()
        os.fsync(file.fileno())


def _read_key(path: Path) -> tuple[str, bytes, bytes]:
    if path.stat().st_mode & OPEN_TO_OTHERS:
        raise InvalidInput(f"Expected {path} to be readable by its owner only; run chmod 600 on it.")
    lines = path.read_text(encoding="utf-8").splitlines()
    try:
        name, first, second = lines[0], bytes.fromhex(lines[1]), bytes.fromhex(lines[2])
    except (IndexError, ValueError):
        first = second = b""
    if len(first) != SEED_BYTES or len(second) != SEED_BYTES:
        raise InvalidInput(f"Expected a name and two keys of 32 bytes in {path}, got another text; restore the file.")
    return name, first, second


def _store(home: Path, *, fresh: bool = False) -> Any:
    from guard.audit.witness_store import WitnessFile

    path = home / "witness.db"
    if path.exists() is fresh:
        raise StoreDamaged(
            f"Expected {path} and witness.key beside it, or neither, got one of them. A witness that forgot what it "
            "cosigned is worth nothing: restore the file, or begin with an empty --home and tell the logs its vkey."
        )
    if fresh:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    return WitnessFile(path)


def _run(app: Any, listener: Any) -> None:
    import uvicorn

    config = uvicorn.Config(
        app, log_config=None, access_log=False, server_header=False, proxy_headers=False, lifespan="off", loop="uvloop"
    )
    server = uvicorn.Server(config)
    # uvicorn raises the signal once more, and by default that ends the process before the file is closed.
    signal.signal(signal.SIGTERM, lambda *_: setattr(server, "should_exit", True))
    server.run(sockets=[listener])
