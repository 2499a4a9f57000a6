"""What the catalogue lists of logs and events."""

import base64
import binascii

from guard.catalogue import Actor, Context, Effect, operation
from guard.db.engine import Tx
from guard.detect import intake, store
from guard.detect.watch import Watch
from guard.errors import InvalidRequest
from guard.plugins import load, names
from guard.wire import detect as wire

RUNBOOK = "system:runbook"
SECOND_US = 1_000_000
ALL = 100  # percent
STRENGTH = ("throttle", "captcha", "step_up", "ban")  # of several decisions the strongest answers


@operation(
    "logs.try",
    "POST /api/v1/logs/try",
    takes=wire.TryLog,
    gives=wire.TriedLog,
    effect=Effect.NONE,
    resource="logs/all",
    audit=("format",),
    example={"data": "MTkyLjAuMi43IC0gLSBbMTAvT2N0LzIwMjU6MTM6NTU6MzYgKzAwMDBdICJHRVQgLyBIVFRQLzEuMSIgMjAwIDEK"},
)
def try_log(ctx: Context, request: wire.TryLog) -> wire.TriedLog:
    """Say how lines would be read, and keep nothing."""
    found = intake.read(_lines(request.data), _parser(request.format))
    ctx.note(lines=found.lines, rejected=len(found.rejects))
    return wire.TriedLog(
        lines=found.lines,
        strict=found.strict,
        lenient=found.lenient,
        rejected=len(found.rejects),
        first_us=min((fields.ts for _, fields, _ in found.parsed), default=None),
        last_us=max((fields.ts for _, fields, _ in found.parsed), default=None),
        samples=[
            wire.RejectedLine(line=number, reason=reason, beginning=store.beginning(line))
            for number, _, reason, line in found.rejects[:3]
        ],
    )


@operation(
    "events.push",
    "POST /api/v1/events",
    takes=wire.PushEvents,
    gives=wire.PushedEvents,
    effect=Effect.EXTERNAL,
    resource="events/{stream}",
    audit=("stream", "format", "offset", "end"),
    example={"stream": "shop", "fingerprint": "00112233445566778899aabbccddeeff", "offset": 0, "data": ""},
)
def push_events(ctx: Context, request: wire.PushEvents) -> wire.PushedEvents:
    """Read a piece of a log: parse, detect, decide, and open incidents. The same piece again changes nothing."""
    watch = ctx.part(Watch)
    stream = watch.stream(ctx.tenant, request.stream)
    found = intake.read(_lines(request.data), _parser(request.format))
    fingerprint = bytes.fromhex(request.fingerprint)
    with stream.lock:
        fed = intake.feed(stream.engine, ctx.tenant, request.stream, fingerprint, request.offset, found, ctx.now_us)
        if request.end:
            stream.engine.flush()
        news = stream.engine.pending
    counts = {
        "lines": found.lines,
        "strict": found.strict,
        "lenient": found.lenient,
        "rejected": len(found.rejects),
        **fed,
    }
    led_to = {"alerts": 0, "decisions": 0, "spared": 0, "incidents": 0}
    runbook = Actor(RUNBOOK, ctx.tenant, "system")

    def settle(tx: Tx) -> None:
        store.count_lines(tx, ctx.tenant, request.stream, counts, found.span)
        rejects = intake.rejected(ctx.tenant, request.stream, fingerprint, request.offset, found)
        store.keep_rejects(tx, ctx.tenant, request.stream, rejects, ctx.now_us)
        for change in news:
            for name, number in intake.settle(ctx, watch, request.stream, change, runbook).items():
                led_to[name] += number
        standing = store.standing(tx, ctx.now_us)
        ctx.after_commit(lambda: watch.swap(standing))
        ctx.note(**counts, **led_to)
        ctx.answer = wire.PushedEvents(**counts, **led_to)

    ctx.at_outcome(settle)
    ctx.after_commit(lambda: stream.engine.acknowledge(change.serial for change in news))
    if request.end:
        ctx.after_commit(lambda: watch.forget(ctx.tenant, request.stream))
    return wire.PushedEvents(**counts, **led_to)


@operation(
    "events.streams",
    "GET /api/v1/events/streams",
    takes=wire.ListStreams,
    gives=wire.StreamList,
    effect=Effect.READ,
    resource="events/all",
)
def list_streams(ctx: Context, request: wire.ListStreams) -> wire.StreamList:
    """List the log streams with their counts."""
    del request
    return wire.StreamList(data=store.list_streams(ctx.tx, ctx.tenant))


@operation(
    "events.rejects",
    "GET /api/v1/events/streams/{stream}/rejects",
    takes=wire.ListRejects,
    gives=wire.RejectList,
    effect=Effect.READ,
    resource="events/{stream}",
    audit=("stream",),
)
def list_rejects(ctx: Context, request: wire.ListRejects) -> wire.RejectList:
    """Show kept lines that did not parse."""
    return wire.RejectList(data=store.list_rejects(ctx.tx, ctx.tenant, request.stream, request.limit))


def _lines(data: str) -> bytes:
    try:
        raw = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest("Expected log lines in standard base64, got another form; encode them again.") from None
    if raw and not raw.endswith(b"\n"):
        raise InvalidRequest("Expected whole lines that end in LF, got half a line at the end; send it with its rest.")
    return raw


def _parser(name: str) -> intake.Parser:
    if name not in names("detect/formats"):
        known = ", ".join(names("detect/formats"))
        raise InvalidRequest(f"Expected one of the log formats {known}, got {name}; correct it.")
    parser: intake.Parser = load("detect/formats", name).parse
    return parser
