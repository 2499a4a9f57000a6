"""Directories of every layout that the verifier reads, written by hand from their description and signed by fixed keys."""

import base64
import csv
import hashlib
import io
import json
import re

import pyarrow as pa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pyarrow import parquet

from guard.audit import note, tree
from guard.audit.canonical import b64u, commitment
from guard.audit.note import Kind, Note, VerifierKey
from guard.audit.proof import LogProof
from guard.audit.tiles import Tile, tile_bytes
from tests.audit.building import KEY, ORIGIN, VKEY, Plan, entries_of, naive_root, node_of, numbered, record

NOW = 1_790_000_000
WITNESSES = {name: Ed25519PrivateKey.from_private_bytes(name.encode() * 16) for name in ("w1", "w2", "w3")}
WITNESS_KEYS = {
    name: VerifierKey(f"witness.example/{name}", Kind.COSIGNATURE, key.public_key().public_bytes_raw())
    for name, key in WITNESSES.items()
}
SUFFIXES = {"jsonl": "jsonl", "csv": "csv", "ocsf": "ocsf.jsonl", "cef": "cef", "rfc5424": "log", "parquet": "parquet"}
NONCE = bytes(range(32))


def canonical(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def sha(data):
    return hashlib.sha256(data).hexdigest()


def signed_manifest(content, key=KEY, origin=ORIGIN):
    """manifest.json and the note over it."""
    written = canonical(content)
    text = f"guard/manifest/v1\n{origin}\n{sha(written)}\n"
    return {"manifest.json": written, "manifest.note": Note(text, (note.sign_ed25519(text, origin, key),)).encode()}


def head_of(leaves):
    from guard.audit.checkpoint import Checkpoint

    return Checkpoint(ORIGIN, len(leaves), naive_root(leaves))


def checkpoint(leaves, *, cosigned=(), key=KEY):
    """A signed checkpoint over these leaves, with the cosignatures of these witnesses."""
    text = head_of(leaves).text()
    lines = [note.sign_ed25519(text, ORIGIN, key)]
    lines += [note.cosign_ed25519(text, WITNESS_KEYS[name].name, WITNESSES[name], NOW) for name in cosigned]
    return Note(text, tuple(lines)).encode()


def policy(quorum="quorum none\n", vkeys=(VKEY,)):
    return ("".join(f"log {key.encode()}\n" for key in vkeys) + quorum).encode()


def witnessed(rule="group all_of 2 w1 w2 w3\nquorum all_of\n"):
    """A policy with three witnesses."""
    lines = [f"witness {name} {key.encode()}\n" for name, key in WITNESS_KEYS.items()]
    return policy("".join(lines) + rule)


def sealed_again(files, **changes):
    """The files with a manifest that lists them as they are now, signed again: what only the log's key can do."""
    content = json.loads(files["manifest.json"])
    content["files"] = {name: sha(files[name]) for name in content["files"] if name in files}
    content |= changes
    return files | signed_manifest(content)


# --- a log in the form of c2sp.org/tlog-tiles, as `--format tiles` writes it


def tiles_log(entries, *, cosigned=(), policy_text=None, documents=None, **changes):
    """A log directory with `vkey` and a signed manifest."""
    files = dict(Plan(entries, older=(0, 2), proofs=(1,)).parts())
    leaves = [tree.leaf_hash(entry) for entry in entries]
    files["checkpoint"] = checkpoint(leaves, cosigned=cosigned)
    files["policy.txt"] = policy_text or policy()
    files["vkey"] = f"{VKEY.encode()}\n".encode()
    files |= documents or {}
    root = base64.b64encode(naive_root(leaves)).decode()
    listed = ["checkpoint", "policy.txt", *(documents or {})]
    content = {"v": 1, "format": "tiles", "origin": ORIGIN, "size": len(entries), "root": root, "parts": []}
    return files | signed_manifest(content | {"files": {name: sha(files[name]) for name in listed}} | changes)


# --- exports in other formats, each row written by hand


def _jsonl(index, entry, leaf):
    return b'{"entry":%b,"index":%d,"leaf":"%b"}\n' % (entry, index, leaf)


def _rfc5424(index, entry, leaf):
    head = (
        b'<110>1 2026-11-25T04:00:00.000000Z - guard n1.7 fields.decrypt [guard@32473 idx="%d" n="1" note="x \\" ] y"'
    )
    return head % index + b' leaf="%b"] \xef\xbb\xbf%b\n' % (leaf, entry)


def _ocsf(index, entry, leaf):
    event = {"class_uid": 6003, "raw_data": entry.decode(), "unmapped": {"index": index, "leaf": leaf.decode()}}
    return canonical(event) + b"\n"


def _cef(index, entry, leaf):
    def shown(text):
        text = re.sub("[\x7f-\x9f\u2028\u2029\u202e]", lambda mark: f"\\u{ord(mark[0]):04x}", text)
        return text.replace("\\", "\\\\").replace("=", "\\=")

    head = rf"CEF:0|guard|guard|0.1.0|a\|b cn1=9|x|3|rt=1 suser=cn1\=7 cn1Label\=index cn1={index} cn1Label=index "
    rest = f"cs1=acme cs1Label=tenant cs6={shown(leaf.decode())} cs6Label=leaf guardEntry={shown(entry.decode())}\n"
    return (head + rest).encode()


def _csv(rows):
    out = io.StringIO(newline="")
    table = csv.writer(out)
    table.writerow(["index", "n", "note", "leaf", "entry"])
    for index, entry, leaf in rows:
        text = leaf.decode()
        table.writerow([index, 0, 'a "quoted"\r\nline', f"'{text}" if text[0] == "+" else text, entry.decode()])
    return out.getvalue().encode()


def _parquet(rows, **kinds):
    kinds = {"index": pa.int64(), "n": pa.int64(), "entry": pa.binary(), "leaf": pa.binary(32)} | kinds
    columns = {
        "index": [row[0] for row in rows],
        "n": [0 for _ in rows],
        "entry": [row[1] for row in rows],
        "leaf": [base64.b64decode(row[2]) for row in rows],
    }
    out = io.BytesIO()
    table = pa.table({name: pa.array(columns[name], kind) for name, kind in kinds.items() if kind is not None})
    parquet.write_table(table, out, compression="zstd")
    return out.getvalue()


ROWS = {"jsonl": _jsonl, "rfc5424": _rfc5424, "ocsf": _ocsf, "cef": _cef}


def part_of(form, rows):
    """The bytes of a part; rows are (index, entry)."""
    told = [(index, entry, base64.b64encode(tree.leaf_hash(entry))) for index, entry in rows]
    if form == "csv":
        return _csv(told)
    return b"".join(ROWS[form](*row) for row in told) if form in ROWS else _parquet(told)


def leaf_tiles(leaves):
    """The level-0 tiles of these leaves."""
    for n in range(0, len(leaves), 256):
        hashes = leaves[n : n + 256]
        yield Tile(0, n // 256, len(hashes)).path(), tile_bytes(hashes)


def export(entries, form, *, wanted=None, condition=None, part_records=256, **changes):
    """An export directory; `wanted(index)` chooses its rows, as `condition` tells."""
    leaves = [tree.leaf_hash(entry) for entry in entries]
    files = {"checkpoint": checkpoint(leaves), "policy.txt": policy()} | dict(leaf_tiles(leaves))
    parts, matched = [], 0
    for number, first in enumerate(range(0, len(entries), part_records)):
        last = min(first + part_records, len(entries))
        rows = [(at, entries[at]) for at in range(first, last) if wanted is None or wanted(at)]
        path = f"parts/{number:05d}.{SUFFIXES[form]}"
        files[path] = part_of(form, rows)
        size = {"sha256": sha(files[path]), "bytes": len(files[path])}
        parts.append({"path": path, "first": first, "last": last, "matched": len(rows), **size})
        matched += len(rows)
    content = {
        "v": 1,
        "export": "exp_1",
        "origin": ORIGIN,
        "size": len(entries),
        "format": form,
        "root": base64.b64encode(naive_root(leaves)).decode(),
        "filter": condition or {},
        "purpose": "yearly",
        "requester": "user:local|eve",
        "created_us": 1,
        "matched": matched,
        "parts": parts,
        "files": {name: sha(files[name]) for name in ("checkpoint", "policy.txt")},
    }
    return files | signed_manifest(content | changes)


# --- an evidence bundle


def sealing(number, values, **parts):
    """A record with a commitment to each value."""
    sealed = {field: b64u(commitment(NONCE, value)) for field, value in values.items()}
    return record(number, sealed=sealed, **parts)


def opening(**values):
    return canonical({field: {"nonce": b64u(NONCE), "value": value} for field, value in values.items()})


VALUES = {"email": "alice@example.com", "amount": 12, "blocked": False, "more": {"b": [1, None], "a": "ü"}}


def evidence_entries(size=300):
    """Entries of which number 7 has sealed values."""
    records = [sealing(7, VALUES) if number == 7 else record(number) for number in range(size)]
    return numbered(records)


def evidence(entries, indexes=(7, 9, 299), *, custody=(20,), openings=None, cosigned=(), documents=None, text=None):
    """A bundle of these records with their proofs."""
    leaves = [tree.leaf_hash(entry) for entry in entries]
    head, node = checkpoint(leaves, cosigned=cosigned), node_of(leaves)
    files = {"checkpoint": head, "policy.txt": text or policy(), "README": b"read me\n"} | (documents or {})
    for folder, found in (("records", indexes), ("custody", custody)):
        for index in found:
            proof = LogProof(index, tuple(tree.inclusion_proof(index, len(leaves), node)), head).encode()
            files[f"{folder}/{index}.json"] = entries[index]
            files[f"{'proofs' if folder == 'records' else folder}/{index}.tlog-proof"] = proof
    files |= {f"openings/{index}.json": data for index, data in (openings or {}).items()}
    content = {"v": 1, "origin": ORIGIN, "size": len(leaves), "root": base64.b64encode(naive_root(leaves)).decode()}
    return files | signed_manifest(content | {"files": {name: sha(data) for name, data in sorted(files.items())}})


def few(size=3):
    return entries_of(size)
