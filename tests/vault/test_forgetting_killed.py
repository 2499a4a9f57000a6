"""A process that dies between any two steps of forgetting and rotating: nobody else is lost, and the next one ends it."""

import subprocess
import sys
from pathlib import Path

import pytest

from guard.errors import SubjectForgotten
from tests.vault.clinic import Clinic, clinic
from tests.vault.forgetting_child import DEAD

ROOT = Path(__file__).resolve().parents[2]
OTHERS = ("bob", "eve", "kim")
POINTS = [
    ("shred", "before", 1),  # revoked, nothing destroyed
    ("shred", "after", 1),  # in the ledger, not yet in the database
    ("add", "after", 1),  # a new bucket key, no row under it
    ("retire", "before", 1),  # all rows under it, the old one still retiring
    ("retire", "after", 1),
    ("destroy", "before", 1),
    ("_move", "after", 2),  # overwritten, not yet marked
    ("destroy", "after", 1),
]


@pytest.mark.parametrize(("method", "when", "number"), POINTS)
def test_it_is_made_good(tmp_path, method, when, number):
    home = tmp_path / "home"
    with clinic(home) as one:
        ana, others = one.seal("ana", "x"), {name: one.seal(name, name) for name in OTHERS}
    command = [sys.executable, "-m", "tests.vault.forgetting_child", str(home), method, when, str(number)]
    died = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=120, check=False)
    assert died.returncode == DEAD, died.stderr.decode()[-2000:]
    with clinic(home) as one:
        assert one.open("ana", ana) == SubjectForgotten.code
        assert {name: one.open(name, text) for name, text in others.items()} == {name: name for name in OTHERS}
        _to_the_end(one)
        one.forgetting.subjects.flush()
        assert one.open("ana", ana) == SubjectForgotten.code
        assert {name: one.open(name, text) for name, text in others.items()} == {name: name for name in OTHERS}
        keys = one.forgetting.subjects.keys
        assert keys.size() == 1
        [receipt] = one.receipts()
        assert keys.find("acme", receipt.bucket, 1).wrapped is None
        assert keys.find("acme", receipt.bucket).version == 2


def _to_the_end(one: Clinic) -> None:
    """The clock of a new world begins anew, so it takes some months to come past what the dead process wrote."""
    for _ in range(8):
        one.after(31)
        if one.receipts()[0].stage == "unrecoverable":
            return
    raise AssertionError(f"still {one.receipts()[0].stage}")
