"""A served guard with its witnesses, and one whose last checkpoint is from the future, as an operator has them."""

import json
import shlex
import time
from contextlib import contextmanager

from guard.audit import note
from guard.audit.note import VerifierKey
from guard.client import Address, Client
from tests.cli.conftest import until
from tests.cli.processes import Server, guard
from tests.cli.verbs import example
from tests.cli.witnessing import WitnessProcess
from tests.world import WORKER, World

YEAR_US = 365 * 86_400 * 1_000_000
DOWN = "http://127.0.0.1:9"
DOWN_VKEY = VerifierKey("witness.example/down", note.Kind.COSIGNATURE, bytes(range(32))).encode()


def run(home, *typed, status=0):
    done = guard(*typed, "--home", str(home), "--as", "admin")
    assert done.returncode == status, done.stderr.decode()
    return json.loads(done.stdout or done.stderr)


def settings(witness, quorum=1):
    """The part of guard.toml that names a witness and another that is never there."""
    tables = (("one", witness.url, witness.vkeys[0]), ("down", DOWN, DOWN_VKEY))
    text = f"witness_quorum = {quorum}\nwitness_seconds = 1\n"
    return text + "".join(f'[[witnesses]]\nname = "{n}"\nurl = "{u}"\nvkey = "{v}"\n' for n, u, v in tables)


@contextmanager
def pair(tmp_path):
    """A guard, its witness, and the home."""
    home, place = tmp_path / "home", tmp_path / "witness"
    with Server(home):
        keys = [one["vkey"] for one in run(home, "audit", "log-keys")["data"]]
    typed = shlex.split(example("witness"))
    given = typed[typed.index("--log") + 1]
    assert VerifierKey.decode(given)
    with WitnessProcess(place, *keys) as witness:
        (home / "guard.toml").write_text(settings(witness))
        with Server(home) as server:
            yield server, witness, home


def test_a_served_log_is_witnessed_by_itself_and_what_is_exported_shows_it(tmp_path):
    with pair(tmp_path) as (server, witness, home):

        def caught_up():
            answer = run(home, "audit", "witnesses")
            return answer if answer["witnessed"] > 3 else None

        answer = until(caught_up)
        states = {one["name"]: one["status"] for one in answer["data"]}
        assert states == {"one": "cosigned", "down": "unreachable"}
        assert "alarm" in server.said
        assert server.said.count("witness down: unreachable") == 1
        with Client(Address(server.url, server.token("admin"))) as client:
            view = client.checkpoints.latest(witnessed=True)
        key = VerifierKey.decode(witness.vkeys[0])
        assert note.verify(note.parse(view["note"].encode()), [key]) == (key,)
        run(home, "audit", "export", str(tmp_path / "evidence"))
        exported = (tmp_path / "evidence" / "checkpoint").read_bytes()
        assert note.verify(note.parse(exported), [key]) == (key,)
        policy = (tmp_path / "evidence" / "policy.txt").read_text()
        assert policy.endswith("group Witnesses 1 one down\nquorum Witnesses\n")

        witness.stop()  # and the log goes on without it
        size = answer["size"]
        until(lambda: run(home, "audit", "checkpoint")["size"] > size + 3)
        assert run(home, "audit", "witnesses")["witnessed"] < run(home, "audit", "checkpoint")["size"]


def test_an_idle_log_is_left_alone_by_its_witness(tmp_path):
    with pair(tmp_path) as (_, _, home):
        until(lambda: run(home, "audit", "witnesses")["data"][0]["status"] == "cosigned")
        until(lambda: run(home, "audit", "witnesses")["data"][0]["size"] >= 5)
        time.sleep(3)
        before = run(home, "audit", "checkpoint")["size"]
        time.sleep(3)
        assert run(home, "audit", "checkpoint")["size"] == before


def test_a_clock_from_the_future_is_accepted_by_two_persons_who_type(tmp_path):
    home = tmp_path / "home"
    place = World(home)
    place.clock.now_us = time.time_ns() // 1000 + YEAR_US
    place.call("checkpoints.publish", WORKER)
    place.close()
    with Server(home) as server:
        until(lambda: "checkpoints wait" in server.said)
        assert run(home, "audit", "list", "--action", "clock.regression")["data"]
        typed = shlex.split(example("audit accept-clock"))[1:]
        asked = run(home, *[one for one in typed if one not in {"--as", "admin"}])
        assert asked["state"] == "asked"
        mine = run(home, "audit", "accept-clock", "--request", asked["request"], status=5)
        assert "another person" in mine["detail"]
        with Client(Address(server.url, server.token("admin"))) as client:
            client.grants.add(member="user:local|ben", role="role:platform-admin")
            token = client.tokens.create(subject="user:local|ben", kind="pat")["token"]
        done = guard(
            "audit",
            "accept-clock",
            "--request",
            asked["request"],
            variables={"GUARD_URL": server.url, "GUARD_TOKEN": token},
        )
        assert done.returncode == 0, done.stderr.decode()
        assert json.loads(done.stdout)["state"] == "accepted"
        size = run(home, "audit", "checkpoint")["size"]
        assert size > 1
        assert server.said.count("checkpoints wait") == 1
