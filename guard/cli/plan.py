"""`guard plan ...`."""

from pathlib import Path
from typing import Any

import typer

from guard.cli.session import Session, verb
from guard.errors import InvalidInput

group = typer.Typer()


@verb(group, "list", columns=("plan", "group", "review_due", "steps", "sha256"))
def list_plans(session: Session) -> Any:
    """List the plan library.

    Example: guard plan list
    """
    return session.call("plans.list")


@verb(group, "show")
def show(session: Session, plan: str, language: str = "en") -> Any:
    """Show a plan step by step.

    Example: guard plan show credential-stuffing --language zh
    """
    detail = session.call("plans.read", plan=plan)
    rows = [
        {
            "step": step["step"],
            "kind": step["kind"],
            "role": step["role"],
            "text": step["text"].get(language, step["text"].get("en", "")),
            "next": ", ".join(f"{label} -> {to}" for label, to in step["next"].items()),
        }
        for step in detail["details"]
    ]
    return {"data": rows}


@verb(group, "lint", columns=("severity", "code", "place", "message"))
def lint(session: Session, file: Path) -> None:
    """Check a plan. Needs no server. Exit 0 without errors, 1 with errors, 2 where it cannot be read.

    Example: guard plan lint runbooks/region-outage.yaml
    """
    from guard.catalogue import collect
    from guard.rooms import ROOMS  # the parts of the server, only here
    from guard.runbook.lint import lint as check
    from guard.runbook.plan import parse

    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"Expected a plan in UTF-8 at {file}, got {type(error).__name__}; check the path.") from None
    findings = [one.to_json() for one in check(parse(text, str(file)), frozenset(collect(ROOMS)))]
    session.show({"data": findings}, ("severity", "code", "place", "message"))
    if any(one["severity"] == "error" for one in findings):
        raise typer.Exit(1)
