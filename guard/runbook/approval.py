"""The rule of the second person: who may agree, to what, and how often he counts.

Law: an approval is bound to the plan, the place and the inputs by a hash, so nobody agrees to something that he was not
shown. Identity is checked and not only the role: who asks cannot agree, whatever else he holds, and one person counts
once. Absence is never approval: a missing answer and a timeout refuse. Pure.
"""

from guard.errors import Conflict, Denied
from guard.runbook.canonical import sha256_of
from guard.runbook.commands import Approve, Refuse
from guard.runbook.plan import ApprovalStep
from guard.runbook.run import RunState, StepRun


def subject_hash(state: RunState, path: str, iteration: int) -> str:
    """SHA-256 in hexadecimal over plan, path, iteration and inputs; a change of any of them is another subject."""
    subject = {"plan": state.plan_sha256, "path": path, "iteration": iteration, "inputs": dict(state.inputs)}
    return sha256_of(subject)


def check_vote(state: RunState, step: ApprovalStep, waiting: StepRun, vote: Approve | Refuse) -> None:
    """Check that *vote* counts. Who asks may still refuse, which takes his request back.

    Raises:
        Denied: the person holds none of the roles, or approves what he himself asks for.
        Conflict: the subject is another than the one shown, or the person has agreed before.
    """
    if not vote.roles & set(step.roles):
        raise Denied(
            "This approval is given by other roles; none of yours is among them.",
            hint="Ask somebody who holds one of the roles named.",
            roles=list(step.roles),
        )
    if vote.subject_hash != waiting.subject_hash:
        raise Conflict(
            "What is to be approved is not what the answer names; look at it again.",
            path=step.id,
            subject_hash=waiting.subject_hash,
        )
    if isinstance(vote, Refuse):
        return
    if vote.person == state.requester:
        raise Denied(
            "Who asks for an approval cannot give it; a second person is needed.",
            hint="Ask somebody else who holds one of the roles named.",
            roles=list(step.roles),
        )
    if vote.person in waiting.approvals:
        raise Conflict("You have approved this already; one person counts once.", path=step.id)
