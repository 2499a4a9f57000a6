"""The access room in memory: live tokens and the policy snapshot, each swapped whole after a commit.

Law: readers take one reference and no lock; the writer thread alone replaces them; nothing here writes the store.
"""

import hmac
from collections.abc import Callable, Iterable

from guard.access import store, tokens
from guard.access.policy import Grant, Rows, Snapshot
from guard.access.store import StoredToken
from guard.access.tokens import Token
from guard.catalogue import Actor, Decision
from guard.db.engine import Tx
from guard.errors import Unauthenticated

HANDLE_AT, HANDLE_END = len("grd_svc_"), len("grd_svc_") + tokens.HANDLE


class Doorkeeper:
    """Knows every usable token and every live grant; answers without I/O."""

    def __init__(self, model: str, rows: Rows, pepper: bytes) -> None:
        self._model = model
        self._pepper = pepper
        self.rows = rows
        self._tokens: dict[str, StoredToken] = {}
        self.snapshot = Snapshot(model, rows, (), 0)

    def load(self, tx: Tx, now_us: int) -> None:
        """Read everything from the store."""
        self._tokens = {token.handle: token for token in store.live_tokens(tx, now_us)}
        self.snapshot = Snapshot(self._model, self.rows, store.live_grants(tx, now_us), store.version(tx))

    def identify(self, bearer: str, now_us: int) -> Actor:
        """The actor of the token *bearer*.

        Raises:
            Unauthenticated: mistyped, unknown, expired or revoked; one text for all.
        """
        known = self._tokens.get(bearer[HANDLE_AT:HANDLE_END])
        if known is None:
            # An unknown handle costs the same MAC as a known one.
            tokens.mac(self._pepper, tokens.parse(bearer).text)
            raise Unauthenticated(tokens.REFUSED)
        # The MAC covers the whole text, so form and checksum need no look of their own.
        sent = tokens.mac(self._pepper, bearer)
        if not hmac.compare_digest(sent, known.mac) or now_us >= known.expires_us:
            raise Unauthenticated(tokens.REFUSED)
        return known.actor

    @property
    def state(self) -> object:
        """Replaced, never changed, whenever a token is admitted or dismissed."""
        return self._tokens

    def expires_us(self, actor: Actor) -> int:
        """When the actor's token ends; 0 where it is gone."""
        known = self._tokens.get(actor.credential)
        return known.expires_us if known else 0

    def decide(self, actor: Actor, permission: str, resource: str, now_us: int) -> Decision:
        """May *actor* use *permission* on *resource*?"""
        return self.snapshot.decide(actor, permission, resource, now_us)

    def has_key(self, role: str, tenant: str) -> bool:
        """Whether a holder of *role* in *tenant* had, when tokens were loaded, a valid one that is not one-time."""
        held = {grant.member for grant in self.snapshot.grants.get(tenant, []) if grant.role == role}
        lasting = (token for token in self._tokens.values() if token.kind != "one")
        return any(token.tenant == tenant and token.subject in held for token in lasting)

    def mint(self, kind: str, random: Callable[[int], bytes]) -> tuple[Token, bytes]:
        """A new token and the MAC to store."""
        token = tokens.mint(kind, random(tokens.RANDOM_BYTES))
        return token, tokens.mac(self._pepper, token.text)

    def admit(self, token: StoredToken) -> None:
        """A token was committed."""
        self._tokens = self._tokens | {token.handle: token}

    def dismiss(self, handle: str) -> None:
        """A token was revoked."""
        self._tokens = {known: token for known, token in self._tokens.items() if known != handle}

    def swap(self, grants: Iterable[Grant], version: int) -> None:
        """Grants changed: build the next snapshot aside, then use it."""
        self.snapshot = Snapshot(self._model, self.rows, grants, version)
