"""The paths that need no token: alive, ready, release, document; each says little and tells no secret."""

import pytest

from guard import __version__
from tests.api.test_problems import check, check_headers


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/version", "/openapi.json"])
def test_public_paths_answer_without_a_token(api, path):
    answer = api("GET", path, token=None)
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    check_headers(answer)


def test_a_wrong_token_does_not_matter_there(api):
    assert api("GET", "/livez", token="grd_svc_nonsense").status == 200


def test_ready_names_its_checks(api):
    answer = api("GET", "/readyz", token=None).json
    assert answer["status"] == "ok"
    assert answer["checks"].keys() >= {"writer", "disk", "database"}
    assert all(answer["checks"].values())


def test_the_release_is_told(api):
    assert api("GET", "/version", token=None).json == {"version": __version__}


def test_ready_turns_red_when_the_writer_has_stopped_and_alive_does_not(fresh_api):
    api = fresh_api()
    assert api("GET", "/readyz", token=None).status == 200
    api.world.guard.pipeline.stop()
    answer = api("GET", "/readyz", token=None)
    check(answer, 503, "GRD-STORE-003")
    assert "writer" in answer.json["detail"]
    assert api("GET", "/livez", token=None).status == 200


def test_ready_turns_red_when_the_disk_is_nearly_full(fresh_api):
    answer = fresh_api(minimum_free_bytes=1 << 60)("GET", "/readyz", token=None)
    check(answer, 503, "GRD-STORE-003")
    assert "disk" in answer.json["detail"]
    assert "writer" not in answer.json["detail"]


def test_ready_turns_red_when_the_database_is_gone(fresh_api):
    api = fresh_api()
    api.world.guard.settings.database.rename(api.world.guard.settings.database.with_suffix(".moved"))
    answer = api("GET", "/readyz", token=None)
    check(answer, 503, "GRD-STORE-003")
    assert "database" in answer.json["detail"]


def test_health_leaves_no_record(api):
    before = api.world.guard.log.size
    for path in ("/livez", "/readyz", "/version", "/openapi.json", "/nope"):
        api("GET", path, token=None)
    assert api.world.guard.log.size == before


def test_no_path_of_files_or_of_another_house_is_served(api):
    for path in (
        "/",
        "/docs",
        "/redoc",
        "/static/../../etc/passwd",
        "/.guard/root.key",
        "/console",
        "/metrics/",
        "/favicon.ico",
    ):
        assert api("GET", path, token=None).status == 404
