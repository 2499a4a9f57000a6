"""`manifest.json` and the note that signs it: what vouches for the files that the root does not cover.

Law: canonical JSON (RFC 8785), so that a manifest has one spelling; a manifest of version 1 is signed by a key of the
log (`manifest.note`). A log directory may have the older form without a note: hashes and the head, and nothing more.
"""

from hashlib import sha256

from .canonical import canonical
from .pruning import read_min_index
from .reading import Reading

PLAIN = {"files", "origin", "root", "size"}  # the older form
CLAIMS = ("origin", "root", "size")


def read_manifest(reading: Reading) -> None:
    """Read the manifest and hash each file that it lists; its note is checked once the keys are known."""

    def parse(name: str, text: str) -> None:
        content = canonical(text)
        if type(content) is not dict or type(content.get("files")) is not dict:
            raise ValueError("files, origin, root and size were expected")
        reading.report.counts["manifest"], reading.manifest = 1, content
        for item, digest in content["files"].items():
            data = reading.files.read(item)
            reading.vouched.add(item)
            for path in (item, name) if data is None or sha256(data).hexdigest() != digest else ():
                reading.add(path, f"{item} is not as {name} lists it: one of the two was changed")

    if "manifest.json" in reading.files.names:
        reading.read("manifest.json", parse)


def check_manifest(reading: Reading) -> None:
    """Check that the manifest speaks of this head, its note where there is one or must be one, and read min_index."""
    content, head = reading.manifest, reading.head
    if not content:
        if reading.report.kind == "evidence":
            reading.files.read("manifest.json")  # only a log vouches for itself
        else:
            read_min_index(reading, signed=False)
        return
    signed = False
    if "v" in content or reading.report.kind != "log" or "manifest.note" in reading.files.names:
        signed = bool(reading.read("manifest.note", lambda name, text: _note(reading, name, text)))
    reading.signed = signed
    read_min_index(reading, signed=signed)
    known = content.keys() - {"min_index"} == PLAIN or (type(content.get("v")) is int and content["v"] == 1)
    claims = dict(zip(CLAIMS, (head.origin, reading.report.root, head.size), strict=True))
    if not known or {name: content.get(name) for name in CLAIMS} != claims:
        reading.add("manifest.json", "origin, root and size are not those of the checkpoint")


def _note(reading: Reading, name: str, text: str) -> bool:
    signed = reading.trust.open_manifest(text, reading.head.origin, reading.head.size)
    if sha256(reading.files.read("manifest.json") or b"").hexdigest() != signed:
        reading.add("manifest.json", f"is not what {name} signs: one of the two was changed")
        return False
    return True
