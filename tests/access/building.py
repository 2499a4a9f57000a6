"""Building blocks of the access tests: rows and snapshots from few words, and the decision written a second time."""

from pathlib import Path

from guard.access.policy import BUILT_IN, Grant, Snapshot, parse_rows
from guard.catalogue import Actor

FOLDER = Path(__file__).resolve().parents[2] / "policies" / "access"
MODEL = (FOLDER / "model.conf").read_text()
SHIPPED = parse_rows((FOLDER / "roles.csv").read_text(), "policies/access/roles.csv")
NOW_US = 1_790_000_000_000_000
VECTOR = "grd_svc_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdef1H3IOv"


def rows_of(*lines):
    """Rows of a small policy file: `"p support fields/* fields.mask"`, `"g deputy commander"`."""
    text = []
    for line in lines:
        kind, *parts = line.split()
        if kind == "p":
            role, resource, action, *effect = parts
            text.append(f"p, role:{role}, *, {resource}, {action}, {effect[0] if effect else 'allow'}")
        else:
            text.append(f"g, role:{parts[0]}, role:{parts[1]}, *")
    return parse_rows("\n".join(text), "small.csv")


def grant(member, role, tenant="acme", expires_us=None):
    return Grant(f"grt-{member}-{role}-{expires_us}", tenant, member, f"role:{role}", expires_us)


def snapshot_of(rows, *grants, version=1):
    return Snapshot(MODEL, rows, grants, version)


def ask(snapshot, subject, action, resource, tenant="acme", now_us=NOW_US):
    """The decision on one request."""
    return snapshot.decide(Actor(subject, tenant, "pat"), action, resource, now_us)


class Reference:
    """Deny-overrides, default deny, over roles followed upwards: the whole policy in a few plain lines.

    It shares nothing with guard's code but the rows; patterns are matched by recursion on lists.
    """

    def __init__(self, rows, grants):
        self._rows, self._grants = rows, grants

    def roles(self, subject, tenant, now_us):
        held = [role for member, role in BUILT_IN if member == subject]
        held += [
            grant.role
            for grant in self._grants
            if grant.member == subject
            and grant.tenant == tenant
            and (grant.expires_us is None or now_us < grant.expires_us)
        ]
        found = set()
        while held:
            role = held.pop()
            if role not in found:
                found.add(role)
                held += [parent for child, parent in self._rows.links if child == role]
        return found

    def allows(self, subject, action, resource, tenant, now_us):
        roles = self.roles(subject, tenant, now_us)
        effects = {
            effect
            for role, pattern, wanted, effect, _place in self._rows.rules
            if role in roles and covers_action(wanted, action) and covers(pattern.split("/"), resource.split("/"))
        }
        return effects == {"allow"}


def covers_action(pattern, action):
    if pattern == "*":
        return True
    noun, _, verb = pattern.partition(".")
    if verb == "*":
        return action.partition(".")[0] == noun
    return action == pattern


def covers(pattern, segments):
    if not pattern or not segments:
        return pattern == segments
    if pattern == ["**"]:
        return True
    return pattern[0] in {"*", segments[0]} and covers(pattern[1:], segments[1:])
