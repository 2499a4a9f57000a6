"""An evidence bundle: single records, each with its proof, openings of sealed values, custody, and time-stamps.

Law: there is no whole log here, so each record stands on its own proof, which leads from the record's exact bytes to a
root that the log signed. An opening is believed only if the commitment in its record is that of nonce and value.
"""

import base64
import re
from hashlib import sha256
from typing import Any

from .canonical import canonical, dumped, record_of
from .notes import Head
from .proofs import parse_proof
from .reading import Reading
from .stamps import check_stamps
from .tree import leaf_hash

RECORD = re.compile(r"(records|custody)/(0|[1-9][0-9]{0,18})\.json").fullmatch
OPENING = re.compile(r"openings/(0|[1-9][0-9]{0,18})\.json").fullmatch
NONCE_BYTES = 32


class Evidence:
    """The check of one bundle."""

    def __init__(self, reading: Reading) -> None:
        self.reading, self.files, self.report = reading, reading.files, reading.report
        self.bodies = dict[int, dict[str, Any]]()
        self.heads = {reading.head}

    def run(self) -> None:
        """Check every record, then what speaks of records."""
        self.reading.complete = False
        names = sorted(self.files.below("records/", "custody/"), key=lambda name: (len(name), name))
        for name in names:
            if found := RECORD(name):
                self._record(name, int(found[2]), found[1])
        for name in self.files.below("openings/"):
            self.reading.read(name, self._opening)
        check_stamps(self.reading, self.heads)
        tenants = {str(body["tenant"]) for body in self.bodies.values()}
        self.report.counts |= {"records": len(self.bodies), "tenants": len(tenants)}

    def _record(self, name: str, index: int, folder: str) -> None:
        raw, proof = self.files.read(name), f"{folder}/{index}.tlog-proof"
        if folder == "records" or proof not in self.files.names:
            proof = f"proofs/{index}.tlog-proof"
        if raw is None:
            return
        if self.reading.read(proof, lambda at, text: self._proved(at, text, index, raw)):
            self.report.counts["proofs"] += 1
        self.reading.watch.see(index, [raw])
        try:
            self.bodies[index] = record_of(raw.decode())[0]
        except (ValueError, RecursionError) as error:
            self.reading.add(name, f"entry {index}: {error}", index)

    def _proved(self, name: str, text: str, index: int, raw: bytes) -> bool:
        proof = parse_proof(text)
        if proof.index != index:
            raise ValueError(f"a proof of the index {index} of its name was expected")
        head = self._own_head(name, proof.note)
        try:
            proof.check(head, leaf_hash(raw))
        except ValueError:
            path = name.replace("proofs/", "records/").replace(".tlog-proof", ".json")
            self.reading.add(path, f"entry {index} is not the one that its proof proves: one was changed", index)
            raise
        return True

    def _own_head(self, name: str, text: str) -> Head:
        """The checkpoint of a proof; nothing ties it to the bundle's own, so it needs the quorum for itself."""
        opened, ours = self.reading.open(name, text), self.reading.head
        if opened.head.size == ours.size and opened.head != ours:
            raise ValueError(f"signs another root for size {ours.size} than `checkpoint`: the log has two histories")
        short = self.reading.trust.policy.shortfall(set(opened.cosigners))
        if short and opened.head != ours:
            raise ValueError(short)
        self.heads.add(opened.head)
        return opened.head

    def _opening(self, name: str, text: str) -> None:
        found, content = OPENING(name), canonical(text)
        if not found or type(content) is not dict:
            raise ValueError('openings/<index>.json with {"field":{"nonce":...,"value":...}} was expected')
        index = int(found[1])
        if index not in self.bodies:
            raise ValueError(f"the record {index} was expected beside its openings")
        sealed = self.bodies[index].get("sealed")
        for field, opening in content.items():
            committed = sealed.get(field) if type(sealed) is dict else None
            if committed is None or commitment(opening) != committed:
                self.reading.add(name, f"{field} is not what record {index} committed to: one was changed", index)
            else:
                self.report.counts["openings"] += 1


def check_evidence(reading: Reading) -> None:
    """Check the records, proofs, openings, custody and time-stamps of a bundle."""
    Evidence(reading).run()


def commitment(opening: Any) -> str:
    """The commitment of an opening, base64url of H(0x02 || nonce || JCS(value)); raises ValueError for another form."""
    if type(opening) is not dict or not {"nonce", "value"} <= opening.keys() or type(opening["nonce"]) is not str:
        raise ValueError("nonce and value were expected of each field")
    nonce = base64.urlsafe_b64decode(opening["nonce"] + "=")
    if len(nonce) != NONCE_BYTES or unpadded(nonce) != opening["nonce"]:
        raise ValueError(f"a nonce of {NONCE_BYTES} bytes in base64url was expected")
    return unpadded(sha256(b"\x02" + nonce + dumped(opening["value"]).encode()).digest())


def unpadded(data: bytes) -> str:
    """Base64url without padding (RFC 4648 section 5)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
