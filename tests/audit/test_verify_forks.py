"""The verifier after a fork: the next log names what it replaced, and a copy of the old one is held against that."""

import base64
import json
import shutil
import zipfile

import pytest

from guard.audit import note
from guard.audit.anchor_store import AnchorFile, create
from guard.audit.checkpoint import Checkpoint
from guard.audit.note import Note
from guard.audit.tree import leaf_hash, root_of
from guard.audit.verifier.command import main, verify
from guard.catalogue import PLATFORM
from tests.audit.building import KEY, ORIGIN, VKEY, entries_of, numbered, record, write
from tests.audit.layouts import canonical, export, sealed_again, sha, signed_manifest, tiles_log
from tests.audit.test_shell_anchors import FIRST as ANA
from tests.audit.test_shell_anchors import SECOND as BEN
from tests.audit.test_shell_anchors import fill, fork, put_back, saved
from tests.audit.test_shell_archive import entries
from tests.world import world

NEXT = f"{ORIGIN}.2"


@pytest.fixture(scope="module")
def forked(tmp_path_factory):
    """A restored log that a fork left behind (`kept`), a copy of what was lost, the next log, and both keys."""
    place = tmp_path_factory.mktemp("forked")
    create(place / "anchor")
    anchor, home = AnchorFile(place / "anchor"), place / "home"

    def taken(made, name, **request):
        auditor = made.hire(PLATFORM, "user:local|aud", "role:auditor")
        made.call("checkpoints.publish")
        view = made.call("exports.create", auditor, **request)
        with zipfile.ZipFile(home / "exports" / f"{view.id}.zip") as found:
            found.extractall(place / name)
        return place / name

    def receipt(made):
        ana = made.hire("acme", "user:local|eva", "role:support")
        operation = made.gate.operations["actors.whoami"]
        unit = made.gate.begin(operation, operation.takes(), ana, "r1")
        made.gate._durable(unit)
        return unit.receipt()

    found = {}
    with world(home, anchor_file=anchor.path) as made:
        for person in (ANA, BEN):
            made.hire(PLATFORM, person, "role:platform-admin")
        fill(made, 2)
        found["receipt"] = receipt(made)
        found["early"] = taken(made, "early")
        fill(made, 5)
        found["old vkey"] = made.guard.log.verifier.encode()
    backup = saved(home, place / "backup")
    with world(home, anchor_file=anchor.path) as made:
        fill(made, 20)
        found["lost receipt"] = receipt(made)
        found["lost too"] = taken(made, "lost too")
    put_back(backup, home)
    with world(home, anchor_file=anchor.path) as made:
        made.clock.advance(100)
        fork(made)
        body = json.loads(entries(made.guard)[0])["b"]["data"]
        found["kept"], found["replaced"] = home / body["kept_in"], body["replaced"]
        fill(made, 300)
        found["new"] = taken(made, "new")
        found["rows"] = taken(made, "rows", format="jsonl")
        found["vkey"] = made.guard.log.verifier.encode()
    return found


def test_the_report_says_what_was_replaced(forked, capsys):
    report = verify(forked["new"], vkeys=[forked["vkey"]])
    assert (report.faults, report.replaced, report.unchecked) == ([], forked["replaced"], [])
    assert main([str(forked["new"])]) == 0
    shown = capsys.readouterr().out
    for one in forked["replaced"]:
        assert f"record 0 says: it replaced {one['origin']}, size {one['size']}, root {one['root']}" in shown


def test_an_export_in_another_format_says_it_too(forked):
    report = verify(forked["rows"], vkeys=[forked["vkey"]])
    assert (report.faults, report.replaced) == ([], forked["replaced"])


def test_the_key_that_was_known_before_the_fork_is_enough(forked):
    assert forked["old vkey"] != forked["vkey"]
    assert verify(forked["new"], vkeys=[forked["old vkey"]]).faults == []
    policy = f"log {forked['old vkey']}\nquorum none\n"
    ranges = canonical({forked["old vkey"]: {"from_size": 0, "to_size": None}}).decode()
    assert verify(forked["new"], policy=policy).faults == []
    assert verify(forked["new"], policy=policy, ranges=ranges).faults == []
    closed = canonical({forked["old vkey"]: {"from_size": 0, "to_size": 5}}).decode()
    assert "sizes 0 to 5" in str(verify(forked["new"], policy=policy, ranges=closed).faults[0])
    stranger = type(VKEY)(forked["vkey"].split("+")[0], VKEY.kind, bytes(32)).encode()
    assert verify(forked["new"], vkeys=[stranger]).faults != []


def test_the_log_that_was_kept_is_the_one_that_was_replaced(forked, capsys):
    report = verify(forked["new"], vkeys=[forked["old vkey"]], replaces=forked["kept"])
    assert (report.faults, report.follows) == ([], str(forked["kept"]))
    assert main([str(forked["new"]), "--replaces", str(forked["kept"])]) == 0
    assert f"{forked['kept']} is the log that it replaced" in capsys.readouterr().out


def test_what_was_lost_up_to_the_anchor_is_one_of_those_that_were_replaced(forked):
    report = verify(forked["new"], replaces=forked["lost too"])
    assert (report.faults, report.follows) == ([], str(forked["lost too"]))


def test_an_earlier_copy_is_no_whole_copy(forked, capsys):
    assert main([str(forked["new"]), "--replaces", str(forked["early"])]) == 7
    assert "are missing in this copy" in capsys.readouterr().out


def test_a_changed_record_behind_the_last_checkpoint_is_named(forked, tmp_path):
    folder = shutil.copytree(forked["kept"], tmp_path / "kept")
    behind = sorted(folder.glob("unsigned/*"))
    assert behind
    behind[0].write_bytes(behind[0].read_bytes().replace(b'"v":1', b'"v":2'))
    content = json.loads((folder / "manifest.json").read_text())
    content["files"][f"unsigned/{behind[0].name}"] = sha(behind[0].read_bytes())
    (folder / "manifest.json").write_bytes(canonical(content))
    assert verify(folder).faults == [], "nothing but the next log vouches for what was not signed"
    assert "are missing in this copy" in str(verify(forked["new"], replaces=folder).faults[0])


def test_faults_of_the_copy_are_named(forked, tmp_path):
    folder = shutil.copytree(forked["lost too"], tmp_path / "copy")
    bundle = next(folder.glob("tile/entries/*/*"))
    bundle.write_bytes(bundle.read_bytes().replace(b"log.created", b"log.creatud", 1))
    told = [str(fault) for fault in verify(forked["new"], replaces=folder).faults]
    assert told[0].startswith("--replaces tile/entries/000.p/")


def successor(heads, size=10, **parts):
    """A log whose first record says that it replaced these heads, signed by the same key under its own name."""
    left = [{"origin": origin, "size": at, "root": base64.b64encode(root).decode()} for origin, at, root in heads]
    about = {"tenant": PLATFORM, "action": "log.created", "data": {"replaced": left}} | parts
    found = numbered([record(0, **about), *map(record, range(1, size))])
    leaves = [leaf_hash(one) for one in found]
    text = Checkpoint(NEXT, size, root_of(leaves)).text()
    vkey = type(VKEY)(NEXT, VKEY.kind, VKEY.public)
    files = export(found, "jsonl")
    files |= {
        "checkpoint": Note(text, (note.sign_ed25519(text, NEXT, KEY),)).encode(),
        "policy.txt": f"log {vkey.encode()}\nquorum none\n".encode(),
    }
    content = json.loads(sealed_again(files)["manifest.json"]) | {"origin": NEXT}
    return files | signed_manifest(content, origin=NEXT)


def head(size):
    return ORIGIN, size, root_of([leaf_hash(one) for one in entries_of(size)])


@pytest.mark.parametrize(
    ("heads", "told"),
    [
        ([head(300)], ""),
        ([head(300), head(100)], ""),
        ([head(301)], "and the log replaced it at size 301: records from 300 on are missing in this copy"),
        ([head(280)], "and the log replaced it at size 280: records 280 to 299 were left behind"),
        ([(ORIGIN, 300, bytes(32))], "with another root over 300 records than the log says it replaced"),
        ([(ORIGIN, 280, bytes(32))], "with another root over 280 records than the log says it replaced"),
        ([("guard.example/guard/other", *head(300)[1:])], "names no head of it as replaced"),
        ([], "names no head of it as replaced"),
    ],
)
def test_each_difference_has_its_name(tmp_path, heads, told):
    new, old = (
        write(tmp_path / "new", successor(heads).items()),
        write(tmp_path / "old", tiles_log(entries_of(300)).items()),
    )
    report = verify(new, vkeys=[VKEY.encode()], replaces=old)
    assert [told in str(fault) for fault in report.faults] == ([True] if told else [])
    assert report.follows == ("" if told else str(old))


@pytest.mark.parametrize(
    "parts", [{"tenant": "acme"}, {"action": "log.other"}, {"data": {"replaced": [7]}}, {"data": {}}]
)
def test_another_first_record_names_nothing(tmp_path, parts):
    report = verify(write(tmp_path, successor([head(300)], **parts).items()))
    assert (report.faults, report.replaced) == ([], [])


def test_a_successor_without_its_first_record_says_that_it_is_not_here(tmp_path):
    files = successor([head(300)], size=300)
    content = json.loads(files["manifest.json"]) | {"filter": {"first": 1}}
    line, rest = files["parts/00000.jsonl"].split(b"\n", 1)
    assert b"log.created" in line
    part = content["parts"][0]
    part |= {"sha256": sha(rest), "bytes": len(rest), "matched": 255}
    files |= {part["path"]: rest} | signed_manifest(content | {"matched": 299}, origin=NEXT)
    report = verify(write(tmp_path, files.items()))
    assert (report.faults, report.unchecked) == ([], ["the log before this one: record 0, which names it, is not here"])


def test_a_receipt_is_judged_by_the_incarnation_that_gave_it(forked, capsys):
    both = [forked["receipt"], forked["lost receipt"]]

    def verdicts(**options):
        return [one["verdict"] for one in verify(forked["new"], receipts=both, **options).receipts]

    assert verdicts() == ["of another incarnation"] * 2
    assert verdicts(replaces=forked["lost too"]) == ["kept", "kept"]
    assert verdicts(replaces=forked["kept"]) == ["kept", "not yet due"]
    assert main([str(forked["new"]), "--receipt", both[0], "--replaces", str(forked["kept"])]) == 0
    assert "--receipt 1: kept: " in capsys.readouterr().out
