"""Typed settings: the only reader of the environment and of secret files' locations.

Law: flag > `GUARD_*` variable > `guard.toml` in the home directory > default. An unknown key or variable is an error
with a suggestion, never a silent default. No setting holds a key, a password or a token: those live in files.
"""

import difflib
import ipaddress
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from importlib import resources
from pathlib import Path
from typing import Any

from guard.errors import InvalidSetting

# Read by tests and by clients; a server neither uses nor refuses them.
FOREIGN = frozenset({"GUARD_CONFORMANCE", "GUARD_TEST_REQUIRE", "GUARD_URL", "GUARD_TOKEN", "GUARD_OUTPUT"})
ENVIRONMENT = {
    "GUARD_HOME": "home",
    "GUARD_HOST": "host",
    "GUARD_PORT": "port",
    "GUARD_ORIGIN": "origin",
    "GUARD_ROOT_KEY_FILE": "root_key_file",
    "GUARD_NEVER_BAN": "never_ban",
}
MAX_WITNESSES = 12  # a reader must take 16 signatures of a note, and up to four are the log's own
_WITNESS_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}").fullmatch
MAX_SINKS = 8  # a thread and a commit twice a second each
MAX_SINK_SECONDS = 55  # an operator hears of a sink that stands still within a minute
SOURCE_MORE = {"replicas", "subject", "lag", "lag_limit_seconds"}  # what a source may have beside what it must
SINK_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
MAX_FILE_BYTES = 1 << 20  # a configuration larger than this is some other file


def bundled(name: str) -> Path:
    """The directory *name* (`policies` or `runbooks`) that ships with guard, from the checkout or from the wheel."""
    packaged = Path(str(resources.files("guard"))) / "_bundled" / name
    return packaged if packaged.is_dir() else Path(str(resources.files("guard"))).parent / name


@dataclass(frozen=True, slots=True)
class Source:
    """An application table whose sealed columns guard may re-encrypt and count: SQLAlchemy URL, table and columns."""

    name: str
    tenant: str
    url: str
    table: str
    primary_key: str
    columns: Mapping[str, str]  # column of the table -> field name
    replicas: tuple[str, ...] = ()  # URLs of copies that may lag; the census looks at each
    subject: str = ""  # the column with the id of the person whom a row is about
    lag: str = ""  # SQL for the source that gives how many seconds its replicas are behind; NULL means none
    lag_limit_seconds: int = 5  # above which jobs rest


@dataclass(frozen=True, slots=True)
class Witness:
    """A witness of c2sp.org/tlog-witness: its name here, the prefix of its URLs, and its verifier key."""

    name: str
    url: str
    vkey: str


@dataclass(frozen=True, slots=True)
class Sink:
    """A receiver to which the log is sent as it grows; its plugin says which of the texts it needs.

    `begin` is "first", the first record that the log still has, or "next", the first one after the sink was declared.
    """

    name: str
    plugin: str
    address: str = ""
    path: str = ""
    ca_file: str = ""
    token_file: str = ""
    begin: str = "first"
    total_seconds: int = 30
    alarm_seconds: int = 45


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of one guard process. Sizes in bytes, times in the unit that the name ends with."""

    home: Path
    host: str = "127.0.0.1"
    port: int = 8420
    origin: str = "guard.local/guard/main"
    root_key_file: Path | None = None
    policies: Path = field(default_factory=lambda: bundled("policies"))
    runbooks: Path = field(default_factory=lambda: bundled("runbooks"))
    never_ban: tuple[str, ...] = ()
    sources: tuple[Source, ...] = ()
    witnesses: tuple[Witness, ...] = ()
    witness_quorum: int = 0
    witness_seconds: int = 10
    sinks: tuple[Sink, ...] = ()
    max_body_bytes: int = 4 << 20
    queue_limit: int = 4096
    requests_per_minute: int = 600_000
    failures_per_minute: int = 120
    lateness_seconds: int = 60
    checkpoint_seconds: int = 1
    sealed_days: int = 365
    forget_days: int = 7  # until the key of a person who was forgotten is destroyed; till then it can be restored
    backup_hours: int = 24  # the backup cycle: bucket keys are rotated once in each
    database_backup_days: int = 30  # how long backups of guard.db are kept
    key_backup_days: int = 30  # how long backups of keys.db are kept
    rotation_hours: int = 90 * 24  # a key gets a new version when its newest is so old; 0: by hand and by use only
    rotation_values: int = 0  # and when it sealed so many values; 0: at the limit of its suite, which stands anyway
    quiet_hours: int = 7 * 24  # without a reading under a version before it can be retired
    heartbeat_milliseconds: int = 250
    minimum_free_bytes: int = 64 << 20
    public_log: bool = True
    production: bool = False
    anchor_file: Path | None = None
    anchors_required: int = 0
    time_stamps: tuple[Mapping[str, Any], ...] = ()  # this and the next are checked by audit/anchor_settings.py
    worm: Mapping[str, Any] = field(default_factory=dict)

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.home / "guard.db"

    @property
    def key_store(self) -> Path:
        """The second SQLite file, with the bucket keys; it has backups of its own."""
        return self.home / "keys.db"

    @property
    def key_file(self) -> Path:
        """The root key file: `root_key_file`, or `root.key` in the home directory."""
        return self.root_key_file or self.home / "root.key"


def load(home: Path, flags: Mapping[str, Any] | None = None, environment: Mapping[str, str] | None = None) -> Settings:
    """Settings for *home* from its `guard.toml`, the environment and *flags*, the later winning.

    Raises:
        InvalidSetting: unknown name, wrong type, unreadable file, or an address that does not parse.
    """
    environment = os.environ if environment is None else environment
    values = _from_file(home / "guard.toml") | _from_environment(environment)
    values |= {name: value for name, value in (flags or {}).items() if value is not None}
    values["home"] = home
    return _checked(values)


def discover_home(environment: Mapping[str, str] | None = None, start: Path | None = None) -> Path | None:
    """`GUARD_HOME`, or the nearest `.guard` directory at or above *start*; None where there is neither."""
    environment = os.environ if environment is None else environment
    if named := environment.get("GUARD_HOME"):
        return Path(named)
    start = start or Path.cwd()
    for folder in (start, *start.parents):
        if (folder / ".guard").is_dir():
            return folder / ".guard"
    return None


def client_environment(environment: Mapping[str, str] | None = None) -> tuple[str | None, str | None]:
    """`GUARD_URL` and `GUARD_TOKEN`, each None where unset."""
    environment = os.environ if environment is None else environment
    return environment.get("GUARD_URL"), environment.get("GUARD_TOKEN")


def supervisor(environment: Mapping[str, str] | None = None) -> tuple[str | None, float | None]:
    """The notification socket of systemd and half its watchdog interval in seconds, each None where there is none."""
    environment = os.environ if environment is None else environment
    interval_us = environment.get("WATCHDOG_USEC", "")
    return environment.get("NOTIFY_SOCKET"), int(interval_us) / 2_000_000 if interval_us.isdecimal() else None


def _from_file(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise InvalidSetting(f"Expected a configuration of at most {MAX_FILE_BYTES} bytes at {path}; shorten it.")
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidSetting(f"Expected TOML in {path}, but it does not parse ({error}); correct that line.") from None
    except OSError as error:
        raise InvalidSetting(f"Expected to read {path}, got {error.strerror}; check its permissions.") from None


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for variable in sorted(environment):
        if not variable.startswith("GUARD_") or variable in FOREIGN:
            continue
        if variable not in ENVIRONMENT:
            raise InvalidSetting(f"Unknown variable {variable}{_suggest(variable, ENVIRONMENT)}; unset or correct it.")
        values[ENVIRONMENT[variable]] = environment[variable]
    if "never_ban" in values:
        values["never_ban"] = [part.strip() for part in values["never_ban"].split(",") if part.strip()]
    if "port" in values:
        if not values["port"].isdecimal():
            raise InvalidSetting("Expected a port number in GUARD_PORT, got something else; give 0 to 65535.")
        values["port"] = int(values["port"])
    return values


def _checked(values: dict[str, Any]) -> Settings:
    known = {item.name: item for item in fields(Settings)}
    for name in values:
        if name not in known:
            raise InvalidSetting(f"Unknown setting {name!r}{_suggest(name, known)}; remove or correct it.")
    _check_texts(values)
    values["never_ban"] = tuple(_networks(values.get("never_ban", ())))
    values["sources"] = _sources(values.get("sources", ()))
    values["witnesses"] = _witnesses(values.get("witnesses", ()))
    values["sinks"] = _sinks(values.get("sinks", ()))
    for name, default in ((item.name, item.default) for item in fields(Settings)):
        if isinstance(default, bool):
            if type(values.get(name, default)) is not bool:
                raise InvalidSetting(f"Expected true or false for {name}; correct it.")
        elif isinstance(default, int) and (type(values.get(name, 0)) is not int or values.get(name, 0) < 0):
            raise InvalidSetting(f"Expected a whole number >= 0 for {name}; correct it.")
    settings = replace(Settings(home=values["home"]), **values)
    if settings.witness_quorum > len(settings.witnesses):
        raise InvalidSetting(
            f"Expected a witness_quorum of at most {len(settings.witnesses)}, the number of [[witnesses]], got "
            f"{settings.witness_quorum}; lower it, or name more witnesses."
        )
    if settings.port > 65535:  # noqa: PLR2004 - the largest TCP port
        raise InvalidSetting(f"Expected a port from 0 to 65535, got {settings.port}; choose another.")
    return settings


def _check_texts(values: dict[str, Any]) -> None:
    for name in ("host", "origin", "root_key_file", "policies", "runbooks", "anchor_file"):
        if not isinstance(values.get(name, ""), str | Path):
            raise InvalidSetting(f"Expected text for {name}, got {type(values[name]).__name__}; put it in quotes.")
    for name in ("home", "root_key_file", "policies", "runbooks", "anchor_file"):
        if name in values:
            values[name] = Path(values[name])
    for name in ("policies", "runbooks"):
        if name in values and not values[name].is_dir():
            raise InvalidSetting(f"Expected a directory for {name}, got {values[name]}; correct the path.")


def _networks(raw: object) -> list[str]:
    if not isinstance(raw, list | tuple):
        raise InvalidSetting("Expected a list of addresses or networks for never_ban; write it in brackets.")
    for item in raw:
        try:
            ipaddress.ip_network(str(item), strict=False)
        except ValueError:
            raise InvalidSetting(f"Expected an address or network in never_ban, got {item!r}; correct it.") from None
    return [str(item) for item in raw]


def _sources(raw: object) -> tuple[Source, ...]:
    if not isinstance(raw, list | tuple):
        raise InvalidSetting("Expected [[sources]] tables for sources, got another form; correct it.")
    return tuple(_source(number, one) for number, one in enumerate(raw, 1))


def _source(number: int, raw: object) -> Source:
    if isinstance(raw, Source):
        return raw
    wanted = {item.name for item in fields(Source)} - SOURCE_MORE
    if not isinstance(raw, dict) or set(raw) - SOURCE_MORE != wanted:
        raise InvalidSetting(f"Expected source {number} to have exactly {', '.join(sorted(wanted))}; complete it.")
    replicas, limit = raw.get("replicas", []), raw.get("lag_limit_seconds", 5)
    if type(limit) is not int or limit < 1:
        raise InvalidSetting(f"Expected a whole number of seconds as lag_limit_seconds of source {number}; correct it.")
    texts = [value for name, value in raw.items() if name not in {"columns", "replicas", "lag_limit_seconds"}]
    texts += replicas if isinstance(replicas, list) else [None]
    texts += [text for pair in raw["columns"].items() for text in pair] if isinstance(raw["columns"], dict) else [None]
    if not all(isinstance(text, str) for text in texts):
        raise InvalidSetting(f"Expected text everywhere in source {number}, and a table of columns; correct it.")
    return Source(**raw | {"replicas": tuple(replicas)})


def _witnesses(raw: object) -> tuple[Witness, ...]:
    if not isinstance(raw, list | tuple) or len(raw) > MAX_WITNESSES:
        raise InvalidSetting(f"Expected at most {MAX_WITNESSES} [[witnesses]] tables, got another form; correct it.")
    found = tuple(_witness(number, one) for number, one in enumerate(raw, 1))
    if len({one.name for one in found}) < len(found) or len({one.vkey for one in found}) < len(found):
        raise InvalidSetting("Expected each witness once, got a name or vkey twice; one witness must not count double.")
    return found


def _witness(number: int, raw: object) -> Witness:
    if isinstance(raw, Witness):
        return raw
    wanted = {item.name for item in fields(Witness)}
    if not isinstance(raw, dict) or set(raw) != wanted or not all(isinstance(text, str) for text in raw.values()):
        raise InvalidSetting(f"Expected witness {number} to have exactly the texts name, url and vkey; complete it.")
    if not _WITNESS_NAME(raw["name"]) or raw["name"] == "none":
        raise InvalidSetting(f"Expected a lower-case name of 1-64 characters for witness {number}; choose another.")
    if not raw["url"].startswith(("http://", "https://")):
        raise InvalidSetting(f"Expected the url of witness {raw['name']} to begin with https://; correct it.")
    return Witness(raw["name"], raw["url"].rstrip("/"), raw["vkey"])


def _sinks(raw: object) -> tuple[Sink, ...]:
    if not isinstance(raw, list | tuple) or len(raw) > MAX_SINKS:
        raise InvalidSetting(f"Expected at most {MAX_SINKS} [[sinks]] tables for sinks, got another form; correct it.")
    found = tuple(_sink(number, one) for number, one in enumerate(raw, 1))
    if len({one.name for one in found}) != len(found):
        raise InvalidSetting("Expected a name of its own for each sink, got one twice; rename one of them.")
    return found


def _sink(number: int, raw: object) -> Sink:
    if isinstance(raw, Sink):
        return raw
    known = {item.name: str if isinstance(item.default, str) else int for item in fields(Sink)}
    known |= {"name": str, "plugin": str}
    if not isinstance(raw, dict) or not {"name", "plugin"} <= set(raw):
        raise InvalidSetting(f"Expected a name and a plugin for sink {number}; complete it.")
    for name, value in raw.items():
        if name not in known:
            raise InvalidSetting(f"Unknown setting {name!r} in sink {number}{_suggest(name, known)}; correct it.")
        if type(value) is not known[name]:
            raise InvalidSetting(f"Expected {known[name].__name__} for {name} in sink {number}; correct it.")
    sink = Sink(**raw)
    if not SINK_NAME.fullmatch(sink.name) or sink.begin not in {"first", "next"}:
        raise InvalidSetting(
            f"Expected for sink {number} a name of lower-case letters, digits and hyphens, and begin = first or next; "
            "correct it."
        )
    if not (0 < sink.total_seconds <= MAX_SINK_SECONDS and 0 < sink.alarm_seconds <= MAX_SINK_SECONDS):
        raise InvalidSetting(f"Expected 1 to {MAX_SINK_SECONDS} for total_seconds and alarm_seconds of sink {number}.")
    return sink


def _suggest(name: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {near[0]}?)" if near else ""
