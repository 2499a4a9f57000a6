"""Parquet with zstd, for auditors who ask with SQL: flat columns, and `entry` and `leaf` as bytes to prove a row with.

Law: memory is one row group of 8,192 records, whatever the size of the file. pyarrow is large and needed here only, so
it is imported when the first file is asked for; without it the refusal says what to install.
"""

from collections.abc import Iterable
from itertools import islice
from typing import Any, BinaryIO

from guard.audit.columns import NAMES, TEXTS, cells, time_us
from guard.audit.row import Row
from guard.errors import InvalidRequest

MEDIA_TYPE = "application/vnd.apache.parquet"
SUFFIX = "parquet"
GROUP = 8192  # rows: about 5 MB of entries, at most 256 MB where each record is as large as it may be


def write(rows: Iterable[Row], out: BinaryIO) -> int:
    """Write *rows* as one file; how many.

    Raises:
        InvalidRequest: pyarrow is not installed.
    """
    try:
        import pyarrow as pa  # noqa: PLC0415  see the law above
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError:
        raise InvalidRequest(
            "Expected the package pyarrow for Parquet, but this server has none; install guard with the extra "
            "'parquet', or choose another format."
        ) from None
    schema, count, source = _schema(pa), 0, iter(rows)
    with parquet.ParquetWriter(out, schema, compression="zstd") as writer:
        while group := list(islice(source, GROUP)):
            writer.write_table(_table(pa, schema, group), row_group_size=GROUP)
            count += len(group)
    return count


def _schema(pa: Any) -> Any:
    kinds = {"index": pa.int64(), "n": pa.int64(), "allow": pa.bool_(), "time": pa.timestamp("us", tz="UTC")}
    kinds = dict.fromkeys(TEXTS, pa.string()) | kinds
    fields = [pa.field(name, kinds[name], nullable=name not in {"index", "n"}) for name in NAMES]
    return pa.schema([*fields, pa.field("entry", pa.binary(), nullable=False), pa.field("leaf", pa.binary(32))])


def _table(pa: Any, schema: Any, group: list[Row]) -> Any:
    columns = dict(zip(NAMES, map(list, zip(*map(cells, group), strict=True)), strict=True))
    columns["time"] = [time_us(row) for row in group]
    columns |= {"entry": [row.entry for row in group], "leaf": [row.leaf for row in group]}
    return pa.table({name: pa.array(values, schema.field(name).type) for name, values in columns.items()}, schema)
