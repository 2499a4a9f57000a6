"""What the catalogue lists of alerts, decisions and rules."""

from guard.catalogue import Context, Effect, operation
from guard.detect import store
from guard.detect.address import canonical, ip_key, network
from guard.detect.block import Shadow
from guard.detect.user import user_key
from guard.detect.watch import Watch
from guard.errors import Conflict, InvalidInput, InvalidRequest, NotFound
from guard.wire import detect as wire
from guard.wire.model import Nothing

RUNBOOK = "system:runbook"
SECOND_US = 1_000_000
ALL = 100  # percent
STRENGTH = ("throttle", "captcha", "step_up", "ban")  # of several decisions the strongest answers


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
    sealed=("value", "reason"),
    subject="value",
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
    sealed=("reason",),
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


def _value(watch: Watch, request: wire.CreateDecision) -> str:
    if request.scope == "User":
        account = user_key(request.value)
        if not account:
            raise InvalidRequest("Expected the name of an account, got blanks; give its name.")
        return account
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


def _shadow(shadow: Shadow) -> str:
    if shadow.acting_percent == ALL:
        return "no"
    if not shadow.acting_percent and not shadow.acting_tenants:
        return "yes"
    return f"acts on {shadow.acting_percent} % and in {len(shadow.acting_tenants)} tenants"
