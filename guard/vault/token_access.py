"""A person's tokens in the report on the person and in the answer to an access request.

Law: what lies in the vault under the person's key is the person's, wherever its tokens went; the tokens themselves are
not told, since they are other systems' names for it. What is over but not swept is still held, and so is told.
"""

import json

from guard.catalogue import Context
from guard.db.engine import Tx
from guard.errors import GuardError
from guard.vault import batches, token_store
from guard.vault.alarm import raise_later
from guard.vault.dek_store import DekRow
from guard.vault.deks import Subjects
from guard.vault.token_store import TokenRow
from guard.vault.token_vault import TABLE, TokenVault
from guard.vault.vault import Vault
from guard.wire.subjects import HeldColumn, HeldValue

SOURCE = "guard"


def held(ctx: Context, key: DekRow) -> list[HeldColumn]:
    """How many values of each field and domain the vault holds of a person."""
    policies = ctx.part(Vault).policies
    return [
        HeldColumn(
            source=SOURCE,
            table=TABLE,
            column=domain,
            field=field,
            data_class=policies[field].data_class if field in policies else "",
            purposes=sorted(policies[field].purposes) if field in policies else [],
            count=count,
        )
        for field, domain, count in token_store.counts_of(ctx.tx, key.tenant, key.dek_id)
    ]


def export(ctx: Context, key: DekRow, at: tuple[int, str], place: int, limit: int) -> tuple[list[HeldValue], str]:
    """At most *limit* values of a person, and the cursor where there are more.

    *at* is where the page begins; tokens come after the sources, as the place of this number.

    Raises:
        SubjectForgotten: the person's key is revoked.
    """
    after = json.loads(at[1]) if at[0] == place and at[1] else ""
    rows = token_store.of_person(ctx.tx, key.tenant, key.dek_id, str(after), limit + 1)
    taken = rows[:limit]
    if not rows:
        return [], ""
    _hold(ctx, key)
    vault = TokenVault(ctx)
    start = taken[-1].id if taken else str(after)
    cursor = json.dumps([place, json.dumps(start) if start else ""]) if len(rows) > limit else ""
    values = [_value(vault, row) for row in taken]
    honey, opened = ctx.part(Vault).honey, [one.row for one in values if one.problem is None]
    raise_later(ctx, filter(None, (honey.planted_token(key.tenant, row) for row in opened)))
    return values, cursor


def _hold(ctx: Context, key: DekRow) -> None:
    """See in the transaction of the record that the person was not forgotten meanwhile."""
    subjects = ctx.part(Subjects)
    epoch = subjects.epoch
    dek = subjects.to_open(lambda: ctx.tx, key.tenant, key.dek_id, epoch)

    def settle(tx: Tx) -> None:
        subjects.settle(tx, [dek], epoch, ctx.now_us)

    ctx.at_outcome(settle)


def _value(vault: TokenVault, row: TokenRow) -> HeldValue:
    facts = {"source": SOURCE, "table": TABLE, "column": row.domain, "field": row.field, "row": row.id}
    try:
        return HeldValue(**facts, plaintext=batches.encoded(vault.open(row).encode()))
    except GuardError as error:
        return HeldValue(**facts, problem=error.title)
