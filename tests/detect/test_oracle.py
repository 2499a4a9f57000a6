"""SQL as an independent oracle: the database's own window functions must give the engine's episodes."""

import sqlite3

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.detect.building import NOON, SECOND, counting, distinct, event, events_of, replay

EPISODES = """
WITH p AS (SELECT DISTINCT k, ts, n FROM w WHERE {condition}),
     g AS (SELECT *, CASE WHEN ts - lag(ts) OVER (PARTITION BY k ORDER BY ts) <= :span THEN 0 ELSE 1 END AS s FROM p),
     i AS (SELECT *, sum(s) OVER (PARTITION BY k ORDER BY ts) AS episode FROM g)
SELECT k, min(ts), max(ts), max(n) FROM i GROUP BY k, episode ORDER BY 1, 2
"""

COUNTED = """
CREATE TEMP TABLE w AS SELECT k, ts,
  count(*) OVER (PARTITION BY k ORDER BY ts RANGE BETWEEN {span} PRECEDING AND CURRENT ROW) AS n FROM e
"""

# SQLite has no count(DISTINCT) in windows; a correlated query says the same.
DISTINCT = """
CREATE TEMP TABLE w AS SELECT k, ts,
  (SELECT count(DISTINCT v) FROM e AS o WHERE o.k = e.k AND o.ts BETWEEN e.ts - {span} AND e.ts) AS n FROM e
"""


def in_sql(rows, span, condition, *, values):
    """(key, t0, t1, peak) of rows (key, ts, value)."""
    with sqlite3.connect(":memory:") as database:
        database.execute("CREATE TABLE e (k TEXT, ts INTEGER, v TEXT)")
        database.executemany("INSERT INTO e VALUES (?, ?, ?)", rows)
        database.execute("CREATE INDEX e_k_ts ON e (k, ts)")
        database.execute((DISTINCT if values else COUNTED).format(span=span))
        found = database.execute(EPISODES.format(condition=condition), {"span": span}).fetchall()
    database.close()
    return found


def in_engine(rule, events, late_us=60 * SECOND):
    alerts = replay([rule], events, late_us=late_us)
    return sorted((alert.key[0][1], alert.t0_us, alert.t1_us, alert.peak) for alert in alerts)


CONDITIONS = {
    "{gte: 3}": "n >= 3",
    "{gt: 3}": "n > 3",
    "{lt: 3}": "n < 3",
    "{lte: 2}": "n <= 2",
    "{eq: 2}": "n = 2",
    "{neq: 2}": "n <> 2",
    "{gte: 2, lte: 4}": "n BETWEEN 2 AND 4",
}

rows = st.lists(
    st.tuples(
        st.sampled_from(["198.51.100.1", "198.51.100.2"]),
        st.builds(lambda step, micro: NOON + step * 2_500_000 + micro, st.integers(0, 30), st.sampled_from([0, 0, 1])),
        st.sampled_from([None, "a", "b", "c", "d"]),
    ),
    max_size=40,
)


@settings(max_examples=120)
@given(rows, st.sampled_from(sorted(CONDITIONS)), st.booleans())
def test_small_logs(rows, condition, values):
    rule = distinct(condition.replace("{", "{field: cs-username, ")) if values else counting(condition)
    events = [event(ts, ip, user) for ip, ts, user in rows]
    assert in_engine(rule, events, late_us=200 * SECOND) == in_sql(
        rows, 10 * SECOND, CONDITIONS[condition], values=values
    )


@pytest.mark.parametrize(
    ("condition", "span"),
    [("{gte: 10}", 60), ("{gte: 4}", 10), ("{eq: 5}", 30), ("{gte: 3, lte: 6}", 20), ("{gte: 30}", 3600)],
)
def test_counts_in_a_real_log(apache_log, condition, span):
    events, _ = events_of(apache_log)
    rows = [(each.ip_key, each.ts, None) for each in events]
    sql = (
        condition.strip("{}")
        .replace("gte: ", "n >= ")
        .replace("lte: ", "n <= ")
        .replace("eq: ", "n = ")
        .replace(", ", " AND ")
    )
    found = in_engine(counting(condition, span=f"{span}s"), events)
    assert found == in_sql(rows, span * SECOND, sql, values=False)
    assert len(found) > 10


@pytest.mark.parametrize(("condition", "span"), [("gte: 8", 60), ("gt: 20", 300), ("eq: 3", 20)])
def test_distinct_paths_in_a_real_log(apache_log, condition, span):
    events, _ = events_of(apache_log)
    rows = [(each.ip_key, each.ts, each.path) for each in events]
    sql = condition.replace("gte: ", "n >= ").replace("gt: ", "n > ").replace("eq: ", "n = ")
    rule = distinct(f"{{field: cs-uri-stem, {condition}}}", span=f"{span}s")
    found = in_engine(rule, events)
    assert found == in_sql(rows, span * SECOND, sql, values=True)
    assert len(found) > 10
