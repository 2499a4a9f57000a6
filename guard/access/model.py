"""Whether guard can decide by a Casbin model: it is tried on made-up rows before any store is opened. No I/O.

Law: what a model allows is not read from its text but observed. It must allow what a role allows, refuse what no rule
names, and let a deny beat an allow; a model that fails to load, or decides otherwise, is refused.
"""

from simpleeval import InvalidExpression  # type: ignore[import-untyped]  # ships no types

from guard.access.policy import Grant, Rows, Snapshot
from guard.catalogue import Actor
from guard.errors import InvalidPolicy

MEMBER, STRANGER = Actor("user:local|probe", "probe", "pat"), Actor("user:local|stranger", "probe", "pat")
ROWS = Rows(
    (
        ("role:probe", "open/*", "probe.*", "allow", ""),
        ("role:probe", "open/shut", "probe.read", "deny", ""),
        ("role:probe-parent", "above/all", "probe.read", "allow", ""),
        ("role:probe-other", "**", "*", "allow", ""),
    ),
    (("role:probe", "role:probe-parent"),),
)
GRANTS = (Grant("grt_probe", "probe", MEMBER.subject, "role:probe"), Grant("grt_other", "other", "svc:a", "role:probe"))
QUESTIONS = (
    (MEMBER, "probe.read", "open/one", True),
    (MEMBER, "probe.read", "above/all", True),
    (MEMBER, "probe.read", "open/shut", False),
    (MEMBER, "probe.read", "elsewhere/one", False),
    (MEMBER, "keys.rotate", "open/one", False),
    (STRANGER, "probe.read", "open/one", False),
)
# What Casbin, which checks no model by itself, is known to fail with on a malformed one.
FAILURES = (AttributeError, IndexError, KeyError, RuntimeError, SyntaxError, TypeError, ValueError, InvalidExpression)


def check_model(text: str, file_name: str) -> str:
    """*text* itself, if guard can decide by it.

    Raises:
        InvalidPolicy: it does not load, or decides otherwise than the law above.
    """
    try:
        snapshot = Snapshot(text, ROWS, GRANTS, 0)
        answers = [snapshot.decide(actor, action, resource, 0).allow for actor, action, resource, _ in QUESTIONS]
    except FAILURES as error:
        raise InvalidPolicy(
            f"{file_name}: expected guard's Casbin model, but it does not load ({type(error).__name__}); "
            "take the bundled one."
        ) from None
    if answers != [expected for *_, expected in QUESTIONS]:
        raise InvalidPolicy(
            f"{file_name}: expected a model by which roles allow, denials win and nothing else is allowed, "
            "got one that decides otherwise; take the bundled one."
        )
    return text
