"""Rewrapping of keys that came from other systems: the wrap moves and nothing else does, in whichever state a key is."""

import sqlite3
from contextlib import closing

import pytest
import tink

from guard.catalogue import Actor
from guard.errors import KeyStateConflict, NotFound, StoreDamaged
from guard.vault.gcm96 import REFUSE_AT
from tests.vault.movers import Movers, enc
from tests.vault.shop import code_of, world
from tests.vault.test_imports import TEMPLATES, clear, each_kind, theirs, theirs_opened, there

OLD, NEW = 1, 2
FIXED = "SELECT name, key_id, body, request, asked_by, approved_by, removal_by FROM imported_keys ORDER BY tenant, name"
WRAPS = "SELECT name, kek_version, wrapped FROM imported_keys WHERE tenant = 'acme' ORDER BY name"


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


@pytest.fixture
def movers(home):
    with world(home) as made:
        yield Movers(made)


def rows_of(home, statement):
    with closing(sqlite3.connect(home / "guard.db")) as db:
        return db.execute(statement).fetchall()


def change(home, statement, *values):
    with closing(sqlite3.connect(home / "guard.db")) as db, db:
        assert db.execute(statement, values).rowcount > 0


def rewrap(movers, **members):
    return movers.call("keys", "keys.rewrap", **members)


def counted(view, what="imported_keys"):
    return {one.kek_version: one.count for one in view.counts if one.what == what}


def fresh(kind="aes256_gcm"):
    return tink.new_keyset_handle(TEMPLATES[kind])


@each_kind
def test_their_ciphertexts_open_under_the_new_kek_and_after_a_restart(home, kind):
    handle = fresh(kind)
    theirs_before = enc(theirs(handle, kind, b"theirs", b"row 1"))
    with world(home) as made:
        movers = Movers(made)
        movers.bring("old.system", clear(handle))
        ours = enc(movers.sealed("old.system", b"ours", associated=b"row 1")[0])
        view = rewrap(movers, fresh=True)
        assert (view.left, view.ended, counted(view)) == (0, [OLD], {NEW: 1})
        items = [{"ciphertext": one, "associated_data": enc(b"row 1")} for one in (theirs_before, ours)]
        assert movers.opened("old.system", *items) == [enc(b"theirs"), enc(b"ours")]
    with world(home) as made:
        movers = Movers(made)
        assert movers.opened("old.system", *items) == [enc(b"theirs"), enc(b"ours")]
        after = movers.sealed("old.system", b"after")[0]
        assert theirs_opened(handle, kind, after, b"") == b"after"
        back = there(movers.take_out("old.system"))
        assert theirs_opened(back, kind, after, b"") == b"after"


def test_only_the_wrap_is_another(home, movers):
    for name in ("one", "two"):
        movers.bring(name, clear(fresh()))
    fixed, before = rows_of(home, FIXED), rows_of(home, WRAPS)
    rewrap(movers, fresh=True)
    after = rows_of(home, WRAPS)
    assert rows_of(home, FIXED) == fixed
    assert [(name, version) for name, version, _ in after] == [("one", NEW), ("two", NEW)]
    assert not {wrap for *_, wrap in before} & {wrap for *_, wrap in after}
    assert {len(wrap) for *_, wrap in after} == {len(wrap) for *_, wrap in before}


def test_a_key_that_waits_for_its_second_person_moves_too_and_is_approved_afterwards(movers):
    handle = fresh("xaes")
    asked = movers.call("keys", "keys.import", key="waits", format="tink", material=clear(handle))
    assert counted(rewrap(movers, fresh=True)) == {NEW: 1}
    movers.call("second", "keys.approve_import", key="waits", request=asked.request)
    assert theirs_opened(handle, "xaes", movers.sealed("waits", b"x")[0], b"") == b"x"


def test_a_key_that_is_about_to_go_moves_and_then_goes(home, movers):
    movers.bring("leaves", clear(fresh()))
    movers.call("keys", "imported_keys.remove", key="leaves")
    assert counted(rewrap(movers, fresh=True)) == {NEW: 1}
    movers.call("second", "imported_keys.remove", key="leaves")
    assert rows_of(home, "SELECT count(*) FROM imported_keys") == [(0,)]
    assert counted(rewrap(movers)) == {}


def test_a_key_that_was_removed_keeps_no_old_kek_alive(home, movers):
    movers.call("keys", "keys.import", key="withdrawn", format="tink", material=clear(fresh()))
    movers.call("keys", "imported_keys.remove", key="withdrawn")
    assert rewrap(movers, fresh=True).ended == [OLD]
    assert rows_of(home, "SELECT length(wrapped) FROM tenant_keks WHERE tenant = 'acme' ORDER BY version")[0] == (0,)


def test_a_keyset_that_wraps_keysets_opens_them_still(movers):
    kek = fresh("aes256_gcm")
    movers.bring("their.kek", clear(kek), use="keysets")
    rewrap(movers, fresh=True)
    inner = fresh("xaes")
    text = tink.json_proto_keyset_format.serialize_encrypted(inner, kek.primitive(tink.aead.Aead), b"")
    assert (
        movers.call("keys", "keys.import", key="inner", format="tink", material=text, kek="their.kek").state == "live"
    )
    assert theirs_opened(inner, "xaes", movers.sealed("inner", b"x")[0], b"") == b"x"


def test_the_count_of_messages_goes_on_where_it_was(movers):
    """It hangs on the key itself; were it bound to the wrap, a rewrap would let nonces of 96 bits run twice as far."""
    movers.bring("nearly.full", clear(fresh()), sealed_before=REFUSE_AT - 1)
    rewrap(movers, fresh=True)
    with pytest.raises(KeyStateConflict, match="at most 1 messages more"):
        movers.sealed("nearly.full", b"1", b"2")
    assert [one.sealed for one in movers.versions("nearly.full")] == [REFUSE_AT - 1]


def test_small_steps_and_a_restart_between_come_to_the_same_end(home):
    handles, seen = {f"key.{number}": fresh("xaes") for number in range(4)}, []

    def all_serve(movers):
        for name, handle in handles.items():
            assert theirs_opened(handle, "xaes", movers.sealed(name, b"x")[0], b"") == b"x"

    with world(home) as made:
        movers = Movers(made)
        for name, handle in handles.items():
            movers.bring(name, clear(handle))
        rewrap(movers, fresh=True, rows=1)
        while len(seen) < 2:
            view = rewrap(movers, rows=1)
            seen += [counted(view)] if len(counted(view)) > 1 else []
            all_serve(movers)
    with world(home) as made:
        movers = Movers(made)
        all_serve(movers)
        while view.left:
            view = rewrap(movers, rows=1)
        all_serve(movers)
    assert seen == [{OLD: 3, NEW: 1}, {OLD: 2, NEW: 2}]
    assert (counted(view), view.ended) == ({NEW: 4}, [OLD])


def test_a_key_that_comes_in_the_middle_is_under_the_new_kek_at_once(home, movers):
    movers.bring("before", clear(fresh()))
    rewrap(movers, fresh=True, rows=1)
    movers.bring("during", clear(fresh()))
    assert [(name, version) for name, version, _ in rows_of(home, WRAPS)] == [("before", OLD), ("during", NEW)]
    assert rewrap(movers).left == 0
    for name in ("before", "during"):
        assert movers.opened(name, {"ciphertext": enc(movers.sealed(name, b"x")[0])}) == [enc(b"x")]


def test_a_keyset_turned_in_the_middle_keeps_both_of_its_keys(movers):
    handle = fresh("xaes")
    movers.bring("turned", clear(handle))
    rewrap(movers, fresh=True, rows=1)
    before = movers.sealed("turned", b"before")[0]
    movers.call("keys", "imported_keys.rotate", key="turned")
    rewrap(movers)
    after = movers.sealed("turned", b"after")[0]
    assert movers.opened("turned", {"ciphertext": enc(before)}, {"ciphertext": enc(after)}) == [
        enc(b"before"),
        enc(b"after"),
    ]
    with pytest.raises(tink.TinkError):
        theirs_opened(handle, "xaes", after, b"")


def test_the_same_name_in_another_tenant_is_another_key_and_stays(home, movers):
    other = Movers(movers.world, "globex")
    movers.bring("shared.name", clear(fresh("xaes")))
    theirs_ = fresh("xaes")
    other.bring("shared.name", clear(theirs_))
    before = rows_of(home, "SELECT kek_version, wrapped FROM imported_keys WHERE tenant = 'globex'")
    rewrap(movers, fresh=True)
    assert rows_of(home, "SELECT kek_version, wrapped FROM imported_keys WHERE tenant = 'globex'") == before
    assert theirs_opened(theirs_, "xaes", other.sealed("shared.name", b"x")[0], b"") == b"x"


@pytest.mark.parametrize("at", [0, 11, 40, -1])
def test_a_damaged_wrap_stops_it_and_nothing_is_replaced(home, movers, at):
    for name in ("broken", "sound"):
        movers.bring(name, clear(fresh()))
    [(wrapped,)] = rows_of(home, "SELECT wrapped FROM imported_keys WHERE name = 'broken'")
    bad = bytearray(wrapped)
    bad[at] ^= 1
    change(home, "UPDATE imported_keys SET wrapped = ? WHERE name = 'broken'", bytes(bad))
    before = rows_of(home, WRAPS)
    with pytest.raises(Exception, match=r"."):
        rewrap(movers, fresh=True)
    assert rows_of(home, WRAPS) == before
    assert rows_of(home, "SELECT version FROM tenant_keks WHERE tenant = 'acme'") == [(OLD,)]
    change(home, "UPDATE imported_keys SET wrapped = ? WHERE name = 'broken'", wrapped)
    assert counted(rewrap(movers, fresh=True)) == {NEW: 2}


def test_wraps_that_somebody_exchanged_are_found_and_not_moved_on(home, movers):
    """Each wrap is bound to its key; were it not, a rewrap would make the exchange good for ever."""
    for name in ("one", "two"):
        movers.bring(name, clear(fresh()))
    wraps = {name: wrapped for name, _, wrapped in rows_of(home, WRAPS)}
    for name, other in (("one", "two"), ("two", "one")):
        change(home, "UPDATE imported_keys SET wrapped = ? WHERE name = ?", wraps[other], name)
    with pytest.raises(Exception, match=r"."):
        rewrap(movers, fresh=True)
    assert {version for _, version, _ in rows_of(home, WRAPS)} == {OLD}


def test_a_kek_that_is_not_there_is_said_to_be_missing(home, movers):
    movers.bring("lost", clear(fresh()))
    change(home, "UPDATE imported_keys SET kek_version = 7 WHERE name = 'lost'")
    assert code_of(lambda: rewrap(movers, fresh=True)) == StoreDamaged.code
    assert rows_of(home, "SELECT version FROM tenant_keks WHERE tenant = 'acme'") == [(OLD,)]


def test_one_who_may_only_move_values_does_not_rewrap(movers):
    movers.bring("kept", clear(fresh()))
    for who in ("mover", "foreign", "storing", "billing"):
        assert code_of(lambda who=who: movers.call(who, "keys.rewrap", fresh=True)) == "GRD-AUTHZ-001"


def test_the_record_names_counts_and_no_key(home, movers):
    handle = fresh()
    movers.bring("on.record", clear(handle))
    rewrap(movers, fresh=True)
    kept = movers.world.records("acme", action="keys.rewrap")
    assert len(kept) == 1
    with movers.world.guard.store.read() as tx:
        entry = movers.world.guard.log.reader(tx).entry(kept[0].index)
    assert b'"kek_version":2' in entry
    [(wrapped,)] = rows_of(home, "SELECT wrapped FROM imported_keys")
    assert wrapped.hex().encode() not in entry.lower()


def test_the_worker_ends_what_somebody_began(home):
    with world(home) as made:
        movers = Movers(made)
        movers.bring("later", clear(fresh()))
        rewrap(movers, fresh=True, rows=1)
    with world(home) as made:
        from guard.vault.forgetting import Forgetting

        rewraps, beats = made.gate._doors.parts[Forgetting].rewraps, 0
        while made.beat("keys.rewrap", rewraps.due):
            beats += 1
            assert beats < 20
        assert beats >= 1
        assert counted(rewrap(Movers(made))) == {NEW: 1}


def test_a_tenant_that_nobody_knows_has_nothing_to_rewrap(movers):
    stranger = Actor("system:worker", "nowhere", "system")
    assert code_of(lambda: movers.world.call("keys.rewrap", stranger, fresh=True)) == NotFound.code
