"""The files of a log directory, or of a zip of one, each read once at most and none passed over.

Law: a link is no file of a log, a name stands once, and nothing is read beyond a limit: a verifier is fed by strangers.
"""

import zipfile
import zlib
from pathlib import Path
from typing import Any

from .report import Report

MAX_FILE = 1 << 28  # an accompanying file is read whole


class Files:
    """The files of a directory, or of a zip with or without one common top folder. A link is no file of a log."""

    def __init__(self, path: Path, report: Report) -> None:
        self.report, self.names = report, dict[str, Any]()
        if path.is_dir():
            found = {item.relative_to(path).as_posix(): item for item in path.rglob("*")}
            self.unread = {name for name, item in found.items() if item.is_symlink() or not item.is_dir()}
            self.names = {at: item for at, item in found.items() if item.is_file() and not item.is_symlink()}
            return
        self.zip = zipfile.ZipFile(path)
        members = [info for info in self.zip.infolist() if not info.is_dir()]
        tops = {info.filename.partition("/")[0] + "/" for info in members}
        top = tops.pop() if len(tops) == 1 and all("/" in info.filename for info in members) else ""
        self.names = {info.filename.removeprefix(top): info for info in members}
        self.unread = set(self.names)
        if len(self.names) != len(members) or not {info.compress_type for info in members} <= {0, zipfile.ZIP_DEFLATED}:
            raise ValueError("a name is there twice, or a file is neither stored nor deflated")

    def read(self, name: str, limit: int = MAX_FILE) -> bytes | None:
        """The content of a file; None, and named as a fault, if there is none that can be read."""
        item, detail = self.names.get(name), "the file is missing"
        self.unread.discard(name)
        try:
            if item is not None:
                detail = f"at most {limit} bytes were expected, more came"
                if (item.stat().st_size if isinstance(item, Path) else item.file_size) <= limit:
                    return bytes(item.read_bytes() if isinstance(item, Path) else self.zip.read(item))
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as error:
            detail = f"the file cannot be read ({type(error).__name__})"
        self.report.add(name, detail)
        return None
