"""A sealed service: which slots could open it, what it waits for, and what people have given so far.

Law: nothing that was given is kept longer than until it was tried; a wrong secret is counted, told to the operator's
log at once and to the audit log when that is open again; slots without secrets are tried again and again unless a
person sealed the service, who must then ask for it.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from guard.errors import (
    CustodyUnreachable,
    GuardError,
    InvalidInput,
    InvalidSetting,
    NotUnsealed,
    RootKeyMissing,
    Sealed,
    WrongRootKey,
)
from guard.vault import slots
from guard.vault.keys import Secret
from guard.vault.seal import SealState, move
from guard.vault.store import SlotRow
from guard.wire.custody import CustodyView, SlotView, UnsealService, UnsealView

HINT: Final = "Run guard custody status to see what opens it, then guard custody unseal."
MAX_SHARES_HELD: Final = 16

Tell = Callable[[str, str], None]


@dataclass(frozen=True, slots=True)
class Opened:
    """The seal secret, which slot gave it, and how often something wrong was given before."""

    secret: Secret
    slot_id: str
    plugin: str
    failures: int = 0


class Opening:
    """The way from sealed to unsealed. Safe from any thread; one secret is tried at a time."""

    def __init__(
        self, rows: Sequence[SlotRow], key_file: str, *, production: bool = False, tell: Tell = lambda _a, _b: None
    ) -> None:
        self.state = SealState.SEALED if rows else SealState.UNINITIALISED
        self.opened: Opened | None = None
        self.failures = 0
        self.waiting: dict[str, GuardError] = {}
        self._rows = [one for one in rows if not (production and one.plugin == slots.FILE)]
        self._key_file = key_file
        self._tell = tell
        self._held: dict[str, list[str]] = {}
        self._lock = threading.Lock()

    @property
    def automatic(self) -> list[SlotRow]:
        """The slots that nobody has to give anything for."""
        return [one for one in self._rows if slots.is_automatic(one.plugin)]

    @property
    def error(self) -> GuardError:
        """What every operation is answered with."""
        if self.state is SealState.UNINITIALISED:
            return Sealed(
                "The service has no root key yet.", hint="Stop it and run guard custody init.", state="uninitialised"
            )
        waits = " ".join(f"{name}: {error.detail}" for name, error in self.waiting.items())
        people = ", ".join(one.slot_id for one in self._rows if one not in self.automatic)
        waits = waits or (f"It waits for the holders of {people}." if people else "It waits to be unsealed.")
        return Sealed(f"The service is sealed. {waits}", hint=HINT, state=self.state.value)

    def only_error(self) -> GuardError | None:
        """The error of a store whose only custody is one key file: waiting would not bring it."""
        if not self._rows and self.state is SealState.SEALED:
            return InvalidSetting(
                "Expected custody outside the host with production = true, but a key file is the only slot; "
                "start without production, run guard custody move, then set it again."
            )
        if len(self._rows) == 1 and self._rows[0].plugin == slots.FILE:
            return self.waiting.get(self._rows[0].slot_id)
        return None

    def attempt(self) -> bool:
        """Try the slots that open by themselves, in turn; whether the seal is open now."""
        for row in self.automatic:
            if self.opened is not None:
                break
            try:
                self._open(row, {})
            except GuardError as error:
                before = self.waiting.get(row.slot_id)
                self.waiting[row.slot_id] = error
                if before is None or before.detail != error.detail:
                    self._tell(row.slot_id, error.detail)
        return self.opened is not None

    def offer(self, request: UnsealService) -> UnsealView:
        """Take what a person gives: a passphrase, some or all shares, or nothing for the slots that need none.

        Raises:
            NotUnsealed: it opens nothing. InvalidInput: there is no such slot, or it takes no such secret.
        """
        if self.state is SealState.UNINITIALISED:
            raise self.error
        with self._lock:
            if self.opened is not None:
                return UnsealView(state=self.state.value, slot=self.opened.slot_id, have=0, need=0)
            if not request.secrets:
                return self._without_secrets()
            return self._with_secrets(self._slot(request), request.secrets)

    def _without_secrets(self) -> UnsealView:
        if self.attempt() and self.opened is not None:
            return UnsealView(state=self.state.value, slot=self.opened.slot_id, have=0, need=0)
        raise NotUnsealed(self.error.detail, hint=HINT)

    def _slot(self, request: UnsealService) -> SlotRow:
        wanted = [
            one
            for one in self._rows
            if request.slot in {one.slot_id, ""} and set(request.secrets) <= set(slots.kind(one.plugin).SECRETS)
        ]
        if len(wanted) != 1:
            known = ", ".join(f"{one.slot_id} ({one.plugin})" for one in self._rows)
            raise InvalidInput(f"Expected the name of one slot that takes this, of {known}; give --slot.")
        return wanted[0]

    def _with_secrets(self, row: SlotRow, secrets: Mapping[str, str]) -> UnsealView:
        need, given = slots.needed(row), dict(secrets)
        if "shares" in secrets:
            lines = [one.strip() for one in secrets["shares"].splitlines() if one.strip()]
            held = self._held.setdefault(row.slot_id, [])
            held += [one for one in lines if one not in held]
            if len(held) < need:
                return UnsealView(state=self.state.value, slot=row.slot_id, have=len(held), need=need)
            given = {"shares": "\n".join(held[:MAX_SHARES_HELD])}
            self._held.pop(row.slot_id)
        try:
            self._open(row, given)
        except (WrongRootKey, RootKeyMissing, InvalidInput) as error:
            self.failures += 1
            self._tell(row.slot_id, error.detail)
            raise NotUnsealed(error.detail, hint=error.hint, failures=self.failures) from None
        except CustodyUnreachable as error:
            raise NotUnsealed(error.detail, hint=error.hint) from None
        return UnsealView(state=self.state.value, slot=row.slot_id, have=need, need=need)

    def _open(self, row: SlotRow, secrets: Mapping[str, str]) -> None:
        secret = slots.open_slot(row, self._key_file, secrets)
        self.opened = Opened(secret, row.slot_id, row.plugin, self.failures)
        self.state = move(self.state, SealState.UNSEALED)
        self.waiting.clear()
        self._held.clear()

    def view(self) -> CustodyView:
        """What anybody may know of a sealed service: which slots there are, and what is missing."""
        return CustodyView(
            state=self.state.value,
            slots=[
                SlotView(
                    slot=one.slot_id,
                    plugin=one.plugin,
                    automatic=slots.is_automatic(one.plugin),
                    need=slots.needed(one),
                    have=len(self._held.get(one.slot_id, ())),
                    options={},
                    created_us=one.created_us,
                )
                for one in self._rows
            ],
            requests=[],
            waiting=[f"{name}: {error.detail}" for name, error in self.waiting.items()],
            failures=self.failures,
        )
