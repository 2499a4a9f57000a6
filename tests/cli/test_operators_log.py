"""The operators' log when nobody can read it: a full disk under stderr costs lines and nothing else."""

import subprocess
import sys

from tests.cli.processes import ROOT, environment

SAYS = """
import structlog
from guard.cli.serving import quiet_logs
quiet_logs()
log = structlog.get_logger("guard.test")
for number in range(2000):
    log.error("commit_failed", cause="database or disk is full", number=number)
print("goes on")
"""


def run(target: str) -> subprocess.CompletedProcess[str]:
    command = ["sh", "-c", f'exec "$0" -c "$1" 2>{target}', sys.executable, SAYS]
    return subprocess.run(command, env=environment(), cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_full_disk_under_stderr_does_not_reach_those_who_log():
    assert run("/dev/full").stdout == "goes on\n"


def test_where_it_can_be_read_it_is_whole(tmp_path):
    path = tmp_path / "stderr"
    assert run(str(path)).returncode == 0
    lines = path.read_text().splitlines()
    assert len(lines) == 2000
    assert '"cause": "database or disk is full"' in lines[-1]
