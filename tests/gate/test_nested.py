"""Operations that call operations: the order of records, what is undone together, and where it ends."""

import pytest

from guard.catalogue import PLATFORM, Actor
from guard.errors import Conflict, Denied, InternalError, InvalidRequest, NotFound
from guard.gate import MAX_NESTED
from tests.gate.building import insert, stage, told


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    with stage(tmp_path_factory.mktemp("nested") / "home") as made:
        made.ana = made.hire("acme", "user:local|ana", "role:tester")
        made.sam = made.hire("acme", "user:local|sam", "role:support")
        yield made


@pytest.fixture(autouse=True)
def clean(made):
    made.script.clear()


def short(bodies):
    return [(body["data"]["name"], body["result"]["status"], body["result"].get("code")) for body in bodies]


def calling(name, *, then=None, **more):
    """A step that inserts its own row, calls another, and may fail afterwards."""

    def run(ctx, request):
        insert(ctx, f"{request.value}{request.name}")
        ctx.call("notes.keep", {"name": name, "value": request.value}, **more)
        if then is not None:
            raise then

    return run


def keeping(then=None):
    def run(ctx, request):
        insert(ctx, f"{request.value}{request.name}")
        if then is not None:
            raise then

    return run


def test_records_of_inner_calls_stand_before_the_outer_one(made):
    made.script.update(a=calling("b"), b=calling("c"), c=keeping())
    size = made.size
    made.call("notes.keep", made.ana, value="order-")
    assert short(made.bodies(size)) == [("c", "ok", None), ("b", "ok", None), ("a", "ok", None)]
    assert made.kept()[-3:] == ["order-a", "order-b", "order-c"]


def test_request_ids_tell_the_depth(made):
    made.script.update(a=calling("b"), b=calling("c"), c=keeping())
    size = made.size
    made.call("notes.keep", made.ana, value="depth-")
    ids = [body["request"]["id"] for body in made.bodies(size)]
    outer = ids[-1]
    assert ids == [f"{outer}/1/2", f"{outer}/1", outer]


def test_an_inner_refusal_is_kept_while_the_outer_fails_and_nothing_is_changed(made):
    made.script.update(a=calling("b"), b=keeping(then=Conflict("No.")))
    size = made.size
    with pytest.raises(Conflict):
        made.call("notes.keep", made.ana, value="inner-")
    assert short(made.bodies(size)) == [("b", "refused", "GRD-STORE-410"), ("a", "refused", "GRD-STORE-410")]
    assert [name for name in made.kept() if name.startswith("inner-")] == []


def test_an_inner_success_that_the_outer_undoes_leaves_no_record_of_success(made):
    made.script.update(a=calling("b", then=Conflict("No.")), b=keeping())
    size = made.size
    with pytest.raises(Conflict):
        made.call("notes.keep", made.ana, value="undone-")
    assert short(made.bodies(size)) == [("a", "refused", "GRD-STORE-410")]
    assert [name for name in made.kept() if name.startswith("undone-")] == []


def test_an_outer_that_lives_with_an_inner_refusal_keeps_its_own_change(made):
    def tolerant(ctx, request):
        insert(ctx, "tolerant")
        with pytest.raises(Conflict):
            ctx.call("notes.keep", {"name": "b", "value": "lost-"})

    made.script.update(a=tolerant, b=keeping(then=Conflict("No.")))
    size = made.size
    made.call("notes.keep", made.ana)
    assert short(made.bodies(size)) == [("b", "refused", "GRD-STORE-410"), ("a", "ok", None)]
    assert "tolerant" in made.kept()
    assert "lost-b" not in made.kept()


def test_what_a_refused_inner_call_had_called_is_undone_and_its_success_is_no_record(made):
    def tolerant(ctx, request):
        with pytest.raises(Conflict):
            ctx.call("notes.keep", {"name": "b", "value": "gone-"})

    made.script.update(a=tolerant, b=calling("c", then=Conflict("No.")), c=keeping())
    size = made.size
    made.call("notes.keep", made.ana)
    assert [name for name in made.kept() if name.startswith("gone-")] == []
    assert short(made.bodies(size)) == [("b", "refused", "GRD-STORE-410"), ("a", "ok", None)]


def test_hooks_of_a_refused_inner_call_do_not_run(made):
    ran = []

    def inner(ctx, request):
        ctx.after_commit(lambda: ran.append(request.name))
        if request.name == "bad":
            raise Conflict("No.")

    def outer(ctx, request):
        ctx.call("notes.keep", {"name": "good"})
        with pytest.raises(Conflict):
            ctx.call("notes.keep", {"name": "bad"})

    made.script.update(a=outer, good=inner, bad=inner)
    made.call("notes.keep", made.ana)
    assert ran == ["good"]


def test_an_inner_call_is_allowed_or_denied_by_its_own_actor(made):
    def outer(ctx, request):
        ctx.call("notes.keep", {"name": "b"}, made.sam)

    made.script.update(a=outer)
    size = made.size
    with pytest.raises(Denied):
        made.call("notes.keep", made.ana)
    inner, outer_body = made.bodies(size)
    assert (inner["actor"]["id"], told(inner)[2:]) == ("user:local|sam", (False, "refused", "GRD-AUTHZ-001"))
    assert (outer_body["actor"]["id"], told(outer_body)[2:]) == ("user:local|ana", (True, "refused", "GRD-AUTHZ-001"))


def test_an_inner_call_in_another_tenant_is_recorded_there(made):
    other = made.hire("globex", "user:local|gus", "role:tester")
    made.script["a"] = lambda ctx, _: ctx.call("notes.compute", {"name": "b"}, other).text
    size = made.size
    made.call("notes.keep", made.ana)
    assert short(made.bodies(size)) == [("a", "ok", None)]
    assert short(made.bodies(size, "globex")) == [("b", "ok", None)]


def test_the_depth_is_limited(made):
    def deeper(ctx, request):
        depth = int(request.value)
        insert(ctx, f"to{wanted}depth{depth}")
        if depth < wanted:
            ctx.call("notes.keep", {"name": "a", "value": str(depth + 1)})

    made.script["a"] = deeper
    wanted = MAX_NESTED
    made.call("notes.keep", made.ana, value="0")
    assert f"to{wanted}depth{wanted}" in made.kept()
    wanted = MAX_NESTED + 1
    with pytest.raises(InternalError, match="cannot be called from inside another operation"):
        made.call("notes.keep", made.ana, value="0")


def test_an_external_operation_cannot_be_called_from_inside(made):
    made.script["a"] = lambda ctx, _: ctx.call("notes.send", {"name": "b"})
    with pytest.raises(InternalError, match=r"notes\.send cannot be called"):
        made.call("notes.keep", made.ana)


@pytest.mark.parametrize(
    ("name", "request_", "error"), [("no.such", {}, NotFound), ("notes.keep", {"nmae": "x"}, InvalidRequest)]
)
def test_an_inner_call_that_does_not_fit_fails_the_outer(made, name, request_, error):
    made.script["a"] = lambda ctx, _: ctx.call(name, request_)
    with pytest.raises(error):
        made.call("notes.keep", made.ana)


@pytest.mark.parametrize("outer", ["notes.compute", "notes.look"])
def test_an_outer_without_a_write_keeps_the_records_of_what_it_called_when_it_fails(made, outer):
    def run(ctx, request):
        ctx.call("notes.compute", {"name": "b"})
        with pytest.raises(Denied):
            ctx.call("notes.compute", {"name": "secret"})
        raise Conflict("No.")

    made.script["a"] = run
    size = made.size
    with pytest.raises(Conflict):
        made.call(outer, made.ana)
    assert short(made.bodies(size)) == [
        ("b", "ok", None),
        ("secret", "refused", "GRD-AUTHZ-001"),
        ("a", "refused", "GRD-STORE-410"),
    ]


def test_an_inner_read_reads_in_the_outer_transaction(made):
    def outer(ctx, request):
        insert(ctx, "seen inside")
        return ctx.call("notes.look", {"name": "b"}).text

    def look(ctx, request):
        return str(ctx.tx.exec_driver_sql("SELECT count(*) FROM meta WHERE name = 'seen inside'").scalar())

    made.script.update(a=outer, b=look)
    assert made.call("notes.keep", made.ana).text == "1"


def test_an_inner_exempt_operation_leaves_no_record(made):
    worker = Actor("system:worker", PLATFORM, "system")
    made.script["a"] = lambda ctx, _: ctx.call("checkpoints.publish", {}, worker) and None
    size = made.size
    made.call("notes.keep", made.ana)
    assert made.size == size + 1


def test_a_tenant_is_created_with_its_keys_and_both_are_recorded(made):
    size = made.size
    made.hire("initech", "user:local|bill", "role:support")
    assert [body["action"] for body in made.bodies(size, "initech")] == ["keyrings.create"]
    actions = [body["action"] for body in made.bodies(size, "system")]
    assert (actions[0], actions[-1]) == ("tenants.create", "principals.bootstrap")


def test_a_refused_principal_leaves_neither_tenant_nor_keys(made):
    size = made.size
    with pytest.raises(InvalidRequest):
        made.hire("umbrella", "user:local|ada", "role:no-such-role")
    assert made.rows("SELECT count(*) FROM tenants WHERE tenant = 'umbrella'") == [(0,)]
    assert made.rows("SELECT count(*) FROM key_versions WHERE tenant = 'umbrella'") == [(0,)]
    assert made.bodies(size, "umbrella") == []
    assert {body["result"]["status"] for body in made.bodies(size, "system")} == {"refused"}
