"""When checkpoints are due, and when they wait because the clock went back. What is due is asked at every heartbeat.

Law: a checkpoint comes one second after the first record that it does not cover, or at 4,096 of them, or after ten idle
minutes. A clock behind the last checkpoint is told once, by a record and an alarm, and none is signed until it is right
again or two persons have accepted it. What memory knows here is what the last COMMIT made durable.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from guard.audit import checkpoint_store, store
from guard.audit.checkpoint import REGRESSION_US, Head, Verdict
from guard.audit.log import RENEW_US, Log
from guard.catalogue import PLATFORM, Context
from guard.db.engine import Tx

UNCOVERED = 4096  # records: what the commit queue may hold, so that a second of the highest load is one checkpoint
TIDY_PAGE = 5000  # checkpoints looked at in one transaction: some 20 ms
TIDY_EVERY_US = 3_600_000_000
KEPT_US = 7 * 86_400_000_000  # of every signed note; a note a second is 0.3 GB a day

Due = Iterable[tuple[str, Mapping[str, Any]]]


class Publication:
    """Knows the last checkpoint that was published, and asks for the next."""

    def __init__(self, log: Log, seconds: int) -> None:
        self._log = log
        self._period_us = seconds * 1_000_000
        self._tried = (0, 0)  # size and time of the last try: a store that cannot be signed is not tried at every beat
        self._told = False
        self._tidied = (0, -1)  # size up to which notes were tidied, and the hour of its checkpoint
        self._tidy_us = 0
        self.head: Head | None = None

    def load(self, tx: Tx) -> None:
        """Read the last checkpoint; a clock that was accepted for it counts as its time."""
        last = store.last_checkpoint(tx, self._log.origin)
        self.head = None
        if last is not None:
            accepted_us = checkpoint_store.accepted_clock(tx, last[0].time_us)
            self.head = last[0] if accepted_us is None else replace(last[0], time_us=accepted_us)

    def publish(self, ctx: Context) -> tuple[Head, str, Verdict]:
        """As `Log.publish`; keys whose days are over sign no more."""
        self._end_keys(ctx)
        head, note, verdict = self._log.publish(ctx.tx, ctx.now_us)
        known = 0 if self.head is None else self.head.checkpoint.size
        if verdict is Verdict.PUBLISH or (note and head.checkpoint.size > known):
            ctx.after_commit(lambda: setattr(self, "head", head))
        return head, note, verdict

    def publish_staged(self, ctx: Context) -> bool:
        """As `Log.publish_staged`, and as `publish`."""
        self._end_keys(ctx)
        head = self._log.publish_staged(ctx.tx)
        if head is not None:
            ctx.after_commit(lambda: setattr(self, "head", head))
        return head is not None

    def restart(self) -> None:
        """The log goes on as another incarnation, of which nothing is published yet."""
        self.head, self._tried, self._told = None, (0, 0), False
        self._tidied, self._tidy_us = (0, -1), 0

    def _end_keys(self, ctx: Context) -> None:
        log = self._log
        staying = tuple(one for one in log.signers if one.active(ctx.now_us))
        if len(staying) < len(log.signers):
            size = 0 if self.head is None else self.head.checkpoint.size
            checkpoint_store.close_log_keys(ctx.tx, ctx.now_us, size)
            ctx.after_commit(lambda: setattr(log, "signers", staying))

    def due(self, now_us: int) -> Due:
        """`checkpoints.publish` or, in two steps, `checkpoints.stage`: something is to be signed, and the clock allows.

        What was staged is published first: `adopt_due` asks for that.
        """
        if self._log.staged:
            return ()
        size, tried_us = self._tried
        waited = not 0 <= now_us - tried_us < self._period_us
        if self.behind_us(now_us) > REGRESSION_US or not (waited or self._log.size - size >= UNCOVERED):
            return ()
        covered = self.head is not None and self.head.checkpoint.size == self._log.size
        if covered and self.head is not None and now_us - self.head.time_us < RENEW_US:
            return ()
        self._tried = (self._log.size, now_us)
        return ((PLATFORM, {}),)

    def adopt_due(self, _now_us: int) -> Due:
        """`checkpoints.adopt`, when something is staged."""
        return ((PLATFORM, {}),) if self._log.staged else ()

    # the clock

    def behind_us(self, now_us: int) -> int:
        """How far the clock is behind the last checkpoint; 0 where it is not."""
        return 0 if self.head is None else max(0, self.head.time_us - now_us)

    def regressed(self, now_us: int) -> Due:
        """`clock.regression`, once for each time that the clock went back."""
        behind_us = self.behind_us(now_us)
        if behind_us <= REGRESSION_US:
            self._told = False
        elif not self._told:
            return ((PLATFORM, {"behind_us": behind_us}),)
        return ()

    def told(self) -> None:
        """The regression is on record."""
        self._told = True

    def accepted(self, now_us: int) -> None:
        """Two persons accepted the clock as it is."""
        if self.head is not None:
            self.head = replace(self.head, time_us=now_us)

    # old notes

    def tidy_due(self, now_us: int) -> Due:
        """`checkpoints.tidy`, every hour, and at once where there is more to do."""
        return ((PLATFORM, {}),) if not 0 <= now_us - self._tidy_us < TIDY_EVERY_US else ()

    def tidy(self, ctx: Context) -> int:
        """Empty the notes of the next page of old checkpoints but for the first of each hour; how many were emptied."""
        after, hour = self._tidied
        page = checkpoint_store.note_page(ctx.tx, after, ctx.now_us - KEPT_US, TIDY_PAGE)
        drop = []
        for size, time_us in page:
            if time_us // TIDY_EVERY_US == hour:
                drop.append(size)
            hour = time_us // TIDY_EVERY_US
        last = self.head.checkpoint.size if self.head else 0
        dropped = checkpoint_store.drop_notes(ctx.tx, [size for size in drop if size < last])
        at, more = (page[-1][0] if page else after), len(page) == TIDY_PAGE

        def moved() -> None:
            self._tidied, self._tidy_us = (at, hour), 0 if more else ctx.now_us

        ctx.after_commit(moved)
        return dropped
