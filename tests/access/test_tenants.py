"""Tenants know nothing of one another: every operation that names a tenant, from every tenant, to every tenant.

The second fence is tried too: a role that may do everything, held in one tenant, reaches no other one.
"""

import shutil

import pytest

from guard.catalogue import collect
from guard.errors import AlreadyExists, Denied, InvalidRequest, NotFound
from guard.rooms import ROOMS
from guard.settings import bundled
from tests.world import World

TENANTS = ("acme", "globex", "system")
WIDE = "\np, role:wide, *, **, *, allow\n"
CATALOGUE = collect(ROOMS)
NAMING = {name: entry for name, entry in CATALOGUE.items() if entry.path and "tenant" in entry.takes.model_fields}
PLANTED = "planted-canary"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tenants")
    shutil.copytree(bundled("policies"), folder / "policies")
    with (folder / "policies" / "access" / "roles.csv").open("a") as file:
        file.write(WIDE)
    made = World(folder / "home", policies=folder / "policies")
    made.admins = {t: made.hire(t, f"user:local|admin-{t}", "role:tenant-admin") for t in TENANTS}
    made.wide = {t: made.hire(t, f"user:local|wide-{t}", "role:wide") for t in TENANTS}
    made.root = made.hire("system", "user:local|root", "role:platform-admin")
    made.things = {}
    for tenant in TENANTS:
        token = made.call("tokens.create", made.admins[tenant], subject=f"svc:{PLANTED}-{tenant}")
        grant = made.call("grants.add", made.admins[tenant], member=f"svc:{PLANTED}-{tenant}", role="role:support")
        made.things[tenant] = {"handle": token.handle, "grant": grant.id}
    made.call("checkpoints.publish")
    yield made
    made.close()


def request_for(name, made, tenant, owner):
    """A request of the operation that is good in every respect but, perhaps, its tenant."""
    known = {
        "erasures.approve": {"erasure": "ers_0198"},
        "erasures.list": {},
        "erasures.request": {"subject": "u-17", "reason": "asked for"},
        "evidence.create": {"matter": "case-17", "indexes": [_first_record(made, owner)]},
        "evidence.download": {"matter": "case-17", "evidence": "evd_0198"},
        "holds.list": {},
        "holds.place": {"scope": "subject", "subject": "u-17", "matter": "case-17", "reason": "a letter"},
        "holds.release": {"hold": "hld_0198", "reason": "closed"},
        "records.reveal": {"index": 0, "reason": "asked for"},
        "tokens.create": {"subject": "svc:intruder"},
        "tokens.list": {},
        "tokens.revoke": {"handle": made.things[owner]["handle"]},
        "grants.add": {"member": "svc:intruder", "role": "role:support"},
        "grants.list": {},
        "grants.remove": {"grant": made.things[owner]["grant"]},
        "records.list": {},
        "records.prove": {"index": 0},
        "subjects.export": {"subject": "u-17", "reason": "asked for"},
        "subjects.forget": {"subject": "u-17", "reason": "asked for"},
        "subjects.receipts": {},
        "subjects.report": {"subject": "u-17", "reason": "asked for"},
        "subjects.restore": {"subject": "u-17", "reason": "asked for"},
        "tenants.create": {},
    }
    return known[name] | {"tenant": tenant}


def _first_record(made, tenant):
    with made.guard.store.read() as tx:
        first = "SELECT min(idx) FROM audit_index WHERE tenant = ?"
        return tx.exec_driver_sql(first, (tenant,)).scalar_one()


def state(made):
    """Everything that the access room stores, by tenant."""
    with made.guard.store.read() as tx:
        return {
            table: sorted(map(tuple, tx.exec_driver_sql(f"SELECT * FROM {table}").all()), key=str)
            for table in ("tokens", "grants", "tenants")
        }


ACCESS = sorted(NAMING.keys() - {"tenants.create"})


def test_every_operation_that_names_a_tenant_is_in_the_matrix():
    assert set(ACCESS) == {
        *("tokens.create", "tokens.list", "tokens.revoke", "grants.add", "grants.list", "grants.remove"),
        *("records.list", "records.prove", "records.reveal", "evidence.create", "evidence.download"),
        *("erasures.approve", "erasures.list", "erasures.request", "holds.list", "holds.place", "holds.release"),
        *("subjects.export", "subjects.forget", "subjects.receipts", "subjects.report", "subjects.restore"),
    }


PAIRS = [(mine, other) for mine in TENANTS for other in TENANTS if mine != other]


@pytest.mark.parametrize("name", ACCESS)
@pytest.mark.parametrize(("mine", "other"), PAIRS)
def test_an_administrator_of_one_tenant_cannot_touch_another(made, name, mine, other):
    before = state(made)
    with pytest.raises((Denied, NotFound)):
        made.call(name, made.admins[mine], **request_for(name, made, other, other))
    assert state(made) == before


@pytest.mark.parametrize("name", [name for name in ACCESS if name.endswith(("list", "create", "add"))])
@pytest.mark.parametrize("mine", TENANTS)
def test_what_is_refused_abroad_is_allowed_at_home(made, name, mine):
    assert made.call(name, made.wide[mine], **request_for(name, made, "~", mine))


@pytest.mark.parametrize("name", ACCESS)
@pytest.mark.parametrize(
    ("mine", "other"), [*(pair for pair in PAIRS if pair[0] != "system"), ("acme", "no-such-tenant")]
)
def test_even_a_role_that_may_do_everything_reaches_no_other_tenant(made, name, mine, other):
    before, records = state(made), _records(made, other)
    owner = other if other in TENANTS else mine
    with pytest.raises(NotFound) as refusal:
        made.call(name, made.wide[mine], **request_for(name, made, other, owner))
    assert other not in refusal.value.detail + str(refusal.value.extra)
    assert state(made) == before
    assert _records(made, other) == records  # the attempt stands in the log of who made it
    assert _records(made, mine)[-1] == (name, "GRD-STORE-404")


def _records(made, tenant):
    with made.guard.store.read() as tx:
        found = tx.exec_driver_sql("SELECT action, code FROM audit_index WHERE tenant = ? ORDER BY idx", (tenant,))
        return [tuple(row) for row in found]


@pytest.mark.parametrize("name", ["tokens.revoke", "grants.remove"])
@pytest.mark.parametrize("tenant", ["~", "acme"])
def test_a_thing_of_another_tenant_is_as_unknown_as_one_that_is_not_there(made, name, tenant):
    field = "handle" if name == "tokens.revoke" else "grant"
    invented = "0" * 12 if field == "handle" else "grt_0"
    details = []
    for value in (made.things["globex"][field], invented):
        with pytest.raises(NotFound) as refusal:
            made.call(name, made.wide["acme"], **{field: value, "tenant": tenant})
        details.append((refusal.value.detail.replace(value, "<id>"), refusal.value.extra))
    assert details[0] == details[1]


def test_a_record_of_another_tenant_cannot_be_proved(made):
    with made.guard.store.read() as tx:
        foreign = tx.exec_driver_sql("SELECT idx FROM audit_index WHERE tenant = 'globex'").scalar()
    details = []
    for index in (foreign, 10**9):
        with pytest.raises(NotFound) as refusal:
            made.call("records.prove", made.wide["acme"], index=index)
        details.append(refusal.value.detail.replace(str(index), "<index>"))
    assert details[0] == details[1]


LISTS = sorted(
    n
    for n, entry in CATALOGUE.items()
    if n.endswith(".list") and not {*entry.takes.model_json_schema().get("required", [])}
)


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("mine", ["acme", "globex"])
def test_no_list_shows_a_thing_of_another_tenant(made, name, mine):
    try:
        shown = made.call(name, made.wide[mine]).model_dump_json()
    except NotFound:
        assert name in {"sinks.list", "tenants.list"}  # the platform's own
        return
    for other in TENANTS:
        if other != mine:
            assert f"{PLANTED}-{other}" not in shown
            ids = set() if name == "records.list" else set(made.things[other].values())  # one's own attempts name ids
            assert not [one for one in ids if one in shown]


def test_the_lists_hold_the_planted_things_of_their_own_tenant(made):
    for tenant in TENANTS:
        assert f"{PLANTED}-{tenant}" in made.call("tokens.list", made.wide[tenant], limit=500).model_dump_json()
        assert f"{PLANTED}-{tenant}" in made.call("grants.list", made.wide[tenant]).model_dump_json()


def test_the_platform_acts_in_every_tenant_and_its_records_are_its_own(made):
    for tenant in ("acme", "globex"):
        before = _records(made, tenant)
        token = made.call("tokens.create", made.root, subject="svc:visitor", tenant=tenant)
        assert made.gate.identify(f"Bearer {token.token}", "test").tenant == tenant
        made.call("tokens.revoke", made.root, handle=token.handle, tenant=tenant)
        assert _records(made, tenant) == before
        assert [action for action, _ in _records(made, "system")[-2:]] == ["tokens.create", "tokens.revoke"]


def test_an_administrator_of_a_tenant_called_system_is_no_administrator_of_the_platform(made):
    for request in ({"tenant": "acme", "subject": "svc:x"}, {"tenant": "globex", "subject": "svc:x"}):
        with pytest.raises(Denied):
            made.call("tokens.create", made.admins["system"], **request)


@pytest.mark.parametrize("name", ["tenants.create", "tenants.list"])
@pytest.mark.parametrize("mine", ["acme", "globex"])
def test_tenants_are_the_platform_s_business(made, name, mine):
    request = {"tenant": "initech"} if name == "tenants.create" else {}
    with pytest.raises(NotFound):
        made.call(name, made.wide[mine], **request)
    with pytest.raises(Denied):
        made.call(name, made.admins[mine], **request)
    assert "initech" not in {one.tenant for one in made.call("tenants.list", made.root).data}


@pytest.mark.parametrize("tenant", ["acme", "globex", "system"])
def test_a_tenant_is_created_once_and_the_platform_s_own_not_at_all(made, tenant):
    with pytest.raises(AlreadyExists):
        made.call("tenants.create", made.root, tenant=tenant)


@pytest.mark.parametrize(
    "tenant", ["", "~", "*", "Acme", "a/b", "..", "acme\n", "a" * 64, "-acme", "\u00e4cme", "acme "]
)
def test_a_tenant_s_name_is_plain(made, tenant):
    with pytest.raises(InvalidRequest):
        made.call("tenants.create", made.root, tenant=tenant)


@pytest.mark.parametrize("tenant", ["no-such", "acme2", "acm"])
def test_the_platform_cannot_act_in_a_tenant_that_is_not_there(made, tenant):
    for name, request in (
        ("tokens.create", {"subject": "svc:x"}),
        ("grants.add", {"member": "svc:x", "role": "role:support"}),
    ):
        with pytest.raises(NotFound):
            made.call(name, made.root, tenant=tenant, **request)


def test_the_whole_log_is_exported_by_the_platform_s_auditors_only(made):
    with pytest.raises(NotFound):
        made.call("exports.create", made.wide["acme"])
    view = made.call("exports.create", made.wide["system"])
    assert made.call("exports.list", made.wide["acme"]).data == []
    with pytest.raises(NotFound):
        made.call("exports.download", made.wide["acme"], export=view.id)
