"""What goes into the tokens of each kind of blind index: the terms that a row carries, and those that a query asks for.

- exact: the normalised value.
- prefix, suffix: its first or last n characters (code points), for each n from the least to the greatest length.
- compound: the normalised parts, each behind its u32 length, so that ("ab", "c") is not ("a", "bc").
- range: u8 level and u64 position of each dyadic piece that holds the number.

Law: a row is a hit where it carries every term of one alternative. Whoever opens the hits drops those that `fits`
refuses: short tokens, long prefixes and steps let others in, never one too few. Frozen with the token. No I/O.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from guard.errors import InvalidRequest
from guard.vault import dyadic
from guard.vault.domains import Domain
from guard.vault.dyadic import Piece
from guard.vault.index import Definition, encode_text
from guard.vault.wrap import length_prefixed

Values = Mapping[str, str]
"""Column -> value."""


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked: values by column, or bounds of which "" is open."""

    values: Values = field(default_factory=dict)
    low: str = ""
    high: str = ""

    def __repr__(self) -> str:
        return "<Query>"  # what somebody looks for is personal


def stored(definition: Definition, values: Values) -> list[bytes]:
    """The terms of a row with these values; a value shorter than the least prefix has none.

    Raises:
        InvalidRequest: a value is missing or has no form in this index.
    """
    if definition.kind == "range":
        domain = _domain(definition)
        return [_piece(piece) for piece in dyadic.path(domain.place(_own(definition, values)), domain.levels)]
    if definition.kind in {"prefix", "suffix"}:
        return [encode_text(end) for end in _ends(definition, _normalised(definition, values))]
    return [_whole(definition, values)]


def asked(definition: Definition, query: Query) -> list[list[bytes]]:
    """Alternatives, each a list of terms that a hit carries all of; none where nothing can match.

    Raises:
        InvalidRequest: the query does not fit the kind.
    """
    if definition.kind == "range":
        if query.values or not (query.low or query.high):
            raise InvalidRequest(
                f"Expected low, high or both for the range index {definition.name}, got something else."
            )
        domain = _domain(definition)
        places = domain.clip(query.low, query.high)
        return [[_piece(one)] for one in dyadic.cover(*places, domain.levels)] if places else []
    if query.low or query.high:
        raise InvalidRequest(f"Expected a value for the {definition.kind} index {definition.name}, got bounds.")
    if definition.kind in {"prefix", "suffix"}:
        sought = _normalised(definition, query.values)
        ends = _ends(definition, sought)
        if not ends:
            least = definition.lengths[0]
            raise InvalidRequest(f"Expected at least {least} characters for {definition.name}, got {len(sought)}.")
        return [[encode_text(end) for end in ends]]
    return [[_whole(definition, query.values)]]


def fits(definition: Definition, query: Query, values: Values) -> bool:
    """Whether a row with these values, which was opened, is what was asked for.

    Raises:
        InvalidRequest: as `stored`.
    """
    if definition.kind == "range":
        domain = _domain(definition)
        number = domain.number(_own(definition, values))
        low = domain.number(query.low) if query.low else number
        high = domain.number(query.high) if query.high else number
        return low <= number <= high
    if definition.kind == "prefix":
        return _normalised(definition, values).startswith(_normalised(definition, query.values))
    if definition.kind == "suffix":
        return _normalised(definition, values).endswith(_normalised(definition, query.values))
    return _whole(definition, values) == _whole(definition, query.values)


def _whole(definition: Definition, values: Values) -> bytes:
    own = encode_text(_normalised(definition, values))
    if definition.kind == "exact":
        return own
    parts = [own]
    for column, normaliser in definition.parts:
        if column not in values:
            raise InvalidRequest(f"Expected a value of {column} for the compound index {definition.name}, got none.")
        parts.append(encode_text(normaliser.apply(values[column])))
    return b"".join(length_prefixed(part) for part in parts)


def _ends(definition: Definition, text: str) -> list[str]:
    least, greatest = definition.lengths
    sizes = range(least, min(greatest, len(text)) + 1)
    return [text[:size] for size in sizes] if definition.kind == "prefix" else [text[-size:] for size in sizes]


def _normalised(definition: Definition, values: Values) -> str:
    return definition.normaliser.apply(_own(definition, values))


def _own(definition: Definition, values: Values) -> str:
    if definition.column not in values:
        raise InvalidRequest(f"Expected a value of {definition.column} for the index {definition.name}, got none.")
    return values[definition.column]


def _domain(definition: Definition) -> Domain:
    assert definition.domain is not None  # a range has one; the policy's reader sees to it
    return definition.domain


def _piece(piece: Piece) -> bytes:
    level, position = piece
    return level.to_bytes(1, "big") + position.to_bytes(8, "big")
