"""From a command as it was sent to the command that the machine takes. No I/O.

Law: who acts comes from the credential, never from the body; what only a person may do is refused to a service.
"""

from collections.abc import Mapping
from typing import Any

from guard.errors import Denied
from guard.runbook import commands
from guard.runbook.commands import AnyCommand, PersonCommand, StepCommand, Verdict
from guard.wire.runbook import RunCommand

KINDS: Mapping[str, tuple[type[Any], tuple[str, ...]]] = {
    "answer": (commands.Answer, ("answer",)),
    "decide": (commands.Decide, ("option", "reason")),
    "approve": (commands.Approve, ("subject_hash",)),
    "refuse": (commands.Refuse, ("subject_hash", "reason")),
    "give_up": (commands.GiveUp, ("reason",)),
    "skip": (commands.Skip, ("reason",)),
    "pause": (commands.Pause, ("reason",)),
    "resume": (commands.Resume, ()),
    "abort": (commands.Abort, ("reason",)),
    "resolve_unknown": (commands.ResolveUnknown, ("reason",)),
}


def command_of(request: RunCommand, actor: str, person: str, roles: frozenset[str]) -> AnyCommand:
    """The command of *request*; *person* is empty where the actor is a service.

    Raises:
        Denied: this is for a person.
    """
    kind, names = KINDS[request.type]
    members: dict[str, Any] = {name: getattr(request, name) for name in names}
    members |= {"command_id": request.command_id, "actor": actor, "expected_version": request.expected_version}
    if issubclass(kind, StepCommand):
        members |= {"path": request.step, "iteration": request.iteration, "attempt": request.attempt}
    if issubclass(kind, PersonCommand):
        members |= {"person": _required(person), "roles": roles}
    if kind is commands.ResolveUnknown:
        members |= {"person": _required(person), "verdict": Verdict(request.verdict or Verdict.FAILED)}
    command: AnyCommand = kind(**members)
    return command


def _required(person: str) -> str:
    if not person:
        raise Denied("This step is for a person; sign in as one, a service cannot decide it.")
    return person
