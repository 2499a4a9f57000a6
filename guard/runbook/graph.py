"""Walks over the edges of a plan: what is reached, in which order, and where it turns in a circle.

Law: every walk is iterative and touches each edge once, because a plan may have thousands of steps in one line and
Python's stack ends at a thousand. Edges to steps that do not exist are left out. Pure.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from guard.runbook.plan import AnyStep, Plan


@dataclass(frozen=True, slots=True)
class Walk:
    """What a walk from the start found."""

    order: tuple[str, ...]
    """Reached steps, each before those it leads to; no such order exists for the steps of a circle."""
    back_edges: tuple[tuple[str, str], ...]
    """Step and label of each edge that leads back to a step that leads here."""


def walk(plan: Plan) -> Walk:
    """Depth-first from the start; one pass gives the topological order and the edges that close a circle."""
    finished: list[str] = []
    back: list[tuple[str, str]] = []
    # A step is True while the walk is below it and False once all that it leads to is done.
    open_steps: dict[str, bool] = {}
    stack: list[tuple[str, Iterator[tuple[str, str]]]] = []
    if plan.start in plan.steps:
        open_steps[plan.start] = True
        stack.append((plan.start, _edges(plan.steps, plan.start)))
    while stack:
        step, edges = stack[-1]
        edge = next(edges, None)
        if edge is None:
            stack.pop()
            open_steps[step] = False
            finished.append(step)
            continue
        label, target = edge
        if open_steps.get(target):
            back.append((step, label))
        elif target not in open_steps:
            open_steps[target] = True
            stack.append((target, _edges(plan.steps, target)))
    return Walk(tuple(reversed(finished)), tuple(back))


def _edges(steps: Mapping[str, AnyStep], step: str) -> Iterator[tuple[str, str]]:
    return ((label, target) for label, target in steps[step].next.items() if target in steps)
