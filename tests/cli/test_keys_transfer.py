"""Keys out of guard by hand: a file that only its owner reads, a pipe, and no terminal unless that is asked for."""

import base64
import json
import os
import pty
import secrets
import stat
import subprocess

import pytest

from guard.client import Client
from tests.cli.conftest import DEPUTY
from tests.cli.processes import COMMAND, environment

URL = "type.googleapis.com/google.crypto.tink.XAesGcmKey"


@pytest.fixture
def key(dev):
    """An imported key, and the value of its one key as a keyset shows it."""
    name, value = f"key-{secrets.token_hex(4)}", base64.b64encode(b"\x12\x02\x08\x0c\x1a\x20" + secrets.token_bytes(32))
    data = {"typeUrl": URL, "value": value.decode(), "keyMaterialType": "SYMMETRIC"}
    entry = {"keyData": data, "status": "ENABLED", "keyId": 7, "outputPrefixType": "TINK"}
    material = json.dumps({"primaryKeyId": 7, "key": [entry]}).encode()
    asked = dev.json("keys", "import", "-", "--format", "tink", "--key", name, stdin=material)
    assert asked["next"].endswith(f"guard keys approve-import {name} {asked['request']}")
    with dev.client() as client:
        client.grants.add(member=DEPUTY, role="role:key-admin")
    with Client(dev.deputy()) as second:
        second.keys.approve_import(key=name, request=asked["request"])
    return name, value.decode()


def approve(dev, name, request):
    with Client(dev.deputy()) as second:
        second.keys.approve_export(key=name, request=request)


def test_the_file_is_new_and_private_and_made_before_the_approval_is_used(dev, key, tmp_path):
    name, value = key
    target = tmp_path / "out.json"
    asked = dev.json("keys", "export", name, "--out", str(target))
    assert (asked["state"], target.exists()) == ("asked", False)
    approve(dev, name, asked["request"])
    target.write_text("there already")
    refused = dev.run("keys", "export", name, "--out", str(target))
    assert (refused.returncode, json.loads(refused.stderr)["code"]) == (2, "GRD-CONF-002")
    target.unlink()
    done = dev.json("keys", "export", name, "--out", str(target))
    assert (done["state"], "keyset" in done) == ("exported", False)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert json.loads(target.read_text())["key"][0]["keyData"]["value"] == value


def test_a_pipe_gets_the_keyset_and_a_terminal_only_when_asked(dev, key):
    name, value = key
    asked = dev.json("keys", "export", name)
    approve(dev, name, asked["request"])
    status, shown = on_a_terminal(dev, "keys", "export", name)
    assert (status, value in shown, "a terminal keeps what it shows" in " ".join(shown.split())) == (2, False, True)
    status, shown = on_a_terminal(dev, "keys", "export", name, "--show")
    assert (status, value in shown.replace("\r\n", "")) == (0, True)
    approve(dev, name, dev.json("keys", "export", name)["request"])
    assert dev.json("keys", "export", name)["key"][0]["keyData"]["value"] == value


def on_a_terminal(dev, *arguments):
    """Exit status and what the terminal showed."""
    ours, theirs = pty.openpty()
    variables = environment(GUARD_HOME=str(dev.home), TERM="dumb", COLUMNS="500")
    with subprocess.Popen([*COMMAND, *arguments], stdin=theirs, stdout=theirs, stderr=theirs, env=variables) as process:
        os.close(theirs)
        shown = b""
        try:
            while part := os.read(ours, 65536):
                shown += part
        except OSError:  # Linux's way to say that the last writer is gone
            pass
        process.wait(60)
    os.close(ours)
    return process.returncode, shown.decode()


@pytest.mark.parametrize("content", [b"", b"not json", b'{"primaryKeyId": 1, "key": []}'])
def test_what_is_no_keyset_is_refused_and_not_repeated(dev, tmp_path, content):
    (tmp_path / "k.json").write_bytes(content)
    done = dev.run("keys", "import", str(tmp_path / "k.json"), "--format", "tink")
    assert done.returncode == 2
    assert b"primaryKeyId" not in done.stderr


def test_a_file_that_is_not_there_is_told(dev, tmp_path):
    done = dev.run("keys", "import", str(tmp_path / "none.json"), "--format", "tink")
    assert (done.returncode, "No such file" in json.loads(done.stderr)["detail"]) == (2, True)
