"""What the catalogue lists of the detect room."""

import base64
import binascii

from guard.catalogue import Actor, Context, Effect, operation
from guard.db.engine import Tx
from guard.detect import intake, store
from guard.detect.address import canonical, ip_key, network
from guard.detect.block import Shadow
from guard.detect.watch import Watch
from guard.errors import Conflict, InvalidInput, InvalidRequest, NotFound
from guard.plugins import load, names
from guard.wire import detect as wire
from guard.wire.model import Nothing

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


@operation(
    "alerts.list",
    "GET /api/v1/alerts",
    takes=wire.ListAlerts,
    gives=wire.AlertList,
    effect=Effect.READ,
    resource="alerts/all",
)
def list_alerts(ctx: Context, request: wire.ListAlerts) -> wire.AlertList:
    """List alerts, newest first."""
    return wire.AlertList(data=store.list_alerts(ctx.tx, ctx.tenant, request.limit))


@operation(
    "decisions.list",
    "GET /api/v1/decisions",
    takes=wire.ListDecisions,
    gives=wire.DecisionList,
    effect=Effect.READ,
    resource="decisions/all",
)
def list_decisions(ctx: Context, request: wire.ListDecisions) -> wire.DecisionList:
    """List decisions, newest first."""
    return wire.DecisionList(data=store.list_decisions(ctx.tx, ctx.tenant, request, ctx.now_us))


@operation(
    "decisions.create",
    "POST /api/v1/decisions",
    takes=wire.CreateDecision,
    gives=wire.DecisionView,
    effect=Effect.WRITE,
    resource="decisions/all",
    audit=("scope", "type", "seconds"),
    example={"value": "192.0.2.7", "seconds": 3600, "reason": "seen in the attack of this morning"},
)
def create_decision(ctx: Context, request: wire.CreateDecision) -> wire.DecisionView:
    """Decide by hand on an address, a network or an account; the never-ban set is refused."""
    watch = ctx.part(Watch)
    view = wire.DecisionView(
        id=ctx.new_id("dec"),
        scope=request.scope,
        value=_value(watch, request),
        type=request.type,
        rule="manual",
        origin="manual",
        step=0,
        shadow=False,
        from_us=ctx.now_us,
        until_us=ctx.now_us + request.seconds * SECOND_US,
        alert=None,
        state="active",
        created_by=ctx.actor.subject,
        reason=request.reason,
    )
    store.add_manual(ctx.tx, ctx.tenant, view, ctx.now_us)
    _swap(ctx, watch)
    ctx.note(decision=view.id)
    return view


@operation(
    "decisions.revoke",
    "POST /api/v1/decisions/{decision}/revoke",
    takes=wire.RevokeDecision,
    gives=Nothing,
    effect=Effect.WRITE,
    resource="decisions/{decision}",
    audit=("decision",),
    example={"reason": "our own health check"},
)
def revoke_decision(ctx: Context, request: wire.RevokeDecision) -> Nothing:
    """Lift a decision before its end."""
    if not store.revoke(ctx.tx, ctx.tenant, request.decision, ctx.actor.subject, ctx.now_us):
        raise NotFound(f"Expected the id of a decision in force, got {request.decision}; see guard logs decisions.")
    _swap(ctx, ctx.part(Watch))
    return Nothing()


@operation(
    "decisions.check",
    "POST /api/v1/decisions/check",
    takes=wire.CheckAddress,
    gives=wire.AddressAnswer,
    effect=Effect.NONE,
    resource="decisions/all",
    hot=True,
    example={"value": "192.0.2.7"},
)
def check_address(ctx: Context, request: wire.CheckAddress) -> wire.AddressAnswer:
    """Say whether anything is in force against an address or account."""
    found = ctx.part(Watch).in_force(ctx.tenant, request.value, ctx.now_us)
    if not found:
        return wire.AddressAnswer(action="none", until_us=None, decision=None)
    worst = max(found, key=lambda one: (STRENGTH.index(one.type), one.until_us))
    ctx.note(decision=worst.id)
    return wire.AddressAnswer(action=worst.type, until_us=worst.until_us, decision=worst.id)


@operation(
    "rules.list",
    "GET /api/v1/rules",
    takes=wire.ListRules,
    gives=wire.RuleList,
    effect=Effect.NONE,
    resource="rules/all",
)
def list_rules(ctx: Context, request: wire.ListRules) -> wire.RuleList:
    """List the detection rules."""
    del request
    rules = sorted(ctx.part(Watch).rules.values(), key=lambda rule: rule.name)
    return wire.RuleList(
        data=[
            wire.RuleView(
                name=rule.name,
                title=rule.title,
                level=rule.level,
                action=rule.action.type.value,
                shadow=_shadow(rule.shadow),
                runbook=rule.action.runbook,
                file=rule.file,
                hash=rule.rule_hash.hex(),
            )
            for rule in rules
        ]
    )


def _shadow(shadow: Shadow) -> str:
    if shadow.acting_percent == ALL:
        return "no"
    if not shadow.acting_percent and not shadow.acting_tenants:
        return "yes"
    return f"acts on {shadow.acting_percent} % and in {len(shadow.acting_tenants)} tenants"


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


def _value(watch: Watch, request: wire.CreateDecision) -> str:
    if request.scope == "User":
        return request.value
    try:
        net = network(request.value if "/" in request.value else ip_key(canonical(request.value)))
    except InvalidInput as error:
        raise InvalidRequest(error.detail) from None
    spared = watch.never_ban.overlaps(net)
    if spared is not None:
        raise Conflict(
            f"This touches the never-ban set ({spared.reason}), so nothing was decided.", reason=spared.reason
        )
    return str(net) if "/" in request.value else ip_key(canonical(request.value))


def _swap(ctx: Context, watch: Watch) -> None:
    standing = store.standing(ctx.tx, ctx.now_us)
    ctx.after_commit(lambda: watch.swap(standing))
