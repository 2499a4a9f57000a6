"""The census: how many values each key version still seals, counted in the registered columns themselves.

Law: it looks at every source and at each of its replicas, and in their databases at every other column too: a sealed
value that no field policy owns still needs its key. Values under the keys of persons are one number a column: there are
as many keys as persons, and none of them is ever retired.
"""

from guard.catalogue import Context, Effect, operation
from guard.errors import InvalidEnvelope
from guard.settings import Source
from guard.vault.envelope import FLAG_SUBJECT_KEY, header_of
from guard.vault.keys import KeyVersion
from guard.vault.policy import FieldPolicy
from guard.vault.source_store import Sources
from guard.vault.stranger_store import OF_PERSONS, Header, strangers
from guard.vault.vault import Vault
from guard.vault.versions import State
from guard.wire import vault as wire

NOT_SEALED: Header = (b"", 0)
SAID = {NOT_SEALED: "not sealed", OF_PERSONS: "under keys of persons"}


@operation(
    "censuses.run",
    "POST /api/v1/censuses",
    takes=wire.RunCensus,
    gives=wire.Census,
    effect=Effect.NONE,
    resource="sources/all",
    audit=("field",),
    example={},
)
def runcensus(ctx: Context, request: wire.RunCensus) -> wire.Census:
    """Count sealed values by key version in every registered column of the tenant."""
    rows = census(ctx, request.field)
    ctx.note(columns=len({(row.source, row.column) for row in rows}), values=sum(row.count for row in rows))
    strangers = unowned(ctx) if request.unowned else []
    return wire.Census(data=rows, unowned=strangers)


def census(ctx: Context, field: str) -> list[wire.CensusRow]:
    """Count the values of each registered column of the tenant by key version; *field* "" means all."""
    vault, sources, rows = ctx.part(Vault), ctx.part(Sources), list[wire.CensusRow]()
    keys = [one for one in vault.keyring if one.tenant == ctx.tenant]
    for source in sources.and_replicas(ctx.tenant):
        with sources.open(source) as opened:
            for column, name in source.columns.items():
                if field in {"", name}:
                    policy = vault.policy(name)
                    counted = opened.companions(column) if policy.format else opened.headers(column)
                    rows += _rows(source, column, policy, counted, keys)
    return rows


def unowned(ctx: Context) -> list[wire.CensusRow]:
    """Sealed values in columns of the tenant's databases that no source declares, by key version; `field` is empty."""
    keys = {(one.key_id, one.version): one.state.value for one in ctx.part(Vault).keyring if one.tenant == ctx.tenant}
    sources = ctx.part(Sources)
    rows, seen = list[wire.CensusRow](), set[str]()
    for source in sources.and_replicas(ctx.tenant):
        if source.url in seen:
            continue
        seen.add(source.url)
        declared = sources.declared(source)
        own = {place for place, tenants in declared.items() if ctx.tenant in tenants}
        with sources.open(source) as opened:
            found = strangers(opened.connection, own)
        for (table, column), heads in sorted(found.items()):
            for header, count in sorted(heads.items()):
                if (table, column) in declared and header not in keys:
                    continue  # another tenant's column: its values are not this tenant's to count
                state = keys.get(header, SAID.get(header, "unknown"))
                names = {"source": source.name, "table": table, "column": column, "field": ""}
                rows.append(
                    wire.CensusRow(**names, key_id=header[0].hex(), version=header[1], state=state, count=count)
                )
    return rows


def _rows(
    source: Source, column: str, policy: FieldPolicy, heads: list[tuple[str, int]], keys: list[KeyVersion]
) -> list[wire.CensusRow]:
    states = {(one.key_id, one.version): one.state.value for one in keys}
    alive = (one for one in keys if one.state is not State.DESTROYED)
    counts = {(one.key_id, one.version): 0 for one in alive if policy.sealed_by(one.name)}
    companions = {str(one.version): (one.key_id, one.version) for one in keys if one.name == policy.key}
    for head, count in heads:
        place = companions.get(head) or _place(head)  # no header is a number
        counts[place] = counts.get(place, 0) + count
    return [
        wire.CensusRow(
            source=source.name,
            table=source.table,
            column=column,
            field=policy.name,
            key_id=key_id.hex(),
            version=version,
            state=states.get((key_id, version), SAID.get((key_id, version), "unknown")),
            count=count,
        )
        for (key_id, version), count in sorted(counts.items())
    ]


def _place(head: str) -> Header:
    try:
        header = header_of(head)
    except InvalidEnvelope:
        return NOT_SEALED
    return OF_PERSONS if header.flags & FLAG_SUBJECT_KEY else (header.key_id, header.key_version)
