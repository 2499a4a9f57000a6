"""`guard keys import | export | ...`: keys of other systems come in, and keys go out, each by two people.

Law: an exported key goes into a new file of mode 0600, or into a pipe; never to a terminal unless that is asked for,
since terminals keep what they showed.
"""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from guard.cli.fields import File, Row, _only, _value
from guard.cli.session import Session, verb
from guard.errors import InvalidInput

Format = Annotated[str, typer.Option("--format", help="tink, or openbao for OpenBao and Vault")]
Kek = Annotated[str, typer.Option(help="an imported keyset under which this one is encrypted")]
Out = Annotated[Path | None, typer.Option(help="new file for the keyset, readable by its owner alone")]
Show = Annotated[bool, typer.Option("--show", help="write the keyset to the terminal")]
Name = Annotated[str, typer.Option("--key", help="the key's name here; default: the name of the file")]
Use = Annotated[str, typer.Option(help="values, or keysets for a KEK, which touches no values")]
Before = Annotated[int, typer.Option(help="messages that its AES-GCM keys sealed elsewhere, for their limit")]
MAX_BYTES = 16 << 20


def register(group: typer.Typer) -> None:
    """Add the verbs to *group*."""
    verb(group, "import")(import_key)
    verb(group, "approve-import")(approve_import)
    verb(group, "export")(export_key)
    verb(group, "approve-export")(approve_export)
    verb(group, "requests", columns=("key", "action", "request", "asked_by", "approved_by"))(requests)
    verb(group, "imported", columns=("key", "format", "use", "state", "id", "kind", "sealed"))(imported)
    verb(group, "rotate-imported")(rotate_imported)
    verb(group, "remove-imported")(remove_imported)
    verb(group, "convert")(convert)


def import_key(
    session: Session,
    file: Path,
    format_: Format,
    key: Name = "",
    kek: Kek = "",
    use: Use = "values",
    sealed_before: Before = 0,
) -> Any:
    """Bring in a keyset of Tink or a key backup of OpenBao; in clear it waits for a second person.

    Example: guard keys import orders.json --format tink
    """
    material = _read(file)
    answer = session.call(
        "keys.import",
        key=key or file.stem.lower(),
        format=format_,
        material=material,
        kek=kek,
        use=use,
        sealed_before=sealed_before,
    )
    return answer | _next(answer, "import")


def approve_import(session: Session, key: str, request: str) -> Any:
    """Approve a key that another person brought.

    Example: guard keys approve-import orders imp_0198
    """
    return session.call("keys.approve_import", key=key, request=request)


def export_key(
    session: Session, key: str, format_: Format = "tink", out: Out = None, kek: Kek = "", show: Show = False
) -> Any:
    """Ask to export a key; typed again when a second person has approved it, it writes the keyset, once.

    Example: guard keys export orders --format tink --out orders-again.json
    """
    if out is None and sys.stdout.isatty() and not show:
        raise InvalidInput("Expected --out FILE, since a terminal keeps what it shows; or say --show.")
    # The file is made before the approval is used up: a full disk must not cost another approval.
    target = None if out is None else _new_file(out)
    keyset = None
    try:
        answer = session.call("keys.export", key=key, format=format_, kek=kek)
        keyset = answer.pop("keyset")
        if target is not None and keyset is not None:
            with os.fdopen(os.dup(target), "w", encoding="utf-8") as file:
                file.write(keyset + "\n")
                file.flush()
                os.fsync(file.fileno())
    finally:
        if target is not None and out is not None:
            os.close(target)
            if keyset is None:
                out.unlink()
    if keyset is not None and out is None:
        print(keyset)
        return None
    return answer | _next(answer, "export")


def approve_export(session: Session, key: str, request: str) -> Any:
    """Approve an export that another person asked for; he collects it within a day.

    Example: guard keys approve-export orders exk_0198
    """
    answer = session.call("keys.approve_export", key=key, request=request)
    answer.pop("keyset")
    return answer


def requests(session: Session) -> Any:
    """List imports, exports and removals that wait for a second person.

    Example: guard keys requests
    """
    return session.call("key_requests.list")


def imported(session: Session) -> Any:
    """List imported keys, and how many messages each sealed where a limit holds.

    Example: guard keys imported
    """
    keys = session.call("imported_keys.list")["data"]
    rows = [
        {
            "key": one["key"],
            "format": one["format"],
            "use": one["use"],
            **version,
            "state": version["state"] if _live(one) else "asked",
        }
        for one in keys
        for version in one["versions"]
    ]
    return {"data": rows}


def rotate_imported(session: Session, key: str) -> Any:
    """Make a new primary key in an imported keyset.

    Example: guard keys rotate-imported orders
    """
    return session.call("imported_keys.rotate", key=key)


def remove_imported(session: Session, key: str) -> Any:
    """Withdraw an import that waits, or ask for a key's removal; it is gone when a second person does the same.

    Example: guard keys remove-imported orders
    """
    return session.call("imported_keys.remove", key=key)


def convert(session: Session, key: str, field: str, row: Row, associated_data: File = None, file: File = None) -> Any:
    """Seal for a field what is sealed under an imported key; the value is shown to nobody.

    Example: guard keys convert orders customers.email --row 17 --file old.txt
    """
    import base64  # few verbs need it

    item = {
        "ciphertext": _value(file).decode("ascii", "replace").strip(),
        "field": field,
        "context": {"row": row},
    }
    if associated_data is not None:
        item["associated_data"] = base64.b64encode(_value(associated_data)).decode()
    return _only(session.call("imported_keys.convert", key=key, items=[item]))


def _live(key: dict[str, Any]) -> bool:
    return key["approved_by"] is not None


def _next(answer: dict[str, Any], what: str) -> dict[str, str]:
    if answer["state"] != "asked":
        return {}
    return {"next": f"A second person: guard keys approve-{what} {answer['key']} {answer['request']}"}


def _read(file: Path) -> str:
    try:
        with sys.stdin.buffer if str(file) == "-" else file.open("rb") as source:
            raw = source.read(MAX_BYTES + 1)  # whatever it is, no more of it is held
    except OSError as error:
        raise InvalidInput(f"Expected to read {file}, got: {error.strerror}; check the path.") from None
    if not raw or len(raw) > MAX_BYTES:
        raise InvalidInput(f"Expected a keyset or backup of 1 to {MAX_BYTES} bytes in {file}; export it again.")
    return raw.decode("utf-8", "replace")


def _new_file(path: Path) -> int:
    try:
        return os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise InvalidInput(f"Expected to make the new file {path}, got: {error.strerror}; choose another.") from None
