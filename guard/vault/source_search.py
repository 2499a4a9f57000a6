"""What the catalogue lists of search in configured sources: tokens beside the rows, look-ups, hits that are opened.

Law: a hit that does not fit after opening is dropped and never named; the answer holds row ids, no value. Tokens are
written while the row is held at the value that was read.
"""

import json
from collections.abc import Mapping

from guard.catalogue import Context, Effect, operation
from guard.errors import DoesNotOpen, GuardError, InvalidRequest
from guard.settings import Source
from guard.vault import batches, searching, source_token_store, suites, terms
from guard.vault.envelope import header_of
from guard.vault.index import Definition
from guard.vault.policy import Bind, FieldPolicy
from guard.vault.sealing import open_text
from guard.vault.searching import STORE
from guard.vault.source_store import Cell, Opened, Progress, Sources
from guard.vault.terms import Query
from guard.vault.vault import Vault
from guard.wire import search as wire

PAGE = 200
MAX_OPENED = 5000  # hits of one search; a query that has more false ones than that has an index of too few bits
CURSOR = "index:{}"  # under which job a source keeps how far its tokens are


@operation(
    "sources.search",
    "POST /api/v1/sources/{source}/search",
    takes=wire.SourceSearch,
    gives=wire.SourceHits,
    effect=Effect.EXTERNAL,
    resource="fields/{field}/{purpose}",
    audit=("source", "purpose", "field"),
    example={"purpose": "support", "field": "customers.email", "value": "ana@example.org"},
)
def search_source(ctx: Context, request: wire.SourceSearch) -> wire.SourceHits:
    """Find rows of a source by a value, a prefix, several values or a range; false hits are opened and dropped."""
    policy = searching.allowed(ctx, request.field, request.purpose)
    source, columns = _columns(ctx, request.source, policy)
    item = request.model_dump(include={"index", "kind", "value", "values", "low", "high"})
    wanted, one = searching.query(ctx, policy, item, request.purpose), searching.chosen(policy, item)
    found = searching.look_up(ctx, one, wanted)
    searching.charge(ctx, {one.key_name: (one, 1)}, storing=request.purpose == STORE)
    with ctx.part(Sources).open(source) as opened:
        source_token_store.prepare(opened.connection)
        hits = _hits(_Reader(ctx, opened, source, columns), one, wanted, found, request.limit)
    ctx.note(index=one.key_name, rows=len(hits.rows), dropped=hits.dropped)
    return hits


@operation(
    "sources.index",
    "POST /api/v1/sources/{source}/index",
    takes=wire.BuildIndexes,
    gives=wire.BuiltIndexes,
    effect=Effect.EXTERNAL,
    resource="sources/{source}",
    audit=("source", "field", "rows", "again"),
    example={"field": "customers.email"},
)
def index_source(ctx: Context, request: wire.BuildIndexes) -> wire.BuiltIndexes:
    """Give the next rows of a source the tokens of a field's indexes; again and again until it is done, resumably."""
    policy = ctx.part(Vault).policy(request.field)
    if not policy.indexes:
        raise InvalidRequest(f"Expected a field with an index, got {policy.name}, which declares none.")
    source, columns = _columns(ctx, request.source, policy)
    job = CURSOR.format(request.field)
    with ctx.part(Sources).open(source) as opened:
        source_token_store.prepare(opened.connection)
        before = Progress() if request.again else opened.progress(job)
        read = _Reader(ctx, opened, source, columns)
        cells = opened.cells(columns[policy.name], before.cursor, request.rows)
        written, failed = _write(read, policy, cells)
        done = len(cells) < request.rows
        cursor = "" if done or not cells else json.dumps(cells[-1].key)
        after = Progress(cursor, before.examined + len(cells), before.changed + written, 0, before.failed + failed)
        opened.progress(job)  # makes the table of cursors where it is not there
        opened.checkpoint(job, Progress() if done else after)
        total = opened.count()
    ctx.note(examined=len(cells), written=written, failed=failed)
    return wire.BuiltIndexes(
        examined=after.examined, written=after.changed, failed=after.failed, done=done, total=total
    )


class _Reader:
    """Opens the values of a source's rows."""

    def __init__(self, ctx: Context, opened: Opened, source: Source, columns: Mapping[str, str]) -> None:
        self.ctx, self.opened, self.source = ctx, opened, source
        self._columns = columns
        self._policies = {name: ctx.part(Vault).policy(name) for name in columns}

    def column(self, field: str) -> str:
        """The column of the source that holds a field."""
        return self._columns[field]

    def values(self, row: str, key: object, cells: Mapping[str, str]) -> dict[str, str]:
        """Values by column of the policy; *cells* by column of the source. Raises what opening raises."""
        found = {}
        for name, column in self._columns.items():
            if column in cells:
                found[self._policies[name].column] = self._open(self._policies[name], row, key, cells[column])
        return found

    def rows(self, rows: list[str]) -> list[tuple[str, dict[str, str]]]:
        """(row, values) of those that are still there and open."""
        columns = list(dict.fromkeys(self._columns.values()))
        found = source_token_store.cells(self.opened.connection, self.source, columns, rows)
        read = []
        for row in rows:
            key, *texts = found.get(row, (None,))
            try:
                read.append(
                    (
                        row,
                        self.values(
                            row,
                            key,
                            {name: str(text) for name, text in zip(columns, texts, strict=False) if text is not None},
                        ),
                    )
                )
            except GuardError:
                continue  # a row that does not open is no hit
        return read

    def _open(self, policy: FieldPolicy, row: str, key: object, text: str) -> str:
        header = header_of(text)
        version = self.ctx.part(Vault).keyring.find(self.ctx.tenant, header.key_id, header.key_version)
        if version.name != policy.key:
            raise DoesNotOpen(suites.DOES_NOT_OPEN)
        context = batches.shared(self.ctx.tenant, policy)
        # As for sealing anew, no grant for a compromised version is asked for: nobody is shown what was opened.
        if not policy.bind:
            return _text(open_text(version, context, text, compromised_granted=True))
        try:
            return _text(open_text(version, context | {"row": row}, text, compromised_granted=True))
        except DoesNotOpen:
            if type(key) is not int:
                raise
            return _text(open_text(version, context | {"row": key}, text, compromised_granted=True))


def _hits(
    read: _Reader, one: Definition, wanted: Query, found: list[tuple[int, list[list[bytes]]]], limit: int
) -> wire.SourceHits:
    rows: dict[str, None] = {}
    dropped = seen = 0
    for version, alternatives in found:
        after: str | None = None
        page = [""]
        while page and alternatives and len(rows) <= limit and seen < MAX_OPENED:
            page = source_token_store.matching(read.opened.connection, one.key_name, version, alternatives, after, PAGE)
            fresh = [row for row in page if row not in rows]
            fit = [row for row, values in read.rows(fresh) if _fits(one, wanted, values)]
            rows.update(dict.fromkeys(fit))
            dropped, seen = dropped + len(fresh) - len(fit), seen + len(page)
            after = page[-1] if page else after
    more = len(rows) > limit or seen >= MAX_OPENED
    return wire.SourceHits(index=one.name, rows=list(rows)[:limit], dropped=dropped, more=more)


def _fits(one: Definition, wanted: Query, values: Mapping[str, str]) -> bool:
    try:
        return terms.fits(one, wanted, values)
    except InvalidRequest:
        return False  # it was changed since and has no form in the index any more


def _write(read: _Reader, policy: FieldPolicy, cells: list[Cell]) -> tuple[int, int]:
    written = failed = 0
    column = read.column(policy.name)
    for cell in cells:
        if not read.opened.swap(column, cell, lambda read: read.value):  # held at what is read next, until the commit
            continue
        values = dict(read.rows([cell.row])).get(cell.row)
        if values is None:
            failed += 1
            continue
        made = [_put(read, one, cell.row, values) for one in policy.indexes]
        written += any(changed for changed, _ in made)
        failed += any(lost for _, lost in made)
    return written, failed


def _put(read: _Reader, one: Definition, row: str, values: Mapping[str, str]) -> tuple[bool, bool]:
    """Whether tokens were written, and whether a value has no form in this index: the others get theirs all the same.

    A row without a form, or without the other part of a compound index, carries nothing: what it carried is of a value
    that it no longer has, and would keep an old version for ever.
    """
    live = searching.versions(read.ctx, one)
    kept = live if one.unique else live[:1]
    lost, tokens = False, list[tuple[int, bytes]]()
    for version in kept:
        if all(column in values for column, _ in version.definition.parts):
            try:
                tokens += [(version.key.version, token) for token in version.stored(values, row)]
            except InvalidRequest:
                lost = True
    return source_token_store.put(read.opened.connection, row, one.key_name, tokens), lost


def forget_gone(opened: Opened, source: Source, column: str, place: tuple[str, int]) -> None:
    """Drop the tokens of a version that belong to rows which were deleted or emptied; nobody indexes those again.

    It ends at the first page that has a row which is still there, since then the version is needed anyway.
    """
    connection, after = opened.connection, None
    while page := source_token_store.carrying(connection, *place, after, PAGE):
        there = source_token_store.cells(connection, source, [column], page)
        gone = [row for row in page if row not in there or there[row][1] is None]
        source_token_store.drop(connection, *place, gone)
        if len(gone) < len(page):
            return
        after = page[-1]


def _columns(ctx: Context, name: str, policy: FieldPolicy) -> tuple[Source, dict[str, str]]:
    """The source, and field -> its column for the field and those that its compound indexes need."""
    source = ctx.part(Sources).find(name, ctx.tenant)
    fields = {policy.name} | {f"{policy.table}.{other}" for one in policy.indexes for other, _ in one.parts}
    declared = {field: column for column, field in source.columns.items()}
    missing = sorted(fields - declared.keys())
    if missing:
        raise InvalidRequest(f"Expected {', '.join(missing)} among the columns of source {name}; declare it there.")
    for field in fields:
        found = ctx.part(Vault).policy(field)
        if Bind.SUBJECT in found.bind or found.format is not None:
            raise InvalidRequest(f"Field {field} has values that guard cannot open in a source; search them yourself.")
    return source, {field: declared[field] for field in sorted(fields)}


def _text(plaintext: bytes) -> str:
    return plaintext.decode("utf-8", "surrogateescape")
