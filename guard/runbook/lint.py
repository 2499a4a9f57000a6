"""Whether a plan can be carried out: every way through it leads to an end, and every step has somebody who can do it.

Law: a plan that passes without error cannot strand a run by its own fault. Linear in the size of the plan. Which
operations exist is an argument, so the same plan is judged the same way wherever it is read. Pure.
"""

import math
import re
from collections.abc import Iterable, Iterator
from typing import Final

from guard.runbook import form
from guard.runbook.finding import Code, Finding, Path, Severity, dotted
from guard.runbook.graph import Walk, walk
from guard.runbook.plan import (
    MAX_STEPS,
    AnyStep,
    ApprovalStep,
    DecisionStep,
    GuardStep,
    HumanStep,
    Plan,
    TaskStep,
)
from guard.runbook.reader import nearest
from guard.runbook.variables import references

LOCALES: Final = ("en", "zh")
"""Languages that every text of the library has; a plan is read by whoever is awake."""
MAX_GUESSES: Final = 5
"""Suggestions compare with every step name, so only the first findings get one and the lint stays linear."""

_SECRET_KEY: Final = re.compile(
    r"(?i)(?:^|[_-])(?:passw(?:or)?d|passphrase|secret|token|api_?key|private_?key|credential)s?$"
)
_SECRET: Final = re.compile(
    r"-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----"
    r"|\bgrd_[A-Za-z0-9_-]{16}"
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"
    r"|\bgh[pousr]_[A-Za-z0-9]{20}"
    r"|\bxox[abeprs]-[A-Za-z0-9-]{10}"
    r"|\bsk_live_[A-Za-z0-9]{16}"
    r"|\beyJ[A-Za-z0-9_-]{10,200}\.eyJ[A-Za-z0-9_-]{10}"
    r"|(?i:\bbearer\s{1,4}[A-Za-z0-9._~+/-]{20})"
    r"|(?i:\b(?:password|passwd|secret|api[_-]?key|token)\s{0,2}[:=]\s{0,2}(?=[^\s]{0,40}[0-9])[^\s_<{][^\s]{7})"
    r"|[a-z][a-z0-9+.-]{1,20}://[^\s/:@]{1,64}:[^\s/:@]{3,128}@"
)

_Requester = tuple[bool, str]
"""Who may be the one that asks: whether by a decision, and the role; an empty role stands for who started the run."""


def lint(plan: Plan, operations: frozenset[str]) -> tuple[Finding, ...]:
    """All findings in the order of their lines; *operations* are the names that the catalogue has.

    Errors: all codes but DEADLINE_NO_LADDER and EFFECT_UNPROVEN, which warn.
    """
    return tuple(sorted(_Lint(plan, operations).run(), key=lambda finding: (finding.line, finding.code)))


class _Lint:
    def __init__(self, plan: Plan, operations: frozenset[str]) -> None:
        self.plan = plan
        self.operations = operations
        self.guesses = 0

    def run(self) -> Iterator[Finding]:
        found = walk(self.plan)
        if len(self.plan.steps) > MAX_STEPS:
            yield self._error(Code.STEP_LIMIT, ("steps",), f"A plan has at most {MAX_STEPS} steps; split it.")
        yield from self._graph(found)
        yield from self._texts(("title",), self.plan.title)
        for name, variable in self.plan.inputs.items():
            if variable.text:
                yield from self._texts(("inputs", name, "text"), variable.text)
        for step in self.plan.steps.values():
            yield from self._step(step)
        if not found.back_edges:
            yield from self._approvals(found)
        yield from self._strings()

    # the graph

    def _graph(self, found: Walk) -> Iterator[Finding]:
        if self.plan.start not in self.plan.steps:
            yield self._dangling(("start",), self.plan.start)
            return
        for step in self.plan.steps.values():
            for label, target in step.next.items():
                if target not in self.plan.steps:
                    yield self._dangling(("steps", step.id, "next", label), target)
        for step_id, label in found.back_edges:
            message = "This edge leads back to a step that leads here; a run goes each way once."
            yield self._error(Code.CYCLE, ("steps", step_id, "next", label), message)
        reached = set(found.order)
        if not any(not self.plan.steps[step].next for step in found.order):
            yield self._error(Code.NO_END, ("start",), "No way from the start leads to a step of kind end; add one.")
        for step_id in self.plan.steps:
            if step_id not in reached:
                message = f"No edge leads to '{step_id}' from the start; lead one there or remove it."
                yield self._error(Code.UNREACHABLE, ("steps", step_id), message)

    def _dangling(self, path: Path, target: str) -> Finding:
        guess = self._guess(target, self.plan.steps)
        return self._error(Code.DANGLING_REF, path, f"No step is named '{target}'.{guess}")

    def _guess(self, word: str, known: Iterable[str]) -> str:
        self.guesses += 1
        return nearest(word, sorted(known)) if self.guesses <= MAX_GUESSES else ""

    # single steps

    def _step(self, step: AnyStep) -> Iterator[Finding]:
        at: Path = ("steps", step.id)
        yield from self._texts((*at, "text"), step.text)
        match step:
            case TaskStep():
                yield from self._role((*at, "role"), step.role)
                yield from self._form((*at, "form"), step)
                yield from self._deadline(at, step)
            case DecisionStep():
                yield from self._role((*at, "role"), step.role)
                for option, text in step.options.items():
                    yield from self._texts((*at, "options", option), text)
                yield from self._deadline(at, step)
            case ApprovalStep():
                for index, role in enumerate(step.roles):
                    yield from self._role((*at, "roles", index), role)
                yield from self._deadline(at, step)
            case GuardStep():
                yield from self._guard(at, step)
            case _:
                pass

    def _role(self, path: Path, role: str) -> Iterator[Finding]:
        if role not in self.plan.roles:
            guess = self._guess(role, self.plan.roles)
            yield self._error(
                Code.ROLE_UNDEFINED, path, f"The plan defines no role '{role}'; add it to 'roles'.{guess}"
            )

    def _deadline(self, at: Path, step: HumanStep) -> Iterator[Finding]:
        if step.deadline is None:
            return
        for index, rung in enumerate(step.deadline.ladder):
            yield from self._role((*at, "deadline", "ladder", index), rung.removeprefix("role:"))
        if not step.deadline.ladder:
            message = "This deadline calls nobody before it passes; add 'ladder: [role:...]'."
            yield self._warning(Code.DEADLINE_NO_LADDER, (*at, "deadline"), message)

    def _guard(self, at: Path, step: GuardStep) -> Iterator[Finding]:
        if step.operation not in self.operations:
            guess = self._guess(step.operation, self.operations)
            message = f"No operation is named '{step.operation}'.{guess}"
            yield self._error(Code.OPERATION_UNKNOWN, (*at, "operation"), message)
        if not step.idempotent:
            message = "After a crash nobody can tell whether this took effect; a person will be asked. "
            message += "If repeating it under the same key is harmless, say 'idempotent: true'."
            yield self._warning(Code.EFFECT_UNPROVEN, at, message)

    def _form(self, path: Path, step: TaskStep) -> Iterator[Finding]:
        if step.form is None:
            return
        wrong = list(form.faults(step.form))
        for where, message in wrong:
            yield self._error(Code.FORM_INVALID, (*path, *where), message)
        fields = step.form.get("properties")
        if wrong or not isinstance(fields, dict):
            return
        for name, rules in fields.items():
            if "title" in rules:
                yield from self._texts((*path, "properties", name, "title"), rules["title"])

    def _texts(self, path: Path, text: object) -> Iterator[Finding]:
        for locale in LOCALES:
            words = text.get(locale) if isinstance(text, dict) else None
            if not isinstance(words, str) or not words.strip():
                yield self._error(Code.TEXT_MISSING, path, f"The text in '{locale}' is missing here; add it.")

    # approvals

    def _approvals(self, found: Walk) -> Iterator[Finding]:
        """An approval is impossible if, whoever asks, too few others can hold the roles that may answer."""
        asking: dict[str, frozenset[_Requester]] = {self.plan.start: frozenset({(False, "")})}
        for step_id in found.order:
            step = self.plan.steps[step_id]
            before = asking.get(step_id, frozenset())
            if isinstance(step, ApprovalStep):
                yield from self._quorum(step, {role for _, role in before})
            after = _asks_after(step, before)
            for target in step.next.values():
                asking[target] = asking.get(target, frozenset()) | after

    def _quorum(self, step: ApprovalStep, asking: set[str]) -> Iterator[Finding]:
        holders = [self.plan.roles[role].holders if role in self.plan.roles else None for role in step.roles]
        people = math.inf if None in holders else sum(number or 0 for number in holders)
        left = people - 1 if asking & set(step.roles) else people
        if left < step.quorum:
            message = f"{step.quorum} must agree, but only {left:.0f} can hold these roles besides the person who asks."
            yield self._error(Code.APPROVAL_IMPOSSIBLE, ("steps", step.id), message)

    # texts of all kinds

    def _strings(self) -> Iterator[Finding]:
        """Every text of the document, wherever it stands, once."""
        stack: list[tuple[Path, object]] = [((), self.plan.document.value)]
        while stack:
            path, value = stack.pop()
            if isinstance(value, dict):
                stack.extend(((*path, key), item) for key, item in value.items())
            elif isinstance(value, list):
                stack.extend(((*path, index), item) for index, item in enumerate(value))
            elif isinstance(value, str):
                yield from self._string(path, value)

    def _string(self, path: Path, text: str) -> Iterator[Finding]:
        for name in references(text):
            if name not in self.plan.inputs:
                guess = self._guess(name, self.plan.inputs)
                message = f"The plan declares no input '{name[:64]}'; add it to 'inputs'.{guess}"
                yield self._error(Code.VAR_UNDECLARED, path, message)
        named = "with" in path and any(isinstance(part, str) and _SECRET_KEY.search(part) for part in path[-2:])
        if _SECRET.search(text) or (named and not references(text)):
            message = (
                "This reads like a secret; a plan is printed and mailed. Refer to an input or to the vault instead."
            )
            yield self._error(Code.SECRET_LITERAL, path, message)

    def _error(self, code: Code, path: Path, message: str) -> Finding:
        return self._finding(code, Severity.ERROR, path, message)

    def _warning(self, code: Code, path: Path, message: str) -> Finding:
        return self._finding(code, Severity.WARNING, path, message)

    def _finding(self, code: Code, severity: Severity, path: Path, message: str) -> Finding:
        document = self.plan.document
        return Finding(code, severity, document.file, document.line(path), dotted(path), message)


def _asks_after(step: AnyStep, before: frozenset[_Requester]) -> frozenset[_Requester]:
    """Whom an approval after *step* would exclude: the last who decided, else the last who worked, else the starter."""
    if isinstance(step, DecisionStep):
        return frozenset({(True, step.role)})
    if isinstance(step, TaskStep):
        decided = frozenset(asking for asking in before if asking[0])
        return decided if decided == before else decided | {(False, step.role)}
    return before
