"""From what a caller looks for to tokens: which index answers it, who may ask, and what it costs."""

from collections.abc import Mapping, Sequence
from typing import Any

from guard.catalogue import Context
from guard.errors import InvalidRequest, KeyStateConflict
from guard.vault.budgets import spend
from guard.vault.index import Definition
from guard.vault.indexes import Version
from guard.vault.policy import FieldPolicy
from guard.vault.terms import Query
from guard.vault.vault import Vault

STORE = "store"


def allowed(ctx: Context, field: str, purpose: str) -> FieldPolicy:
    """The policy of a field that may be searched for *purpose*; who stores a value may look for it first.

    Raises:
        InvalidRequest, PurposeRefused: there is no such field, or it is not read for this purpose.
    """
    vault = ctx.part(Vault)
    return vault.policy(field) if purpose == STORE else vault.policy_for(field, purpose)


def chosen(policy: FieldPolicy, item: Mapping[str, Any]) -> Definition:
    """The index that an item names, or else the first of its kind.

    Raises:
        InvalidRequest: there is none.
    """
    name, kind = item.get("index") or "", item.get("kind") or ""
    for one in policy.indexes:
        if name in {"", one.name} and (kind or ("exact" if not name else one.kind)) == one.kind:
            return one
    if not name and not kind and len(policy.indexes) == 1:
        return policy.indexes[0]
    wanted = " ".join(filter(None, (name, kind and f"of kind {kind}"))) or "none"
    raise InvalidRequest(f"Expected an index of {policy.name}, got {wanted}; see guard fields list.")


def query(ctx: Context, policy: FieldPolicy, item: Mapping[str, Any], purpose: str) -> Query:
    """What an item looks for.

    Raises:
        InvalidRequest, PurposeRefused: it also gives values of columns that may not be searched for this purpose.
    """
    values = dict(item.get("values") or {})
    for column in values:
        if column == policy.column:
            raise InvalidRequest(f"Expected the value of {column} in 'value', got it in 'values'; move it.")
        if (
            f"{policy.table}.{column}" not in ctx.part(Vault).policies
        ):  # it may be a value that stands in the wrong place
            raise InvalidRequest(
                f"Expected columns of {policy.table} as keys of 'values', got another text; see guard fields list."
            )
        allowed(ctx, f"{policy.table}.{column}", purpose)
    if item.get("value"):
        values[policy.column] = item["value"]
    return Query(values, item.get("low") or "", item.get("high") or "")


def versions(ctx: Context, one: Definition) -> list[Version]:
    """The live versions of an index, newest first.

    Raises:
        NotFound: the tenant has no key for it.
    """
    vault = ctx.part(Vault)
    return vault.definitions.live(vault.keyring, ctx.tenant, one)


def of_one_kind(one: Definition, live: Sequence[Version]) -> None:
    """Check that all versions are asked alike: rows under a version of another kind would not be found by this one.

    Raises:
        KeyStateConflict: the policy declares another kind under an old name.
    """
    for version in live:
        if version.definition.kind != one.kind:
            raise KeyStateConflict(
                f"Expected {one.key_name} to stay {version.definition.kind} as rows have it, got {one.kind} in the "
                "field policy; give the new index a name of its own."
            )


def look_up(ctx: Context, one: Definition, wanted: Query) -> list[tuple[int, list[list[bytes]]]]:
    """(version, alternatives) under every live version.

    Raises:
        InvalidRequest: the query does not fit the index.
    """
    live = versions(ctx, one)
    of_one_kind(one, live)
    return [(version.key.version, version.asked(wanted)) for version in live]


def answer(one: Definition, found: Sequence[tuple[int, list[list[bytes]]]]) -> dict[str, Any]:
    """As it is sent: single tokens where one is enough, else alternatives."""
    head = {"index": one.name, "kind": one.kind}
    flat = [(version, tokens) for version, alternatives in found for tokens in alternatives]
    if all(len(tokens) == 1 for _, tokens in flat):
        return head | {"tokens": [{"version": version, "token": tokens[0].hex()} for version, tokens in flat]}
    return head | {
        "alternatives": [{"version": version, "tokens": [one.hex() for one in tokens]} for version, tokens in flat]
    }


def charge(ctx: Context, asked: Mapping[str, tuple[Definition, int]], *, storing: bool) -> None:
    """Count look-ups by index, before any is answered.

    Raises:
        SearchBudgetExceeded, SearchFrozen: see `budgets.spend`.
    """
    for name, (definition, count) in sorted(asked.items()):
        spend(ctx, name, definition.budget, count, storing=storing)


class Charged:
    """Look-ups of one request by index, counted before any is answered."""

    __slots__ = ("_asked", "_storing")

    def __init__(self, *, storing: bool) -> None:
        self._asked: dict[str, tuple[Definition, int]] = {}
        self._storing = storing

    def add(self, one: Definition) -> None:
        """One more."""
        self._asked[one.key_name] = (one, self._asked.get(one.key_name, (one, 0))[1] + 1)

    def settle(self, ctx: Context) -> None:
        """Count them; raises where the budget does not allow them."""
        charge(ctx, self._asked, storing=self._storing)

    def counts(self) -> dict[str, int]:
        """For the record."""
        return {name.replace(".", "_"): count for name, (_, count) in sorted(self._asked.items())}


def equality_index(policy: FieldPolicy, name: str) -> Definition:
    """The index of this name, if one token a version stands for a value in it.

    Raises:
        InvalidRequest: there is none, or it is of another kind.
    """
    found = next((one for one in policy.indexes if one.name == name), None)
    if found is None:
        raise InvalidRequest(f"Expected an index of {policy.name}, got {name}; see guard fields list.")
    if found.kind != "exact" or found.partitions > 1:
        raise InvalidRequest(
            f"Expected an exact index, got {name}; use fields.search, or fields.index_tokens to store."
        )
    return found


def equal_tokens(ctx: Context, one: Definition, value: str) -> dict[str, Any]:
    """The tokens of a value under every live version, newest first.

    Raises:
        InvalidRequest: it has no form in this index.
    """
    wanted = Query({one.column: value})
    return {"tokens": answer(one, look_up(ctx, one, wanted))["tokens"]}
