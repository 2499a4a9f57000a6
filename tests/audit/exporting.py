"""Exports of a running guard, driven by hand, and a check of an export directory that shares nothing with the verifier."""

import io
import json
import zipfile
from base64 import b64decode
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from guard.audit import note
from guard.audit.checkpoint import parse
from guard.audit.export import leaf_tiles
from guard.audit.export_work import Exports
from guard.audit.tree import root_of
from guard.catalogue import PLATFORM
from tests.world import world

SMALL_PART = 256


def exports_of(made) -> Exports:
    return made.guard.gate._doors.parts[Exports]


@contextmanager
def parted(home, part_records=SMALL_PART):
    """A world in which a part is one tile, so that some hundred records make a job of several parts."""
    with world(home) as made:
        exports_of(made).part_records = part_records
        yield made


def fill(made, count, tenants=("acme", "globex")):
    """Records of several tenants up to *count*, some of them refusals, and a checkpoint."""
    actors = [made.hire(tenant, "user:local|ana", "role:support") for tenant in tenants]
    made.hire(PLATFORM, "user:local|auditor", "role:auditor")
    while made.guard.log.size < count:
        at = made.guard.log.size
        try:
            made.call("actors.whoami" if at % 3 else "keys.list", actors[at % len(actors)])
        except Exception:  # noqa: BLE001  a refusal is a record too
            continue
    return made.call("checkpoints.publish")


def auditor(made, tenant=PLATFORM):
    return made.hire(tenant, "user:local|auditor", "role:auditor")


def beat(made, times=1):
    """What the worker's loop does for exports."""
    exports = exports_of(made)
    return sum(made.beat("exports.step", exports.due) for _ in range(times))


def work(made, actor, export):
    """Beat until the export is no longer at work."""
    for _ in range(50):
        view = made.call("exports.read", actor, export=export)
        if view.state not in {"frozen", "running"}:
            return view
        beat(made)
    raise AssertionError(view)


def ordered(made, actor, **request):
    """An export that is ready."""
    return work(made, actor, made.call("exports.create", actor, **request).id)


def directory(made, actor, view, folder):
    """The files of an export as an auditor has them, fetched one by one."""
    for n in range(view.parts):
        part = made.call("exports.part", actor, export=view.id, n=n)
        content = Path(part.path).read_bytes()
        assert sha256(content).hexdigest() == part.sha256
        if view.format == "tiles":
            unzip(content, folder)
            continue
        place = folder / "parts" / part.file_name.removeprefix(f"{view.id}-")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        hashes = Path(made.call("exports.hashes", actor, export=view.id, n=n).path).read_bytes()
        for path, tile in leaf_tiles(n * exports_of(made).part_records, hashes):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(tile)
    unzip(Path(made.call("exports.frame", actor, export=view.id).path).read_bytes(), folder)
    return folder


def unzip(content, folder):
    with zipfile.ZipFile(io.BytesIO(content)) as opened:
        opened.extractall(folder)


def check(folder, vkey):
    """The manifest of an export that is as it says: note, checkpoint, parts, files, and the root over the leaf hashes."""
    key = note.VerifierKey.decode(vkey)
    written = (folder / "manifest.json").read_bytes()
    found = json.loads(written)
    signed = note.parse((folder / "manifest.note").read_bytes())
    note.verify(signed, [key])
    assert signed.text == f"guard/manifest/v1\n{key.name}\n{sha256(written).hexdigest()}\n"
    checkpoint = note.parse((folder / "checkpoint").read_bytes())
    note.verify(checkpoint, [key])
    head = parse(checkpoint.text)
    assert (found["origin"], found["size"], b64decode(found["root"])) == (head.origin, head.size, head.root)
    for path, digest in found["files"].items():
        assert sha256((folder / path).read_bytes()).hexdigest() == digest, path
    for part in found["parts"]:
        content = (folder / part["path"]).read_bytes()
        assert (sha256(content).hexdigest(), len(content)) == (part["sha256"], part["bytes"])
    bounds = [(part["first"], part["last"]) for part in found["parts"]]
    assert found["format"] == "tiles" or [0, *(last for _, last in bounds)] == [
        *(first for first, _ in bounds),
        head.size,
    ]
    tiles = sorted((folder / "tile" / "0").rglob("*"), key=str)
    leaves = b"".join(path.read_bytes() for path in tiles if path.is_file())
    assert root_of(leaves[at : at + 32] for at in range(0, len(leaves), 32)) == head.root
    return found
