"""Lines 6 to 8: an attack in the log, the incident it opens, and the proof of everything."""

import base64
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from guard.cli.audit import unpack
from guard.cli.demo.stage import NEVER_BAN, Stage, check, until
from guard.cli.logs import fingerprint_of, pieces
from guard.client import Client
from guard.errors import GuardError

SEED = 20_261
LINES = 50_000
HOURS = 2
SHOWN = 5
PLAN = "credential-stuffing"


def detect(stage: Stage) -> str:
    """Line 6."""
    from guard.detect.traffic import generate  # the generator is the server's

    now_us = time.time_ns() // 1000
    start_us = now_us - HOURS * 3_600_000_000
    traffic = generate(SEED, LINES, start_us, HOURS)
    path = stage.folder / "access.log"
    path.write_bytes(b"\n".join(traffic.lines) + b"\n")
    analyst = stage.person("acme", "analyst")
    began = time.monotonic()
    totals = _replay(analyst, path, "shop")
    seconds = time.monotonic() - began
    check(totals["lines"] == LINES, f"{LINES} lines read")
    check(totals["lines"] == totals["strict"] + totals["lenient"] + totals["rejected"], "every line counted once")
    again = _replay(analyst, path, "shop")
    check(again["alerts"] == 0 and again["decisions"] == 0, "the same log again to change nothing")
    decided = analyst.call("decisions.list", limit=500)["data"]
    banned = {row["value"] for row in decided}
    spared = [a for a in analyst.call("alerts.list", limit=500)["data"] if a["outcome"].startswith("spared")]
    planted = {client for client, rules in traffic.attacks.items()}
    check(NEVER_BAN not in banned, "the never-ban address not to be banned")
    check(any(NEVER_BAN in alert["key"] for alert in spared), "the never-ban address to be seen and spared")
    check(banned <= planted, f"nobody but the planted attackers to be decided on, got {sorted(banned - planted)}")
    check(
        planted <= banned | _observed(analyst), f"every planted attack to be found, missing {sorted(planted - banned)}"
    )
    told = (
        f"{LINES:,} lines in {seconds:.1f} s ({LINES / seconds:,.0f} lines/s): {totals['strict']:,} strict, "
        f"{totals['lenient']} lenient, {totals['rejected']} kept as unreadable\n"
        f"{totals['alerts']} alerts -> {totals['decisions']} decisions, {totals['spared']} spared; the same log again: 0 new\n"
        + "\n".join(_decision(row, now_us) for row in decided[:SHOWN])
        + f"\n{NEVER_BAN} attacked too and is in the never-ban set: not banned ({spared[0]['outcome']})"
    )
    return told + (_own_log(analyst, stage.log) if stage.log else "")


def respond(stage: Stage) -> str:
    """Line 7."""
    commander, deputy = stage.person("acme", "commander"), stage.person("acme", "deputy")
    incident = next(one for one in commander.call("incidents.list")["data"] if one["runs"])
    run = incident["runs"][0]
    stage.kill()
    restart = stage.start()
    until("the automatic step to be done", 15, lambda: _state(commander, run, "judge") == "waiting_human")
    before = commander.call("runs.read", run=run)
    check(_state(commander, run, "rotate_key") == "succeeded", "guard's own step to have rotated the key")
    _command(commander, run, "decide", "judge", option="contain", reason="log-ins succeeded")
    refused = _refused(commander, run)
    stage.kill()
    stage.start()
    after = commander.call("runs.read", run=run)
    check(after["version"] > before["version"], "the decision to have survived the kill")
    _command(deputy, run, "approve", "approve_containment")
    until("the incident to be contained", 15, lambda: _state(commander, run, "mark_contained") == "succeeded")
    responder = stage.person("acme", "responder")
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    _command(responder, run, "answer", "reset_accounts", answer={"accounts": 3, "done_at": stamp})
    _command(responder, run, "answer", "tell_users", answer={"personal_data_read": False})
    view = commander.call("runs.read", run=run)
    state = commander.call("incidents.read", incident=incident["id"])["state"]
    check(view["state"] == "completed" and state == "contained", "the run to end and the incident to be contained")
    rotations = [e for e in view["timeline"] if e["type"] == "effect_succeeded" and e["step"] == "rotate_key"]
    check(len(rotations) == 1, "the key to have been rotated exactly once")
    return (
        f"{incident['title']} -> incident of severity {incident['severity']} -> plan {PLAN}\n"
        f"killed (-9) at once and after the decision; back in {restart:.1f} s; the key was rotated exactly once\n"
        f"commander decides; her own approval: refused, {refused.detail}\n"
        f"deputy approves; contained; {len(view['timeline'])} events in a hash chain; run {view['state']}"
    )


def prove(stage: Stage) -> str:
    """Line 8."""
    from guard.audit.verifier.command import verify  # needs cryptography only

    admin = stage.admin()
    early = admin.call("checkpoints.publish")
    reveal = admin.call("records.list", tenant="acme", action="fields.decrypt", limit=1)["data"][0]
    latest = admin.call("checkpoints.publish")
    view = admin.call("exports.create", prove=[reveal["index"]])
    folder = stage.folder / "evidence"
    unpack(admin.download("exports.download", export=view["id"]), folder)
    stage.kill()  # nothing of the server is needed from here on
    began = time.monotonic()
    report = verify(folder, vkeys=[latest["vkey"]])
    seconds = time.monotonic() - began
    check(not report.faults, f"the export to verify, got {report.faults[:1]}")
    older = len(list((folder / "checkpoints").iterdir())) if (folder / "checkpoints").is_dir() else 0
    copy = stage.folder / "tampered"
    shutil.copytree(folder, copy)
    victim = next(_bundles(copy))
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(bytes(content))
    damaged = verify(copy, vkeys=[latest["vkey"]])
    check(bool(damaged.faults), "one changed byte to be found")
    stage.start()
    return (
        f"{view['size']:,} records verified offline in {seconds:.1f} s, server down: signature, root, density, "
        f"{older} older checkpoints consistent (from size {early['size']:,} too), inclusion of record {reveal['index']} proved\n"
        f"one bit flipped in a copy ({victim.relative_to(copy)}): {damaged.faults[0]}"
    )


def _replay(client: Client, path: Path, stream: str) -> dict[str, int]:
    totals: dict[str, int] = {}
    members: dict[str, Any] = {"stream": stream, "fingerprint": fingerprint_of(path)}
    offset = 0
    for offset, piece in pieces(path):
        answer = client.call("events.push", **members, offset=offset, data=base64.b64encode(piece).decode())
        _add(totals, answer)
    _add(totals, client.call("events.push", **members, offset=offset, data="", end=True))
    return totals


def _add(totals: dict[str, int], answer: dict[str, int]) -> None:
    if not totals:
        totals.update(dict.fromkeys(answer, 0))
    for name, count in answer.items():
        totals[name] += count


def _own_log(analyst: Client, path: Path) -> str:
    began = time.monotonic()
    totals = _replay(analyst, path, "own")
    seconds = max(time.monotonic() - began, 0.001)
    check(
        totals["lines"] == totals["strict"] + totals["lenient"] + totals["rejected"], "every line of your log counted"
    )
    told = (
        f"\nyour log {path.name}: {totals['lines']:,} lines in {seconds:.1f} s, {totals['strict']:,} strict, "
        f"{totals['lenient']} lenient, {totals['rejected']} unreadable; {totals['alerts']} alerts, "
        f"{totals['decisions']} decisions, {totals['spared']} spared"
    )
    for reject in analyst.call("events.rejects", stream="own", limit=3)["data"]:
        told += f"\n  unreadable ({reject['reason']}) at byte {reject['position']}: {reject['beginning'][:80]}"
    alerts = [row for row in analyst.call("alerts.list", limit=500)["data"] if row["stream"] == "own"]
    for row in alerts[:SHOWN]:
        told += f"\n  {row['rule']} by {row['key']}: {row['outcome']}"
    return told


def _observed(analyst: Client) -> set[str]:
    alerts = analyst.call("alerts.list", limit=500)["data"]
    return {alert["key"].split(" ", 1)[1] for alert in alerts}


def _decision(row: dict[str, Any], now_us: int) -> str:
    left = (row["until_us"] - now_us) / 60_000_000
    when = f"ends in {left:,.0f} min" if left > 0 else "over already (the log is older)"
    shadow = ", shadow only" if row["shadow"] else ""
    return f"  {row['type']} {row['value']} by {row['rule']}{shadow}: {when}"


def _state(client: Client, run: str, step: str) -> str:
    view = client.call("runs.read", run=run)
    return next((one["state"] for one in view["steps"] if one["step"] == step), "")


def _command(client: Client, run: str, kind: str, step: str, **members: Any) -> None:
    view = client.call("runs.read", run=run)
    now = next(one for one in view["steps"] if one["step"] == step)
    if kind in {"approve", "refuse"}:
        members["subject_hash"] = now["subject_hash"]
    client.call(
        "runs.command",
        run=run,
        command_id=f"demo-{kind}-{step}",
        expected_version=view["version"],
        type=kind,
        step=step,
        iteration=now["iteration"],
        attempt=now["attempt"],
        **members,
    )


def _refused(commander: Client, run: str) -> GuardError:
    try:
        _command(commander, run, "approve", "approve_containment")
    except GuardError as error:
        return error
    check(False, "the commander not to approve her own decision")
    raise AssertionError


def _bundles(folder: Path) -> Iterator[Path]:
    return (path for path in sorted((folder / "tile" / "entries").rglob("*")) if path.is_file())
