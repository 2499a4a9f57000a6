"""Wire models of search: what is looked for in sealed columns, tokens to store beside them, plans, and budgets."""

from typing import Annotated, Literal, NotRequired

from pydantic import ConfigDict, Field
from typing_extensions import TypedDict

from guard.wire.model import MAX_INTEGER, FieldName, Identifier, Model, Name
from guard.wire.vault import MAX_ITEMS, IndexToken, ItemProblem, Purpose, RowTokens

Kind = Literal["exact", "prefix", "suffix", "compound", "range"]
Value = Annotated[str, Field(max_length=4096)]
Values = Annotated[dict[str, Value], Field(max_length=8, description="Column of the same table -> value.")]
Row = Annotated[
    str, Field(min_length=1, max_length=256, description="The row's id, by which it falls into a partition.")
]
_STRICT = ConfigDict(extra="forbid", strict=True)


class SearchItem(TypedDict):
    """What to search a column for; *index* and *kind* are left out where the field is deterministic or has one index.

    exact, prefix, suffix: *value*; compound: *value* of the field itself and *values* of the other columns; range:
    *low*, *high* or both, as text.
    """

    __pydantic_config__ = _STRICT  # type: ignore[misc]
    field: FieldName
    index: NotRequired[Name]
    kind: NotRequired[Kind]
    value: NotRequired[Value]
    values: NotRequired[Values]
    low: NotRequired[Value]
    high: NotRequired[Value]


class SealedForm(TypedDict):
    """What a value looks like in a deterministic column under one version of its key."""

    version: int
    text: str


class Alternative(TypedDict):
    """Tokens of one index version; a row that carries every one of them is a hit."""

    version: int
    tokens: list[str]


class FoundItem(TypedDict):
    """What to look for, newest version first, or the problem.

    *tokens*, of which a hit carries any, where one is enough; else *alternatives*: it carries all of any.
    """

    index: NotRequired[str]
    kind: NotRequired[str]
    tokens: NotRequired[list[IndexToken]]
    alternatives: NotRequired[list[Alternative]]
    sealed: NotRequired[list[SealedForm]]
    problem: NotRequired[ItemProblem]


class Search(Model):
    """Values to search for, 1 to 1000, for one purpose; answered in order."""

    purpose: Purpose
    items: Annotated[list[SearchItem], Field(min_length=1, max_length=MAX_ITEMS)]


class Found(Model):
    """What to look for in the columns, in the order of the request; whoever opens the hits drops the false ones."""

    results: list[FoundItem]


class StoreItem(TypedDict):
    """A value of a row that is stored; *values* are those of the other columns of compound indexes."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]
    field: FieldName
    value: Value
    row: NotRequired[Row]
    values: NotRequired[Values]


class StoredItem(TypedDict):
    """The tokens of all declared indexes, or the problem; *missing* are compound indexes whose other values lack."""

    indexes: NotRequired[list[RowTokens]]
    missing: NotRequired[list[str]]
    problem: NotRequired[ItemProblem]


class IndexTokens(Model):
    """Values whose tokens are stored beside their rows, 1 to 1000; answered in order."""

    items: Annotated[list[StoreItem], Field(min_length=1, max_length=MAX_ITEMS)]


class StoredTokens(Model):
    """Tokens in the order of the request."""

    results: list[StoredItem]


class PlanFields(Model):
    """A field policy as YAML to judge, or "" for those that are loaded."""

    policy: Annotated[str, Field(max_length=262_144)] = ""
    file: Annotated[str, Field(max_length=128)] = "policy.yaml"


class PlannedIndex(Model):
    """One index: what a row carries, and what that tells."""

    index: str
    kind: str
    unique: bool
    bits: int
    advised_bits: int | None
    tokens_per_row: int
    partitions: int
    bytes_per_row: int
    tokens_per_query: int
    look_ups: dict[str, int]
    leak: str


class PlannedTable(Model):
    """The indexes of a table together; numbers of rows and coincidences are missing where the policy gives no rows."""

    table: str
    rows: int | None
    lowest_bits: int | None
    highest_bits: int | None
    spent_bits: int | None
    coincidences: int | None
    indexes: list[PlannedIndex]


class FieldsPlan(Model):
    """What would be stored and shown, table by table."""

    data: list[PlannedTable]


class ListBudgets(Model):
    """What the tenant's principals looked up, of those who did in the last days."""


class BudgetView(Model):
    """What one principal used of its budget in one index."""

    principal: str
    index: str
    minute: int
    hour: int
    day: int
    asked: int
    frozen_us: int


class BudgetList(Model):
    """Budgets in use, frozen ones first."""

    data: list[BudgetView]


class ThawBudget(Model):
    """Let a principal search in an index again; what it used is forgotten."""

    principal: Identifier
    index: Annotated[
        str,
        Field(pattern=r"^[a-z][a-z0-9_.]{0,191}(:store)?$", description="table.column.index as it is listed"),
    ]


class ExceededBudget(Model):
    """A principal asked for more than it may."""

    principal: Identifier
    index: str
    window: str
    limit: Annotated[int, Field(ge=0, le=MAX_INTEGER)]
    asked: Annotated[int, Field(ge=0, le=MAX_INTEGER)]
    frozen: bool


class IndexName(Model):
    """An index by its whole name, table.column.index."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_.]{0,191}$", description="table.column.index")]


class IndexVersion(IndexName):
    """One version of an index."""

    version: Annotated[int, Field(ge=1, le=MAX_INTEGER)]


class IndexVersionView(Model):
    """A live version: `current` says that it is what the field policy declares today."""

    index: str
    version: int
    kind: str
    bits: int
    current: bool


class ListIndexes(Model):
    """The live versions of all indexes of the tenant."""


class IndexList(Model):
    """Live versions, newest first."""

    data: list[IndexVersionView]


class ClaimValue(Model):
    """A value that no other row may have; guard keeps its token until it is released."""

    field: FieldName
    index: Name
    row: Row
    value: Value
    values: Values = Field(default_factory=dict)


class ReleaseValue(Model):
    """The claim of a row, to be given up."""

    field: FieldName
    index: Name
    row: Row


class Claimed(Model):
    """The claim stands, or is gone; `tokens` are those kept of it."""

    row: str
    tokens: int


class SourceSearch(Model):
    """A search in a configured source: guard looks up, opens the hits and drops the false ones."""

    source: Name
    purpose: Purpose
    field: FieldName
    index: Name | Literal[""] = ""
    kind: Kind | Literal[""] = ""
    value: Value = ""
    values: Values = Field(default_factory=dict)
    low: Value = ""
    high: Value = ""
    limit: Annotated[int, Field(ge=1, le=500)] = 100


class SourceHits(Model):
    """Primary keys of the rows as text; `dropped` were false hits; `more`: there may be rows beyond the limit."""

    index: str
    rows: list[str]
    dropped: int
    more: bool


class BuildIndexes(Model):
    """Give the next rows of a source the tokens of their field's indexes, from where the last call ended."""

    source: Name
    field: FieldName
    rows: Annotated[int, Field(ge=1, le=5000)] = 500
    again: bool = False


class BuiltIndexes(Model):
    """How far it is; `done` where all rows were looked at."""

    examined: int
    written: int
    failed: int
    done: bool
    total: int
