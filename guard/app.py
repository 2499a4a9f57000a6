"""The composition root: `build(settings) -> Guard`. Nothing else constructs parts.

Law: only here are the real clock and the real random source named. The root key exists before the first write; a store
is opened by one process; what is built is closed again.
"""

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from guard import __version__
from guard.access.doorkeeper import Doorkeeper
from guard.access.model import check_model
from guard.access.policy import parse_rows
from guard.api.asgi import Front
from guard.api.hot import protocol
from guard.api.routes import build as build_api
from guard.audit import anchor_settings, anchor_store, checkpoint_store, sink_store, stolen_store
from guard.audit import store as audit_store
from guard.audit.anchor import incarnation
from guard.audit.anchor_store import AnchorFile
from guard.audit.anchors import Anchors
from guard.audit.copies import Copies
from guard.audit.courier import Courier
from guard.audit.export_work import Exports
from guard.audit.files import FOLDER, Files
from guard.audit.floods import Floods
from guard.audit.incarnation_store import Keeper
from guard.audit.log import Log
from guard.audit.publication import Publication
from guard.audit.recorder import Recorder
from guard.audit.rounds import Rounds
from guard.audit.sealed import SealedValues
from guard.audit.shelf import Shelf
from guard.audit.signers import LogKeys
from guard.audit.standing import Phase, Reason, Standing
from guard.audit.stream import Streams
from guard.audit.stream import check as check_sinks
from guard.audit.tile_watch import TileWatch
from guard.audit.trust import Trust
from guard.audit.witnesses import Claim, Witnesses
from guard.audit.worm_store import Worm
from guard.catalogue import PLATFORM, Actor, collect
from guard.db.commit import Pipeline
from guard.db.engine import ProcessLock, Store, StoreFailed, Tx, unusable, unwritable
from guard.db.presence import Presence
from guard.detect.limits import Limit, Limiter
from guard.detect.watch import load_watch
from guard.errors import GuardError, InvalidPlan, InvalidPolicy, InvalidRule, InvalidSetting
from guard.gate import Doors, Gate
from guard.loops import add_loops
from guard.rooms import ROOMS
from guard.runbook.desk import load_plans
from guard.settings import Settings
from guard.vault import starting
from guard.vault.budgets import Budgets
from guard.vault.custodian import Custodian
from guard.vault.forgetting import open_forgetting
from guard.vault.opening import Opened
from guard.vault.policy import FieldPolicy, parse
from guard.vault.source_store import Sources
from guard.vault.subjects import PEPPER_BYTES, SubjectKeys
from guard.vault.unsealing import Hierarchy
from guard.vault.vault import Vault
from guard.worker import Worker

DRAW_BYTES = 4096
BREATH_SECONDS = 0.0001  # of an export after each millisecond of its work: long enough for a waiting thread to wake
POOL_THREADS = 8  # reads and external calls at a time; more only wait on two cores
MAX_POLICY_FILES = 1000  # a folder with more is some other folder
NS_PER_MINUTE = 60_000_000_000
BURST_DIVISOR = 60  # a second's worth may come at once


@dataclass(slots=True)
class Guard:
    """A running guard. `front` is the ASGI application, `protocol` what uvicorn speaks before it."""

    settings: Settings
    gate: Gate
    front: Front
    protocol: type[asyncio.Protocol]
    store: Store
    pipeline: Pipeline
    worker: Worker
    doorkeeper: Doorkeeper
    log: Log
    standing: Standing
    fresh: bool
    custodian: Custodian
    _closers: list[Callable[[], None]]

    def close(self) -> None:
        """Stop the loops, commit what is queued, close the store, release the home directory."""
        while self._closers:
            self._closers.pop(0)()


class Salts(threading.local):
    """Random bytes for ids and salts, drawn from the system 4 KiB at a time; keys are drawn by themselves.

    Two system calls a request were a tenth of its time.
    """

    def __init__(self) -> None:
        self._drawn, self._at = b"", 0

    def __call__(self, size: int) -> bytes:
        """*size* fresh bytes; none is given twice."""
        if self._at + size > len(self._drawn):
            self._drawn, self._at = os.urandom(max(DRAW_BYTES, size)), 0
        self._at += size
        return self._drawn[self._at - size : self._at]


def now_us() -> int:
    """The wall clock, microseconds UTC."""
    return time.time_ns() // 1000


def build(settings: Settings, *, clock: Callable[[], int] = now_us, opened: Opened | None = None) -> Guard:
    """Build a guard on the store in `settings.home`, made if need be, and *opened* or opening by itself. No loop runs.

    Raises:
        Sealed, StoreLocked, StoreDamaged, RootKeyMissing, WrongRootKey, InvalidPolicy, InvalidRule, InvalidPlan.
    """
    # Policies, rules and plans are read first: a mistake in one of them must not leave half a store behind.
    model, rows = _access_policy(settings)
    policies = _field_policies(settings)
    rules = _texts(settings.policies / "detections", "policies/detections", InvalidRule)
    watch = load_watch(rules, settings.never_ban, settings.lateness_seconds * 1_000_000)
    check_sinks(settings.sinks)
    desk = load_plans(_texts(settings.runbooks, "runbooks", InvalidPlan), frozenset(collect(ROOMS)))
    _make_home(settings.home)
    with ExitStack() as undo:
        lock = ProcessLock(settings.home)
        undo.callback(lock.release)
        try:
            guard = _assemble(settings, clock, lock, undo, (model, rows, policies, watch, desk, opened))
        except OSError as error:
            raise unwritable(Path(error.filename or settings.home), error) from None
        except StoreFailed as error:
            raise unusable(settings.home, error) from None
        undo.pop_all()  # from here on `Guard.close` does it
        return guard


def _make_home(home: Path) -> None:
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidSetting(f"Expected a directory to use at {home}, got: {error.strerror}; choose another.") from None


def _assemble(
    settings: Settings, clock: Callable[[], int], lock: ProcessLock, undo: ExitStack, loaded: tuple[Any, ...]
) -> Guard:
    model, rows, policies, watch, desk, given = loaded
    standing = Standing(anchor_store.say_standing)
    anchors, rounds = _anchors(settings, standing, clock)
    witnesses = Witnesses(settings.witnesses, settings.witness_quorum, settings.witness_seconds, Courier())
    store, opened, fresh = starting.unsealed(settings, (os.urandom, clock), undo, given)
    hierarchy = Hierarchy(opened.secret, os.urandom)
    with store.write() as tx:
        pepper = bytes(hierarchy.system_secret(tx, "token_pepper", 32, clock()).expose())
        signing = _signing(settings, clock, store, hierarchy, (anchors, witnesses), tx)
        forgetting = open_forgetting(tx, hierarchy, settings, store.read, os.urandom, clock())
        undo.callback(forgetting.close)
        vault = Vault(hierarchy, policies, Salts())
        vault.load(tx)
        doorkeeper = Doorkeeper(model, rows, pepper)
        doorkeeper.load(tx, clock())
        watch.load(tx, clock())
        desk.load(tx)
        rerouted = any(sink_store.changed(tx, (plan.name for plan in settings.sinks)))
    salts = Salts()
    recorder = Recorder(clock, salts, f"guard-{os.getpid()}")
    sources, streams = Sources(settings.sources), Streams(settings.sinks)
    presence = Presence(settings.database, lock.path)
    custodian = Custodian(opened.secret, settings.origin, vault, str(settings.key_file), settings.production)
    undo.callback(custodian.close)
    known = (custodian, vault, doorkeeper, watch, desk, recorder, sources, streams, settings, store, *signing)
    made = (*known, forgetting, forgetting.subjects, standing, anchors, rounds, presence, Floods(), Copies(), Budgets())
    parts: dict[type, Any] = {type(part): part for part in made}
    log: Log = parts[Log]
    forgetting.attach(parts[SealedValues].held, log)
    on_fatal, admit = partial(_die, standing), custodian.before(standing.admit)
    pipeline = Pipeline(store, log, limit=settings.queue_limit, on_fatal=on_fatal, admit=admit)
    pool = ThreadPoolExecutor(POOL_THREADS, "guard-pool")
    gate = Gate(_doors(settings, clock, parts, doorkeeper, pipeline, store, recorder, pool))
    worker = Worker(gate, clock, settings.heartbeat_milliseconds, lambda: standing.serving and not custodian.error())
    add_loops(worker, gate, parts, settings)
    ready = _readiness(pipeline, settings, standing, custodian)
    front = Front(build_api(gate, ready, settings.max_body_bytes), salts)
    closers = [worker.stop, pipeline.stop, lambda: pool.shutdown(wait=True), sources.close, store.close]
    closers += [forgetting.close, presence.close, custodian.close, lock.release]
    pipeline.start()
    undo.callback(pipeline.stop)
    hot = protocol(gate, settings.max_body_bytes, salts)
    ends = (standing, fresh, custodian, closers)
    guard = Guard(settings, gate, front, hot, store, pipeline, worker, doorkeeper, log, *ends)
    if standing.sound:
        _record_start(guard, vault.lacking, opened, rerouted=rerouted)
    standing.move(Phase.SERVING)
    return guard


def _signing(
    settings: Settings,
    clock: Callable[[], int],
    store: Store,
    hierarchy: Hierarchy,
    outside: tuple[Anchors, Witnesses],
    tx: Tx,
) -> tuple[Any, ...]:
    """The log, judged by what is outside, and what signs, watches and exports it."""
    anchors, witnesses = outside
    log_keys = _log_keys(settings, hierarchy)
    log = _log(settings, hierarchy, log_keys, tx, clock())
    log.load(tx, clock())
    anchors.standing.move(Phase.RECOVERING)
    anchors.publics = frozenset(checkpoint_store.ed25519_keys(tx))
    anchors.stolen = stolen_store.publics(tx)
    log.anchors = anchors
    log.recover(tx, clock())
    publication = Publication(log, settings.checkpoint_seconds)
    publication.load(tx)
    trust = Trust(log, witnesses)
    witnesses.contradicted = partial(_contradicted, store, log, anchors)
    shelf = Shelf(settings.home / "exports")
    exports = Exports(store, log, trust, shelf, lambda: time.sleep(BREATH_SECONDS))
    values = _sealed_values(settings, hierarchy, tx, clock())
    log.seal = values.write
    if anchors.standing.sound:  # of a store that was put back, open intents and files of exports are no leftovers
        audit_store.expire_intents(tx)
        exports.load(tx)
    tiles = TileWatch(settings.home / FOLDER)
    return log, log_keys, publication, witnesses, trust, exports, values, tiles, Keeper(settings.home)


def _contradicted(store: Store, log: Log, anchors: Anchors, claim: Claim) -> None:
    """A witness shows a checkpoint of this log that contradicts it: judge it as an anchor's."""
    with store.read() as tx:
        anchors.hear(log.own(tx), claim.witness, claim.evidence)


def _anchors(settings: Settings, standing: Standing, clock: Callable[[], int]) -> tuple[Anchors, Rounds]:
    """What the settings name outside the home, read before anything is made in it."""
    authorities = anchor_settings.authorities(settings.time_stamps)
    bucket = anchor_settings.bucket(settings.worm)
    file = AnchorFile(settings.home / settings.anchor_file) if settings.anchor_file else None
    worm = Worm(bucket, settings.origin, clock, settings.home) if bucket else None
    minutes = {f"rfc3161:{one.name}": one.minutes for one in authorities} | ({"worm": bucket.minutes} if bucket else {})
    anchors = Anchors(settings.home, settings.origin, standing, file, worm, authorities, settings.anchors_required)
    return anchors, Rounds(minutes)


def initialise(
    settings: Settings, plugin: str, options: Mapping[str, str], secrets: Mapping[str, str]
) -> tuple[str, tuple[str, ...]]:
    """A new store: the name of its first custody slot, and the shares to hand out; see `starting`."""
    return starting.initialise(settings, plugin, (options, secrets), os.urandom, now_us())


def _log_keys(settings: Settings, hierarchy: Hierarchy) -> LogKeys:
    return LogKeys(settings.origin, lambda tx, name, now: hierarchy.system_secret(tx, name, 32, now).expose())


def _log(settings: Settings, hierarchy: Hierarchy, keys: LogKeys, tx: Tx, at_us: int) -> Log:
    """The log with its keys, not loaded."""
    seed = bytes(hierarchy.system_secret(tx, stolen_store.receipt_secret(tx), 32, at_us).expose())
    receipts = Ed25519PrivateKey.from_private_bytes(seed)
    log = Log(settings.origin, receipts=receipts, files=Files.below(settings.home))
    if incarnation(origin := audit_store.read_origin(tx), log.first):
        log.become(origin)
    log.signers = keys.load(tx, at_us)
    return log


def _sealed_values(settings: Settings, hierarchy: Hierarchy, tx: Tx, at_us: int) -> SealedValues:
    """What keeps the values that records only commit to."""
    pseudonyms = bytes(hierarchy.system_secret(tx, "subject_pepper", PEPPER_BYTES, at_us).expose())
    values = SealedValues(SubjectKeys(hierarchy, pseudonyms, os.urandom), os.urandom, settings.sealed_days)
    values.load(tx)
    return values


@contextmanager
def offline(settings: Settings, *, fresh: bool = False) -> Iterator[tuple[Store, Log, Files]]:
    """Store and log of a home that no process serves, for repair: the log is not loaded, nothing of it was checked.

    An empty home gets a store without a log where *fresh* says so.

    Raises:
        StoreLocked, StoreDamaged, RootKeyMissing, WrongRootKey: see each. InvalidSetting: there is no store.
    """
    if fresh:
        _make_home(settings.home)
    elif not settings.database.exists():
        raise InvalidSetting(f"Expected a guard database in {settings.home}, got none; give the right --home.")
    with ExitStack() as undo:
        undo.callback(ProcessLock(settings.home).release)
        store, opened, _ = starting.unsealed(settings, (os.urandom, now_us), undo)
        with store.write() as tx:
            hierarchy = Hierarchy(opened.secret, os.urandom)
            log = _log(settings, hierarchy, _log_keys(settings, hierarchy), tx, now_us())
        assert log.files is not None
        yield store, log, log.files


def bucket_at(settings: Settings, address: str) -> Worm:
    """The bucket of `s3://bucket/prefix`, reached as `[worm]` says.

    Raises:
        InvalidSetting: the address has another form.
    """
    return Worm(anchor_settings.located(settings.worm, address), settings.origin, now_us, settings.home)


def _doors(
    settings: Settings,
    clock: Callable[[], int],
    parts: Mapping[type, Any],
    doorkeeper: Doorkeeper,
    pipeline: Pipeline,
    store: Store,
    recorder: Recorder,
    pool: ThreadPoolExecutor,
) -> Doors:
    return Doors(
        operations=collect(ROOMS),
        parts=parts,
        credentials=doorkeeper,
        policy=doorkeeper,
        intents=audit_store.Intents(),
        requests=_limit(settings.requests_per_minute),
        failures=_limit(settings.failures_per_minute),
        pipeline=pipeline,
        store=store,
        clock=clock,
        random=os.urandom,
        pool=pool,
        recorder=recorder,
        flooded=parts[Floods].add,
        public=settings.public_log,
    )


def _limit(per_minute: int) -> Callable[[str, int], int | None]:
    limiter = Limiter(Limit(per_minute, NS_PER_MINUTE, max(per_minute // BURST_DIVISOR, 10)))

    def retry_after(key: str, _now_us: int) -> int | None:
        now_ns = time.monotonic_ns()
        if limiter.admit(key, now_ns):
            return None
        return (limiter.peek(key, now_ns).retry_after_ns or 0) // 1_000_000_000 + 1

    return retry_after


def _readiness(
    pipeline: Pipeline, settings: Settings, standing: Standing, custodian: Custodian
) -> Callable[[], Mapping[str, bool]]:
    def ready() -> Mapping[str, bool]:
        error = custodian.error() or standing.error()
        if error is not None:
            raise error
        free = os.statvfs(settings.home)
        return {
            "writer": pipeline.alive,
            "disk": free.f_bavail * free.f_frsize >= settings.minimum_free_bytes,
            "database": settings.database.exists(),
            standing.name: True,
        }

    return ready


def _record_start(guard: Guard, lacking: Iterable[str], opened: Opened, *, rerouted: bool) -> None:
    actor = Actor("system:worker", PLATFORM, "system")
    if not guard.log.size:
        guard.gate.call_named("log.created", {}, actor, "start")
    guard.gate.call_named("services.start", {"version": __version__, "fresh": guard.fresh}, actor, "start")
    if opened.plugin != "file":  # a key file is there or is not; everything else has somebody or something behind it
        facts = {"slot": opened.slot_id, "plugin": opened.plugin, "failures": opened.failures}
        guard.gate.call_named("custody.opened", facts, actor, "start")
    if rerouted:
        guard.gate.call_named("sinks.declare", {}, actor, "start")
    for tenant in lacking:
        guard.gate.call_named("keyrings.create", {}, Actor("system:worker", tenant, "system"), "start")


def _access_policy(settings: Settings) -> tuple[str, Any]:
    path = settings.policies / "access" / "model.conf"
    model = check_model(_read(path), _shown(settings, path))
    path = settings.policies / "access" / "roles.csv"
    return model, parse_rows(_read(path), _shown(settings, path))


def _field_policies(settings: Settings) -> dict[str, FieldPolicy]:
    found: dict[str, FieldPolicy] = {}
    shared: dict[str, FieldPolicy] = {}
    for path in sorted((settings.policies / "fields").glob("*.yaml"))[:MAX_POLICY_FILES]:
        for policy in parse(_read(path), _shown(settings, path)):
            if policy.name in found:
                raise InvalidPolicy(f"{_shown(settings, path)}: field {policy.name} is declared twice; remove one.")
            found[policy.name] = policy
            for key, suite in policy.keys.items():
                first = shared.setdefault(key, policy)
                if first.keys[key] is not suite:
                    raise InvalidPolicy(
                        f"{_shown(settings, path)}: {policy.name} and {first.name} share the key {key} and declare "
                        "different suites; give one of them a key of its own."
                    )
    if not found:
        raise InvalidPolicy(f"Expected at least one field policy in {settings.policies / 'fields'}, got none; add one.")
    return found


def _texts(folder: Path, shown: str, kind: type[GuardError]) -> list[tuple[str, str]]:
    """(shown name, text) of every YAML file in *folder*, by name."""
    paths = sorted(folder.glob("*.yaml"))[:MAX_POLICY_FILES]
    return [(f"{shown}/{path.name}", _read(path, kind)) for path in paths]


def _read(path: Path, kind: type[GuardError] = InvalidPolicy) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise kind(f"Expected to read {path} as UTF-8, got {type(error).__name__}; put it in place.") from None


def _shown(settings: Settings, path: Path) -> str:
    return f"policies/{path.relative_to(settings.policies)}"


def _die(standing: Standing) -> None:
    standing.trip(Reason.IO_UNKNOWN, "the store failed while committing, so this process ends.")
    # A COMMIT without a known outcome: only a restart can read from disk what happened. The answers go out first.
    time.sleep(0.2)
    os._exit(70)
