"""`guard fields ...`."""

import base64
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from guard.cli import field_lines
from guard.cli.session import Session, verb
from guard.errors import GuardError, InvalidInput

group = typer.Typer()
Row = Annotated[str, typer.Option(help="the row that the value is bound to")]
File = Annotated[Path | None, typer.Option(help="read the value from this file; default: standard input")]
Version = Annotated[int, typer.Option(help="key version of a value that keeps its format, as encrypting gave it")]
Field = Annotated[str, typer.Argument(help="left out: JSON lines on standard input, one answer per line")]
MaybeRow = Annotated[str, typer.Option("--row", help="the row that the value is bound to")]
LinesFor = Annotated[str, typer.Option("--purpose", help="the purpose, for JSON lines")]
MAX_BYTES = 1 << 20


@verb(group, "list", columns=("name", "mask", "purposes", "indexes"))
def list_fields(session: Session) -> Any:
    """List the field policies.

    Example: guard fields list
    """
    return session.call("fields.list")


@verb(group, "encrypt")
def encrypt(session: Session, field: Field = "", row: MaybeRow = "", file: File = None) -> Any:
    """Seal one value, read from standard input so that it stands in no argument list, or many as JSON lines.

    A line is {"field": ..., "row": ... or "subject": ..., "value": ...}; a bad one is answered with a problem.

    Example: printf ana@example.org | guard fields encrypt customers.email --row 17
    """
    if not field:
        return field_lines.run(session, field_lines.sealing())
    plaintext = base64.b64encode(_value(file)).decode()
    item = {"field": field, "context": {"row": row}, "plaintext": plaintext}
    return _only(session.call("fields.encrypt", items=[item]))


@verb(group, "decrypt")
def decrypt(
    session: Session,
    field: Field = "",
    purpose: Annotated[str, typer.Argument(help="what it is for")] = "",
    row: MaybeRow = "",
    lines_for: LinesFor = "",
    file: File = None,
    key_version: Version = 0,
) -> Any:
    """Open one sealed value, read from standard input, for a purpose, or many as JSON lines with "sealed".

    Example: guard fields decrypt customers.email billing --row 17 --file sealed.txt
    """
    if not field:
        return field_lines.run(session, field_lines.opening(lines_for))
    answer = _only(session.call("fields.decrypt", purpose=purpose, items=[_sealed(field, row, file, key_version)]))
    return {"value": base64.b64decode(answer["plaintext"]).decode("utf-8", "backslashreplace")}


@verb(group, "reencrypt")
def reencrypt(session: Session) -> Any:
    """Seal values anew under the newest version, as JSON lines with "sealed"; nobody sees them.

    Example: guard fields reencrypt < sealed.jsonl
    """
    field_lines.run(session, field_lines.sealing_anew())


@verb(group, "coverage", columns=("field", "source", "table", "column", "version", "state", "count"))
def coverage(session: Session) -> Any:
    """Show what is sealed with which version, what is not sealed, and sealed values that no field policy owns.

    Example: guard fields coverage
    """
    answer = session.call("censuses.run", unowned=True)
    rows = [row for row in answer["data"] if row["count"]]
    return {"data": rows + [row | {"field": "(nobody's)"} for row in answer["unowned"]]}


@verb(group, "mask")
def mask(
    session: Session, field: str, row: Row, purpose: str = "support", file: File = None, key_version: Version = 0
) -> Any:
    """Show one sealed value as the field's policy masks it.

    Example: guard fields mask customers.email --row 17 --file sealed.txt
    """
    return _only(session.call("fields.mask", purpose=purpose, items=[_sealed(field, row, file, key_version)]))


@verb(group, "index")
def index(session: Session, field: str, name: str = "exact", purpose: str = "support", file: File = None) -> Any:
    """Compute the blind-index tokens of a value, by which its rows are found.

    Example: printf ana@example.org | guard fields index customers.email
    """
    item = {"field": field, "index": name, "value": _value(file).decode()}
    return _only(session.call("indexes.compute", purpose=purpose, items=[item]))


def _sealed(field: str, row: str, file: Path | None, key_version: int) -> dict[str, Any]:
    ciphertext = _value(file).decode("utf-8", "replace").strip()
    item = {"field": field, "context": {"row": row}, "ciphertext": ciphertext}
    return item | ({"key_version": key_version} if key_version else {})


def _value(file: Path | None) -> bytes:
    try:
        value = file.read_bytes() if file else sys.stdin.buffer.read(MAX_BYTES + 1)
    except OSError as error:
        raise InvalidInput(f"Expected to read {file}, got: {error.strerror}; check the path.") from None
    if not value or len(value) > MAX_BYTES:
        raise InvalidInput(f"Expected a value of 1 to {MAX_BYTES} bytes on standard input or in --file; give one.")
    return value


def _only(answer: dict[str, Any]) -> Any:
    result = answer["results"][0]
    if "problem" in result:
        from guard.client.answers import CLASSES  # only where something failed

        raise CLASSES.get(result["problem"]["code"], GuardError)(result["problem"]["detail"])
    return result
