"""A tenant whose values have tokens: the policy, who issues, who reveals, and who approves."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from guard.catalogue import Actor
from tests.vault.shop import policies_with
from tests.vault.shop import world as shop_world
from tests.world import World

CARD, PHONE, NAME = "payments.card", "payments.phone", "payments.name"
POLICY = """
version: 1
table: payments
columns:
  card:
    class: payment
    suite: cbl256
    bind: [row]
    mask: last4
    purposes: [support, billing, delivery, identity_check]
    tokens:
      domains:
        checkout: {form: random}
        refunds: {form: random, ttl_hours: 2}
        receipts: {form: random, single_use: true}
        partner: {form: same, alphabet: "0123456789", min_length: 13, keep_first: 2, keep_last: 4, luhn: fails}
      reveal:
        - {role: support, purpose: support, mask: last4}
        - {role: delivery-service, purpose: delivery, mask: none}
        - {role: billing-service, purpose: billing, mask: full}
        - {role: identity-clerk, purpose: identity_check, mask: partial}
        - {role: identity-officer, purpose: identity_check, mask: full, needs: [second_person]}
  phone:
    class: contact
    suite: cbl256
    bind: [row]
    mask: none
    purposes: [billing, identity_check]
    tokens:
      domains: {checkout: {form: random}}
      reveal:
        - {role: billing-service, purpose: billing, mask: full, needs: [step_up]}
  name: {class: contact, suite: cbl256, bind: [row], mask: none, purposes: [billing]}
"""
ROLES = """
p, role:billing-service, *, fields/*/billing, tokens.reveal, allow
p, role:nobody-in-particular, *, fields/*/billing, tokens.reveal, allow
"""
PEOPLE = {
    "storing": "role:storing-service",
    "billing": "role:billing-service",
    "delivery": "role:delivery-service",
    "support": "role:support",
    "clerk": "role:identity-clerk",
    "officer": "role:identity-officer",
    "colleague": "role:identity-officer",
    "stranger": "role:nobody-in-particular",
    "privacy": "role:privacy-officer",
    "legal": "role:legal",
    "analyst": "role:analyst",
}


class Till:
    """The people of one tenant and what they do with tokens."""

    def __init__(self, world: World, tenant: str = "acme") -> None:
        self.world, self.tenant = world, tenant
        self.people = {name: world.hire(tenant, f"user:local|{name}", role) for name, role in PEOPLE.items()}

    def call(self, who: str | Actor, name: str, **request: object):
        actor = self.people[who] if isinstance(who, str) else who
        return self.world.call(name, actor, **request)

    def issue(self, value: str, subject: str = "u-1", domain: str = "checkout", field: str = CARD, **more: object):
        """The whole answer for one value."""
        wanted = {"field": field, "domain": domain, "subject": subject, "value": value, **more}
        return self.call("storing", "tokens.issue", items=[wanted])["results"][0]

    def token(self, value: str, *given: str, **more: object) -> str:
        return self.issue(value, *given, **more)["token"]

    def reveal(self, token: str, who: str = "billing", purpose: str = "", field: str = CARD):
        """The whole answer for one token."""
        items = [{"field": field, "token": token}]
        return self.call(who, "tokens.reveal", purpose=purpose or PURPOSE[who], items=items)["results"][0]

    def shown(self, token: str, who: str = "billing", purpose: str = "", field: str = CARD) -> str:
        """The value as it is shown, or the code of the problem."""
        answer = self.reveal(token, who, purpose, field)
        return answer["problem"]["code"] if "problem" in answer else answer["value"]

    def revoke(self, token: str, who: str = "storing", field: str = CARD):
        return self.call(who, "tokens.revoke_issued", items=[{"field": field, "token": token}])["results"][0]

    def approve(self, request: str, who: str = "colleague", field: str = CARD, purpose: str = "identity_check"):
        return self.call(who, "tokens.approve", request=request, field=field, purpose=purpose)

    def listed(self, field: str = CARD):
        return self.call("privacy", "tokens.list_issued", field=field).data

    def records(self, action: str = "") -> list[dict[str, object]]:
        """Bodies of records, of one action or of all, oldest first."""
        with self.world.guard.store.read() as tx:
            rows = tx.exec_driver_sql("SELECT entry FROM audit_entries ORDER BY idx").scalars()
            bodies = [json.loads(row)["b"] for row in rows]
        return [body for body in bodies if action in {"", body["action"]}]

    def forget(self, subject: str, *, for_good: bool = True) -> None:
        self.call("privacy", "subjects.forget", subject=subject)
        if for_good:
            self.call("legal", "subjects.forget", subject=subject, at_once=True)


PURPOSE = {
    "billing": "billing",
    "stranger": "billing",
    "delivery": "delivery",
    "support": "support",
    "clerk": "identity_check",
    "officer": "identity_check",
    "colleague": "identity_check",
}


@contextmanager
def till(home: Path, **settings: object) -> Iterator[Till]:
    """A running guard with the policy above."""
    policies = policies_with(home.parent, "payments.yaml", POLICY)
    roles = policies / "access" / "roles.csv"
    if ROLES not in roles.read_text(encoding="utf-8"):
        roles.write_text(roles.read_text(encoding="utf-8") + ROLES, encoding="utf-8")
    with shop_world(home, policies=policies, **settings) as world:
        yield Till(world)
