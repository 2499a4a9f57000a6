"""The finished evidence bundles below the home: where each lies, and which go when a person is erased.

Law: a bundle in which a value was opened holds it in clear, under no key that could be destroyed. So what opens a value
goes before the value does, and with it what a process that died left half-written.
"""

import zipfile
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path, PurePath

from guard.audit.disk import Folder

FOLDER = "evidence"


def place(home: PurePath, tenant: str, matter: str, evidence: str) -> Path:
    """Where a bundle lies; no slash and no leading dot fits the patterns of these names."""
    return Path(home) / FOLDER / tenant / matter / f"{evidence}.zip"


def forget(home: PurePath, indexes: Collection[int]) -> int:
    """Remove the bundles in which a value of one of these records was opened; how many, durably."""
    opened = {f"openings/{index}.json" for index in indexes}
    root = Path(home) / FOLDER
    found = [path for path in root.glob("*/*/*.zip") if not opened.isdisjoint(_names(path))]
    for path in [*found, *root.glob("*/*/*.part")]:
        path.unlink(missing_ok=True)
        Folder(path.parent).sync(".")
    return len(found)


def _names(path: Path) -> list[str]:
    with suppress(zipfile.BadZipFile, FileNotFoundError), zipfile.ZipFile(path) as bundle:
        return bundle.namelist()
    return []
