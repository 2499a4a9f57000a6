"""What somebody needs to trust an export: the checkpoint to export under, the policy, and which key signed which sizes.

Law: a policy names every key that the log ever had, since old checkpoints are signed by old keys, and asks for the
quorum of witnesses only under a checkpoint that has it; `ranges.json` says up to where each key counts, which a policy
cannot (c2sp.org/tlog-policy).
"""

import base64
import json
from typing import Any

from guard.audit import checkpoint_store, store
from guard.audit.checkpoint import Head
from guard.audit.checkpoint_store import KeyRow
from guard.audit.log import Log
from guard.audit.note import VerifierKey
from guard.audit.stolen_store import stolen_receipts
from guard.audit.witnesses import Witnesses, policy_lines
from guard.db.engine import Tx
from guard.errors import Conflict


def _range(row: KeyRow) -> dict[str, Any]:
    sizes: dict[str, Any] = {"from_size": row.from_size, "to_size": row.to_size}
    if row.stolen_us is not None:
        sizes["stolen_us"] = row.stolen_us
    if row.frozen_root is not None:
        sizes["root"] = base64.b64encode(row.frozen_root).decode()
    return sizes


class Trust:
    """Answers for one log and its witnesses."""

    def __init__(self, log: Log, witnesses: Witnesses) -> None:
        self._log = log
        self._witnesses = witnesses

    def checkpoint(self, tx: Tx) -> tuple[Head, str]:
        """The latest checkpoint that the quorum cosigned, or the latest of all without one, with every signature.

        Raises:
            Conflict: none was signed yet.
        """
        found = self.witnessed(tx) or store.last_checkpoint(tx, self._log.origin)
        if found is None:
            raise Conflict("Expected a signed checkpoint, got none yet; try again in a second.")
        return found[0], checkpoint_store.cosigned(tx, found[0].checkpoint.size, found[1])

    def witnessed(self, tx: Tx) -> tuple[Head, str] | None:
        """The latest checkpoint that the quorum cosigned, and the note of the log alone; None without a quorum."""
        quorum, names = self._witnesses.quorum, tuple(self._witnesses.settings)
        return checkpoint_store.last_witnessed(tx, self._log.origin, names, quorum) if quorum else None

    def policy(self, tx: Tx, size: int) -> str:
        """The policy.txt of an export under the checkpoint of *size*."""
        logs = "".join(f"log {row.vkey}\n" for row in self._rows(tx))
        found = self.witnessed(tx)
        met = found is not None and size <= found[0].checkpoint.size
        return logs + policy_lines(self._witnesses.keys, self._witnesses.quorum if met else 0)

    def ranges(self, tx: Tx) -> bytes:
        """The ranges.json: canonical JSON, vkey -> the sizes of checkpoints that it may sign; null is no end.

        It names the keys of earlier incarnations too: what they signed is held against the ranges of today.
        """
        rows = {row.vkey: _range(row) for row in checkpoint_store.log_keys(tx)} | stolen_receipts(tx)
        return json.dumps(rows, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    def receipts(self) -> bytes:
        """The receipts.vkey: the key that signs this incarnation's receipts, on a line."""
        return f"{self._log.receipts.verifier.encode()}\n".encode()

    def keys(self, tx: Tx) -> list[VerifierKey]:
        """Every key that this incarnation of the log ever had."""
        return [VerifierKey.decode(row.vkey) for row in self._rows(tx)]

    def _rows(self, tx: Tx) -> list[KeyRow]:
        return checkpoint_store.log_keys(tx, self._log.origin)
