"""96-bit nonces: the counter near its limits, after a crash, in a fork, on a cloned disk and on a rolled-back row."""

import hashlib
import hmac
import multiprocessing
import os
import secrets
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from guard.db.engine import open_store
from guard.errors import BodyTooLarge, DoesNotOpen, InternalError, KeyStateConflict
from guard.vault import counter_store, gcm96, suites
from guard.vault.envelope import ENVELOPE_SUITES, SuiteId
from guard.vault.gcm96 import BLOCK, REFUSE_AT, ROTATE_AT, Block, Counter, Sealer, next_block, nonce_for

KEY, NONCE_KEY = bytes(range(32)), bytes(range(32, 64))
KEY_ID = b"\1" * 8


def same_randomness(size):
    """The random source of two clones of one running machine."""
    return bytes(size)


def on_disk(path, random=secrets.token_bytes):
    """A sealer whose blocks are rows of the database at *path*; each reservation is a transaction of its own."""
    store = open_store(path)

    def reserve():
        with store.write() as tx:
            return counter_store.reserve(tx, KEY_ID, 0)

    return store, Counter(reserve), lambda counter: Sealer(KEY, NONCE_KEY, counter, random)


def reserved(path):
    store = open_store(path)
    with store.read() as tx:
        found = counter_store.reserved(tx, KEY_ID)
    store.close()
    return found


def set_counter(path, number):
    store = open_store(path)
    with store.write() as tx:
        tx.exec_driver_sql("INSERT OR REPLACE INTO gcm_counters VALUES (?, ?, 0)", (KEY_ID, number))
    store.close()


def test_the_nonce_is_what_its_description_says():
    random, associated, plaintext = bytes(range(32)), b"context", b"alice@example.com"
    message = (7).to_bytes(8, "big") + random + len(associated).to_bytes(4, "big") + associated + plaintext
    expected = hmac.new(NONCE_KEY, message, hashlib.sha256).digest()[:12]
    assert nonce_for(NONCE_KEY, 7, random, associated, plaintext) == expected


def test_a_body_is_plain_gcm_that_other_systems_open():
    sealer = Sealer(KEY, NONCE_KEY, Counter(lambda: Block(0, 10)), secrets.token_bytes)
    body = sealer.seal(b"aad", b"value")
    assert len(body) == 28 + 5
    assert AESGCM(KEY).decrypt(body[:12], body[12:], b"aad") == b"value"
    assert gcm96.open_body(KEY, b"aad", body) == b"value"


def test_every_flipped_bit_and_every_cut():
    body = Sealer(KEY, NONCE_KEY, Counter(lambda: Block(0, 10)), secrets.token_bytes).seal(b"aad", b"value")
    changed = [
        bytes(b ^ (1 << bit % 8 if at == bit // 8 else 0) for at, b in enumerate(body)) for bit in range(len(body) * 8)
    ]
    for bad in (*changed, *(body[:size] for size in range(len(body))), body + b"\0"):
        with pytest.raises(DoesNotOpen) as caught:
            gcm96.open_body(KEY, b"aad", bad)
        assert caught.value.detail == suites.DOES_NOT_OPEN
    for key, associated in ((NONCE_KEY, b"aad"), (KEY, b"aae"), (KEY, b"")):
        with pytest.raises(DoesNotOpen):
            gcm96.open_body(key, associated, body)


def test_it_is_no_suite_of_fields_and_has_no_envelope():
    assert SuiteId.GCM96 not in suites.SUITES
    assert SuiteId.GCM96 not in ENVELOPE_SUITES
    assert "gcm96" not in suites.BY_NAME


@given(st.integers(0, REFUSE_AT - 1))
def test_blocks_follow_one_another_and_end_at_the_limit(number):
    block = next_block(number)
    assert block.first == number
    assert block.end == min(number + BLOCK, REFUSE_AT)


def test_the_last_numbers_are_given_and_none_after_them():
    reserve = iter([next_block(REFUSE_AT - 3)])
    counter = Counter(lambda: next(reserve, None) or next_block(REFUSE_AT))
    assert [counter.take() for _ in range(3)] == [REFUSE_AT - 3, REFUSE_AT - 2, REFUSE_AT - 1]
    for _ in range(3):
        with pytest.raises(KeyStateConflict, match="rotate the key"):
            counter.take()


def test_a_reservation_that_lies_is_refused():
    with pytest.raises(KeyStateConflict):
        Counter(lambda: Block(REFUSE_AT, REFUSE_AT + 5)).take()


@pytest.mark.parametrize("number", [REFUSE_AT, REFUSE_AT + 1, 1 << 63])
def test_no_block_begins_at_the_limit(number):
    with pytest.raises(KeyStateConflict, match="4294967296"):
        next_block(number)


@pytest.mark.parametrize(
    ("first", "due"), [(0, False), (ROTATE_AT - 2, False), (ROTATE_AT - 1, True), (ROTATE_AT, True)]
)
def test_rotation_is_due_at_half_of_the_limit(first, due):
    counter = Counter(lambda: Block(first, first + 10))
    counter.take()
    assert counter.due is due
    counter.take()  # due is not refused


def test_the_block_is_durable_before_its_first_number_is_used(tmp_path):
    path = tmp_path / "guard.db"
    store, counter, _sealer = on_disk(path)
    seen = []

    def random(size):
        seen.append(reserved(path))  # asked between the reservation and the sealing
        return secrets.token_bytes(size)

    Sealer(KEY, NONCE_KEY, counter, random).seal(b"", b"x")
    assert seen == [BLOCK]
    store.close()


def test_near_the_limit_on_disk(tmp_path):
    path = tmp_path / "guard.db"
    set_counter(path, REFUSE_AT - 2)
    store, counter, make = on_disk(path)
    sealer = make(counter)
    assert len({sealer.seal(b"", b"x")[:12] for _ in range(2)}) == 2
    with pytest.raises(KeyStateConflict, match="rotate the key"):
        sealer.seal(b"", b"x")
    store.close()
    store, counter, make = on_disk(path)  # a restart gives no number back
    with pytest.raises(KeyStateConflict):
        make(counter).seal(b"", b"x")
    store.close()


CRASH = """
import os, signal, sys
from pathlib import Path
from tests.vault.test_gcm96 import on_disk
store, counter, make = on_disk(Path(sys.argv[1]))
for number in range(5):
    print(counter.take(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_block_lost_in_a_crash_is_skipped_and_never_given_again(tmp_path):
    path, given_out = tmp_path / "guard.db", []
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", CRASH, path], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == -signal.SIGKILL
        given_out += [int(line) for line in done.stdout.split()]
    assert given_out == [start * BLOCK + number for start in range(3) for number in range(5)]


def fork_seals(sealer, message, queue):
    queue.put(sealer.seal(b"aad", message))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this machine has no fork")
def test_a_fork_repeats_a_nonce_for_an_identical_message_only():
    sealer = Sealer(KEY, NONCE_KEY, Counter(lambda: Block(0, 10)), same_randomness)
    sealer.seal(b"", b"first")
    fork = multiprocessing.get_context("fork")
    queue = fork.Queue()
    messages = [b"one", b"two", b"two"]
    bodies = []
    for message in messages:  # each child begins with the same number and the same random bytes
        child = fork.Process(target=fork_seals, args=(sealer, message, queue))
        child.start()
        bodies.append(queue.get(timeout=30))
        child.join(30)
    assert bodies[0][:12] != bodies[1][:12]
    assert bodies[1] == bodies[2]


@pytest.mark.parametrize("how", ["cloned disk", "rolled-back row"])
def test_a_counter_that_went_back_serves_no_nonce_to_two_messages(tmp_path, how):
    """Both machines draw the same random bytes and the same numbers: the worst that a snapshot can do."""
    path, copy = tmp_path / "guard.db", tmp_path / "copy.db"
    set_counter(path, 0)
    if how == "cloned disk":
        shutil.copy(path, copy)
    seen = {}
    for where, word in ((path, b"a"), (copy if how == "cloned disk" else path, b"b")):
        set_counter(where, 0)
        store, counter, make = on_disk(where, same_randomness)
        sealer = make(counter)
        for number in range(200):
            for associated in (b"x", b"y"):
                message = word if number % 2 else b"same"
                nonce = sealer.seal(associated, message)[:12]
                assert seen.setdefault(nonce, (associated, message)) == (associated, message)
        store.close()
    assert len(seen) < 800  # identical messages did meet, so the test was one


def test_length_prefix_keeps_associated_data_and_plaintext_apart():
    one = nonce_for(NONCE_KEY, 1, bytes(32), b"ab", b"c")
    assert one != nonce_for(NONCE_KEY, 1, bytes(32), b"a", b"bc")


def test_threads_get_different_numbers():
    blocks = iter([Block(start, start + 50) for start in range(0, 50_000, 50)])
    counter = Counter(lambda: next(blocks))
    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(lambda _: counter.take(), range(4000)))
    assert sorted(numbers) == list(range(4000))


def test_two_processes_on_one_database_get_different_blocks(tmp_path):
    path = tmp_path / "guard.db"
    one, first, _ = on_disk(path)
    other, second, _ = on_disk(path)
    assert {first.take() // BLOCK, second.take() // BLOCK} == {0, 1}
    one.close()
    other.close()


@pytest.mark.parametrize(("key", "nonce_key"), [(bytes(16), NONCE_KEY), (KEY, bytes(31)), (KEY, KEY)])
def test_keys_that_are_no_two_keys(key, nonce_key):
    with pytest.raises(InternalError, match="two different keys"):
        Sealer(key, nonce_key, Counter(lambda: Block(0, 1)), secrets.token_bytes)


def test_wrong_sizes_are_refused():
    sealer = Sealer(KEY, NONCE_KEY, Counter(lambda: Block(0, 10)), secrets.token_bytes)
    with pytest.raises(BodyTooLarge):
        sealer.seal(b"", bytes((1 << 20) + 1))
    for counter, random in ((REFUSE_AT, bytes(32)), (-1, bytes(32)), (0, bytes(31))):
        with pytest.raises(InternalError):
            nonce_for(NONCE_KEY, counter, random, b"", b"")
    with pytest.raises(InternalError):
        gcm96.open_body(bytes(16), b"", bytes(28))
    with pytest.raises(InternalError):
        next_block(-1)
