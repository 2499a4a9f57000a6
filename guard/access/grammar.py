"""Names of subjects, actions and resources, and the two pattern matchers of guard's own model. No I/O.

Law: names are canonical before anything compares them; `*` is one segment, `**` (last only) one or more; a pattern
matches whole names, never prefixes of a segment. Everything here is total: no input raises while a check runs.
"""

import re

SUBJECT = re.compile(r"(user:[a-z0-9-]+\|[A-Za-z0-9._@+-]{1,64}|(svc|group):[a-z0-9][a-z0-9._-]{0,63}|system:[a-z]+)")
ROLE = re.compile(r"role:[a-z][a-z0-9-]{0,62}")
ACTION = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*")
ACTION_PATTERN = re.compile(r"\*|[a-z][a-z0-9_]*\.(\*|[a-z][a-z0-9_]*)")
SEGMENT = re.compile(r"[A-Za-z0-9._~:@|+-]{1,128}")  # whatever a subject may hold, so that it can be a segment
MAX_SEGMENTS, MAX_BYTES = 16, 1024  # a resource is a short path; longer ones are attacks on the matcher


def is_resource(text: str) -> bool:
    """Whether *text* is a canonical resource: 1-16 segments joined by `/`, none of them `.` or `..`."""
    parts = text.split("/")
    return len(text) <= MAX_BYTES and len(parts) <= MAX_SEGMENTS and all(_is_segment(part) for part in parts)


def is_resource_pattern(text: str) -> bool:
    """As `is_resource`, with `*` for one segment anywhere and `**` for the rest, last only."""
    parts = text.split("/")
    if len(text) > MAX_BYTES or len(parts) > MAX_SEGMENTS:
        return False
    return all(
        part == "*" or (part == "**" and place == len(parts) - 1) or _is_segment(part)
        for place, part in enumerate(parts)
    )


def action_matches(action: str, pattern: str) -> bool:
    """`*`, `noun.*`, or the very name."""
    if pattern in {"*", action}:
        return True
    return pattern.endswith(".*") and action.split(".", 1)[0] == pattern[:-2]


def resource_matches(resource: str, pattern: str) -> bool:
    """Whether *pattern* covers *resource*, segment by segment."""
    have, want = resource.split("/"), pattern.split("/")
    if want[-1] == "**":
        if len(have) < len(want):
            return False
        have, want = have[: len(want) - 1], want[:-1]
    return len(have) == len(want) and all(w in {"*", h} for h, w in zip(have, want, strict=True))


def _is_segment(part: str) -> bool:
    return part not in {".", ".."} and SEGMENT.fullmatch(part) is not None
