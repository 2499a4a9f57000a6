"""The policy in memory: role rows from `policies/access`, grants from the store, decisions by Casbin.

Law: a snapshot never changes; a write builds the next one aside and swaps one reference, so that no check sees a
half-built role graph. Casbin gets whole, validated rows only and never an empty list. Time limits are judged at the
check, with the caller's clock reading.
"""

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import casbin
from casbin.model import Model as CasbinModel

from guard.access.grammar import (
    ACTION,
    ACTION_PATTERN,
    ROLE,
    SUBJECT,
    action_matches,
    is_resource,
    is_resource_pattern,
    resource_matches,
)
from guard.catalogue import Actor, Decision
from guard.errors import InvalidPolicy

BUILT_IN = (("system:worker", "role:system-worker"), ("system:runbook", "role:runbook"))
MAX_DEPTH = 9  # Casbin follows nine hops and then silently stops
MAX_MEMO = 65536  # remembered decisions of one snapshot; then they are forgotten all at once
MAX_SHARDS = 4096  # tenants with a built enforcer at a time
P_COLUMNS, G_COLUMNS = 5, 3
EXCHANGE = "tokens.exchange"  # the only thing that a one-time token can do


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of the policy files: (role, resource pattern, action pattern, effect, `file:line`) and role links."""

    rules: tuple[tuple[str, str, str, str, str], ...]
    links: tuple[tuple[str, str], ...]

    @property
    def roles(self) -> frozenset[str]:
        """Every role that a rule or a link names."""
        return frozenset(rule[0] for rule in self.rules) | {role for link in self.links for role in link}


@dataclass(frozen=True, slots=True)
class Grant:
    """A role given to a subject in a tenant until *expires_us* (None: without end)."""

    id: str
    tenant: str
    member: str
    role: str
    expires_us: int | None = None


def parse_rows(text: str, file_name: str) -> Rows:
    """Casbin's CSV rows: `p, role, *, resource, action, allow|deny` and `g, role, role, *`; `#` starts a comment.

    The tenant column is `*` in files: guard expands each row into the tenant that a check asks about.

    Raises:
        InvalidPolicy: names file, line, what was expected and what came.
    """
    rules: list[tuple[str, str, str, str, str]] = []
    links: list[tuple[str, str]] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        kind, *columns = (part.strip() for part in line.split(","))
        place = f"{file_name}:{number}"
        if kind == "p":
            rules.append(_rule(columns, place))
        elif kind == "g":
            links.append(_link(columns, place))
        else:
            raise InvalidPolicy(f"{place}: expected a row that starts with p or g, got {kind!r}; correct it.")
    if not rules:
        raise InvalidPolicy(f"{file_name}: expected at least one p row, got none; nobody could do anything.")
    _check_depth(links, file_name)
    return Rows(tuple(rules), tuple(links))


class Snapshot:
    """One immutable state of policy and grants, with an integer version. Safe from any thread."""

    def __init__(self, model: str, rows: Rows, grants: Iterable[Grant], version: int) -> None:
        self.model = model
        self.rows = rows
        self.version = version
        self.grants: dict[str, list[Grant]] = {}
        for grant in grants:
            self.grants.setdefault(grant.tenant, []).append(grant)
        self._shards: dict[str, _Shard] = {}
        self._memo: dict[tuple[str, str, str, str], tuple[Decision, int]] = {}

    def decide(self, actor: Actor, permission: str, resource: str, now_us: int) -> Decision:
        """May *actor* use *permission* on *resource* in the actor's tenant at *now_us*?"""
        key = (actor.subject, actor.tenant, permission, resource)
        if actor.kind == "one":
            return Decision(permission == EXCHANGE, "one-time token", (), self.version)
        known = self._memo.get(key)
        if known is not None and now_us < known[1]:
            return known[0]
        if not (SUBJECT.fullmatch(actor.subject) and ACTION.fullmatch(permission) and is_resource(resource)):
            return Decision(False, "subject, action or resource is not canonical", (), self.version)
        shard = self._shard(actor.tenant, now_us)
        decision = shard.decide(actor.subject, permission, resource, self.version)
        if decision.allow:  # refusals of unknown names would let a stranger fill the memory
            if len(self._memo) >= MAX_MEMO:
                self._memo.clear()
            self._memo[key] = (decision, shard.until_us)
        return decision

    def _shard(self, tenant: str, now_us: int) -> "_Shard":
        shard = self._shards.get(tenant)
        if shard is None or now_us >= shard.until_us:
            if len(self._shards) >= MAX_SHARDS:
                self._shards.clear()
            shard = _Shard(self.model, self.rows, tenant, self.grants.get(tenant, []), now_us)
            if tenant in self.grants:
                self._shards[tenant] = shard
        return shard


class _Shard:
    """One tenant's Casbin enforcer over the grants valid at one time, until the next of them expires."""

    def __init__(self, model: str, rows: Rows, tenant: str, grants: list[Grant], now_us: int) -> None:
        live = [grant for grant in grants if grant.expires_us is None or now_us < grant.expires_us]
        self.until_us = min((g.expires_us for g in live if g.expires_us is not None), default=1 << 62)
        self._tenant = tenant
        self._up: dict[str, list[str]] = {}
        self._held: dict[str, frozenset[str]] = {}
        self._places = {(rule[0], rule[1], rule[2], rule[3]): rule[4] for rule in rows.rules}
        self._lock = threading.Lock()
        casbin_model = CasbinModel()
        casbin_model.load_model_from_text(model)
        for role, resource, action, effect, _place in rows.rules:
            casbin_model.add_policy("p", "p", [role, tenant, resource, action, effect])
        pairs = [*BUILT_IN, *rows.links, *((grant.member, grant.role) for grant in live)]
        for member, role in dict.fromkeys(pairs):
            casbin_model.add_policy("g", "g", [member, role, tenant])
            self._up.setdefault(member, []).append(role)
        self._enforcer = casbin.Enforcer(casbin_model)
        self._enforcer.add_function("actMatch", action_matches)
        self._enforcer.add_function("resMatch", resource_matches)
        self._enforcer.build_role_links()

    def decide(self, subject: str, permission: str, resource: str, version: int) -> Decision:
        if subject not in self._up:  # Casbin keeps every name that it was ever asked about
            return Decision(False, "no rule allows it", (), version)
        with self._lock:  # the enforcer's function table is rebound on every call
            allow, rule = self._enforcer.enforce_ex(subject, self._tenant, resource, permission)
        if not rule:
            return Decision(False, "no rule allows it", (), version)
        place = self._places.get((rule[0], rule[2], rule[3], rule[4]), "")
        reason = f"{rule[0]} {rule[4]} {rule[3]} on {rule[2]} ({place})"
        return Decision(bool(allow), reason, self._path(subject, rule[0]), version, self._roles(subject))

    def _roles(self, subject: str) -> frozenset[str]:
        known = self._held.get(subject)
        if known is not None:  # one for all remembered decisions about a subject, and not one for each
            return known
        found: set[str] = set()
        above = list(self._up.get(subject, ()))
        while above:
            role = above.pop()
            if role not in found:
                found.add(role)
                above.extend(self._up.get(role, ()))
        self._held[subject] = frozenset(found)
        return self._held[subject]

    def _path(self, subject: str, role: str) -> tuple[str, ...]:
        trails: list[tuple[str, ...]] = [(subject,)]
        for _ in range(MAX_DEPTH + 1):
            following: list[tuple[str, ...]] = []
            for trail in trails:
                if trail[-1] == role:
                    return trail
                following.extend((*trail, above) for above in self._up.get(trail[-1], ()))
            trails = following
        return (subject, role)


def members(grants: Iterable[Grant], role: str, now_us: int) -> frozenset[str]:
    """The subjects that hold *role* directly at *now_us*."""
    return frozenset(g.member for g in grants if g.role == role and (g.expires_us is None or now_us < g.expires_us))


def _rule(columns: list[str], place: str) -> tuple[str, str, str, str, str]:
    if len(columns) != P_COLUMNS:
        raise InvalidPolicy(
            f"{place}: expected p, role, *, resource, action, effect; got {len(columns)} columns; complete it."
        )
    role, domain, resource, action, effect = columns
    expectations: Mapping[str, Any] = {
        f"a role such as role:support, got {role!r}": ROLE.fullmatch(role),
        f"* as tenant, got {domain!r}": domain == "*",
        f"a resource pattern, got {resource!r}": is_resource_pattern(resource),
        f"an action pattern such as keys.rotate or keys.*, got {action!r}": ACTION_PATTERN.fullmatch(action),
        f"allow or deny, got {effect!r}": effect in {"allow", "deny"},
    }
    for expected, holds in expectations.items():
        if not holds:
            raise InvalidPolicy(f"{place}: expected {expected}; correct the row.")
    return role, resource, action, effect, place


def _link(columns: list[str], place: str) -> tuple[str, str]:
    if len(columns) != G_COLUMNS or columns[2] != "*" or not all(ROLE.fullmatch(role) for role in columns[:2]):
        raise InvalidPolicy(f"{place}: expected g, role:member, role:parent, *; got another form; correct the row.")
    return columns[0], columns[1]


def _check_depth(links: list[tuple[str, str]], file_name: str) -> None:
    up: dict[str, list[str]] = {}
    for member, role in links:
        up.setdefault(member, []).append(role)
    for start in up:
        trails = [[start]]
        while trails:
            trail = trails.pop()
            for above in up.get(trail[-1], ()):
                if above in trail or len(trail) > MAX_DEPTH - 1:
                    path = " -> ".join([*trail, above])
                    raise InvalidPolicy(
                        f"{file_name}: expected roles without cycles and at most 9 deep, got {path}; cut it."
                    )
                trails.append([*trail, above])
