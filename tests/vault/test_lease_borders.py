"""A leased value beside every other: of another tenant, field, person, version, lease, row; and every bit of one."""

import base64
import itertools

import pytest

from guard.client.lease import Lease
from guard.errors import Conflict, Denied, DoesNotOpen, GuardError, InvalidInput, InvalidRequest, LeaseEnded, NotFound
from guard.vault import leases
from guard.vault.envelope import from_text, header_of, to_text
from tests.vault.clinic import DIARY, NOTE, POLICY
from tests.vault.shop import EMAIL, ORDERS, PHONE, Shop, b64, code_of, item, policies_with, shown, world

TEXT = r"^ciphertext does not open in this context$"
REFUSED = {"GRD-CRYPT-001", "GRD-STORE-404", "GRD-CRYPT-002", "GRD-IN-001"}
START, HEADER, LEASE = 136, 16, 32


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("borders")
    policies_with(folder, "patients.yaml", POLICY)
    with world(folder / "home", policies=policies_with(folder, "orders.yaml", ORDERS)) as made:
        yield staffed(Shop(made))


@pytest.fixture
def own(tmp_path):
    with world(tmp_path / "home") as made:
        yield staffed(Shop(made))


def staffed(shop):
    for name, reads in (("both", "billing"), ("carrier", "delivery")):
        shop.people[name] = shop.world.hire(shop.tenant, f"svc:{name}", "role:storing-service", f"role:{reads}-service")
    return shop


def lease(shop, *fields, who="storing", purpose="store", **more):
    answer = shop.call(who, "leases.create", fields=list(fields or (EMAIL,)), purpose=purpose, **more)
    now = lambda: shop.world.clock.now_us / 1e6  # noqa: E731
    return Lease(answer.model_dump(), now(), now)


def again(shop, raw, field=EMAIL, who="billing", purpose="billing", **more):
    start = base64.b64encode(raw[:START]).decode()
    return lease(shop, field, who=who, purpose=purpose, start=start, **more)


def decrypted(shop, field, cell, text, who="billing", purpose="billing"):
    items = [{"field": field, "context": cell, "ciphertext": text}]
    return shown(shop.call(who, "fields.decrypt", purpose=purpose, items=items)["results"][0])


# cells: each sealed once, opened in each

CELLS = {
    "row 1": (EMAIL, {"row": "1"}, ""),
    "row 2": (EMAIL, {"row": "2"}, ""),
    "number 1": (EMAIL, {"row": 1}, ""),
    "a room": ("patients.room", {"row": "1"}, ""),
    "note of a": (NOTE, {"row": "1", "subject": "a"}, "a"),
    "note of b": (NOTE, {"row": "1", "subject": "b"}, "b"),
    "note of a in 2": (NOTE, {"row": "2", "subject": "a"}, "a"),
    "diary of a": (DIARY, {"subject": "a"}, "a"),
    "diary of b": (DIARY, {"subject": "b"}, "b"),
    "order of a": ("orders.note", {"subject": "a"}, ""),
    "order of b": ("orders.note", {"subject": "b"}, ""),
    "both": ("orders.both", {"row": "1", "subject": "a"}, ""),
    "code": ("orders.code", {}, ""),
}


@pytest.fixture(scope="module")
def values(shop):
    found = {}
    for name, (field, cell, subject) in CELLS.items():
        found[name] = lease(shop, field, subject=subject).seal(field, name, **cell)
    return found


@pytest.mark.parametrize("name", CELLS)
def test_the_server_opens_it_in_its_own_cell_and_in_no_other(shop, values, name):
    for place, (field, cell, _) in CELLS.items():
        got = decrypted(shop, field, cell, values[name])
        if place == name:
            assert got == name
        else:
            assert got in REFUSED, (name, place, got)


@pytest.mark.parametrize("name", CELLS)
def test_its_key_is_leased_again_for_its_own_column_and_person_alone(shop, values, name):
    raw = from_text(values[name])
    own_field, _, own_subject = CELLS[name]
    for field, _, subject in CELLS.values():
        if (field, subject) == (own_field, own_subject):
            assert again(shop, raw, field, subject=subject).opens
            continue
        with pytest.raises(DoesNotOpen, match=TEXT):
            again(shop, raw, field, subject=subject)


@pytest.mark.parametrize("name", CELLS)
def test_with_its_key_it_opens_in_its_own_cell_alone(shop, values, name):
    own_field, own_cell, subject = CELLS[name]
    reading = again(shop, from_text(values[name]), own_field, subject=subject)
    for place, (field, cell, _) in CELLS.items():
        if (field, cell) == (own_field, own_cell):
            assert reading.open(field, values[name], **cell) == name.encode()
            continue
        with pytest.raises(DoesNotOpen if field == own_field else InvalidInput):
            reading.open(field, values[name], **cell)
        with pytest.raises(GuardError):
            reading.open(own_field, values[place], **own_cell)


@pytest.mark.parametrize(("head", "wrap", "body"), list(itertools.product("ab", repeat=3)))
def test_parts_of_two_values_make_none(shop, head, wrap, body):
    """Header with lease, wrap, and body, of one column and row under two leases: only what belongs together opens."""
    raws = {one: from_text(lease(shop, who="both", purpose="billing").seal(EMAIL, one, row="1")) for one in ("a", "b")}
    mixed = raws[head][:LEASE] + raws[wrap][LEASE:START] + raws[body][START:]
    got = shop.open(to_text(mixed))
    assert got == (head if head == wrap == body else "GRD-CRYPT-001")
    if head == wrap:
        assert again(shop, mixed).id
    else:
        with pytest.raises(DoesNotOpen, match=TEXT):
            again(shop, mixed)


def test_the_other_field_of_one_lease_has_another_start(shop):
    both = lease(shop, EMAIL, PHONE)
    email, phone = from_text(both.seal(EMAIL, "x", row="1")), from_text(both.seal(PHONE, "x", row="1"))
    assert email[HEADER:LEASE] == phone[HEADER:LEASE]
    for raw in (email[:START] + phone[START:], phone[:START] + email[START:]):
        assert shop.open(to_text(raw)) == "GRD-CRYPT-001"
        assert shop.open(to_text(raw), field=PHONE, who="delivery") == "GRD-CRYPT-001"


def test_another_tenant_opens_and_leases_nothing(shop, values):
    other = staffed(Shop(shop.world, "globex"))
    other.seal("x")
    for name, (field, cell, subject) in CELLS.items():
        assert decrypted(other, field, cell, values[name]) in {"GRD-CRYPT-001", "GRD-STORE-404"}, name
        with pytest.raises(DoesNotOpen, match=TEXT):
            again(other, from_text(values[name]), field, subject=subject)


def test_a_key_of_two_fields_by_one_name_serves_each_column_alone(shop):
    """orders.code and orders.both are under one key, so header and key agree and only the wrap tells them apart."""
    code = lease(shop, "orders.code").seal("orders.code", "c")
    both = lease(shop, "orders.both").seal("orders.both", "b", row="1", subject="a")
    assert header_of(code).key_id == header_of(both).key_id
    for field, text in (("orders.both", code), ("orders.code", both)):
        with pytest.raises(DoesNotOpen, match=TEXT):
            again(shop, from_text(text), field)


# every bit


@pytest.mark.parametrize("bit", range(8))
def test_every_bit_of_a_value_counts_on_the_server(shop, values, bit):
    raw = from_text(values["row 1"])
    texts = [to_text(raw[:at] + bytes([raw[at] ^ 1 << bit]) + raw[at + 1 :]) for at in range(len(raw))]
    items = [item(EMAIL, "1", ciphertext=text) for text in texts]
    results = shop.call("billing", "fields.decrypt", purpose="billing", items=items)["results"]
    codes = [shown(one) for one in results]
    assert set(codes) <= {"GRD-CRYPT-001", "GRD-CRYPT-002", "GRD-STORE-404"}
    assert set(codes[HEADER:]) == {"GRD-CRYPT-001"}


@pytest.mark.parametrize("bit", range(8))
def test_every_bit_of_a_value_counts_in_the_client(shop, bit):
    holder = lease(shop, who="both", purpose="billing", max_uses=1 << 20)
    raw = from_text(holder.seal(EMAIL, "row 1", row="1"))
    for at in range(len(raw)):
        changed = raw[:at] + bytes([raw[at] ^ 1 << bit]) + raw[at + 1 :]
        with pytest.raises(DoesNotOpen, match=TEXT):
            holder.open(EMAIL, to_text(changed), row="1")


@pytest.mark.parametrize("at", range(START))
def test_no_bit_of_a_start_is_free(shop, values, at):
    raw = from_text(values["row 1"])
    for bit in range(8):
        changed = raw[:at] + bytes([raw[at] ^ 1 << bit]) + raw[at + 1 :]
        if (at, bit) == (3, 1):  # says that the value is padded, and a lease is for both
            assert again(shop, changed).id
            continue
        with pytest.raises(DoesNotOpen, match=TEXT):
            again(shop, changed)


@pytest.mark.parametrize("length", range(0, 200, 3))
def test_a_value_that_is_cut_opens_nowhere(shop, values, length):
    raw = from_text(values["row 1"])
    cut = to_text(raw[: min(length, len(raw) - 1)])
    assert shop.open(cut) in {"GRD-CRYPT-001", "GRD-CRYPT-002"}
    with pytest.raises(DoesNotOpen, match=TEXT):
        lease(shop, who="both", purpose="billing").open(EMAIL, cut, row="1")


# starts of another form


@pytest.mark.parametrize("size", [0, 16, 32, 135, 137, 138, 139, 200])
def test_a_start_of_another_size_is_refused(shop, values, size):
    raw = (from_text(values["row 1"]) + bytes(200))[:size]
    start = base64.b64encode(raw).decode()
    with pytest.raises(InvalidRequest if size else Denied):  # without one it is a fresh key that is asked for
        shop.call("billing", "leases.create", fields=[EMAIL], purpose="billing", start=start)


@pytest.mark.parametrize("change", [str.swapcase, lambda s: "=" * 184, lambda s: "=" + s[1:], lambda s: s[:-2] + "=A"])
def test_a_start_of_another_alphabet_is_refused(shop, values, change):
    start = change(base64.b64encode(from_text(values["row 1"])[:START]).decode())
    with pytest.raises(GuardError) as caught:
        shop.call("billing", "leases.create", fields=[EMAIL], purpose="billing", start=start)
    assert isinstance(caught.value, InvalidRequest | DoesNotOpen)


# keys that are to go


@pytest.mark.parametrize("kind", ["to seal", "to read"])
def test_the_server_seals_nothing_under_a_rotated_key_for_any_lease(own, kind):
    """Or rows would come under a version whose census had just reached nothing."""
    first = lease(own, who="both", purpose="billing")
    text = first.seal(EMAIL, "x", row="1")
    held = first if kind == "to seal" else again(own, from_text(text))
    items = [item(EMAIL, "1", plaintext=b64("y"))]
    seal = lambda: own.call("storing", "leases.encrypt", lease=held.id, items=items).results[0]["ciphertext"]  # noqa: E731
    assert held.open(EMAIL, seal(), row="1") == b"y"
    own.rotate()
    with pytest.raises(LeaseEnded, match="rotated"):
        seal()
    assert own.open(text) == "x"
    assert header_of(lease(own).seal(EMAIL, "z", row="1")).key_version == 2


def test_leases_that_were_revoked_make_room(own, monkeypatch):
    monkeypatch.setattr(leases, "MAX_LIVE", 2)
    first, _ = lease(own), lease(own)
    with pytest.raises(Conflict):
        lease(own)
    own.call("keys", "leases.revoke", lease=first.id)
    assert lease(own).id
    with pytest.raises(Conflict):
        lease(own)


def test_of_a_lease_that_is_unknown_nothing_is_told(own):
    known = lease(own)
    other = own.world.hire(own.tenant, "svc:other", "role:storing-service")
    asked = {"fields": [EMAIL], "purpose": "store", "used": 0}
    said = set()
    for unknown in ("lse_00000000-0000-0000-0000-000000000000", known.id):
        with pytest.raises(NotFound) as caught:
            own.world.call("leases.renew", other, lease=unknown, **asked)
        said.add(str(caught.value))
    assert len(said) == 1


@pytest.mark.parametrize("seconds", [-3600, -1, 0])
def test_a_clock_that_goes_back_lengthens_no_lease_beyond_its_terms(own, seconds):
    held = lease(own, ttl_seconds=300)
    born = own.world.clock.now_us
    own.world.clock.advance(seconds)
    state = own.call("storing", "leases.renew", lease=held.id, fields=[EMAIL], purpose="store", used=0, ttl_seconds=300)
    assert state.ttl_seconds <= 300
    [seen] = own.call("keys", "leases.list").data
    assert seen.expires_us <= born + 301 * 1_000_000
    assert code_of(lambda: own.call("keys", "leases.revoke", lease=held.id)) == ""
    with pytest.raises(LeaseEnded, match="was revoked"):
        own.call("storing", "leases.renew", lease=held.id, fields=[EMAIL], purpose="store", used=0)
