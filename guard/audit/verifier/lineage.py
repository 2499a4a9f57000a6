"""What a log says that it replaced, held against a copy of the log before.

Law: what the first record names as replaced is under the signed root, so the new log stands by it. A copy of the old
log either has that head, or the difference is named. Records behind the old log's last checkpoint lie in `unsigned/`;
only the root in the new log's first record vouches for them.
"""

from collections.abc import Iterable

from .files import Files
from .notes import Head
from .report import Report
from .tree import WIDTH, leaf_hash, root_of

LABEL = "--replaces"


def reached(files: Files, levels: list[list[bytes]], size: int, wanted: Iterable[Head]) -> set[Head]:
    """Which heads beyond *size* the records in `unsigned/` lead to; `levels` are the unfinished tiles at *size*."""
    heads, found = set(wanted), set[Head]()
    levels = [list(level) for level in levels]
    while heads - found and (name := f"unsigned/{size}.json") in files.names:
        levels[0].append(leaf_hash(files.read(name) or b""))
        size += 1
        for level in range(len(levels) - 1):
            if len(levels[level]) == WIDTH:
                levels[level + 1].append(root_of(levels[level]))
                levels[level] = []
        found |= {head for head in heads if head.size == size and head.root == root_of(*levels)}
    return found


def compare(report: Report, old: Report, replaced: list[Head], led_to: set[Head]) -> None:
    """Name in *report* what keeps *old* from being the log that it replaced, with the faults of *old* itself."""
    for fault in old.faults:
        report.add(f"{LABEL} {fault.path}", fault.detail, fault.at)
    told = _difference(old, [head for head in replaced if head.origin == old.origin], led_to)
    if told:
        report.add(f"{LABEL} {old.path}", f"{old.origin} has size {old.size} here, {told}")
    elif not old.faults:
        report.follows = old.path


def _difference(old: Report, named: list[Head], led_to: set[Head]) -> str:
    if not named:
        return "and the first record of the log names no head of it as replaced"
    if any(head.size >= old.size for head in led_to):
        return ""
    for head in named:
        if head.size <= old.size and head not in led_to:
            return f"with another root over {head.size} records than the log says it replaced: there are two histories"
    larger = [head.size for head in named if head.size > old.size]
    if larger:
        return f"and the log replaced it at size {min(larger)}: records from {old.size} on are missing in this copy"
    last = max(head.size for head in led_to)
    return f"and the log replaced it at size {last}: records {last} to {old.size - 1} were left behind"
