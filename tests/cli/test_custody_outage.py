"""A key service that is away while guard is started, sealed and used: what operators see, and that they need do nothing."""

import time

import pytest

from tests.cli.processes import Server, told
from tests.cli.test_custody import PHRASE, answer, ask, command
from tests.vault.peers import Clouds

AWAY = "Google Cloud KMS answers with status 503."
SECONDS = 60


@pytest.fixture
def clouds(tmp_path):
    made = Clouds(tmp_path)
    yield made
    made.stop()


@pytest.fixture
def home(tmp_path, clouds):
    """A home whose only slot is a key of the service."""
    place = tmp_path / "home"
    options = [f"{name}={value}" for name, value in clouds.options("gcp_kms", "a").items()]
    typed = [word for option in options for word in ("--option", option)]
    assert answer(command(place, "init", "gcp_kms", *typed)) == {"slot": "gcp_kms-1", "plugin": "gcp_kms", "shares": []}
    return place


def until(holds):
    end = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


def test_a_start_without_it_waits_says_for_what_and_goes_on_by_itself(home, clouds):
    clouds.status = 503
    with Server(home, "serve") as server:
        server.await_line("guard: The service is sealed.")
        assert f"gcp_kms-1: {AWAY}" in server.said
        assert "guard custody status" in server.said
        assert ask(server, "/livez")[0] == 200  # whoever supervises it must not end it
        status, problem = ask(server, "/readyz")
        assert (status, problem["code"]) == (503, "GRD-SEAL-002")
        until(lambda: AWAY in ask(server, "/readyz")[1]["detail"])
        shown = answer(command(home, "status"))
        assert (shown["state"], shown["waiting"]) == ("sealed", [f"gcp_kms-1: {AWAY}"])
        refused = command(home, "unseal")
        assert refused.returncode == 5
        assert AWAY in told(refused)
        clouds.status = 0
        until(lambda: ask(server, "/readyz")[0] == 200)
        assert not (home / "unseal.json").exists()
        assert server.said.count(AWAY) <= 3  # the sealed start, the watch and the person who asked: never each attempt
        assert server.stop() == 0


def test_who_is_unsealed_serves_and_who_was_sealed_by_a_person_waits_for_one(home, clouds):
    with Server(home, "dev") as server:
        clouds.status = 503
        for path in ("/readyz", "/livez"):
            assert ask(server, path)[0] == 200
        moved = command(home, "move", "gcp_kms-1", "passphrase", "--as", "admin", stdin=PHRASE)
        assert answer(moved)["replaces"] == "gcp_kms-1"  # away from a service that is away: nothing of it is asked
        options = [word for one in clouds.options("gcp_kms", "b").items() for word in ("--option", "=".join(one))]
        refused = command(home, "add", "gcp_kms", *options, "--as", "admin")
        assert refused.returncode == 75
        assert AWAY in told(refused)
        answer(command(home, "seal", "--as", "admin"))
        assert command(home, "unseal").returncode == 5
        clouds.status = 0
        assert answer(command(home, "status"))["state"] == "sealed"
        assert answer(command(home, "unseal"))["state"] == "unsealed"
        assert ask(server, "/readyz")[0] == 200
        assert [one["slot"] for one in answer(command(home, "status", "--as", "admin"))["slots"]] == ["gcp_kms-1"]


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_service_that_refuses_is_named_with_what_to_check(home, clouds, status):
    clouds.status = status
    with Server(home, "serve") as server:
        line = server.await_line("guard: The service is sealed.")
        assert "gcp_kms-1: Google Cloud KMS" in line
        assert f"(status {status})" in line
        assert server.stop() == 0


def test_a_signal_ends_what_waits(home, clouds):
    clouds.status = 503
    with Server(home, "serve") as server:
        server.await_line("guard: The service is sealed.")
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 10
    assert not (home / "unseal.json").exists()
