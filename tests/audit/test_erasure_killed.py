"""kill -9 at every boundary of an erasure: afterwards it is either not begun or goes on to its end by itself."""

import os
import signal
import subprocess
import sys

import pytest

from guard.audit.sealed import SealedValues
from guard.audit.verifier.command import verify
from guard.catalogue import PLATFORM
from tests.audit.erasing import VALUES
from tests.audit.privacy import SUBJECT, Office, body, leftovers, office, rows
from tests.conftest import ROOT

UNTOUCHED = "before the approval is durable"
MOMENTS = [
    "after the approval",
    "before values are deleted",
    "before the deletion is durable",
    "after some values are deleted",
    "before the write-ahead log is emptied",
    "after the write-ahead log was emptied",
    "after the search",
    "before the end is durable",
]


def killed(home, moment):
    command = [sys.executable, str(ROOT / "tests" / "audit" / "erasing.py"), str(home), moment]
    died = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, timeout=120, check=False)
    assert died.returncode == -signal.SIGKILL


def whole(made, folder):
    """The offline verifier finds nothing wrong, and each intent closed."""
    root = made.hire(PLATFORM, "user:local|root", "role:auditor")
    made.call("checkpoints.publish")
    path = made.call("exports.download", root, export=made.call("exports.create", root).id).path
    subprocess.run([sys.executable, "-m", "zipfile", "-e", path, str(folder)], check=True)
    report = verify(folder)
    assert report.faults == []


def test_before_the_approval_is_durable_nothing_has_happened(tmp_path):
    killed(tmp_path / "home", UNTOUCHED)
    with office(tmp_path) as made:
        made.clock.advance(3600)
        desk = Office(made)
        (view,) = desk.call("officer", "erasures.list").data
        assert (view.state, view.subject) == ("requested", SUBJECT)
        made.beat("erasures.step", made.gate._doors.parts[SealedValues].erasures_due)
        assert rows(made, "SELECT count(*) FROM audit_sealed") == [(VALUES + 1,)]
        index = next(i for i in range(made.guard.log.size) if "actor" in body(made, i).get("sealed", {}))
        assert desk.reveal(index) == {"actor": SUBJECT}
        desk.call("counsel", "erasures.approve", erasure=view.id)
        assert desk.carry_on(view.id).rows == VALUES + 1


@pytest.mark.parametrize("moment", MOMENTS)
def test_after_a_kill_the_worker_brings_the_erasure_to_its_end(tmp_path, moment):
    killed(tmp_path / "home", moment)
    with office(tmp_path) as made:
        made.clock.advance(3600)
        desk = Office(made)
        assert rows(made, "SELECT count(*) FROM subject_keys WHERE subject LIKE 'sub:%'") == [(0,)]
        values = made.gate._doors.parts[SealedValues]
        for _ in range(10):
            if not made.beat("erasures.step", values.erasures_due):
                break
        (view,) = desk.call("officer", "erasures.list").data
        assert (view.state, view.rows) == ("done", VALUES + 1), "each value is counted once"
        assert leftovers(made, SUBJECT) == []
        assert rows(made, "SELECT count(*) FROM audit_sealed") == [(0,)]
        closing = [
            body(made, index)
            for index in range(made.guard.log.size)
            if body(made, index).get("data", {}).get("state") == "done"
        ]
        assert len(closing) == 1, "one closing record, however often it was begun"
        made.beat("intents.sweep")
        whole(made, tmp_path / "export")
