"""The tables of the key store, a second small database with backups of its own.

Law: what is here is never copied into the main database or its backups. Without the bucket keys no subject key of the
main database opens, so a bucket key that is destroyed here is destroyed for every backup of the main database too.
"""

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, MetaData, Table, Text

key_metadata = MetaData()
_INT = BigInteger().with_variant(Integer, "sqlite")

key_meta = Table(
    "key_meta",
    key_metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
    sqlite_strict=True,
)
bucket_keks = Table(
    "bucket_keks",
    key_metadata,
    Column("tenant", Text, primary_key=True),
    Column("bucket", _INT, primary_key=True),
    Column("version", _INT, primary_key=True),
    Column("key_id", LargeBinary, nullable=False),
    Column("kek_version", _INT, nullable=False),
    Column("wrapped", LargeBinary),
    Column("state", Text, nullable=False),
    Column("changed_us", _INT, nullable=False),
    Index("ix_bucket_keks_state", "state"),
    sqlite_strict=True,
)
shred_ledger = Table(
    "shred_ledger",
    key_metadata,
    Column("seq", _INT, primary_key=True, autoincrement=False),
    Column("entry", LargeBinary, nullable=False),
    Column("dek_id", Text, nullable=False, unique=True),
    Column("tenant", Text, nullable=False),
    Column("bucket", _INT, nullable=False),
    Column("bucket_version", _INT, nullable=False),
    Column("time_us", _INT, nullable=False),
    Index("ix_shred_ledger_bucket", "tenant", "bucket", "bucket_version"),
    sqlite_strict=True,
)
