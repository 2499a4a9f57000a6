"""`make foreign [COUNT=100000]`: a log of so many records made through the API, and the sizes around full tiles, each
verified by guard's own verifier, by tlog-scales and by a Go program; one line with figures for each."""

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from guard.audit.verifier.command import verify
from tests.audit.foreign import golang, making, scales


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int, nargs="?", default=100_000)
    count = parser.parse_args().count
    go = shutil.which("go")
    if go is None or not golang.LIBRARY.is_dir():
        sys.exit("make foreign needs the Debian packages golang-go and golang-golang-x-mod-dev")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        program = golang.build(go, folder)
        began = time.monotonic()
        log, vkey = making.log_of_a_server(folder, count)
        print(f"{count:,} requests over HTTP and the export: {time.monotonic() - began:.0f} s", flush=True)
        report(f"through the API {count:,}", program, log, [vkey])
        for size in making.SIZES:
            report(f"synthetic {size:,}", program, *making.synthetic_log(folder / str(size), size))
            shutil.rmtree(folder / str(size))


def report(name, program, log, vkeys):
    """Let the three verify a log, and say what each of them verified."""
    own = verify(log, vkeys=vkeys[:1])
    assert own.faults == []
    print(f"{name} | guard verify | size {own.size:,}, {own.counts['checkpoints']} earlier checkpoints", flush=True)
    for tool, check in (
        ("tlog-scales", lambda: scales.check(log, vkeys)),
        ("Go x/mod", lambda: golang.check(program, log, vkeys[0])),
    ):
        began = time.monotonic()
        found = check()
        assert found["inclusion"] == own.size
        print(f"{name} | {tool} | {found}, {time.monotonic() - began:.1f} s", flush=True)


if __name__ == "__main__":
    main()
