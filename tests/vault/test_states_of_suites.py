"""Key versions and jobs with every suite: what is sealed anew, what the census keeps, and what a schedule replaces."""

import sqlite3
from contextlib import closing, contextmanager
from dataclasses import replace

import pytest

from guard.client.sealing import FieldSealer
from guard.errors import Conflict, Denied, InvalidRequest, KeyInUse, Sealed
from guard.vault import resealing
from guard.vault.envelope import FLAG_PADDED, SuiteId, from_text, header_of
from guard.vault.key_life import KeyLife
from guard.vault.keys import Keyring, KeyVersion, Secret
from guard.vault.uses import Uses
from guard.vault.vault import Vault
from guard.vault.versions import State
from tests.vault.shop import Shop, b64, policies_with, shown, source_of, world

GOODS = """
version: 1
table: goods
rows: 1000000
columns:
  plain: {class: contact, suite: cbl256, bind: [row], mask: none, purposes: [billing]}
  compact: {class: contact, suite: xaes, bind: [row], mask: none, purposes: [billing]}
  padded: {class: contact, suite: xaes, bind: [row], mask: none, purposes: [billing], pad: 32}
  equal: {class: contact, suite: siv, deterministic: true, entropy: 40, bind: [], mask: none, purposes: [billing]}
  inbox: {class: contact, suite: xaes, bind: [row], mask: none, purposes: [billing], ingest: x25519, pad: 16}
  hybrid: {class: contact, suite: cbl256, bind: [row], mask: none, purposes: [billing], ingest: mlkem768_x25519}
  number: {class: contact, suite: ff1, bind: [row], mask: last4, purposes: [billing],
           format: {alphabet: "0123456789", min_length: 8}}
  code: {class: contact, suite: ff1, bind: [], deterministic: true, entropy: 40, mask: last4, purposes: [billing],
         format: {alphabet: "0123456789", min_length: 8}}
"""
WITH_HEADER = {
    "plain": SuiteId.CBL256,
    "compact": SuiteId.XAES,
    "padded": SuiteId.XAES,
    "equal": SuiteId.SIV,
    "inbox": SuiteId.XAES,
    "hybrid": SuiteId.CBL256,
}
COLUMNS = (*WITH_HEADER, "number", "code")
UNBOUND = {"equal", "code"}
ROWS = range(1, 8)
HOUR_US = 3_600_000_000


class Goods:
    """A table with a column of each suite, filled by its application."""

    def __init__(self, path):
        self.path = path
        names = ", ".join(f"{name} TEXT" for name in COLUMNS)
        self.write(f"CREATE TABLE goods (id INTEGER PRIMARY KEY, {names}, number_kv INTEGER, code_kv INTEGER)")

    def write(self, statement, *values):
        with closing(sqlite3.connect(self.path)) as db, db:
            db.execute(statement, values)

    def put(self, column, row, text, version="NULL"):
        more = f", {column}_kv = {version}" if column in {"number", "code"} else ""
        self.write("INSERT OR IGNORE INTO goods (id) VALUES (?)", row)
        self.write(f"UPDATE goods SET {column} = ?{more} WHERE id = ?", text, row)

    def column(self, name):
        with closing(sqlite3.connect(self.path)) as db:
            return dict(db.execute(f"SELECT id, {name} FROM goods WHERE {name} IS NOT NULL").fetchall())


def source(path):
    columns = {name: f"goods.{name}" for name in COLUMNS}
    return source_of(path, name="goods", table="goods", columns=columns)


@pytest.fixture
def goods(tmp_path):
    return Goods(tmp_path / "goods.db")


@contextmanager
def opened(tmp_path, text=GOODS, **settings):
    policies = policies_with(tmp_path, "goods.yaml", text)
    with world(tmp_path / "home", policies=policies, sources=(source(tmp_path / "goods.db"),), **settings) as made:
        yield Shop(made)


@pytest.fixture
def shop(tmp_path, goods):
    with opened(tmp_path) as shop:
        yield shop


def one(column, row, **rest):
    return {"field": f"goods.{column}", "context": {} if column in UNBOUND else {"row": str(row)}, **rest}


def sealed(shop, column, row, value):
    [result] = shop.call("storing", "fields.encrypt", items=[one(column, row, plaintext=b64(value))])["results"]
    return result["ciphertext"], result["key_version"]


def value_of(row):
    return f"4242{row:04}"


def fill(shop, goods, column):
    for row in ROWS:
        goods.put(column, row, *sealed(shop, column, row, value_of(row)))


def shown_in(shop, column, row, text, who="billing", **rest):
    items = [one(column, row, ciphertext=text, **rest)]
    return shown(shop.call(who, "fields.decrypt", purpose="billing", items=items)["results"][0])


def anew(shop, column, row, text, **rest):
    return shop.call("keys", "fields.reencrypt", items=[one(column, row, ciphertext=text, **rest)])["results"][0]


def job(shop, column):
    made = shop.call("keys", "reencryptions.create", source="goods", field=f"goods.{column}")
    return shop.finish(made.job, rows=3)


def retire(shop, key, version=1):
    return shop.call("keys", "keys.retire", key=key, version=version)


def counted(shop, column):
    """Counts by key name and version, as the census gives them; what is under no named key by its state."""
    names = {one.key_id.hex(): one.name for one in vault(shop).keyring}
    data = shop.call("keys", "censuses.run", field=f"goods.{column}").data
    return {(names.get(row.key_id, row.state), row.version): row.count for row in data if row.count}


def vault(shop):
    return shop.world.gate._doors.parts[Vault]


def uses(shop, key):
    return {one.version: (one.sealed, one.opened_us) for one in shop.call("keys", "keys.versions", key=key).data}


# jobs


@pytest.mark.parametrize("column", WITH_HEADER)
def test_a_job_seals_each_suite_anew_and_its_old_version_can_go(shop, goods, column):
    fill(shop, goods, column)
    before, key = goods.column(column), f"goods.{column}"
    shop.rotate(key)
    with pytest.raises(KeyInUse, match=f"still seals {len(ROWS)} values of goods.{column}"):
        retire(shop, key)
    done = job(shop, column)
    assert (done.state, done.changed, done.failed) == ("done", len(ROWS), 0)
    after = goods.column(column)
    headers = [header_of(text) for text in after.values()]
    assert {(one.suite, one.key_version) for one in headers} == {(WITH_HEADER[column], 2)}
    assert [len(after[row]) for row in ROWS] == [len(before[row]) for row in ROWS]
    assert {row: shown_in(shop, column, row, text) for row, text in after.items()} == {r: value_of(r) for r in ROWS}
    assert counted(shop, column) == {(key, 2): len(ROWS)}
    retire(shop, key)
    assert shown_in(shop, column, 1, before[1]) == "GRD-KEY-001"


def test_values_that_a_job_seals_count_towards_the_limit_of_the_version(shop, goods):
    fill(shop, goods, "compact")
    assert uses(shop, "goods.compact")[1][0] == len(ROWS)
    shop.rotate("goods.compact")
    job(shop, "compact")
    assert uses(shop, "goods.compact")[2][0] == len(ROWS)
    made = shop.call("keys", "reencryptions.create", source="goods", field="goods.compact", dry_run=True)
    shop.finish(made.job)
    assert uses(shop, "goods.compact")[2][0] == len(ROWS)


def test_nonces_of_a_job_differ_from_row_to_row(shop, goods):
    for row in ROWS:
        goods.put("compact", row, *sealed(shop, "compact", row, "the same"))
    shop.rotate("goods.compact")
    job(shop, "compact")
    nonces = {from_text(text)[16:40] for text in goods.column("compact").values()}
    assert len(nonces) == len(ROWS)


def test_padding_stays_on_and_is_put_on_where_it_was_not(tmp_path, goods):
    with opened(tmp_path, GOODS.replace(", pad: 32", "")) as shop:
        fill(shop, goods, "padded")
    with opened(tmp_path) as shop:
        shop.rotate("goods.padded")
        job(shop, "padded")
        texts = goods.column("padded")
        assert {header_of(text).flags for text in texts.values()} == {FLAG_PADDED}
        assert shown_in(shop, "padded", 3, texts[3]) == value_of(3)


def test_a_column_moves_from_one_suite_to_another(tmp_path, goods):
    with opened(tmp_path) as shop:
        fill(shop, goods, "plain")
    with opened(
        tmp_path, GOODS.replace("plain: {class: contact, suite: cbl256", "plain: {class: contact, suite: xaes")
    ) as shop:
        shop.rotate("goods.plain")
        assert job(shop, "plain").state == "done"
        texts = goods.column("plain")
        assert {header_of(text).suite for text in texts.values()} == {SuiteId.XAES}
        assert {shown_in(shop, "plain", row, text) for row, text in texts.items()} == {value_of(row) for row in ROWS}
        assert counted(shop, "plain") == {("goods.plain", 2): len(ROWS)}
        retire(shop, "goods.plain")


def test_a_service_that_is_sealed_in_the_middle_of_a_batch_loses_and_miscounts_nothing(shop, goods, monkeypatch):
    fill(shop, goods, "plain")
    before = goods.column("plain")
    shop.rotate("goods.plain")
    made = shop.call("keys", "reencryptions.create", source="goods", field="goods.plain")
    rows, real = [], resealing.resealed

    def wiped_at_the_third(*given):
        rows.append(given)
        if len(rows) == 3:
            vault(shop).wipe()
        return real(*given)

    monkeypatch.setattr(resealing, "resealed", wiped_at_the_third)
    with pytest.raises(Sealed):
        shop.step(made.job)
    assert len(rows) == 3
    assert goods.column("plain") == before
    view = shop.call("keys", "reencryptions.read", job=made.job)
    assert (view.state, view.failed, view.changed) == ("planned", 0, 0)


# values that others sealed


def from_outside(shop, column, row, value):
    shop.people["form"] = shop.world.hire(shop.tenant, "svc:form", "role:writing-service")
    key = shop.call("form", "fields.read_ingest_key", field=f"goods.{column}").model_dump()
    return FieldSealer(key).seal(value, row=str(row))


@pytest.mark.parametrize("column", ["inbox", "hybrid"])
def test_a_job_takes_in_what_a_service_sealed_into_the_column_itself(shop, goods, column):
    key, ingest = f"goods.{column}", f"goods.{column}.ingest"
    for row in ROWS:
        goods.put(column, row, from_outside(shop, column, row, value_of(row)))
    assert {header_of(text).suite for text in goods.column(column).values()} == {SuiteId.SEAL}
    assert counted(shop, column) == {(ingest, 1): len(ROWS)}
    shop.rotate(ingest)
    with pytest.raises(KeyInUse, match=f"Version 1 of {ingest} still seals {len(ROWS)} values"):
        retire(shop, ingest)
    assert job(shop, column).state == "done"
    assert counted(shop, column) == {(key, 1): len(ROWS)}
    texts = goods.column(column)
    assert {row: shown_in(shop, column, row, text) for row, text in texts.items()} == {r: value_of(r) for r in ROWS}
    retire(shop, ingest)


def test_one_that_came_in_behind_the_cursor_makes_another_pass(shop, goods):
    for row in ROWS:
        goods.put("inbox", row, *sealed(shop, "inbox", row, value_of(row)))
    shop.rotate("goods.inbox")
    made = shop.call("keys", "reencryptions.create", source="goods", field="goods.inbox")
    shop.step(made.job, rows=3)
    goods.put("inbox", 1, from_outside(shop, "inbox", 1, "late"))
    done = shop.finish(made.job, rows=3)
    assert (done.state, done.passes) == ("done", 2)
    assert shown_in(shop, "inbox", 1, goods.column("inbox")[1]) == "late"


def test_a_single_one_is_sealed_anew_under_the_fields_own_key(shop):
    text = from_outside(shop, "inbox", 5, "from outside")
    fresh = anew(shop, "inbox", 5, text)
    assert header_of(fresh["ciphertext"]).suite is SuiteId.XAES
    assert shown_in(shop, "inbox", 5, fresh["ciphertext"]) == "from outside"
    assert anew(shop, "inbox", 6, text)["problem"]["code"] == "GRD-CRYPT-001"
    assert anew(shop, "hybrid", 5, text)["problem"]["code"] == "GRD-CRYPT-001"


def take_in(shop, column, row, text):
    return shop.call("form", "fields.ingest", items=[one(column, row, ciphertext=text)]).results[0]


def test_a_public_key_that_services_still_seal_under_waits_for_its_quiet_time(tmp_path, goods):
    with opened(tmp_path, quiet_hours=24) as shop:
        text = from_outside(shop, "inbox", 1, "x")
        shop.rotate("goods.inbox.ingest")
        sealed_before = uses(shop, "goods.inbox")[1][0]
        assert "problem" not in take_in(shop, "inbox", 1, text)
        assert uses(shop, "goods.inbox")[1][0] == sealed_before + 1
        with pytest.raises(KeyInUse, match="opened a value in the last 24 hours"):
            retire(shop, "goods.inbox.ingest")
        shop.world.clock.advance(24 * 3600)
        retire(shop, "goods.inbox.ingest")
        assert take_in(shop, "inbox", 1, text)["problem"]["code"] == "GRD-KEY-001"


def test_what_did_not_open_is_no_use_of_a_public_key(shop):
    text = from_outside(shop, "inbox", 1, "x")
    assert "problem" in take_in(shop, "inbox", 2, text)
    assert uses(shop, "goods.inbox.ingest")[1][1] is None


def test_a_public_key_whose_private_half_is_known_is_replaced_and_its_values_come_first(shop, goods):
    text = from_outside(shop, "inbox", 1, "on its way")
    goods.put("inbox", 2, from_outside(shop, "inbox", 2, "there"))
    shop.call("keys", "keys.compromise", key="goods.inbox.ingest", version=1)
    assert shop.call("form", "fields.read_ingest_key", field="goods.inbox").key_version == 2
    [queued] = shop.call("keys", "reencryptions.list").data
    assert (queued.field, queued.priority) == ("goods.inbox", 9)
    assert shop.finish(queued.job).state == "done"
    assert counted(shop, "inbox") == {("goods.inbox", 1): 1}
    assert "problem" not in take_in(shop, "inbox", 1, text)  # it shows nobody anything
    retire(shop, "goods.inbox.ingest")


# values that keep their format


@pytest.mark.parametrize("column", ["number", "code"])
def test_a_value_that_keeps_its_format_is_sealed_anew_item_by_item(shop, goods, column):
    fill(shop, goods, column)
    key, before = f"goods.{column}", goods.column(column)
    shop.rotate(key)
    with pytest.raises(KeyInUse, match=f"still seals {len(ROWS)} values of goods.{column}"):
        retire(shop, key)
    for row, text in before.items():
        fresh = anew(shop, column, row, text, key_version=1)
        assert fresh["key_version"] == 2
        assert fresh["ciphertext"] != text
        goods.put(column, row, fresh["ciphertext"], 2)
        assert shown_in(shop, column, row, fresh["ciphertext"], key_version=2) == value_of(row)
        assert anew(shop, column, row, fresh["ciphertext"], key_version=2) == fresh
    assert uses(shop, key)[2][0] == len(ROWS)
    assert counted(shop, column) == {(key, 2): len(ROWS)}
    retire(shop, key)
    assert shown_in(shop, column, 1, before[1], key_version=1) == "GRD-KEY-001"
    assert anew(shop, column, 1, before[1], key_version=1)["problem"]["code"] == "GRD-KEY-001"


def test_what_does_not_say_its_version_is_not_sealed_anew(shop):
    text, _ = sealed(shop, "number", 1, value_of(1))
    assert anew(shop, "number", 1, text)["problem"]["code"] == InvalidRequest.code
    assert anew(shop, "number", 1, text, key_version=9)["problem"]["code"] == "GRD-STORE-404"


def test_a_compromised_version_of_a_format_opens_only_with_a_grant_and_is_sealed_anew_without(shop):
    text, version = sealed(shop, "number", 1, value_of(1))
    shop.call("keys", "keys.compromise", key="goods.number", version=version)
    assert shown_in(shop, "number", 1, text, key_version=version) == Denied.code
    fresh = anew(shop, "number", 1, text, key_version=version)
    assert shown_in(shop, "number", 1, fresh["ciphertext"], key_version=fresh["key_version"]) == value_of(1)


def test_reading_a_format_counts_as_a_use_of_its_version(tmp_path, goods):
    with opened(tmp_path, quiet_hours=24) as shop:
        text, version = sealed(shop, "number", 1, value_of(1))
        shop.rotate("goods.number")
        assert uses(shop, "goods.number")[1][1] is None
        shown_in(shop, "number", 1, text, key_version=version)
        with pytest.raises(KeyInUse, match="opened a value"):
            retire(shop, "goods.number")


def test_a_value_with_a_header_in_a_column_that_keeps_its_format_since_then_keeps_its_version(tmp_path, goods):
    before = GOODS.replace("number: {class: contact, suite: ff1,", "number: {class: contact, suite: cbl256,")
    before = before.replace(
        'purposes: [billing],\n           format: {alphabet: "0123456789", min_length: 8}}', "purposes: [billing]}", 1
    )
    with opened(tmp_path, before) as shop:
        text, _ = sealed(shop, "number", 1, "before")
        assert header_of(text).suite is SuiteId.CBL256
        goods.put("number", 1, text)
    goods.write("UPDATE goods SET number_kv = NULL")
    with opened(tmp_path) as shop:
        shop.rotate("goods.number")
        goods.put("number", 2, *sealed(shop, "number", 2, value_of(2)))
        goods.put("number", 3, "clear", "NULL")
        key = "goods.number"
        assert counted(shop, "number") == {(key, 1): 1, (key, 2): 1, ("not sealed", 0): 1}
        with pytest.raises(KeyInUse, match="still seals 1 values"):
            retire(shop, key)


@pytest.mark.parametrize("column", ["equal", "code"])
def test_equal_values_are_found_under_every_live_version(shop, goods, column):
    fill(shop, goods, column)
    key = f"goods.{column}"
    shop.rotate(key)
    goods.put(column, 3, *sealed(shop, column, 3, value_of(3)))
    items = [{"field": key, "value": value_of(row)} for row in (3, 4)]
    found = shop.call("storing", "fields.search", purpose="store", items=items)["results"]
    forms = [{form["version"]: form["text"] for form in result["sealed"]} for result in found]
    column_now = goods.column(column)
    assert [sorted(one) for one in forms] == [[1, 2], [1, 2]]
    assert (forms[0][2], forms[1][1]) == (column_now[3], column_now[4])


# the census of replicas


def test_a_replica_holds_versions_of_formats_and_public_keys_too(tmp_path, goods):
    policies = policies_with(tmp_path, "goods.yaml", GOODS)
    lagging = Goods(tmp_path / "replica.db")
    whole = replace(source(goods.path), replicas=(f"sqlite:///{lagging.path}",))
    with world(tmp_path / "home", policies=policies, sources=(whole,)) as made:
        shop = Shop(made)
        lagging.put("number", 1, *sealed(shop, "number", 1, value_of(1)))
        lagging.put("inbox", 1, from_outside(shop, "inbox", 1, "x"))
        for key in ("goods.number", "goods.inbox.ingest"):
            shop.rotate(key)
            with pytest.raises(KeyInUse, match=r"still seals 1 values of goods\..* in source goods\.replica1"):
                retire(shop, key)


def test_a_public_key_of_a_column_that_nobody_declared_is_not_retired(tmp_path):
    with world(tmp_path / "home", policies=policies_with(tmp_path, "goods.yaml", GOODS)) as made:
        shop = Shop(made)
        shop.rotate("goods.inbox.ingest")
        with pytest.raises(Conflict, match="nobody can tell"):
            retire(shop, "goods.inbox.ingest")


# schedules

KEYS = {f"goods.{name}" for name in COLUMNS} | {"goods.inbox.ingest", "goods.hybrid.ingest"}


def beat(shop, hours=0, values=0):
    life, ring = vault(shop).life, vault(shop).keyring
    return shop.world.beat("keys.rotate", lambda now: life.rotations_due(ring, now, hours, values))


def suites_of(shop):
    listed = shop.call("keys", "keys.list").data
    return {key.key: [(one.version, one.suite, one.state) for one in key.versions] for key in listed if key.key in KEYS}


def test_every_suites_key_is_replaced_by_age_with_its_own_suite(shop, goods):
    for column in COLUMNS:
        fill(shop, goods, column)
    before = suites_of(shop)
    assert before.keys() == KEYS
    assert {versions[0][1] for versions in before.values()} == {
        *("cbl256", "xaes", "siv", "ff1", "seal_x25519", "seal_mlkem768_x25519")
    }
    shop.world.clock.advance(90 * 86_400 - 1)
    assert beat(shop, hours=90 * 24) == 0
    shop.world.clock.advance(1)
    assert beat(shop, hours=90 * 24) >= len(KEYS)
    for key, versions in suites_of(shop).items():
        suite = before[key][0][1]
        assert versions == [(2, suite, "active"), (1, suite, "decrypt_only")]
    assert beat(shop, hours=90 * 24) == 0
    for column in WITH_HEADER:
        assert job(shop, column).state == "done"
        assert shown_in(shop, column, 7, goods.column(column)[7]) == value_of(7)


def test_every_suites_key_is_replaced_by_use(shop, goods):
    for column in COLUMNS:
        fill(shop, goods, column)
    assert beat(shop, values=len(ROWS) + 1) == 0
    assert beat(shop, values=len(ROWS)) == len(COLUMNS)
    assert {key for key, versions in suites_of(shop).items() if len(versions) == 2} == {f"goods.{c}" for c in COLUMNS}


def version_of(suite, state=State.ACTIVE, **more):
    return KeyVersion(
        suite.value.to_bytes(8, "big"), suite.name, "acme", 1, state, suite, Secret(bytes(32), "k"), **more
    )


@pytest.mark.parametrize(
    ("suite", "limit"),
    [
        (SuiteId.CBL256, 1 << 55),
        (SuiteId.XAES, 1 << 62),
        (SuiteId.SIV, 1 << 48),
        (SuiteId.GCM96, 1 << 31),
        (SuiteId.SEAL, 1 << 48),
        (SuiteId.FF1, 1 << 48),
    ],
)
def test_the_limit_of_each_suite_stands_whatever_is_set(suite, limit):
    key = version_of(suite)
    for values, settings in ((limit - 1, 0), (limit, 0), (limit, 1 << 62)):
        life = KeyLife()
        life.uses.seal(("acme", suite.name, 1), values)
        due = list(life.rotations_due(Keyring([key]), HOUR_US, 0, settings))
        assert due == ([("acme", {"key": suite.name})] if values == limit else [])


@pytest.mark.parametrize("more", [{"state": s} for s in State if s is not State.ACTIVE] + [{"compromised": True}])
def test_what_seals_nothing_is_replaced_by_no_schedule(more):
    life = KeyLife()
    life.uses = Uses()
    life.uses.seal(("acme", "XAES", 1), 1 << 62)
    assert list(life.rotations_due(Keyring([version_of(SuiteId.XAES, **more)]), 10**15, 1, 1)) == []
