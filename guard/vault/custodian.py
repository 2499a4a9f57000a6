"""What the custody operations of an unsealed service work on: the seal secret, and the switch that seals.

Law: sealing takes hold before its answer leaves: data keys in memory are overwritten, nothing new is taken into the
log, and whoever still holds a key gets the error Sealed. The seal secret itself goes with the process's parts, when
what was taken before has its records. A switch that was thrown stays so; the service is built anew when it is unsealed.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from guard.errors import Sealed
from guard.vault.keys import Secret
from guard.vault.opening import HINT
from guard.vault.seal import SealState, move
from guard.vault.vault import Vault


def _nothing() -> None:
    return


@dataclass(slots=True)
class Custodian:
    """One per process and unsealed period. `cluster` is the log's origin, which stands in each slot's record."""

    seal: Secret
    cluster: str
    vault: Vault
    key_file: str = ""
    production: bool = False
    state: SealState = SealState.UNSEALED
    notify: Callable[[], None] = field(default=_nothing)
    """Called once when the service is sealed; the server ends with it."""

    def throw(self) -> None:
        """Seal: wipe the data keys and tell the server."""
        if self.state is SealState.UNSEALED:
            self.state = move(self.state, SealState.SEALED)
            self.vault.wipe()
            self.notify()

    def close(self) -> None:
        """The parts are gone: overwrite the seal secret and what else is left."""
        self.vault.wipe()
        self.seal.wipe()

    def error(self) -> Sealed | None:
        """The error of a sealed service; None while it is unsealed."""
        if self.state is SealState.UNSEALED:
            return None
        return Sealed("The service was sealed.", hint=HINT, state=self.state.value)

    def check(self) -> None:
        """Raises Sealed once the switch was thrown."""
        error = self.error()
        if error is not None:
            raise error

    def before(self, admit: Callable[[bool], None]) -> Callable[[bool], None]:
        """*admit* of the log, after `check`; what closes or signs something taken before (*vital*) still goes in."""

        def both(vital: bool) -> None:
            if not vital:
                self.check()
            admit(vital)

        return both
