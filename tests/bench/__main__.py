"""Prints one line per measure, `name | ratio | goal | figures`, and writes them to bench.json."""

import argparse
import json
import sys
from pathlib import Path

from tests.bench.measures import MEASURES


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help=f"one of {', '.join(MEASURES)}")
    args = parser.parse_args()
    if args.only and args.only not in MEASURES:
        print(f"Expected one of {', '.join(MEASURES)}, got {args.only!r}.", file=sys.stderr)
        return 2
    results = []
    for name, (measure, goal) in MEASURES.items():
        if args.only in {"", name}:
            ratio, figures = measure()
            results.append(
                {"name": name, "ratio": round(ratio, 3), "goal": goal, "ok": ratio >= goal, "figures": figures}
            )
            print(f"{name} | {ratio:.2f} | {goal:.2f} | {figures}", flush=True)
    Path("bench.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
