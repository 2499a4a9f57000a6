"""Tokens through the gate: kept as a MAC only, ended at once, and one-time tokens that work exactly once."""

import threading

import pytest

from guard.access.tokens import LENGTH
from guard.cli.session import Session
from guard.client import Address
from guard.errors import AuditUnavailable, Conflict, Denied, GuardError, InvalidRequest, NotFound, Unauthenticated
from guard.wire.access import MintedToken
from tests.access.building import VECTOR
from tests.db.building import PATIENCE_SECONDS, held, on_writer
from tests.world import world

YEAR_SECONDS = 365 * 86400


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    with world(tmp_path_factory.mktemp("tokens") / "home") as made:
        made.ana = made.hire("acme", "user:local|ana", "role:tenant-admin")
        made.gus = made.hire("globex", "user:local|gus", "role:tenant-admin")
        yield made


def everywhere(home):
    """Every byte below the home directory."""
    return b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file())


def lives(made, token):
    try:
        made.gate.identify(f"Bearer {token}", "test")
    except Unauthenticated:
        return False
    return True


def test_a_token_speaks_for_its_subject_in_its_tenant(made):
    minted = made.call("tokens.create", made.ana, subject="svc:billing", expires_in_seconds=3600)
    actor = made.gate.identify(f"Bearer {minted.token}", "test")
    assert (actor.subject, actor.tenant, actor.kind, actor.credential) == ("svc:billing", "acme", "svc", minted.handle)
    assert minted.expires_us - made.clock.now_us < 3600 * 1_000_000
    assert len(minted.token) == LENGTH


@pytest.mark.parametrize("kind", ["svc", "pat", "one"])
def test_no_byte_on_disk_holds_a_token_only_its_handle(made, kind):
    minted = made.call("tokens.create", made.ana, subject="svc:billing", kind=kind)
    stored = everywhere(made.home)
    assert minted.handle.encode() in stored
    secret = minted.token[len("grd_svc_") + len(minted.handle) :]
    for text in (minted.token, secret, secret[:30], secret[:12]):
        assert text.encode() not in stored


def test_a_token_is_in_no_repr_of_what_carries_it(made):
    minted = made.call("tokens.create", made.ana, subject="svc:billing")
    address = Address("http://127.0.0.1:1", minted.token)
    actor = made.gate.identify(f"Bearer {minted.token}", "test")
    stored = made.guard.doorkeeper._tokens[minted.handle]
    for thing in (minted, [minted], address, actor, stored, made.guard.doorkeeper, Session(None, "client", None)):
        assert minted.token not in repr(thing)
        assert minted.token[20:50] not in repr(thing)
    assert MintedToken.model_fields["token"].repr is False


def test_a_token_ends_to_the_microsecond(made):
    minted = made.call("tokens.create", made.ana, subject="svc:billing", expires_in_seconds=60)
    identify = made.guard.doorkeeper.identify
    assert identify(minted.token, minted.expires_us - 1).subject == "svc:billing"
    for now_us in (minted.expires_us, minted.expires_us + 1):
        with pytest.raises(Unauthenticated):
            identify(minted.token, now_us)


def test_a_token_outlives_a_restart_and_a_revoked_or_ended_one_does_not(tmp_path):
    with world(tmp_path / "home") as made:
        ana = made.hire("acme", "user:local|ana", "role:tenant-admin")
        kept, revoked, ended = (
            made.call("tokens.create", ana, subject="svc:x", expires_in_seconds=seconds) for seconds in (9999, 9999, 60)
        )
        made.call("tokens.revoke", ana, handle=revoked.handle)
    with world(tmp_path / "home") as made:
        made.clock.advance(120)
        assert [lives(made, one.token) for one in (kept, revoked, ended)] == [True, False, False]


def test_revocation_holds_from_the_next_request_on(made):
    minted = made.call("tokens.create", made.ana, subject="svc:billing")
    assert lives(made, minted.token)
    made.call("tokens.revoke", made.ana, handle=minted.handle)
    assert not lives(made, minted.token)
    with pytest.raises(NotFound):
        made.call("tokens.revoke", made.ana, handle=minted.handle)


def test_a_revocation_that_is_not_committed_does_not_hold(made):
    minted = made.call("tokens.create", made.ana, subject="svc:billing")
    with held(made.guard.pipeline):
        done = threading.Thread(target=made.call, args=("tokens.revoke", made.ana), kwargs={"handle": minted.handle})
        done.start()
        done.join(0.05)
        assert lives(made, minted.token)
    done.join(PATIENCE_SECONDS)
    assert not lives(made, minted.token)


def test_revoking_one_s_own_token_works_once_and_ends_oneself(made):
    own = made.hire("acme", "user:local|olga", "role:tenant-admin")
    made.call("tokens.revoke", own, handle=own.credential)
    assert own.credential not in made.guard.doorkeeper._tokens


@pytest.mark.parametrize(
    "request_",
    [
        {"subject": "role:support"},
        {"subject": "system:worker"},
        {"subject": "user:ana"},
        {"subject": "svc:Billing"},
        {"subject": "svc:billing\n"},
        {"subject": "user:local|" + "a" * 100},
        {"subject": "svc:x", "kind": "adm"},
        {"subject": "svc:x", "expires_in_seconds": 59},
        {"subject": "svc:x", "expires_in_seconds": YEAR_SECONDS + 1},
        {"subject": "svc:x", "expires_in_seconds": 3600.0},
        {"subject": "svc:x", "expires_in_seconds": None},
        {"subject": "svc:x", "tenant": ""},
        {"subject": "svc:x", "token": VECTOR},
    ],
)
def test_what_is_no_fit_subject_kind_or_lifetime_gets_no_token(made, request_):
    before = len(made.call("tokens.list", made.ana, limit=500).data)
    with pytest.raises((InvalidRequest, Denied)) as refusal:
        made.call("tokens.create", made.ana, **request_)
    assert VECTOR not in str(refusal.value.extra) + refusal.value.detail
    assert len(made.call("tokens.list", made.ana, limit=500).data) == before


def test_the_list_shows_everything_but_values(made):
    minted = made.call("tokens.create", made.ana, subject="svc:listed", kind="pat", note="for the night shift")
    (view,) = [one for one in made.call("tokens.list", made.ana, limit=500).data if one.handle == minted.handle]
    assert (view.subject, view.kind, view.note, view.revoked_us) == ("svc:listed", "pat", "for the night shift", None)
    assert view.created_by == "user:local|ana"
    assert minted.token not in view.model_dump_json()
    made.call("tokens.revoke", made.ana, handle=minted.handle)
    (view,) = [one for one in made.call("tokens.list", made.ana, limit=500).data if one.handle == minted.handle]
    assert view.revoked_us > 0


# one-time tokens


@pytest.fixture
def once(made):
    minted = made.call("tokens.create", made.ana, subject="user:local|new", kind="one", expires_in_seconds=600)
    return made.gate.identify(f"Bearer {minted.token}", "test"), minted


def test_a_one_time_token_is_turned_into_a_personal_one_once(made, once):
    holder, minted = once
    new = made.call("tokens.exchange", holder)
    actor = made.gate.identify(f"Bearer {new.token}", "test")
    assert (actor.subject, actor.tenant, actor.kind) == ("user:local|new", "acme", "pat")
    assert not lives(made, minted.token)
    with pytest.raises(Conflict):
        made.call("tokens.exchange", holder)


def test_of_two_who_exchange_at_once_exactly_one_wins(made):
    for _ in range(10):
        minted = made.call("tokens.create", made.ana, subject="user:local|new", kind="one")
        holder = made.gate.identify(f"Bearer {minted.token}", "test")
        outcomes, start = [], threading.Barrier(2)

        def client(holder=holder, outcomes=outcomes, start=start):
            start.wait(PATIENCE_SECONDS)
            try:
                outcomes.append(made.call("tokens.exchange", holder))
            except GuardError as error:
                outcomes.append(type(error))

        threads = [threading.Thread(target=client) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_SECONDS)
        winners = [one for one in outcomes if isinstance(one, MintedToken)]
        assert len(winners) == 1
        assert Conflict in outcomes
        assert lives(made, winners[0].token)


def test_two_exchanges_in_one_group_commit_are_still_one(made, once):
    holder, _ = once
    outcomes = []

    def client():
        try:
            outcomes.append(made.call("tokens.exchange", holder).subject)
        except Conflict:
            outcomes.append("conflict")

    with held(made.guard.pipeline):
        threads = [threading.Thread(target=client) for _ in range(5)]
        for thread in threads:
            thread.start()
            thread.join(0.02)
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    assert sorted(outcomes) == ["conflict"] * 4 + ["user:local|new"]


def test_a_one_time_token_can_do_nothing_else_whatever_its_subject_may(made):
    made.call("grants.add", made.ana, member="user:local|new", role="role:tenant-admin")
    minted = made.call("tokens.create", made.ana, subject="user:local|new", kind="one")
    holder = made.gate.identify(f"Bearer {minted.token}", "test")
    for name, operation in made.gate.operations.items():
        if name == "tokens.exchange":
            continue
        decision = made.guard.doorkeeper.decide(holder, operation.permission, "tenants/~/tokens", made.clock.now_us)
        assert not decision.allow
    for name, request in (("actors.whoami", {}), ("tokens.list", {}), ("tokens.create", {"subject": "svc:x"})):
        with pytest.raises(Denied):
            made.call(name, holder, **request)
    assert lives(made, minted.token)  # being refused does not use it up


def test_an_ordinary_token_cannot_be_exchanged(made):
    with pytest.raises(Conflict, match="one-time token"):
        made.call("tokens.exchange", made.ana)
    assert made.ana.credential in made.guard.doorkeeper._tokens


def test_an_exchange_that_cannot_be_recorded_leaves_the_one_time_token_whole(made, once):
    holder, minted = once
    broken = "CREATE TRIGGER broken BEFORE INSERT ON audit_entries BEGIN SELECT RAISE(ABORT, 'broken'); END"
    on_writer(made.guard.pipeline, broken)
    with pytest.raises(AuditUnavailable):
        made.call("tokens.exchange", holder)
    on_writer(made.guard.pipeline, "DROP TRIGGER broken")
    assert lives(made, minted.token)
    assert made.call("tokens.exchange", holder).subject == "user:local|new"
