"""What the catalogue lists of vaulted tokens: issue, reveal, approve a reveal, revoke, list, and sweep.

Law: a record names tokens by the ids of their rows. A token itself says nothing of its value, but it leads to it: so it
is treated as the value is, and stands in no record, path, query or message.
"""

from collections.abc import Callable, Sequence
from typing import Any

from guard.catalogue import PLATFORM, Context, Effect, operation
from guard.errors import Conflict, Denied, GuardError, NotFound
from guard.vault import batches, token_store
from guard.vault.forgetting import Read
from guard.vault.revealing import APPROVED_US, Reveal, problem
from guard.vault.token_vault import TokenVault
from guard.wire import tokens as wire

MAX_SWEPT = 1000
_TOKEN = {"field": "customers.email", "token": "tok_aaaaaaaaaaaaaaaaaaaaaaaaaa"}
_VALUE = {"field": "customers.email", "domain": "delivery", "subject": "u-17", "value": "ana@example.org"}


def _issued(request: wire.IssueTokens) -> tuple[str, ...]:
    return tuple(sorted({f"fields/{item['field']}/{item['domain']}" for item in request.items}))


def _revealed(request: wire.RevealTokens) -> tuple[str, ...]:
    return tuple(f"fields/{field}/{request.purpose}" for field in batches.fields_of(request.items))


def _revoked(request: wire.RevokeTokens) -> tuple[str, ...]:
    return tuple(f"fields/{field}/tokens" for field in batches.fields_of(request.items))


@operation(
    "tokens.issue",
    "POST /api/v1/tokens/issue",
    takes=wire.IssueTokens,
    gives=wire.IssuedTokens,
    effect=Effect.WRITE,
    resource=_issued,
    example={"items": [_VALUE]},
)
def issue_tokens(ctx: Context, request: wire.IssueTokens) -> dict[str, Any]:
    """Give tokens for values: equal values of a person have one token in a domain, and another in every other."""
    vault, results, ids = TokenVault(ctx), list[wire.IssuedItem](), list[str]()
    for item in request.items:
        try:
            row, answer = vault.issue(item)
        except GuardError as error:
            results.append({"problem": problem(error)})
        else:
            ids.append(row.id)
            results.append(answer)
    _note(ctx, results, ids)
    return {"results": results}


@operation(
    "tokens.reveal",
    "POST /api/v1/tokens/reveal",
    takes=wire.RevealTokens,
    gives=wire.RevealedTokens,
    effect=Effect.WRITE,
    resource=_revealed,
    audit=("purpose",),
    example={"purpose": "delivery", "items": [_TOKEN]},
)
def reveal_tokens(ctx: Context, request: wire.RevealTokens) -> dict[str, Any]:
    """Show the values of tokens, masked as the field's policy says for the caller's roles and this purpose."""
    reveal = Reveal(ctx, request)
    results = reveal.run()
    _note(ctx, results, [row.id for row in reveal.opened])
    if reveal.shown:
        ctx.note(shown=dict(reveal.shown))
    if reveal.approvals:
        ctx.note(approvals=" ".join(reveal.approvals))
    return {"results": results}


@operation(
    "tokens.approve",
    "POST /api/v1/tokens/requests/{request}/approve",
    takes=wire.ApproveReveal,
    gives=wire.RevealRequest,
    effect=Effect.WRITE,
    resource="fields/{field}/{purpose}",
    audit=("request", "purpose"),
    example={"field": "customers.identity_number", "purpose": "identity_check"},
)
def approve_reveal(ctx: Context, request: wire.ApproveReveal) -> wire.RevealRequest:
    """Approve, as a second person, what somebody else asked to reveal; good for one reveal within the hour."""
    found = token_store.find_request(ctx.tx, ctx.tenant, request.request, ctx.now_us)
    if found is None or (found.field, found.purpose) != (request.field, request.purpose):
        raise NotFound(
            "Expected the id, field and purpose of a reveal that waits, got others; see guard tokens requests."
        )
    if found.asked_by == ctx.actor.subject:
        raise Denied("You asked for this reveal; approving it takes a second person.")
    if found.approved_by is not None:
        raise Conflict("Somebody has approved this reveal already; nothing is left to do.")
    token_store.approve(ctx.tx, found.id, ctx.actor.subject, ctx.now_us + APPROVED_US)
    ctx.note(asked_by=found.asked_by, tokens=found.tokens)
    return found.model_copy(
        update={"approved_by": ctx.actor.subject, "expires_us": ctx.now_us + APPROVED_US},
    )


@operation(
    "tokens.list_requests",
    "GET /api/v1/tokens/requests",
    takes=wire.ListReveals,
    gives=wire.RevealRequests,
    effect=Effect.READ,
    resource="fields/all",
)
def list_requests(ctx: Context, request: wire.ListReveals) -> wire.RevealRequests:
    """List reveals that wait for a second person, newest first."""
    return wire.RevealRequests(data=token_store.waiting(ctx.tx, ctx.tenant, request.limit, ctx.now_us))


@operation(
    "tokens.revoke_issued",
    "POST /api/v1/tokens/revoke",
    takes=wire.RevokeTokens,
    gives=wire.RevokedTokens,
    effect=Effect.WRITE,
    resource=_revoked,
    example={"items": [_TOKEN]},
)
def revoke_issued(ctx: Context, request: wire.RevokeTokens) -> dict[str, Any]:
    """Revoke tokens of values; what they stood for leaves the vault with them. Doing it twice changes nothing."""
    vault, results, ids = TokenVault(ctx), list[wire.RevokedItem](), list[str]()
    for item in request.items:
        try:
            row = vault.find(vault.tokens_of(item["field"])[0], item["token"])
        except GuardError as error:
            results.append({"problem": problem(error)})
        else:
            if row.revoked_us is None:
                token_store.revoke(ctx.tx, row, ctx.now_us)
            ids.append(row.id)
            results.append({"state": "revoked"})
    _note(ctx, results, ids)
    return {"results": results}


@operation(
    "tokens.list_issued",
    "GET /api/v1/tokens/issued",
    takes=wire.ListIssued,
    gives=wire.IssuedList,
    effect=Effect.READ,
    resource="fields/all",
    audit=("field",),
)
def list_issued(ctx: Context, request: wire.ListIssued) -> wire.IssuedList:
    """List tokens of values, newest first: for what they are, how they stand, how often they were revealed."""
    return wire.IssuedList(data=token_store.listed(ctx.tx, ctx.tenant, request.field, request.limit, ctx.now_us))


@operation(
    "tokens.sweep",
    None,
    takes=wire.SweepTokens,
    gives=wire.SweptTokens,
    effect=Effect.WRITE,
    resource="tokens/all",
)
def sweep_tokens(ctx: Context, request: wire.SweepTokens) -> wire.SweptTokens:
    """Take the values of tokens whose time to live is over out of the store."""
    del request
    swept = token_store.sweep(ctx.tx, ctx.now_us, MAX_SWEPT)
    ctx.note(tokens=swept)
    return wire.SweptTokens(tokens=swept)


def sweep_due(read: Read) -> Callable[[int], list[tuple[str, dict[str, Any]]]]:
    """Whether there is something to sweep, for the worker."""

    def due(now_us: int) -> list[tuple[str, dict[str, Any]]]:
        with read() as tx:
            return [(PLATFORM, {})] if token_store.has_expired(tx, now_us) else []

    return due


def _note(ctx: Context, results: Sequence[Any], ids: Sequence[str]) -> None:
    ctx.note(**batches.summary([dict(one) for one in results]))
    if ids:
        ctx.note(tokens=" ".join(ids))
