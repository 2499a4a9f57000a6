"""`guard audit rebuild --from s3://bucket/prefix`: the log, or the files that a home lacks, out of a bucket."""

from contextlib import closing
from typing import Any

from guard.cli.serving import quiet_logs
from guard.settings import Settings


def restore(settings: Settings, source: str, vkeys: list[str]) -> dict[str, Any]:
    """Fetch what is lacking, rebuild, and record it where the service may go on; what was found."""
    from guard.app import bucket_at, build, now_us, offline  # the server's parts, only here
    from guard.audit import rebuild_store, recovery, recovery_store
    from guard.audit.note import VerifierKey
    from guard.audit.rebuild import rebuild

    quiet_logs()
    keys = [VerifierKey.decode(one) for one in vkeys]
    with (
        closing(bucket_at(settings, source)) as worm,
        offline(settings, fresh=True) as (store, log, _),
        store.write() as tx,
    ):
        if recovery_store.is_empty(tx):
            got = recovery.fetch_log(tx, worm, log, keys, now_us())
        else:
            got = recovery.Recovery()
            first, archived = rebuild_store.read_archive(tx, log.origin)
            assert log.files is not None
            recovery.fetch_files(worm, log.files, log.origin, first, archived, got)
        assert log.files is not None
        found = rebuild(tx, log, log.files, lambda _done, _total: None)
    guard = build(settings)
    try:
        if guard.standing.sound:
            _record(guard, found.model_dump(), got.vkeys)
        return found.model_dump() | {
            "fetched": got.fetched,
            "vkeys": got.vkeys,
            "faults": got.faults,
            "state": guard.standing.name,
        }
    finally:
        guard.close()


def _record(guard: Any, found: dict[str, Any], vkeys: list[str]) -> None:
    from guard.catalogue import PLATFORM, Actor  # see restore

    worker = Actor("system:worker", PLATFORM, "system")
    guard.gate.call_named("log.rebuilt", found, worker, "rebuild")
    if vkeys:
        guard.gate.call_named("log.key_rotated", {"vkeys": vkeys, "from_size": found["size"]}, worker, "rebuild")
