"""`guard fields search | tokens | plan | claim | release`: what to look for, what to store, and what it shows.

Law: what somebody looks for stands in no argument list: it is read from standard input or a file.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from guard.cli import field_lines
from guard.cli.fields import File, Row, _only, _value
from guard.cli.session import Session, verb
from guard.errors import InvalidInput

Kind = Annotated[str, typer.Option(help="exact, prefix, suffix, compound or range")]
Index = Annotated[str, typer.Option(help="the name of the index, where a field has several of a kind")]
Purpose = Annotated[str, typer.Option(help="what the value is looked up for")]
Source = Annotated[str, typer.Option(help="look in this source, and answer with its rows instead of tokens")]
Unique = Annotated[str, typer.Option(help="the name of the unique index")]


def register(group: typer.Typer) -> None:
    """Add the verbs to *group*."""
    verb(group, "search")(search)
    verb(group, "tokens")(tokens)
    verb(group, "plan", columns=("index", "bits", "row_bits", "leak"))(plan)
    verb(group, "claim")(claim)
    verb(group, "release")(release)


def search(
    session: Session,
    field: str = typer.Argument("", help="a column; without it standard input has JSON lines, each with its field"),
    kind: Kind = "",
    index: Index = "",
    purpose: Purpose = "support",
    source: Source = "",
    file: File = None,
) -> Any:
    """Say what to look for in a column, under every live version; with --source, find the rows themselves.

    Standard input has the value; of a range "1980-01-01..1984-12-31" (either side may be empty); of a compound index
    the field's own value on the first line, and each other part on a line of its own as column=value.

    Example: printf ana@example.org | guard fields search customers.email --kind exact
    """
    if not field:
        field_lines.run(session, field_lines.searching(purpose))
        return None
    item = {"field": field, **_wanted(kind, _value(file).decode("utf-8", "replace").strip("\r\n"))}
    item |= {name: value for name, value in (("index", index), ("kind", kind)) if value}
    if source:
        return session.call("sources.search", source=source, purpose=purpose, **item)
    return _only(session.call("fields.search", purpose=purpose, items=[item]))


def tokens(session: Session, field: str, row: Row, file: File = None) -> Any:
    """Compute the tokens that a row carries in all indexes of a field, to be stored beside it.

    Example: printf ana@example.org | guard fields tokens customers.email --row 17
    """
    item = {"field": field, "row": row, **_wanted("compound", _value(file).decode("utf-8", "replace").strip("\r\n"))}
    return _only(session.call("fields.index_tokens", items=[item]))


def plan(
    session: Session, policy: Annotated[Path | None, typer.Option(help="a policy that is not loaded")] = None
) -> Any:
    """Say what the indexes of the field policies store, and in plain words what they show.

    Example: guard fields plan
    """
    text = _text(policy) if policy else ""
    answer = session.call("fields.plan", policy=text, file=policy.name[:128] if policy else "policy.yaml")
    return {
        "data": [
            one | {"row_bits": f"{table['spent_bits']} of {table['highest_bits']}" if table["rows"] else "unknown"}
            for table in answer["data"]
            for one in table["indexes"]
        ]
    }


def claim(session: Session, field: str, row: Row, index: Unique = "unique", file: File = None) -> Any:
    """Claim a value for a row; no other row can have it until it is released. Exit 6 where it is taken.

    Example: printf AB123456 | guard fields claim customers.identity_number --row 17
    """
    item = _wanted("compound", _value(file).decode("utf-8", "replace").strip("\r\n"))
    return session.call("fields.claim", field=field, index=index, row=row, **item)


def release(session: Session, field: str, row: Row, index: Unique = "unique") -> Any:
    """Give up what a row claimed.

    Example: guard fields release customers.identity_number --row 17
    """
    return session.call("fields.release", field=field, index=index, row=row)


def _wanted(kind: str, text: str) -> dict[str, Any]:
    if kind == "range":
        low, dots, high = text.partition("..")
        if not dots:
            raise InvalidInput("Expected a range as low..high on standard input, got something else; put .. between.")
        return {name: value for name, value in (("low", low.strip()), ("high", high.strip())) if value}
    if kind != "compound":
        return {"value": text}
    own, *others = [
        line.rstrip("\r") for line in text.split("\n")
    ]  # splitlines also cuts at signs that a value may hold
    pairs = [line.partition("=") for line in others if line.strip()]
    if not all(equals for _, equals, _ in pairs):
        raise InvalidInput("Expected column=value on each line behind the first, got a line without =; correct it.")
    values = {column.strip(): value for column, _, value in pairs}
    return {"value": own} | ({"values": values} if values else {})


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"Expected to read {path} as UTF-8, got {type(error).__name__}; check the path.") from None
