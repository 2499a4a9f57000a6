"""Keys of subjects and days in a real store: made once, wrapped, nameless, of one tenant, and gone when destroyed."""

import pytest

from guard.audit.sealed import SealedValues
from guard.errors import DoesNotOpen, Erased
from tests.vault.shop import world
from tests.world import START_US

SUBJECT = "Canary.Subject@example.org"
DAY_US = 86_400_000_000


@pytest.fixture
def made(tmp_path):
    with world(tmp_path / "home") as made:
        made.hire("acme", "user:local|ana", "role:support")
        made.hire("globex", "user:local|gus", "role:support")
        yield made


@pytest.fixture
def keys(made):
    return made.guard.gate._doors.parts[SealedValues].keys


@pytest.fixture
def tx(made):
    """A write transaction; the pipeline has nothing to do meanwhile."""
    made.guard.pipeline.stop()
    with made.guard.store.write() as tx:
        yield tx


def test_a_subject_has_one_key_and_another_subject_or_tenant_has_another(keys, tx):
    first = keys.obtain(tx, "acme", SUBJECT, START_US)
    assert keys.obtain(tx, "acme", SUBJECT, START_US + DAY_US) == first
    others = [keys.obtain(tx, "acme", "u-2", START_US), keys.obtain(tx, "globex", SUBJECT, START_US)]
    assert len({key_id for key_id, _ in [first, *others]}) == len({key for _, key in [first, *others]}) == 3
    assert len(first[1]) == 32


def test_where_nobody_is_known_each_tenant_and_day_has_a_key(keys, tx):
    today = keys.obtain(tx, "acme", "", START_US)
    assert keys.obtain(tx, "acme", "", START_US + 1) == today
    assert keys.obtain(tx, "acme", "", START_US + DAY_US) != today
    assert keys.obtain(tx, "globex", "", START_US) != today
    names = tx.exec_driver_sql("SELECT subject FROM subject_keys ORDER BY created_us").scalars().all()
    assert all(name.startswith("day:2026-") for name in names)


def test_a_subject_that_is_called_like_a_day_is_none(keys, tx):
    day = keys.obtain(tx, "acme", "", START_US)
    name = tx.exec_driver_sql("SELECT subject FROM subject_keys").scalar_one()
    assert keys.find(tx, "acme", name) is None
    assert keys.obtain(tx, "acme", name, START_US)[0] != day[0]


def test_the_platform_s_own_tenant_gets_a_kek_with_its_first_key(keys, tx):
    key_id, key = keys.obtain(tx, "system", "", START_US)
    assert keys.open(tx, "system", key_id) == key


def test_the_table_names_nobody_and_holds_no_key(keys, tx):
    _, key = keys.obtain(tx, "acme", SUBJECT, START_US)
    row = tx.exec_driver_sql("SELECT * FROM subject_keys").one()
    whole = b"|".join(value if isinstance(value, bytes) else str(value).encode() for value in row)
    assert key not in whole
    assert SUBJECT.encode() not in whole
    assert SUBJECT.lower().encode() not in whole


def test_a_wrap_begins_with_the_complement_of_the_id_that_begins_each_value(keys, tx):
    key_id, _ = keys.obtain(tx, "acme", SUBJECT, START_US)
    sealed, wrap = keys.marks(key_id)
    wrapped = tx.exec_driver_sql("SELECT wrapped FROM subject_keys").scalar_one()
    assert wrapped.startswith(wrap)
    assert sealed == bytes.fromhex(key_id)
    assert all(one ^ other == 0xFF for one, other in zip(sealed, wrap, strict=True))


def test_a_key_is_destroyed_once_and_never_opens_again(keys, tx):
    key_id, _ = keys.obtain(tx, "acme", SUBJECT, START_US)
    assert keys.destroy(tx, "acme", key_id, START_US)
    assert not keys.destroy(tx, "acme", key_id, START_US)
    with pytest.raises(Erased, match="destroyed"):
        keys.open(tx, "acme", key_id)
    assert keys.find(tx, "acme", SUBJECT) is None
    row = tx.exec_driver_sql("SELECT subject, wrapped, state FROM subject_keys").one()
    assert tuple(row) == (None, None, "destroyed")


def test_after_its_end_a_subject_gets_a_new_key_under_a_new_id(keys, tx):
    old = keys.obtain(tx, "acme", SUBJECT, START_US)
    keys.destroy(tx, "acme", old[0], START_US)
    new = keys.obtain(tx, "acme", SUBJECT, START_US)
    assert new[0] != old[0]
    assert new[1] != old[1]


def test_another_tenant_neither_opens_nor_destroys(keys, tx):
    key_id, key = keys.obtain(tx, "acme", SUBJECT, START_US)
    with pytest.raises(Erased):
        keys.open(tx, "globex", key_id)
    assert not keys.destroy(tx, "globex", key_id, START_US)
    assert keys.open(tx, "acme", key_id) == key


def test_a_wrap_that_was_moved_to_another_subject_does_not_open(keys, tx):
    one, _ = keys.obtain(tx, "acme", SUBJECT, START_US)
    two, _ = keys.obtain(tx, "acme", "u-2", START_US)
    wrapped = tx.exec_driver_sql("SELECT wrapped FROM subject_keys WHERE key_id = ?", (one,)).scalar_one()
    tx.exec_driver_sql("UPDATE subject_keys SET wrapped = ? WHERE key_id = ?", (wrapped, two))
    with pytest.raises(DoesNotOpen):
        keys.open(tx, "acme", two)


def test_a_key_that_was_rolled_back_is_not_remembered(made, keys):
    """Were it kept in memory, values would be sealed under a key that no store has."""
    made.guard.pipeline.stop()
    with pytest.raises(RuntimeError), made.guard.store.write() as tx:
        lost = keys.obtain(tx, "acme", SUBJECT, START_US)
        raise RuntimeError
    with made.guard.store.write() as tx:
        assert keys.obtain(tx, "acme", SUBJECT, START_US) != lost


def test_a_restart_opens_what_was_made_before(tmp_path):
    with world(tmp_path / "home") as made:
        made.hire("acme", "user:local|ana", "role:support")
        made.guard.pipeline.stop()
        with made.guard.store.write() as tx:
            kept = made.gate._doors.parts[SealedValues].keys.obtain(tx, "acme", SUBJECT, START_US)
    with world(tmp_path / "home") as made, made.guard.store.read() as tx:
        again = made.gate._doors.parts[SealedValues].keys
        assert (again.find(tx, "acme", SUBJECT), again.open(tx, "acme", kept[0])) == kept


def test_many_destroyed_keys_leave_no_byte_of_their_wraps(made, keys):
    """A destroyed row shrinks in its place, so no page is merged and no copy of another wrap is left behind."""
    made.guard.pipeline.stop()
    with made.guard.store.write() as tx:
        ids = [keys.obtain(tx, "acme", f"u-{number}", START_US)[0] for number in range(400)]
    with made.guard.store.write() as tx:
        for key_id in ids[::2]:
            keys.destroy(tx, "acme", key_id, START_US)
    with made.guard.store.write() as tx:
        tx.connection.driver_connection.rollback()
        tx.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    raw = b"".join(path.read_bytes() for path in sorted(made.home.glob("guard.db*")))
    found = [keys.marks(key_id)[1] in raw for key_id in ids]
    assert found == [number % 2 == 1 for number in range(400)]
