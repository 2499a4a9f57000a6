"""Pruned logs: from which index on there are entries, and who says so.

Law: of a pruned log the entries below its minimum index (c2sp.org/tlog-tiles) are gone and the hashes are kept. A hole
is believed only if something signed says that it was made by right: the manifest's note, the log's own record of the
approval, or what the auditor knows from elsewhere. A number in a file that nobody signed is worth nothing, since who
deletes entries can write it.
"""

from collections.abc import Iterable

from .canonical import record_of
from .reading import Reading
from .tree import WIDTH

APPROVAL = b'{"b":{"action":"prunes.approve"'  # "action" is the first key of every canonical body
PLATFORM = "system"


def approved(entries: Iterable[bytes]) -> int:
    """Up to which index the records among these say that two persons pruned the log; 0 where none does."""
    return max((_to(entry) for entry in entries if entry.startswith(APPROVAL)), default=0)


def _to(entry: bytes) -> int:
    try:
        body, _ = record_of(entry.decode())
        done = body["tenant"] == PLATFORM and body["result"]["status"] == "ok"
        to = body["data"]["to"] if done else 0
    except (ValueError, LookupError, TypeError, RecursionError):
        return 0
    return to if type(to) is int else 0


def read_min_index(reading: Reading, *, signed: bool) -> None:
    """Take the minimum index that the manifest states; `signed` says whether its note is good."""
    stated, report = reading.manifest.get("min_index", reading.given_min_index), reading.report
    if type(stated) is not int or stated < 0 or stated % WIDTH:
        reading.add("manifest.json", f"min_index: a multiple of {WIDTH} was expected: only whole bundles are pruned")
        return
    report.min_index = min(stated, reading.head.size)
    if signed:
        report.vouched.append("manifest.note")
    if reading.given_min_index >= stated > 0:
        report.vouched.append("--min-index")


def judge_pruning(reading: Reading) -> None:
    """Refuse a minimum index that nothing signed vouches for; the root was compared before."""
    report = reading.report
    if report.min_index and not report.vouched:
        told = (
            f"min_index {report.min_index} was expected to be vouched for by manifest.note or by a record of "
            f"prunes.approve in the log, and neither does: whoever removed entries 0 to {report.min_index - 1} had no "
            "right to (or pass --min-index, if you know it from elsewhere)"
        )
        reading.add("manifest.json", told, 0)
