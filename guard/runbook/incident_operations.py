"""What the catalogue lists of incidents."""

from guard.catalogue import Context, Effect, operation
from guard.errors import Conflict, InvalidRequest, NotFound
from guard.runbook import runner, store
from guard.runbook.desk import Desk
from guard.runbook.incident import (
    Incident,
    IncidentKind,
    IncidentState,
    Severity,
    closing_obstacles,
    dedupe_key,
    occurred,
    same,
    transition,
)
from guard.wire import runbook as wire


@operation(
    "incidents.open",
    "POST /api/v1/incidents",
    takes=wire.OpenIncident,
    gives=wire.IncidentView,
    effect=Effect.WRITE,
    resource="incidents/all",
    audit=("severity", "kind", "rule", "plan"),
    example={"title": "Many log-ins fail", "severity": 2, "plan": "credential-stuffing"},
    sealed=("title", "entity", "inputs"),
    subject="entity",
)
def open_incident(ctx: Context, request: wire.OpenIncident) -> wire.IncidentView:
    """Open an incident, or count one more occurrence of an open one; a plan starts a run."""
    key = dedupe_key(request.rule, request.entity) if request.rule else ""
    kind = IncidentKind(request.kind)
    known = same(store.open_incidents(ctx.tx, ctx.tenant, key), key, kind) if key else None
    if known is not None:
        _save(ctx, occurred(known))
        ctx.note(incident=known.id, occurrences=known.occurrences + 1)
        return _incident(ctx, known.id)
    incident = Incident(ctx.new_id("inc"), kind, Severity(request.severity), dedupe_key=key)
    store.add_incident(ctx.tx, ctx.tenant, incident, request.title, ctx.actor.subject, ctx.now_us)
    ctx.note(incident=incident.id)
    if request.plan:
        plan, _ = ctx.part(Desk).plan(request.plan)
        inputs = dict(request.inputs)
        if "__incident__" in plan.inputs:
            inputs["__incident__"] = incident.id
        mode = "live" if kind is IncidentKind.REAL else "drill"
        ctx.call("runs.start", {"plan": plan.id, "incident": incident.id, "mode": mode, "inputs": inputs})
    return _incident(ctx, incident.id)


@operation(
    "incidents.list",
    "GET /api/v1/incidents",
    takes=wire.ListIncidents,
    gives=wire.IncidentList,
    effect=Effect.READ,
    resource="incidents/all",
)
def list_incidents(ctx: Context, request: wire.ListIncidents) -> wire.IncidentList:
    """List incidents, newest first."""
    return wire.IncidentList(data=store.incident_views(ctx.tx, ctx.tenant, request.limit))


@operation(
    "incidents.read",
    "GET /api/v1/incidents/{incident}",
    takes=wire.IncidentId,
    gives=wire.IncidentView,
    effect=Effect.READ,
    resource="incidents/{incident}",
    audit=("incident",),
)
def read_incident(ctx: Context, request: wire.IncidentId) -> wire.IncidentView:
    """Show an incident and its runs."""
    return _incident(ctx, request.incident)


@operation(
    "incidents.transition",
    "POST /api/v1/incidents/{incident}/transition",
    takes=wire.TransitionIncident,
    gives=wire.IncidentView,
    effect=Effect.WRITE,
    resource="incidents/{incident}",
    audit=("incident", "to"),
    example={"to": "declared", "reason": "confirmed by the on-call engineer"},
    sealed=("reason",),
)
def transition_incident(ctx: Context, request: wire.TransitionIncident) -> wire.IncidentView:
    """Move an incident to another state; the way there is walked where it has only one next state each."""
    incident = store.find_incident(ctx.tx, ctx.tenant, request.incident)
    if incident is None:
        raise NotFound(f"Expected the id of an incident, got {request.incident}; see guard run incidents.")
    if request.to not in [state.value for state in IncidentState]:
        known = ", ".join(state.value for state in IncidentState)
        raise InvalidRequest(f"Expected one of the states {known}, got {request.to}; correct it.")
    to = IncidentState(request.to)
    if to is IncidentState.CLOSED:
        _check_closing(ctx, request.incident)
    for state in _way(incident.state, to):
        incident = transition(incident, state)
        _save(ctx, incident)
    ctx.note(state=incident.state.value)
    return _incident(ctx, incident.id)


def _incident(ctx: Context, incident_id: str) -> wire.IncidentView:
    found = store.incident_views(ctx.tx, ctx.tenant, 1, incident_id)
    if not found:
        raise NotFound(f"Expected the id of an incident, got {incident_id}; see guard run incidents.")
    return found[0]


def _save(ctx: Context, incident: Incident) -> None:
    if not store.save_incident(ctx.tx, ctx.tenant, incident, ctx.now_us):
        raise Conflict("Somebody else changed this incident meanwhile; look at it again.")


def _way(now: IncidentState, to: IncidentState) -> list[IncidentState]:
    """Containing a reported incident declares and activates it on the way: nobody clicks three times at night."""
    forward = [
        IncidentState.REPORTED,
        IncidentState.DECLARED,
        IncidentState.ACTIVE,
        IncidentState.CONTAINED,
    ]
    if to is IncidentState.CONTAINED and now in forward[:-1]:
        return forward[forward.index(now) + 1 :]
    return [to]


def _check_closing(ctx: Context, incident_id: str) -> None:
    states = [runner.load(ctx, run).state for run in _incident(ctx, incident_id).runs]
    obstacles = closing_obstacles(states)
    if obstacles:
        raise Conflict(obstacles[0], obstacles=list(obstacles))
