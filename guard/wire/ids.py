"""Identifiers: UUIDv7 of RFC 9562 section 5.7 with a prefix. Order within a millisecond is random. No I/O."""

VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}  # the two bits 10, then two random ones


def uuid7(now_us: int, random: bytes) -> str:
    """A version 7 UUID, as text, of the instant *now_us* (microseconds UTC) and 10 random bytes."""
    time = f"{now_us // 1000:012x}"
    drawn = random[:10].hex()
    return f"{time[:8]}-{time[8:12]}-7{drawn[:3]}-{VARIANT[drawn[3]]}{drawn[4:7]}-{drawn[8:]}"


def prefixed(prefix: str, now_us: int, random: bytes) -> str:
    """`<prefix>_<uuid7>`, for example `inc_0198…`."""
    return f"{prefix}_{uuid7(now_us, random)}"
