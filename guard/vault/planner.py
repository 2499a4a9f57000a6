"""How long the tokens of blind indexes may be, and what they give away.

With R rows, and per index L token bits over values of K bits of entropy, a row shares its tokens with
C = R / 2^(sum of min(L, K)) rows on average. Law: 2 <= C, or a row could be told by its tokens alone; C <= sqrt(R) is
wanted, or a search returns too many false hits. (The rule of CipherSweet's index planning.) Entropy is the operator's
estimate: the effective number of values as a power of two, counted by how common they are. No I/O.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from guard.errors import InvalidPolicy

MIN_ROWS: Final = 8
"""Below it no length keeps two coincidences and gives a useful search."""


@dataclass(frozen=True, slots=True)
class Declared:
    """One index as it is planned: token bits, and bits of entropy of the values that it covers."""

    name: str
    bits: int
    entropy_bits: int
    unique: bool = False


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
    """One sentence per index, for the person who signs the policy."""


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
        if one.bits >= one.entropy_bits and one.entropy_bits < lowest:
            raise InvalidPolicy(
                f"The index {one.name} gives each of about 2^{one.entropy_bits} values a token of its own, so how "
                f"often a token occurs names its value; use fewer than {one.entropy_bits} bits or no index."
            )
    spent = sum(min(one.bits, one.entropy_bits) for one in search)
    if spent > highest:
        raise InvalidPolicy(
            f"The indexes of a row have {spent} bits together, but among {rows} rows more than {highest} single out "
            f"rows; shorten or drop some ({lowest} to {highest} bits are useful)."
        )
    return Plan(rows, lowest, highest, spent, rows / 2**spent, tuple(_leak(rows, one) for one in declared))


def _leak(rows: int, one: Declared) -> str:
    if one.unique:
        return f"{one.name}: shows that a value was seen before, exactly; in a unique column each value stands once."
    if one.bits >= one.entropy_bits:
        return (
            f"{one.name}: shows which rows have equal values, and how often each of about 2^{one.entropy_bits} occurs."
        )
    values = 2 ** (one.entropy_bits - one.bits)
    shared = math.ceil(rows / 2**one.bits)
    return f"{one.name}: shows groups of about {shared} rows, each mixed from about {values} possible values."


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
