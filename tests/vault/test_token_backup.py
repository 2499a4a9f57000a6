"""Tokens over time: restarts, a backup from before a person was forgotten, and keys of the index that rotate."""

import os

import pytest

from guard.errors import NotFound, SubjectForgotten
from guard.vault.keys import IndexKey, Secret
from guard.vault.token_operations import sweep_due
from guard.vault.vault import Vault
from tests.vault.clinic import backup, put_back
from tests.vault.tokenising import CARD, Till, till
from tests.world import world

VALUE = "4111111111111111"
OVER = "GRD-TOKEN-001"


def vault(shop) -> Vault:
    return shop.world.gate._doors.parts[Vault]


def test_tokens_outlive_a_restart(tmp_path):
    with till(tmp_path / "home") as shop:
        token, once = shop.token(VALUE, "ana"), shop.token(VALUE, "ana", "receipts")
        request = shop.reveal(token, "officer")["request"]
        shop.approve(request)
        assert shop.shown(once) == VALUE
    with till(tmp_path / "home") as shop:
        assert shop.token(VALUE, "ana") == token
        assert (shop.shown(token), shop.shown(once)) == (VALUE, OVER)
        assert shop.shown(token, "officer") == VALUE


def test_a_backup_from_before_does_not_bring_a_forgotten_persons_tokens_back(tmp_path):
    home = tmp_path / "home"
    with till(home) as shop:
        dead, alive = shop.token(VALUE, "ana"), shop.token(VALUE, "bo")
        copy = backup(home / "guard.db", tmp_path / "copy.db")
        shop.forget("ana")
        assert shop.shown(dead) == OVER
    put_back(copy, home, "guard.db")
    with till(home) as shop:
        assert shop.shown(dead) == OVER
        assert shop.shown(alive) == VALUE
        assert shop.token(VALUE, "ana") != dead
        rows = {row.state for row in shop.listed() if row.domain == "checkout"}
        assert rows == {"forgotten", "live"}


def test_a_copied_row_does_not_bring_a_forgotten_persons_token_back(tmp_path):
    with till(tmp_path / "home") as shop:
        token = shop.token(VALUE, "ana")
        with shop.world.guard.store.read() as tx:
            row_id, sealed = tx.exec_driver_sql("SELECT id, sealed FROM vault_tokens").one()
        shop.forget("ana")
        with shop.world.guard.store.write() as tx:
            tx.exec_driver_sql("UPDATE vault_tokens SET sealed = ? WHERE id = ?", (sealed, row_id))
        assert shop.shown(token) == SubjectForgotten.code


@pytest.fixture
def shop(tmp_path):
    with till(tmp_path / "home") as made:
        yield made


def newer_key(shop, version: int, tenant: str = "acme") -> None:
    """One more live version of the field's index key, as a rotation would make it."""
    fresh = IndexKey(tenant, f"{CARD}#tokens", version, Secret(os.urandom(32), "test"))
    vault(shop).change(lambda ring: ring.replace(index_keys=[fresh]))


def test_tokens_of_every_live_version_of_the_index_key_are_found(shop):
    first = shop.token(VALUE, "ana")
    newer_key(shop, 2)
    second = shop.token("5555555555554444", "ana")
    newer_key(shop, 3)
    assert (shop.shown(first), shop.shown(second)) == (VALUE, "5555555555554444")
    assert shop.token(VALUE, "ana") == first
    assert shop.token("5555555555554444", "ana") == second
    with shop.world.guard.store.read() as tx:
        assert tx.exec_driver_sql("SELECT index_version FROM vault_tokens ORDER BY issued_us").scalars().all() == [1, 2]


def test_a_token_under_a_key_that_is_gone_is_not_found(shop):
    token = shop.token(VALUE, "ana")
    ring = vault(shop).keyring
    old = ring.index_keys("acme", f"{CARD}#tokens")[0]
    newer_key(shop, 2)
    gone = IndexKey("acme", old.index, old.version, old.material, live=False)
    vault(shop).change(lambda held: held.replace(index_keys=[gone]))
    assert shop.shown(token) == NotFound.code
    assert shop.token(VALUE, "ana") != token


def test_the_sweep_is_due_only_while_something_is_over(shop):
    due = sweep_due(shop.world.guard.store.read)
    shop.token(VALUE, "ana", "refunds"), shop.token(VALUE, "ana")
    assert due(shop.world.clock.now_us) == []
    shop.world.clock.advance(7201)
    assert due(shop.world.clock.now_us) == [("system", {})]
    assert shop.world.beat("tokens.sweep", due) == 1
    assert due(shop.world.clock.now_us) == []
    assert shop.world.beat("tokens.sweep", due) == 0
    with shop.world.guard.store.read() as tx:
        left = tx.exec_driver_sql("SELECT sealed IS NULL, value_index IS NULL FROM vault_tokens").all()
    assert sorted(tuple(row) for row in left) == [(0, 0), (1, 1)]


def test_a_new_field_with_tokens_gets_its_key_in_tenants_that_were_there_before(tmp_path):
    with till(tmp_path / "home") as shop:
        policies = tmp_path / "policies" / "fields"
        name = "{class: contact, suite: cbl256, bind: [row], mask: none, purposes: [billing]}"
        text = (policies / "payments.yaml").read_text(encoding="utf-8")
        assert shop.issue("Ana", field="payments.name")["problem"]["code"] == "GRD-VAL-001"
    rule = "{role: billing-service, purpose: billing, mask: full}"
    tokens = f"tokens: {{domains: {{checkout: {{form: random}}}}, reveal: [{rule}]}}}}"
    changed = text.replace(f"name: {name}", f"name: {name[:-1]}, {tokens}")
    assert changed != text
    (policies / "payments.yaml").write_text(changed, encoding="utf-8")
    with world(  # not `till`, which would write the old policy again
        tmp_path / "home", policies=tmp_path / "policies", runbooks=tmp_path / "runbooks"
    ) as made:
        shop = Till(made)
        token = shop.token("Ana", field="payments.name")
        assert shop.shown(token, field="payments.name") == "Ana"


def test_requests_that_are_over_are_swept_too(shop):
    due = sweep_due(shop.world.guard.store.read)
    token = shop.token(VALUE, "ana")
    for _ in range(2):
        shop.reveal(token, "officer")
        shop.world.clock.advance(24 * 3600 + 1)
        assert len(due(shop.world.clock.now_us)) == 1
        shop.world.beat("tokens.sweep", due)
        with shop.world.guard.store.read() as tx:
            assert tx.exec_driver_sql("SELECT count(*) FROM token_requests").scalar_one() == 0
    assert shop.shown(token) == VALUE
