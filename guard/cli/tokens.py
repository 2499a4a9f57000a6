"""`guard tokens ...`: tokens that stand in for values, and `guard honey ...`: what is planted for thieves.

Law: values and tokens come from standard input, so that they stand in no list of processes.
"""

import sys
from typing import Annotated, Any

import typer

from guard.cli.session import Session, verb
from guard.cli.token_lines import exchange
from guard.errors import InvalidInput

group = typer.Typer()
honey = typer.Typer()
MAX_VALUE_BYTES = 16384
FieldOption = Annotated[str, typer.Option(help="a field that has tokens, as table.column")]
PurposeOption = Annotated[str, typer.Option(help="what it is for, as the field's policy says")]


@verb(group, "issue")
def issue(session: Session) -> None:
    """Give tokens for values: JSON lines with field, domain, subject, value, and ttl_seconds and single_use if wanted.

    Example: echo '{"field":"customers.email","domain":"delivery","subject":"u-17","value":"a@b.cn"}' | guard tokens issue
    """
    exchange(session, "tokens.issue")


@verb(group, "reveal")
def reveal(session: Session, purpose: str) -> None:
    """Show what tokens stand for, as far as your roles may see: JSON lines with field and token.

    Example: guard tokens reveal support < tokens.jsonl
    """
    exchange(session, "tokens.reveal", purpose=purpose)


@verb(group, "revoke")
def revoke(session: Session) -> None:
    """Make tokens worthless; what they stood for leaves the vault: JSON lines with field and token.

    Example: guard tokens revoke < tokens.jsonl
    """
    exchange(session, "tokens.revoke_issued")


@verb(group, "list", columns=("id", "field", "domain", "state", "single_use", "issued_by", "expires_us", "reveals"))
def list_issued(session: Session, field: FieldOption = "", limit: int = 50) -> Any:
    """List tokens, newest first: how they stand, never what they are.

    Example: guard tokens list --field customers.email
    """
    return session.call("tokens.list_issued", field=field, limit=limit)


@verb(group, "requests", columns=("id", "field", "purpose", "tokens", "asked_by", "expires_us"))
def requests(session: Session, limit: int = 50) -> Any:
    """List reveals that wait for a second person.

    Example: guard tokens requests
    """
    return session.call("tokens.list_requests", limit=limit)


@verb(group, "approve")
def approve(session: Session, request: str, field: FieldOption, purpose: PurposeOption) -> Any:
    """Approve, as a second person, what somebody asked to reveal; good for one reveal within the hour.

    Example: guard tokens approve rvl_0198 --field customers.identity_number --purpose identity_check
    """
    return session.call("tokens.approve", request=request, field=field, purpose=purpose)


@verb(honey, "token")
def plant_token(
    session: Session,
    field: str,
    domain: str,
    subject: Annotated[str, typer.Option(help="a person who does not exist")],
) -> Any:
    """Make a token for a made-up value from standard input; whoever reveals it raises an incident and notices nothing.

    Example: printf eve@example.org | guard honey token customers.email delivery --subject nobody-1
    """
    raw = sys.stdin.buffer.read(MAX_VALUE_BYTES + 1)
    if not raw.strip() or len(raw) > MAX_VALUE_BYTES:
        raise InvalidInput(f"Expected a value of 1 to {MAX_VALUE_BYTES} bytes on standard input; give one.")
    try:
        value = raw.decode().removesuffix("\n")
    except UnicodeDecodeError:
        raise InvalidInput("Expected a value in UTF-8 on standard input, got other bytes; convert them.") from None
    return session.call("honey.plant_token", field=field, domain=domain, subject=subject, value=value)


@verb(honey, "row")
def plant_row(
    session: Session,
    field: str,
    row: Annotated[str, typer.Option(help="the row of nobody, where the field is bound to one")] = "",
    subject: Annotated[str, typer.Option(help="the person who does not exist, where it is bound to one")] = "",
) -> Any:
    """Watch a made-up row of your table; whoever opens a field of it raises an incident and notices nothing.

    Example: guard honey row customers.email --row 999
    """
    context = {name: value for name, value in (("row", row), ("subject", subject)) if value}
    return session.call("honey.plant_row", field=field, context=context)


@verb(honey, "list", columns=("id", "kind", "field", "planted_by", "planted_us"))
def list_honey(session: Session, limit: int = 50) -> Any:
    """List what stands planted, newest first.

    Example: guard honey list
    """
    return session.call("honey.list", limit=limit)


@verb(honey, "remove")
def remove(session: Session, honey: str) -> Any:
    """Watch something planted no more.

    Example: guard honey remove hny_0198
    """
    session.call("honey.remove", honey=honey)
    return {"removed": honey}
