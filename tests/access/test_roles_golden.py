"""Which role may use which operation, as a file that a reviewer reads: `tests/golden/roles.txt`.

Each line is asked of the shipped policy. A changed policy or catalogue changes the file, and with that the review.
"""

import os
import re
from pathlib import Path

import pytest

from guard.catalogue import Actor, collect
from guard.rooms import ROOMS
from guard.vault.policy import parse
from tests.access.building import NOW_US, SHIPPED, grant, snapshot_of

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden" / "roles.txt"
HEAD = """\
# Which role may use which operation, asked of policies/access with a sample request of each operation.
# `role(x)`: only where x is in the request; a name alone: for every sample of the operation.
# After a change that is meant: GUARD_UPDATE_GOLDEN=1 python -m pytest tests/access/test_roles_golden.py
"""
CATALOGUE = collect(ROOMS)
PARAMETER = re.compile(r"\{([a-z_]+)\}")
PERSONAL = {"fields.decrypt", "fields.mask", "fields.search", "imported_keys.decrypt", "indexes.compute"}
PERSONAL |= {"sources.search", "tokens.approve", "tokens.reveal"}
LEASED = {"leases.create", "leases.renew"}
FILLED = {
    "version": 1,
    "field": "customers.email",
    "value": "x",
    "index": 0,
    "member": "svc:x",
    "role": "role:support",
    "handle": "0" * 12,
    "subject": "svc:x",
}
NOBODY = "(nobody)"


def purposes():
    texts = {path.name: path.read_text() for path in sorted((ROOT / "policies" / "fields").glob("*.yaml"))}
    found = {purpose for name, text in texts.items() for policy in parse(text, name) for purpose in policy.purposes}
    return sorted(found | {"store"})


def samples(entry):
    """Requests that stand for all that a policy can tell apart, each with what to print for it."""
    schema = entry.takes.model_json_schema()
    base = dict(entry.example)
    for name in [*PARAMETER.findall(entry.path or ""), *schema.get("required", [])]:
        base.setdefault(name, FILLED.get(name, "x"))
    if entry.name in LEASED:  # a fresh key to store, and for each purpose the key of a value that is there
        again = {"leases.create": {"start": "x"}, "leases.renew": {"opens": True}}[entry.name]
        return {one: base | ({} if one == "store" else again) | {"purpose": one} for one in purposes()}
    if "purpose" in schema["properties"] and entry.name in PERSONAL:
        return {purpose: base | {"purpose": purpose} for purpose in purposes()}
    default = schema["properties"].get("tenant", {}).get("default")
    if default == "~":
        return {"own tenant": base, "other tenant": base | {"tenant": "globex"}}
    return {"": base}


def resources(entry, request):
    """What the operation acts on, without the checks that only a real request needs."""
    return entry.resources(entry.takes.model_construct(**_defaults(entry) | request))


def _defaults(entry):
    return {name: field.default for name, field in entry.takes.model_fields.items() if not field.is_required()}


def holders(entry):
    """Roles that may use the operation, each with the samples for which it may if those are not all."""
    wanted = samples(entry)
    found = []
    for role in sorted(SHIPPED.roles):
        name = role.removeprefix("role:")
        snapshot = snapshot_of(SHIPPED, grant("user:local|ana", name))
        actor = Actor("user:local|ana", "acme", "pat")
        may = [
            label
            for label, request in wanted.items()
            if all(snapshot.decide(actor, entry.permission, one, NOW_US).allow for one in resources(entry, request))
        ]
        if may:
            found.append(name if len(may) == len(wanted) else f"{name}({', '.join(may)})")
    return found


@pytest.fixture(scope="module")
def matrix():
    return {name: holders(entry) for name, entry in CATALOGUE.items()}


def written(matrix):
    width = max(map(len, matrix))
    lines = [f"{name:<{width}}  {' '.join(found) or NOBODY}" for name, found in matrix.items()]
    return HEAD + "\n".join(lines) + "\n"


def test_the_matrix_is_the_one_that_was_reviewed(matrix):
    text = written(matrix)
    if os.environ.get("GUARD_UPDATE_GOLDEN"):
        GOLDEN.write_text(text)
    golden = GOLDEN.read_text() if GOLDEN.exists() else ""
    changed = sorted(set(golden.splitlines()) ^ set(text.splitlines()))
    hint = "if this is meant: GUARD_UPDATE_GOLDEN=1 python -m pytest tests/access/test_roles_golden.py"
    assert text == golden, "\n".join([*changed, hint])


def names(found):
    return {entry.partition("(")[0] for entry in found}


def test_every_operation_can_be_used_by_somebody(matrix):
    unused = {name for name, found in matrix.items() if not found}
    assert unused == set(), "an operation that no role may use is a mistake of the policy or of the catalogue"


def test_only_services_of_one_purpose_read_in_clear(matrix):
    assert matrix["fields.decrypt"] == ["billing-service(billing)", "delivery-service(delivery)"]


def test_who_administers_reads_no_personal_data(matrix):
    for role in ("platform-admin", "tenant-admin", "key-admin", "auditor"):
        for name in PERSONAL | LEASED:
            assert role not in names(matrix[name])


def test_who_audits_changes_nothing_but_exports(matrix):
    held = {name for name, found in matrix.items() if "auditor" in names(found)}
    changing = {name for name in held if CATALOGUE[name].effect.value in {"write", "external"}}
    exporting = {"evidence.create", "exports.cancel", "exports.create"}
    assert changing == exporting | {"checkpoints.publish", "tokens.exchange"}


def test_system_security_and_audit_administrators_are_three_disjoint_roles(matrix):
    """What one of them may change, neither of the others may."""
    held = {
        role: {
            name
            for name, found in matrix.items()
            if role in names(found)
            and CATALOGUE[name].effect.value in {"write", "external"}
            and name != "tokens.exchange"
        }
        for role in ("key-admin", "tenant-admin", "auditor")
    }
    assert all(held.values())
    assert not held["key-admin"] & held["tenant-admin"]
    assert not held["key-admin"] & held["auditor"]
    assert not held["tenant-admin"] & held["auditor"]


def test_what_the_owner_of_the_machine_does_is_for_nobody_else(matrix):
    for name in ("principals.bootstrap", "services.start", "intents.sweep", "keyrings.create"):
        assert CATALOGUE[name].path is None
        assert matrix[name] == ["system-worker"]


def test_a_tenant_s_administrator_is_bound_to_the_own_tenant(matrix):
    for name in ("tokens.create", "tokens.revoke", "grants.add", "grants.remove", "tokens.list", "grants.list"):
        assert "tenant-admin(own tenant)" in matrix[name]
