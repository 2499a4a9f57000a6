"""The indexes of field policies, table by table, as the person who signs them reads them."""

from collections.abc import Iterable

from guard.vault import index_policy, planner
from guard.vault.index import Definition
from guard.vault.planner import Plan
from guard.vault.policy import FieldPolicy
from guard.wire.search import PlannedIndex, PlannedTable


def planned(policies: Iterable[FieldPolicy]) -> list[PlannedTable]:
    """What the indexes of each table store and show.

    Raises:
        InvalidPolicy: they do not stand together; loaded policies do.
    """
    tables: dict[str, list[FieldPolicy]] = {}
    for one in policies:
        tables.setdefault(one.table, []).append(one)
    return [_table(name, fields) for name, fields in sorted(tables.items())]


def _table(name: str, fields: list[FieldPolicy]) -> PlannedTable:
    rows = fields[0].rows
    definitions = [one for field in fields for one in field.indexes]
    made = None if rows is None else planner.plan(rows, [index_policy.declared(one) for one in definitions])
    leaks = (
        made.leaks if made else [f"{one.key_name}: unknown while the policy gives no 'rows'." for one in definitions]
    )
    return PlannedTable(
        table=name,
        rows=rows,
        indexes=[_view(one, rows, leak) for one, leak in zip(definitions, leaks, strict=True)],
        **_numbers(made),
    )


def _numbers(made: Plan | None) -> dict[str, int | None]:
    if made is None:
        return dict.fromkeys(("lowest_bits", "highest_bits", "spent_bits", "coincidences"))
    return {
        "lowest_bits": made.lowest_bits,
        "highest_bits": made.highest_bits,
        "spent_bits": made.spent_bits,
        "coincidences": int(made.coincidences),
    }


def _view(one: Definition, rows: int | None, leak: str) -> PlannedIndex:
    declared = index_policy.declared(one)
    levels = one.domain.levels if one.domain else 0
    return PlannedIndex(
        index=one.key_name,
        kind=one.kind,
        unique=one.unique,
        bits=one.bits,
        advised_bits=None if rows is None or one.unique else planner.advise(rows, declared),
        tokens_per_row=declared.tokens,
        partitions=one.partitions,
        bytes_per_row=declared.tokens * ((one.bits + 7) // 8),
        tokens_per_query=one.partitions * (2 * levels or declared.tokens),
        look_ups={name: getattr(one.budget, name) for name in ("minute", "hour", "day")},
        leak=leak,
    )
