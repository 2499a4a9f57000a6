"""Time-stamps by a real authority: kept with the exact bytes, checked by openssl too, and refused when anything is off."""

import contextlib
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from guard.audit import stamp_store
from guard.audit.anchor_settings import Authority
from guard.audit.rounds import Rounds
from guard.audit.verifier.command import verify
from guard.catalogue import PLATFORM
from guard.errors import Conflict, InvalidSetting, NotFound, Unreachable, VerificationFailed
from tests.audit.authority import AuthorityServer
from tests.world import world

NOTE = "guard.local/guard/main\n5\nAAAA\n\n— a signature\n"


@pytest.fixture(scope="module")
def authority(need, tmp_path_factory):
    server = AuthorityServer(tmp_path_factory.mktemp("tsa") / "here", need("openssl"))
    yield server
    server.close()


@pytest.fixture(autouse=True)
def honest(authority):
    authority.spoil, authority.status = (lambda answer: answer), 200


@pytest.fixture(scope="module")
def stranger(need, tmp_path_factory):
    server = AuthorityServer(tmp_path_factory.mktemp("tsa") / "elsewhere", need("openssl"))
    yield server
    server.close()


@pytest.fixture
def place(tmp_path, authority):
    table = {"name": "local", "url": authority.url, "chain": str(authority.chain), "minutes": 30}
    with world(tmp_path / "home", time_stamps=(table,)) as made:
        yield made


def rows(place):
    with place.guard.store.read() as tx:
        return stamp_store.stamps(tx)


def test_the_latest_checkpoint_is_stamped_and_kept_as_it_was_published(place, authority, tmp_path):
    view = place.call("checkpoints.publish")
    before = time.time()
    stamped = place.call("checkpoints.stamp", authority="local")
    assert stamped.size == view.size
    assert abs(stamped.time_us / 1e6 - before) < 60
    (row,) = rows(place)
    assert (row.kind, row.size, row.note, row.status, row.time_us) == (
        "rfc3161:local",
        view.size,
        view.note,
        "verified",
        stamped.time_us,
    )
    (authority.folder / "kept.tsr").write_bytes(row.proof)
    (authority.folder / "kept.note").write_bytes(row.note.encode())
    said = authority.run("ts", "-verify", "-data", "kept.note", "-in", "kept.tsr", "-CAfile", "root.pem")
    assert "Verification: OK" in said
    assert stamp_store.verify(row.note, row.proof, stamp_store.chain_of(authority.chain)) == row.time_us


def test_the_record_says_that_it_happened_before_and_after(place):
    place.call("checkpoints.publish")
    place.call("checkpoints.stamp", authority="local")
    auditor = place.hire(PLATFORM, "user:local|auditor", "role:auditor")
    found = place.call("records.list", auditor, action="checkpoints.stamp").data
    assert [one.phase for one in found] == ["outcome", "intent"]


def flipped(answer, at):
    return answer[:at] + bytes([answer[at] ^ 1]) + answer[at + 1 :]


def test_a_token_with_any_byte_flipped_is_none_for_these_bytes(authority):
    query = stamp_store.request(NOTE)
    answer = authority.answer(query.as_bytes())
    chain = stamp_store.chain_of(authority.chain)
    assert stamp_store.verify(NOTE, answer, chain, query)
    passed = []
    for at in range(0, len(answer), 7):
        with contextlib.suppress(VerificationFailed):
            stamp_store.verify(NOTE, flipped(answer, at), chain, query)
            passed.append(at)
    # The certificates that travel along are not under the signature, nor is the text of the status: a change there
    # changes nothing that the token says. What it says is under it, so the imprint and the time are among the refused.
    assert len(passed) < len(range(0, len(answer), 7)) / 2, passed
    for part in (answer.index(b"\x18\x0f20"), answer.index(__import__("hashlib").sha256(NOTE.encode()).digest())):
        for at in range(part, part + 12):
            with pytest.raises(VerificationFailed):
                stamp_store.verify(NOTE, flipped(answer, at), chain, query)


def test_a_token_over_other_bytes_of_another_chain_or_of_before_is_refused(authority, stranger):
    query = stamp_store.request(NOTE)
    answer = authority.answer(query.as_bytes())
    chain = stamp_store.chain_of(authority.chain)
    with pytest.raises(VerificationFailed):
        stamp_store.verify(NOTE.replace("5", "6"), answer, chain, query)
    with pytest.raises(VerificationFailed):
        stamp_store.verify(NOTE, answer, stamp_store.chain_of(stranger.chain), query)
    with pytest.raises(VerificationFailed):  # replayed: the nonce is that of another question
        stamp_store.verify(NOTE, answer, chain, stamp_store.request(NOTE))
    for nonsense in (b"", b"\x30\x00", b"nonsense", answer[:200]):
        with pytest.raises(VerificationFailed):
            stamp_store.verify(NOTE, nonsense, chain, query)


@pytest.mark.parametrize(
    ("spoil", "status", "kind"),
    [
        (lambda answer: flipped(answer, len(answer) - 5), 200, VerificationFailed),
        (lambda _answer: b"", 200, VerificationFailed),
        (lambda answer: answer, 500, Unreachable),
        (lambda answer: answer, 302, Unreachable),
        (lambda _answer: b"x" * 100_000, 200, Unreachable),
    ],
    ids=["tampered", "empty", "refused", "sent elsewhere", "endless"],
)
def test_what_does_not_verify_is_not_kept_and_is_recorded_as_refused(place, authority, spoil, status, kind):
    place.call("checkpoints.publish")
    authority.spoil, authority.status = spoil, status
    with pytest.raises(kind):
        place.call("checkpoints.stamp", authority="local")
    assert rows(place) == []
    auditor = place.hire(PLATFORM, "user:local|auditor", "role:auditor")
    assert place.call("records.list", auditor, action="checkpoints.stamp").data[0].status == "refused"


def test_no_authority_no_checkpoint_no_chain_are_named(place, tmp_path):
    with pytest.raises(Conflict, match="checkpoint"):
        place.call("checkpoints.stamp", authority="local")
    with pytest.raises(NotFound, match="nobody"):
        place.call("checkpoints.stamp", authority="nobody")
    with pytest.raises(InvalidSetting, match="root"):
        stamp_store.chain_of(tmp_path / "none.pem")
    with pytest.raises(Unreachable, match="local"):
        stamp_store.ask(Authority("local", "http://127.0.0.1:9/", "c"), stamp_store.request(NOTE))


def test_an_authority_that_sends_a_byte_at_a_time_is_given_up(monkeypatch):
    monkeypatch.setattr(stamp_store, "TIMEOUT_SECONDS", 1)
    done = threading.Event()

    def drip(listener):
        connection, _ = listener.accept()
        with connection, suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
            while not done.wait(0.2):
                connection.sendall(b"0")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=drip, args=(listener,))
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        with pytest.raises(Unreachable, match="within 1 s"):
            stamp_store.ask(Authority("local", url, "c"), stamp_store.request(NOTE))
        done.set()
        thread.join()


def test_the_loop_stamps_once_in_its_minutes_and_tries_again_after_a_minute(place, authority):
    rounds = place.guard.gate._doors.parts[Rounds]

    def beat():
        return place.beat("checkpoints.stamp", lambda now: rounds.stamps(now, place.guard.log.size))

    place.call("checkpoints.publish")
    authority.status = 500
    assert beat() == 0
    authority.status = 200
    assert beat() == 0
    place.clock.advance(61)
    assert beat() == 1
    place.clock.advance(29 * 60)
    assert beat() == 0
    place.clock.advance(3 * 60)
    place.call("checkpoints.publish")
    assert beat() == 1
    assert len(rows(place)) == 2


def test_a_stamp_is_listed_and_does_not_count_against_a_rollback(place):
    place.call("checkpoints.publish")
    place.call("checkpoints.stamp", authority="local")
    auditor = place.hire(PLATFORM, "user:local|auditor", "role:auditor")
    (listed,) = place.call("anchors.list", auditor).data
    assert (listed.kind, listed.counts) == ("rfc3161:local", False)
    assert "own database" in listed.remark
    assert listed.time_us


def test_a_bundle_carries_the_stamp_with_its_chain(place, authority):
    auditor = place.hire(PLATFORM, "user:local|auditor", "role:auditor")
    place.call("actors.whoami", place.hire("acme", "user:local|ana", "role:support"))
    place.call("checkpoints.publish")
    place.call("checkpoints.stamp", authority="local")
    index = place.call("records.list", auditor, tenant="acme").data[0].index
    view = place.call("evidence.create", auditor, matter="case-1", tenant="acme", indexes=[index])
    path = place.call("evidence.download", auditor, matter="case-1", evidence=view.id, tenant="acme").path
    for options in ({}, {"tsa_ca": authority.chain.read_bytes()}):
        report = verify(Path(path), **options)
        assert (report.faults, report.counts["stamps"], report.unchecked) == ([], 1, [])
