"""Re-encryption of live columns: counts and states, rows that do not open, other writers, and sources in trouble."""

import sqlite3
import threading
from contextlib import closing

import pytest
from sqlalchemy import event

from guard.errors import AlreadyExists, Conflict, InvalidRequest, InvalidSetting, NotFound, StoreUnavailable
from guard.vault.source_store import Sources
from tests.vault.shop import EMAIL, ORDERS, PHONE, Shop, Table, b64, code_of, policies_with, source_of, world

NAMES = [f"person{number}@example.org" for number in range(1, 26)]


def create(shop, field=EMAIL, source="customers"):
    return shop.call("keys", "reencryptions.create", source=source, field=field)


def values(shop, table, column="email"):
    """Every value of the column in clear, or the code of its problem."""
    field = f"customers.{column}"
    who = "billing" if column == "email" else "delivery"
    return {row: shop.open(text, str(row), field, who) for row, text in table.all(column).items()}


# a job's life


def test_a_job_seals_every_row_anew_under_the_newest_version(shop, table):
    table.fill(shop, NAMES)
    before = table.all()
    shop.rotate()
    shop.rotate()
    done = shop.run_job(rows=10)
    counts = (done.state, done.examined, done.changed, done.skipped, done.failed, done.total, done.detail)
    assert counts == ("done", 25, 25, 0, 0, 25, "")
    assert shop.census() == {1: 0, 2: 0, 3: 25}
    assert values(shop, table) == dict(enumerate(NAMES, 1))
    assert not set(before.values()) & set(table.all().values())


def test_a_second_job_changes_nothing(shop, table):
    table.fill(shop, NAMES)
    shop.rotate()
    shop.run_job()
    before = table.all()
    again = shop.run_job()
    assert (again.state, again.changed, again.skipped) == ("done", 0, 25)
    assert table.all() == before


@pytest.mark.parametrize("count", [0, 9, 10, 11, 20])
def test_batches_of_ten_end_exactly_where_the_rows_end(shop, table, count):
    table.fill(shop, NAMES[:count])
    shop.rotate()
    done = shop.run_job(rows=10)
    assert (done.state, done.examined, done.changed) == ("done", count, count)


def test_empty_cells_are_left_and_other_columns_too(shop, table):
    table.fill(shop, NAMES[:3])
    table.write("INSERT INTO customers (id, email) VALUES (10, NULL)")
    table.write("UPDATE customers SET phone = ? WHERE id = 2", shop.seal("", "079", field=PHONE)[1])
    phones = table.all("phone")
    shop.rotate()
    done = shop.run_job()
    assert (done.examined, done.total) == (3, 4)
    assert table.all("phone") == phones
    assert table.all()[10] is None


def test_the_worker_finds_running_jobs_after_a_restart(tmp_path, table):
    sources = (source_of(table.path),)
    with world(tmp_path / "home", sources=sources) as made:
        shop = Shop(made)
        table.fill(shop, NAMES)
        shop.rotate()
        job = create(shop).job
        assert shop.step(job).examined == 10
    with world(tmp_path / "home", sources=sources) as made:
        shop = Shop(made)
        vault = made.gate._doors.parts
        due = next(part for kind, part in vault.items() if kind.__name__ == "Vault").due
        assert made.beat("reencryptions.step", due) == 1
        done = shop.call("keys", "reencryptions.read", job=job)
        assert (done.state, done.examined, done.changed) == ("done", 25, 25)
        assert list(due(0)) == []
        assert values(shop, table) == dict(enumerate(NAMES, 1))


def test_a_job_is_paused_resumed_and_refused_where_it_stands_otherwise(shop, table):
    table.fill(shop, NAMES)
    shop.rotate()
    job = create(shop).job
    shop.step(job)
    assert shop.call("keys", "reencryptions.pause", job=job).state == "paused"
    assert shop.step(job).examined == 10
    with pytest.raises(Conflict):
        shop.call("keys", "reencryptions.pause", job=job)
    assert shop.call("keys", "reencryptions.resume", job=job).state == "running"
    with pytest.raises(Conflict):
        shop.call("keys", "reencryptions.resume", job=job)
    assert shop.finish(job).changed == 25
    for name in ("pause", "resume"):
        with pytest.raises(Conflict) as raised:
            shop.call("keys", f"reencryptions.{name}", job=job)
        assert raised.value.extra == {"state": "done"}


def test_a_pause_during_a_batch_holds_after_it(shop, table):
    table.fill(shop, NAMES)
    shop.rotate()
    job = create(shop).job
    with closing(sqlite3.connect(table.path, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")  # the batch has begun and waits for this writer
        batch = threading.Thread(target=shop.step, args=(job,))
        batch.start()
        until_open(shop, "reencryptions.step")
        assert shop.call("keys", "reencryptions.pause", job=job).state == "paused"
        db.execute("COMMIT")
        batch.join()
    found = shop.call("keys", "reencryptions.read", job=job)
    assert (found.state, found.examined) == ("paused", 10)
    assert shop.step(job).examined == 10
    shop.call("keys", "reencryptions.resume", job=job)
    assert shop.finish(job).changed == 25


def until_open(shop, action):
    """Wait until an external operation has committed its intent."""
    for _ in range(2000):
        with shop.world.guard.store.read() as tx:
            if tx.exec_driver_sql("SELECT count(*) FROM audit_open_intents WHERE action = ?", (action,)).scalar():
                return
        threading.Event().wait(0.005)
    raise AssertionError("the operation did not begin")


def test_one_job_per_column_at_a_time_also_while_it_is_paused(shop, table):
    table.fill(shop, NAMES)
    job = create(shop).job
    with pytest.raises(AlreadyExists) as raised:
        create(shop)
    assert job in raised.value.detail
    create(shop, PHONE)
    shop.call("keys", "reencryptions.pause", job=job)
    with pytest.raises(AlreadyExists):
        create(shop)
    shop.call("keys", "reencryptions.resume", job=job)
    shop.finish(job)
    assert create(shop).state == "planned"


def test_jobs_are_listed_newest_first_and_are_the_tenants_own(shop, table):
    shop.run_job()
    second = create(shop, PHONE)
    listed = shop.call("keys", "reencryptions.list").data
    assert [(one.field, one.state) for one in listed] == [(PHONE, "planned"), (EMAIL, "done")]
    other = Shop(shop.world, "globex")
    assert other.call("keys", "reencryptions.list").data == []
    for name in ("read", "pause", "resume"):
        with pytest.raises(NotFound):
            other.call("keys", f"reencryptions.{name}", job=second.job)


# rows that do not open


def test_rows_that_do_not_open_are_counted_and_left_and_the_job_fails_by_name(shop, table):
    other = Shop(shop.world, "globex")
    table.fill(shop, NAMES[:20])
    bad = {
        2: table.all()[1],  # another row's
        4: other.seal(*["x"] * 4)[3],  # another tenant's
        6: shop.seal(*["079"] * 6, field=PHONE)[5],  # another field's
        8: "ana@example.org",  # in clear
        10: table.all()[10][:-4] + "AAAA",
    }
    for row, value in bad.items():
        table.write("UPDATE customers SET email = ? WHERE id = ?", value, row)
    shop.rotate()
    done = shop.run_job()
    assert (done.state, done.examined, done.changed, done.failed) == ("failed", 20, 15, 5)
    assert done.detail.startswith("5 values")
    now = table.all()
    assert {row: now[row] for row in bad} == bad
    good = {row: name for row, name in enumerate(NAMES[:20], 1) if row not in bad}
    assert {row: shop.open(now[row], str(row)) for row in good} == good


def test_the_record_of_a_batch_counts_and_holds_no_value(shop, table):
    table.fill(shop, NAMES[:5])
    shop.rotate()
    shop.run_job()
    made = shop.world.records("acme", action="reencryptions.step")
    batch_and_look_back = [("outcome", "ok", "system:worker"), ("intent", "ok", "system:worker")] * 2
    assert [(one.phase, one.status, one.actor) for one in made] == batch_and_look_back


def test_values_sealed_with_a_number_for_their_row_are_sealed_anew_with_that_number(shop, table):
    items = [{"field": EMAIL, "context": {"row": row}, "plaintext": b64("ana")} for row in (1, "2")]
    for row, made in enumerate(shop.call("storing", "fields.encrypt", items=items)["results"], 1):
        table.write("INSERT INTO customers (id, email) VALUES (?, ?)", row, made["ciphertext"])
    shop.rotate()
    assert shop.run_job().state == "done"
    now = table.all()
    opened = [{"field": EMAIL, "context": {"row": row}, "ciphertext": now[int(row)]} for row in (1, "2")]
    answers = shop.call("billing", "fields.decrypt", purpose="billing", items=opened)["results"]
    assert [one["plaintext"] for one in answers] == [b64("ana")] * 2


# primary keys


def test_text_primary_keys_are_walked_in_their_order(tmp_path):
    table = Table(tmp_path / "text.db", key="TEXT")
    keys = ["", "10", "9", "a'b", "ä", "漢", "z" * 200]
    with world(tmp_path / "home", sources=(source_of(table.path),)) as made:
        shop = Shop(made)
        table.fill(shop, NAMES[: len(keys) - 1], rows=keys[1:])
        table.write("INSERT INTO customers (id, email) VALUES ('', 'no value can be bound to an empty row')")
        shop.rotate()
        done = shop.run_job(rows=2)
        assert (done.state, done.examined, done.changed, done.failed) == ("failed", 7, 6, 1)
        now = table.all()
        assert [shop.open(now[key], key) for key in keys[1:]] == NAMES[: len(keys) - 1]


def test_an_empty_primary_key_with_a_sealed_value_is_counted_and_does_not_stop_the_job(tmp_path):
    table = Table(tmp_path / "text.db", key="TEXT")
    with world(tmp_path / "home", sources=(source_of(table.path),)) as made:
        shop = Shop(made)
        table.fill(shop, NAMES[:2], rows=["a", "b"])
        table.write("INSERT INTO customers (id, email) VALUES ('', ?)", table.all()["a"])
        shop.rotate()
        done = shop.run_job(rows=2)
        assert (done.state, done.changed, done.failed) == ("failed", 2, 1)


# what is refused


def test_a_field_bound_to_a_subject_is_refused(tmp_path):
    path = tmp_path / "app.db"
    Table(path).write("CREATE TABLE orders (id INTEGER PRIMARY KEY, note TEXT, code TEXT)")
    source = source_of(path, name="orders", table="orders", columns={"note": "orders.note", "code": "orders.code"})
    with world(tmp_path / "home", sources=(source,), policies=policies_with(tmp_path, "orders.yaml", ORDERS)) as made:
        shop = Shop(made)
        with pytest.raises(InvalidRequest) as raised:
            create(shop, "orders.note", "orders")
        assert "name the column that holds the person's id as subject of source orders" in raised.value.detail
        codes = [{"field": "orders.code", "context": {}, "plaintext": b64("4711")}]
        sealed = shop.call("storing", "fields.encrypt", items=codes)["results"][0]["ciphertext"]
        Table.write(_at(path), "INSERT INTO orders (id, code) VALUES (1, ?)", sealed)
        shop.rotate("orders.shared")
        job = create(shop, "orders.code", "orders").job
        assert shop.finish(job).changed == 1


def _at(path):
    table = Table.__new__(Table)
    table.path = path
    return table


@pytest.mark.parametrize(
    ("source", "field", "error"),
    [
        ("unknown", EMAIL, InvalidSetting),
        ("customers", "customers.identity_number", InvalidRequest),
        ("customers", "customers.shoe_size", InvalidRequest),
    ],
)
def test_what_the_settings_do_not_declare_is_refused(shop, source, field, error):
    with pytest.raises(error):
        create(shop, field, source)


def test_the_source_of_another_tenant_is_not_there(shop):
    with pytest.raises(InvalidSetting):
        create(Shop(shop.world, "globex"))


# sources in trouble


def test_a_job_goes_on_after_its_table_was_missing(tmp_path):
    path = tmp_path / "app.db"
    with world(tmp_path / "home", sources=(source_of(path),)) as made:
        shop = Shop(made)
        job = create(shop).job
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                shop.step(job)
        assert shop.call("keys", "reencryptions.read", job=job).state == "planned"
        table = Table(path)
        table.fill(shop, NAMES[:3])
        shop.rotate()
        assert shop.finish(job).changed == 3


def test_a_column_that_is_not_there_is_named(tmp_path):
    path = tmp_path / "app.db"
    Table(path).write("ALTER TABLE customers DROP COLUMN email")
    with world(tmp_path / "home", sources=(source_of(path),)) as made:
        shop = Shop(made)
        job = create(shop).job
        with pytest.raises(InvalidSetting) as raised:
            shop.step(job)
        assert "email" in raised.value.detail


def test_a_locked_database_refuses_the_batch_and_the_job_goes_on_later(shop, table):
    table.fill(shop, NAMES)
    shop.rotate()
    job = create(shop).job
    shop.step(job)
    impatient(shop)
    with closing(sqlite3.connect(table.path, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        assert code_of(lambda: shop.step(job)) == "GRD-STORE-003"
        db.execute("COMMIT")
    found = shop.call("keys", "reencryptions.read", job=job)
    assert (found.state, found.examined) == ("running", 10)
    done = shop.finish(job)
    assert (done.state, done.examined, done.changed) == ("done", 25, 25)


def impatient(shop):
    """Ten seconds of waiting for a lock are right for an application and long for a test."""
    sources = next(part for kind, part in shop.world.gate._doors.parts.items() if kind is Sources)
    for engine in sources._engines.values():
        engine.dispose()
        event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA busy_timeout=20"))


def test_a_url_that_is_none_is_refused_without_its_text(tmp_path):
    source = source_of(tmp_path, url="no url with a s3cret")
    with world(tmp_path / "home", sources=(source,)) as made:
        shop = Shop(made)
        job = create(shop).job
        with pytest.raises(InvalidSetting) as raised:
            shop.step(job)
        assert "s3cret" not in raised.value.detail
