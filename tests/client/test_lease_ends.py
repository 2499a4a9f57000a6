"""The ends of leases that are easily missed: a fork, a use between report and end, openings alone, a changed policy."""

import asyncio
import base64
import os
import threading

import pytest

from guard.client.lease import Lease
from guard.client.local import AsyncLocalKeys, LocalKeys
from guard.errors import GuardError, InternalError, LeaseEnded
from tests.client.leasing import EMAIL, office
from tests.vault.clinic import NOTE, POLICY
from tests.vault.shop import policies_with

ROW = {"row": "1"}


@pytest.fixture
def own(tmp_path):
    with office(tmp_path / "home") as made:
        yield made


def in_a_fork(act):
    """What *act* gives in a forked process, as text."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        said = "another error"
        try:
            said = str(act())
        except GuardError as error:
            said = f"{type(error).__name__}: {error.detail}"
        finally:  # whatever fails, a child must not go on as a second run of the tests
            os.write(writing, said.encode())
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read().decode()
    os.waitpid(child, 0)
    return said


class TestForked:
    """Two processes that count alone would spend one budget twice, and give back what the other still uses."""

    @pytest.mark.parametrize(
        "act",
        [
            lambda lease, _: lease.seal(EMAIL, "x", **ROW),
            lambda lease, text: lease.open(EMAIL, text, **ROW),
            lambda lease, _: lease.check(),
            lambda lease, _: lease.encryptor(EMAIL, ROW),
        ],
        ids=["seal", "open", "check", "encryptor"],
    )
    def test_a_lease_of_the_parent_is_refused(self, own, act):
        _, local = own.line()
        lease = local.lease(EMAIL, purpose="billing")
        text = lease.seal(EMAIL, "a", **ROW)
        said = in_a_fork(lambda: act(lease, text))
        assert said.startswith("LeaseEnded")
        assert "of another process" in said
        assert lease.open(EMAIL, text, **ROW) == b"a"

    def test_it_shows_as_unusable_and_its_key_is_overwritten_there_alone(self, own):
        lease = own.line()[1].lease(EMAIL)

        def tried():
            with pytest.raises(LeaseEnded):
                lease.check()
            return lease.usable(), lease._key.expose() == bytes(32)

        assert in_a_fork(tried) == "(False, True)"
        assert lease.usable()
        assert lease._key.expose() != bytes(32)

    def test_kept_keys_are_not_taken_along(self, own):
        line, local = own.line()
        local.seal(EMAIL, "a", **ROW)
        line.cut = True
        assert in_a_fork(lambda: local.seal(EMAIL, "b", **ROW)).startswith("Unreachable")
        assert local.seal(EMAIL, "c", **ROW)

    def test_closing_there_gives_nothing_of_the_parents_back(self, own):
        line, local = own.line()
        local.seal(EMAIL, "a", **ROW)

        def closed():
            local.close()
            return line.names()

        assert in_a_fork(closed) == "['leases.create']"

    def test_a_lock_that_a_thread_held_is_no_lock_there(self, own):
        line, local = own.line()
        local.seal(EMAIL, "a", **ROW)
        line.cut = True
        with local._asking, local._keys._lock:
            said = in_a_fork(lambda: local.seal(EMAIL, "b", **ROW))
        assert said.startswith("Unreachable")

    def test_a_lock_of_the_lease_is_none_either(self, own):
        lease = own.line()[1].lease(EMAIL)
        with lease._lock:
            assert "of another process" in in_a_fork(lambda: lease.seal(EMAIL, "b", **ROW))

    def test_keys_of_an_event_loop_are_not_taken_along(self, own):
        line, _ = own.line()

        async def call(name, **members):
            return line(name, **members)

        local = AsyncLocalKeys(call, line.now)
        asyncio.run(local.seal(EMAIL, "a", **ROW))
        line.cut = True
        assert in_a_fork(lambda: asyncio.run(local.seal(EMAIL, "b", **ROW))).startswith("Unreachable")


# no use after its count


class Slow:
    """A line on which somebody uses the lease while its last report is under way."""

    def __init__(self, line):
        self.line, self.lease, self.ended = line, None, []

    def __call__(self, name, **members):
        if name == "leases.renew" and members["ttl_seconds"] == 0:
            try:
                self.lease.seal(EMAIL, "between", **ROW)
            except LeaseEnded as error:
                self.ended.append(error.detail)
        return self.line(name, **members)


def test_between_the_last_report_and_the_end_nothing_is_sealed(own):
    line, _ = own.line()
    slow = Slow(line)
    local = LocalKeys(slow, line.now)
    slow.lease = local.sealing(EMAIL, "store", ROW)
    local.seal(EMAIL, "a", **ROW)
    local.close()
    assert len(slow.ended) == 1
    assert line.asked[-1][1]["used"] == slow.lease.used == 1


def test_who_is_put_out_by_others_seals_nothing_after_the_report(own, monkeypatch):
    monkeypatch.setattr("guard.client.local.MAX_KEPT", 1)
    line, _ = own.line()
    slow = Slow(line)
    local = LocalKeys(slow, line.now)
    slow.lease = local.sealing(EMAIL, "store", ROW)
    local.sealing(EMAIL, "billing", ROW)
    assert "put out by others" in slow.ended[0]
    assert line.asked[-1][1]["used"] == slow.lease.used == 0


# openings alone


def opened_for(own, line, local, seconds, step):
    """A value that is sealed once and opened again and again."""
    text = local.seal(EMAIL, "a", purpose="billing", **ROW)
    for _ in range(seconds // step):
        line.wait(step)
        assert local.open(EMAIL, text, "billing", **ROW) == b"a"


def test_who_only_opens_what_he_sealed_renews_his_lease_and_takes_no_other(own):
    line, local = own.line()
    opened_for(own, line, local, 3000, 50)
    assert set(line.names()) == {"leases.create", "leases.renew"}
    assert line.names().count("leases.create") == 1
    assert own.shop.call("keys", "leases.list").data[0].used > 40


def test_who_only_opens_reports_in_blocks(own):
    line, local = own.line()
    text = local.seal(EMAIL, "a", purpose="billing", **ROW)
    for _ in range(2600):
        local.open(EMAIL, text, "billing", **ROW)
    assert [members["used"] for name, members in line.asked if name == "leases.renew"] == [1250, 2500]


def test_who_only_opens_is_told_of_a_revocation(own):
    line, local = own.line()
    text = local.seal(EMAIL, "a", purpose="billing", **ROW)
    own.shop.call("keys", "leases.revoke", field=EMAIL)
    line.wait(210)
    assert local.open(EMAIL, text, "billing", **ROW) == b"a"  # by a lease of his own for the value
    assert line.names() == ["leases.create", "leases.renew", "leases.create"]
    assert line.asked[-1][1]["start"]


def test_in_an_event_loop_who_only_opens_renews_once_for_all(own):
    line, _ = own.line()

    async def call(name, **members):
        await asyncio.sleep(0)
        return line(name, **members)

    async def work():
        local = AsyncLocalKeys(call, line.now)
        text = await local.seal(EMAIL, "a", purpose="billing", **ROW)
        line.wait(210)
        many = await asyncio.gather(*(local.open(EMAIL, text, "billing", **ROW) for _ in range(20)))
        own.shop.call("keys", "leases.revoke", field=EMAIL)
        line.wait(210)
        return [*many, await local.open(EMAIL, text, "billing", **ROW)]

    assert set(asyncio.run(work())) == {b"a"}
    assert line.names() == ["leases.create", "leases.renew", "leases.renew", "leases.create"]


# a changed policy


def test_a_field_whose_keys_become_persons_and_cease_to_be(tmp_path):
    """The client learns it from the refusal, in either direction, and goes on."""
    plain = POLICY.replace("purposes: [billing], keyed_by: subject}", "purposes: [billing]}")
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    cell = {"row": "1", "subject": "u-1"}
    with office(tmp_path / "a" / "home", policies=policies_with(tmp_path / "a", "patients.yaml", POLICY)) as made:
        line, local = made.line()
        local.seal(NOTE, "a", **cell)
        with office(tmp_path / "b" / "home", policies=policies_with(tmp_path / "b", "patients.yaml", plain)) as other:
            line.shop, keyed = other.shop, line.shop
            asked = len(line.asked)
            text = local.seal(NOTE, "b", **(cell | {"subject": "u-2"}))
            assert [members.get("subject") for _, members in line.asked[asked:]] == ["u-2", None]
            assert local.open(NOTE, text, "billing", row="1", subject="u-2") == b"b"
            line.shop, asked = keyed, len(line.asked)
            local.close()
            local.seal(NOTE, "c", **cell)
            created = [members for name, members in line.asked[asked:] if name == "leases.create"]
            assert [members.get("subject") for members in created] == [None, "u-1"]


# answers of another form

ANSWER = {
    "lease_id": "lse_1",
    "tenant": "acme",
    "key": base64.b64encode(bytes(range(32))).decode(),
    "purpose": "store",
    "opens": False,
    "ttl_seconds": 300,
    "max_uses": 10,
}
FIELD = {"field": EMAIL, "table": "customers", "column": "email", "bind": ["row"], "pad_step": 0}
START = base64.b64encode(bytes.fromhex("47010700") + bytes(132)).decode()


def answer(**changed):
    return {**ANSWER, "fields": [{**FIELD, "start": START}], **changed}


def test_the_answer_that_the_others_differ_from_is_taken():
    assert Lease(answer(), 0.0, lambda: 0.0).seal(EMAIL, "x", row="1").startswith("gd1.RwEH")


@pytest.mark.parametrize(
    "changed",
    [
        *({"key": base64.b64encode(bytes(size)).decode()} for size in (0, 1, 16, 31, 33, 64)),
        *(
            {"fields": [{**FIELD, "start": base64.b64encode(bytes(size)).decode()}]}
            for size in (0, 16, 135, 137, 138, 200)
        ),
        {"key": "****"},
        {"key": ANSWER["key"] + "\n"},
        {"key": ANSWER["key"].rstrip("=")},
        {"fields": [FIELD]},
        {"fields": 5},
        {"ttl_seconds": "soon"},
        {"max_uses": None},
    ],
    ids=str,
)
def test_an_answer_whose_parts_have_another_size_is_refused(changed):
    with pytest.raises(InternalError) as caught:
        Lease(answer(**changed), 0.0, lambda: 0.0)
    assert ANSWER["key"][:20] not in repr(caught.value)
    assert caught.value.__cause__ is None


def test_each_thread_that_waits_for_the_first_lease_gets_it(own):
    line, local = own.line()
    gate, texts = threading.Barrier(8), []

    def work():
        gate.wait()
        texts.append(local.seal(EMAIL, "a", purpose="billing", **ROW))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert line.names() == ["leases.create"]
    assert {local.open(EMAIL, text, "billing", **ROW) for text in texts} == {b"a"}
