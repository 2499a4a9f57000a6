"""The evidence bundle: single records with their proofs, who handled them, and all that is needed to check them.

Law: every record stands as its exact bytes beside its own tlog-proof (c2sp.org/tlog-proof), so no whole log is needed;
every file is listed in `manifest.json` (RFC 8785) with its SHA-256, and the log's key signs that (`manifest.note`).
Order and times are fixed, so equal contents give equal bytes. No I/O.
"""

import base64
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from guard.audit.checkpoint import Checkpoint
from guard.audit.manifest import VERSION, note_text

Part = tuple[str, bytes]


@dataclass(frozen=True, slots=True)
class Exhibit:
    """A record of the bundle: its exact entry and its proof."""

    entry: bytes
    proof: bytes


@dataclass(frozen=True, slots=True)
class Matter:
    """What the bundle is about, who asked for it, and when."""

    bundle: str
    matter: str
    tenant: str
    requester: str
    created_us: int


@dataclass(frozen=True, slots=True)
class Contents:
    """What goes into a bundle.

    `stamps` holds, by size, the exact note that was stamped and the answer (RFC 3161); `chain` is the authorities'.
    `openings` holds, by index, the canonical JSON of opened values. `documents` are files such as the verifier.
    """

    checkpoint: bytes
    policy: bytes
    ranges: bytes
    records: Mapping[int, Exhibit]
    custody: Mapping[int, Exhibit] = field(default_factory=dict)
    openings: Mapping[int, bytes] = field(default_factory=dict)
    stamps: Mapping[int, tuple[bytes, bytes]] = field(default_factory=dict)
    chain: bytes = b""
    documents: Mapping[str, bytes] = field(default_factory=dict)


def layout(head: Checkpoint, about: Matter, contents: Contents, sign: Callable[[str], bytes]) -> Iterator[Part]:
    """Path and bytes of each file, in the order in which they are to be written; *sign* makes a note of a text."""
    files = {"README": readme(head, about, contents).encode(), **dict(_files(contents))}
    written = _manifest(head, about, contents, files)
    yield "manifest.json", written
    yield "manifest.note", sign(note_text(head.origin, written))
    yield from files.items()


def ranges_text(vkeys: Mapping[str, tuple[int, int | None]]) -> bytes:
    """The ranges.json: verifier key -> the sizes that it may sign; None is no end."""
    return _canonical({vkey: {"from_size": first, "to_size": last} for vkey, (first, last) in vkeys.items()})


def _files(contents: Contents) -> Iterator[Part]:
    yield "policy.txt", contents.policy
    yield "ranges.json", contents.ranges
    yield "checkpoint", contents.checkpoint
    for index, one in sorted(contents.records.items()):
        yield f"records/{index}.json", one.entry
        yield f"proofs/{index}.tlog-proof", one.proof
    for index, opened in sorted(contents.openings.items()):
        yield f"openings/{index}.json", opened
    for size, (note, answer) in sorted(contents.stamps.items()):
        yield f"tsa/{size}.checkpoint", note
        yield f"tsa/{size}.tsr", answer
    if contents.chain:
        yield "tsa/chain.pem", contents.chain
    for index, one in sorted(contents.custody.items()):
        yield f"custody/{index}.json", one.entry
        yield f"custody/{index}.tlog-proof", one.proof
    yield from sorted(contents.documents.items())


def _manifest(head: Checkpoint, about: Matter, contents: Contents, files: Mapping[str, bytes]) -> bytes:
    return _canonical(
        {
            "bundle": about.bundle,
            "created_us": about.created_us,
            "custody": sorted(contents.custody),
            "files": {path: hashlib.sha256(data).hexdigest() for path, data in files.items()},
            "matter": about.matter,
            "origin": head.origin,
            "records": sorted(contents.records),
            "requester": about.requester,
            "root": base64.b64encode(head.root).decode("ascii"),
            "size": head.size,
            "tenant": about.tenant,
            "v": VERSION,
        }
    )


def _canonical(content: Mapping[str, Any]) -> bytes:
    # Keys are ASCII, so sorting by code point is sorting by UTF-16 unit (RFC 8785 section 3.2.3).
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def readme(head: Checkpoint, about: Matter, contents: Contents) -> str:
    """The page for whoever opens the bundle without knowing what it is."""
    stamped = f"{len(contents.stamps)} time-stamps" if contents.stamps else "no time-stamp"
    return f"""Evidence in the matter {about.matter}
{"=" * (len(about.matter) + 23)}

{len(contents.records)} records of the tenant {about.tenant}, out of the audit log {head.origin}
as it was when it had {head.size} records; {len(contents.custody)} records of who handled this matter;
{stamped}.

To check it you need Python 3.11 and its package `cryptography`, and no network:

    python3 verify.pyz THIS-FILE.zip --vkey KEY

KEY is the log's key, which you should have from somewhere else; policy.txt names the one
that whoever made this bundle wants you to believe. For the same reason, take verify.pyz
from a copy of guard that you trust. The end says `verified`, or names each fault.

records/N.json          record N of the log, byte for byte
proofs/N.tlog-proof     leads from record N to a root that the log signed
checkpoint              the signed root: name of the log, size, root, signatures
custody/                who asked for evidence in this matter and took it, with proofs
openings/               values that records only commit to, where somebody opened them
tsa/                    what a time-stamp authority confirmed about a signed root
receipts.vkey           the key of the receipts that services were given
policy.txt ranges.json  the log's keys, and which sizes each may sign
manifest.json           the SHA-256 of every other file; manifest.note signs it

What it proves: each record stood in the log, unchanged, when its root was signed. What it
does not prove: that a record says the truth, or that these are all records there are.
"""
