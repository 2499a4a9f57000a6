"""Planted values: rows and tokens of nobody, which only somebody reads who should not.

A mark is HMAC-SHA256(K, "guard/honey/1" | lp(tenant) | lp(kind) | lp(part)...) of a token's row, or of the table and
the binding of an application's row, so re-encryption moves it nowhere. Law: nothing outside this process tells what is
planted: the store holds marks, and a read is answered as every other one is. No I/O.
"""

import hmac
from collections.abc import Iterable
from typing import Final

from guard.vault.context import Value
from guard.vault.keys import Secret
from guard.vault.wrap import length_prefixed

KEY_BYTES: Final = 32
TOKEN, ROW = "token", "row"


class Honey:
    """The marks of what is planted, and the key that makes them. Immutable: a change makes another one."""

    __slots__ = ("_key", "_marks")

    def __init__(self, key: Secret | None = None, marks: Iterable[tuple[str, bytes]] = ()) -> None:
        """Without a key nothing is planted. *marks*: tenants and their marks."""
        self._key = key
        found: dict[str, set[bytes]] = {}
        for tenant, one in marks:
            found.setdefault(tenant, set()).add(one)
        self._marks = found

    def watches(self, tenant: str) -> bool:
        """Whether anything of this tenant is planted; asked first, as it costs nothing."""
        return tenant in self._marks

    def planted_token(self, tenant: str, row_id: str) -> bytes | None:
        """The mark of a token's row if that is planted."""
        return self._planted(tenant, TOKEN, row_id)

    def planted_row(self, tenant: str, table: str, bound: Iterable[tuple[str, Value]]) -> bytes | None:
        """The mark of an application's row if that is planted; *bound* are the names and values of its binding."""
        return self._planted(tenant, ROW, *row_parts(table, bound))

    def _planted(self, tenant: str, kind: str, *parts: str) -> bytes | None:
        marks = self._marks.get(tenant)
        if marks is None or self._key is None:
            return None
        found = mark(self._key.expose(), tenant, kind, *parts)
        return found if found in marks else None


def row_parts(table: str, bound: Iterable[tuple[str, Value]]) -> list[str]:
    """What names a row: its table, and each name and value that it is bound to; a number is the same as its text.

    Callers name a row by either, and bait that is planted by the one is read by the other.
    """
    parts = [table]
    for name, value in bound:
        parts += [name, *(("bytes", value.hex()) if isinstance(value, bytes) else ("str", str(value)))]
    return parts


def mark(key: bytes | bytearray, tenant: str, kind: str, *parts: str) -> bytes:
    """The mark of one planted thing."""
    message = b"guard/honey/1" + b"".join(length_prefixed(one.encode()) for one in (tenant, kind, *parts))
    return hmac.digest(key, message, "sha256")
