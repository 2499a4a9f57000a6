"""Offline verifier of a guard audit log: `python verify.py PATH [--vkey VKEY] [--since CHECKPOINT] [--json]`.

PATH is a log directory or a zip of one: `checkpoint`, `policy.txt`, `tile/<L>/<N>`, `tile/entries/<N>`,
`checkpoints/<size>`, `proofs/<index>.tlog-proof`, `manifest.json` (c2sp.org/tlog-tiles, /tlog-proof, /tlog-policy).

Law: every hash is made anew from the bytes of the entries; a stored hash is only compared. Every byte is vouched for by
the signed root, a signature or the manifest, or named as a fault. Exit 0: all holds; 7: not; 2: nothing to verify.
It needs the standard library and `cryptography` and imports nothing of guard, because it is copied into evidence and
must run years later, in other hands. So it repeats some 100 lines of tree.py, note.py and tiles.py; written twice, each
is a check on the other.
"""

import argparse
import base64
import hashlib
import json
import re
import sys
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

WIDTH, HASH, LEVELS = 256, 32, 8  # hashes in a tile, bytes in a hash, tile levels (256^8 is above any size)
MAX_BUNDLE, MAX_FILE = WIDTH * (2 + 65_535), 1 << 28  # a manifest or an accompanying file is read whole
MAX_SHAPES, MAX_ACTIONS = 8, 1000  # compiling a pattern costs as much as parsing a hundred records
MAX_FAULTS = 1000  # after so many the rest tells nothing new
ED25519, PUBLIC_BYTES = 1, {1: 32, 6: 1312}  # by signature type: Ed25519, ML-DSA-44
COUNTED = ("records", "tenants", "open_intents", "checkpoints", "proofs", "manifest", "since")
EMPTY = hashlib.sha256(b"").digest()

Progress = Callable[[int, int], None]
_sha256 = hashlib.sha256


class Unusable(Exception):
    """There is nothing to verify: the path or an argument is wrong."""


class Fault(NamedTuple):
    """One thing that is wrong: in which file, what was expected and came, and at which index if there is one."""

    path: str
    detail: str
    at: int | None = None

    def line(self) -> str:
        """One printable line: what an attacker wrote into a name cannot forge a second one or move the cursor."""
        return "".join(mark if mark.isprintable() else ascii(mark)[1:-1] for mark in f"{self.path}: {self.detail}")


@dataclass(slots=True)
class Report:
    """What was checked and found; `signers` are the log keys whose signature on `checkpoint` is good."""

    path: str
    origin: str = ""
    size: int = 0
    root: str = ""
    signers: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTED, 0))
    faults: list[Fault] = field(default_factory=list)

    def add(self, path: str, detail: object, at: int | None = None) -> None:
        """Note a fault."""
        if len(self.faults) < MAX_FAULTS:
            self.faults.append(Fault(path, str(detail), at))


class _Files:
    """The files of a directory, or of a zip with or without one common top folder. A link is no file of a log."""

    def __init__(self, path: Path) -> None:
        if path.is_dir():
            items = [item for item in path.rglob("*") if item.is_symlink() or not item.is_dir()]
            plain = [item if item.is_file() and not item.is_symlink() else None for item in items]
            names = [item.relative_to(path).as_posix() for item in items]
            self.names: dict[str, Any] = dict(zip(names, plain, strict=True))
        else:
            self.zip = zipfile.ZipFile(path)
            members = [info for info in self.zip.infolist() if not info.is_dir()]
            tops = {info.filename.partition("/")[0] + "/" for info in members}
            top = tops.pop() if len(tops) == 1 and all("/" in info.filename for info in members) else ""
            self.names = {info.filename.removeprefix(top): info for info in members}
            if len(self.names) != len(members):
                raise ValueError("one name twice")
        self.unread = set(self.names)

    def read(self, name: str, limit: int = MAX_FILE) -> bytes:
        item = self.names.get(name)
        self.unread.discard(name)
        if item is None:
            raise ValueError("a regular file was expected" if name in self.names else "the file is missing")
        try:
            if (item.stat().st_size if isinstance(item, Path) else item.file_size) > limit:
                raise ValueError(f"at most {limit} bytes were expected, more came")
            data: bytes = item.read_bytes() if isinstance(item, Path) else self.zip.read(item)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as error:
            raise ValueError(f"the file cannot be read ({type(error).__name__})") from None
        return data


def _root(*levels: Sequence[bytes]) -> bytes:
    """The root of a tree (RFC 6962 section 2.1) from its unfinished tiles, lowest level first."""
    row: Sequence[bytes] = ()
    for level in levels:
        row = [*level, *row]
        while len(row) > 1:
            pairs = [_sha256(b"\x01" + row[at] + row[at + 1]).digest() for at in range(0, len(row) - 1, 2)]
            row = [*pairs, *row[len(pairs) * 2 :]]
    return row[0] if row else EMPTY


def _climb(index: int, size: int, leaf: bytes, proof: Sequence[bytes]) -> bytes:
    """The root to which an inclusion proof leads (RFC 9162 section 2.1.3); no root at all if its length is wrong."""
    if size <= 1 or not proof:
        return b"" if size != 1 or proof else leaf
    half = 1 << (size - 1).bit_length() - 1
    if index < half:
        return _root([_climb(index, half, leaf, proof[:-1]), proof[-1]])
    return _root([proof[-1], _climb(index - half, size - half, leaf, proof[:-1])])


def _tile(kind: object, n: int, width: int = WIDTH) -> str:
    groups = [f"{n % 1000:03d}"]
    while n := n // 1000:
        groups.insert(0, f"x{n % 1000:03d}")
    return f"tile/{kind}/{'/'.join(groups)}" + (f".p/{width}" if width < WIDTH else "")


class _Head(NamedTuple):
    origin: str
    size: int
    root: bytes


def _b64decode(text: str) -> bytes:
    data = base64.b64decode(text, validate=True)
    if base64.b64encode(data).decode() != text:
        raise ValueError("another spelling of base64 was expected")
    return data


def _parse_vkey(text: str) -> tuple[str, bytes]:
    """`name+id` of a verifier key, and its type byte with the public key."""
    found = re.fullmatch(r"(([^\s+]+)\+([0-9a-f]{8}))\+(\S+)", text)
    material = _b64decode(found[4]) if found else b"\x00"
    if (
        not found
        or len(material) - 1 != PUBLIC_BYTES.get(material[0])
        or (_sha256(found[2].encode() + b"\n" + material).hexdigest()[:8] != found[3])
    ):
        raise ValueError("a verifier key name+id+key was expected, of Ed25519 or ML-DSA-44 and with its own id")
    return found[1], material


def _holds(name: str, material: bytes, head: _Head, text: str, signature: bytes) -> bool:
    stamp = signature[:8]
    try:
        if material[0] == ED25519:
            Ed25519PublicKey.from_public_bytes(material[1:]).verify(signature, text.encode())
        else:  # c2sp.org/tlog-cosignature
            signer, origin = (bytes([len(item)]) + item for item in (name.encode(), head.origin.encode()))
            tree = bytes(8) + head.size.to_bytes(8, "big") + head.root
            signed = b"subtree/v1\n\x00" + signer + stamp + origin + tree
            MLDSA44PublicKey.from_public_bytes(material[1:]).verify(signature[8:], signed)
    except (InvalidSignature, ValueError):
        return False
    return material[0] == ED25519 or stamp < b"\x80"


_NOTE = re.compile(
    r"(([^\s+\x00-\x1f]{1,255})\n(0|[1-9][0-9]{0,18})\n([A-Za-z0-9+/]{43}=)\n)\n"
    r"((?:— [^\s+\x00-\x1f]+ [A-Za-z0-9+/]{6,}={0,2}\n){1,64})"
).fullmatch
_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z"
_PHASE = "(event|intent|outcome|unknown|late)"
_NEEDED = {"id": f"({_UUID})", "phase": _PHASE, "salt": "[A-Za-z0-9_-]{22}", "tenant": '([^"]+)', "time": _TIME}
_FORMS = _NEEDED | {"intent": f"({_UUID})"}
_ESCAPED = bytes(range(32)) + b"\\"  # what a canonical string cannot hold, or holds with an escape only


def _canonical(text: str) -> Any:
    """The value of canonical JSON without floats: int() takes neither fraction nor exponent nor NaN."""
    value = json.loads(text, parse_float=int, parse_constant=int)
    if json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False) != text:
        raise ValueError("canonical JSON was expected")
    return value


def _record(text: str) -> tuple[dict[str, Any], int]:
    """The body and number of an entry, if it is a canonical record of version 1."""
    entry = _canonical(text)
    body = entry.get("b") if type(entry) is dict and set(entry) == {"b", "n"} else None
    if type(body) is not dict or type(entry["n"]) is not int or entry["n"] < 0:
        raise ValueError('the form {"b":{...},"n":...} was expected')
    texts = dict.fromkeys(_NEEDED, "") | {name: value if type(value) is str else "" for name, value in body.items()}
    wrong = [name for name, form in _FORMS.items() if name in texts and not re.fullmatch(form, texts[name])]
    if wrong or repr(body.get("v")) != "1":
        raise ValueError(f"a record of version 1 was expected; look at {wrong or 'v'}")
    return body, entry["n"]


def _shape(value: Any, forms: dict[str, str]) -> str:
    """A pattern for canonical JSON without escapes that has the same keys and types as `value`."""
    if type(value) is dict:
        keys = {key: f'"{forms[key]}"' if key in forms else _shape(item, {}) for key, item in value.items()}
        return rf"\{{{','.join(f'{re.escape(json.dumps(key))}:{shape}' for key, shape in keys.items())}\}}"
    if type(value) is list:
        return rf"\[{','.join(_shape(item, {}) for item in value)}\]"
    kinds = {str: '"[^"]*+"', bool: "(?:true|false)", type(None): "null"}
    return kinds.get(type(value), "(?:0|-?[1-9][0-9]{0,14}+)")


class _Ledger:
    """Numbers are dense in each tenant, and each intent has at most one outcome.

    A record of a new shape is parsed. One that fits a known shape is as good as the first, at a fifth of the cost.
    """

    def __init__(self, report: Report) -> None:
        self.report, self.add = report, report.add
        self.next: dict[str, int] = {}
        self.intents: dict[str, bool] = {}  # by id, whether it is open
        self.shapes: dict[str, list[Callable[[str], re.Match[str] | None]]] = {}

    def _facts(self, raw: bytes, *, plain: bool) -> Sequence[Any]:
        """Id, the intent if it closes one, phase, tenant and number of an entry."""
        text, plain = raw.decode(), plain or not any(mark in raw for mark in _ESCAPED)
        shapes = self.shapes.get(action := text[: text.find(",")], [])
        for fits in shapes if plain else ():
            if found := fits(text):
                return found.groups()
        body, n = _record(text)
        if plain and len(shapes) < MAX_SHAPES and len(self.shapes) < MAX_ACTIONS:
            pattern = rf'\{{"b":{_shape(body, _FORMS)},"n":(0|[1-9][0-9]{{0,14}})\}}'
            self.shapes[action] = [*shapes, re.compile(pattern).fullmatch]
        return *(body[name] for name in ("id", "intent", "phase", "tenant") if name in body), n

    def read(self, entries: Sequence[bytes], first: int, path: str) -> None:
        whole, since = b"".join(entries), self.report.counts["since"]
        plain = not any(mark in whole for mark in _ESCAPED)
        for index, raw in enumerate(entries, first):
            try:
                record, *intent, phase, tenant, number = self._facts(raw, plain=plain)
            except (ValueError, RecursionError) as error:
                self.add(path, f"entry {index}: {error}", index)
                continue
            n = int(number)
            want = self.next.get(tenant, n if since else 0)  # an incremental run knows no earlier numbers
            self.next[tenant] = n + 1
            if n != want:
                self.add(path, f"entry {index} has number {n} of {tenant}, not {want}: a record is missing", index)
            if (phase != "event" or intent) and (fault := self._pair(record, phase, "".join(intent))):
                self.add(path, f"entry {index} {fault}", index)

    def _pair(self, record: str, phase: str, intent: str) -> str:
        if bool(intent) != (phase in {"outcome", "unknown", "late"}):
            return "must name an intent if it closes one, and not otherwise"
        known, self.intents[intent or record] = self.intents.get(intent), not intent
        if intent and known is None and not self.report.counts["since"]:
            return f"closes the intent {intent}, which was not logged before it"
        return f"is a second outcome of the intent {intent}" if known is False and phase != "late" else ""


def _unframe(data: bytes, width: int) -> tuple[list[bytes], bool]:
    """The entries of a bundle, and whether they are so many and nothing else."""
    entries, at = list[bytes](), 0
    while at + 1 < len(data) and len(entries) < width:
        start = at + 2
        at = start + (data[at] << 8 | data[at + 1])
        entries.append(data[start:at])
    return entries[: -1 if at > len(data) else None], at == len(data) and len(entries) == width


class _Run:
    """One verification. The tree is built over the stored leaf hashes, after each was compared with its entry.

    If it gives the signed root they are the logged ones, and an entry that differs was changed; if not, the tile was.
    """

    def __init__(self, files: _Files, report: Report, keys: dict[str, bytes]) -> None:
        self.files, self.report, self.add, self.ledger = files, report, report.add, _Ledger(report)
        self.keys, self.head = dict(keys), _Head("", 0, EMPTY)
        self.vouched: set[str] = set()
        self.levels: list[list[bytes]] = [[] for _ in range(LEVELS)]
        self.wanted: dict[int, list[tuple[int, str, bytes]]] = {}
        self.if_good: list[Fault] = []  # what is wrong if the tree gives the signed root, and what if it does not
        self.if_bad: list[Fault] = []

    def run(self, given: dict[str, bytes], since: bytes, progress: Progress | None) -> None:
        names, report = sorted(self.files.names), self.report
        claims = self._read("manifest.json", self._manifest) if "manifest.json" in names else None
        self._read("policy.txt", self._policy)
        head = self._read("checkpoint", self._note)
        if head is None:
            return
        self.head, report.origin, report.size = head, head.origin, head.size
        report.root = base64.b64encode(head.root).decode()
        if given and not given.keys() & set(report.signers):
            self.add("checkpoint", "a signature by the given key was expected, none came")
        if claims not in (None, {"origin": head.origin, "root": report.root, "size": head.size}):
            self.add("manifest.json", "origin, root and size are not those of the checkpoint")
        if since and (older := self._read("--since", self._older, since)):
            report.counts["since"] = older.size
        for name in names:
            if name.startswith(("checkpoints/", "proofs/")):
                self._read(name, self._older if name.startswith("c") else self._proof)
        self._walk(progress)
        for name in sorted(self.files.unread):
            if not (report.counts["since"] and name.startswith("tile/")):
                self.add(name, f"is no file of a log of size {head.size}, and no manifest vouches for it")

    def _bytes(self, name: str, limit: int = MAX_FILE) -> bytes | None:
        try:
            return self.files.read(name, limit)
        except ValueError as error:
            self.add(name, error)
        return None

    def _read(self, name: str, parse: Callable[[str, str], Any], data: bytes = b"") -> Any:
        found = data or self._bytes(name)
        try:
            return None if found is None else parse(name, found.decode())
        except (ValueError, RecursionError) as error:
            self.add(name, error)
        return None

    def _manifest(self, _: str, text: str) -> Any:
        content = _canonical(text)
        if type(content) is not dict or type(content.get("files")) is not dict:
            raise ValueError("files, origin, root and size were expected")
        for name, digest in content.pop("files").items():
            data = self._bytes(name)
            if data is not None and _sha256(data).hexdigest() == digest:
                self.vouched.add(name)
            elif data is not None:
                self.add(name, "its SHA-256 is not the one in manifest.json")
        self.report.counts["manifest"] = 1
        return content

    def _policy(self, name: str, text: str) -> None:
        vkeys = re.findall(r"(?m)^[ \t]*log[ \t]+(\S+)", text)
        self.keys |= dict(map(_parse_vkey, vkeys))
        bare = text == "".join(f"log {vkey}\n" for vkey in vkeys) + "quorum none\n"
        if not bare and (name not in self.vouched or not re.search(r"(?m)^[ \t]*quorum[ \t]+none$", text)):
            raise ValueError("`log VKEY` and `quorum none` were expected; witnesses, or text not in a manifest, came")

    def _note(self, name: str, text: str) -> _Head:
        found, signers = _NOTE(text), []
        if not found or int(found[3]) >= 1 << 63:
            raise ValueError("a checkpoint was expected: origin, size, root, an empty line, signature lines")
        head = _Head(found[2], int(found[3]), _b64decode(found[4]))
        for signer, encoded in re.findall(r"— (\S+) (\S+)\n", found[5]):
            data = _b64decode(encoded)
            label = f"{signer}+{data[:4].hex()}"
            if label not in self.keys and name not in self.vouched:
                raise ValueError(f"a signature is by the unknown key {label}, and no manifest vouches for it")
            if label in self.keys and not _holds(signer, self.keys[label], head, found[1], data[4:]):
                raise ValueError(f"the signature by {label} is wrong: the text or the signature was changed")
            signers += [label] if label in self.keys and signer == head.origin else []
        if not signers:
            raise ValueError("a signature by a known key of the log itself was expected, none came")
        self.report.signers = self.report.signers or signers
        return head

    def _older(self, name: str, text: str) -> _Head:
        """A checkpoint of the log's past; its root is compared when the tree has grown to its size."""
        older = self._note(name, text)
        if older.origin != self.head.origin or older.size > self.head.size:
            raise ValueError(f"a checkpoint of this log up to size {self.head.size} was expected, not {older.size}")
        if name.startswith("checkpoints/") and name != f"checkpoints/{older.size}":
            raise ValueError(f"it is the checkpoint of size {older.size}, not the one of its name")
        self.report.counts["checkpoints"] += name.startswith("checkpoints/")
        self.wanted.setdefault((older.size - 1) // WIDTH, []).append((older.size, name, older.root))
        return older

    def _proof(self, name: str, text: str) -> None:
        named = re.fullmatch(r"proofs/(0|[1-9][0-9]{0,18})\.tlog-proof", name)
        at = int(named[1]) if named else -1
        form = rf"c2sp\.org/tlog-proof@v1\nindex {at}\n((?:[A-Za-z0-9+/]{{43}}=\n){{0,64}})\n(.+)"
        found = re.fullmatch(form, text, re.DOTALL)
        if not found:
            raise ValueError("a proof with the index of its name was expected")
        older, width = self._older(name, found[2]), min(WIDTH, self.head.size - at // WIDTH * WIDTH)
        bundle = _tile("entries", at // WIDTH, width)
        entries, _ = _unframe(self.files.read(bundle) if bundle in self.files.names else b"", width)
        leaf = _sha256(b"\x00" + b"".join(entries[at % WIDTH :][:1])).digest()
        proof = list(map(_b64decode, found[1].split()))
        if not 0 <= at < older.size or _climb(at, older.size, leaf, proof) != older.root:
            raise ValueError(f"it does not lead from entry {at} to the root at size {older.size}: one was changed")
        self.report.counts["proofs"] += 1

    def _walk(self, progress: Progress | None) -> None:
        first, size = self.report.counts["since"] // WIDTH, self.head.size
        for level in range(1, LEVELS):  # an incremental run starts from tiles, for which the root at `since` vouches
            n, width = divmod(first >> (8 * (level - 1)), WIDTH)
            if width:
                path = _tile(level, n, min(WIDTH, (size >> (8 * level)) - n * WIDTH))
                self.levels[level] = self._hashes(path)[:width]
        self._promised(first - 1, first * WIDTH)
        for n in range(first, -(-size // WIDTH)):
            self._bundle(n, min(WIDTH, size - n * WIDTH))
            if progress:
                progress(min(size, (n + 1) * WIDTH), size)
            if len(self.report.faults) + len(self.if_good) >= MAX_FAULTS:
                break
        for level in range(1, LEVELS):
            self._compare(level, size >> (8 * (level + 1)))
        other = f"signs another root than the {size} entries give: some were replaced or are missing"
        good = _root(*self.levels) == self.head.root
        for fault in self.if_good if good else self.if_bad or [Fault("checkpoint", other)]:
            self.add(*fault)
        self.report.counts |= {"tenants": len(self.ledger.next), "open_intents": sum(self.ledger.intents.values())}

    def _hashes(self, path: str) -> list[bytes]:
        """The hashes of a tile; empty, and named, unless it is exactly as long as its path says."""
        size = int(path.partition(".p/")[2] or WIDTH) * HASH
        data = self._bytes(path, 2 * size)
        if data is not None and len(data) != size:
            self.add(path, f"{size} bytes were expected, {len(data)} came")
        return [data[at : at + HASH] for at in range(0, size, HASH)] if data and len(data) == size else []

    def _bundle(self, n: int, width: int) -> None:
        path, tile, first = _tile("entries", n, width), _tile(0, n, width), n * WIDTH
        stored = self._hashes(tile)
        data = self._bytes(path, MAX_BUNDLE)
        entries, whole = _unframe(data or b"", width)
        leaves = [_sha256(b"\x00" + entry).digest() for entry in entries]
        if data is not None and not whole:  # after a broken length nothing is an entry, however it reads
            good = next((at for at, leaf in enumerate(leaves) if leaf not in stored[at : at + 1]), len(leaves))
            del entries[good:], leaves[good:]
            self.add(
                path, f"{width} entries and no more were expected; it breaks at index {first + good}", first + good
            )
        self.report.counts["records"] += len(entries)
        self.ledger.read(entries, first, path)
        leaves += stored[len(leaves) :] or [EMPTY] * (width - len(leaves))
        for at in range(width) if stored and leaves != stored else ():
            if leaves[at] != stored[at]:
                text = f"entry {first + at} does not match its leaf hash in {tile}"
                self.if_good.append(Fault(path, f"{text}: the entry was changed after it was logged", first + at))
                self.if_bad.append(Fault(tile, f"{text}: one of the two was changed", first + at))
        self.levels[0], level = stored or leaves, 0
        self._promised(n, 0)
        while len(self.levels[level]) == WIDTH:
            self._compare(level, n >> (8 * level))
            self.levels[level + 1].append(_root(self.levels[level]))
            self.levels[level] = []
            level += 1

    def _compare(self, level: int, n: int) -> None:
        """Compare the tile of a level above 0 with the tree so far."""
        hashes, path = self.levels[level], _tile(level, n, len(self.levels[level]))
        for at, item in enumerate(self._hashes(path) if level and hashes else ()):
            if item != hashes[at]:
                below = _tile(level - 1, n * WIDTH + at)
                self.add(path, f"hash {at} is not the root of {below}: one of the two was changed", at)

    def _promised(self, n: int, least: int) -> None:
        for size, path, root in self.wanted.get(n, ()):
            if size >= least and _root(self.levels[0][: size - n * WIDTH], *self.levels[1:]) != root:
                text = f"signs another root than the first {size} entries give: it is no earlier state of this log"
                self.if_good.append(Fault(path, text, size))


def verify(path: Path, *, vkeys: Sequence[str] = (), since: bytes = b"", progress: Progress | None = None) -> Report:
    """Check a log directory or a zip of one.

    `vkeys` are keys known from elsewhere; without any, the keys of `policy.txt` inside are taken at their word. `since`
    is a checkpoint verified earlier: the entries before it are not read again. Raises Unusable for a malformed key, or
    a path that is neither directory nor zip.
    """
    report = Report(str(path))
    try:
        given, files = dict(map(_parse_vkey, vkeys)), _Files(path)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError, OSError) as error:
        came = str(error) if path.exists() else "there is nothing"
        raise Unusable(f"Expected a log directory or a zip of one at {path}, and well-formed keys: {came}.") from None
    _Run(files, report, given).run(given, since, progress)
    return report


def main(argv: Sequence[str]) -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="verify.py", description="Verify a guard audit log offline.")
    parser.add_argument("path", type=Path, help="log directory, or a zip of one")
    parser.add_argument("--vkey", action="append", default=[], help="verifier key of the log, known from elsewhere")
    parser.add_argument("--since", type=Path, help="checkpoint verified earlier; what lies before it is not read again")
    parser.add_argument("--json", action="store_true", help="report as JSON")
    options = parser.parse_args(argv)
    try:
        since = options.since.read_bytes() if options.since else b""
        report = verify(
            options.path, vkeys=options.vkey, since=since, progress=_progress if sys.stderr.isatty() else None
        )
    except (Unusable, OSError) as error:
        sys.stderr.write(f"verify: {error}\n")
        return 2
    faults = [fault._asdict() for fault in report.faults]
    text = json.dumps({"ok": not faults, **asdict(report), "faults": faults}, indent=2)
    sys.stdout.write((text if options.json else _summary(report, given=bool(options.vkey))) + "\n")
    return 7 if faults else 0


def _progress(done: int, size: int) -> None:
    sys.stderr.write(f"\r{done:,} of {size:,} entries" if done < size else "\r\x1b[K")


def _summary(report: Report, *, given: bool) -> str:
    lines = [f"FAULT {fault.line()}" for fault in report.faults]
    if report.origin:
        trust = "the given key" if given else "the key in policy.txt: compare it with the one you hold, or pass --vkey"
        lines.append(f"log {report.origin}, size {report.size}, root {report.root}")
        lines.append(f"signed by {', '.join(report.signers)}, known by {trust}")
        lines.append(", ".join(f"{name.replace('_', ' ')} {number:,}" for name, number in report.counts.items()))
    if report.origin and not report.counts["manifest"]:
        lines.append("no manifest.json: a removed proof, signature or earlier checkpoint would not be noticed")
    return "\n".join([*lines, f"NOT VERIFIED: {len(report.faults)} faults" if report.faults else "verified"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
