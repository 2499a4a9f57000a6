"""Blind indexes as a field policy declares them, and whether they may stand together on their table.

Law: an index that shows more than the planner allows is refused with its line; what is unsafe by its nature (the order
of a range) needs a flag by which somebody signs for it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from guard.errors import InvalidPolicy
from guard.vault import budget, index, planner
from guard.vault.budget import Budget
from guard.vault.declaration import Entry, refuse
from guard.vault.domains import KINDS, MAX_NUMBERS, Domain, parse
from guard.vault.index import Definition
from guard.vault.normalisers import NORMALISERS, Normaliser, normaliser
from guard.vault.planner import Declared

MAX_LENGTH: Final = 32
MAX_PARTS: Final = 4
PARTITIONS: Final = (1, 2, 4, 8, 16)
MAX_LOOK_UPS: Final = 1_000_000_000

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")
_REQUIRED: Final = frozenset({"name", "kind", "bits"})
_OPTIONAL: Final = frozenset({"budget", "partitions", "entropy"})
_OF_KIND: Final = {
    "exact": (frozenset({"normalise"}), frozenset({"unique"})),
    "prefix": (frozenset({"normalise", "min_length", "max_length"}), frozenset[str]()),
    "suffix": (frozenset({"normalise", "min_length", "max_length"}), frozenset[str]()),
    "compound": (frozenset({"normalise", "with", "entropy"}), frozenset({"unique"})),
    "range": (frozenset({"of", "low", "high", "shows_order"}), frozenset({"step"})),
}


def read(table: str, column: str, given: Mapping[str, Entry], entry: Entry) -> Definition:
    """One index of a column whose declaration is *given*.

    Raises:
        InvalidPolicy: it is not declared as its kind needs it.
    """
    kind_entry = entry.open_mapping().get("kind")
    kind = kind_entry.text("a kind of index") if kind_entry else "exact"
    if kind_entry is not None and kind not in index.KINDS:
        raise kind_entry.refuse(f"a kind of index ({', '.join(sorted(index.KINDS))})")
    required, optional = _OF_KIND[kind]
    parts = entry.mapping(_REQUIRED | required, _OPTIONAL | optional)
    unique = "unique" in parts and parts["unique"].flag()
    low, high = (index.MIN_UNIQUE_BITS, index.MAX_BITS) if unique else (1, index.MAX_SEARCH_BITS)
    name = parts["name"].text("the name of the index")
    if not _NAME.fullmatch(name):
        raise parts["name"].refuse(f"the name of the index in lower case ({_NAME.pattern})")
    if "min_length" in parts and parts["normalise"].value in {"email", "email@1"}:
        raise parts["normalise"].refuse(
            "another normaliser: a part of an e-mail address is none, so nobody could ask for it"
        )
    made = Definition(
        table=table,
        column=column,
        name=name,
        kind=kind,
        normaliser=NORMALISERS["trim", 1] if kind == "range" else _normaliser(parts["normalise"]),
        bits=parts["bits"].integer(low, high),
        unique=unique,
        lengths=_lengths(parts) if "min_length" in parts else (0, 0),
        parts=_parts(parts["with"], column) if "with" in parts else (),
        domain=_domain(parts) if kind == "range" else None,
        partitions=_partitions(parts, unique=unique),
    )
    entropy = _entropy(made, given, parts)
    allowed = _budget(parts["budget"]) if "budget" in parts else budget.default(entropy or 0)
    return replace(made, entropy=entropy, budget=allowed)


def check(rows: int | None, columns: Mapping[str, Entry], indexes: Mapping[str, Sequence[Definition]]) -> None:
    """Check the indexes of a table together: compound ones name its columns, and the planner allows them all.

    Raises:
        InvalidPolicy: see above, or a table with *rows* does not give the entropy of an indexed column.
    """
    for column, found in indexes.items():
        for one in found:
            for other, _ in one.parts:
                if other not in columns:
                    raise columns[column].refuse(f"columns of this table in 'with' of the index {one.name}")
            if rows is not None and one.entropy is None:
                raise columns[column].refuse("'entropy' of a column with indexes, because the table gives 'rows'")
    if rows is None:
        return
    try:
        planner.plan(rows, [declared(one) for found in indexes.values() for one in found])
    except InvalidPolicy as error:
        place = columns[next((column for column, found in indexes.items() if found), next(iter(columns)))]
        raise refuse(place.file_name, place.line, error.detail.rstrip(".")) from None


def declared(one: Definition) -> Declared:
    """An index as the planner takes it; where its entropy is not known, of values that tell no more than its tokens."""
    entropy_bits = one.bits if one.entropy is None else one.entropy
    if one.domain is not None:
        steps = (one.domain.steps - 1).bit_length()
        return Declared(one.key_name, one.bits, min(entropy_bits, steps), kind=one.kind, tokens=one.domain.levels)
    least, greatest = one.lengths
    tokens = greatest - least + 1
    return Declared(one.key_name, one.bits, entropy_bits, one.unique, one.kind, tokens, least, one.partitions)


def _entropy(one: Definition, given: Mapping[str, Entry], parts: Mapping[str, Entry]) -> int | None:
    entry = parts.get("entropy") or given.get("entropy")
    if entry is not None:
        return entry.integer(0, 256)
    return (one.domain.steps - 1).bit_length() if one.domain is not None else None


def _normaliser(entry: Entry) -> Normaliser:
    rule = normaliser(entry.text("the name of a normaliser"))
    if rule is None:
        known = ", ".join(sorted(name for name, _ in NORMALISERS))
        raise entry.refuse(f"a normaliser ({known})")
    return rule


def _lengths(parts: Mapping[str, Entry]) -> tuple[int, int]:
    least = parts["min_length"].integer(1, MAX_LENGTH)
    return least, parts["max_length"].integer(least, MAX_LENGTH)


def _parts(entry: Entry, column: str) -> tuple[tuple[str, Normaliser], ...]:
    given = entry.open_mapping()
    if not 1 <= len(given) <= MAX_PARTS or column in given:
        raise entry.refuse(f"1 to {MAX_PARTS} other columns, each with its normaliser")
    return tuple((name, _normaliser(one)) for name, one in given.items())


def _domain(parts: Mapping[str, Entry]) -> Domain:
    if not parts["shows_order"].flag():
        raise parts["shows_order"].refuse(
            "'shows_order: true', by which you say that the tokens may show which rows lie close together and how many "
            "lie in each half and quarter; else no range index"
        )
    of = parts["of"].text("what the numbers are")
    if of not in KINDS:
        raise parts["of"].refuse(f"what the numbers are ({', '.join(KINDS)})")
    low, high = _bound(of, parts["low"]), _bound(of, parts["high"])
    step = parts["step"].integer(1, MAX_NUMBERS) if "step" in parts else 1
    if not low < high or (high - low) // step >= MAX_NUMBERS or (high - low) // step < 1:
        raise parts["high"].refuse(f"'high' at least a step above 'low', and at most {MAX_NUMBERS} steps")
    return Domain(of, low, high, step)


def _bound(of: str, entry: Entry) -> int:
    found = parse(of, str(entry.value)) if isinstance(entry.value, str | int) else None
    if found is None:
        raise entry.refuse("a date as YYYY-MM-DD" if of == "date" else "a whole number of at most 19 digits")
    return found


def _partitions(parts: Mapping[str, Entry], *, unique: bool) -> int:
    if "partitions" not in parts:
        return 1
    entry = parts["partitions"]
    count = entry.integer(1, max(PARTITIONS))
    if count not in PARTITIONS or (unique and count > 1) or "of" in parts:
        raise entry.refuse("1, 2, 4, 8 or 16 partitions, and none of a unique or a range index")
    return count


def _budget(entry: Entry) -> Budget:
    parts = entry.mapping(frozenset({"minute", "hour", "day"}))
    numbers = [parts[name].integer(1, MAX_LOOK_UPS) for name in ("minute", "hour", "day")]
    if sorted(numbers) != numbers:
        raise entry.refuse("at least as many look-ups in an hour as in a minute, and in a day as in an hour")
    return Budget(*numbers)
