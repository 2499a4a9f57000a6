"""Servers for the faults: a home with the settings that a fault needs, and what a start says that is refused."""

from collections.abc import Mapping
from pathlib import Path

from tests.cli.processes import Server
from tests.vault.shop import bare


def make_home(place: Path, **settings: int) -> Path:
    """A home without plans and detections, which starts faster, with these settings."""
    home = place / "home"
    home.mkdir(mode=0o700)
    lines = [f'{name} = "{path}"' for name, path in bare(place).items()]
    lines += [f"{name} = {value}" for name, value in settings.items()]
    (home / "guard.toml").write_text("\n".join(lines) + "\n")
    return home


def serve(home: Path, variables: Mapping[str, str] | None = None) -> Server:
    """A `guard dev` on it."""
    return Server(home, variables=variables)
