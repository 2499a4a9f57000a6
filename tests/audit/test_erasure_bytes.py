"""Every byte that leaves guard or stays on its disk, searched for a person before and after the erasure (A13).

Before it the values are sealed, so they stand nowhere but in the answer of `reveal`, and, from the request on, where a
second person has to read whom it is about. After it they stand nowhere at all. Compressed files are opened and searched
as well; that the search sees what is there is shown by what it is told to find.
"""

import io
import json
import urllib.error
import urllib.request
import zipfile
from pathlib import Path
from urllib.parse import quote

import pytest

from guard.audit.verifier.command import verify
from guard.catalogue import PLATFORM
from guard.client import Address, Client
from guard.errors import GuardError
from guard.settings import Sink
from tests.audit.exporting import auditor, directory, ordered
from tests.audit.privacy import REASON, SUBJECT, Office, office, writings
from tests.audit.receivers import collector
from tests.audit.test_shell_sinks import steps
from tests.cli.processes import Server, guard

parquet = pytest.importorskip("pyarrow.parquet", reason="the extra parquet is not installed")

FORMATS = ("tiles", "jsonl", "csv", "parquet", "ocsf", "cef", "rfc5424")
NEIGHBOUR = "canary.neighbour@example.org"
MARK = "user:local|aude"
"""Stands in the clear in every record of the searches, so a search that does not find it is blind."""


def opened(path, data=None):
    """The bytes of a file, and those within it where it is an archive or a compressed table."""
    data = path.read_bytes() if data is None else data
    yield data
    if data[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for name in archive.namelist():
                yield name.encode()
                yield from opened(Path(name), archive.read(name))
    elif data[:4] == b"PAR1":
        for row in parquet.read_table(io.BytesIO(data)).to_pylist():
            yield repr(row).encode()
            yield from (value for value in row.values() if isinstance(value, bytes))


def searched(found, value):
    """The names under which *value* stands in some form."""
    forms = [*writings(value), quote(value).encode(), json.dumps(value)[1:-1].encode(), *lines(value)]
    return sorted({name for name, data in found for one in forms if one in data})


def lines(value):
    """As the text formats escape what they must."""
    return [value.replace("=", "\\=").replace("|", "\\|").encode(), value.replace("]", "\\]").encode()]


def below(folder):
    return [
        (str(path.relative_to(folder)), data)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        for data in opened(path)
    ]


class Everything:
    """What can be had of a guard: its home, an export in each format, a bundle of evidence, what sinks were sent."""

    def __init__(self, made, desk, sent, posted):
        self.made, self.desk, self.sent, self.posted = made, desk, sent, posted

    def home(self):
        """Database, write-ahead log, tiles, and what guard itself kept of exports and bundles."""
        return below(self.made.home)

    def exports(self, folder):
        self.made.call("checkpoints.publish")
        root = auditor(self.made)
        found = []
        for name in FORMATS:
            view = ordered(self.made, root, format=name, purpose="for the regulator")
            place = directory(self.made, root, view, folder / name)
            assert verify(place).faults == [], name
            found += [(f"{name}/{path}", data) for path, data in below(place)]
        return found

    def evidence(self, index):
        self.made.call("checkpoints.publish")
        auditor_ = self.desk.people["auditor"]
        view = self.made.call("evidence.create", auditor_, matter="case-17", indexes=[index])
        file = self.made.call("evidence.download", auditor_, matter=view.matter, evidence=view.id)
        return [(f"evidence/{file.file_name}", data) for data in opened(Path(file.path))]

    def sinks(self):
        steps(self.made, "copy", 3)
        steps(self.made, "siem", 3)
        posted = b"".join(body for _, body, _ in self.posted.seen)
        return [("sinks/copy", self.sent.read_bytes()), ("sinks/siem", posted)]

    def outside(self, folder, index):
        return self.exports(folder) + self.evidence(index) + self.sinks()


@pytest.fixture
def whole(tmp_path):
    with collector() as posted:
        sent = tmp_path / "copy.jsonl"
        siem = Sink(name="siem", plugin="webhook", address=f"http://127.0.0.1:{posted.server_port}/")
        with office(tmp_path, sinks=(Sink(name="copy", plugin="file", path=str(sent)), siem)) as made:
            yield Everything(made, Office(made), sent, posted)


def filled(desk):
    """Records about the person and a neighbour, more than a tile of them so that the archive has files."""
    for _ in range(140):
        index = desk.search(SUBJECT)
        desk.search(NEIGHBOUR)
    return index


def blind(found):
    """Where the search ought to find what every record says; nothing if it sees."""
    seen = {name.split("/")[0] for name in searched(found, MARK)}
    return [name for name in (*FORMATS, "evidence", "sinks") if name not in seen]


def test_no_byte_of_the_person_leaves_before_or_after_the_erasure(whole, tmp_path):
    made, desk = whole.made, whole.desk
    index = filled(desk)
    made.call("checkpoints.publish")
    made.beat("log.archive", lambda _now: [(PLATFORM, {})] * 2)
    assert made.guard.log.in_files[2] >= 256
    before = whole.outside(tmp_path / "before", index)
    assert blind(before) == []
    for value in (SUBJECT, NEIGHBOUR):
        assert searched(before + whole.home(), value) == []
    assert desk.reveal(index) == {"actor": SUBJECT}, "and yet it is kept"
    assert searched(whole.home(), MARK) != []
    desk.ask(reason=REASON)
    view = desk.erase()
    assert view.state == "done"
    after = whole.outside(tmp_path / "after", index)
    assert blind(after) == []
    for value in (SUBJECT, REASON):
        assert searched(after + whole.home(), value) == []
    assert desk.reveal(index + 1) == {"actor": NEIGHBOUR}


def test_while_the_request_waits_the_name_is_in_the_database_alone(whole, tmp_path):
    desk = whole.desk
    index = desk.search()
    desk.ask(reason=REASON)
    assert searched(whole.outside(tmp_path / "out", index), SUBJECT) == []
    names = searched(whole.home(), SUBJECT)
    assert names
    assert set(names) <= {"guard.db", "guard.db-wal"}


def test_what_reveal_shows_stays_out_of_everything_else(whole, tmp_path):
    desk = whole.desk
    index = desk.search()
    for _ in range(3):
        assert desk.reveal(index) == {"actor": SUBJECT}
    found = whole.outside(tmp_path / "out", index) + whole.home()
    assert searched(found, SUBJECT) == []


PLATFORM_WIDE = (PLATFORM, {"filter": {"tenant": "acme", "actor": SUBJECT}})
OWN = ("acme", {"filter": {"actor": SUBJECT}})
PURPOSE = ("acme", {"purpose": f"a letter of {SUBJECT.upper()}, of today"})


@pytest.mark.parametrize(("tenant", "given"), [PLATFORM_WIDE, OWN, PURPOSE])
def test_a_person_whom_an_export_names_is_gone_with_the_erasure(whole, tenant, given):
    """An export is asked for by a name, or says why: the job is kept, and its manifest has both."""
    made, desk = whole.made, whole.desk
    desk.search()
    made.call("checkpoints.publish")
    asker = auditor(made, tenant)
    view = ordered(made, asker, format="jsonl", **given)
    assert searched(whole.home(), SUBJECT) != []
    desk.erase()
    assert searched(whole.home(), SUBJECT) == []
    assert made.call("exports.read", asker, export=view.id).state == "cancelled"


@pytest.mark.parametrize(
    ("tenant", "given"),
    [
        ("acme", {"purpose": f"about {NEIGHBOUR}"}),
        ("acme", {"purpose": f"x{SUBJECT}y"}),
        ("globex", {"filter": {"actor": SUBJECT}}),
        (PLATFORM, {"filter": {"tenant": "globex", "actor": SUBJECT}}),
    ],
)
def test_exports_that_name_others_stay(whole, tenant, given):
    made, desk = whole.made, whole.desk
    made.hire("globex", "user:local|gil", "role:auditor")
    desk.search()
    made.call("checkpoints.publish")
    asker = auditor(made, tenant)
    view = ordered(made, asker, format="jsonl", **given)
    desk.erase()
    assert made.call("exports.read", asker, export=view.id).state == "ready"
    assert made.call("exports.frame", asker, export=view.id).path


# the log of the service

INVALID, DENIED = "GRD-VAL-001", "GRD-AUTHZ-001"
STORY = (
    ("records.list", {"actor": SUBJECT}),
    ("records.list", {"actor": SUBJECT, "limit": -1}),
    ("records.list", {"actor": [SUBJECT], "tenant": SUBJECT}),
    ("erasures.request", {"subject": SUBJECT, "reason": REASON}),
    ("decisions.create", {"value": SUBJECT, "seconds": 60, "scope": SUBJECT}),
    ("fields.decrypt", {"items": [{"field": SUBJECT, "ciphertext": SUBJECT}]}),
)
"""What is taken, what does not fit, and what is refused: each has the name in its body."""


def test_the_service_s_own_log_names_nobody(tmp_path):
    home = tmp_path / "home"
    at = ("--home", str(home))
    with Server(home) as server:
        for person, role in (("olga", "privacy-officer"), ("lea", "legal"), ("aude", "auditor")):
            done = guard(
                "access", "grant", f"user:local|{person}", f"role:{role}", "--as", "admin", "--tenant", "dev", *at
            )
            assert done.returncode == 0, done.stderr
        with Client(Address(server.url, server.token("admin"))) as client:
            codes = [tried(client, *one) for one in STORY]
            assert codes == ["", INVALID, INVALID, DENIED, INVALID, INVALID], "each was read with the name in it"
            for path in (f"/api/v1/audit/records/{SUBJECT}", f"/{quote(SUBJECT)}?actor={SUBJECT}"):
                tried_path(server, path)
        server.stop()
    said = [("said", server.said.encode())]
    assert searched(said, "guard serves") == ["said"]
    for value in (SUBJECT, REASON):
        assert searched(said, value) == []


def tried(client, name, body):
    """The code of the refusal; a success has none."""
    try:
        client.call(name, **body)
    except GuardError as error:
        return error.code
    return ""


def tried_path(server, path):
    asked = urllib.request.Request(server.url + path, headers={"authorization": f"Bearer {server.token('admin')}"})
    try:
        urllib.request.urlopen(asked, timeout=10).close()
    except urllib.error.HTTPError as error:
        error.close()
