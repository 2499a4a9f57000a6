"""The static prefix of c2sp.org/tlog-tiles: what it serves, how far, to whom, how long a cache may keep it."""

import pytest

from guard.audit.checkpoint import parse as parse_head
from guard.audit.note import parse as parse_note
from guard.audit.tiles import decode_bundle, tiles_of
from guard.audit.tree import leaf_hash, root_of
from guard.catalogue import PLATFORM
from tests.api.conftest import open_api
from tests.audit.test_prune import archive, prune
from tests.audit.test_shell_archive import entries, fill

DAY = 86_400
HEAD = "/guard/main/checkpoint"
PREFIX = "/guard/main/"
FOREVER = "max-age=31536000, immutable"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A log of some 700 records with two archived bundles; what is public is open."""
    for api in open_api(tmp_path_factory.mktemp("tiles"), public_log=True):
        fill(api.world, 700)
        archive(api.world)
        api.auditor = api.world.token(PLATFORM, "user:local|auditor", "role:auditor")
        api.world.call("checkpoints.publish")
        yield api


def head(api, **options):
    answer = api("GET", HEAD, **{"token": None} | options)
    assert answer.status == 200, answer.body
    return parse_head(parse_note(answer.body).text)


def get(api, path, token=None):
    return api("GET", PREFIX + path, token=token)


def test_every_tile_of_the_checkpoint_is_served_and_they_make_its_root(place):
    tree = head(place)
    assert tree.size > 700
    served = {tile: get(place, tile.path(), place.auditor) for tile in tiles_of(tree.size)}
    assert {answer.status for answer in served.values()} == {200}
    leaves, found = [], []
    for tile, answer in served.items():
        if tile.level == 0:
            leaves += [answer.body[at : at + 32] for at in range(0, len(answer.body), 32)]
        if tile.level is None:
            found += decode_bundle(answer.body)
    assert root_of(leaves) == tree.root
    assert [leaf_hash(entry) for entry in found] == leaves
    assert found == entries(place.world.guard)[: tree.size]


def test_the_headers_say_what_it_is_and_how_long_it_stays(place):
    tree = head(place)
    note = get(place, "checkpoint")
    assert note.headers["content-type"] == "text/plain; charset=utf-8"
    assert note.headers["cache-control"] == "no-cache"
    width = tree.size % 256
    kept = {
        "tile/0/000": f"public, {FOREVER}",
        f"tile/0/002.p/{width}": "no-cache",
        "tile/1/000.p/2": "no-cache",
        "tile/entries/001": f"private, {FOREVER}",
        f"tile/entries/002.p/{width}": "no-cache",
    }
    for path, cache in kept.items():
        answer = get(place, path, place.auditor)
        assert (answer.status, answer.headers["cache-control"]) == (200, cache), path
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "content-encoding" not in answer.headers


def test_a_partial_tile_is_the_prefix_of_the_full_one(place):
    assert get(place, "tile/0/001.p/7").body == get(place, "tile/0/001").body[: 7 * 32]
    whole = get(place, "tile/entries/001", place.auditor).body
    assert whole.startswith(get(place, "tile/entries/001.p/7", place.auditor).body)


def test_nothing_beyond_the_published_checkpoint_is_there_until_it_is_published(fresh_api):
    place = fresh_api(public_log=True)
    fill(place.world, 600)
    place.auditor = place.world.token(PLATFORM, "user:local|auditor", "role:auditor")
    place.world.call("checkpoints.publish")
    size = head(place).size
    fill_unpublished(place.world, 300)
    width = size % 256
    beyond = [f"tile/0/002.p/{width + 1}", "tile/0/002", "tile/1/000.p/3", "tile/0/003.p/1"]
    for path in [*beyond, f"tile/entries/002.p/{width + 1}", "tile/entries/002"]:
        answer = get(place, path, place.auditor)
        assert (answer.status, answer.code) == (404, "GRD-STORE-404"), path
        assert f"size is {size}," in answer.json["detail"]
    assert get(place, f"tile/0/002.p/{width}").status == 200
    assert head(place).size == size
    place.world.clock.advance(1)
    place.world.call("checkpoints.publish")
    assert {get(place, path).status for path in beyond} == {200}


def fill_unpublished(made, count):
    person = made.hire("acme", "user:local|ana", "role:support")
    for _ in range(count):
        made.call("actors.whoami", person)


@pytest.mark.parametrize(
    "path",
    [
        "tile/0/0",
        "tile/8/000",
        "tile/00/000",
        "tile/0/x000/001",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/000/",
        "tile/0/../../../guard.db",
        "tile/0/%2e%2e/%2e%2e/guard.db",
        "tile/0/000%00",
        "tile/entries/x999/999",
        "tile/data/000",
    ],
)
def test_what_is_no_tile_is_404_as_a_problem(place, path):
    answer = get(place, path, place.auditor)
    assert (answer.status, answer.headers["content-type"]) == (404, "application/problem+json")
    assert answer.headers["cache-control"] == "no-store"


def test_another_log_is_404_and_the_one_that_is_there_is_named(place):
    answer = place("GET", "/guard/main.2/checkpoint", token=None)
    assert answer.status == 404
    assert "guard.local/guard/main" in answer.json["detail"]


def test_before_the_first_checkpoint_there_is_none(fresh_api):
    api = fresh_api(public_log=True)
    with api.world.guard.store.write() as tx:
        tx.exec_driver_sql("DELETE FROM audit_checkpoints")
    answer = api("GET", HEAD, token=None)
    assert (answer.status, answer.code) == (404, "GRD-STORE-404")


# who may, and what is on record


def test_public_reads_and_misses_leave_no_record(place):
    size = place.world.guard.log.size
    for path in ("checkpoint", "tile/0/000", "tile/0/999", "tile/0/nonsense", "checkpoint?x=1"):
        assert get(place, path).status in {200, 404, 422}
    assert place.world.guard.log.size == size


def test_each_bundle_that_the_auditor_reads_is_a_record(place):
    get(place, "tile/entries/001.p/9", place.auditor)
    (found, *_) = place.world.records(action="bundles.read")
    assert (found.actor, found.status, found.allowed) == ("user:local|auditor", "ok", True)
    assert found.resource == "audit/all/bundles"
    last = next(one for one in reversed(entries(place.world.guard)) if one.startswith(b'{"b":{"action":"bundles.read"'))
    assert b'"count":9,"first":256' in last


@pytest.mark.parametrize("role", ["role:auditor", "role:tenant-admin"])
def test_a_tenants_people_get_hashes_and_no_bundle(place, role):
    token = place.world.token("acme", "user:local|tom", role)
    assert get(place, "tile/0/000", token).status == 200
    answer = get(place, "tile/entries/000", token)
    assert answer.status in {403, 404}
    assert place.world.records("acme", action="bundles.read")[0].status == "refused"


def test_bundles_are_never_public(place):
    answer = get(place, "tile/entries/000")
    assert (answer.status, answer.code) == (401, "GRD-AUTHN-001")
    assert place.world.records(action="bundles.read")[0].code == "GRD-AUTHN-001"


def test_a_wrong_token_is_refused_even_where_none_is_needed(place):
    assert get(place, "tile/0/000", "grd_pat_wrong").status == 401


def test_who_passes_by_sends_no_body(place):
    answer = place("GET", HEAD, token=None, parts=[b"x" * 1000] * 3)
    assert (answer.status, answer.received) == (413, 1)
    assert place("POST", HEAD, {}, token=None).status == 405


def test_the_operator_can_close_it(fresh_api):
    api = fresh_api(public_log=False)
    fill(api.world, 300)
    assert get(api, "checkpoint").status == 401
    assert get(api, "tile/0/000").status == 401
    assert get(api, "tile/0/000", api.nobody).status == 403
    auditor = api.world.token(PLATFORM, "user:local|auditor", "role:auditor")
    assert head(api, token=auditor).size >= 300
    assert get(api, "tile/0/000", auditor).headers["cache-control"] == f"private, {FOREVER}"


def test_a_flood_without_a_token_is_slowed_by_its_address_and_not_recorded(fresh_api):
    api = fresh_api(public_log=True, requests_per_minute=600)
    size = api.world.guard.log.size
    answers = [get(api, "checkpoint") for _ in range(30)]
    assert {answer.status for answer in answers} == {200, 429}
    assert "retry-after" in next(answer for answer in answers if answer.status == 429).headers
    assert api.world.guard.log.size == size


# what was pruned


def test_pruned_bundles_are_gone_by_name_and_their_hashes_stay(fresh_api):
    api = fresh_api(public_log=True)
    made = api.world
    fill(made, 700)
    made.clock.advance(200 * DAY)
    fill(made, 1100)
    archive(made)
    made.eve, made.bob = (made.hire(PLATFORM, f"user:local|{name}", "role:platform-admin") for name in ("eve", "bob"))
    kept = prune(made).min_index
    assert kept >= 256
    auditor = made.token(PLATFORM, "user:local|auditor", "role:auditor")
    answer = get(api, "tile/entries/000", auditor)
    assert (answer.status, answer.code, answer.json["min_index"]) == (410, "GRD-AUDIT-410", kept)
    assert get(api, f"tile/entries/{kept // 256:03d}", auditor).status == 200
    assert get(api, "tile/0/000").status == 200
