"""What is held on a person: the report that counts, and the access request that opens.

Law: a value is a person's when its header names the person's key, so the report needs no list of who is where; columns
whose values belong to rows are named as such, since nobody can tell from them whose they are. The access request is
for the person: it opens whatever its purpose, under a permission of its own, and is on record before a byte leaves.
"""

import json
from collections.abc import Iterator
from contextlib import nullcontext

from guard.catalogue import Context, Effect, operation
from guard.errors import DoesNotOpen, GuardError, InvalidRequest, NotFound
from guard.settings import Source
from guard.vault import batches, dek_store, token_access
from guard.vault.alarm import raise_later
from guard.vault.context import Value
from guard.vault.dek_store import DekRow
from guard.vault.envelope import FLAG_PADDED, FLAG_SUBJECT_KEY, SuiteId, census_prefixes
from guard.vault.forgetting import Forgetting
from guard.vault.keyed import VERSION, use
from guard.vault.keys import KeyVersion
from guard.vault.policy import Bind, FieldPolicy
from guard.vault.sealing import open_text
from guard.vault.source_store import Cell, Sources
from guard.vault.subject_operations import covering
from guard.vault.vault import Vault
from guard.wire import subjects as wire

FLAGS = (FLAG_SUBJECT_KEY, FLAG_SUBJECT_KEY | FLAG_PADDED)
Place = tuple[Source, str, FieldPolicy]


@operation(
    "subjects.report",
    "POST /api/v1/subjects/report",
    takes=wire.AskSubject,
    gives=wire.SubjectReport,
    effect=Effect.READ,
    resource="subjects/{tenant}",
    sealed=("subject", "reason"),
    subject="subject",
    example={"subject": "u-17"},
)
def report_subject(ctx: Context, request: wire.AskSubject) -> wire.SubjectReport:
    """Count what is sealed under a person's key, by column of the registered sources; no value is opened."""
    tenant = ctx.tenant_for(request.tenant)
    key = _key(ctx, tenant, request.subject)
    keyed, others = _places(ctx, tenant)
    if key is None:  # a true answer to whoever asks: nothing is held, or what was is destroyed
        ctx.note(columns=0, values=0, state="none")
        return wire.SubjectReport(state="none", since_us=None, hold=None, data=[], unattributed=others)
    data = [
        wire.HeldColumn(
            source=source.name,
            table=source.table,
            column=column,
            field=policy.name,
            data_class=policy.data_class,
            purposes=sorted(policy.purposes),
            count=_count(ctx, source, column, key, policy),
        )
        for source, column, policy in keyed
    ]
    data += token_access.held(ctx, key)
    hold = covering(ctx, ctx.tx, tenant, request.subject)
    state = "revoked" if key.revoked_us is not None else "held" if hold else "live"
    ctx.note(columns=len(data), values=sum(one.count for one in data), state=state)
    return wire.SubjectReport(state=state, since_us=key.revoked_us, hold=hold, data=data, unattributed=others)


@operation(
    "subjects.export",
    "POST /api/v1/subjects/export",
    takes=wire.ExportSubject,
    gives=wire.SubjectExport,
    effect=Effect.READ,
    resource="subjects/{tenant}",
    sealed=("subject", "reason"),
    subject="subject",
    example={"subject": "u-17", "reason": "access request by letter"},
)
def export_subject(ctx: Context, request: wire.ExportSubject) -> wire.SubjectExport:
    """Answer an access request: open what is sealed under a person's key, a page at a time."""
    tenant = ctx.tenant_for(request.tenant)
    if tenant != ctx.tenant:
        raise NotFound("Expected your own tenant, got another; values are opened by the tenant's own people only.")
    key, found, cursor = _key(ctx, tenant, request.subject), list[wire.HeldValue](), ""
    places = _places(ctx, tenant)[0]
    if key is None:
        ctx.note(values=0, failed=0)
        return wire.SubjectExport(data=[], cursor="")
    with use(ctx, places[0][2]) if places else nullcontext() as keys:
        version = None if keys is None else keys.find(tenant, key.dek_id, VERSION)
        for at, place, cell in _cells(ctx, places, key, request):
            if len(found) == request.limit:
                cursor = at
                break
            assert version is not None  # there is a place
            found.append(_opened(version, place, cell, request.subject))
    raise_later(ctx, _planted(ctx, request.subject, found))
    if not cursor:
        last, room = len(places), request.limit - len(found)
        values, cursor = token_access.export(ctx, key, _parted(request.cursor, last), last, room)
        found += values
    failed = sum(one.problem is not None for one in found)
    ctx.note(values=len(found), failed=failed)
    return wire.SubjectExport(data=found, cursor=cursor)


def _key(ctx: Context, tenant: str, subject: str) -> DekRow | None:
    return dek_store.by_ref(ctx.tx, ctx.part(Forgetting).subjects.ref(tenant, subject))


def _places(ctx: Context, tenant: str) -> tuple[list[Place], list[str]]:
    vault, keyed, others = ctx.part(Vault), list[Place](), list[str]()
    for source in ctx.part(Sources).of_tenant(tenant):
        for column, name in sorted(source.columns.items()):
            policy = vault.policy(name)
            if policy.keyed_by_subject:
                keyed.append((source, column, policy))
            else:
                others.append(f"{source.name}.{column}")
    return keyed, others


def _heads(key: DekRow, policy: FieldPolicy) -> tuple[str, ...]:
    return census_prefixes(key.dek_id, VERSION, (policy.suite, SuiteId.LEASED), FLAGS)


def _count(ctx: Context, source: Source, column: str, key: DekRow, policy: FieldPolicy) -> int:
    with ctx.part(Sources).open(source) as opened:
        return opened.count_beginning(column, _heads(key, policy))


def _cells(
    ctx: Context, places: list[Place], key: DekRow, request: wire.ExportSubject
) -> Iterator[tuple[str, Place, Cell]]:
    """The person's cells after the request's cursor, each with the cursor that begins at it."""
    skipped, start = _parted(request.cursor, len(places))
    for number, (source, column, policy) in enumerate(places):
        if number < skipped:
            continue
        with ctx.part(Sources).open(source) as opened:
            cells = opened.cells_beginning(column, _heads(key, policy), start, request.limit + 1)
        for cell in cells:
            yield json.dumps([number, start]), (source, column, policy), cell
            start = json.dumps(cell.key)
        start = ""


def _parted(cursor: str, places: int) -> tuple[int, str]:
    if not cursor:
        return 0, ""
    try:
        number, start = json.loads(cursor)
        # The number after the last place is that of tokens; past it there would be nothing, as if that were all.
        known = type(number) is int and 0 <= number <= places
        if known and type(start) is str and (not start or type(json.loads(start)) in {int, str}):
            return number, start
    except (TypeError, ValueError):
        pass
    raise InvalidRequest("Expected the cursor that the last page gave, got another text.", errors=[])


def _opened(version: KeyVersion, place: Place, cell: Cell, subject: str) -> wire.HeldValue:
    source, column, policy = place
    facts = {"source": source.name, "table": source.table, "column": column, "field": policy.name, "row": cell.row}
    try:
        return wire.HeldValue(**facts, plaintext=batches.encoded(_plaintext(version, policy, cell, subject)))
    except GuardError as error:
        return wire.HeldValue(**facts, problem=error.title)


def _planted(ctx: Context, subject: str, found: list[wire.HeldValue]) -> Iterator[bytes]:
    """The marks of planted rows among what was opened."""
    vault = ctx.part(Vault)
    for one in found:
        if one.problem is None and vault.honey.watches(ctx.tenant):
            policy, known = vault.policy(one.field), {"row": one.row, "subject": subject}
            bound = [(name, known[name]) for name in batches.binding(policy)]
            mark = vault.honey.planted_row(ctx.tenant, policy.table, bound)
            if mark is not None:
                yield mark


def _plaintext(version: KeyVersion, policy: FieldPolicy, cell: Cell, subject: str) -> bytes:
    context: dict[str, Value] = {**batches.shared(version.tenant, policy), "subject": subject}
    if Bind.ROW not in policy.bind:
        return open_text(version, context, cell.value)
    try:
        return open_text(version, context | {"row": cell.row}, cell.value)
    except DoesNotOpen:
        if type(cell.key) is not int:  # callers name a row by its text, or by its number
            raise
        return open_text(version, context | {"row": cell.key}, cell.value)
