"""Export formats: one file per format, found by its name.

Contract of a format module: `MEDIA_TYPE`, `SUFFIX`, and `write(rows, out) -> int`, which gives the number of records
written; a format of text lines also has `line(row) -> bytes`. A format loses no record and changes no order.
"""
