"""One guard worker as `guard dev` runs it, with one more route: the empty FastAPI POST that the others are measured by."""

import json
import sys
from pathlib import Path

from guard.cli.sealing import Ending
from guard.cli.serving import DEVELOPER, _bootstrap, _build, _run, listen
from guard.settings import load


async def empty():
    return {}


def main(home, port):
    guard = _build(load(Path(home), {"port": int(port)}))
    app = guard.front._inner
    app.add_api_route("/empty", empty, methods=["POST"])
    app.router.routes.insert(0, app.router.routes.pop())  # found at once, as in an application of its own
    Path(home, "bench.json").write_text(
        json.dumps({"token": _bootstrap(guard, "dev", "user:local|developer", DEVELOPER)})
    )
    try:
        _run(guard, listen("127.0.0.1", int(port)), Ending())
    finally:
        guard.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
