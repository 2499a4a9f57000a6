"""The measures. Each returns (ratio, figures); rounds of both sides alternate, so that a drifting machine moves both."""

import asyncio
import base64
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from cryptography.cobblestone import Cobblestone256Encryptor

from guard.settings import load
from tests.bench.files import files_encrypt
from tests.bench.suites import batch_of
from tests.bench.verifying import verify_full

ROUNDS = 5
BATCH = 400
CONTEXT_BYTES = 150
VALUE_BYTES = 32


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait(port):
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError("the server did not start")


@contextmanager
def _process(command):
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(20)


def _home(folder):
    """A home in *folder* where thousands of requests a second are no flood."""
    home = Path(folder) / "home"
    home.mkdir(mode=0o700)
    (home / "guard.toml").write_text("requests_per_minute = 1_000_000_000\n")
    return home


@contextmanager
def _guard():
    """A guard server on a throw-away home, with the empty route in it; (port, token of the tenant dev)."""
    port = _free_port()
    with tempfile.TemporaryDirectory() as folder:
        home = _home(folder)
        with _process([sys.executable, str(Path(__file__).with_name("server.py")), str(home), str(port)]):
            _wait(port)
            yield port, json.loads((home / "bench.json").read_text())["token"]


@contextmanager
def _bare():
    """An empty FastAPI application alone, on a server with the same options."""
    port = _free_port()
    with _process([sys.executable, str(Path(__file__).with_name("empty.py")), str(port)]):
        _wait(port)
        yield port


def _load(port, path, body, token="", connections=64, seconds=2.0):
    """Requests per second and p99 in ms: by wrk where it is installed, since a load generator in Python takes the
    processor that the server's second thread needs; else by load.py."""
    if shutil.which("wrk"):
        return _wrk(port, path, body, token, connections, seconds)
    command = [sys.executable, str(Path(__file__).with_name("load.py")), str(port), "--path", path, "--token", token]
    command += ["--connections", str(connections), "--seconds", str(seconds)]
    done = subprocess.run(command, input=body, capture_output=True, check=True, timeout=60)
    found = json.loads(done.stdout)
    if found["other"]:
        raise RuntimeError(f"{found['other']} answers were not 200")
    return found


def _wrk(port, path, body, token, connections, seconds):
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(f"wrk.method = 'POST'\nwrk.body = {json.dumps(body.decode())}\n")
        script.write("wrk.headers['Content-Type'] = 'application/json'\n")
        if token:
            script.write(f"wrk.headers['Authorization'] = 'Bearer {token}'\n")
        script.flush()
        command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--latency", "-s", script.name]
        done = subprocess.run([*command, f"http://127.0.0.1:{port}{path}"], capture_output=True, check=True, text=True)
    if "Non-2xx" in done.stdout:
        raise RuntimeError("some answers were not 200")
    number, unit = re.search(r"99%\s+([0-9.]+)(us|ms|s)", done.stdout).groups()
    return {
        "per_second": float(re.search(r"Requests/sec:\s+([0-9.]+)", done.stdout)[1]),
        "p99_ms": float(number) * {"us": 0.001, "ms": 1, "s": 1000}[unit],
    }


def _encrypt_body(count):
    items = [
        {
            "field": "customers.email",
            "context": {"row": str(row)},
            "plaintext": base64.b64encode(os.urandom(VALUE_BYTES)).decode(),
        }
        for row in range(count)
    ]
    return json.dumps({"items": items}, separators=(",", ":")).encode()


def _against_empty(path, body, connections):
    ratios, ours, theirs, alone = [], [], [], []
    with _guard() as (port, token), _bare() as bare:
        for _ in range(ROUNDS):
            theirs.append(_load(port, "/empty", b"", connections=connections))
            ours.append(_load(port, path, body, token, connections=connections))
            alone.append(_load(bare, "/empty", b"", connections=connections))
            ratios.append(ours[-1]["per_second"] / theirs[-1]["per_second"])
    best, peer, bare_peer = (statistics.median(one["per_second"] for one in side) for side in (ours, theirs, alone))
    p99 = statistics.median(one["p99_ms"] for one in ours)
    figures = (
        f"{best:,.0f}/s against {peer:,.0f}/s for an empty FastAPI POST on the same server; {connections} connections, "
        f"p99 {p99:.1f} ms, one worker; {best / bare_peer:.2f} of an empty FastAPI application alone ({bare_peer:,.0f}/s)"
    )
    return statistics.median(ratios), figures


def encrypt_single():
    """A guarded, recorded encrypt over HTTP against an empty FastAPI POST."""
    return _against_empty("/api/v1/fields/encrypt", _encrypt_body(1), 64)


def check_single():
    """A recorded permission check over HTTP against an empty FastAPI POST."""
    body = {"subject": "user:local|developer", "action": "fields.mask", "resource": "fields/customers.email/support"}
    return _against_empty("/api/v1/checks", json.dumps(body).encode(), 64)


def _raw_cipher(seconds=1.0):
    key, context = os.urandom(32), os.urandom(CONTEXT_BYTES)
    values = [os.urandom(VALUE_BYTES) for _ in range(BATCH)]
    done, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        for value in values:
            encryptor = Cobblestone256Encryptor(key, context)
            encryptor.update(value)
            encryptor.finalize()
        done += BATCH
    return done / (time.perf_counter() - began)


def encrypt_batch():
    """Fields per second of batches of 400 in one process, from body to durable answer, against the raw cipher loop."""
    import uvloop

    from guard.cli.serving import _build

    body, ratios, ours, raws = _encrypt_body(BATCH), [], [], []
    with tempfile.TemporaryDirectory() as folder:
        guard = _build(load(_home(folder)))  # collector and event loop as in a server, for both sides
        try:
            actor = _storing_service(guard)
            operation = guard.gate.operations["fields.encrypt"]
            for _ in range(ROUNDS):
                raws.append(_raw_cipher())
                ours.append(uvloop.run(_batches(guard.gate, operation, actor, body)))
                ratios.append(ours[-1] / raws[-1])
        finally:
            guard.close()
    with _guard() as (port, token):
        http = statistics.median(
            _load(port, "/api/v1/fields/encrypt", body, token, connections=4)["per_second"] * BATCH for _ in range(3)
        )
    figures = (
        f"{statistics.median(ours):,.0f} fields/s in one process, each batch recorded before its answer, against "
        f"{statistics.median(raws):,.0f}/s raw Cobblestone-256; over HTTP {http:,.0f} fields/s"
    )
    return statistics.median(ratios), figures


async def _batches(gate, operation, actor, body, seconds=1.0, at_a_time=4):
    from guard.api.body import parse
    from guard.api.routes import encode

    began, done = time.perf_counter(), 0

    async def client():
        nonlocal done
        while time.perf_counter() - began < seconds:
            request = parse(operation, body, {}, {})
            encode((await gate.call(operation, request, actor, "bench")).result)
            done += BATCH

    await asyncio.gather(*(client() for _ in range(at_a_time)))
    return done / (time.perf_counter() - began)


def _storing_service(guard):
    from guard.catalogue import Actor

    worker = Actor("system:worker", "system", "system")
    wanted = {"tenant": "dev", "subject": "svc:shop", "roles": ["role:storing-service"]}
    minted = guard.gate.call_named("principals.bootstrap", wanted, worker, "bench")
    return guard.gate.identify(f"Bearer {minted.token}", "bench")


def group_commit():
    """Records per second through the commit pipeline against one fsynced 4 KiB write each: the limit of the disk."""
    from guard.cli.serving import _build

    with tempfile.TemporaryDirectory() as folder:
        guard = _build(load(_home(folder)))
        try:
            ratios, ours, disk = [], [], []
            actor = _storing_service(guard)
            for _ in range(3):
                disk.append(_fsyncs(Path(folder) / "probe"))
                ours.append(_records(guard, actor))
                ratios.append(ours[-1] / disk[-1])
        finally:
            guard.close()
    figures = f"{statistics.median(ours):,.0f} records/s against {statistics.median(disk):,.0f} fsyncs/s"
    return statistics.median(ratios), figures


def _fsyncs(path, seconds=1.0):
    block, done = os.urandom(4096), 0
    with path.open("wb") as file:
        began = time.perf_counter()
        while time.perf_counter() - began < seconds:
            file.write(block)
            file.flush()
            os.fdatasync(file.fileno())
            done += 1
        return done / (time.perf_counter() - began)


def _records(guard, actor, count=20_000):
    from concurrent.futures import Future, wait

    operation, request = guard.gate.parse("actors.whoami", {})
    began, waiters = time.perf_counter(), []
    for number in range(count):
        unit = guard.gate.begin(operation, request, actor, f"bench-{number}")
        unit.waiter = Future()
        waiters.append(unit.waiter)
        while guard.pipeline.waiting > 4000:
            time.sleep(0.0005)
        guard.pipeline.submit(unit)
    wait(waiters)
    took = time.perf_counter() - began
    for waiter in waiters:
        waiter.result()  # a refused one would measure the policy or the rate limit
    return count / took


def durable_append():
    """Records per second through the commit pipeline against one commit a record, on the same disk.

    Both sides write records that are made already into the same tables; the peer begins, appends and commits each by
    itself, which is what a service without a pipeline would do.
    """
    from guard.cli.serving import _build

    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as other:
        grouped, single = _build(load(_home(folder))), _build(load(_home(other)))
        single.worker.stop()
        single.pipeline.stop()
        try:
            ours, peers = [], []
            for _ in range(3):
                ours.append(_grouped(grouped, _made(grouped, 20_000)))
                peers.append(_one_by_one(single, _made(grouped, 5_000)))
        finally:
            grouped.close()
            single.close()
    figures = (
        f"{statistics.median(ours):,.0f} records/s through the pipeline against {statistics.median(peers):,.0f}/s "
        "with one commit a record"
    )
    return statistics.median(one / peer for one, peer in zip(ours, peers, strict=True)), figures


def _made(guard, count):
    """Entries of that many records, as the gate makes them."""
    operation, request = guard.gate.parse("actors.whoami", {})
    actor = _storing_service(guard)
    return [guard.gate.begin(operation, request, actor, f"bench-{number}").entries for number in range(count)]


def _grouped(guard, made):
    from concurrent.futures import Future, wait

    from guard.db.unit import Unit

    units = [Unit(entries) for entries in made]
    waiters = []
    began = time.perf_counter()
    for unit in units:
        unit.waiter = Future()
        waiters.append(unit.waiter)
        while guard.pipeline.waiting > 4000:
            time.sleep(0.0005)
        guard.pipeline.submit(unit)
    wait(waiters)
    took = time.perf_counter() - began
    for waiter in waiters:
        waiter.result()
    return len(made) / took


def _one_by_one(guard, made, seconds=1.5):
    began, done = time.perf_counter(), 0
    for entries in made:
        with guard.store.write() as tx:
            guard.log.append(tx, entries)
        guard.log.committed()
        done += 1
        if time.perf_counter() - began > seconds:
            break
    return done / (time.perf_counter() - began)


MEASURES = {
    "encrypt_single": (encrypt_single, 0.8),
    "encrypt_batch": (encrypt_batch, 0.5),
    "batch_cbl256": (batch_of("cbl256"), 0.4),
    "batch_xaes": (batch_of("xaes"), 0.4),
    "batch_siv": (batch_of("siv"), 0.4),
    "check_single": (check_single, 0.8),
    "group_commit": (group_commit, 1.0),
    "durable_append": (durable_append, 10.0),
    "verify_full": (verify_full, 0.35),
    "files_encrypt": (files_encrypt, 0.9),
}
