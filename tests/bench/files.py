"""Sealing a file as a stream against a plain loop that reads, encrypts and writes; and what memory it takes."""

import base64
import json
import os
import resource
import statistics
import tempfile
import time
from pathlib import Path

from cryptography.cobblestone import Cobblestone256Encryptor

from guard.client.files import BLOCK_BYTES, Files
from guard.client.local import LocalKeys

ROUNDS = 5
MIB = 1 << 20
SIZE = 256 * MIB
START = bytes.fromhex("470107") + bytes(133)


def _call(name, **_members):
    if name != "leases.create":
        return {"used": 0, "ttl_seconds": 3600}
    field = {"field": "t.c", "table": "t", "column": "c", "bind": ["row"], "pad_step": 0}
    start = base64.b64encode(START).decode()
    return {
        "lease_id": "lse_bench",
        "tenant": "bench",
        "key": base64.b64encode(bytes(32)).decode(),
        "purpose": "store",
        "opens": False,
        "ttl_seconds": 3600,
        "max_uses": 1000,
        "fields": [{**field, "start": start}],
    }


def files_encrypt():
    """A file of 256 MiB by `Files.encrypt`, and by the plain loop with the same blocks and one fsync."""
    ours, peers = [], []
    with tempfile.TemporaryDirectory() as folder:
        source, files = Path(folder) / "source", Files(LocalKeys(_call))
        with source.open("wb") as writer:
            for _ in range(SIZE // MIB):
                writer.write(os.urandom(MIB))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for number in range(ROUNDS):
            for sides, act in ((ours, _ours), (peers, _plain)):
                target = Path(folder) / f"{number}-{len(sides)}-{act.__name__}"
                began = time.perf_counter()
                act(files, source, target)
                sides.append(SIZE / MIB / (time.perf_counter() - began))
                target.unlink()
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    figures = (
        f"{statistics.median(ours):,.0f} MiB/s against {statistics.median(peers):,.0f} MiB/s of the plain loop; "
        f"the process grew by {grown} KiB"
    )
    return statistics.median(one / peer for one, peer in zip(ours, peers, strict=True)), figures


def _ours(files, source, target):
    files.encrypt(source, target, "t.c", row="1")


def _plain(_files, source, target):
    encryptor = Cobblestone256Encryptor(bytes(32), bytes(100))
    with source.open("rb") as reader, target.open("wb") as writer:
        while block := reader.read(BLOCK_BYTES):
            writer.write(encryptor.update(block))
        writer.write(encryptor.finalize())
        writer.flush()
        os.fsync(writer.fileno())


if __name__ == "__main__":
    print(json.dumps(files_encrypt()))
