"""One verification: which files vouch for what, in the order in which each can be believed.

Law: every byte is vouched for by the signed root, a signature or the manifest, or named as a fault.
"""

import base64

from .evidence import check_evidence
from .incarnation import first_name
from .lineage import reached
from .manifest import check_manifest, read_manifest
from .notes import Head, parse_vkey
from .parts import check_parts
from .policy import is_bare, parse_policy, parse_ranges
from .proofs import parse_proof
from .pruning import judge_pruning
from .reading import Reading
from .report import Progress
from .walk import Walk


class Run:
    """The checks of a log, an export or an evidence bundle, in their order."""

    def __init__(self, reading: Reading) -> None:
        self.reading, self.files, self.report = reading, reading.files, reading.report

    def run(self, since: bytes, progress: Progress) -> None:
        """Check everything; `since` is a checkpoint that was verified earlier, or empty."""
        reading = self.reading
        self._trust()
        self.report.kind = self._kind()
        if (opened := reading.read("checkpoint", reading.open)) is None:
            return
        reading.believe(opened)
        check_manifest(reading)
        walk = Walk(self.files, self.report, reading.head, reading.watch, bare=self.report.kind == "export")
        if since and (older := reading.read("--since", lambda name, text: self._older(walk, name, text), since)):
            self.report.counts["since"] = older.size
        self._bodies(walk, progress)
        self._lineage()
        for name in sorted(item for item in self.files.unread if not (since and item.startswith("tile/"))):
            what = "an evidence bundle" if self.report.kind == "evidence" else f"a log of size {reading.head.size}"
            reading.add(name, f"is no file of {what}, and no manifest vouches for it")

    def _trust(self) -> None:
        read_manifest(self.reading)
        if "ranges.json" in self.files.names:
            self.reading.read("ranges.json", self._ranges)
        self.reading.read("policy.txt", self._policy)
        if "vkey" in self.files.names:
            self.reading.read("vkey", self._vkey)

    def _kind(self) -> str:
        if self.files.below("records/"):
            return "evidence"
        manifest = self.reading.manifest
        return "export" if "parts" in manifest and manifest.get("format") != "tiles" else "log"

    def _bodies(self, walk: Walk, progress: Progress) -> None:
        if self.report.kind == "evidence":
            check_evidence(self.reading)
            return
        for name in self.files.below("checkpoints/"):
            found = self.reading.read(name, lambda name, text: self._older(walk, name, text))
            self.report.counts["checkpoints"] += found is not None
        if self.report.kind == "export":
            check_parts(self.reading)
        for name in self.files.below("proofs/"):
            self.reading.read(name, lambda name, text: self._proof(walk, name, text))
        near = [head for head in self.reading.promised if head.origin == self.reading.head.origin]
        for head in near:
            if head.size <= self.report.size:
                walk.promise(head)
        walk.run(progress)
        judge_pruning(self.reading)
        beyond = [head for head in near if head.size > self.report.size]
        self.reading.led_to = walk.matched & set(near) | reached(self.files, walk.levels, self.report.size, beyond)

    def _lineage(self) -> None:
        """Say what the first record, which the root vouches for, says of the log before this one."""
        report, watch = self.report, self.reading.watch
        for origin, size, root in watch.replaced:
            report.replaced.append({"origin": origin, "size": size, "root": base64.b64encode(root).decode()})
        if not watch.first and first_name(report.origin) != report.origin:
            told = "the log before this one: record 0, which names it, is not here"
            report.unchecked.append(told)

    def _policy(self, name: str, text: str) -> None:
        if not is_bare(text) and name not in self.reading.vouched:
            raise ValueError("`log VKEY` and `quorum none` were expected; witnesses, or text not in a manifest, came")
        self.reading.trust.widen(parse_policy(text))

    def _ranges(self, name: str, text: str) -> None:
        if name not in self.reading.vouched:
            raise ValueError("no manifest vouches for it")
        self.reading.trust.limit(parse_ranges(text))

    def _vkey(self, _: str, text: str) -> None:
        label, material = parse_vkey(text.removesuffix("\n"))
        self.reading.trust.follow(label.rpartition("+")[0])
        if self.reading.trust.logs.get(label) != material:
            raise ValueError("a key of the log that policy.txt names was expected")

    def _older(self, walk: Walk, name: str, text: str) -> Head:
        """A checkpoint of the log's past; its root is compared when the tree has grown to its size."""
        older, head = self.reading.open(name, text).head, self.reading.head
        if older.size > head.size:
            raise ValueError(f"a checkpoint of this log up to size {head.size} was expected, not {older.size}")
        if name.startswith("checkpoints/") and name != f"checkpoints/{older.size}":
            raise ValueError(f"it is the checkpoint of size {older.size}, not the one of its name")
        if name == "--since" and self.report.kind == "evidence" and older != head:
            self.report.unchecked.append("--since: an evidence bundle has no whole log to compare it with")
        walk.promise(older, name)
        return older

    def _proof(self, walk: Walk, name: str, text: str) -> None:
        proof = parse_proof(text)
        if name != f"proofs/{proof.index}.tlog-proof":
            raise ValueError("a proof with the index of its name was expected")
        older = self._older(walk, name, proof.note)
        proof.check(older, walk.leaf(proof.index) if proof.index < older.size else b"")
        self.report.counts["proofs"] += 1
