"""Revealing tokens: which rule of the field's policy holds, what it needs, and what it shows.

Law: what a token's row says is read and changed in one transaction with the record, so of two reveals of a one-time
token one wins, and a time to live is over at its microsecond. What a caller sees is the policy's choice by his roles.
An approval is for one reveal of exactly the tokens that were asked for, by whoever asked, and comes from another.
"""

import hashlib
from collections import Counter
from dataclasses import dataclass

from guard.catalogue import Context
from guard.errors import Denied, GuardError, SecondPersonNeeded, StepUpNeeded, TokenEnded
from guard.vault import token_store
from guard.vault.alarm import raise_alarm
from guard.vault.mask import mask
from guard.vault.token_policy import Need, Rule
from guard.vault.token_store import TokenRow
from guard.vault.token_vault import TokenVault
from guard.vault.tokens import Standing
from guard.vault.vault import Vault
from guard.wire.tokens import RevealedItem, RevealRequest, RevealTokens, TokenItem
from guard.wire.vault import ItemProblem

HOUR_US = 3_600_000_000
ASKED_US, APPROVED_US = 24 * HOUR_US, HOUR_US
"""How long a request waits, and how long an approval is good for: the length of a case, not of a job."""
SHOWS_NOTHING = "none"
ENDED = {
    Standing.EXPIRED: "its time to live is over",
    Standing.USED: "it was for one use, and was used",
    Standing.REVOKED: "it was revoked",
    Standing.FORGOTTEN: "the person whom it was about is forgotten",
}


@dataclass(frozen=True, slots=True)
class _Found:
    """A token that may be revealed, as far as its row and the policy say."""

    row: TokenRow
    rule: Rule


class Reveal:
    """One request to reveal, in the writer's transaction."""

    def __init__(self, ctx: Context, request: RevealTokens) -> None:
        self._ctx, self._request = ctx, request
        self._vault = TokenVault(ctx)
        self._used: set[str] = set()
        self._approved: dict[str, RevealRequest] = {}  # by field
        self._waiting: dict[str, RevealRequest] = {}
        self._alarms: list[bytes] = []
        self.opened: list[TokenRow] = []
        self.shown: Counter[str] = Counter()

    def run(self) -> list[RevealedItem]:
        """The answers, in order; what was opened stands in `opened`, and each mask's count in `shown`."""
        found = [self._find(item) for item in self._request.items]
        self._approvals([one for one in found if isinstance(one, _Found)])
        answers = [self._answer(one) for one in found]
        raise_alarm(self._ctx, self._alarms)
        for request in self._approved.values():
            if request.field in self._used:
                token_store.use_request(self._ctx.tx, request.id, self._ctx.now_us)
        return answers

    @property
    def approvals(self) -> list[str]:
        """The ids of the approvals that were used."""
        return sorted(one.id for one in self._approved.values() if one.field in self._used)

    def _find(self, item: TokenItem) -> _Found | GuardError:
        try:
            policy, declared = self._vault.tokens_of(item["field"])
            purpose = self._request.purpose
            rule = declared.choose(self._ctx.decision.roles if self._ctx.decision else (), purpose)
            if rule is None:
                raise Denied(
                    f"Expected a role to which the policy of {policy.name} reveals tokens for {purpose}, got none; "
                    "have the policy name one of your roles, or use another purpose."
                )
            row = self._vault.find(policy, item["token"])
            self._check(row)
            if Need.STEP_UP in rule.needs:
                raise StepUpNeeded(
                    f"Expected a log-in confirmed anew (step-up) for {policy.name}, but this service offers none yet; "
                    "have the policy ask for a second_person instead."
                )
        except GuardError as error:
            return error
        return _Found(row, rule)

    def _check(self, row: TokenRow) -> None:
        standing = row.life.standing(self._ctx.now_us)
        if standing is Standing.EXPIRED:  # at once, so that a clock that is set back does not bring it back
            token_store.empty(self._ctx.tx, row)
        if standing is not Standing.LIVE:
            raise _ended(standing)

    def _approvals(self, found: list[_Found]) -> None:
        """See for each field whether somebody else agreed to exactly these tokens, or else ask."""
        by_field: dict[str, set[str]] = {}
        for one in found:
            if Need.SECOND_PERSON in one.rule.needs:
                by_field.setdefault(one.row.field, set()).add(one.row.id)
        for field, ids in by_field.items():
            request = self._asked(field, sorted(ids))
            kept = self._waiting if request.approved_by is None else self._approved
            kept[field] = request

    def _asked(self, field: str, ids: list[str]) -> RevealRequest:
        ctx, purpose = self._ctx, self._request.purpose
        covers = hashlib.sha256(" ".join(ids).encode()).digest()
        known = token_store.asked(ctx.tx, ctx.tenant, ctx.actor.subject, purpose, covers, ctx.now_us)
        if known is not None:
            return known
        made = RevealRequest(
            id=ctx.new_id("rvl"),
            field=field,
            purpose=purpose,
            tokens=len(ids),
            asked_by=ctx.actor.subject,
            asked_us=ctx.now_us,
            expires_us=ctx.now_us + ASKED_US,
            approved_by=None,
        )
        token_store.ask(ctx.tx, ctx.tenant, made, covers)
        return made

    def _answer(self, found: _Found | GuardError) -> RevealedItem:
        if isinstance(found, GuardError):
            return {"problem": problem(found)}
        waits = self._waiting.get(found.row.field) if Need.SECOND_PERSON in found.rule.needs else None
        if waits is not None:
            return {"problem": problem(_needed(waits)), "request": waits.id}
        try:
            return self._shown(found.row, found.rule)
        except GuardError as error:
            return {"problem": problem(error)}

    def _shown(self, row: TokenRow, rule: Rule) -> RevealedItem:
        value = mask(rule.mask, self._vault.open(row))
        # What shows nothing is no reveal, and uses up neither a token nor an approval.
        if rule.mask != SHOWS_NOTHING:
            if not token_store.use(self._ctx.tx, row, self._ctx.now_us):
                raise _ended(Standing.USED)
            if Need.SECOND_PERSON in rule.needs:
                self._used.add(row.field)
        planted = self._ctx.part(Vault).honey.planted_token(row.tenant, row.id)
        if planted is not None:
            self._alarms.append(planted)
        self.opened.append(row)
        self.shown[rule.mask] += 1
        return {"value": value, "mask": rule.mask}


def _ended(standing: Standing) -> TokenEnded:
    return TokenEnded(f"Expected a live token, but {ENDED[standing]}; have a new one issued where one is needed.")


def _needed(request: RevealRequest) -> SecondPersonNeeded:
    return SecondPersonNeeded(
        f"Expected a second person's approval to reveal {request.tokens} of {request.field}, got none yet; have a "
        f"colleague run guard tokens approve {request.id} --field {request.field} --purpose {request.purpose}, then "
        "ask for the same tokens again."
    )


def problem(error: GuardError) -> ItemProblem:
    """What stands in the place of an item that failed."""
    return {"code": error.code, "title": error.title, "detail": error.detail}
