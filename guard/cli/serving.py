"""`guard dev`, `guard serve` and `guard worker`: a process that owns a home directory."""

import contextlib
import errno
import gc
import json
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TextIO, cast

import typer

from guard.cli.sealing import Ending, cycle
from guard.cli.session import Session, verb
from guard.errors import InvalidSetting, PortOccupied
from guard.settings import Settings, discover_home, load, supervisor

DEVELOPER = (
    "role:storing-service",
    "role:identity-officer",
    "role:billing-service",
    "role:delivery-service",
    "role:support",
    "role:key-admin",
    "role:tenant-admin",
    "role:analyst",
    "role:log-shipper",
    "role:commander",
    "role:deputy",
    "role:sme",
    "role:legal",
    "role:privacy-officer",
    "role:customer-liaison",
)
PLATFORM_ADMIN = ("role:platform-admin", "role:auditor")
PROFILES = (
    ("client", "dev", "user:local|developer", DEVELOPER),
    ("admin", "system", "user:local|admin", PLATFORM_ADMIN),
)
BACKLOG = 2048  # connections that wait to be accepted
GRACE_SECONDS = 10  # a stream that is still open then is cut
COLLECT = (20_000, 20, 50)  # container objects, then generations: a request makes some forty
ONE_TIME_SECONDS = 900
ALL_ADDRESSES = frozenset({"0.0.0.0", "::"})  # noqa: S104 - the addresses that are refused

PortOption = Annotated[int | None, typer.Option(help="TCP port; 0 takes a free one")]
HostOption = Annotated[str | None, typer.Option(help="address to listen on")]


def register(app: typer.Typer) -> None:
    """Add the verbs to *app*."""
    verb(app, "dev")(dev)
    verb(app, "serve")(serve)
    verb(app, "worker")(worker)


def dev(session: Session, port: PortOption = None, host: HostOption = None) -> None:
    """Serve from ./.guard (or --home) for development, with tokens that CLI and SDK find by themselves.

    Example: guard dev --port 8420
    """
    home = _home(session).absolute()

    def run(guard: Any, listener: socket.socket, url: str, ending: Ending) -> None:
        for profile, tenant, subject, roles in PROFILES:
            sound = guard.standing.sound  # read-only, no token can be made: those of before go on
            token = _bootstrap(guard, tenant, subject, roles) if sound else _kept(home, profile)
            _write_address(home, profile, url, token)
        _say_standing(session, guard)
        session.say(f"guard serves {url} from {home}")
        session.say(f"CLI and SDK find it by {home / 'client.json'}; try: guard fields list --home {home}")
        _run(guard, listener, ending)

    _cycle(session, _settings(home, port, host), run)


def serve(session: Session, port: PortOption = None, host: HostOption = None) -> None:
    """Serve the API and run the loops, in the foreground.

    Example: guard serve --home /var/lib/guard
    """
    home = _home(session)

    def run(guard: Any, listener: socket.socket, url: str, ending: Ending) -> None:
        _say_standing(session, guard)
        if guard.standing.sound and not guard.doorkeeper.has_key(PLATFORM_ADMIN[0], "system"):
            token = _bootstrap(
                guard, "system", "user:local|admin", PLATFORM_ADMIN, kind="one", seconds=ONE_TIME_SECONDS
            )
            session.say(f"No administrator has a valid token. One-time token, valid for 15 minutes: {token}")
            session.say(f"Use it once: GUARD_URL={url} GUARD_TOKEN=... guard access exchange")
        session.say(f"guard serves {url} from {home}")
        _run(guard, listener, ending)

    _cycle(session, _settings(home.absolute(), port, host), run)


def worker(session: Session) -> None:
    """Run the loops alone (checkpoints, re-encryption, runs), without the API. The home must not be served.

    Example: guard worker --home /var/lib/guard
    """
    home = _home(session)
    guard = _build(_settings(home.absolute(), None, None))
    done = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: done.set())
    try:
        guard.worker.start()
        _say_standing(session, guard)
        session.say(f"guard runs the loops of {home}; Ctrl-C ends them.")
        done.wait()
    finally:
        guard.close()


def _say_standing(session: Session, guard: Any) -> None:
    error = guard.standing.error()
    if error is not None:
        session.say(f"guard: {error.detail} {error.hint} [{error.code}]")


def _kept(home: Path, profile: str) -> str:
    """The token that an earlier start wrote; nothing where there is none."""
    try:
        return str(json.loads((home / f"{profile}.json").read_text(encoding="utf-8"))["token"])
    except (OSError, ValueError, KeyError):
        return ""


def _home(session: Session) -> Path:
    """As for every other verb, and `./.guard` where there is none yet."""
    return session.home or discover_home() or Path(".guard")


def _settings(home: Path, port: int | None, host: str | None) -> Settings:
    quiet_logs()
    settings = load(home, {"port": port, "host": host})
    if settings.host in ALL_ADDRESSES:
        raise InvalidSetting(
            "Expected one address to listen on, got all of them; put the nginx front before 127.0.0.1."
        )
    return settings


def _cycle(session: Session, settings: Settings, run: Callable[[Any, socket.socket, str, Ending], None]) -> None:
    cycle(session, lambda opened: _build(settings, opened), settings, (listen, _write_address, _supervise), run)


def _build(settings: Settings, opened: Any = None) -> Any:
    from guard.app import build  # the server's parts, only where a server runs
    from guard.vault.memory import harden

    for refused in harden():
        print(f"guard: memory is less protected: {refused}", file=sys.stderr)
    guard = build(settings, opened=opened)
    # What was built stays for good: without this each full collection walks it, which stops every request for 0.1 s.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT)
    return guard


def listen(host: str, port: int) -> socket.socket:
    """A socket that accepts connections there.

    Raises:
        PortOccupied: another program listens on the port.
        InvalidSetting: the address cannot be listened on.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)  # at once: who reads the address connects, and a second process finds the port taken
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise PortOccupied(
                f"Expected port {port} on {host} to be free, but another program listens there; "
                "stop it, or choose another --port."
            ) from None
        raise InvalidSetting(f"Expected to listen on {host}:{port}, got: {error.strerror}; choose another.") from None
    return listener


def _run(guard: Any, listener: socket.socket, ending: Ending) -> None:
    import uvicorn  # see _build

    config = uvicorn.Config(
        guard.front,
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        lifespan="off",
        timeout_graceful_shutdown=GRACE_SECONDS,
        loop="uvloop",
        http=guard.protocol,
    )
    server = uvicorn.Server(config)
    ending.ends(server)
    guard.custodian.notify = lambda: setattr(server, "should_exit", True)
    guard.worker.start()
    stop = _supervise(lambda: guard.pipeline.alive)
    try:
        server.run(sockets=[listener])
    finally:
        stop()


def _supervise(alive: Callable[[], bool]) -> Callable[[], None]:
    """Tell systemd that the service is ready, and then, while the writer lives, that it is alive."""
    address, interval_seconds = supervisor()
    if address is None:
        return lambda: None
    done = threading.Event()

    def beat() -> None:
        _notify(address, "READY=1")
        while interval_seconds and not done.wait(interval_seconds):
            if alive():
                _notify(address, "WATCHDOG=1")

    threading.Thread(target=beat, name="guard-watchdog", daemon=True).start()
    return done.set


def _notify(address: str, message: str) -> None:
    """sd_notify(3): one datagram to the socket that systemd names; `@` stands for the abstract name space."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.connect("\0" + address[1:] if address.startswith("@") else address)
        channel.sendall(message.encode())


def _bootstrap(
    guard: Any, tenant: str, subject: str, roles: tuple[str, ...], *, kind: str = "pat", seconds: int = 30 * 86400
) -> str:
    from guard.catalogue import PLATFORM, Actor  # see _build

    request = {"tenant": tenant, "subject": subject, "roles": list(roles), "kind": kind, "expires_in_seconds": seconds}
    actor = Actor("system:worker", PLATFORM, "system")
    return str(guard.gate.call_named("principals.bootstrap", request, actor, "bootstrap").token)


def _write_address(home: Path, profile: str, url: str, token: str) -> None:
    path = home / f"{profile}.json"
    temporary = path.with_suffix(".part")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump({"url": url, "token": token}, file)
    temporary.rename(path)


class _Lossy:
    """stderr as the operators' log writes it: where the disk under it is full, lines are lost and the service goes on.

    An error here would otherwise end the commit pipeline in the very moment in which it reports that the disk is full.
    """

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            sys.stderr.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            sys.stderr.flush()


def quiet_logs() -> None:
    """Operators' log: JSON lines on stderr; Casbin's and APScheduler's own chatter is left out, as it holds values."""
    import structlog  # see _build

    for name in ("casbin", "casbin.policy", "casbin.role", "apscheduler"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.WriteLoggerFactory(file=cast("TextIO", _Lossy())),
    )
