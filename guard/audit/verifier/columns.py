"""Rows of a Parquet part, where the package pyarrow happens to be installed.

Law: the standard library reads no Parquet, and the verifier must run without more than `cryptography`; so where pyarrow
is missing the report says that rows were not looked into, and never that they are good. Only the three columns that
prove a row are read, a batch at a time.
"""

from collections.abc import Iterator
from typing import Any, BinaryIO

from .rows import Row
from .tree import HASH

FORMAT = "parquet"
COLUMNS = ["index", "entry", "leaf"]
BATCH = 1024  # rows; an entry has at most 64 KiB
KINDS = {"index": "int64", "entry": "binary", "leaf": "fixed_size_binary[32]"}


def reader() -> Any:
    """The module that reads Parquet; None where it is not installed or does not load."""
    try:
        from pyarrow import parquet  # noqa: PLC0415  see the law above
    except ImportError:
        return None
    return parquet


def rows(parquet: Any, stream: BinaryIO) -> Iterator[Row]:
    """The rows of a part; raises ValueError for another form."""
    from pyarrow import ArrowException  # noqa: PLC0415

    try:
        file = parquet.ParquetFile(stream)
        found = {field.name: str(field.type) for field in file.schema_arrow if field.name in KINDS}
        if found != KINDS:
            raise ValueError(f"columns {KINDS} were expected, {found} came")
        for batch in file.iter_batches(batch_size=BATCH, columns=COLUMNS):
            yield from map(_row, *(batch.column(name).to_pylist() for name in COLUMNS))
    except (ValueError, OSError, LookupError, MemoryError, TypeError, ArrowException) as error:
        said = str(error).partition("\n")[0][:200]
        raise ValueError(f"rows with the columns index, entry and leaf were expected ({said})") from None


def _row(index: int | None, entry: bytes | None, leaf: bytes | None) -> Row:
    if index is None or index < 0 or entry is None or leaf is None or len(leaf) != HASH:
        raise ValueError("a row lacks its index, entry or leaf")
    return Row(index, leaf, entry)
