"""Ranges by equality: a line of numbers is cut into halves, quarters and so on; a row carries one piece of each size.

A piece is (level, position): level 0 has pieces of one number, each level above of twice as many. Law: a row carries
the piece of every level that holds its number; a range is asked by the fewest pieces that cover it exactly, at most two
of each level, so at most 2 * log2 N for N numbers. The whole line is no piece: all rows would carry it. (Dyadic
intervals, as in Li et al., "Fast range query processing with strong privacy protection", VLDB 2014.) No I/O.
"""

Piece = tuple[int, int]


def levels_of(numbers: int) -> int:
    """How many sizes of pieces a line of so many numbers has: log2, rounded up, and at least 1."""
    return max(1, (numbers - 1).bit_length())


def path(number: int, levels: int) -> list[Piece]:
    """The pieces that hold a number from 0 on, the smallest first."""
    return [(level, number >> level) for level in range(levels)]


def cover(first: int, last: int, levels: int) -> list[Piece]:
    """The fewest pieces that together hold exactly the numbers *first* to *last*, both included; none where empty."""
    pieces: list[Piece] = []
    low, end = first, last + 1
    for level in range(levels):
        if low >= end:
            break
        if level == levels - 1:  # the largest pieces; there is nothing above them to merge into
            pieces += [(level, position) for position in range(low, end)]
            break
        if low & 1:
            pieces.append((level, low))
            low += 1
        if end & 1:
            end -= 1
            pieces.append((level, end))
        low, end = low >> 1, end >> 1
    return pieces
