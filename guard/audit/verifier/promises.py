"""Receipts against the log: was what was promised kept?

Law: a checkpoint that is dated later than `promise_by`, by a witness or by the log's own ML-DSA line, covers the
record, or the log has broken its promise and the receipt proves it. Nobody is accused on less: what was pruned,
filtered out or not read, and a log that has faults itself, are named as not checked. The keys are those that the signed
manifest lists (`receipts.vkey`) and those that the log's own records of its starts name under the root.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

from .incarnation import first_name
from .notes import parse_vkey
from .reading import Reading
from .receipt import SUFFIX, Receipt, parse_receipt

KEYS = "receipts.vkey"
KEPT, LATE, BROKEN, EARLY = "kept", "kept late", "broken promise", "not yet due"
FORGED, UNCHECKED, ELSEWHERE = "forged", "not checked", "of another incarnation"
ACCUSING = {BROKEN, FORGED}
SLACK_US = 600_000_000  # records that are made at once may be logged in another order
SECOND_US = 1_000_000

Verdict = tuple[str, str, int | None]


def want(reading: Reading, texts: Sequence[str]) -> None:
    """Have the records of these receipts looked for; one that is none is named when it is judged."""
    for text in texts:
        try:
            reading.watch.wanted.add(parse_receipt(text).id.encode())
        except ValueError:
            continue


def judge(reading: Reading, texts: Sequence[str], old: Reading | None = None) -> None:
    """Judge each receipt by the log, or by the log before it if that one gave it."""
    sound = {id(one): not one.report.faults for one in (reading, old) if one is not None}
    for number, text in enumerate(texts, 1):
        label = f"--receipt {number}"
        try:
            receipt = parse_receipt(text)
        except ValueError as error:
            _tell(reading, label, None, (FORGED, str(error), None))
            continue
        verdict = _judged(reading, receipt, sound=sound[id(reading)])
        if verdict[0] == ELSEWHERE and old is not None:
            verdict = _judged(old, receipt, sound=sound[id(old)])
        _tell(reading, label, receipt, verdict)


def _tell(reading: Reading, label: str, receipt: Receipt | None, verdict: Verdict) -> None:
    name, detail, index = verdict
    told = {"receipt": label, "verdict": name, "detail": detail, "index": index}
    if receipt is not None:
        told |= {"id": receipt.id, "promise_by": _time(receipt.by_us)}
    reading.report.receipts.append(told)
    if name in ACCUSING:
        reading.add(label, f"{name}: {detail}", index)


def _judged(reading: Reading, receipt: Receipt, *, sound: bool) -> Verdict:
    publics, origin = _publics(reading), reading.head.origin
    if not publics:
        return UNCHECKED, "no key of receipts is vouched for by a signed manifest or by a record of a start", None
    if not any(receipt.given_by(origin, public) for public in publics):
        for head in reading.watch.replaced:
            if any(receipt.given_by(head.origin, public) for public in publics):
                return ELSEWHERE, f"{head.origin} gave it, before the fork; give a copy of that log", None
        return FORGED, f"it is not signed by a key of receipts of {origin}", None
    if not sound:
        return UNCHECKED, "what lies here has faults, so nothing is said about what is in the log", None
    return _kept(reading, receipt)


def _kept(reading: Reading, receipt: Receipt) -> Verdict:
    found = reading.watch.found.get(receipt.id, [])
    for index in (one.at for one in found if one.body == receipt.body):
        late = [size for size, us in reading.dated if us > receipt.by_us and size <= index]
        if late:
            told = f"record {receipt.id} is entry {index}, but a checkpoint of size {min(late)} is dated later than"
            return LATE, f"{told} {_time(receipt.by_us)} and does not cover it", index
        return KEPT, f"record {receipt.id} is entry {index}, with the body that was promised", index
    if found:
        return BROKEN, f"entry {found[0].at} has the id {receipt.id} and another body than promised", found[0].at
    if unread := _unread(reading, receipt):
        return UNCHECKED, f"record {receipt.id} is not here, and {unread}", None
    later = [(size, us) for size, us in reading.dated if us > receipt.by_us]
    if not later:
        dated = max((us for _, us in reading.dated), default=0)
        last = f"the last dated checkpoint is of {_time(dated)}" if dated else "no checkpoint here is dated"
        return EARLY, f"record {receipt.id} is promised by {_time(receipt.by_us)}, and {last}", None
    size, us = max(later)
    told = f"record {receipt.id} was promised by {_time(receipt.by_us)} and is not among the {size} records"
    return BROKEN, f"{told} of a checkpoint of {_time(us)}", None


def _unread(reading: Reading, receipt: Receipt) -> str:
    """Why a record may be in the log though it was not seen; empty if every record was."""
    report = reading.report
    if not reading.complete:
        return "not every record is"
    if report.counts["since"]:
        return "records before --since were not read"
    if report.min_index and receipt.made_us <= reading.watch.begin_us + SLACK_US:
        return f"records below {report.min_index} were pruned"
    return ""


def _publics(reading: Reading) -> set[bytes]:
    """The public keys of receipts, of this log under any of its names."""
    vkeys = [vkey for origin, vkey in reading.watch.keys if origin == reading.head.origin]
    if KEYS in reading.vouched and reading.signed:
        vkeys += (reading.files.read(KEYS) or b"").decode(errors="replace").split()
    found = set()
    for vkey in vkeys:
        try:
            label, material = parse_vkey(vkey)
        except ValueError as error:
            reading.add(KEYS, error)
            continue
        name = label.rpartition("+")[0].removesuffix(SUFFIX)
        if first_name(name) == first_name(reading.head.origin):
            found.add(material[1:])
    return found


def _time(us: int) -> str:
    if us >= 1 << 57:  # after the year 6500 a time is a number, since datetime ends at 9999
        return f"{us} us"
    return datetime.fromtimestamp(us // SECOND_US, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
