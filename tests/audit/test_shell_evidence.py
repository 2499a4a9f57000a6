"""Evidence bundles of a running guard, verified offline by the file that lies in them."""

import hashlib
import io
import json
import sqlite3
import subprocess
import sys
import zipfile
from contextlib import closing
from pathlib import Path

import pytest

from guard.audit.archive import write
from guard.audit.bundle import Contents, Exhibit, Matter, layout, ranges_text
from guard.audit.checkpoint import Checkpoint
from guard.audit.verifier.command import verify
from guard.catalogue import PLATFORM
from guard.cli.audit import unpack
from guard.errors import Conflict, IndexMismatch, InvalidRequest, NotFound
from tests.world import world

MATTER = "INC-2026-014"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    with world(tmp_path_factory.mktemp("evidence") / "home") as made:
        for tenant in ("acme", "globex"):
            for name in ("ana", "ben"):
                actor = made.hire(tenant, f"user:local|{name}", "role:support")
                for _ in range(70):
                    made.call("actors.whoami", actor)
        made.call("checkpoints.publish")
        yield made


@pytest.fixture(scope="module")
def auditor(place):
    return place.hire(PLATFORM, "user:local|auditor", "role:auditor")


@pytest.fixture(scope="module")
def own(place):
    return place.hire("acme", "user:local|ida", "role:auditor")


@pytest.fixture(scope="module")
def some(place, auditor):
    """Indexes of records of one tenant, and one of another."""
    mine = [one.index for one in place.call("records.list", auditor, tenant="acme", actor="user:local|ana").data[:5]]
    other = place.call("records.list", auditor, tenant="globex", limit=1).data[0].index
    return sorted(mine), other


def made_bundle(place, actor, **wanted):
    """The view and the bytes."""
    view = place.call("evidence.create", actor, **{"matter": MATTER, **wanted})
    tenant = wanted.get("tenant", "~")
    attached = place.call("evidence.download", actor, matter=view.matter, evidence=view.id, tenant=tenant)
    assert attached.file_name == f"{view.id}.zip"
    return view, Path(attached.path).read_bytes()


@pytest.fixture(scope="module")
def bundle(place, auditor, some):
    """A bundle that was asked for twice before, so that there is custody."""
    for _ in range(2):
        made_bundle(place, auditor, tenant="acme", indexes=some[0][:1])
    place.call("checkpoints.publish")
    return made_bundle(place, auditor, tenant="acme", indexes=some[0])


@pytest.fixture
def folder(bundle, tmp_path):
    unpack(bundle[1], tmp_path / "bundle")
    return tmp_path / "bundle"


@pytest.fixture(scope="module")
def vkey(place):
    return place.guard.log.verifier.encode()


def test_a_bundle_holds_the_records_their_proofs_and_who_handled_the_matter(place, bundle, some, vkey, tmp_path):
    view, content = bundle
    path = tmp_path / "bundle.zip"
    path.write_bytes(content)
    report = verify(path, vkeys=[vkey])
    assert report.faults == []
    assert hashlib.sha256(content).hexdigest() == view.sha256
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = archive.namelist()
        manifest = json.loads(archive.read("manifest.json"))
        custody = [json.loads(archive.read(f"custody/{index}.json"))["b"] for index in manifest["custody"]]
    # Two makings of two records each (intent and outcome) and two takings; this making's own come after it.
    assert [one["action"] for one in custody] == ["evidence.create", "evidence.create", "evidence.download"] * 2
    assert manifest["records"] == some[0]
    assert {f"records/{index}.json" for index in some[0]} | {f"proofs/{index}.tlog-proof" for index in some[0]} <= set(
        names
    )
    assert {"README", "verify.pyz", "policy.txt", "ranges.json", "checkpoint"} <= set(names)
    assert (view.records, view.custody, report.counts["proofs"]) == (5, 6, 11)
    assert (manifest["matter"], manifest["tenant"], manifest["requester"]) == (MATTER, "acme", "user:local|auditor")


def test_the_verifier_in_the_bundle_verifies_the_bundle(folder, vkey):
    command = [sys.executable, str(folder / "verify.pyz"), str(folder), "--vkey", vkey]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder.parent)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert answer.stdout.endswith("verified\n")


def test_one_flipped_byte_in_any_file_is_found_and_the_file_is_named(folder, vkey):
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        original = path.read_bytes()
        name = path.relative_to(folder).as_posix()
        for at in {0, len(original) // 2, len(original) - 1}:
            path.write_bytes(original[:at] + bytes([original[at] ^ 1]) + original[at + 1 :])
            assert name in {fault.path for fault in verify(folder, vkeys=[vkey]).faults}, (name, at)
        path.write_bytes(original)
    assert verify(folder, vkeys=[vkey]).faults == []


def test_what_was_taken_out_or_put_in_is_named(folder, vkey):
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        original = path.read_bytes()
        path.unlink()
        found = {fault.path for fault in verify(folder, vkeys=[vkey]).faults}
        assert found & {name, "manifest.json", "manifest.note", "checkpoint"}, name
        path.write_bytes(original)
    (folder / "records" / "99999.json").write_bytes(b"{}")
    assert "records/99999.json" in {fault.path for fault in verify(folder, vkeys=[vkey]).faults}


def test_a_search_fills_a_bundle(place, own, tmp_path, vkey):
    view, content = made_bundle(place, own, matter="case-2", search={"actor": "user:local|ben"})
    (tmp_path / "b.zip").write_bytes(content)
    report = verify(tmp_path / "b.zip", vkeys=[vkey])
    assert report.faults == []
    assert view.records == 70
    assert report.counts["tenants"] == 1


def test_making_and_taking_are_records_that_name_the_matter(place, own, some):
    view, _ = made_bundle(place, own, matter="case-3", indexes=some[0][:2])
    found = place.call("records.list", own, resource="audit/~/evidence/case-3").data
    assert [(one.action, one.phase) for one in found] == [
        ("evidence.download", "event"),
        ("evidence.create", "outcome"),
        ("evidence.create", "intent"),
    ]
    place.call("checkpoints.publish")
    entry = json.loads(place.call("records.prove", own, index=found[1].index).entry)
    assert entry["b"]["data"]["sha256"] == view.sha256


# who may have what


def test_a_tenant_s_auditor_gets_no_record_of_another_and_is_not_told_that_there_is_one(place, own, some):
    texts = set()
    for index in (some[1], 10_000_000):
        with pytest.raises(NotFound) as raised:
            place.call("evidence.create", own, matter="case-4", indexes=[index])
        texts.add(raised.value.detail.replace(str(index), "N"))
    assert len(texts) == 1
    with pytest.raises(NotFound):
        place.call("evidence.create", own, matter="case-4", indexes=[some[0][0]], tenant="globex")


def test_a_bundle_is_taken_under_its_own_tenant_and_matter_only(place, auditor, own, some):
    view = place.call("evidence.create", auditor, matter="case-5", tenant="acme", indexes=some[0])
    for actor, tenant, matter in ((own, "~", "case-6"), (auditor, "globex", "case-5"), (auditor, "~", "case-5")):
        with pytest.raises(NotFound):
            place.call("evidence.download", actor, matter=matter, evidence=view.id, tenant=tenant)
    assert place.call("evidence.download", own, matter="case-5", evidence=view.id).file_name


def test_a_tenant_s_bundle_holds_no_record_of_the_platform(place, auditor, own, some):
    made_bundle(place, auditor, matter="case-7", tenant="acme", indexes=some[0])
    made_bundle(place, own, matter="case-7", indexes=some[0])
    place.call("checkpoints.publish")
    for actor, tenants in ((own, {"acme"}), (auditor, {"acme", PLATFORM})):
        _, content = made_bundle(place, actor, matter="case-7", tenant="acme", indexes=some[0])
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = [
                json.loads(archive.read(name))
                for name in archive.namelist()
                if name.startswith("custody/") and name.endswith(".json")
            ]
        assert {one["b"]["tenant"] for one in entries} == tenants


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"indexes": list(range(1001))},
        {"search": {"action": "no.such"}},
        {"matter": "../../etc", "indexes": [0]},
        {"matter": "a b", "indexes": [0]},
        {"matter": "", "indexes": [0]},
    ],
)
def test_a_bundle_of_nothing_of_too_much_or_with_prose_for_a_matter_is_refused(place, own, wanted):
    with pytest.raises(InvalidRequest):
        place.call("evidence.create", own, **{"matter": "case-8", **wanted})


def test_a_record_that_no_checkpoint_covers_waits(place, own):
    place.call("checkpoints.publish")
    place.call("actors.whoami", own)
    index = place.call("records.list", own, action="actors.whoami", limit=1).data[0].index
    with pytest.raises(Conflict):
        place.call("evidence.create", own, matter="case-9", indexes=[index])
    place.call("checkpoints.publish")
    assert place.call("evidence.create", own, matter="case-9", indexes=[index]).records == 1


def test_an_index_that_lies_makes_no_evidence(tmp_path):
    with world(tmp_path / "home") as made:
        own = made.hire("acme", "user:local|ida", "role:auditor")
        made.call("actors.whoami", own)
        made.call("checkpoints.publish")
        with closing(sqlite3.connect(made.home / "guard.db")) as db, db:
            db.execute("UPDATE audit_index SET actor = 'user:local|eve' WHERE action = 'actors.whoami'")
        with pytest.raises(IndexMismatch):
            made.call("evidence.create", own, matter="case-10", search={"actor": "user:local|eve"})


def test_a_bundle_stands_under_the_latest_stamped_checkpoint_that_covers_its_records(tmp_path):
    with world(tmp_path / "home") as made:
        own = made.hire("acme", "user:local|ida", "role:auditor")
        stamped = made.call("checkpoints.publish")
        made.call("actors.whoami", own)
        latest = made.call("checkpoints.publish")
        with closing(sqlite3.connect(made.home / "guard.db")) as db, db:
            row = ("tsa", stamped.size, stamped.note, b"an answer", "verified", 1)
            db.execute("INSERT INTO audit_anchors VALUES (?, ?, ?, ?, ?, ?)", row)
        newest = made.call("records.list", own, action="actors.whoami").data[0].index
        first = made.call("records.list", own, limit=500).data[-1].index
        for index, size in ((first, stamped.size), (newest, latest.size)):
            view, content = made_bundle(made, own, matter="case-11", indexes=[index])
            assert view.size == size
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                names = set(archive.namelist())
                stamps = {name for name in names if name.startswith("tsa/")}
                if size == latest.size:
                    assert stamps == set()
                    continue
                assert stamps == {f"tsa/{size}.checkpoint", f"tsa/{size}.tsr"}
                assert archive.read(f"tsa/{size}.checkpoint").decode() == stamped.note
                assert archive.read(f"tsa/{size}.tsr") == b"an answer"


# the layout


def test_equal_contents_give_equal_bytes(tmp_path):
    head = Checkpoint("guard.example/guard/main", 3, b"\1" * 32)
    about = Matter("evd_1", MATTER, "acme", "user:local|ida", 17)
    exhibits = {index: Exhibit(b"{}", b"proof") for index in (2, 0, 11)}
    made = []
    for number, order in enumerate((exhibits, dict(reversed(exhibits.items())))):
        contents = Contents(
            b"note",
            b"policy",
            ranges_text({"k": (0, None)}),
            order,
            order,
            {2: b"{}"},
            {3: (b"n", b"t")},
            b"pem",
            {"verify.pyz": b"v"},
        )
        path = tmp_path / f"{number}.zip"
        write(path, layout(head, about, contents, lambda text: text.encode()))
        made.append(path.read_bytes())
    assert made[0] == made[1]
    with zipfile.ZipFile(tmp_path / "0.zip") as archive:
        assert {one.date_time for one in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        names = archive.namelist()
        assert names[:3] == ["manifest.json", "manifest.note", "README"]
        manifest = json.loads(archive.read("manifest.json"))
        assert set(manifest["files"]) == set(names) - {"manifest.json", "manifest.note"}
        digest = hashlib.sha256(archive.read("manifest.json")).hexdigest()
        assert archive.read("manifest.note").decode() == f"guard/manifest/v1\n{head.origin}\n{digest}\n"
        assert {"openings/2.json", "tsa/3.checkpoint", "tsa/3.tsr", "tsa/chain.pem"} <= set(names)
