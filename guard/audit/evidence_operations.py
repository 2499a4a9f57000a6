"""What the catalogue lists of evidence: making a bundle, and taking it. Both are records of the matter's custody."""

import base64
import contextlib
from dataclasses import replace
from pathlib import Path

from guard.audit import archive, bundle_store, evidence_store, search, search_store, stamp_store, store
from guard.audit.anchors import Anchors
from guard.audit.bundle import Contents, Exhibit, Matter, layout
from guard.audit.canonical import canonical
from guard.audit.checkpoint import Checkpoint
from guard.audit.log import Log
from guard.audit.reader import Reader
from guard.audit.row import Row
from guard.audit.search import Hit
from guard.audit.trust import Trust
from guard.catalogue import PLATFORM, Context, Effect, operation
from guard.db.engine import Store, Tx
from guard.errors import Conflict, Erased, InvalidRequest, InvalidSetting, NotFound
from guard.settings import Settings
from guard.wire import audit_evidence as wire
from guard.wire.model import Attachment

MAX_CUSTODY = 1000  # a matter that was handled more often has its first thousand


@operation(
    "evidence.create",
    "POST /api/v1/audit/evidence",
    takes=wire.CreateEvidence,
    gives=wire.EvidenceView,
    effect=Effect.EXTERNAL,
    resource="audit/{tenant}/evidence/{matter}",
    audit=("matter",),
    example={"matter": "case-17", "indexes": [0]},
)
def create_evidence(ctx: Context, request: wire.CreateEvidence) -> wire.EvidenceView:
    """Put records with their proofs, and who handled the matter, into a bundle that verifies offline."""
    tenant = ctx.tenant_for(request.tenant)
    about = Matter(ctx.new_id("evd"), request.matter, tenant, ctx.actor.subject, ctx.now_us)
    log = ctx.part(Log)
    readers = [PLATFORM, tenant] if ctx.tenant == PLATFORM else [tenant]  # a tenant sees no record of the platform
    with ctx.part(Store).read() as tx:
        hits = _wanted(tx, tenant, request)
        trust = ctx.part(Trust)
        head, note = _head(tx, log, trust, hits[-1].idx + 1)
        custody = evidence_store.handling(tx, tenant, about.matter, readers, head.size, MAX_CUSTODY)
        contents = Contents(
            checkpoint=note.encode(),
            policy=trust.policy(tx, head.size).encode(),
            ranges=trust.ranges(tx),
            records=_exhibits(tx, log, hits, head, note),
            custody=_exhibits(tx, log, custody, head, note),
            openings=_openings(ctx, tx, hits, log.reader(tx), about) if request.open else {},
            stamps=(stamps := evidence_store.stamps(tx, head.size)),
            chain=_chain(ctx) if stamps else b"",
            documents={archive.VERIFIER: archive.verifier(), "receipts.vkey": trust.receipts()},
        )
    sha256 = archive.write(_path(ctx, tenant, about.matter, about.bundle), layout(head, about, contents, log.sign))
    ctx.note(evidence=about.bundle, size=head.size, records=len(hits), sha256=sha256)
    return wire.EvidenceView(
        id=about.bundle,
        matter=about.matter,
        tenant=tenant,
        size=head.size,
        root=base64.b64encode(head.root).decode(),
        records=len(hits),
        custody=len(custody),
        sha256=sha256,
        created_by=about.requester,
        created_us=about.created_us,
    )


@operation(
    "evidence.download",
    "GET /api/v1/audit/evidence/{matter}/{evidence}/archive",
    takes=wire.DownloadEvidence,
    gives=Attachment,
    effect=Effect.READ,
    resource="audit/{tenant}/evidence/{matter}",
    audit=("matter", "evidence"),
)
def download_evidence(ctx: Context, request: wire.DownloadEvidence) -> Attachment:
    """Take a bundle as a zip archive."""
    path = _path(ctx, ctx.tenant_for(request.tenant), request.matter, request.evidence)
    if not path.is_file():
        raise NotFound(f"Expected the id of a bundle of this matter, got {request.evidence}; make it anew.")
    return Attachment(path=str(path), file_name=f"{request.evidence}.zip", media_type="application/zip")


def _path(ctx: Context, tenant: str, matter: str, evidence: str) -> Path:
    return bundle_store.place(ctx.part(Settings).home, tenant, matter, evidence)


def _chain(ctx: Context) -> bytes:
    """The certificates of every authority in the settings; one whose file is gone is left out."""
    found = b""
    for authority in ctx.part(Anchors).authorities:
        with contextlib.suppress(InvalidSetting):
            found += stamp_store.pem(stamp_store.chain_of(ctx.part(Settings).home / authority.chain))
    return found


def _openings(ctx: Context, tx: Tx, hits: list[Hit], reader: Reader, about: Matter) -> dict[int, bytes]:
    """The sealed values of the records that have some, as canonical JSON; none where they were erased.

    Each is opened by `records.reveal` itself, so that the requester needs its right and each leaves its own record.
    """
    asking, found = replace(ctx, transaction=tx), {}
    for hit in hits:
        if not Row.of(hit.idx, reader.entry(hit.idx)).body.get("sealed"):
            continue
        asked = {"index": hit.idx, "tenant": about.tenant, "reason": f"evidence {about.bundle}"}
        with contextlib.suppress(Erased):
            values = asking.call("records.reveal", asked).openings
            found[hit.idx] = canonical({one.field: {"nonce": one.nonce, "value": one.value} for one in values})
    return found


def _wanted(tx: Tx, tenant: str, request: wire.CreateEvidence) -> list[Hit]:
    """The records that were asked for, by index."""
    found = {hit.idx: hit for hit in search_store.find(tx, tenant, request.indexes)}
    missing = sorted(set(request.indexes) - found.keys())
    if missing:
        raise NotFound(f"Expected the indexes of records of this tenant, got {missing[0]}; see guard audit search.")
    if request.search is not None:
        more = search_store.search(tx, tenant, request.search, None, wire.MAX_RECORDS + 1)
        found |= {hit.idx: hit for hit in more}
    if not 0 < len(found) <= wire.MAX_RECORDS:
        came = "more" if found else "none"
        raise InvalidRequest(f"Expected 1 to {wire.MAX_RECORDS} records for a bundle, got {came}; search otherwise.")
    return [found[index] for index in sorted(found)]


def _head(tx: Tx, log: Log, trust: Trust, size: int) -> tuple[Checkpoint, str]:
    """The latest checkpoint that was time-stamped, if it covers *size* records, else the latest of all."""
    stamped = evidence_store.last_stamped(tx)
    if stamped is not None and stamped >= size:
        # One checkpoint for proofs and time-stamp: nothing else would tie the records to the time.
        note = dict(store.checkpoint_notes(tx, stamped)).get(stamped)
        if note is not None:
            return Checkpoint(log.origin, stamped, store.root_at(tx, stamped)), note
    latest, note = trust.checkpoint(tx)
    if latest.checkpoint.size < size:
        raise Conflict("Expected a signed checkpoint over all these records, got none yet; try again in a second.")
    return latest.checkpoint, note


def _exhibits(tx: Tx, log: Log, hits: list[Hit], head: Checkpoint, note: str) -> dict[int, Exhibit]:
    reader = log.reader(tx)
    found = {}
    for hit in hits:
        evidence = search.proven(hit, reader, head, note).evidence
        if evidence is None or evidence.proof is None:
            raise Conflict(f"Expected a checkpoint over record {hit.idx}, got none yet; try again in a second.")
        found[hit.idx] = Exhibit(evidence.entry.encode(), evidence.proof.encode())
    return found
