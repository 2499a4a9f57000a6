"""Copies in an S3 bucket with Object Lock: checkpoints, and any immutable file of the log.

Law: what was put there can be neither overwritten nor deleted before its retention ends, by guard least of all; a name
is written once. A reader looks at every version, because a delete marker hides an object without removing it, and
believes only notes that carry the log's signature. boto3 is loaded only where a bucket is named.
"""

import configparser
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

from guard.audit import anchor
from guard.audit.anchor_settings import Bucket
from guard.audit.checkpoint import Checkpoint
from guard.errors import Conflict, InvalidSetting, Unreachable

TIMEOUT_SECONDS = 10
MAX_SIZE = 2**63 - 1
MAX_INCARNATION = 999_999_999
MAX_VERSIONS = 1000  # looked through for the largest checkpoint; names are sorted so that it is among the first
MAX_PAGES = 64  # of versions under one prefix: a hundred tiles with every partial one of each are 26
BEATEN = {"PreconditionFailed", "ConditionalRequestConflict"}  # somebody else wrote the name first
MISSING, DELETED, OVERWRITTEN = "missing", "deleted", "overwritten"
Clock = Callable[[], int]


@dataclass(slots=True)
class Versions:
    """The versions of one object, newest first, and how many markers hide it."""

    ids: list[str] = field(default_factory=list)
    markers: int = 0

    @property
    def fault(self) -> str:
        """What was done to an object that was to be written once."""
        if self.markers or not self.ids:
            return DELETED
        return OVERWRITTEN if len(self.ids) > 1 else ""


class Worm:
    """One bucket. Every call is blocking and needs the network; none is made with a transaction open."""

    def __init__(self, settings: Bucket, first: str, clock: Clock, home: Path) -> None:
        self._settings = settings
        self._first = first
        self._clock = clock
        self._client = _client(settings, home)
        self.place = f"bucket {settings.bucket}"
        self.tiles = settings.tiles

    def key_of(self, head: Checkpoint) -> str:
        """The name of a checkpoint; that of the largest one sorts before all others."""
        number = MAX_INCARNATION - anchor.incarnation(head.origin, self._first)
        return f"{self._folder()}checkpoint/{number:09d}/{MAX_SIZE - head.size:019d}/{head.size}"

    def put_checkpoint(self, head: Checkpoint, note: str) -> bool:
        """Keep a signed note; False where it is there already."""
        return self.put(self.key_of(head), note.encode())

    def put_file(self, path: Path, name: str) -> bool:
        """Keep an immutable file of the log under `<prefix>/<origin>/<name>`; False where it is there already.

        Raises:
            Conflict: another content has this name.
            Unreachable: the bucket did not take it.
        """
        return self.put(self._folder() + name, path.read_bytes())

    def put(self, key: str, content: bytes) -> bool:
        """Write an object once, with retention; False where the same bytes are there already."""
        until = datetime.fromtimestamp(self._clock() // 1_000_000, UTC) + timedelta(days=self._settings.retention_days)
        digest = hashlib.sha256(content).hexdigest()
        with _Named(self._settings.bucket):
            held = self._digest(key)
            if held is not None:
                if held != digest:
                    raise Conflict(f"Expected {key} to be new in the bucket, but it holds other bytes; look into it.")
                return False
            try:
                self._client.put_object(
                    Bucket=self._settings.bucket,
                    Key=key,
                    Body=content,
                    ChecksumAlgorithm="SHA256",
                    Metadata={"sha256": digest},
                    ObjectLockMode=self._settings.mode,
                    ObjectLockRetainUntilDate=until,
                    IfNoneMatch="*",
                )
            except self._client.exceptions.ClientError as error:
                if error.response["Error"]["Code"] not in BEATEN:
                    raise
                raise Conflict(f"Expected {key} to be new in the bucket, but it came meanwhile; try again.") from None
        return True

    def name(self, origin: str, path: str) -> str:
        """The name of a file of the log with this origin: `<prefix>/<origin>/<path>`, a directory of tlog-tiles."""
        return f"{self._settings.prefix}/{origin}/{path}"

    def read(self, key: str) -> tuple[bytes | None, str]:
        """The object as it was put first, or None; and what was done to it since, or nothing.

        Raises:
            Unreachable: the bucket did not answer.
        """
        with _Named(self._settings.bucket):
            found = self.versions(key).get(key)
            if found is None or not found.ids:
                return None, MISSING if found is None else found.fault
            answer = self._client.get_object(Bucket=self._settings.bucket, Key=key, VersionId=found.ids[-1])
            return answer["Body"].read(), found.fault

    def versions(self, prefix: str) -> dict[str, "Versions"]:
        """What there is under a prefix, and ever was, by its name.

        Raises:
            Unreachable: the bucket did not answer.
        """
        found: dict[str, Versions] = {}
        with _Named(self._settings.bucket):
            pages = self._client.get_paginator("list_object_versions").paginate(
                Bucket=self._settings.bucket, Prefix=prefix
            )
            for page in islice(pages, MAX_PAGES):
                for one in page.get("Versions", ()):
                    found.setdefault(one["Key"], Versions()).ids.append(one["VersionId"])
                for one in page.get("DeleteMarkers", ()):
                    found.setdefault(one["Key"], Versions()).markers += 1
        return found

    def notes(self) -> Iterator[str]:
        """Every note found among the first names, the largest first; not one is checked here.

        Raises:
            Unreachable: the bucket did not answer.
        """
        with _Named(self._settings.bucket):
            listed = self._client.list_object_versions(
                Bucket=self._settings.bucket, Prefix=f"{self._folder()}checkpoint/", MaxKeys=MAX_VERSIONS
            )
        for one in listed.get("Versions", ()):
            with _Named(self._settings.bucket):
                answer = self._client.get_object(
                    Bucket=self._settings.bucket, Key=one["Key"], VersionId=one["VersionId"]
                )
                yield answer["Body"].read().decode("utf-8", "replace")

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def _folder(self) -> str:
        return f"{self._settings.prefix}/{self._first}/"

    def _digest(self, key: str) -> str | None:
        """SHA-256 of the oldest version of an object: what was put first is what is locked."""
        listed = self._client.list_object_versions(Bucket=self._settings.bucket, Prefix=key, MaxKeys=MAX_VERSIONS)
        found = [one for one in listed.get("Versions", ()) if one["Key"] == key]
        if not found:
            return None
        answer = self._client.get_object(Bucket=self._settings.bucket, Key=key, VersionId=found[-1]["VersionId"])
        return hashlib.sha256(answer["Body"].read()).hexdigest()


class _Named:
    """Names whatever boto3 raises, without its text: a message can hold a signed address."""

    def __init__(self, bucket: str) -> None:
        self._bucket = bucket

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if kind is None or not kind.__module__.startswith(("botocore", "boto3", "urllib3")):
            return
        response: Any = getattr(error, "response", None) or {}  # a read that timed out has one that is None
        cause = response.get("Error", {}).get("Code", kind.__name__)
        raise Unreachable(f"Expected the bucket {self._bucket} to answer, got {cause}; see its settings.") from None


def _client(settings: Bucket, home: Path) -> Any:
    try:
        import boto3  # noqa: PLC0415 - an extra, and slow to load
        from botocore.config import Config  # noqa: PLC0415
    except ImportError:
        raise InvalidSetting(
            "Expected boto3 for the setting worm, but it is not installed; install guard-service[s3]."
        ) from None
    return boto3.client(
        "s3",
        endpoint_url=settings.endpoint or None,
        region_name=settings.region,
        config=Config(
            connect_timeout=TIMEOUT_SECONDS,
            read_timeout=TIMEOUT_SECONDS,
            retries={"total_max_attempts": 3, "mode": "standard"},
            s3={"addressing_style": "path" if settings.endpoint else "auto"},
        ),
        **_credentials(settings, home),
    )


def _credentials(settings: Bucket, home: Path) -> dict[str, str]:
    if not settings.credentials_file:
        return {}
    path = home / settings.credentials_file
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(path.read_text(encoding="utf-8"))
        found = dict(parser[settings.profile])
        names = ("aws_access_key_id", "aws_secret_access_key")
        given = {name: found[name] for name in names}
    except (OSError, KeyError, configparser.Error, UnicodeDecodeError):
        raise InvalidSetting(
            f"Expected aws_access_key_id and aws_secret_access_key under [{settings.profile}] in {path}; "
            "put them there, readable for guard only."
        ) from None
    token = found.get("aws_session_token")
    return given | ({"aws_session_token": token} if token else {})
