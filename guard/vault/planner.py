"""How long the tokens of blind indexes may be, and what they give away.

With R rows, and per index L token bits over values of K bits of entropy, a row shares its tokens with
C = R / 2^(sum of min(L, K)) rows on average. Law: 2 <= C, or a row could be told by its tokens alone; C <= sqrt(R) is
wanted, or a search returns too many false hits. (The rule of CipherSweet's index planning.) Where a row carries m
tokens of an index, as prefixes and ranges do, it is min(m * L, K); P partitions add log2 P. Entropy is the operator's
estimate: minus log2 of the share of the most common value. Whoever sees the tokens and knows how common each value is,
names then at most 2^(bits - K) of the rows rightly, since each distinct set of tokens has one best guess. No I/O.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from guard.errors import InvalidPolicy

MIN_ROWS: Final = 8
"""Below it no length keeps two coincidences and gives a useful search."""


CHARACTER_BITS: Final = 3
"""What a character of a name or number is taken to tell; English letters tell 1 to 4, digits at most 3.3."""


@dataclass(frozen=True, slots=True)
class Declared:
    """One index as it is planned: token bits, and bits of entropy of the values that it covers."""

    name: str
    bits: int
    entropy_bits: int
    unique: bool = False
    kind: str = "exact"
    tokens: int = 1
    """How many a row carries."""

    shortest: int = 0
    """Characters of the shortest prefix or suffix."""

    partitions: int = 1

    @property
    def spent_bits(self) -> int:
        """How many bits of a row its tokens in this index tell."""
        return min(self.bits * self.tokens, self.entropy_bits) + self.partitions.bit_length() - 1

    @property
    def least_entropy(self) -> int:
        """Bits of entropy of what the most telling of its tokens stands for."""
        return min(self.entropy_bits, CHARACTER_BITS * self.shortest) if self.shortest else self.entropy_bits


@dataclass(frozen=True, slots=True)
class Plan:
    """What a set of indexes over the rows of one table comes to."""

    rows: int
    lowest_bits: int
    highest_bits: int
    spent_bits: int
    coincidences: float
    """Rows that share all tokens with a given row, on average; unique indexes are not counted."""
    leaks: tuple[str, ...]
    """One text per index, for the person who signs the policy."""


def recommend(rows: int) -> tuple[int, int]:
    """The fewest and the most bits that all search indexes of a row should have together.

    Raises:
        InvalidPolicy: under 8 rows.
    """
    if rows < MIN_ROWS:
        raise InvalidPolicy(f"A blind index needs at least {MIN_ROWS} rows to hide among; {rows} are expected.")
    return ((rows - 1).bit_length() + 1) // 2, (rows // 2).bit_length() - 1


def plan(rows: int, declared: Sequence[Declared]) -> Plan:
    """Check indexes that stand on one table together.

    Raises:
        InvalidPolicy: they leave fewer than two coincidences, or one shows each of a few values with its frequency.
    """
    lowest, highest = recommend(rows)
    search = [one for one in declared if not one.unique]
    for one in search:
        few = one.least_entropy
        if one.kind != "range" and one.bits >= few and few < lowest:  # a range shows it anyway, and says so by a flag
            what = "prefixes or suffixes" if one.shortest and few < one.entropy_bits else "values"
            raise InvalidPolicy(
                f"The index {one.name} gives each of about 2^{few} {what} a token of its own, so how "
                f"often a token occurs names its value; use fewer than {few} bits or no index."
            )
    spent = sum(one.spent_bits for one in search)
    if spent > highest:
        raise InvalidPolicy(
            f"The indexes of a row have {spent} bits together, but among {rows} rows more than {highest} single out "
            f"rows; shorten or drop some ({lowest} to {highest} bits are useful)."
        )
    return Plan(rows, lowest, highest, spent, rows / 2**spent, tuple(_leak(rows, one) for one in declared))


def guesses(one: Declared) -> float:
    """The greatest share of rows whose value somebody names rightly who sees the tokens and knows the frequencies."""
    told = one.entropy_bits if one.unique else min(one.bits * one.tokens, one.entropy_bits)
    return float(2.0 ** (told - one.entropy_bits))


def advise(rows: int, one: Declared) -> int:
    """The most bits a token of this index alone may have among so many rows; 0 where none is safe.

    Raises:
        InvalidPolicy: under 8 rows.
    """
    lowest, highest = recommend(rows)
    fit = (highest - (one.partitions.bit_length() - 1)) // one.tokens
    few = one.least_entropy
    return max(0, min(fit, few - 1) if few < lowest and one.kind != "range" else fit)


def _leak(rows: int, one: Declared) -> str:
    if one.unique:
        return f"{one.name}: shows that a value was seen before, exactly; in a unique column each value stands once."
    return f"{one.name}: {_shown(rows, one)}{_grouped(one)} {_guessed(one)}"


def _shown(rows: int, one: Declared) -> str:
    if one.kind == "range":
        return (
            f"shows which rows lie close together, and how many rows each half, quarter and so on down to one of "
            f"about 2^{one.entropy_bits} steps has; who knows the usual spread can put the rows in order."
        )
    if one.kind in {"prefix", "suffix"}:
        end = "a beginning" if one.kind == "prefix" else "an end"
        return (
            f"shows which rows share {end} of {one.shortest} to {one.shortest + one.tokens - 1} characters, in "
            f"groups of about {math.ceil(rows / 2**one.bits)} rows for each length, and how long a short value is."
        )
    what = "combinations" if one.kind == "compound" else "values"
    if one.bits >= one.entropy_bits:
        return f"shows which rows have equal {what}, and how often each of about 2^{one.entropy_bits} occurs."
    shared, mixed = math.ceil(rows / 2**one.bits), 2 ** (one.entropy_bits - one.bits)
    return f"shows groups of about {shared} rows, each mixed from about {mixed} possible {what}."


def _grouped(one: Declared) -> str:
    if one.partitions == 1:
        return ""
    return f" {one.partitions} partitions: a common value is spread over as many tokens, and a query asks for all."


def _guessed(one: Declared) -> str:
    share = guesses(one)
    if share >= 1:
        return "Who knows how common each value is may name them all."
    return f"Who knows how common each value is names at most one row in {round(1 / share)} rightly."


def check_deterministic(rows: int, entropy_bits: int) -> None:
    """Check that a deterministic column, which shows equality exactly, has values that hardly repeat.

    Where values repeat much, how often a ciphertext occurs names its value (the attack of Naveed, Kamara and Wright,
    CCS 2015). The bound is one row per value on average.

    Raises:
        InvalidPolicy: fewer values than rows.
    """
    needed = max(rows - 1, 1).bit_length()
    if entropy_bits < needed:
        raise InvalidPolicy(
            f"Values of {entropy_bits} bits of entropy repeat too often in {rows} rows to be sealed deterministically; "
            f"{needed} bits are needed. Use suite cbl256 with a blind index."
        )
