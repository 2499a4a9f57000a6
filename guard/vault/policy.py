"""Field policies: how each column of a table is sealed, bound, masked, searched, and for which purposes it is shown.

One YAML file per table. Law: what is not declared is refused, and what is declared unsafe is refused with its line;
there is no default for suite, mask or purposes. A purpose is policy and never part of the context, so that a change of
who may read for what needs no re-encryption.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from guard.errors import InvalidPolicy
from guard.vault import index_policy, planner, suites
from guard.vault.declaration import Entry, read, refuse
from guard.vault.envelope import SuiteId
from guard.vault.formats import MAX_LENGTH, Format
from guard.vault.hpke import Kem
from guard.vault.index import Definition
from guard.vault.mask import MASKS
from guard.vault.sealing import PAD_STEPS
from guard.vault.token_policy import TokenPolicy, parse_tokens

MAX_COLUMNS: Final = 256
MAX_PURPOSES: Final = 32
MAX_INDEXES: Final = 8
"""Every index of a row adds to what its tokens tell together; eight is far beyond what a planner accepts."""
MAX_ROWS: Final = 1 << 40

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")
_KEY_NAME: Final = re.compile(r"[a-z][a-z0-9_.-]{0,127}")
_TABLE_REQUIRED: Final = frozenset({"version", "table", "columns"})
_TABLE_OPTIONAL: Final = frozenset({"rows"})
_COLUMN_REQUIRED: Final = frozenset({"class", "suite", "bind", "mask", "purposes"})
_COLUMN_OPTIONAL: Final = frozenset(
    {"key", "index", "portable", "deterministic", "entropy", "pad", "ingest", "format", "keyed_by", "tokens"}
)
_FORMAT_REQUIRED: Final = frozenset({"alphabet", "min_length"})
_FORMAT_OPTIONAL: Final = frozenset({"keep_first", "keep_last"})
_REFUSED_SUITES: Final = {
    "gcm96": "a suite for fields; gcm96 has a 96-bit nonce and serves only clients of other systems",
    "ff3": "a suite that authenticates; ff3 was withdrawn by NIST",
    "ff3-1": "a suite that authenticates; ff3-1 was withdrawn by NIST",
}


class Bind(Enum):
    """What a value is tied to beside tenant, table and column."""

    ROW = "row"
    SUBJECT = "subject"


@dataclass(frozen=True, slots=True)
class FieldPolicy:
    """How one column is handled. `name` is `table.column`, the name that callers use for the field."""

    name: str
    table: str
    column: str
    data_class: str
    key: str
    suite: SuiteId
    bind: tuple[Bind, ...]
    """Empty for a portable or deterministic column."""
    mask: str
    purposes: frozenset[str]
    indexes: tuple[Definition, ...]
    pad_step: int = 0
    keyed_by_subject: bool = False
    """Values are sealed under the key of the person whom they are about, and end with it."""

    ingest: Kem | None = None
    """How others seal values for this field that they cannot read back; None if nobody may."""

    rows: int | None = None
    """How many rows the table is planned for."""

    format: Format | None = None
    """What values of the suite ff1 look like; None for every other suite."""

    tokens: TokenPolicy | None = None
    """For what, and how, tokens stand in for values of this field; None if they do not."""

    @property
    def token_key(self) -> str:
        """The name of the index key of the field's tokens; no index can have it."""
        return f"{self.name}#tokens"

    @property
    def index_keys(self) -> set[str]:
        """Every index key that this field needs."""
        return {one.key_name for one in self.indexes} | ({self.token_key} if self.tokens else set())

    @property
    def ingest_key(self) -> str:
        """The name of the key pair for such values; columns that share a key share it too."""
        return f"{self.key}.ingest"

    @property
    def keys(self) -> dict[str, suites.Suite]:
        """Every named key that this field needs, with its suite; values of a person are under the person's key."""
        own = {self.key: suites.FF1 if self.format else suites.suite(self.suite)}
        found = {} if self.keyed_by_subject else own
        return found if self.ingest is None else found | {self.ingest_key: suites.INGEST[self.ingest]}

    def sealed_by(self, key: str) -> bool:
        """Whether a value of this column may stand under the named key: its own, or the one that others seal under."""
        return key == self.key or (self.ingest is not None and key == self.ingest_key)

    @property
    def deterministic(self) -> bool:
        """Equal values of the tenant have equal ciphertexts in this column."""
        return not self.bind if self.format else suites.suite(self.suite).deterministic

    @property
    def portable(self) -> bool:
        """A ciphertext opens in every row of the column."""
        return not self.bind


@dataclass(frozen=True, slots=True)
class _Table:
    name: str
    rows: int | None


def parse(text: str, file_name: str) -> tuple[FieldPolicy, ...]:
    """The policies of one file, in its order. `file_name` stands in every message.

    Raises:
        InvalidPolicy: the file is no YAML of this form, or declares what is unknown or unsafe.
    """
    top = read(text, file_name)
    entries = top.mapping(_TABLE_REQUIRED, _TABLE_OPTIONAL)
    entries["version"].integer(1, 1)
    rows = entries["rows"].integer(planner.MIN_ROWS, MAX_ROWS) if "rows" in entries else None
    table = _Table(_name(entries["table"], "the table"), rows)
    columns = entries["columns"].open_mapping()
    if not 1 <= len(columns) <= MAX_COLUMNS:
        raise entries["columns"].refuse(f"1 to {MAX_COLUMNS} columns")
    policies = tuple(_column(table, name, entry) for name, entry in columns.items())
    index_policy.check(rows, columns, {policy.column: policy.indexes for policy in policies})
    return policies


def _column(table: _Table, name: str, entry: Entry) -> FieldPolicy:
    if not _NAME.fullmatch(name):
        raise refuse(entry.file_name, entry.line, f"expected a column name in lower case; {name[:40]!r} came")
    given = entry.mapping(_COLUMN_REQUIRED, _COLUMN_OPTIONAL)
    field = f"{table.name}.{name}"
    suite = _suite(given["suite"])
    form = _format(given) if suite is suites.FF1 else None
    # Within one row ff1 is no more than any other suite; without a row equal values are equal, as those of siv are.
    deterministic = suite.deterministic and not (form and given["bind"].value)
    bind = _bind(given, deterministic=deterministic)
    if deterministic:
        _check_deterministic(table, entry, given)
    if suite is not suites.FF1 and "format" in given:
        raise given["format"].refuse("no 'format' beside a suite other than ff1")
    indexes = (
        tuple(index_policy.read(table.name, name, given, one) for one in given["index"].items(MAX_INDEXES))
        if "index" in given
        else ()
    )
    if len({one.name for one in indexes}) != len(indexes):
        raise given["index"].refuse("indexes with different names")
    purposes = _purposes(given["purposes"])
    return FieldPolicy(
        name=field,
        table=table.name,
        column=name,
        data_class=_name(given["class"], "the class"),
        key=_matching(given["key"], _KEY_NAME, "the name of a key") if "key" in given else field,
        suite=suite.id,
        bind=bind,
        mask=_choice(given["mask"], "a mask", MASKS),
        purposes=purposes,
        indexes=indexes,
        pad_step=_pad_step(given["pad"]) if "pad" in given else 0,
        ingest=Kem(_choice(given["ingest"], "a way to seal", [kem.value for kem in Kem]))
        if "ingest" in given
        else None,
        rows=table.rows,
        format=form,
        tokens=parse_tokens(given["tokens"], purposes) if "tokens" in given else None,
        keyed_by_subject="keyed_by" in given and _keyed_by_subject(given["keyed_by"], suite, bind),
    )


def _suite(entry: Entry) -> suites.Suite:
    name = entry.text("the name of a suite")
    if name in _REFUSED_SUITES:
        raise entry.refuse(_REFUSED_SUITES[name])
    return suites.BY_NAME[_choice(entry, "a suite", [one.name for one in (*suites.SUITES.values(), suites.FF1)])]


def _format(given: dict[str, Entry]) -> Format:
    if "format" not in given:
        raise given["suite"].refuse("'format' with the 'alphabet' beside the suite ff1")
    if "pad" in given:
        raise given["pad"].refuse("no 'pad' beside the suite ff1, which keeps the length")
    entry = given["format"]
    parts = entry.mapping(_FORMAT_REQUIRED, _FORMAT_OPTIONAL)
    kept = [parts[name].integer(0, MAX_LENGTH) if name in parts else 0 for name in ("keep_first", "keep_last")]
    alphabet = parts["alphabet"].text("the characters in their order")
    try:
        return Format(alphabet, parts["min_length"].integer(2, MAX_LENGTH), *kept)
    except InvalidPolicy as error:
        raise refuse(entry.file_name, entry.line, error.detail.rstrip(".")) from None


def _bind(given: dict[str, Entry], *, deterministic: bool) -> tuple[Bind, ...]:
    entry = given["bind"]
    names = [_choice(one, "what to bind to", [bind.value for bind in Bind]) for one in entry.items(len(Bind))]
    portable = "portable" in given and given["portable"].flag()
    if len(set(names)) != len(names):
        raise entry.refuse("each of row and subject once")
    if deterministic and (names or portable):
        raise entry.refuse("[] and no 'portable' for a deterministic column, whose values are equal in every row")
    if not deterministic and portable == bool(names):
        raise entry.refuse("row or subject, or [] together with 'portable: true'")
    return tuple(Bind(name) for name in sorted(names))


def _keyed_by_subject(entry: Entry, suite: suites.Suite, bind: tuple[Bind, ...]) -> bool:
    _choice(entry, "whose key it is", ["subject"])
    # A person has one key, and a key serves one suite.
    if suite.id is not SuiteId.CBL256 or Bind.SUBJECT not in bind:
        raise entry.refuse("the suite cbl256 and 'subject' in bind beside 'keyed_by: subject'")
    return True


def _check_deterministic(table: _Table, entry: Entry, given: dict[str, Entry]) -> None:
    if "deterministic" not in given or not given["deterministic"].flag():
        raise given["suite"].refuse("'deterministic: true' beside a suite that shows which rows are equal")
    if table.rows is None or "entropy" not in given:
        raise entry.refuse("'rows' of the table and 'entropy' of the column, to judge what a deterministic suite shows")
    try:
        planner.check_deterministic(table.rows, given["entropy"].integer(0, 256))
    except InvalidPolicy as error:
        raise refuse(entry.file_name, given["entropy"].line, error.detail.rstrip(".")) from None


def _purposes(entry: Entry) -> frozenset[str]:
    purposes = frozenset(_name(one, "a purpose") for one in entry.items(MAX_PURPOSES))
    if not purposes:
        raise entry.refuse("at least one purpose; without one nobody could read the column")
    return purposes


def _pad_step(entry: Entry) -> int:
    step = entry.integer(0, max(PAD_STEPS))
    if step not in PAD_STEPS:
        raise entry.refuse(f"a padding step of {', '.join(map(str, PAD_STEPS))} bytes")
    return step


def _name(entry: Entry, what: str) -> str:
    return _matching(entry, _NAME, f"the name of {what}" if what.startswith("the") else f"{what} as a name")


def _matching(entry: Entry, pattern: re.Pattern[str], expected: str) -> str:
    text = entry.text(expected)
    if not pattern.fullmatch(text):
        raise entry.refuse(f"{expected} in lower case ({pattern.pattern})")
    return text


def _choice(entry: Entry, what: str, known: Iterable[str]) -> str:
    names = sorted(known)
    text = entry.text(what)
    if text not in names:
        raise entry.refuse(f"{what} ({', '.join(names)})")
    return text
