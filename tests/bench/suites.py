"""Sealing through the batch operation against the raw loop of the same suite, in one process and one thread.

Ours is a batch of 400 through the gate: allowed, sealed each in its context, recorded, and durable before the answer.
The raw loop is the library alone, over the same values and a context of 150 bytes, with nothing around it.
"""

import base64
import os
import statistics
import tempfile
import time
from pathlib import Path

from cryptography.cobblestone import Cobblestone256Encryptor
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from guard.settings import load
from guard.vault import xaes

ROUNDS = 5
BATCH = 400
CONTEXT_BYTES = 150
VALUE_BYTES = 32
SECONDS = 0.6
AT_A_TIME = 16  # the fewest clients of the targets; with four the process waits for the disk half of the time
FIELDS = """
version: 1
table: bench
rows: 1000000
columns:
  cbl256: {class: contact, suite: cbl256, bind: [row], mask: none, purposes: [billing]}
  xaes: {class: contact, suite: xaes, bind: [row], mask: none, purposes: [billing]}
  siv: {class: contact, suite: siv, deterministic: true, entropy: 60, bind: [], mask: none, purposes: [billing]}
"""


def _cobblestone(key, context):
    def seal(value):
        encryptor = Cobblestone256Encryptor(key[:32], context)
        return encryptor.update(value) + encryptor.finalize()

    return seal


def _xaes(key, context):
    def seal(value):
        nonce = os.urandom(xaes.NONCE_BYTES)
        return nonce + xaes.encrypt(key[:32], nonce, context, value)

    return seal


def _siv(key, context):
    cipher, parts = AESSIV(key), [context]
    return lambda value: cipher.encrypt(value, parts)


RAW = {"cbl256": _cobblestone, "xaes": _xaes, "siv": _siv}


def _raw(suite):
    seal = RAW[suite](os.urandom(64), os.urandom(CONTEXT_BYTES))
    values = [os.urandom(VALUE_BYTES) for _ in range(BATCH)]
    done, began = 0, time.perf_counter()
    while time.perf_counter() - began < SECONDS:
        for value in values:
            seal(value)
        done += BATCH
    return done / (time.perf_counter() - began)


def _request(gate, suite):
    context = {} if suite == "siv" else None
    items = [
        {
            "field": f"bench.{suite}",
            "context": {"row": str(row)} if context is None else context,
            "plaintext": base64.b64encode(os.urandom(VALUE_BYTES)).decode(),
        }
        for row in range(BATCH)
    ]
    return gate.parse("fields.encrypt", {"items": items})


async def _batches(gate, operation, request, actor):
    import asyncio

    began, done = time.perf_counter(), 0

    async def client():
        nonlocal done
        while time.perf_counter() - began < SECONDS:
            unit = await gate.call(operation, request, actor, "bench")
            assert len(unit.result["results"]) == BATCH
            done += BATCH

    await asyncio.gather(*(client() for _ in range(AT_A_TIME)))
    return done / (time.perf_counter() - began)


def batch_of(suite):
    """A measure: fields per second of batches through the gate against the raw loop of *suite*."""

    def measure():
        import uvloop

        from guard.cli.serving import _build
        from tests.bench.measures import _home, _storing_service
        from tests.vault.shop import policies_with

        ratios, ours, raws = [], [], []
        with tempfile.TemporaryDirectory() as folder:
            home, policies = _home(folder), policies_with(Path(folder), "bench.yaml", FIELDS)
            with (home / "guard.toml").open("a") as settings:
                settings.write(f'policies = "{policies}"\n')
            guard = _build(load(home))
            try:
                actor = _storing_service(guard)
                operation, request = _request(guard.gate, suite)
                for _ in range(ROUNDS):
                    raws.append(_raw(suite))
                    ours.append(uvloop.run(_batches(guard.gate, operation, request, actor)))
                    ratios.append(ours[-1] / raws[-1])
            finally:
                guard.close()
        figures = (
            f"{statistics.median(ours):,.0f} fields/s in batches of {BATCH} through the gate, each recorded before its "
            f"answer, against {statistics.median(raws):,.0f}/s of the raw loop of {suite}"
        )
        return statistics.median(ratios), figures

    return measure
