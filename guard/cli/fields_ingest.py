"""`guard fields ingest-key | seal | ingest`: values that are sealed here and that whoever seals them cannot read back."""

from typing import Any

import typer

from guard.cli.fields import File, Row, _only, _value
from guard.cli.session import Session, verb


def register(group: typer.Typer) -> None:
    """Add the verbs to *group*."""
    verb(group, "ingest-key")(ingest_key)
    verb(group, "seal")(seal)
    verb(group, "ingest")(ingest)


def ingest_key(session: Session, field: str) -> Any:
    """Show the public key under which a service seals values of a field that it cannot read back.

    Example: guard fields ingest-key customers.identity_number
    """
    return session.call("fields.read_ingest_key", field=field)


def seal(session: Session, field: str, row: Row, file: File = None) -> Any:
    """Seal one value in this process under the field's public key; the server is sent nothing of it.

    Example: printf AB123456 | guard fields seal customers.identity_number --row 17
    """
    from guard.client.sealing import FieldSealer  # other verbs need no cryptography

    sealer = FieldSealer(session.call("fields.read_ingest_key", field=field))
    return {"ciphertext": sealer.seal(_value(file), row=row)}


def ingest(session: Session, field: str, row: Row, file: File = None) -> Any:
    """Hand in one value that was sealed under the field's public key; what comes back is what the field stores.

    Example: guard fields ingest customers.identity_number --row 17 --file sealed.txt
    """
    item = {"field": field, "context": {"row": row}, "ciphertext": _value(file).decode("ascii", "replace").strip()}
    return _only(session.call("fields.ingest", items=[item]))
