"""A legal hold and an erasure that meet: whichever was committed first holds whole, and a restart finds the same."""

import threading

import pytest

from guard.errors import GuardError, LegalHold, NotFound
from tests.vault.clinic import clinic

GONE = "GRD-KEY-020"
HELD = LegalHold.code


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


def place(one, scope="subject", subject="ana", **more):
    more |= {"subject": subject} if scope == "subject" else {}
    return one.world.call("holds.place", one.second, scope=scope, matter="case-1", reason="court", **more).id


def release(one, hold):
    for who in (one.officer, one.second):
        one.world.call("holds.release", who, hold=hold, reason="closed")


def code(act):
    try:
        act()
    except GuardError as error:
        return error.code
    return ""


def together(*acts):
    """Run them at once; the code of each one's refusal, or nothing."""
    barrier, codes = threading.Barrier(len(acts)), [""] * len(acts)

    def run(number, act):
        barrier.wait()
        codes[number] = code(act)

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(acts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return codes


def stage_of(one, request):
    return next(receipt.stage for receipt in one.receipts() if receipt.id == request)


def shredded(one, request):
    """Whether the ledger in the key store says that the key is gone."""
    receipt = next(found for found in one.receipts() if found.id == request)
    return one.forgetting.subjects.keys.shredded(bytes.fromhex(receipt.subject[4:])) is not None


def whole(one, request, name, sealed):
    """The three places agree: the request's stage, the ledger of the key store, and what a reader gets."""
    if stage_of(one, request) == "destroyed":
        assert shredded(one, request)
        assert one.open(name, sealed) == GONE
        return "destroyed"
    assert not shredded(one, request)
    one.world.call("subjects.restore", one.officer, subject=name)
    assert one.open(name, sealed) == "x"
    return "held"


@pytest.mark.parametrize("scope", ["subject", "tenant"])
def test_the_worker_at_the_end_of_the_grace_against_a_hold(home, scope):
    """The erasure comes due while the hold is being placed: by the worker, whom no person calls back."""
    with clinic(home) as one:
        for number in range(8):
            name = f"p{number}"
            sealed = one.seal(name, "x")
            request = one.forget(name).id
            one.world.clock.advance(7.1 * 86_400)
            one.forgetting.look()
            step = {"forget": request}
            worker = type(one.officer)("system:worker", "acme", "system")
            holds = []
            codes = together(
                lambda step=step, worker=worker: one.world.call("subjects.step", worker, **step),
                lambda name=name, holds=holds: holds.append(place(one, scope, name)),
            )
            found = whole(one, request, name, sealed) if stage_of(one, request) == "destroyed" else "held"
            assert codes == (["", ""] if found == "destroyed" else [HELD, ""])
            assert len(holds) == 1
            if found == "held":
                assert not shredded(one, request)
                release(one, holds[0])
                one.world.call("subjects.restore", one.officer, subject=name)
                assert one.open(name, sealed) == "x"
            else:
                release(one, holds[0])


@pytest.mark.parametrize("first", ["hold", "erasure"])
@pytest.mark.parametrize("scope", ["subject", "tenant"])
def test_whichever_was_first_is_what_a_restart_finds(home, first, scope):
    with clinic(home) as one:
        sealed = one.seal("ana", "x")
        request = one.forget("ana").id
        acts = [lambda: place(one, scope), lambda: one.forget("ana", one.second, at_once=True)]
        codes = [code(act) for act in (acts if first == "hold" else acts[::-1])]
        assert codes == (["", HELD] if first == "hold" else ["", ""])
    with clinic(home) as one:
        if first == "hold":
            assert code(lambda: one.forget("ana", one.second, at_once=True)) == HELD
            one.after(8)
            assert stage_of(one, request) == "revoked"
        assert whole(one, request, "ana", sealed) == ("held" if first == "hold" else "destroyed")


def test_two_holds_and_two_erasures_at_once(home):
    """The release of one hold frees nobody whom the other covers."""
    with clinic(home) as one:
        sealed = one.seal("ana", "x")
        request = one.forget("ana").id
        holds = [place(one), place(one, "tenant")]
        erase = lambda: one.forget("ana", one.second, at_once=True)  # noqa: E731  two acts, side by side
        assert together(erase, erase) == [HELD, HELD]
        release(one, holds[0])
        assert code(erase) == HELD
        release(one, holds[1])
        assert "" in together(erase, erase)
        assert whole(one, request, "ana", sealed) == "destroyed"


def test_a_hold_of_another_person_or_tenant_holds_nobody_else(home):
    with clinic(home) as one:
        one.seal("ana", "x")
        one.seal("bob", "x")
        place(one, subject="bob")
        other = type(one)(one.world, "globex")
        other.seal("ana", "x")
        place(other, "tenant")
        assert one.forget_now("ana").stage == "destroyed"
        assert code(lambda: one.forget_now("bob")) == HELD
        assert code(lambda: other.forget_now("ana")) == HELD


def test_a_restore_and_the_end_of_the_grace_at_once(home):
    """Both are asked for in the same moment: the person is back whole, or gone whole."""
    with clinic(home) as one:
        for number in range(8):
            name = f"p{number}"
            sealed = one.seal(name, "x")
            request = one.forget(name).id
            codes = together(
                lambda name=name: one.forget(name, one.second, at_once=True),
                lambda name=name: one.world.call("subjects.restore", one.officer, subject=name),
            )
            if stage_of(one, request) == "destroyed":
                assert codes == ["", NotFound.code]
                assert shredded(one, request)
                assert one.open(name, sealed) == GONE
            else:
                assert codes[1] == ""
                assert not shredded(one, request)
                assert one.world.call("subjects.report", one.officer, subject=name).state in {"live", "revoked"}
