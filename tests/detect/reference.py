"""What windows and episodes are, written down as directly as possible: quadratic, with no state and no cleverness."""

OPERATORS = {
    "lt": lambda n, c: n < c,
    "lte": lambda n, c: n <= c,
    "gt": lambda n, c: n > c,
    "gte": lambda n, c: n >= c,
    "eq": lambda n, c: n == c,
    "neq": lambda n, c: n != c,
}


def windows(events, span, *, distinct):
    """For every distinct time t: the events with t - span <= ts <= t, and their count."""
    for t in sorted({ts for ts, _, _ in events}):
        inside = sorted((ts, eid, value) for ts, value, eid in events if t - span <= ts <= t)
        values = [value for _, _, value in inside]
        yield t, inside, len({value for value in values if value is not None}) if distinct else len(inside)


def episodes(events, span, conditions, *, distinct, lines=20):
    """(t0, t1, peak, entities, evidence) of one key's (ts, value, eid)."""
    runs = []
    for t, inside, n in windows(events, span, distinct=distinct):
        if all(OPERATORS[op](n, count) for op, count in conditions):
            if runs and t - runs[-1][-1][0] <= span:
                runs[-1].append((t, inside, n))
            else:
                runs.append([(t, inside, n)])
    found = []
    for run in runs:
        seen = {(ts, value) for _, inside, _ in run for ts, _, value in inside if value is not None}
        entities = tuple(dict.fromkeys(value for _, value in sorted(seen))) if distinct else ()
        ids = [eid for _, eid, _ in run[0][1]]
        half = (lines + 1) // 2
        evidence = tuple(ids) if len(ids) <= lines else (*ids[:half], *ids[len(ids) - (lines - half) :])
        found.append((run[0][0], run[-1][0], max(n for _, _, n in run), entities, evidence))
    return found
