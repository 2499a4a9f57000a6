"""Offline verifier of a guard audit log: `python verify.py PATH [--vkey VKEY] [--since CHECKPOINT] [--json]`.

PATH is a log directory or a zip of one: `checkpoint`, `policy.txt`, `tile/<L>/<N>`, `tile/entries/<N>`,
`checkpoints/<size>`, `proofs/<index>.tlog-proof`, `manifest.json` (c2sp.org/tlog-tiles, /tlog-proof, /tlog-policy).

Law: every hash is made anew from the bytes of the entries; a stored hash is only compared. Every byte is vouched for by
the signed root, a signature or the manifest, or named as a fault. Exit 0: all holds; 7: not; 2: nothing to verify.
It imports nothing of guard, because it is copied into evidence and must run years later in other hands.
"""

import argparse
import base64
import json
import re
import sys
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

WIDTH, HASH, LEVELS = 256, 32, 8  # hashes in a tile, bytes in a hash, tile levels (256^8 is above any size)
MAX_BUNDLE, MAX_FILE = WIDTH * (2 + 65_535), 1 << 28  # a manifest or an accompanying file is read whole
MAX_SHAPES, MAX_ACTIONS, MAX_FAULTS = 8, 1000, 1000  # compiling costs a hundred parses; more faults tell nothing new
ED25519, PUBLIC_BYTES = 1, {1: 32, 6: 1312}  # by signature type: Ed25519, ML-DSA-44
COUNTED = ("records", "tenants", "open_intents", "checkpoints", "proofs", "manifest", "since")
EMPTY = sha256(b"").digest()

Progress = Callable[[int, int], None]


class Unusable(Exception):
    """There is nothing to verify: the path or an argument is wrong."""


class Fault(NamedTuple):
    """One thing that is wrong: in which file, what was expected and came, and at which index if there is one."""

    path: str
    detail: str
    at: int | None = None

    def __str__(self) -> str:
        # What an attacker wrote into a name can neither forge a second line nor move the cursor.
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
        fault = Fault(path, str(detail), at)
        if len(self.faults) < MAX_FAULTS and fault not in self.faults:
            self.faults.append(fault)


class _Files:
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


def _root(*levels: Sequence[bytes]) -> bytes:
    """The root of a tree (RFC 6962 section 2.1) from its unfinished tiles, lowest level first."""
    row: Sequence[bytes] = ()
    for level in levels:
        row = [*level, *row]
        while len(row) > 1:
            pairs = [sha256(b"\x01" + row[at] + row[at + 1]).digest() for at in range(0, len(row) - 1, 2)]
            row = [*pairs, *row[len(pairs) * 2 :]]
    return row[0] if row else EMPTY


def _climb(index: int, size: int, leaf: bytes, proof: Sequence[bytes]) -> bytes:
    """The root to which an inclusion proof leads (RFC 9162 section 2.1.3); no root at all if its length is wrong."""
    if size <= 1 or not proof:
        return b"" if size != 1 or proof else leaf
    half, *rest, last = 1 << (size - 1).bit_length() - 1, *proof
    if index < half:
        return _root([_climb(index, half, leaf, rest), last])
    return _root([last, _climb(index - half, size - half, leaf, rest)])


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
    own_id = sha256((found[2] if found else "").encode() + b"\n" + material).hexdigest()[:8]
    if not found or len(material) - 1 != PUBLIC_BYTES.get(material[0]) or own_id != found[3]:
        raise ValueError("a verifier key name+id+key was expected, of Ed25519 or ML-DSA-44 and with its own id")
    return found[1], material


def _holds(name: str, material: bytes, head: _Head, text: str, signature: bytes) -> bool:
    try:
        if material[0] == ED25519:
            Ed25519PublicKey.from_public_bytes(material[1:]).verify(signature, text.encode())
        else:  # c2sp.org/tlog-cosignature
            signer, origin = (bytes([len(item)]) + item for item in (name.encode(), head.origin.encode()))
            tree = bytes(8) + head.size.to_bytes(8, "big") + head.root
            signed = b"subtree/v1\n\x00" + signer + signature[:8] + origin + tree
            MLDSA44PublicKey.from_public_bytes(material[1:]).verify(signature[8:], signed)
    except (InvalidSignature, ValueError):
        return False
    return material[0] == ED25519 or signature[:8] < b"\x80"


_NOTE = re.compile(
    r"(([^\s+\x00-\x1f]{1,255})\n(0|[1-9][0-9]{0,18})\n([A-Za-z0-9+/]{43}=)\n)\n"
    r"((?:— [^\s+\x00-\x1f]+ [A-Za-z0-9+/]{6,}={0,2}\n){1,64})"
).fullmatch
_PROOF = re.compile(
    r"c2sp\.org/tlog-proof@v1\nindex (0|[1-9][0-9]{0,18})\n((?:[A-Za-z0-9+/]{43}=\n){0,64})\n(.+)", re.DOTALL
).fullmatch
_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z"
_FORMS = {"id": f'"({_UUID})"', "intent": f'"({_UUID})"', "phase": '"(event|intent|outcome|unknown|late)"', "v": "1"}
_FORMS |= {"action": '"[^"]+"', "salt": '"[A-Za-z0-9_-]{22}"', "tenant": '"([^"]+)"', "time": f'"{_TIME}"'}
_ESCAPED = bytes(range(32)) + b"\\"  # what a canonical string cannot hold, or holds with an escape only


def _canonical(text: str) -> Any:
    """The value of canonical JSON without floats: int() takes neither fraction nor exponent nor NaN."""
    value = json.loads(text, parse_float=int, parse_constant=int)
    if json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False) != text:
        raise ValueError("canonical JSON was expected")
    return value


def _record(text: str) -> tuple[dict[str, Any], int]:
    entry = _canonical(text)
    body = entry.get("b") if type(entry) is dict and set(entry) == {"b", "n"} else None
    if type(body) is not dict or type(entry["n"]) is not int or entry["n"] < 0:
        raise ValueError('the form {"b":{...},"n":...} was expected')
    forms = {name: form for name, form in _FORMS.items() if name != "intent" or name in body}
    wrong = [name for name, form in forms.items() if not re.fullmatch(form, json.dumps(body.get(name)))]
    if wrong:
        raise ValueError(f"a record of version 1 was expected; look at {', '.join(wrong)}")
    return body, entry["n"]


def _shape(value: Any, forms: dict[str, str]) -> str:
    if type(value) is dict:
        keys = {key: forms.get(key) or _shape(item, {}) for key, item in value.items()}
        return rf"\{{{','.join(f'{re.escape(json.dumps(key))}:{shape}' for key, shape in keys.items())}\}}"
    if type(value) is list:
        return rf"\[{','.join(_shape(item, {}) for item in value)}\]"
    kinds = {str: '"[^"]*+"', bool: "(?:true|false)", type(None): "null"}
    return kinds.get(type(value), "(?:0|-?[1-9][0-9]{0,14}+)")


class _Ledger:
    """Numbers are dense in each tenant, intents have at most one outcome; a record of a known shape is not parsed."""

    def __init__(self, report: Report) -> None:
        self.report, self.add = report, report.add
        self.next, self.intents = dict[str, int](), dict[str, bool]()  # number per tenant; id: whether it is open
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
            want, self.next[tenant] = self.next.get(tenant, n if since else 0), n + 1  # `since` hides earlier numbers
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
    """One verification. If the stored leaf hashes give the signed root, an entry that differs was changed."""

    def __init__(self, files: _Files, report: Report, keys: dict[str, bytes]) -> None:
        self.files, self.report, self.add, self.ledger = files, report, report.add, _Ledger(report)
        self.keys, self.head = dict(keys), _Head("", 0, EMPTY)
        self.vouched, self.wanted = set[str](), dict[int, list[tuple[int, str, bytes]]]()
        self.levels: list[list[bytes]] = [[] for _ in range(LEVELS)]
        self.if_good, self.if_bad = list[Fault](), list[Fault]()  # faults if the tree gives the signed root, or not

    def run(self, given: dict[str, bytes], since: bytes, progress: Progress) -> None:
        names, report = sorted(self.files.names), self.report
        claims = self._read("manifest.json", self._manifest) if "manifest.json" in names else None
        self._read("policy.txt", self._policy)
        if (head := self._read("checkpoint", self._note)) is None:
            return
        self.head, report.origin, report.size = head, head.origin, head.size
        report.root = base64.b64encode(head.root).decode()
        if given and not given.keys() & set(report.signers):
            self.add("checkpoint", "a signature by the given key was expected, none came")
        if claims and [claims.get(key) for key in ("origin", "root", "size")] != [head.origin, report.root, head.size]:
            self.add("manifest.json", "origin, root and size are not those of the checkpoint")
        if "manifest.note" in names:
            self._read("manifest.note", self._manifest_note)
        if since and (older := self._read("--since", self._older, since)):
            report.counts["since"] = older.size
        for name in (item for item in names if item.startswith(("checkpoints/", "proofs/"))):
            self._read(name, self._older if name.startswith("c") else self._proof)
        self._walk(progress)
        for name in sorted(item for item in self.files.unread if not (since and item.startswith("tile/"))):
            self.add(name, f"is no file of a log of size {head.size}, and no manifest vouches for it")

    def _read(self, name: str, parse: Callable[[str, str], Any], data: bytes = b"") -> Any:
        found = data or self.files.read(name)
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
            data = self.files.read(name)
            for path in (name, "manifest.json") if data is None or sha256(data).hexdigest() != digest else ():
                self.add(path, f"{name} is not as manifest.json lists it: one of the two was changed")
            self.vouched.add(name)
        self.report.counts["manifest"] = 1
        return content

    def _manifest_note(self, _: str, text: str) -> None:
        digest = sha256(self.files.read("manifest.json") or b"").hexdigest()
        signed = f"guard/manifest/v1\n{self.head.origin}\n{digest}\n"
        found = re.fullmatch(re.escape(signed) + r"\n— (\S+) (\S+)\n", text)
        data = _b64decode(found[2]) if found else b""
        key = self.keys.get(f"{found[1]}+{data[:4].hex()}") if found else None
        if not found or not key or not _holds(found[1], key, self.head, signed, data[4:]):
            raise ValueError("it does not sign manifest.json with a key of the log: one of the two was changed")

    def _policy(self, name: str, text: str) -> None:
        vkeys = re.findall(r"(?m)^[ \t]*log[ \t]+(\S+)", text)
        self.keys |= dict(map(_parse_vkey, vkeys))
        bare = bool(vkeys) and text == "".join(f"log {vkey}\n" for vkey in vkeys) + "quorum none\n"
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
        found = _PROOF(text)
        if not found or name != f"proofs/{found[1]}.tlog-proof":
            raise ValueError("a proof with the index of its name was expected")
        older, at = self._older(name, found[3]), int(found[1])
        path = _tile("entries", at // WIDTH, min(WIDTH, self.head.size - at // WIDTH * WIDTH))
        data = self.files.read(path, MAX_BUNDLE) if at < older.size else None
        leaf = sha256(b"\x00" + b"".join(_unframe(data or b"", WIDTH)[0][at % WIDTH :][:1])).digest()
        proof = list(map(_b64decode, found[2].split()))
        if at >= older.size or _climb(at, older.size, leaf, proof) != older.root:
            raise ValueError(f"it does not lead from entry {at} to the root at size {older.size}: one was changed")
        self.report.counts["proofs"] += 1

    def _walk(self, progress: Progress) -> None:
        first, size = self.report.counts["since"] // WIDTH, self.head.size
        for level in range(1, LEVELS):  # an incremental run starts from tiles, for which the root at `since` vouches
            n, width = divmod(first >> (8 * (level - 1)), WIDTH)
            if width:
                tile = _tile(level, n, min(WIDTH, (size >> (8 * level)) - n * WIDTH))
                self.levels[level] = self._hashes(tile)[:width]
        self._promised(first - 1, first * WIDTH)
        for n in range(first, -(-size // WIDTH)):
            self._bundle(n, min(WIDTH, size - n * WIDTH))
            progress(min(size, (n + 1) * WIDTH), size)
            if len(self.report.faults) + len(self.if_good) >= MAX_FAULTS:
                break
        for level in range(1, LEVELS):
            self._compare(level, size >> (8 * (level + 1)))
        other = [] if self.if_bad else [Fault("checkpoint", "the entries give another root: some were replaced or cut")]
        early, late = (self.if_good, []) if _root(*self.levels) == self.head.root else (self.if_bad, other)
        self.report.faults = [*early, *self.report.faults, *late][:MAX_FAULTS]
        self.report.counts |= {"tenants": len(self.ledger.next), "open_intents": sum(self.ledger.intents.values())}

    def _hashes(self, path: str) -> list[bytes]:
        size = int(path.partition(".p/")[2] or WIDTH) * HASH
        data = self.files.read(path, 2 * size)
        if data is not None and len(data) != size:
            self.add(path, f"{size} bytes were expected, {len(data)} came")
        return [data[at : at + HASH] for at in range(0, size, HASH)] if data and len(data) == size else []

    def _bundle(self, n: int, width: int) -> None:
        path, tile, first = _tile("entries", n, width), _tile(0, n, width), n * WIDTH
        stored, data = self._hashes(tile), self.files.read(path, MAX_BUNDLE)
        entries, whole = _unframe(data or b"", width)
        leaves = [sha256(b"\x00" + entry).digest() for entry in entries]
        if data is not None and not whole:  # after a broken length nothing is an entry, however it reads
            good = next((at for at, leaf in enumerate(leaves) if leaf not in stored[at : at + 1]), len(leaves))
            del entries[good:], leaves[good:]
            self.add(path, f"{width} entries and no more were expected, it breaks at {first + good}", first + good)
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
            self.levels[level], level = [], level + 1

    def _compare(self, level: int, n: int) -> None:
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
    """Check a log directory or a zip of one; raises Unusable if there is none, or a key is malformed.

    `vkeys` are keys known from elsewhere; without any, the keys of `policy.txt` inside are taken at their word. Entries
    before `since`, a checkpoint that was verified earlier, are not read again.
    """
    report = Report(str(path))
    try:
        given, files = dict(map(_parse_vkey, vkeys)), _Files(path, report)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError, OSError) as error:
        came = error if path.exists() else "there is nothing"
        raise Unusable(f"Expected a log directory or a zip of one at {path}, and well-formed keys: {came}.") from None
    _Run(files, report, given).run(given, since, progress or (lambda *_: None))
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
        since = (options.since.read_bytes() or b"?") if options.since else b""
        shown = _progress if sys.stderr.isatty() else None
        report = verify(options.path, vkeys=options.vkey, since=since, progress=shown)
    except (Unusable, OSError) as error:
        sys.stderr.write(f"verify: {error}\n")
        return 2
    members = {"ok": not report.faults, **asdict(report), "faults": [fault._asdict() for fault in report.faults]}
    text = json.dumps(members, indent=2)
    sys.stdout.write((text if options.json else _summary(report, given=bool(options.vkey))) + "\n")
    return 7 if report.faults else 0


def _progress(done: int, size: int) -> None:
    sys.stderr.write("\r\x1b[K" if done == size else f"\r{done:,} of {size:,} entries" if done % (1 << 16) == 0 else "")


def _summary(report: Report, *, given: bool) -> str:
    trust = "the given key" if given else "the key in policy.txt: compare it with the one you hold, or pass --vkey"
    counts = ", ".join(f"{name.replace('_', ' ')} {number:,}" for name, number in report.counts.items())
    lines = [f"FAULT {fault}" for fault in report.faults]
    if report.origin:
        first = f"log {report.origin}, size {report.size}, root {report.root}"
        lines += [first, counts, f"signed by {', '.join(report.signers)}, known by {trust}"]
    if not report.counts["manifest"]:
        lines += ["no manifest.json: a removed proof, signature or earlier checkpoint would not be noticed"]
    return "\n".join([*lines, f"NOT VERIFIED: {len(report.faults)} faults" if report.faults else "verified"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
