"""Keeps an incarnation of the log that ends as a log directory below the home, verified before anything is cleared.

Law: nothing is signed for the log that ends, since its history is in doubt: what lies behind its last checkpoint is
kept under `unsigned/` and vouched for by the next log's first record. The directory appears under its name only when
every file of it is on disk, and the offline verifier, which shares no code with the writer, finds no fault in it. Of
pruned records the hashes are kept; since the manifest is not signed either, the verifier is told where the log begins.
"""

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from guard.audit import checkpoint_store, stamp_store, store
from guard.audit.export import layout
from guard.audit.log import Log
from guard.audit.trust import Trust
from guard.audit.verifier.command import verify
from guard.db.engine import Tx
from guard.errors import StoreDamaged


class Keeper:
    """Writes log directories into `<home>/log`, each named after the last part of its origin and its size."""

    def __init__(self, home: Path) -> None:
        self._folder = home / "log"

    def keep(self, tx: Tx, log: Log, trust: Trust, up_to: int | None = None) -> str:
        """Write the whole log of the store; the folder's name below the home.

        With *up_to*, checkpoints above that size are not believed: they are kept below `distrusted/`.

        Raises:
            StoreDamaged: what was written does not verify; nothing else was changed.
        """
        size = log.own(tx).head.size
        name = f"{log.origin.rpartition('/')[2]}@{size}"
        notes = store.checkpoint_notes(tx, size)
        distrusted = [] if up_to is None else [one for one in notes if one[0] > up_to]
        notes = [one for one in notes if one not in distrusted]
        keys = [one.encode() for one in trust.keys(tx)]  # the newest may have come after what is believed
        target, temporary = self._folder / name, self._folder / f"{name}.part"
        if not target.exists():
            shutil.rmtree(temporary, ignore_errors=True)
            _write(temporary, _parts(tx, log, trust, notes, {f"distrusted/{at}": text for at, text in distrusted}))
            if notes:
                _verified(temporary, keys, log.reader(tx).span.first)
            temporary.rename(target)
            _sync(self._folder)
        elif notes:
            _verified(target, keys, log.reader(tx).span.first)
        return f"log/{name}"


def _parts(
    tx: Tx, log: Log, trust: Trust, notes: list[tuple[int, str]], distrusted: Mapping[str, str]
) -> Iterator[tuple[str, bytes]]:
    reader = log.reader(tx)
    size, first, signed = reader.span.size, reader.span.first, notes[-1][0] if notes else 0
    begin = max(first, signed)
    rest = {f"unsigned/{at}.json": entry for at, entry in enumerate(reader.entries(begin, size), begin)}
    rest |= {path: text.encode() for path, text in distrusted.items()}
    if not notes:
        return iter(rest.items())
    texts = [checkpoint_store.cosigned(tx, at, text).encode() for at, text in notes]
    rest |= {"ranges.json": trust.ranges(tx), "receipts.vkey": trust.receipts()} | dict(stamp_store.documents(tx))
    entries, policy = reader.entries(first, signed), trust.policy(tx, signed)
    return layout(log.origin, texts, entries, reader.leaves(signed), policy, documents=rest, first=first)


def _write(folder: Path, parts: Iterable[tuple[str, bytes]]) -> None:
    made = {folder}
    folder.mkdir(mode=0o700, parents=True)
    for path, content in parts:
        place = folder / path
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        made.update(parent for parent in place.parents if parent.is_relative_to(folder))
        with place.open("wb") as file:
            place.chmod(0o600)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    for each in made:
        _sync(each)


def _verified(folder: Path, vkeys: Sequence[str], first: int) -> None:
    report = verify(folder, vkeys=vkeys, min_index=first)
    if report.faults:
        raise StoreDamaged(
            f"Expected the log that ends to verify, but it has {len(report.faults)} faults, the first: "
            f"{report.faults[0]}; nothing was changed. Restore a sound database first."
        )


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
