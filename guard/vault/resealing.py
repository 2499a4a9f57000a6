"""The work of a re-encryption job: batches, each verified before it replaces anything, then a look back.

Law: open, seal under the newest version, open again and compare, then compare-and-swap; what does not open again is
never written, and ends the job. Rows that are new already are known by their header and skipped, so a lost checkpoint
costs time and never correctness. A job is done when a count of the column finds nothing left, not when it came to the
end: what was written behind its cursor under an older version is sealed anew in another pass.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

from guard.catalogue import Context
from guard.errors import (
    BodyTooLarge,
    DoesNotOpen,
    InvalidContext,
    InvalidEnvelope,
    KeyStateConflict,
    NotFound,
    SealUnsound,
)
from guard.settings import Source
from guard.vault import batches, suites
from guard.vault.context import Value
from guard.vault.envelope import TEXT_PREFIX, header_of
from guard.vault.keys import KeyVersion
from guard.vault.policy import Bind, FieldPolicy
from guard.vault.sealing import open_text, seal_text
from guard.vault.source_store import Cell, Occupied, Opened, Progress, Sources
from guard.vault.vault import Vault
from guard.wire.vault import ReencryptionView

MAX_PASSES = 8  # a writer that still seals under an old version after so many holds an old keyring
UNREADABLE = (DoesNotOpen, InvalidEnvelope, InvalidContext, NotFound, KeyStateConflict, Occupied, BodyTooLarge)


@dataclass(frozen=True, slots=True)
class Column:
    """What a job works on."""

    ctx: Context
    source: Source
    policy: FieldPolicy
    dry_run: bool
    in_clear: bool = False

    @property
    def name(self) -> str:
        """The column in its table."""
        return next(column for column, field in self.source.columns.items() if field == self.policy.name)

    @property
    def newest(self) -> KeyVersion:
        """What values are sealed with now."""
        return self.ctx.part(Vault).keyring.active(self.ctx.tenant, self.policy.key)

    def count(self, values: int) -> None:
        """Add what was sealed to the uses of the newest version, by which it is replaced one day."""
        newest = self.newest
        self.ctx.part(Vault).life.uses.seal((newest.tenant, newest.name, newest.version), values)


def advance(column: Column, view: ReencryptionView, kept: str, rows: int) -> tuple[ReencryptionView, str, int]:
    """Do one batch; the job as it stands after it, what a dry run has to keep of it, and how many rows it saw.

    Raises:
        SealUnsound: a fresh value did not open again; the whole batch is taken back.
        StoreUnavailable: the source does not answer.
    """
    with column.ctx.part(Sources).open(column.source) as opened:
        before = _progress(kept) if column.dry_run else opened.progress(view.job)
        cells = opened.cells(column.name, before.cursor, rows)
        after = _batch(column, opened, before, cells)
        if not column.dry_run:
            opened.checkpoint(view.job, after)
        total = opened.count()
    if not column.dry_run:
        column.count(after.changed - before.changed)
    state, detail = "running", ""
    if len(cells) < rows:
        state = "verifying"
        if column.dry_run:
            state, detail = "done", f"Nothing was changed; {after.changed} values would be sealed anew."
    told = {"state": state, "detail": detail, "total": total} | _counts(after)
    return view.model_copy(update=told), after.text() if column.dry_run else "", len(cells)


def look_back(column: Column, view: ReencryptionView) -> ReencryptionView:
    """Count what older versions still seal in the column: the job is done, has failed, or makes another pass."""
    with column.ctx.part(Sources).open(column.source) as opened:
        heads = opened.headers(column.name)
        behind = _behind(column, heads) + (_in_clear(heads) if column.in_clear else 0)
        if behind > view.failed and view.passes < MAX_PASSES:
            again = Progress(changed=view.changed)
            opened.checkpoint(view.job, again)
            return view.model_copy(update={"state": "running", "passes": view.passes + 1} | _counts(again))
    if view.failed:
        detail = f"{view.failed} values did not open in their row; they are unchanged."
        if column.in_clear:
            detail = f"{view.failed} values could not be sealed and are unchanged; {_in_clear(heads)} stand in clear."
    elif behind and column.in_clear:
        detail = f"{behind} values were written in clear or old meanwhile, pass after pass; let writers seal first."
    elif behind:
        detail = f"{behind} values were sealed under an older version meanwhile, pass after pass; find who does that."
    else:
        detail = "No value stands in clear any more." if column.in_clear else ""
        return view.model_copy(update={"state": "done", "detail": detail})
    return view.model_copy(update={"state": "failed", "detail": detail})


def _behind(column: Column, heads: list[tuple[str, int]]) -> int:
    newest, ring = column.newest, column.ctx.part(Vault).keyring
    own = (one for one in ring if one.tenant == newest.tenant and column.policy.sealed_by(one.name))
    older = {(one.key_id, one.version) for one in own}
    older.discard((newest.key_id, newest.version))
    behind = 0
    for head, count in heads:
        try:
            header = header_of(head)
        except InvalidEnvelope:
            continue
        behind += count if (header.key_id, header.key_version) in older else 0
    return behind


def _in_clear(heads: list[tuple[str, int]]) -> int:
    return sum(count for head, count in heads if not _is_sealed(head))


def _is_sealed(head: str) -> bool:
    try:
        header_of(head)
    except InvalidEnvelope:
        return False
    return True


def waits(column: Column) -> str:
    """Why the job has to wait now: the replicas of the source are too far behind; empty where they are not."""
    source = column.source
    if not source.lag:
        return ""
    with column.ctx.part(Sources).open(source) as opened:
        lag = opened.lag_seconds(source.lag)
    if lag <= source.lag_limit_seconds:
        return ""
    return f"Waits: replicas of {source.name} are {lag:.1f} s behind, and {source.lag_limit_seconds} s are allowed."


def _batch(column: Column, opened: Opened, before: Progress, cells: list[Cell]) -> Progress:
    newest = column.newest
    changed, skipped, failed = before.changed, before.skipped, before.failed
    for cell in cells:
        try:
            if _swap(column, opened, newest, cell):
                changed += 1
            else:
                skipped += 1
        except UNREADABLE:
            failed += 1
    cursor = json.dumps(cells[-1].key) if cells else before.cursor
    return Progress(cursor, before.examined + len(cells), changed, skipped, failed)


def _swap(column: Column, opened: Opened, newest: KeyVersion, cell: Cell) -> bool:
    if column.dry_run:
        return resealed(column, newest, cell) is not None
    return opened.swap(column.name, cell, lambda read: resealed(column, newest, read))


def resealed(column: Column, newest: KeyVersion, cell: Cell) -> str | None:
    """A cell's value under the newest version, opened again and compared; None where it is under that already.

    Raises:
        SealUnsound: it does not open again to the same bytes.
        DoesNotOpen, InvalidEnvelope, NotFound, KeyStateConflict: the old value does not open.
    """
    policy = column.policy
    if column.in_clear and not cell.value.startswith(TEXT_PREFIX):
        context, plaintext = next(contexts(newest.tenant, policy, cell)), cell.value.encode()
    else:
        header = header_of(cell.value)
        if (header.key_id, header.key_version) == (newest.key_id, newest.version):
            return None
        old = column.ctx.part(Vault).keyring.find(newest.tenant, header.key_id, header.key_version)
        if not policy.sealed_by(old.name):
            raise DoesNotOpen(suites.DOES_NOT_OPEN)
        context, plaintext = _opened(old, policy, cell)
    step, random = policy.pad_step, column.ctx.random
    fresh = seal_text(newest, context, plaintext, portable=policy.portable, pad_step=step, random=random)
    prove(newest, context, plaintext, fresh)
    return fresh


def prove(newest: KeyVersion, context: dict[str, Value], plaintext: bytes, fresh: str) -> None:
    """Open what was sealed just now, before it replaces anything.

    Raises:
        SealUnsound: it does not open again to the same bytes.
    """
    try:
        same = open_text(newest, context, fresh) == plaintext
    except (DoesNotOpen, InvalidEnvelope):
        same = False
    if not same:
        raise unsound()


def unsound() -> SealUnsound:
    """The error of a value that did not open again."""
    return SealUnsound(
        "A value that was sealed anew did not open again, so it was not written and the job stopped; "
        "check this machine's memory and processor before you start another."
    )


def _opened(old: KeyVersion, policy: FieldPolicy, cell: Cell) -> tuple[dict[str, Value], bytes]:
    """A value and the context that it opens in."""
    for context in contexts(old.tenant, policy, cell):
        try:
            return context, open_text(old, context, cell.value, compromised_granted=True)
        except DoesNotOpen:
            continue
    raise DoesNotOpen(suites.DOES_NOT_OPEN)


def contexts(tenant: str, policy: FieldPolicy, cell: Cell) -> Iterator[dict[str, Value]]:
    """The contexts that a cell's value may be sealed in: callers name a row or a person by text, or by number.

    The first is the one for new values. None where the value is bound to a person and the row names nobody.
    """
    known = {Bind.ROW: cell.key, Bind.SUBJECT: cell.subject}
    bound = [one for one in known if one in policy.bind]
    if any(known[one] is None for one in bound):
        raise InvalidContext("Expected the id of a person in the row, got none; the value is bound to one.")
    for forms in product(*[_forms(known[one]) for one in bound]):
        yield batches.shared(tenant, policy) | dict(zip((one.value for one in bound), forms, strict=True))


def _forms(found: object) -> list[Value]:
    return [str(found), found] if type(found) is int else [str(found)]


def _progress(kept: str) -> Progress:
    return Progress(**json.loads(kept)) if kept else Progress()


def _counts(progress: Progress) -> dict[str, Any]:
    return {name: getattr(progress, name) for name in ("examined", "changed", "skipped", "failed")}
