"""Evidence with what its records only commit to: opened by right, on record, and checked offline."""

import json
import zipfile
from pathlib import Path

import pytest

from guard.audit.verifier.command import main, verify
from guard.errors import GuardError
from tests.audit.privacy import REASON, SUBJECT, Office, body, office


@pytest.fixture
def made(tmp_path):
    with office(tmp_path) as made:
        yield made


@pytest.fixture
def desk(made):
    desk = Office(made)
    desk.people["both"] = made.hire("acme", "user:local|bea", "role:auditor", "role:privacy-officer")
    return desk


def bundle(desk, who, indexes, **wanted):
    """Path of a bundle, as the one who asked for it has it."""
    desk.made.call("checkpoints.publish")
    view = desk.call(who, "evidence.create", matter="case-1", indexes=indexes, **wanted)
    return Path(desk.call(who, "evidence.download", matter="case-1", evidence=view.id).path)


def openings(path):
    with zipfile.ZipFile(path) as found:
        return {name: json.loads(found.read(name)) for name in found.namelist() if name.startswith("openings/")}


def test_openings_are_in_a_bundle_for_who_has_the_right_and_asks(made, desk, capsys):
    sealed, bare = desk.note(), desk.search()
    desk.call("auditor", "records.list")
    plain = made.guard.log.size - 1
    path = bundle(desk, "both", [sealed, bare, plain], open=True)
    found = openings(path)
    assert found.keys() == {f"openings/{sealed}.json", f"openings/{bare}.json"}
    assert found[f"openings/{sealed}.json"]["note"]["value"] == REASON
    assert SUBJECT in json.dumps(found)
    report = verify(path, vkeys=[made.guard.log.verifier.encode()])
    assert (report.faults, report.counts["openings"]) == ([], 2)
    assert main([str(path)]) == 0
    assert "openings 2" in capsys.readouterr().out


def test_an_erasure_takes_the_bundles_with_it_in_which_a_value_was_opened(made, desk):
    """They hold it in clear, below the home, where no key that is destroyed reaches."""
    mine, other = desk.search(), desk.search("somebody.else@example.org")
    opened = bundle(desk, "both", [mine, other], open=True)
    closed, foreign = bundle(desk, "both", [mine]), bundle(desk, "both", [other], open=True)
    half = opened.with_suffix(".part")
    half.write_bytes(b"left by a process that died")
    assert "openings/" in str(openings(opened).keys())
    desk.erase()
    assert [path.exists() for path in (opened, half, closed, foreign)] == [False, False, True, True]
    with pytest.raises(GuardError):
        desk.call("both", "evidence.download", matter="case-1", evidence=opened.stem)


def test_a_changed_opening_is_named(desk, tmp_path):
    index = desk.note()
    path = bundle(desk, "both", [index], open=True)
    with zipfile.ZipFile(path) as found:
        found.extractall(tmp_path / "bundle")
    place = tmp_path / "bundle" / "openings" / f"{index}.json"
    place.write_bytes(place.read_bytes().replace(b"asked", b"asket"))
    told = [str(fault) for fault in verify(tmp_path / "bundle").faults]
    assert f"openings/{index}.json: note is not what record {index} committed to: one was changed" in told


def test_nobody_gets_them_unasked(desk):
    assert openings(bundle(desk, "both", [desk.note()])) == {}


def test_who_may_not_reveal_gets_no_bundle_with_openings_and_the_try_is_on_record(made, desk):
    index = desk.note()
    made.call("checkpoints.publish")
    with pytest.raises(GuardError):
        desk.call("auditor", "evidence.create", matter="case-1", indexes=[index], open=True)
    found = made.records("acme", action="records.reveal")
    assert [(one.status, one.actor) for one in found] == [("refused", "user:local|aude")]
    assert openings(bundle(desk, "auditor", [index])) == {}


def test_each_opening_is_a_record_of_its_own_that_says_why(made, desk):
    index = desk.note()
    bundle(desk, "both", [index], open=True)
    (told,) = made.records("acme", action="records.reveal")
    about = body(made, told.index)
    assert (told.status, about["data"]["index"], about["data"]["opened"]) == ("ok", index, 1)
    assert "reason" in about["sealed"]


def test_what_was_erased_is_left_out(desk):
    erased, kept = desk.search(), desk.note()
    desk.erase()
    assert openings(bundle(desk, "both", [erased, kept], open=True)).keys() == {f"openings/{kept}.json"}
