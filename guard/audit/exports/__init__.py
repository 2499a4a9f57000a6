"""Export formats: each has `MEDIA_TYPE`, `SUFFIX` and `write(rows, out) -> int`; text formats have `line(row)` too."""
