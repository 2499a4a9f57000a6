"""What a stolen key is still believed for: nothing above the checkpoint at which the log was frozen.

Law: whoever has a key can sign any size and state any time. So up to the size of `ranges.json` a signature counts as
far as that checkpoint's root vouches for it, and where only a proof of consistency could tell, the report says so.
No I/O.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from .notes import b64decode

ROOT_BYTES = 32
MAX_TIME_US = 253_402_300_800_000_000  # a year of four digits


def stolen_of(value: Mapping[str, Any]) -> tuple[int | None, bytes]:
    """Since when others may have the key of a range, and the root at its last size; raises ValueError if malformed."""
    since_us, root = value.get("stolen_us"), value.get("root")
    if since_us is not None and (type(since_us) is not int or not 0 <= since_us < MAX_TIME_US):
        raise ValueError("microseconds since 1970 were expected in stolen_us")
    data = b64decode(root) if isinstance(root, str) else b""
    if root is not None and (len(data) != ROOT_BYTES or since_us is None):
        raise ValueError("the base64 of a root was expected beside stolen_us")
    return since_us, data


def refuse_stolen(label: str, found: Any, size: int, root: bytes) -> None:
    """Raise ValueError unless the stolen key, whose range is `found`, is believed for this checkpoint."""
    if found.stolen_us is None:
        return
    since = f"the key {label} was stolen at {_time(found.stolen_us)} or later (ranges.json)"
    if size > found.last:
        raise ValueError(f"{since} and is believed up to size {found.last}, and it signed size {size}")
    if size == found.last and root and found.root and root != found.root:
        raise ValueError(f"{since}, and it signed another root for the size {size}, at which the log was frozen")


def doubts(ranges: Mapping[str, Any], opened: Any) -> list[str]:
    """What only others can settle: each stolen key without a cosignature, below the size whose root is known."""
    told = list[str]()
    for label in opened.signers:
        found = ranges.get(label)
        if found and found.stolen_us is not None and not opened.cosigners and not _pinned(found, opened.head):
            told.append(
                f"checkpoint: the key {label} was stolen at {_time(found.stolen_us)} or later; unless a time-stamp or "
                f"a cosignature is from before, ask for a proof of consistency with size {found.last}"
            )
    return told


def _pinned(found: Any, head: Any) -> bool:
    return bool(head.size == found.last and found.root == head.root)


def _time(since_us: int) -> str:
    return datetime.fromtimestamp(since_us // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
