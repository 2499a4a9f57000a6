"""Logs to verify: records, signed checkpoints and whole log directories, all from fixed keys and a fixed time."""

import shutil
import zipfile
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from guard.audit import export, note, tree
from guard.audit.checkpoint import Checkpoint
from guard.audit.entry import Record, body, entry
from guard.audit.note import Kind, Note, VerifierKey
from guard.audit.proof import LogProof

ORIGIN = "guard.example/guard/main"
SEED = bytes(range(32))
KEY = Ed25519PrivateKey.from_private_bytes(SEED)
STRANGER = Ed25519PrivateKey.from_private_bytes(bytes(32))
VKEY = VerifierKey(ORIGIN, Kind.ED25519, KEY.public_key().public_bytes_raw())
PQ_KEY = MLDSA44PrivateKey.from_seed_bytes(SEED)
PQ_VKEY = VerifierKey(ORIGIN, Kind.MLDSA44, PQ_KEY.public_key().public_bytes_raw())
T0 = 1_790_000_000_000_000
TOY_BODY = b'{"action":"field.decrypt","v":1}'


def uuid(number):
    return f"0197c2a4-5b1c-7def-8a12-{number:012x}"


def record(number, **parts):
    """A record as the gate writes it; every part can be given."""
    given = {
        "id": uuid(number),
        "salt": number.to_bytes(16, "big"),
        "tenant": "acme",
        "time_us": T0 + number,
        "phase": "event",
        "node": "n1.7",
        "actor": {"id": "svc:billing", "type": "service", "auth": "token"},
        "action": "fields.decrypt",
        "resource": {"id": "fields/users.email"},
        "decision": {"allow": True, "policy": 12, "rule": "roles.csv:12"},
        "request": {"id": "req_1"},
        "result": {"status": "ok"},
    }
    return Record(**given | parts)


def numbered(records):
    """Entries of records, each with the next number of its tenant."""
    following: dict[str, count] = {}
    return [entry(body(one), next(following.setdefault(one.tenant, count()))) for one in records]


def entries_of(size):
    return numbered(record(number) for number in range(size))


def signed(origin, size, root, *, key=KEY, pq=False):
    """A signed checkpoint, with the post-quantum line too if asked for."""
    head = Checkpoint(origin, size, root)
    lines = [note.sign_ed25519(head.text(), origin, key)]
    if pq:
        lines.append(note.sign_mldsa44(head, origin, PQ_KEY, T0 // 1_000_000))
    return Note(head.text(), tuple(lines)).encode()


def naive_root(leaves):
    """MTH of RFC 6962 section 2.1, written as it stands there."""
    if not leaves:
        return tree.EMPTY_ROOT
    if len(leaves) == 1:
        return leaves[0]
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    return tree.node_hash(naive_root(leaves[:half]), naive_root(leaves[half:]))


def node_of(leaves):
    """A reader of perfect subtrees over a list of leaves."""
    return lambda level, index: naive_root(leaves[index << level : (index + 1) << level])


@dataclass
class Plan:
    """What a log directory is to hold. `leaves` can differ from the entries, as a forger's would."""

    entries: list
    older: tuple = ()
    proofs: tuple = ()
    documents: dict = field(default_factory=dict)
    pq: bool = False
    key: Ed25519PrivateKey = KEY
    vkeys: tuple = (VKEY,)

    def parts(self):
        leaves = [tree.leaf_hash(one) for one in self.entries]
        sizes = (*self.older, len(leaves))
        notes = [signed(ORIGIN, size, tree.root_of(leaves[:size]), key=self.key, pq=self.pq) for size in sizes]
        node = node_of(leaves)
        proofs = {
            index: LogProof(index, tuple(tree.inclusion_proof(index, len(leaves), node)), notes[-1]).encode()
            for index in self.proofs
        }
        policy = export.policy_text(self.vkeys)
        return export.layout(ORIGIN, notes, self.entries, leaves, policy, proofs=proofs, documents=self.documents)


def write(folder, parts):
    """Write files below a folder; returns it."""
    for path, data in parts:
        place = Path(folder) / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    return Path(folder)


def copied(folder, to):
    return Path(shutil.copytree(folder, to))


def zipped(folder, path, *, top=""):
    """The zip of a log directory, with or without a top folder."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for place in sorted(folder.rglob("*")):
            if place.is_file():
                archive.write(place, top + place.relative_to(folder).as_posix())
    return path


def files_of(folder):
    return sorted(place for place in folder.rglob("*") if place.is_file())
