"""Identifiers: UUIDv7 of RFC 9562 section 5.7 with a prefix. Order within a millisecond is random. No I/O."""

from uuid import UUID

MILLISECOND_BITS = 48


def uuid7(now_us: int, random: bytes) -> UUID:
    """A version 7 UUID of the instant *now_us* (microseconds UTC) and 10 random bytes."""
    milliseconds = (now_us // 1000) & ((1 << MILLISECOND_BITS) - 1)
    tail = int.from_bytes(random[:10], "big")
    value = milliseconds << 80 | 0x7 << 76 | (tail >> 68) << 64 | 0b10 << 62 | tail & ((1 << 62) - 1)
    return UUID(int=value)


def prefixed(prefix: str, now_us: int, random: bytes) -> str:
    """`<prefix>_<uuid7>`, for example `inc_0198…`."""
    return f"{prefix}_{uuid7(now_us, random)}"
