"""Two things at once: whatever happens first holds whole, and nothing is shown after what ends it."""

import itertools
import threading

import pytest

from guard.errors import GuardError
from tests.vault.tokenising import CARD, till

VALUE = "4111111111111111"
ROUNDS = 12
DEAD = {"GRD-TOKEN-001", "GRD-KEY-020"}
numbers = itertools.count(1)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    with till(tmp_path_factory.mktemp("races") / "home") as made:
        yield made


def at_once(*acts):
    """Run them in threads that start together; what each gave, or the code of its error."""
    gate, found = threading.Barrier(len(acts)), [None] * len(acts)

    def run(place, act):
        gate.wait()
        try:
            found[place] = act()
        except GuardError as error:
            found[place] = error.code

    threads = [threading.Thread(target=run, args=one) for one in enumerate(acts)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    return found


@pytest.mark.parametrize("_round", range(ROUNDS))
def test_a_revocation_and_reveals(shop, _round):
    token = shop.token(VALUE, f"r-{next(numbers)}")
    shown = at_once(*[lambda: shop.shown(token)] * 3, lambda: shop.revoke(token))
    assert set(shown[:3]) <= {VALUE, "GRD-TOKEN-001"}
    assert shop.shown(token) == "GRD-TOKEN-001"
    order = [body["action"] for body in shop.records() if body["action"].startswith("tokens.re")][-5:-1]
    # The records stand in the order in which things happened, so before the revocation all were shown, after it none.
    at = order.index("tokens.revoke_issued")
    assert shown.count(VALUE) == at


@pytest.mark.parametrize("_round", range(ROUNDS))
def test_forgetting_a_person_and_reveals(shop, _round):
    person = f"f-{next(numbers)}"
    token = shop.token(VALUE, person)
    shown = at_once(*[lambda: shop.shown(token)] * 3, lambda: shop.forget(person))
    assert set(shown[:3]) <= {VALUE} | DEAD
    assert shop.shown(token) in DEAD


@pytest.mark.parametrize("_round", range(ROUNDS))
def test_forgetting_a_person_and_issuing(shop, _round):
    person = f"i-{next(numbers)}"
    first = shop.token(VALUE, person)
    issued = at_once(*[lambda: shop.issue(VALUE, person)] * 2, lambda: shop.forget(person))
    assert shop.shown(first) in DEAD
    for answer in issued[:2]:
        if "token" in answer and answer["token"] != first:
            assert shop.shown(answer["token"]) == VALUE  # after the end, under a new key
        elif "problem" in answer:
            assert answer["problem"]["code"] in DEAD


@pytest.mark.parametrize("_round", range(ROUNDS))
def test_an_approval_serves_one_of_two_reveals(shop, _round):
    token = shop.token(VALUE, f"a-{next(numbers)}")
    shop.approve(shop.reveal(token, "officer")["request"])
    shown = at_once(*[lambda: shop.shown(token, "officer")] * 2)
    assert sorted(shown) == sorted([VALUE, "GRD-TOKEN-002"])


@pytest.mark.parametrize("_round", range(3))
def test_two_who_approve_at_once(shop, _round):
    token = shop.token(VALUE, f"b-{next(numbers)}")
    request = shop.reveal(token, "officer")["request"]
    other = shop.world.hire("acme", "user:local|third", "role:identity-officer")
    found = at_once(lambda: shop.approve(request).id, lambda: shop.approve(request, other).id)
    assert sorted(found) == sorted([request, "GRD-STORE-410"])


def test_tokens_of_the_same_format_issued_at_once_are_all_different(shop):
    """Two hidden digits less than a million values would do; here it is the uniqueness that is looked at."""

    def issue(start):
        items = [
            {"field": CARD, "domain": "partner", "subject": f"p-{start}-{number}", "value": "4111111111111"}
            for number in range(40)
        ]
        return [one["token"] for one in shop.call("storing", "tokens.issue", items=items)["results"]]

    found = at_once(*(lambda start=start: issue(start) for start in range(4)))
    tokens = [token for batch in found for token in batch]
    assert len(tokens) == len(set(tokens)) == 160
