"""The settings `anchor_file`, `[[time_stamps]]` and `[worm]`, checked. No I/O.

Law: they stand in `guard.toml` only; no operation and no variable can move an anchor, since whoever could would move it
to where he can write.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import PurePath
from typing import Any, TypeVar

from guard.errors import InvalidSetting

Form = TypeVar("Form")
MAX_AUTHORITIES = 8  # each is asked one after the other
MODES = ("COMPLIANCE", "GOVERNANCE")
MAX_RETENTION_DAYS = 36_500
_ADDRESS = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,62})(?:/([^\s/]+(?:/[^\s/]+)*)/?)?/?").fullmatch
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}").fullmatch


@dataclass(frozen=True, slots=True)
class Authority:
    """A time-stamp authority (RFC 3161): where it answers, and the PEM file of the chain that its tokens must have."""

    name: str
    url: str
    chain: str
    minutes: int = 60


@dataclass(frozen=True, slots=True)
class Bucket:
    """An S3 bucket with Object Lock. Without `credentials_file`, boto3 looks where it always does.

    `tiles` says that the log itself goes there too, and not its checkpoints alone.
    """

    bucket: str
    retention_days: int
    endpoint: str = ""
    region: str = "us-east-1"
    prefix: str = "guard"
    mode: str = "COMPLIANCE"
    credentials_file: str = ""
    profile: str = "default"
    minutes: int = 5
    tiles: bool = False


def authorities(raw: object) -> tuple[Authority, ...]:
    """The authorities of `[[time_stamps]]`.

    Raises:
        InvalidSetting: a table has another form, two share a name, or there are too many.
    """
    if not isinstance(raw, list | tuple) or len(raw) > MAX_AUTHORITIES:
        raise InvalidSetting(f"Expected at most {MAX_AUTHORITIES} [[time_stamps]] tables, got others; correct them.")
    found = tuple(_formed(Authority, one, f"time_stamps {number}") for number, one in enumerate(raw, 1))
    for one in found:
        if not _NAME(one.name):
            raise InvalidSetting(f"Expected a lower-case name in time_stamps, got {one.name!r}; correct it.")
        _url(one.url, "time_stamps")
    if len({one.name for one in found}) != len(found):
        raise InvalidSetting("Expected each of the [[time_stamps]] to have its own name; rename one.")
    return found


def bucket(raw: object) -> Bucket | None:
    """The bucket of `[worm]`; None where there is none.

    Raises:
        InvalidSetting: the table has another form.
    """
    if not raw:
        return None
    found = _formed(Bucket, raw, "worm")
    if found.mode not in MODES:
        raise InvalidSetting(f"Expected one of {', '.join(MODES)} for mode of worm, got {found.mode!r}; correct it.")
    if found.retention_days > MAX_RETENTION_DAYS:
        raise InvalidSetting(f"Expected retention_days of worm to be at most {MAX_RETENTION_DAYS}; correct it.")
    if found.endpoint:
        _url(found.endpoint, "worm")
    return found


def located(raw: Mapping[str, Any], address: str) -> Bucket:
    """The bucket of `s3://bucket/prefix`, to be read from; all else as in the table of `[worm]`, if there is one.

    Raises:
        InvalidSetting: the address or the table has another form.
    """
    found = _ADDRESS(address)
    if found is None:
        raise InvalidSetting("Expected the form s3://BUCKET or s3://BUCKET/PREFIX, got another; correct it.")
    given = {"retention_days": 1} | dict(raw) | {"bucket": found[1]} | ({"prefix": found[2]} if found[2] else {})
    return _formed(Bucket, given, "worm")


def place(home: PurePath, path: str | PurePath) -> PurePath:
    """A path of the settings: relative ones lie in the home directory."""
    return home / path


def _formed(form: type[Form], raw: object, where: str) -> Form:
    if isinstance(raw, form):
        return raw
    known = {item.name: item for item in fields(form)}  # type: ignore[arg-type]  # both forms are dataclasses
    if not isinstance(raw, Mapping):
        raise InvalidSetting(f"Expected a table for {where}, got another form; correct it.")
    for name in raw:
        if name not in known:
            raise InvalidSetting(f"Unknown setting {name!r} in {where}; known are {', '.join(known)}.")
    values: dict[str, Any] = dict(raw)
    try:
        made = form(**values)
    except TypeError:
        raise InvalidSetting(f"Expected {where} to have {', '.join(known)}, but one is missing; complete it.") from None
    for name, item in known.items():
        wanted = item.type if isinstance(item.type, type) else {"int": int, "str": str, "bool": bool}[str(item.type)]
        value = getattr(made, name)
        if type(value) is not wanted or (isinstance(value, int) and wanted is int and value < 1):
            kind = {int: "a whole number above 0", str: "text", bool: "true or false"}[wanted]
            raise InvalidSetting(f"Expected {kind} for {name} of {where}; correct it.")
    return made


def _url(text: str, where: str) -> None:
    if not text.startswith(("https://", "http://")):
        raise InvalidSetting(f"Expected an address that begins with https:// in {where}, got another; correct it.")
