"""Which operations the worker calls, and how often; whether one is due, its room says.

Law: what is external, or needs a record, rests while the service does not serve; the worker sees to that.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from guard.audit import anchor_settings, archiving
from guard.audit.copier import Copier
from guard.audit.copies import Copies
from guard.audit.export_work import Exports
from guard.audit.floods import Floods
from guard.audit.log import Log
from guard.audit.publication import Publication
from guard.audit.rounds import Rounds
from guard.audit.sealed import SealedValues
from guard.audit.standing import Standing
from guard.audit.stream import POLL_SECONDS, Stream, Streams
from guard.audit.witnesses import Witnesses
from guard.catalogue import PLATFORM, Actor
from guard.db.engine import Store
from guard.gate import Gate
from guard.runbook.desk import Desk
from guard.settings import Settings
from guard.vault.budgets import Budgets
from guard.vault.forgetting import Forgetting
from guard.vault.token_operations import sweep_due
from guard.vault.vault import Vault
from guard.worker import Due, Worker, always

SWEEP_SECONDS = 60  # how long the value of a token outlives its end at most; nothing opens it meanwhile
SINK_WATCH_SECONDS = 5  # with the 45 s after which a sink is late, an alarm comes within a minute


def add_loops(worker: Worker, gate: Gate, parts: Mapping[type, Any], settings: Settings) -> None:
    """Add every loop of the service to *worker*; *parts* are those of the gate."""
    vault: Vault = parts[Vault]
    exports: Exports = parts[Exports]
    desk: Desk = parts[Desk]
    worker.every(0, "reencryptions.step", vault.due)
    _turn(worker, vault, settings)
    worker.every(SWEEP_SECONDS, "tokens.sweep", sweep_due(parts[Store].read))
    worker.every(0, "exports.step", exports.due)
    worker.every(0, "runs.advance", desk.due)
    worker.every(settings.checkpoint_seconds, "intents.sweep", always)
    worker.every(0, "refusals.merge", parts[Floods].due)
    worker.every(0, "budgets.exceeded", parts[Budgets].due)
    worker.every(1, "budgets.store", parts[Budgets].store_due)
    _forget(worker, parts[Forgetting])
    log: Log = parts[Log]
    _keep(worker, log, parts[SealedValues])
    _sign(worker, parts)
    _watch(worker, settings, log, parts[Rounds])
    _send_on(parts[Streams], gate, worker, parts[Standing])
    bucket = anchor_settings.bucket(settings.worm)
    if bucket is not None and bucket.tiles:
        _copy(worker, gate, parts[Copies], parts[Standing])


def _turn(worker: Worker, vault: Vault, settings: Settings) -> None:
    """The loops of keys: rotation by age and use, the end of destructions, counts."""
    hours, values = settings.rotation_hours, settings.rotation_values
    worker.every(60, "keys.rotate", lambda now: vault.life.rotations_due(vault.keyring, now, hours, values))
    worker.every(60, "keys.expire", vault.life.ends_due)
    worker.every(5, "key_uses.store", vault.life.uses_due)


def _keep(worker: Worker, log: Log, values: SealedValues) -> None:
    pace = archiving.Pace(log)
    worker.every(0, "log.archive", lambda now_us: [(PLATFORM, {})] * pace.steps(now_us))
    worker.every(0, "scrubs.step", lambda now: always(now) if now >= log.scrub_due_us else ())
    worker.every(1, "prunes.sweep", lambda _now: [(PLATFORM, {})] * archiving.removals(log))
    worker.every(0, "erasures.step", values.erasures_due)
    worker.every(0, "sealed.expire", values.expiry_due)


def _forget(worker: Worker, forgetting: Forgetting) -> None:
    worker.every(0, "subjects.replayed", forgetting.replays_due)
    worker.every(0, "subjects.step", forgetting.due)
    worker.every(0, "buckets.rotate", forgetting.buckets_due)
    worker.every(0, "subjects.scrub", forgetting.remains.due)
    worker.every(0, "keys.rewrap", forgetting.rewraps.due)


def _sign(worker: Worker, parts: Mapping[type, Any]) -> None:
    """A checkpoint is published in two steps: only the second, which is short, is on the writer's connection."""
    publication: Publication = parts[Publication]
    witnesses: Witnesses = parts[Witnesses]
    sound = _while_sound(parts[Standing])
    worker.every(0, "checkpoints.reread", always)
    worker.every(0, "checkpoints.stage", sound(publication.due))
    worker.every(0, "checkpoints.adopt", sound(publication.adopt_due))
    worker.every(0, "clock.regression", publication.regressed)
    worker.every(1, "checkpoints.tidy", publication.tidy_due)
    worker.every(0, "checkpoints.witness", lambda now_us: witnesses.due(now_us, publication.head))


def _while_sound(standing: Standing) -> Callable[[Due], Due]:
    """On a full disk what was acknowledged is signed all the same; what is in doubt is not."""
    return lambda due: lambda now_us: due(now_us) if standing.sound else ()


def _watch(worker: Worker, settings: Settings, log: Log, rounds: Rounds) -> None:
    """The loops of anchors and files."""
    worker.every(1, "services.watch", always)
    worker.every(0, "audit.resumed", lambda _now: rounds.resumption())
    if settings.time_stamps:
        worker.every(1, "checkpoints.stamp", lambda now: rounds.stamps(now, log.size))
    if settings.worm:
        # Alone, since a bucket that hangs would hold up the end of the process with the pool of the others.
        worker.alone("checkpoints.copy", lambda: _beat(worker, rounds, log), lambda: None)


def _send_on(streams: Streams, gate: Gate, worker: Worker, standing: Standing) -> None:
    """Sinks rest while the service does not serve: a cursor that cannot move would send one batch for ever."""
    actor = Actor("system:worker", PLATFORM, "system")

    def call(name: str, request: Mapping[str, Any]) -> Any:
        return gate.call_named(name, request, actor, "stream")

    def step(stream: Stream) -> float:
        return stream.step() if standing.serving else POLL_SECONDS

    for stream in streams.open(call):
        worker.alone(stream.plan.name, partial(step, stream), stream.release)
    if streams.sinks:
        worker.every(SINK_WATCH_SECONDS, "sinks.watch", always)


def _copy(worker: Worker, gate: Gate, copies: Copies, standing: Standing) -> None:
    actor = Actor("system:worker", PLATFORM, "system")
    copier = Copier(lambda name: gate.call_named(name, {}, actor, "copy"), copies, lambda: standing.serving)
    worker.alone("copies", copier.step, lambda: None)


def _beat(worker: Worker, rounds: Rounds, log: Log) -> float:
    worker.beat("checkpoints.copy", lambda now: rounds.copies(now, log.size))
    return 1.0
