"""The vault of tokens as one request uses it: values go in under persons' keys, and come out again.

Law: everything happens in the transaction of the record, so a token is never out whose row is not durable, and who
reads sees what every earlier request did. A row opens under the person's key and as this row only; with the key gone,
the token is dead.
"""

from collections.abc import Mapping
from typing import Any

from guard.catalogue import Context
from guard.errors import DoesNotOpen, GuardError, InvalidRequest, NotFound
from guard.vault import token_store, tokens
from guard.vault.deks import Dek, Subjects
from guard.vault.envelope import SuiteId
from guard.vault.keyed import VERSION
from guard.vault.keys import IndexKey, KeyVersion
from guard.vault.policy import FieldPolicy
from guard.vault.sealing import open_text, seal_text
from guard.vault.token_policy import Domain, TokenPolicy
from guard.vault.token_store import TokenRow
from guard.vault.tokens import Standing
from guard.vault.vault import Vault
from guard.vault.versions import State
from guard.wire.tokens import IssuedItem

SECOND_US = 1_000_000
TABLE = "tokens"
"""With a column that has a dot in its name, which no field policy can declare, so that no field opens a token's row."""


class TokenVault:
    """Tokens of one tenant during one request of the writer."""

    def __init__(self, ctx: Context, issuer: str = "") -> None:
        """*issuer* stands in new rows in the place of whoever asks."""
        self._ctx = ctx
        self._issuer = issuer or ctx.actor.subject
        self._subjects = ctx.part(Subjects)
        self._epoch = self._subjects.epoch

    def issue(self, item: Mapping[str, Any]) -> tuple[TokenRow, IssuedItem]:
        """The row and the answer for one value: the token that it has in this domain, or a new one.

        Raises:
            InvalidRequest: no such domain, or another format. SubjectForgotten: the person's key is gone.
        """
        ctx, policy, domain = self._ctx, *self._declared(item)
        single_use = domain.single_use or item.get("single_use", False)
        expires_us = _end(ctx.now_us, domain, item.get("ttl_seconds"))
        if domain.format is not None:
            tokens.same(domain.format, item["value"], ctx.random)  # refused before a key is made for it
        dek = self._dek(item["subject"])
        keys = self._keys(policy)
        indexes = [
            tokens.value_index(
                one.material.expose(), one.version, policy.name, domain.name, dek.subject_ref, item["value"]
            )
            for one in keys
        ]
        row = None if single_use else self._known(dek, indexes, item["value"])
        if row is not None:
            token, _ = self._payload(dek, row)
            expires_us = _later(row.expires_us, expires_us, _end(ctx.now_us, domain, None))
            if expires_us != row.expires_us:
                token_store.set_end(ctx.tx, row, expires_us)
        else:
            row, token = self._new(policy, domain, dek, item["value"], (expires_us, single_use, indexes[0]))
        return row, {"token": token, "expires_us": expires_us, "single_use": single_use}

    def find(self, policy: FieldPolicy, token: str) -> TokenRow:
        """The row of a token of this field.

        Raises:
            NotFound: this tenant issued none.
        """
        keys = self._keys(policy)
        wanted = [tokens.reference(one.material.expose(), one.version, policy.name, token) for one in keys]
        row = token_store.by_reference(self._ctx.tx, self._ctx.tenant, wanted)
        if row is None:
            raise NotFound(f"Expected a token that was issued for {policy.name}, got another text; check the field.")
        return row

    def open(self, row: TokenRow) -> str:
        """The value of a row that is held.

        Raises:
            SubjectForgotten: the person's key is revoked or destroyed.
        """
        dek = self._subjects.to_open(lambda: self._ctx.tx, row.tenant, row.dek_id, self._epoch)
        return self._payload(dek, row)[1]

    def tokens_of(self, field: str) -> tuple[FieldPolicy, TokenPolicy]:
        """A field's policy, and the part of it that is about tokens.

        Raises:
            InvalidRequest: there is no such field, or tokens do not stand in for it.
        """
        policy = self._ctx.part(Vault).policy(field)
        if policy.tokens is None:
            raise InvalidRequest(f"Expected a field whose policy has 'tokens', got {field}; declare them there.")
        return policy, policy.tokens

    def _declared(self, item: Mapping[str, Any]) -> tuple[FieldPolicy, Domain]:
        policy, declared = self.tokens_of(item["field"])
        domain = declared.domains.get(item["domain"])
        if domain is None:
            known = ", ".join(sorted(declared.domains))
            raise InvalidRequest(f"Expected one of the domains {known} of {policy.name}, got another; correct it.")
        return policy, domain

    def _keys(self, policy: FieldPolicy) -> tuple[IndexKey, ...]:
        return self._ctx.part(Vault).keyring.index_keys(self._ctx.tenant, policy.token_key)

    def _dek(self, subject: str) -> Dek:
        ctx, subjects = self._ctx, self._subjects
        dek = subjects.to_seal(lambda: ctx.tx, ctx.tenant, subject, self._epoch)
        fresh = subjects.settle(ctx.tx, [dek], self._epoch, ctx.now_us)
        if fresh:
            ctx.after_commit(lambda: subjects.stored(fresh))
        return dek

    def _known(self, dek: Dek, indexes: list[bytes], value: str) -> TokenRow | None:
        """The live token of a value; a row that stands in the way of a new one steps aside."""
        row = token_store.by_value(self._ctx.tx, self._ctx.tenant, indexes)
        if row is None:
            return None
        if row.life.standing(self._ctx.now_us) is Standing.LIVE and self._holds(dek, row, value):
            return row
        token_store.forget_value(self._ctx.tx, row)
        return None

    def _holds(self, dek: Dek, row: TokenRow, value: str) -> bool:
        # A person who was forgotten and came back has another key, and tokens from before stay dead.
        if row.dek_id != dek.dek_id:
            return False
        try:
            return self._payload(dek, row)[1] == value
        except GuardError:
            return False

    def _new(
        self, policy: FieldPolicy, domain: Domain, dek: Dek, value: str, more: tuple[int | None, bool, bytes]
    ) -> tuple[TokenRow, str]:
        ctx, key = self._ctx, self._keys(policy)[0]
        expires_us, single_use, index = more
        token = tokens.draw(domain, value, ctx.random, lambda text: self._taken(policy, text))
        row_id = ctx.new_id("vtk")
        sealed = seal_text(_version(dek), _cell(ctx.tenant, policy.name, row_id), tokens.payload(token, value))
        row = TokenRow(
            id=row_id,
            tenant=ctx.tenant,
            field=policy.name,
            domain=domain.name,
            index_version=key.version,
            reference=tokens.reference(key.material.expose(), key.version, policy.name, token),
            value_index=None if single_use else index,
            dek_id=dek.dek_id,
            sealed=sealed,
            single_use=single_use,
            expires_us=expires_us,
            issued_by=self._issuer,
            issued_us=ctx.now_us,
        )
        token_store.add(ctx.tx, row)
        return row, token

    def _taken(self, policy: FieldPolicy, token: str) -> bool:
        try:
            self.find(policy, token)
        except NotFound:
            return False
        return True

    def _payload(self, dek: Dek, row: TokenRow) -> tuple[str, str]:
        if row.sealed is None:
            raise DoesNotOpen("Expected a token whose value is held, got an emptied one.")
        return tokens.parted(open_text(_version(dek), _cell(row.tenant, row.field, row.id), row.sealed))


def _version(dek: Dek) -> KeyVersion:
    return KeyVersion(
        dek.dek_id, TABLE, dek.tenant, VERSION, State.ACTIVE, SuiteId.CBL256, dek.secret, subject_key=True
    )


def _cell(tenant: str, field: str, row_id: str) -> dict[str, str]:
    return {"tenant": tenant, "table": TABLE, "column": field, "row": row_id}


def _end(now_us: int, domain: Domain, asked_seconds: int | None) -> int | None:
    given = [one for one in (domain.ttl_seconds, asked_seconds) if one is not None]
    return now_us + min(given) * SECOND_US if given else None


def _later(held_us: int | None, wanted_us: int | None, longest_us: int | None) -> int | None:
    """The later of two ends (None is no end), within what the domain declares today, not when the token was made."""
    end_us = None if held_us is None or wanted_us is None else max(held_us, wanted_us)
    if longest_us is None:
        return end_us
    return longest_us if end_us is None else min(end_us, longest_us)
