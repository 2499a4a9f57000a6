"""Full verification of an exported log on one core, against the hashing alone that no verifier can do without."""

import base64
import statistics
import tempfile
import time
from hashlib import sha256
from pathlib import Path

from guard.audit import export, tree
from guard.audit.entry import body, entry
from guard.audit.verifier.command import verify
from tests.audit.building import ORIGIN, VKEY, record, signed, write

RECORDS, ROUNDS = 60_000, 9
TENANTS = ("acme", "globex", "initech")


def verify_full():
    """Records per second through the whole verifier against a bare Merkle tree over the same entries in memory.

    Both are measured in processor time, so that other work on the machine takes from neither.
    """
    entries = _entries(RECORDS)
    with tempfile.TemporaryDirectory() as place:
        folder = _log(Path(place), entries)
        ratios, ours, bare = [], [], []
        for _ in range(ROUNDS):
            bare.append(_rate(lambda: _tree(entries)))
            ours.append(_rate(lambda: _verified(folder)))
            ratios.append(ours[-1] / bare[-1])
    size = sum(map(len, entries)) // len(entries)
    figures = (
        f"{statistics.median(ours):,.0f} records/s per core (best {max(ours):,.0f}), {RECORDS:,} records of {size} bytes from disk: "
        f"hashes, tiles, root, signature, form, numbers; a bare tree in memory {statistics.median(bare):,.0f} records/s "
        f"(best {max(bare):,.0f})"
    )
    return statistics.median(ratios), figures


def _entries(count):
    """Records as the gate writes them, of three tenants in turn; ids, salts, requests and numbers differ."""
    made = []
    for tenant in TENANTS:
        whole = entry(body(record(0, tenant=tenant, request={"id": "req_000000000000"})), 0)
        made.append(whole.removesuffix(b"0}"))
    salt = base64.urlsafe_b64encode(bytes(16)).rstrip(b"=")
    entries = []
    for number in range(count):
        text = made[number % len(made)].replace(b"8a12-000000000000", b"8a12-%012x" % number)
        text = text.replace(salt, b"%022d" % number).replace(b"req_000000000000", b"req_%012x" % number)
        entries.append(b"%b%d}" % (text, number // len(made)))
    return entries


def _log(folder, entries):
    leaves = [tree.leaf_hash(one) for one in entries]
    notes = [signed(ORIGIN, len(entries), tree.root_of(leaves))]
    return write(folder, export.layout(ORIGIN, notes, entries, leaves, export.policy_text([VKEY])))


def _rate(work):
    began = time.process_time()
    work()
    return RECORDS / (time.process_time() - began)


def _verified(folder):
    if verify(folder).faults:
        raise RuntimeError("a good log did not verify")


def _tree(entries):
    row = [sha256(b"\x00" + one).digest() for one in entries]
    while len(row) > 1:
        pairs = [sha256(b"\x01" + row[at] + row[at + 1]).digest() for at in range(0, len(row) - 1, 2)]
        row = [*pairs, *row[len(pairs) * 2 :]]
    return row[0]
