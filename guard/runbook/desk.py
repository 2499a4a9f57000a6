"""The runbook room in memory: the plan library, and which runs have something due and when.

Law: what is due is only a hint for the worker; whether it still is, is decided on the stored events.
"""

from collections.abc import Iterable, Mapping, Sequence

from guard.db.engine import Tx
from guard.errors import InvalidPlan, NotFound
from guard.runbook import store
from guard.runbook.finding import Severity, invalid
from guard.runbook.lint import lint
from guard.runbook.plan import Plan, parse


class Desk:
    """What the operations of this room work on."""

    def __init__(self, plans: Mapping[str, tuple[Plan, str]], operations: frozenset[str]) -> None:
        self._plans = plans
        self._by_hash = {plan.sha256: plan for plan, _ in plans.values()}
        self.operations = operations
        self._due: dict[str, tuple[str, int]] = {}

    def load(self, tx: Tx) -> None:
        """Read which runs have something due."""
        self._due = {run: (tenant, due_us) for tenant, run, due_us in store.due_runs(tx)}

    @property
    def plans(self) -> list[Plan]:
        """The library, by name."""
        return [plan for _, (plan, _) in sorted(self._plans.items())]

    def plan(self, name: str) -> tuple[Plan, str]:
        """A plan of the library and its text.

        Raises:
            NotFound: there is none.
        """
        if name not in self._plans:
            raise NotFound(f"Expected the name of a plan, got {name}; see guard plan list.")
        return self._plans[name]

    def pinned(self, tx: Tx, sha256: str) -> Plan:
        """The plan that a run pinned, from the library or from the store.

        Raises:
            NotFound: the store has lost it.
        """
        if sha256 not in self._by_hash:
            text = store.plan_text(tx, sha256)
            if text is None:
                raise NotFound("The plan that this run pinned is not in the store; restore the last backup.")
            self._by_hash[sha256] = parse(text, "stored plan")
        return self._by_hash[sha256]

    def follow(self, tenant: str, run: str, due_us: int | None) -> None:
        """A run was committed with this due time; None where it waits for people only."""
        due = dict(self._due)
        if due_us is None:
            due.pop(run, None)
        else:
            due[run] = (tenant, due_us)
        self._due = due

    def due(self, now_us: int) -> Iterable[tuple[str, Mapping[str, str]]]:
        """(tenant, request) of every run with something due, for the worker."""
        return [(tenant, {"run": run}) for run, (tenant, due_us) in self._due.items() if due_us <= now_us]


def load_plans(files: Sequence[tuple[str, str]], operations: frozenset[str]) -> Desk:
    """Read and lint the plan library, given as (file name, text).

    Raises:
        InvalidPlan: a plan has an error; the message names its file and line.
    """
    found: dict[str, tuple[Plan, str]] = {}
    for name, text in files:
        plan = parse(text, name)
        errors = [one for one in lint(plan, operations) if one.severity is Severity.ERROR]
        if errors:
            raise invalid(errors)
        if plan.id in found:
            raise InvalidPlan(f"{name}: the plan {plan.id} is there twice; rename or remove one.")
        found[plan.id] = (plan, text)
    return Desk(found, operations)
