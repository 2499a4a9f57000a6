"""The manifest of an export: canonical JSON that names each part and file by its SHA-256, and the note that signs it.

Law: a part that was removed, put in or changed shows against the manifest; a changed manifest shows against its note,
which bears the log's own key. The first line of the signed text keeps it from being taken for a checkpoint. No I/O.
"""

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from guard.audit.checkpoint import Checkpoint

VERSION = 1
CONTEXT = "guard/manifest/v1"


@dataclass(frozen=True, slots=True)
class PartFile:
    """One part of an export: records [first, last), how many of them matched, and how many bytes."""

    path: str
    first: int
    last: int
    matched: int
    sha256: str
    length: int


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for, by whom, and why."""

    export: str
    format: str
    filter: Mapping[str, Any]
    purpose: str
    requester: str
    created_us: int


def manifest(
    head: Checkpoint,
    asked: Request,
    matched: int,
    parts: Iterable[PartFile],
    files: Mapping[str, bytes],
    min_index: int = 0,
) -> bytes:
    """The bytes of `manifest.json` (RFC 8785). *files* are those that the root does not cover.

    `min_index` is the first record of a pruned log; it stands in the manifest of such a log only.
    """
    content: dict[str, Any] = {
        "created_us": asked.created_us,
        "export": asked.export,
        "files": {path: hashlib.sha256(data).hexdigest() for path, data in files.items()},
        "filter": dict(asked.filter),
        "format": asked.format,
        "matched": matched,
        "origin": head.origin,
        "parts": [
            {
                "bytes": part.length,
                "first": part.first,
                "last": part.last,
                "matched": part.matched,
                "path": part.path,
                "sha256": part.sha256,
            }
            for part in parts
        ],
        "purpose": asked.purpose,
        "requester": asked.requester,
        "root": base64.b64encode(head.root).decode("ascii"),
        "size": head.size,
        "v": VERSION,
    }
    if min_index:
        content["min_index"] = min_index
    # Keys and paths are ASCII, so sorting by code point is sorting by UTF-16 unit (RFC 8785 section 3.2.3).
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def note_text(origin: str, written: bytes) -> str:
    """The text that the log's key signs over the bytes of a manifest."""
    return f"{CONTEXT}\n{origin}\n{hashlib.sha256(written).hexdigest()}\n"
