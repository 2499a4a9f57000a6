"""Gets a log back from a bucket: the files that a home lacks, or a whole log for an empty home.

Law: the bucket is believed for nothing but bytes. What comes back is judged by the rebuild that follows, against the
signed checkpoint; that note is judged by the key that the operator gives, or else by those that the log's own records
name, which whoever wrote the whole bucket could have named. Of an object that was overwritten or hidden the first
version counts, and it is named.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import orjson

from guard.audit import anchor, note, recovery_store
from guard.audit.checkpoint import Checkpoint, Head
from guard.audit.checkpoint import parse as parse_checkpoint
from guard.audit.files import Files, tiles_ending_at
from guard.audit.indexing import placed
from guard.audit.log import Log
from guard.audit.note import VerifierKey
from guard.audit.tiles import WIDTH, Tile, decode_bundle
from guard.audit.worm_store import Worm
from guard.db.engine import Tx
from guard.errors import GuardError, InvalidInput, StoreDamaged, VerificationFailed

NAMING = (b'"action":"log.created"', b'"action":"log.key_rotated"')


@dataclass(slots=True)
class Recovery:
    """What came from the bucket."""

    fetched: int = 0
    faults: list[str] = field(default_factory=list)
    vkeys: list[str] = field(default_factory=list)  # new keys, where the home was empty


@dataclass(frozen=True, slots=True)
class Candidate:
    """A checkpoint for which the bucket has every record."""

    head: Checkpoint
    note: str
    tail: Sequence[bytes]


def fetch_files(worm: Worm, files: Files, origin: str, first: int, end: int, found: Recovery) -> None:
    """Get the full bundles and tiles of the records below *end* that the home lacks; bundles from *first* on.

    Raises:
        StoreDamaged: an object is missing in the bucket; `extra` names the index.
    """
    for n in range(end // WIDTH):
        wanted = [Tile(None, n)] if n * WIDTH >= first else []
        wanted += [Tile(*place) for place in tiles_ending_at((n + 1) * WIDTH)]
        lacking = [tile for tile in wanted if files.read(tile) is None]
        files.restore({tile.path(): _object(worm, origin, tile, found) for tile in lacking})
        found.fetched += len(lacking)


def fetch_log(tx: Tx, worm: Worm, log: Log, given: Sequence[VerifierKey], now_us: int) -> Recovery:
    """Put the largest whole log of the bucket into an empty home: files, tail, checkpoint and keys.

    Raises:
        StoreDamaged: the bucket holds no whole log. VerificationFailed: its checkpoint is not signed by its keys.
    """
    found = Recovery()
    one = next(_candidates(worm, log.first, given, found), None)
    if one is None:
        raise StoreDamaged(
            f"Expected a checkpoint of {log.first} with all of its records in {worm.place}, got none; look at the "
            "bucket, its prefix, the setting origin and --vkey."
        )
    log.become(one.head.origin)
    assert log.files is not None
    start = one.head.size - len(one.tail)
    fetch_files(worm, log.files, log.origin, 0, start, found)
    keys = _keys(log.files, start, one.tail, log.origin) | {key.encode(): key for key in given}
    _verify(one, list(keys.values()))
    time_us = placed(one.head.size - 1, _last(log.files, start, one.tail)).entry.time_us
    recovery_store.put_log(tx, log.origin, start, one.tail, Head(one.head, time_us), one.note)
    found.vkeys = recovery_store.put_keys(tx, log.origin, keys.values(), one.head.size, now_us)
    return found


def _candidates(worm: Worm, first: str, given: Sequence[VerifierKey], found: Recovery) -> Iterator[Candidate]:
    for text in worm.notes():
        try:
            head = parse_checkpoint(note.parse(text.encode()).text)
            if not head.size or not anchor.incarnation(head.origin, first):
                continue
            if given:
                note.open_checkpoint(text.encode(), head.origin, given)
            yield Candidate(head, text, _tail(worm, head, found))
        except (InvalidInput, VerificationFailed, StoreDamaged):
            continue  # somebody else's, or ahead of the copies: the next one is smaller


def _tail(worm: Worm, head: Checkpoint, found: Recovery) -> list[bytes]:
    """The records behind the last full bundle; raises StoreDamaged where the bucket lacks what completes the log."""
    n, width = divmod(head.size, WIDTH)
    if not width:
        _object(worm, head.origin, Tile(None, n - 1), found)
        return []
    entries = decode_bundle(_object(worm, head.origin, Tile(None, n, width), found))
    if len(entries) != width:
        raise InvalidInput("Expected as many records as the name of the bundle says.")
    return entries


def _object(worm: Worm, origin: str, tile: Tile, found: Recovery) -> bytes:
    name = worm.name(origin, tile.path())
    data, fault = worm.read(name)
    if data is None:
        raise StoreDamaged(f"Expected {name} in {worm.place}, but it is {fault}.", index=tile.start)
    if fault:
        found.faults.append(f"{name}: {fault}")
    return data


def _keys(files: Files, end: int, tail: Sequence[bytes], origin: str) -> dict[str, VerifierKey]:
    """Every key that the log's records name as its own."""
    found: dict[str, VerifierKey] = {}
    for entries in [*(_bundle(files, n) for n in range(end // WIDTH)), tail]:
        for entry in entries:
            if any(one in entry for one in NAMING):
                found |= {key.encode(): key for key in _named(entry) if key.name == origin}
    return found


def _named(entry: bytes) -> list[VerifierKey]:
    try:
        body = orjson.loads(entry)["b"]
        own = body["action"] in {"log.created", "log.key_rotated"}
        return [VerifierKey.decode(one) for one in body["data"]["vkeys"]] if own else []
    except (ValueError, LookupError, TypeError, GuardError):
        return []  # it only quotes such a record


def _bundle(files: Files, n: int) -> list[bytes]:
    return decode_bundle(files.read(Tile(None, n)) or b"")


def _last(files: Files, end: int, tail: Sequence[bytes]) -> bytes:
    return tail[-1] if tail else _bundle(files, end // WIDTH - 1)[-1]


def _verify(one: Candidate, keys: Sequence[VerifierKey]) -> None:
    try:
        note.open_checkpoint(one.note.encode(), one.head.origin, keys)
    except GuardError:
        raise VerificationFailed(
            f"Expected the checkpoint of size {one.head.size} to be signed by the keys that the log itself names, but "
            "it is not; give the log's key from your own notes with --vkey.",
            size=one.head.size,
        ) from None
