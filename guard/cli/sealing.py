"""What `guard dev` and `guard serve` do around the seal: wait while it is closed, run while it is open, and again.

Law: one listening socket through all of it, so that nobody else takes the port; keys are in memory only between an
unsealing and the next sealing; a person who sealed the service is not overruled by a slot that opens by itself.
"""

import gc
import os
import secrets
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from guard.cli.session import Session
from guard.errors import Sealed

RETRY_SECONDS = 5.0
GRACE_SECONDS = 2
UNSEAL = "unseal"
"""The profile of the file with the token that opens slots by themselves, in the home directory."""


class Ending:
    """SIGTERM, from the first server to the last: one that comes while none serves ends the next as it starts."""

    def __init__(self) -> None:
        self._asked = False
        self._server: Any = None

    def ends(self, server: Any) -> None:
        """From now on the signal ends *server*, at once where it came already.

        uvicorn raises the signal that ended it once more; by default that would end the process before the store is closed.
        """
        self._server = server
        signal.signal(signal.SIGTERM, self._ask)
        if self._asked:
            server.should_exit = True

    def _ask(self, *_: object) -> None:
        self._asked = self._server.should_exit = True


Listen = Callable[[str, int], socket.socket]
Write = Callable[[Path, str, str, str], None]
Supervise = Callable[[Callable[[], bool]], Callable[[], None]]


def cycle(
    session: Session,
    build: Callable[[Any], Any],
    settings: Any,
    means: tuple[Listen, Write, Supervise],
    run: Callable[[Any, socket.socket, str, Ending], None],
) -> None:
    """Build and run; wait where the seal is closed; again after each sealing, until a signal ends it."""
    listen, ending = means[0], Ending()
    listener: socket.socket | None = None
    opened = None
    while True:
        try:
            guard = build(opened)
        except Sealed as error:
            listener = listener or listen(settings.host, settings.port)
            session.say(f"guard: {error.detail} {error.hint} [{error.code}]")
            opened = wait(session, settings, listener, (means, ending), by_itself=True)
            if opened is None:
                return
            continue
        try:
            _forget(settings)  # a process that was killed while it was sealed left it, and its token opens nothing
            listener = listener or listen(settings.host, settings.port)
            run(guard, listener.dup(), address(settings, listener), ending)
        finally:
            guard.close()
        if guard.custodian.error() is None:
            return
        guard = opened = None
        gc.unfreeze()
        gc.collect()  # keys of signing lie in objects that point at each other
        session.say("guard: the service is sealed; run guard custody unseal.")
        opened = wait(session, settings, listener, (means, ending), by_itself=False)
        if opened is None:
            return


def address(settings: Any, listener: socket.socket) -> str:
    """The URL of a listening socket."""
    return f"http://{settings.host}:{listener.getsockname()[1]}"


def wait(
    session: Session,
    settings: Any,
    listener: socket.socket,
    means: tuple[tuple[Listen, Write, Supervise], Ending],
    *,
    by_itself: bool,
) -> Any:
    """Serve the sealed service until something opens it; None when a signal ends it.

    *by_itself*: slots that need nothing are tried again and again.
    """
    import uvicorn  # the server's parts, only where a server runs

    from guard.api.asgi import Front
    from guard.api.sealed import SealedApp
    from guard.vault.starting import opening

    way = opening(settings, lambda slot, detail: session.say(f"guard: custody {slot}: {detail}"))
    token = secrets.token_urlsafe(32)
    done = threading.Event()
    config = uvicorn.Config(
        Front(SealedApp(way, token, done.set).app(), os.urandom),
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        lifespan="off",
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    server = uvicorn.Server(config)
    (_, write_address, supervise), ending = means
    ending.ends(server)
    watch = threading.Thread(target=_watch, args=(way, server, done, by_itself), name="guard-custody", daemon=True)
    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_address(settings.home, UNSEAL, address(settings, listener), token)
    session.say(f"guard serves {address(settings, listener)} from {settings.home}, sealed")
    watch.start()
    stop = supervise(lambda: True)  # a sealed service is ready to be unsealed; its supervisor must not end it
    try:
        server.run(sockets=[listener.dup()])
    finally:
        stop()
        ended = way.opened is None
        done.set()
        _forget(settings)
    watch.join()
    return None if ended else way.opened


def _forget(settings: Any) -> None:
    with suppress(FileNotFoundError):
        (settings.home / f"{UNSEAL}.json").unlink()


def _watch(way: Any, server: Any, done: threading.Event, by_itself: bool) -> None:
    """Try the slots that open by themselves; end the server once the seal is open."""
    while not done.wait(RETRY_SECONDS if by_itself else None):
        if way.attempt():
            break
    server.should_exit = True
