"""Terms of a re-encryption job: turns, pace, dry runs, an end by hand, a look back, and a fault between seal and write."""

import sqlite3
import threading
from contextlib import closing
from dataclasses import replace

import pytest

from guard.errors import Conflict, InvalidRequest, InvalidSetting
from guard.vault.keys import Secret
from guard.vault.queue import Queue
from guard.vault.vault import Vault
from tests.vault.shop import EMAIL, ORDERS, PHONE, Shop, Table, b64, policies_with, source_of, world

NAMES = [f"person{number}@example.org" for number in range(1, 26)]


def create(shop, field=EMAIL, **terms):
    return shop.call("keys", "reencryptions.create", source="customers", field=field, **terms)


def vault(shop):
    return shop.world.gate._doors.parts[Vault]


def due(shop):
    return [request["job"] for _, request in vault(shop).due(shop.world.clock())]


def test_jobs_of_one_table_take_turns_by_priority_then_by_age(shop):
    old, urgent = create(shop).job, create(shop, PHONE, priority=5).job
    assert due(shop) == [urgent]
    shop.call("keys", "reencryptions.pause", job=urgent)
    assert due(shop) == [old]
    shop.call("keys", "reencryptions.resume", job=urgent)
    assert due(shop) == [urgent]
    shop.call("keys", "reencryptions.cancel", job=urgent)
    assert due(shop) == [old]


def test_jobs_of_different_tables_do_not_wait_for_each_other(shop):
    queue, view = Queue(), create(shop)
    queue.put("acme", view)
    queue.put("acme", view.model_copy(update={"job": "job_other", "source": "archive"}))
    queue.put("globex", view.model_copy(update={"job": "job_third"}))
    assert {request["job"] for _, request in queue.due(0)} == {view.job, "job_other", "job_third"}


def test_a_job_with_a_rate_rests_after_its_rows(shop, table):
    table.fill(shop, NAMES)
    shop.rotate()
    job = create(shop, rows_per_second=8).job
    ((_, request),) = vault(shop).due(shop.world.clock())
    assert (request["rows"], request["batches"]) == (2, 1)
    shop.step(job, rows=2)
    assert due(shop) == []
    shop.world.clock.advance(0.24)
    assert due(shop) == []
    shop.world.clock.advance(0.02)
    assert due(shop) == [job]


def test_a_dry_run_counts_everything_and_changes_nothing(shop, table):
    table.fill(shop, NAMES)
    table.write("INSERT INTO customers (id, email) VALUES (26, 'clear')")
    before = table.all()
    shop.rotate()
    done = shop.finish(create(shop, dry_run=True).job)
    assert (done.state, done.examined, done.changed, done.failed, done.dry_run) == ("done", 26, 25, 1, True)
    assert "25 values would be sealed anew" in done.detail
    assert table.all() == before
    with closing(sqlite3.connect(table.path)) as db:
        assert db.execute("SELECT name FROM sqlite_master WHERE name = 'guard_checkpoints'").fetchall() == []


def test_a_cancelled_job_keeps_what_it_did_and_does_no_more(shop, table):
    table.fill(shop, NAMES)
    shop.rotate()
    job = create(shop).job
    shop.step(job)
    assert shop.call("keys", "reencryptions.cancel", job=job).state == "cancelled"
    assert shop.step(job).state == "cancelled"
    assert shop.census() == {1: 15, 2: 10}
    for verb in ("pause", "resume", "cancel"):
        with pytest.raises(Conflict):
            shop.call("keys", f"reencryptions.{verb}", job=job)
    assert shop.run_job().changed == 15


def test_what_is_written_behind_the_cursor_is_found_by_the_look_back(shop, table):
    table.fill(shop, NAMES)
    late = shop.seal("late")[0]
    shop.rotate()
    job = create(shop).job
    shop.step(job)
    table.write("UPDATE customers SET email = ? WHERE id = 1", late)
    done = shop.finish(job)
    assert (done.state, done.passes, done.changed) == ("done", 2, 26)
    assert shop.census() == {1: 0, 2: 25}
    assert shop.open(table.all()[1]) == "late"


class Turning(Secret):
    """Key bytes that are others at each second use, as in a memory that fails."""

    uses = 0

    def expose(self):
        self.uses += 1
        raw = super().expose()
        return raw if self.uses % 2 else bytes([raw[0] ^ 1]) + raw[1:]


def test_a_value_that_does_not_open_after_sealing_is_not_written_and_the_job_stops(shop, table):
    table.fill(shop, NAMES)
    before = table.all()
    shop.rotate()
    newest = vault(shop).keyring.active("acme", EMAIL)
    broken = replace(newest, material=Turning(newest.material.expose(), "failing"))
    vault(shop).change(lambda ring: ring.replace([broken]))
    job = create(shop).job
    done = shop.finish(job)
    assert (done.state, done.changed) == ("failed", 0)
    assert "did not open again" in done.detail
    assert table.all() == before
    assert due(shop) == []


# deterministic and unique columns


@pytest.fixture
def orders(tmp_path):
    """A unique deterministic column in mid rotation."""
    table = Table(tmp_path / "orders.db")
    table.write("CREATE TABLE orders (id INTEGER PRIMARY KEY, city TEXT UNIQUE)")
    source = source_of(table.path, name="orders", table="orders", columns={"city": "orders.city"})
    policies = policies_with(tmp_path, "orders.yaml", ORDERS)
    with world(tmp_path / "home", sources=(source,), policies=policies) as made:
        yield Shop(made), table


def city(shop, value):
    items = [{"field": "orders.city", "context": {}, "plaintext": b64(value)}]
    return shop.call("storing", "fields.encrypt", items=items)["results"][0]["ciphertext"]


def forms(shop, value, purpose="store"):
    items = [{"field": "orders.city", "value": value}]
    answer = shop.call("storing", "fields.search", purpose=purpose, items=items)["results"][0]
    return [one["text"] for one in answer["sealed"]]


def test_a_deterministic_value_is_found_under_every_live_version(orders):
    shop, _ = orders
    old = city(shop, "Bern")
    shop.rotate("orders.city")
    assert forms(shop, "Bern") == [city(shop, "Bern"), old]
    shop.call("keys", "keys.retire", key="orders.city", version=1)
    assert forms(shop, "Bern") == [city(shop, "Bern")]


def test_the_same_value_under_two_versions_from_two_threads_is_stored_once(orders):
    shop, table = orders
    old = city(shop, "Bern")
    shop.rotate("orders.city")
    new, wanted, won = city(shop, "Bern"), forms(shop, "Bern"), []
    start = threading.Barrier(2)

    def store(text):
        with closing(sqlite3.connect(table.path, isolation_level=None, timeout=10)) as db:
            start.wait()
            db.execute("BEGIN IMMEDIATE")
            if not db.execute("SELECT 1 FROM orders WHERE city IN (?, ?)", wanted).fetchall():
                db.execute("INSERT INTO orders (city) VALUES (?)", (text,))
                won.append(text)
            db.execute("COMMIT")

    threads = [threading.Thread(target=store, args=(text,)) for text in (old, new)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    done = shop.finish(shop.call("keys", "reencryptions.create", source="orders", field="orders.city").job)
    assert done.state == "done"
    assert [text for _, text in rows(table)] == [new]


def test_a_duplicate_that_came_about_before_is_counted_and_left(orders):
    shop, table = orders
    old = city(shop, "Bern")
    shop.rotate("orders.city")
    table.write("INSERT INTO orders VALUES (1, ?), (2, ?)", old, city(shop, "Bern"))
    table.write("INSERT INTO orders VALUES (3, NULL)")
    done = shop.finish(shop.call("keys", "reencryptions.create", source="orders", field="orders.city").job)
    assert (done.state, done.failed, done.skipped) == ("failed", 1, 1)
    assert rows(table)[0] == (1, old)


def rows(table):
    with closing(sqlite3.connect(table.path)) as db:
        return db.execute("SELECT id, city FROM orders ORDER BY id").fetchall()


def test_a_field_whose_equal_values_differ_is_searched_by_its_index(shop):
    items = [{"field": EMAIL, "value": "ana@example.org"}]
    found = shop.call("support", "fields.search", purpose="support", items=items)["results"][0]
    assert found["index"] == "exact"
    assert [one["version"] for one in found["tokens"]] == [1]
    items = [{"field": PHONE, "value": "079"}]
    refused = shop.call("support", "fields.search", purpose="support", items=items)["results"][0]
    assert refused["problem"]["code"] == InvalidRequest.code


# item by item


def test_items_are_sealed_anew_by_who_cannot_read_them(shop):
    sealed = shop.seal("ana")[0]
    shop.rotate()
    items = [{"field": EMAIL, "context": {"row": row}, "ciphertext": sealed} for row in ("1", "2")]
    fresh, bad = shop.call("keys", "fields.reencrypt", items=items)["results"]
    assert fresh["key_version"] == 2
    assert shop.open(fresh["ciphertext"]) == "ana"
    assert bad["problem"]["code"] == "GRD-CRYPT-001"
    again = [{"field": EMAIL, "context": {"row": "1"}, "ciphertext": fresh["ciphertext"]}]
    assert shop.call("keys", "fields.reencrypt", items=again)["results"] == [fresh]


# replicas that lag


LAG = "SELECT seconds FROM lag"


@pytest.fixture
def lagging(tmp_path, table):
    """A table whose replicas are as far behind as another table says."""
    table.write("CREATE TABLE lag (seconds)")
    table.write("INSERT INTO lag VALUES (NULL)")
    source = source_of(table.path, lag=LAG, lag_limit_seconds=5)
    with world(tmp_path / "home", sources=(source,)) as made:
        yield Shop(made)


def test_a_job_rests_while_replicas_are_too_far_behind_and_says_so(lagging, table):
    table.fill(lagging, NAMES)
    lagging.rotate()
    job = create(lagging).job
    assert lagging.step(job).examined == 10
    table.write("UPDATE lag SET seconds = 12.25")
    view = lagging.step(job)
    assert (view.state, view.examined) == ("running", 10)
    assert view.detail == "Waits: replicas of customers are 12.2 s behind, and 5 s are allowed."
    assert lagging.call("keys", "reencryptions.read", job=job).detail == view.detail
    assert due(lagging) == []
    lagging.world.clock.advance(11)
    assert due(lagging) == [job]
    table.write("UPDATE lag SET seconds = 5")
    done = lagging.finish(job)
    assert (done.state, done.changed, done.detail) == ("done", 25, "")


def test_it_looks_before_every_batch_of_a_turn(lagging, table):
    table.fill(lagging, NAMES)
    lagging.rotate()
    table.write(
        "CREATE TRIGGER behind AFTER UPDATE OF email ON customers WHEN NEW.id = 5 BEGIN UPDATE lag SET seconds = 99; END"
    )
    worker = type(lagging.people["keys"])("system:worker", "acme", "system")
    job = create(lagging).job
    view = lagging.world.call("reencryptions.step", worker, job=job, rows=5, batches=8)
    assert (view.examined, view.changed) == (5, 5)
    assert view.detail.startswith("Waits: ")


def test_a_lag_that_is_no_number_stops_nothing_for_good_and_is_told(lagging, table):
    table.fill(lagging, NAMES)
    lagging.rotate()
    table.write("UPDATE lag SET seconds = 'a while'")
    job = create(lagging).job
    with pytest.raises(InvalidSetting, match="Expected seconds from the lag statement of source customers"):
        lagging.step(job)
    table.write("UPDATE lag SET seconds = 0")
    assert lagging.finish(job).state == "done"
