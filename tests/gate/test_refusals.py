"""Who is refused, with which error, and what the log keeps of it."""

import itertools

import pytest

from guard.errors import Conflict, Denied, InvalidRequest, NotFound, RateLimited, Unauthenticated
from tests.gate.building import EFFECTS, insert, stage, told

FORMS = [
    None,
    "",
    "Bearer",
    "Bearer ",
    "Basic YTpi",
    "grd_svc_0123456789AB",
    "Bearer grd_svc_0",
    "bearer x",
    "Bearer é" * 9,
]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    with stage(tmp_path_factory.mktemp("refusals") / "home") as made:
        made.ana = made.hire("acme", "user:local|ana", "role:tester")
        made.sam = made.hire("acme", "user:local|sam", "role:support")
        yield made


@pytest.fixture(autouse=True)
def clean(made):
    made.script.clear()


@pytest.fixture(params=EFFECTS)
def name(request):
    return request.param


# allow


def test_who_has_no_role_for_it_is_denied_and_nothing_runs(made, name):
    made.script["a"] = lambda *_: pytest.fail("it ran")
    size = made.size
    with pytest.raises(Denied) as refusal:
        made.call(name, made.sam)
    assert refusal.value.extra["missing_permission"] == name
    assert refusal.value.extra["resource"] == "notes/a"
    assert "ask an administrator" in refusal.value.detail
    assert [told(body) for body in made.bodies(size)] == [(name, "event", False, "refused", "GRD-AUTHZ-001")]


def test_a_denial_is_recorded_with_the_rule_that_made_it(made, name):
    size = made.size
    with pytest.raises(Denied) as refusal:
        made.call(name, made.ana, name="secret")
    (body,) = made.bodies(size)
    assert body["decision"]["rule"] == refusal.value.extra["rule"]
    assert body["decision"]["rule"].startswith("role:tester deny notes.* on notes/secret (policies/access/roles.csv:")
    assert body["decision"]["policy"] == made.guard.doorkeeper.snapshot.version
    assert body["resource"] == {"id": "notes/secret"}


def test_where_no_rule_allows_the_record_says_so(made):
    size = made.size
    with pytest.raises(Denied):
        made.call("notes.keep", made.sam)
    assert made.bodies(size)[0]["decision"]["rule"] == "no rule allows it"


def test_one_resource_that_is_not_allowed_refuses_the_whole(made, name):
    made.script["a"] = lambda *_: pytest.fail("it ran")
    for things in itertools.permutations(["x", "y", "secret"]):
        with pytest.raises(Denied) as refusal:
            made.call(name, made.ana, things=list(things))
        assert refusal.value.extra["resource"] == "notes/secret"


def test_a_resource_that_is_not_canonical_is_denied(made, name):
    for thing in ("../keys/x", "", ".", "x/../secret", "secret/", "se cret", "x\n", "x%2f", "x" * 2000):
        with pytest.raises(Denied):
            made.call(name, made.ana, things=[thing])


def test_an_operation_that_hides_says_not_found_to_strangers_and_the_log_knows(made):
    size = made.size
    with pytest.raises(NotFound) as refusal:
        made.call("notes.hide", made.sam)
    assert "that you may know of" in refusal.value.detail
    assert refusal.value.extra == {}
    assert [told(body) for body in made.bodies(size)] == [("notes.hide", "event", False, "refused", "GRD-STORE-404")]
    assert made.call("notes.hide", made.ana).text == "did a"


def test_an_operation_that_hides_looks_the_same_whether_the_thing_is_there_or_not(made):
    def absent(_ctx, _request):
        raise NotFound("Expected an existing resource for notes.hide, got none that you may know of.")

    made.script["absent"] = absent
    errors = []
    for actor, thing in ((made.sam, "absent"), (made.sam, "a"), (made.ana, "absent")):
        with pytest.raises(NotFound) as refusal:
            made.call("notes.hide", actor, name=thing)
        errors.append((refusal.value.detail, refusal.value.hint, refusal.value.extra))
    assert errors[0] == errors[1] == errors[2]


# run


def test_a_refusal_by_the_operation_is_recorded_as_allowed_but_refused(made, name):
    def refuse(_ctx, _request):
        raise Conflict("It moved on.")

    made.script["a"] = refuse
    size = made.size
    with pytest.raises(Conflict):
        made.call(name, made.ana)
    last = made.bodies(size)[-1]
    phase = "outcome" if name == "notes.send" else "event"
    assert told(last) == (name, phase, True, "refused", "GRD-STORE-410")
    assert last["decision"]["rule"].startswith("role:tester allow")


def test_a_refused_write_leaves_its_record_and_nothing_else(made):
    def refuse(ctx, _request):
        insert(ctx, "half")
        ctx.note(count=1)
        raise Conflict("It moved on.")

    made.script["a"] = refuse
    size = made.size
    with pytest.raises(Conflict):
        made.call("notes.keep", made.ana)
    assert "half" not in made.kept()
    assert len(made.bodies(size)) == 1


# parse


@pytest.mark.parametrize(
    "raw", [{"nmae": "a"}, {"name": 1}, {"name": None}, {"things": "a"}, {"things": [1]}, {"name": ["a"]}]
)
def test_a_request_that_does_not_fit_is_refused_without_its_values(made, raw):
    with pytest.raises(InvalidRequest) as refusal:
        made.gate.call_named("notes.keep", raw, made.ana, "req")
    assert refusal.value.extra["errors"]
    assert "nmae" not in str(refusal.value.extra)


def test_an_unknown_operation_is_not_found(made):
    with pytest.raises(NotFound, match="Expected the name of an operation"):
        made.gate.call_named("notes.forget", {}, made.ana, "req")


# identify and limit


@pytest.mark.parametrize("header", FORMS)
def test_whatever_is_no_token_is_not_authenticated_with_one_kind_of_error(tmp_path, made, header):
    with pytest.raises(Unauthenticated, match="Expected"):
        made.gate.identify(header, f"peer {header}")


def test_an_unknown_token_and_a_mistyped_one_get_the_same_answer(made):
    token = made.token("acme", "svc:probe", "role:support")
    unknown = "grd_svc_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdef1H3IOv"
    errors = []
    for bearer in (unknown, token[:-1] + ("0" if token[-1] != "0" else "1"), token.lower()):
        with pytest.raises(Unauthenticated) as refusal:
            made.gate.identify(f"Bearer {bearer}", "somewhere")
        assert bearer not in refusal.value.detail
        errors.append((refusal.value.code, refusal.value.title, refusal.value.extra))
    assert errors[0] == errors[1] == errors[2]


def test_the_scheme_is_read_without_regard_to_case(made):
    token = made.token("acme", "svc:probe", "role:support")
    for header in (f"Bearer {token}", f"bearer {token}", f"BEARER  {token} "):
        assert made.gate.identify(header, "test").subject == "svc:probe"


def test_failed_log_ins_are_limited_per_address_and_a_good_token_still_passes(tmp_path):
    with stage(tmp_path / "home", failures_per_minute=5) as made:
        token = made.token("acme", "svc:probe", "role:support")
        kinds = []
        for _ in range(40):
            with pytest.raises((Unauthenticated, RateLimited)) as refusal:
                made.gate.identify("Bearer wrong", "192.0.2.1")
            kinds.append(type(refusal.value))
        assert kinds[:10] == [Unauthenticated] * 10
        assert kinds[-1] is RateLimited
        assert refusal.value.extra["retry_after_seconds"] >= 1
        with pytest.raises(Unauthenticated):
            made.gate.identify("Bearer wrong", "192.0.2.2")
        assert made.gate.identify(f"Bearer {token}", "192.0.2.1").subject == "svc:probe"


def test_requests_are_limited_per_credential_and_the_refusal_is_recorded(tmp_path):
    with stage(tmp_path / "home", requests_per_minute=6) as made:
        first = made.hire("acme", "user:local|ana", "role:tester")
        second = made.hire("acme", "user:local|ana", "role:tester")
        size = made.size
        kinds, waits = [], []
        for name in list(EFFECTS) * 10:
            try:
                made.call(name, first)
            except RateLimited as error:
                waits.append(error.extra["retry_after_seconds"])
                kinds.append(told(made.bodies(size)[-1]))
        assert len(kinds) == 30
        assert min(waits) >= 1
        assert set(kinds) == {(name, "event", False, "refused", "GRD-RATE-001") for name in EFFECTS}
        assert made.call("notes.keep", second).text == "did a"


# what writes no record


def test_exempt_operations_are_exactly_those_that_are_printed(made):
    exempt = {name for name, entry in made.gate.operations.items() if entry.exempt}
    assert exempt == {
        "budgets.store",
        "checkpoints.adopt",
        "checkpoints.publish",
        "checkpoints.reread",
        "checkpoints.stage",
        "checkpoints.witness",
        "copies.look",
        "heads.read",
        "intents.sweep",
        "key_uses.store",
        "log.archive",
        "log.copy",
        "prunes.sweep",
        "scrubs.step",
        "services.watch",
        "sinks.move",
        "sinks.pull",
        "sinks.watch",
        "tiles.read",
    }
    # The first needs a witness, the last two need a sink; the end of a scrubber's pass is a record of its own.
    made.call("checkpoints.publish")
    asked = {"heads.read": {"log": "main"}, "tiles.read": {"log": "main", "level": "0", "tile": "000.p/1"}}
    bucket = {"log.copy", "copies.look"}  # need one
    for name in exempt - {"checkpoints.witness", "scrubs.step", "sinks.move", "sinks.pull"} - bucket:
        size = made.size
        made.call(name, **asked.get(name, {}))
        # Of a log of one block each step of the scrubber ends a pass, which is a record of its own.
        assert made.size == size + (name == "scrubs.step")


def test_a_refused_exempt_operation_is_recorded_all_the_same(made):
    size = made.size
    with pytest.raises(Denied):
        made.call("checkpoints.publish", made.sam)
    assert [told(body) for body in made.bodies(size)] == [
        ("checkpoints.publish", "event", False, "refused", "GRD-AUTHZ-001")
    ]
