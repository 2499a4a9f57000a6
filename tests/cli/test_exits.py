"""Exit codes and error texts: each code provoked, in JSON with its GRD code and on a terminal as one plain sentence."""

import json
import re
import signal
import sqlite3
import subprocess

import pytest

from guard.cli.session import EXIT
from guard.errors import Kind
from tests.cli.conftest import until
from tests.cli.processes import COMMAND, ROOT, environment, guard, told

REFUSED = {
    "invalid": (["keys", "show", "UPPER"], {}, 2, "GRD-VAL-001"),
    "no form at all": (["run", "answer", "run_1", "s", "--form", "{"], {}, 2, "GRD-CONF-002"),
    "an input without a value": (["run", "start", "x", "--input", "a"], {}, 2, "GRD-CONF-002"),
    "no such act": (["run", "steer", "run_1", "explode"], {}, 2, "GRD-CONF-002"),
    "not found": (["keys", "show", "nope"], {}, 3, "GRD-STORE-404"),
    "no such verb": (["run", "pause", "run_1"], {}, 2, None),
    "not authenticated": (["keys", "list"], {"GUARD_TOKEN": "grd_svc_canary"}, 4, "GRD-AUTHN-001"),
    "denied": (["access", "tenants"], {}, 5, "GRD-AUTHZ-001"),
    "conflict": (["access", "tenant", "dev", "--as", "admin"], {}, 6, "GRD-STORE-409"),
    "no server": (
        ["keys", "list"],
        {"GUARD_URL": "http://127.0.0.1:1", "GUARD_TOKEN": "grd_svc_canary"},
        69,
        "GRD-HTTP-000",
    ),
    "no such file": (["logs", "replay", "/nonexistent/access.log"], {}, 2, "GRD-CONF-002"),
    "no such plan file": (["plan", "lint", "/nonexistent/plan.yaml"], {}, 2, "GRD-CONF-002"),
    "nothing on standard input": (["fields", "encrypt", "customers.email", "--row", "1"], {}, 2, "GRD-CONF-002"),
    "nothing to verify": (["verify", "/nonexistent"], {}, 2, "GRD-CONF-002"),
    "no such format": (["logs", "try", "/dev/null", "--format", "nope"], {}, 2, "GRD-CONF-001"),
    "another profile without a file": (["keys", "list", "--as", "nope"], {}, 69, "GRD-HTTP-000"),
}
SENTENCE = re.compile(r"[^\n]{20,}\.")


def full(dev, variables):
    """A token alone is refused, so the server's address goes with it."""
    return {"GUARD_URL": dev.server.url, **variables} if "GUARD_TOKEN" in variables else variables


@pytest.mark.parametrize(("arguments", "variables", "status", "code"), REFUSED.values(), ids=REFUSED.keys())
def test_a_refusal_has_its_exit_code_and_its_grd_code(dev, arguments, variables, status, code):
    done = dev.run(*arguments, "-o", "json", variables=full(dev, variables))
    assert done.returncode == status, done.stderr.decode()
    assert done.stdout == b""
    assert b"Traceback" not in done.stderr
    assert b"canary" not in done.stderr
    if code is None:
        return  # a wrong word on the command line is refused by its parser
    members = json.loads(done.stderr)
    assert members["code"] == code
    assert members["title"]
    assert SENTENCE.fullmatch(members["detail"])


@pytest.mark.parametrize("name", ["invalid", "denied", "no server"])
def test_a_refusal_on_a_terminal_is_one_plain_sentence(dev, name):
    arguments, variables, status, code = REFUSED[name]
    done = dev.run(*arguments, "-o", "table", variables=full(dev, variables))
    first, *details = done.stderr.decode().splitlines()
    assert done.returncode == status
    assert first.startswith("guard: ")
    assert first.endswith(f"[{code}]")
    assert all(line.startswith("  ") for line in details)


def test_success_is_0_with_nothing_on_stderr(dev):
    done = dev.run("access", "whoami")
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_plan_with_an_error_is_1(tmp_path):
    plan = tmp_path / "plan.yaml"
    text = (
        (ROOT / "runbooks" / "region-outage.yaml")
        .read_text()
        .replace("next: {success: assess}", "next: {success: nowhere}")
    )
    plan.write_text(text)
    done = guard("plan", "lint", str(plan))
    assert done.returncode == 1
    assert b"nowhere" in done.stdout + done.stderr


def test_who_may_not_is_told_so_with_5_and_the_reason(dev):
    done = dev.run("access", "why", "user:local|nobody", "keys.rotate", "keys/customers.email")
    assert done.returncode == 5
    assert json.loads(done.stdout) == {"allow": False, "rule": "no rule allows it", "path": []} | {
        "version": json.loads(done.stdout)["version"]
    }
    assert dev.run("access", "can-i", "keys.rotate", "keys/customers.email").returncode == 0
    assert dev.run("access", "can-i", "tenants.create", "tenants/acme").returncode == 5


def test_a_changed_log_is_7_and_names_the_fault(dev, tmp_path):
    target = tmp_path / "evidence"
    dev.json("audit", "export", str(target), "--as", "admin")
    victim = next(path for path in (target / "tile" / "entries").rglob("*") if path.is_file())
    content = bytearray(victim.read_bytes())
    content[content.index(b'"action":"') + 12] ^= 1  # a letter of the first record
    victim.write_bytes(bytes(content))
    done = guard("verify", str(target), "-o", "json")
    assert done.returncode == 7
    assert "changed after it was logged" in json.dumps(json.loads(done.stdout)["faults"])
    table = guard("verify", str(target), "-o", "table")
    assert table.returncode == 7
    assert b"changed after it was logged" in table.stdout + table.stderr


def test_a_home_in_use_is_75_and_names_the_process(dev):
    done = guard("dev", "--home", str(dev.home), "--port", "0")
    assert done.returncode == 75
    assert f"process {dev.server.process.pid} is using it" in told(done)
    assert json.loads(done.stderr)["code"] == "GRD-STORE-002"


def test_some_values_that_do_not_open_are_8(dev):
    """A value that guard never sealed: the job ends, changes nothing, and says so."""
    with sqlite3.connect(dev.home.parent / "broken.db") as database:
        database.execute("INSERT INTO customers (email) VALUES ('not sealed')")
    database.close()
    done = dev.run("keys", "reencrypt", "broken", "customers.email")
    view = json.loads(done.stdout)
    assert (done.returncode, view["state"], view["failed"]) == (8, "failed", 1)


def test_ctrl_c_while_waiting_for_a_job_is_130_and_the_job_goes_on(dev):
    command = [*COMMAND, "keys", "reencrypt", "slow", "customers.email", "--home", str(dev.home)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())
    with dev.client() as client:

        def job():
            return next((one for one in client.reencryptions.list()["data"] if one["source"] == "slow"), None)

        until(lambda: (job() or {}).get("examined"))
        process.send_signal(signal.SIGINT)
        output, problem = process.communicate(timeout=30)
        assert (process.returncode, output) == (130, b"")
        assert problem.decode().startswith("guard: interrupted")
        assert b"Traceback" not in problem
        assert job()["state"] == "running"
        client.reencryptions.pause(job=job()["job"])


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_of_error_has_an_exit_code(kind):
    assert EXIT[kind] in {1, 2, 3, 4, 5, 6, 7, 69, 75}


def test_the_first_line_names_what_does_not_fit_and_never_what_was_given(dev):
    done = dev.run("keys", "create", "canary key!", "-o", "table")
    first, *rest = done.stderr.decode().splitlines()
    assert first.startswith(
        "guard: The request does not fit keys.create at /key: The text does not have the required form"
    )
    assert first.endswith("[GRD-VAL-001]")
    assert rest == []
    assert b"canary" not in done.stderr
