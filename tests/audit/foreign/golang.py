"""Builds and runs the Go program beside this file, on Debian's golang-go and golang-golang-x-mod-dev."""

import json
import os
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("verify.go")
GOPATH = Path("/usr/share/gocode")
LIBRARY = GOPATH / "src/golang.org/x/mod/sumdb/tlog"


def build(go, folder):
    """The program, built without network: the library is the one that Debian ships."""
    program = folder / "verify"
    variables = {"GO111MODULE": "off", "GOPATH": str(GOPATH), "GOCACHE": str(folder / "cache"), "CGO_ENABLED": "0"}
    environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(folder), **variables}
    command = [str(go), "build", "-o", str(program), str(SOURCE)]
    subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=300)
    return program


def check(program, folder, vkey):
    """What it verified, as counts; raises CalledProcessError, with its message in `stderr`, where something is wrong."""
    command = [str(program), str(folder), vkey]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)
