"""The `guard` command and its verbs."""

import io
import sys

import typer
import typer.main

from guard.cli import (
    access,
    anchors,
    audit,
    audit_bundle,
    audit_export,
    audit_files,
    audit_keys,
    audit_privacy,
    audit_search,
    audit_sinks,
    custody,
    demo,
    fields,
    fields_ingest,
    fields_seal_column,
    fields_search,
    files,
    indexes,
    keys,
    keys_rewrap,
    keys_transfer,
    leases,
    logs,
    plan,
    run,
    serving,
    subjects,
    tokens,
    verify,
    witness,
)

app = typer.Typer(
    name="guard",
    help="Field encryption, roles, abuse detection and incident runbooks behind one audited gate.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
serving.register(app)
demo.register(app)
verify.register(app)
audit_files.register(audit.group)
fields_ingest.register(fields.group)
fields_seal_column.register(fields.group)
keys_rewrap.register(keys.group)
keys_transfer.register(keys.group)
fields_search.register(fields.group)
witness.register(app)
audit_keys.register(audit.group)
audit_bundle.register(audit.group)
audit_search.register(audit.group)
audit_sinks.register(audit.group)
audit_privacy.register(audit.group)
anchors.register(audit.group)
for _name, _group, _help in (
    ("custody", custody.group, "The root key's slots, and the seal."),
    ("keys", keys.group, "Keys, rotation, re-encryption and census."),
    ("fields", fields.group, "Seal, open, mask and search fields."),
    ("files", files.group, "Seal and open files of any size in this process."),
    ("leases", leases.group, "Data keys that clients hold for a while."),
    ("indexes", indexes.group, "Versions of blind indexes, and tokens of sources."),
    ("budgets", indexes.budgets, "Who looked up how much, and lifting a freeze."),
    ("subjects", subjects.group, "What is held on a person, and forgetting one."),
    ("tokens", tokens.group, "Tokens that stand in for values."),
    ("honey", tokens.honey, "Planted values, whose reading raises an incident."),
    ("access", access.group, "Tenants, tokens, roles and checks."),
    ("logs", logs.group, "Request logs, detections and decisions."),
    ("plan", plan.group, "Contingency plans."),
    ("run", run.group, "Incidents and runs of plans."),
    ("audit", audit_export.group, "The audit log: records, proofs, exports."),
):
    app.add_typer(_group, name=_name, help=_help, no_args_is_help=True)


def main() -> None:
    """Run the command; whatever is unforeseen is one sentence, never a traceback."""
    sys.excepthook = _unforeseen
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that cannot show a character shows its number
    # Calling `app` itself would put typer's own hook, which prints tracebacks, in place of ours.
    typer.main.get_command(app)()


def _unforeseen(kind: type[BaseException], _error: BaseException, trace: object) -> None:
    place = ""
    while trace is not None:
        frame = trace.tb_frame  # type: ignore[attr-defined]
        place = f"{frame.f_code.co_filename.rsplit('/', 1)[-1]}:{trace.tb_lineno}"  # type: ignore[attr-defined]
        trace = trace.tb_next  # type: ignore[attr-defined]
    print(f"guard: an internal error occurred ({kind.__name__} at {place}); please report it.", file=sys.stderr)
