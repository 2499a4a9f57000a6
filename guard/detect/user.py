"""The key that stands for one account, however its name is typed. No I/O.

Law: two names that a login form would take for one account are one key: NFKC (Unicode annex 15), case folded, trimmed.
"""

from functools import lru_cache
from typing import Final
from unicodedata import normalize

MAX_ROUNDS: Final = 3
"""Folding can undo normal form and the reverse; two rounds are enough for all characters by themselves."""


@lru_cache(maxsize=16_384)
def user_key(name: str) -> str:
    """The account behind a user name: `ALICE `, `alice` and the same in full-width letters are one."""
    for _ in range(MAX_ROUNDS):
        key = normalize("NFKC", normalize("NFKC", name).casefold()).strip()
        if key == name:
            break
        name = key
    return name
