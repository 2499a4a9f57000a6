"""Local encryption: sealed here, opened there and here, within the lease and no longer."""

import asyncio
import copy
import pickle
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.client.lease import Lease, LeaseKey, bare, bytes_of, is_leased, text_of
from guard.client.local import MAX_KEPT, AsyncLocalKeys, Keys, LocalKeys, clock
from guard.errors import Denied, DoesNotOpen, GuardError, InternalError, InvalidInput, LeaseEnded, Unreachable
from guard.vault.envelope import from_text, header_of, to_text
from tests.client.leasing import EMAIL, PHONE, office
from tests.vault.clinic import NOTE, POLICY
from tests.vault.shop import policies_with

DOES_NOT_OPEN = "^ciphertext does not open in this context$"


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """An office that no test changes for others."""
    folder = tmp_path_factory.mktemp("office")
    with office(folder / "home", policies=policies_with(folder, "patients.yaml", POLICY)) as made:
        yield made


@pytest.fixture
def own(tmp_path):
    with office(tmp_path / "home") as made:
        yield made


# there and back


@pytest.mark.parametrize("value", ["", "ana@example.org", "陈美", b"\x00\xff" * 9000], ids=["empty", "a", "zh", "raw"])
def test_what_is_sealed_here_opens_there_and_here(shared, value):
    _, local = shared.line()
    text = local.seal(EMAIL, value, row="1")
    raw = value.encode() if isinstance(value, str) else value
    assert local.open(EMAIL, text, "billing", row="1") == raw
    if isinstance(value, str):
        assert shared.shop.open(text) == value


def test_a_padded_field_is_padded_here_too(shared):
    line, local = shared.line("storing")
    short, longer = local.seal(PHONE, "079", row="1"), local.seal(PHONE, "079 123 45 67", row="1")
    assert len(short) == len(longer)
    assert header_of(short).flags == 2
    assert shared.shop.open(short, field=PHONE, who="delivery") == "079"
    assert line.names() == ["leases.create"]
    _, reading = shared.line("delivery")
    assert reading.open(PHONE, short, "delivery", row="1") == b"079"


def test_what_the_server_sealed_for_the_lease_opens_here(shared):
    line, local = shared.line()
    local.seal(EMAIL, "x", purpose="billing", row="1")
    lease = local.sealing(EMAIL, "billing", {"row": "1"})
    items = [{"field": EMAIL, "context": {"row": "1"}, "plaintext": "YW5h"}]
    [sealed] = line("leases.encrypt", lease=lease.id, items=items)["results"]
    line.cut = True
    assert local.open(EMAIL, sealed["ciphertext"], "billing", row="1") == b"ana"


def test_what_was_sealed_otherwise_is_opened_by_the_server(shared):
    line, local = shared.line()
    [text] = shared.shop.seal("ana")
    assert local.open(EMAIL, text, "billing", row="1") == b"ana"
    assert line.names() == ["fields.decrypt"]
    with pytest.raises(DoesNotOpen):
        local.open(EMAIL, text, "billing", row="2")


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[:-1],
        lambda text: text[:-2],
        lambda text: text + "AA",
        lambda text: text[:40] + ("B" if text[40] != "B" else "C") + text[41:],
        lambda text: text[:-30] + ("B" if text[-30] != "B" else "C") + text[-29:],
        lambda text: text.replace("gd1.", "gd2."),
        lambda text: text + "=",
        lambda text: text[:20] + "\n" + text[20:],
        lambda text: text[4:],
        lambda _: "gd1.",
        lambda _: "",
        lambda _: "gd1.é",
    ],
)
def test_what_was_changed_has_one_text(shared, change):
    _, local = shared.line()
    text = local.seal(EMAIL, "ana", purpose="billing", row="1")
    with pytest.raises(GuardError) as caught:
        local.open(EMAIL, change(text), "billing", row="1")
    assert "ana" not in str(caught.value)
    assert caught.type.__name__ in {"DoesNotOpen", "InvalidEnvelope"}


def test_every_flipped_bit_is_refused(shared):
    _, local = shared.line()
    raw = bytes_of(local.seal(EMAIL, "ana", purpose="billing", row="1"))
    for at in range(3, len(raw)):
        changed = raw[:at] + bytes([raw[at] ^ 4]) + raw[at + 1 :]
        with pytest.raises(DoesNotOpen, match=DOES_NOT_OPEN):
            local.open(EMAIL, text_of(changed), "billing", row="1")


def test_another_row_field_or_kind_of_row_does_not_open(shared):
    _, local = shared.line()
    text = local.seal(EMAIL, "ana", purpose="billing", row="1")
    for cell in ({"row": "2"}, {"row": 1}):
        with pytest.raises(DoesNotOpen, match=DOES_NOT_OPEN):
            local.open(EMAIL, text, "billing", **cell)
    for cell in ({}, {"subject": "1"}, {"row": ""}, {"row": "1", "subject": "x"}):
        with pytest.raises(InvalidInput):
            local.open(EMAIL, text, "billing", **cell)
        with pytest.raises(InvalidInput):
            local.seal(EMAIL, "x", **cell)


def test_fields_that_are_keyed_by_person_are_found_out_by_asking_once(shared):
    line, local = shared.line()
    first = local.seal(NOTE, "well", row="1", subject="u-1")
    assert line.names() == ["leases.create", "leases.create"]
    second = local.seal(NOTE, "well", row="1", subject="u-2")
    assert len(line.asked) == 3
    assert header_of(first).key_id != header_of(second).key_id
    assert local.open(NOTE, first, "billing", row="1", subject="u-1") == b"well"
    with pytest.raises(DoesNotOpen, match=DOES_NOT_OPEN):
        local.open(NOTE, first, "billing", row="1", subject="u-2")


def test_who_may_not_is_told(shared):
    for who, act in (
        ("billing", lambda local: local.seal(EMAIL, "x", row="1")),
        ("storing", lambda local: local.open(EMAIL, local.seal(EMAIL, "x", row="1"), "billing", row="1")),
        ("support", lambda local: local.seal(EMAIL, "x", row="1")),
    ):
        with pytest.raises(Denied):
            act(shared.line(who)[1])


@given(st.binary(max_size=200))
def test_its_texts_are_the_servers(raw):
    text = text_of(raw)
    assert text == to_text(raw)
    assert from_text(text) == raw if raw else True
    assert bytes_of(text) == raw


@given(st.text(max_size=40) | st.text("AZaz09-_gd1.=+/ ", max_size=40))
def test_a_text_that_is_not_the_one_of_its_bytes_is_refused(text):
    try:
        raw = bytes_of(text)
    except DoesNotOpen:
        return
    assert text_of(raw) == text


@given(st.binary(max_size=160))
def test_any_bytes_are_judged(raw):
    assert is_leased(raw) is (len(raw) >= 136 and raw.startswith(b"\x47\x01\x07"))
    assert bare(bare(raw)) == bare(raw)


# how long it lasts


def test_one_key_serves_many_values(own):
    line, local = own.line()
    texts = [local.seal(EMAIL, str(number), row="1") for number in range(50)]
    assert line.names() == ["leases.create"]
    assert len({text[30:180] for text in texts}) == 1
    assert len(set(texts)) == 50


def test_it_is_renewed_at_two_thirds_of_its_time(own):
    line, local = own.line()
    local.seal(EMAIL, "a", row="1")
    line.wait(199)
    local.seal(EMAIL, "a", row="1")
    line.wait(2)
    local.seal(EMAIL, "a", row="1")
    assert line.names() == ["leases.create", "leases.renew"]
    line.wait(250)
    local.seal(EMAIL, "a", row="1")
    assert line.names() == ["leases.create", "leases.renew", "leases.renew"]


def test_uses_are_reported_in_blocks(own):
    line, local = own.line()
    for _ in range(3000):
        local.seal(EMAIL, "a", row="1")
    reported = [members["used"] for name, members in line.asked if name == "leases.renew"]
    assert reported == [1250, 2500]
    assert own.shop.call("keys", "leases.list").data[0].used == 2500


def test_away_from_the_server_it_stops_at_its_time_with_a_plain_error(own):
    line, local = own.line()
    local.seal(EMAIL, "a", row="1")
    line.cut = True
    line.wait(299)
    text = local.seal(EMAIL, "late", row="1")
    line.wait(1)
    with pytest.raises(LeaseEnded, match="at its end and no new one could be taken"):
        local.seal(EMAIL, "a", row="1")
    with pytest.raises(Unreachable):
        local.seal(EMAIL, "a", row="1")
    line.cut = False
    assert own.shop.open(local.seal(EMAIL, "back", row="1")) == "back"
    assert own.shop.open(text) == "late"


def test_a_server_that_is_away_is_asked_at_most_every_five_seconds(own):
    line, local = own.line()
    local.seal(EMAIL, "a", row="1")
    line.cut = True
    line.wait(210)
    for _ in range(100):
        local.seal(EMAIL, "a", row="1")
    assert line.names().count("leases.renew") == 1
    line.wait(6)
    local.seal(EMAIL, "a", row="1")
    assert line.names().count("leases.renew") == 2


@pytest.mark.parametrize("how", ["lease", "field"])
def test_revoked_while_it_is_offline(own, how):
    """Dossier case 16: servers refuse at once, the client stops at its time, the answer names the gap."""
    line, local = own.line()
    lease = local.lease(EMAIL)
    line.cut = True
    named = {"lease": lease.id} if how == "lease" else {"field": EMAIL}
    gap = own.shop.call("keys", "leases.revoke", **named)
    assert gap.until_us - own.shop.world.clock.now_us == pytest.approx(300e6, abs=1e5)
    line.wait(250)
    assert lease.seal(EMAIL, "gap", row="1")
    local.renew(lease)  # nobody answers
    line.cut = False
    local.renew(lease)
    with pytest.raises(LeaseEnded, match="was revoked"):
        lease.seal(EMAIL, "x", row="1")


def test_revoked_while_it_is_offline_and_never_back(own):
    line, local = own.line()
    lease = local.lease(EMAIL, ttl_seconds=60)
    own.shop.call("keys", "leases.revoke", field=EMAIL)
    line.cut = True
    line.wait(59.9)
    assert lease.seal(EMAIL, "gap", row="1")
    line.wait(0.1)
    with pytest.raises(LeaseEnded, match="end of its time"):
        lease.seal(EMAIL, "x", row="1")
    assert not lease.usable()


def test_after_a_revocation_who_still_may_goes_on_under_a_new_key(own):
    line, local = own.line()
    before = local.seal(EMAIL, "a", row="1")
    own.shop.call("keys", "leases.revoke", field=EMAIL)
    line.wait(210)
    after = local.seal(EMAIL, "b", row="1")
    assert before[30:180] != after[30:180]
    assert [own.shop.open(text) for text in (before, after)] == ["a", "b"]


def test_who_lost_his_right_is_refused_at_the_renewal(own):
    line, local = own.line("storing")
    local.seal(EMAIL, "a", row="1")
    own.shop.people["storing"] = own.shop.world.hire("acme", "svc:nobody", "role:support")
    line.wait(210)
    with pytest.raises(Denied):
        local.seal(EMAIL, "b", row="1")


def test_its_uses_end_it(own):
    line, local = own.line()
    lease = local.lease(EMAIL, max_uses=3)
    line.cut = True
    for _ in range(3):
        lease.seal(EMAIL, "a", row="1")
    for _ in range(2):
        with pytest.raises(LeaseEnded, match="end of its uses"):
            lease.seal(EMAIL, "a", row="1")


def test_opening_is_a_use_too(own):
    _, local = own.line()
    lease = local.lease(EMAIL, purpose="billing", max_uses=2)
    text = lease.seal(EMAIL, "a", row="1")
    assert lease.open(EMAIL, text, row="1") == b"a"
    with pytest.raises(LeaseEnded):
        lease.open(EMAIL, text, row="1")


def test_a_request_that_fails_before_the_key_is_no_use(own):
    _, local = own.line()
    lease = local.lease(EMAIL)
    for act in (
        lambda: lease.seal(PHONE, "x", row="1"),
        lambda: lease.seal(EMAIL, "x", subject="1"),
        lambda: lease.seal(EMAIL, bytes(2**20 + 1), row="1"),
        lambda: lease.open(EMAIL, "gd1.", row="1"),
    ):
        with pytest.raises(GuardError):
            act()
    assert lease.used == 0


def test_closing_reports_and_gives_back(own):
    line, local = own.line()
    local.seal(EMAIL, "a", row="1")
    lease = local.sealing(EMAIL, "store", {"row": "1"})
    local.close()
    assert line.asked[-1][1]["ttl_seconds"] == 0
    assert line.asked[-1][1]["used"] == 1
    assert own.shop.call("keys", "leases.list").data == []
    with pytest.raises(LeaseEnded, match="given back"):
        lease.seal(EMAIL, "a", row="1")


def test_closing_away_from_the_server_still_ends_the_key(own):
    line, local = own.line()
    local.seal(EMAIL, "a", row="1")
    lease = local.sealing(EMAIL, "store", {"row": "1"})
    line.cut = True
    local.close()
    with pytest.raises(LeaseEnded):
        lease.seal(EMAIL, "a", row="1")


def test_the_server_restarts_and_nothing_is_noticed(tmp_path):
    with office(tmp_path / "home") as made:
        line, local = made.line()
        text = local.seal(EMAIL, "a", row="1")
        now_us = made.shop.world.clock.now_us
    with office(tmp_path / "home") as made:
        made.shop.world.clock.now_us = now_us + 5000
        line.shop = made.shop
        line.wait(210)
        other = local.seal(EMAIL, "b", row="1")
        assert line.names() == ["leases.create", "leases.renew"]
        assert [made.shop.open(one) for one in (text, other)] == ["a", "b"]


# bounds, threads, leaks


def test_no_more_keys_are_kept_than_the_bound(own, monkeypatch):
    monkeypatch.setattr("guard.client.local.MAX_KEPT", 3)
    line, local = own.line()
    texts = []
    for _ in range(6):
        fresh = own.line()[1]
        texts.append(fresh.seal(EMAIL, "a", row="1"))
    for text in texts:
        assert local.open(EMAIL, text, "billing", row="1") == b"a"
    assert len(local._keys._kept) == 3
    given_back = [members for name, members in line.asked if name == "leases.renew" and members["ttl_seconds"] == 0]
    assert len(given_back) == 3
    assert MAX_KEPT == 256


def test_any_number_of_threads_share_a_lease_and_its_budget(own):
    _, local = own.line()
    lease = local.lease(EMAIL, max_uses=500)
    texts, ends = [], []

    def work():
        for _ in range(200):
            try:
                texts.append(lease.seal(EMAIL, "a", row="1"))
            except LeaseEnded:
                ends.append(1)

    run_all(work, 8)
    assert (len(texts), len(ends), lease.used) == (500, 1100, 500)
    assert len(set(texts)) == 500


def test_threads_that_start_together_take_one_lease(own):
    line, local = own.line()
    run_all(lambda: [local.seal(EMAIL, "a", row="1") for _ in range(100)], 8)
    assert line.names().count("leases.create") == 1


def run_all(work, count):
    threads = [threading.Thread(target=work) for _ in range(count)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()


def test_nothing_shows_a_key(own):
    _, local = own.line()
    text = local.seal(EMAIL, "very secret", row="1")
    lease = local.sealing(EMAIL, "store", {"row": "1"})
    raw = lease._key.expose()
    shown = "".join(map(repr, (local, lease, lease._key, local._keys)))
    assert lease.id in shown
    assert str(raw) not in shown
    assert raw.hex() not in shown
    for one in (lease, lease._key):
        for act in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="not pickled"):
                act(one)
    with pytest.raises(DoesNotOpen) as caught:
        local.open(EMAIL, text[:-3] + "AAA", "billing", row="1")
    assert "very secret" not in repr(caught.value)
    lease.end("was given back")
    assert lease._key.expose() == bytes(32)


def test_an_answer_of_another_form_is_refused_without_showing_it():
    for answer in ({}, {"lease_id": "lse_1", "key": "!"}, {"key": "canary" * 8}):
        with pytest.raises(InternalError) as caught:
            Lease(answer, 0.0, lambda: 0.0)
        assert "canary" not in str(caught.value)


def test_a_key_shows_its_lease():
    assert repr(LeaseKey(bytes(32), "lse_1")) == "<LeaseKey lse_1>"


def test_the_clock_only_grows_and_counts_sleep():
    assert clock() <= clock()
    assert isinstance(LocalKeys(lambda *_: {})._keys, Keys)


# asynchronous


class TestAsync:
    def local(self, line):
        async def call(name, **members):
            await asyncio.sleep(0)
            return line(name, **members)

        return AsyncLocalKeys(call, line.now)

    def test_there_and_back_renewed_and_given_back(self, own):
        line, _ = own.line()
        local = self.local(line)

        async def work():
            text = await local.seal(EMAIL, "ana", row="1")
            assert await local.open(EMAIL, text, "billing", row="1") == b"ana"
            [other] = own.shop.seal("bob")
            assert await local.open(EMAIL, other, "billing", row="1") == b"bob"
            line.wait(210)
            both = await asyncio.gather(*(local.seal(EMAIL, "x", row="1") for _ in range(20)))
            await local.close()
            return text, both

        text, both = asyncio.run(work())
        assert own.shop.open(text) == "ana"
        assert len(set(both)) == 20
        assert line.names() == [
            "leases.create",
            "leases.create",
            "fields.decrypt",
            "leases.renew",
            "leases.renew",
            "leases.renew",
        ]

    def test_away_it_stops_at_its_time(self, own):
        line, _ = own.line()
        local = self.local(line)

        async def work():
            await local.seal(EMAIL, "a", row="1")
            line.cut = True
            line.wait(299)
            await local.seal(EMAIL, "a", row="1")
            line.wait(2)
            await local.seal(EMAIL, "a", row="1")

        with pytest.raises(LeaseEnded):
            asyncio.run(work())

    def test_tasks_that_start_together_take_one_lease(self, own):
        line, _ = own.line()
        local = self.local(line)

        async def work():
            return await asyncio.gather(*(local.seal(EMAIL, "a", row="1") for _ in range(50)))

        asyncio.run(work())
        assert line.names() == ["leases.create"]
