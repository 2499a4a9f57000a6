"""Runs every fault and prints one line for each: `name | runs | lost | holes | doubled`. Ends with 1 where one is not zero.

A negative control is a run that must lose something; one that sees nothing makes the whole suite worth nothing, so it
ends with 1 too. A fault that needs what this machine has not (a program, root) says so and has no runs; under
`GUARD_TEST_REQUIRE=all` that is a failure.
"""

import argparse
import io
import os
import sys
import time
from collections.abc import Callable

import structlog

from tests.faults import clocks, cuts, disk, kills, order, siem, sync, syscalls, twins
from tests.faults.tally import Tally, Unfit

FAULTS: dict[str, Callable[[int], Tally]] = {
    "power": cuts.power_cut,
    "long-wal": cuts.long_wal,
    "normal": cuts.unsynced,
    "recovery": cuts.second_cut,
    "sync": cuts.sick_sync,
    "syscalls": syscalls.matrix,
    "order": order.before_the_disk,
    "eatmydata": order.unsynced,
    "kill": kills.kill_rounds,
    "disk": disk.full_disk,
    "savepoint": disk.full_savepoint,
    "fsync": sync.failing_fsync,
    "clock": clocks.jumping,
    "faketime": clocks.faked,
    "twins": twins.second_process,
    **({"siem": siem.stuck} if siem.KNOWN else {}),
}
SHOWN = 5  # faults that are told in full


def main() -> int:
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("--rounds", type=int, default=10, help="100 is the full suite, about 20 minutes on two cores")
    parser.add_argument("--only", default="", help=f"one of {', '.join(FAULTS)}")
    args = parser.parse_args()
    if args.rounds < 1:
        parser.error(f"expected at least one round, got {args.rounds}")
    if args.only and args.only not in FAULTS:
        parser.error(f"expected the name of a fault, got {args.only!r}; there are {', '.join(FAULTS)}")
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(io.StringIO()))
    began, good = time.monotonic(), True
    for name, fault in FAULTS.items():
        if args.only in {"", name}:
            good &= told(name, fault, args.rounds)
    print(f"{'good' if good else 'BAD'}: rounds {args.rounds}, {time.monotonic() - began:.0f} s", flush=True)
    return 0 if good else 1


def told(name: str, fault: Callable[[int], Tally], rounds: int) -> bool:
    """Run one and print its line, and on stderr what is wrong."""
    try:
        tally = fault(rounds)
    except Unfit as error:
        print(f"{name} | runs 0 | {error}", flush=True)
        return os.environ.get("GUARD_TEST_REQUIRE") != "all"
    print(tally.line(), flush=True)
    if not tally.good:
        for fault_text in tally.faults[:SHOWN]:
            print(f"  {fault_text}", file=sys.stderr)
    return tally.good


if __name__ == "__main__":
    sys.exit(main())
