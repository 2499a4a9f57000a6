"""`guard custody ...`: the slots that hold the root key, and the seal.

Law: a passphrase or a share is typed at a prompt, or read from standard input or a file descriptor; an argument would
stand in the list of processes and in the shell's history. New shares go to standard output, once.
"""

import getpass
import os
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from guard.cli.sealing import UNSEAL
from guard.cli.session import Session, verb
from guard.client import Address, Client, discover
from guard.errors import InvalidInput
from guard.settings import client_environment, discover_home, load

group = typer.Typer()
MAX_BYTES = 1 << 15
CHANGE_SECONDS = 30.0  # open streams are cut after ten
POLL_SECONDS = 0.02
ASKED = {"passphrase": ("passphrase",), "shares": ("shares",), "slip39": ("shares",)}
COLUMNS = ("slot", "plugin", "automatic", "need", "options", "created_us")
OptionsOption = Annotated[list[str] | None, typer.Option("--option", help="NAME=VALUE; where the key is, no secret")]
DescriptorOption = Annotated[int | None, typer.Option("--fd", help="file descriptor with the passphrase or shares")]
PluginArgument = Annotated[str, typer.Argument(help="passphrase, shares, slip39, aws_kms, pkcs11, transit ...")]


@verb(group, "status")
def status(session: Session) -> Any:
    """Show the state of the seal, its slots, and what waits for a second person.

    Example: guard custody status --as admin
    """
    with _client(session) as client:
        return client.call("custody.status")


@verb(group, "init")
def init(session: Session, plugin: PluginArgument, option: OptionsOption = None, fd: DescriptorOption = None) -> Any:
    """Make a new store whose root key is held there; guard must not run. `guard dev` needs none of this.

    Example: guard custody init shares --option threshold=3 --option count=5
    """
    from guard.app import initialise  # the server's parts, only where a store is made

    home = (session.home or discover_home() or Path(".guard")).absolute()
    slot, shares = initialise(load(home), plugin, _options(option), _secrets(plugin, fd, new=True))
    return {"slot": slot, "plugin": plugin, "shares": list(shares)}


@verb(group, "add")
def add(session: Session, plugin: PluginArgument, option: OptionsOption = None, fd: DescriptorOption = None) -> Any:
    """Make a further slot; a second person approves it with guard custody approve.

    Example: guard custody add passphrase --as admin
    """
    secrets = _secrets(plugin, fd, new=True)
    return session.call("custody.add", plugin=plugin, options=_options(option), secrets=secrets)


@verb(group, "move")
def move(
    session: Session, slot: str, plugin: PluginArgument, option: OptionsOption = None, fd: DescriptorOption = None
) -> Any:
    """Make a slot in place of another; a second person approves it. No data is touched.

    Example: guard custody move file-1 aws_kms --option key_id=alias/guard --option region=eu-central-1 --as admin
    """
    secrets = _secrets(plugin, fd, new=True)
    return session.call("custody.move", slot=slot, plugin=plugin, options=_options(option), secrets=secrets)


@verb(group, "approve")
def approve(session: Session, slot: str) -> Any:
    """Approve the slot that another person asked for.

    Example: guard custody approve transit-3f2a90 --as admin
    """
    session.call("custody.approve", slot=slot)
    return {"slot": slot, "state": "approved"}


@verb(group, "remove")
def remove(session: Session, slot: str) -> Any:
    """Remove a slot, though never the last, or withdraw one that waits.

    Example: guard custody remove file-1 --as admin
    """
    session.call("custody.remove", slot=slot)
    return {"slot": slot, "state": "removed"}


@verb(group, "seal")
def seal(session: Session) -> Any:
    """Seal the service: keys leave its memory, and nothing is answered until it is unsealed.

    Example: guard custody seal --as admin
    """
    answer = session.call("custody.seal")
    _await(session, sealed=True)
    return answer


@verb(group, "unseal")
def unseal(
    session: Session,
    slot: Annotated[str, typer.Option(help="the slot, where more than one could be meant")] = "",
    fd: DescriptorOption = None,
) -> Any:
    """Unseal the service with a passphrase or shares; without any, by the slots that open by themselves.

    Example: guard custody unseal
    """
    with _client(session) as client:
        answer = _unsealed(session, client, slot, fd)
    if answer["state"] == "unsealed":
        _await(session, sealed=False)
    return answer


def _unsealed(session: Session, client: Client, slot: str, fd: int | None) -> Any:
    state = client.call("custody.status") if _is_sealed(session) else {"slots": []}
    known = [one for one in state["slots"] if slot in {one["slot"], ""}]
    people = [one for one in known if one["need"]]
    if not people or (not slot and len(people) < len(known) and fd is None and not sys.stdin.isatty()):
        return client.call("custody.unseal", slot=slot)
    if len({one["plugin"] for one in people}) > 1:
        raise InvalidInput(f"Expected --slot, one of {', '.join(one['slot'] for one in people)}; got none.")
    secrets = _secrets(people[0]["plugin"], fd, new=False)
    return client.call("custody.unseal", slot=slot or people[0]["slot"], secrets=secrets)


def _await(session: Session, *, sealed: bool) -> None:
    """Wait until the next command would reach the service in its new state: the file of the sealed one says which it is.

    The answer leaves before the server that gave it has ended; a command typed at once would show it the wrong token.
    """
    end = time.monotonic() + CHANGE_SECONDS
    while not _remote(session) and _is_sealed(session) != sealed:
        if time.monotonic() > end:
            session.say(f"guard: the service has not changed over within {CHANGE_SECONDS:.0f} s; try again later.")
            return
        time.sleep(POLL_SECONDS)


def _is_sealed(session: Session) -> bool:
    home = session.home or discover_home()
    return _remote(session) or (home is not None and (home / f"{UNSEAL}.json").exists())


def _remote(session: Session) -> bool:
    return session.home is None and client_environment()[0] is not None


def _client(session: Session) -> Client:
    """The client of a sealed service where its token lies in the home, else the ordinary one."""
    if _remote(session) or not _is_sealed(session):
        return session.client()
    found: Address = discover(session.home, UNSEAL)
    return Client(found)


def _options(texts: list[str] | None) -> dict[str, str]:
    found = {}
    for text in texts or []:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise InvalidInput("Expected --option NAME=VALUE, got another form.")
        found[name] = value
    return found


def _secrets(plugin: str, descriptor: int | None, *, new: bool) -> dict[str, str]:
    """What people hold for this kind; nothing is asked for shares that are only now made."""
    names = ASKED.get(plugin, ())
    if not names or (new and names == ("shares",)):
        return {}
    return {names[0]: _typed(names[0], descriptor, twice=new)}


def _typed(name: str, descriptor: int | None, *, twice: bool) -> str:
    if descriptor is None and sys.stdin.isatty():
        return _prompted(name, twice=twice)
    try:
        with os.fdopen(0 if descriptor is None else descriptor, "rb", closefd=False) as file:
            text = file.read(MAX_BYTES + 1).decode()
    except (OSError, UnicodeDecodeError):
        raise InvalidInput(f"Expected to read the {name} as UTF-8 from --fd, got nothing of it.") from None
    if not text.strip() or len(text) > MAX_BYTES:
        raise InvalidInput(f"Expected the {name} on standard input or --fd, got none.")
    return text.rstrip("\r\n")


def _prompted(name: str, *, twice: bool) -> str:
    if name == "shares":
        lines = iter(lambda: getpass.getpass("Share (empty line ends): ").strip(), "")
        return "\n".join(lines)
    typed = getpass.getpass("Passphrase: ")
    if twice and getpass.getpass("Once more: ") != typed:
        raise InvalidInput("Expected the same passphrase twice, got two different ones; nothing was changed.")
    return typed
