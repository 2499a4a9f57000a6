"""One verification of a log: what vouches for what, and the tree that is built anew over the entries.

Law: every hash is made anew from the bytes of the entries; a stored hash is only compared. Every byte is vouched for by
the signed root, a signature or the manifest, or named as a fault.
"""

import base64
import re
from collections.abc import Callable
from hashlib import sha256
from typing import Any

from .files import Files
from .ledger import Ledger, canonical
from .notes import NOTE, PROOF, Head, b64decode, holds, parse_vkey
from .report import MAX_FAULTS, Fault, Progress, Report
from .tree import EMPTY, HASH, LEVELS, MAX_BUNDLE, WIDTH, climb, root_of, tile_path, unframe


class Run:
    """One verification. The tree is built over the stored leaf hashes, after each was compared with its entry.

    If it gives the signed root they are the logged ones, and an entry that differs was changed; if not, the tile was.
    """

    def __init__(self, files: Files, report: Report, keys: dict[str, bytes]) -> None:
        self.files, self.report, self.add, self.ledger = files, report, report.add, Ledger(report)
        self.keys, self.head = dict(keys), Head("", 0, EMPTY)
        self.vouched, self.wanted = set[str](), dict[int, list[tuple[int, str, bytes]]]()
        self.levels: list[list[bytes]] = [[] for _ in range(LEVELS)]
        self.if_good, self.if_bad = list[Fault](), list[Fault]()  # faults if the tree gives the signed root, or not

    def run(self, given: dict[str, bytes], since: bytes, progress: Progress) -> None:
        """Check everything; `given` are keys of which one must have signed, `since` is a checkpoint or empty."""
        names, report = sorted(self.files.names), self.report
        claims = self._read("manifest.json", self._manifest) if "manifest.json" in names else None
        self._read("policy.txt", self._policy)
        if (head := self._read("checkpoint", self._note)) is None:
            return
        self.head, report.origin, report.size = head, head.origin, head.size
        report.root = base64.b64encode(head.root).decode()
        if given and not given.keys() & set(report.signers):
            self.add("checkpoint", "a signature by the given key was expected, none came")
        if claims not in (None, {"origin": head.origin, "root": report.root, "size": head.size}):
            self.add("manifest.json", "origin, root and size are not those of the checkpoint")
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
        content = canonical(text)
        if type(content) is not dict or type(content.get("files")) is not dict:
            raise ValueError("files, origin, root and size were expected")
        for name, digest in content.pop("files").items():
            data = self.files.read(name)
            for path in (name, "manifest.json") if data is None or sha256(data).hexdigest() != digest else ():
                self.add(path, f"{name} is not as manifest.json lists it: one of the two was changed")
            self.vouched.add(name)
        self.report.counts["manifest"] = 1
        return content

    def _policy(self, name: str, text: str) -> None:
        vkeys = re.findall(r"(?m)^[ \t]*log[ \t]+(\S+)", text)
        self.keys |= dict(map(parse_vkey, vkeys))
        bare = bool(vkeys) and text == "".join(f"log {vkey}\n" for vkey in vkeys) + "quorum none\n"
        if not bare and (name not in self.vouched or not re.search(r"(?m)^[ \t]*quorum[ \t]+none$", text)):
            raise ValueError("`log VKEY` and `quorum none` were expected; witnesses, or text not in a manifest, came")

    def _note(self, name: str, text: str) -> Head:
        found, signers = NOTE(text), []
        if not found or int(found[3]) >= 1 << 63:
            raise ValueError("a checkpoint was expected: origin, size, root, an empty line, signature lines")
        head = Head(found[2], int(found[3]), b64decode(found[4]))
        for signer, encoded in re.findall(r"— (\S+) (\S+)\n", found[5]):
            data = b64decode(encoded)
            label = f"{signer}+{data[:4].hex()}"
            if label not in self.keys and name not in self.vouched:
                raise ValueError(f"a signature is by the unknown key {label}, and no manifest vouches for it")
            if label in self.keys and not holds(signer, self.keys[label], head, found[1], data[4:]):
                raise ValueError(f"the signature by {label} is wrong: the text or the signature was changed")
            signers += [label] if label in self.keys and signer == head.origin else []
        if not signers:
            raise ValueError("a signature by a known key of the log itself was expected, none came")
        self.report.signers = self.report.signers or signers
        return head

    def _older(self, name: str, text: str) -> Head:
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
        found = PROOF(text)
        if not found or name != f"proofs/{found[1]}.tlog-proof":
            raise ValueError("a proof with the index of its name was expected")
        older, at = self._older(name, found[3]), int(found[1])
        path = tile_path("entries", at // WIDTH, min(WIDTH, self.head.size - at // WIDTH * WIDTH))
        data = self.files.read(path, MAX_BUNDLE) if at < older.size else None
        leaf = sha256(b"\x00" + b"".join(unframe(data or b"", WIDTH)[0][at % WIDTH :][:1])).digest()
        proof = list(map(b64decode, found[2].split()))
        if at >= older.size or climb(at, older.size, leaf, proof) != older.root:
            raise ValueError(f"it does not lead from entry {at} to the root at size {older.size}: one was changed")
        self.report.counts["proofs"] += 1

    def _walk(self, progress: Progress) -> None:
        first, size = self.report.counts["since"] // WIDTH, self.head.size
        for level in range(1, LEVELS):  # an incremental run starts from tiles, for which the root at `since` vouches
            n, width = divmod(first >> (8 * (level - 1)), WIDTH)
            if width:
                tile = tile_path(level, n, min(WIDTH, (size >> (8 * level)) - n * WIDTH))
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
        early, late = (self.if_good, []) if root_of(*self.levels) == self.head.root else (self.if_bad, other)
        self.report.faults = [*early, *self.report.faults, *late][:MAX_FAULTS]
        self.report.counts |= {"tenants": len(self.ledger.next), "open_intents": sum(self.ledger.intents.values())}

    def _hashes(self, path: str) -> list[bytes]:
        """The hashes of a tile; empty, and named, unless it is exactly as long as its path says."""
        size = int(path.partition(".p/")[2] or WIDTH) * HASH
        data = self.files.read(path, 2 * size)
        if data is not None and len(data) != size:
            self.add(path, f"{size} bytes were expected, {len(data)} came")
        return [data[at : at + HASH] for at in range(0, size, HASH)] if data and len(data) == size else []

    def _bundle(self, n: int, width: int) -> None:
        path, tile, first = tile_path("entries", n, width), tile_path(0, n, width), n * WIDTH
        stored, data = self._hashes(tile), self.files.read(path, MAX_BUNDLE)
        entries, whole = unframe(data or b"", width)
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
            self.levels[level + 1].append(root_of(self.levels[level]))
            self.levels[level], level = [], level + 1

    def _compare(self, level: int, n: int) -> None:
        hashes, path = self.levels[level], tile_path(level, n, len(self.levels[level]))
        for at, item in enumerate(self._hashes(path) if level and hashes else ()):
            if item != hashes[at]:
                below = tile_path(level - 1, n * WIDTH + at)
                self.add(path, f"hash {at} is not the root of {below}: one of the two was changed", at)

    def _promised(self, n: int, least: int) -> None:
        for size, path, root in self.wanted.get(n, ()):
            if size >= least and root_of(self.levels[0][: size - n * WIDTH], *self.levels[1:]) != root:
                text = f"signs another root than the first {size} entries give: it is no earlier state of this log"
                self.if_good.append(Fault(path, text, size))
