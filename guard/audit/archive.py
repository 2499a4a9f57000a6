"""Writes the log directory of a fixed size as one zip archive: temporary file, fsync, rename, fsync of the directory.

Law: a half-written archive is never found under its name; equal logs give equal bytes (fixed order and times).
"""

import hashlib
import io
import os
import zipfile
from collections.abc import Iterable
from pathlib import Path

from guard.audit import verifier as sources

FIXED_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip archive can state
FILE_MODE = 0o644 << 16
UNIX = 3  # the system that a member says it comes from, whatever system this is
BLOCK_BYTES = 1 << 20
VERIFIER = "verify.pyz"
VERIFIER_MAIN = "import sys\n\nfrom verifier.command import main\n\nsys.exit(main(sys.argv[1:]))\n"


def write(path: Path, parts: Iterable[tuple[str, bytes]]) -> str:
    """Write *parts* (name, content) to *path*, mode 0600; the SHA-256 of the archive in hex."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    try:
        _write(temporary, parts)
        temporary.rename(path)
    finally:
        temporary.unlink(missing_ok=True)  # it holds whole records, and nobody would look for it
    _sync_directory(path.parent)
    return _digest(path)


def _write(temporary: Path, parts: Iterable[tuple[str, bytes]]) -> None:
    with temporary.open("wb") as file:
        temporary.chmod(0o600)
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in parts:
                member = zipfile.ZipInfo(name, FIXED_TIME)
                member.external_attr = FILE_MODE
                member.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(member, content)
        file.flush()
        os.fsync(file.fileno())


def verifier() -> bytes:
    """The offline verifier as one file, a zipapp, which every archive carries: `python3 verify.pyz PATH`.

    Its members are not packed, so that equal sources give equal bytes under every release of zlib, and so that a reader
    finds the text in the file as it is.
    """
    folder = Path(sources.__file__).parent
    members = {f"verifier/{path.name}": path.read_bytes() for path in folder.glob("*.py") if path.stem != "__main__"}
    content = io.BytesIO()
    content.write(b"#!/usr/bin/env python3\n")
    with zipfile.ZipFile(content, "a", zipfile.ZIP_STORED) as archive:
        for name, text in sorted({"__main__.py": VERIFIER_MAIN.encode(), **members}.items()):
            member = zipfile.ZipInfo(name, FIXED_TIME)
            member.create_system, member.external_attr = UNIX, FILE_MODE
            archive.writestr(member, text)
    return content.getvalue()


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
