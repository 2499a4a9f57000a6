"""Where the server is and which token to use: argument > `GUARD_URL` and `GUARD_TOKEN` > `<home>/client.json`."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from guard.errors import InvalidSetting, Unreachable
from guard.settings import client_environment, discover_home

DEFAULT_PROFILE = "client"


@dataclass(frozen=True, slots=True)
class Address:
    """A server's URL and a token; the repr leaves the token out."""

    url: str
    token: str = field(repr=False)


def discover(home: Path | None = None, profile: str = DEFAULT_PROFILE) -> Address:
    """The address to use. *profile* names the file in the home directory: `client` or `admin`.

    Raises:
        Unreachable: no environment and no discovery file.
        InvalidSetting: the file is no `{url, token}` object, or others may read it.
    """
    url, token = client_environment()
    if home is None and (url or token):
        if not url or not token:
            raise InvalidSetting("Expected GUARD_URL and GUARD_TOKEN together, got one of them; set both or neither.")
        return Address(url, token)
    home = home or discover_home()
    path = (home or Path(".guard")) / f"{profile}.json"
    if not path.is_file():
        raise Unreachable(
            f"Expected a running guard server, but there is no {path}; start one with 'guard dev', "
            "or set GUARD_URL and GUARD_TOKEN."
        )
    if path.stat().st_mode & 0o077:
        raise InvalidSetting(f"Expected {path} to be readable by you alone, but others may read it; chmod 600 it.")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        url, token = found["url"], found["token"]
        if not isinstance(url, str) or not isinstance(token, str):
            raise TypeError
        return Address(url, token)
    except (OSError, ValueError, KeyError, TypeError):
        raise InvalidSetting(
            f"Expected {{url, token}} in {path}, got something else; start 'guard dev' again."
        ) from None
