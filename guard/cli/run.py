"""`guard run ...`."""

import json
import secrets
from typing import Annotated, Any

import typer

from guard.cli.session import Output, Session, verb
from guard.errors import InvalidInput

group = typer.Typer()
ReasonOption = Annotated[str, typer.Option(help="why")]
InputOption = Annotated[list[str] | None, typer.Option("--input", help="NAME=VALUE, once for each input")]


@verb(group, "start")
def start(session: Session, plan: str, mode: str = "live", incident: str = "", inputs: InputOption = None) -> Any:
    """Start a plan.

    Example: guard run start credential-stuffing --mode drill --input __incident__=practice
    """
    view = session.call("runs.start", plan=plan, mode=mode, incident=incident, inputs=_pairs(inputs))
    return _told(session, view)


@verb(group, "list", columns=("run", "plan", "mode", "state"))
def list_runs(session: Session) -> Any:
    """List runs, newest first.

    Example: guard run list
    """
    return session.call("runs.list")


@verb(group, "show")
def show(session: Session, run: str, language: str = "en") -> Any:
    """Show where a run stands and whose turn it is.

    Example: guard run show run_0198
    """
    return _told(session, session.call("runs.read", run=run), language)


@verb(group, "timeline", columns=("seq", "type", "step", "actor", "at_us"))
def timeline(session: Session, run: str) -> Any:
    """Show what happened in a run.

    Example: guard run timeline run_0198
    """
    return {"data": session.call("runs.read", run=run)["timeline"]}


@verb(group, "decide")
def decide(session: Session, run: str, step: str, option: str, reason: ReasonOption = "") -> Any:
    """Choose an option of a decision.

    Example: guard run decide run_0198 judge contain --reason "log-ins succeeded"
    """
    return _command(session, run, "decide", step, option=option, reason=reason)


@verb(group, "answer")
def answer(
    session: Session, run: str, step: str, form: Annotated[str, typer.Option(help="the form as JSON")] = "{}"
) -> Any:
    """Say that a task is done.

    Example: guard run answer run_0198 reset_accounts --form '{"accounts": 3, "done_at": "2026-12-01T09:30:00Z"}'
    """
    try:
        filled = json.loads(form)
    except ValueError:
        raise InvalidInput("Expected the form as a JSON object, got another text; correct it.") from None
    return _command(session, run, "answer", step, answer=filled)


@verb(group, "approve")
def approve(session: Session, run: str, step: str) -> Any:
    """Agree to what a run asks for, as a second person.

    Example: guard run approve run_0198 approve_containment
    """
    return _command(session, run, "approve", step)


@verb(group, "refuse")
def refuse(session: Session, run: str, step: str, reason: str) -> Any:
    """Refuse what a run asks for.

    Example: guard run refuse run_0198 approve_containment "not without the lawyer"
    """
    return _command(session, run, "refuse", step, reason=reason)


@verb(group, "skip")
def skip(session: Session, run: str, step: str, reason: str) -> Any:
    """Leave a step out, with a reason.

    Example: guard run skip run_0198 tell_users "nobody was affected"
    """
    return _command(session, run, "skip", step, reason=reason)


@verb(group, "steer")
def steer(session: Session, run: str, act: str, reason: ReasonOption = "by hand") -> Any:
    """Pause, resume or abort a run.

    Example: guard run steer run_0198 pause --reason "waiting for the network team"
    """
    if act not in {"pause", "resume", "abort"}:
        raise InvalidInput(f"Expected pause, resume or abort, got {act!r}; choose one.")
    return _command(session, run, act, "", reason=reason)


@verb(group, "open")
def open_incident(
    session: Session, title: str, severity: int = 3, plan: str = "", drill: bool = False, inputs: InputOption = None
) -> Any:
    """Open an incident, with a plan if there is one; the plan's input `__incident__` fills itself.

    Example: guard run open "Region is down" --severity 2 --plan region-outage --input __region__=east --input __target__=west
    """
    kind = "drill" if drill else "real"
    members = {"title": title, "severity": severity, "plan": plan, "kind": kind, "inputs": _pairs(inputs)}
    return session.call("incidents.open", **members)


@verb(group, "incidents", columns=("id", "severity", "state", "title"))
def incidents(session: Session) -> Any:
    """List incidents, newest first.

    Example: guard run incidents
    """
    return session.call("incidents.list")


@verb(group, "transition")
def transition(session: Session, incident: str, to: str, reason: ReasonOption = "") -> Any:
    """Move an incident to another state.

    Example: guard run transition inc_0198 declared
    """
    return session.call("incidents.transition", incident=incident, to=to, reason=reason)


def _command(session: Session, run: str, kind: str, step: str, **members: Any) -> Any:
    with session.client() as client:
        view = client.call("runs.read", run=run)
        now = next((one for one in view["steps"] if one["step"] == step), None)
        if now is not None:
            members |= {"iteration": now["iteration"], "attempt": now["attempt"]}
            if kind in {"approve", "refuse"}:
                members["subject_hash"] = now["subject_hash"]
        sent = client.call(
            "runs.command",
            run=run,
            command_id=f"cli-{secrets.token_hex(8)}",
            expected_version=view["version"],
            type=kind,
            step=step,
            **members,
        )
    return _told(session, sent)


def _told(session: Session, view: dict[str, Any], language: str = "en") -> dict[str, Any] | None:
    """A run for a program as one object; for a person its head, its steps, and what each waiting step asks for."""
    brief = _brief(view, language)
    if session.output is not Output.TABLE:
        return brief
    session.show({name: value for name, value in brief.items() if name != "steps"})
    print()
    session.show({"data": brief["steps"]}, ("step", "state", "waits_for", "due_us"))
    for step in view["steps"]:
        if step["waits_for"]:
            print(f"\n{step['step']}: {step['text'].get(language, '')}")
            for option, text in step["options"].items():
                print(f"  {option}: {text.get(language, '')}")
            if fields := step["form"].get("properties"):
                print(f"  form: {', '.join(fields)}")
    return None


def _brief(view: dict[str, Any], language: str = "en") -> dict[str, Any]:
    """A run without its timeline, and each step with one text."""
    steps = [
        {
            "step": step["step"],
            "state": step["state"],
            "waits_for": step["waits_for"],
            "due_us": step["due_us"],
            "options": list(step["options"]),
            "form": step["form"],
            "text": step["text"].get(language, ""),
        }
        for step in view["steps"]
    ]
    return {**{name: value for name, value in view.items() if name not in {"timeline", "steps"}}, "steps": steps}


def _pairs(inputs: list[str] | None) -> dict[str, str]:
    pairs = dict(one.partition("=")[::2] for one in inputs or [])
    if not all(pairs.values()):
        raise InvalidInput("Expected --input NAME=VALUE with a value, got another form; correct it.")
    return pairs
