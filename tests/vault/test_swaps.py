"""One person's value in another's place: every pair of row, column, person and tenant, sealed in one and read in the other."""

import itertools
import json

import pytest

from tests.vault.clinic import DIARY, NOTE, Clinic, clinic

ROOM = "patients.room"
UNKNOWN = {"GRD-CRYPT-001", "GRD-STORE-404"}
PLACES = [
    (tenant, field, person, row)
    for tenant in ("acme", "globex")
    for field in (NOTE, DIARY, ROOM)
    for person in (("ana", "bob") if field != ROOM else ("",))
    for row in (("1", "2") if field != DIARY else ("",))
]


def context(field, person, row):
    wanted = {NOTE: {"row": row, "subject": person}, DIARY: {"subject": person}, ROOM: {"row": row}}
    return wanted[field]


@pytest.fixture(scope="module")
def wards(tmp_path_factory):
    """Two tenants, and a value sealed in each place."""
    with clinic(tmp_path_factory.mktemp("swaps") / "home") as acme:
        both = {"acme": acme, "globex": Clinic(acme.world, "globex")}
        sealed = {}
        for number, (tenant, field, person, row) in enumerate(PLACES):
            item = {"field": field, "context": context(field, person, row), "plaintext": f"{number:03d}="[:4]}
            [answer] = both[tenant].answers("fields.encrypt", both[tenant].storing, [item])
            sealed[PLACES[number]] = answer.get("ciphertext") or answer["problem"]["code"]
        yield both, sealed


def read(wards, place, ciphertext):
    """The answer to a read of *ciphertext* in *place*."""
    tenant, field, person, row = place
    ward = wards[0][tenant]
    item = {"field": field, "context": context(field, person, row), "ciphertext": ciphertext}
    return ward.answers("fields.decrypt", ward.billing, [item])[0]


def test_each_opens_in_its_own_place(wards):
    assert len(PLACES) == len(set(wards[1].values())) == 16
    assert all("plaintext" in read(wards, place, text) for place, text in wards[1].items())


@pytest.mark.parametrize("there", PLACES, ids="-".join)
def test_in_every_other_place_it_opens_nothing_and_says_no_more_than_that(wards, there):
    told = set()
    for here in PLACES:
        if here == there:
            continue
        answer = read(wards, there, wards[1][here])
        assert set(answer) == {"problem"}
        told.add((here[0] == there[0], answer["problem"]["code"], answer["problem"]["title"]))
    assert {code for _, code, _ in told} <= UNKNOWN
    assert len({(code, title) for same, code, title in told if same}) <= 2


@pytest.mark.parametrize("field", [NOTE, DIARY])
def test_one_batch_of_all_swaps_shows_what_is_in_its_place_only(wards, field):
    """A batch of one person's values in every place: what fits opens, and what does not spoils nothing beside it."""
    both, sealed = wards
    places = [place for place in PLACES if place[:2] == ("acme", field)]
    pairs = list(itertools.product(places, places))
    items = [
        {"field": field, "context": context(field, there[2], there[3]), "ciphertext": sealed[here]}
        for there, here in pairs
    ]
    answers = both["acme"].answers("fields.decrypt", both["acme"].billing, items)
    opened = [pair for pair, answer in zip(pairs, answers, strict=True) if "plaintext" in answer]
    assert opened == [(place, place) for place in places]


def test_what_a_swap_left_is_a_count_by_code_in_the_record(wards):
    both, sealed = wards
    mine, other = PLACES[0], PLACES[1]
    read(wards, other, sealed[mine])
    guard = both["acme"].world.guard
    with guard.store.read() as tx:
        text = guard.log.reader(tx).entry(guard.log.size - 1).decode()
    assert json.loads(text)["b"]["data"]["failed"] == {"grd_crypt_001": 1}
    assert sealed[mine] not in text
    assert read(wards, mine, sealed[mine])["plaintext"] not in text
