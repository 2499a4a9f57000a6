"""Clients that write down what they were told, on disk and before they go on, and the comparison with the store.

TRY is written and synced before a request leaves, ACK after its answer came: so whatever dies in between, the ledger
never knows less than the client. An answer names its request, and each request that was answered has its record.
"""

import base64
import json
import os
import tempfile
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Iterable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from guard.app import Guard, build
from guard.audit.verifier.command import verify
from guard.catalogue import PLATFORM, Actor
from guard.client.operations import OPERATIONS
from guard.client.session import PARAMETER
from guard.errors import GuardError
from guard.settings import load
from tests.faults.books import Books, examine, sizes

FIELD = "customers.email"
ROTATED = "customers.phone"
SLOW_SECONDS = 2.0  # an answer, or a named refusal, comes at least this soon
DEVELOPER = Actor("user:local|developer", "dev", "pat", "ledger")
WORKER = Actor("system:worker", PLATFORM, "system")
ENDED = frozenset({"event", "outcome"})  # phases that say how a request ended; one of them for each
OPENED = 40  # acknowledged ciphertexts that are opened in each check


@dataclass
class Ledger:
    """One file of one client. Each line is a JSON list, written at once and synced."""

    path: Path
    lines: list[list[Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, *line: Any) -> None:
        """Append a line; durable when this returns."""
        os.write(self._descriptor, json.dumps(line).encode() + b"\n")
        os.fsync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)


def read(folder: Path) -> list[list[Any]]:
    """The lines of every ledger in *folder*."""
    return [json.loads(line) for path in sorted(folder.glob("*.ledger")) for line in path.read_bytes().splitlines()]


class Client:
    """One customer of a server: it asks, and writes down. *name* tells its facts from those of others."""

    def __init__(self, folder: Path, name: str, url: str, token: str) -> None:
        self.ledger = Ledger(folder / f"{name}.ledger")
        self.name = name
        self.statuses: Counter[int] = Counter()
        self.times: list[float] = []  # seconds that each answer took
        self.number = 0
        self._sealed: list[tuple[str, str, str]] = []
        self._http = httpx2.Client(
            base_url=url, headers={"authorization": f"Bearer {token}"}, trust_env=False, timeout=SLOW_SECONDS * 5
        )

    def ask(self, operation: str, **members: Any) -> httpx2.Response:
        """One request, once. The TRY is written before, the ACK by the caller.

        Raises:
            httpx2.TransportError: no answer came.
        """
        method, template = OPERATIONS[operation]
        names = PARAMETER.findall(template)
        path = template.format_map({name: members.pop(name) for name in names})
        self.ledger.write("TRY", operation, members.get("subject", ""))
        began = time.monotonic()
        answer = self._http.request(method, path, **({"params": members} if method == "GET" else {"json": members}))
        self.times.append(time.monotonic() - began)
        self.statuses[answer.status_code] += 1
        return answer

    def acknowledge(self, operation: str, answer: httpx2.Response, *facts: Any) -> None:
        """Write down an answer. 5xx is none: nothing was promised."""
        if answer.status_code < 500:
            self.ledger.write("ACK", operation, answer.status_code, answer.headers["request-id"], *facts)

    def step(self) -> None:
        """The next of a fixed sequence of requests."""
        self.number += 1
        (self.seal, self.check, self.mint, self.open, self.miss, self.seal, self.rotate)[self.number % 7]()

    def seal(self) -> None:
        row, value = f"{self.name}-{self.number}", f"{self.name}.{self.number}@example.org"
        item = {"field": FIELD, "context": {"row": row}, "plaintext": base64.b64encode(value.encode()).decode()}
        answer = self.ask("fields.encrypt", items=[item])
        sealed = answer.json()["results"][0]["ciphertext"] if answer.is_success else ""
        self.acknowledge("fields.encrypt", answer, row, value, sealed)
        if sealed:
            self._sealed.append((row, value, sealed))

    def open(self) -> None:
        """Open a value that was sealed before."""
        if not self._sealed:
            return self.check()
        row, value, sealed = self._sealed[self.number % len(self._sealed)]
        item = {"field": FIELD, "context": {"row": row}, "ciphertext": sealed}
        answer = self.ask("fields.decrypt", purpose="billing", items=[item])
        if answer.is_success:
            plaintext = base64.b64decode(answer.json()["results"][0]["plaintext"]).decode()
            assert plaintext == value, "a value opened to another"
        return self.acknowledge("fields.decrypt", answer)

    def check(self) -> None:
        request = {"subject": "svc:s1", "action": "keys.rotate", "resource": f"keys/{FIELD}"}
        self.acknowledge("checks.evaluate", self.ask("checks.evaluate", **request))

    def mint(self) -> None:
        answer = self.ask("tokens.create", subject=f"svc:{self.name}-{self.number}")
        self.acknowledge("tokens.create", answer, answer.json().get("handle", ""))

    def rotate(self) -> None:
        answer = self.ask("keys.rotate", key=ROTATED)
        newest = max((row["version"] for row in answer.json().get("versions", ())), default=0)
        self.acknowledge("keys.rotate", answer, newest)

    def miss(self) -> None:
        """A refusal is a record too."""
        self.acknowledge("keys.read", self.ask("keys.read", key="none"))

    def close(self) -> None:
        self._http.close()
        self.ledger.close()


class Witness(Client):
    """A customer who keeps checkpoints."""

    def step(self) -> None:
        self.number += 1
        answer = self.ask("checkpoints.latest")
        self.acknowledge("checkpoints.latest", answer, answer.json().get("note", ""))
        time.sleep(0.05)


class Crowd:
    """Clients in threads of their own, from `start` until the server is gone or `end`."""

    def __init__(self, clients: Iterable[Client]) -> None:
        self.clients = list(clients)
        self.errors: list[BaseException] = []
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(client,), daemon=True) for client in self.clients]
        for thread in self._threads:
            thread.start()

    def _work(self, client: Client) -> None:
        while not self._ending.is_set():
            try:
                client.step()
            except httpx2.TransportError:
                return
            except (AssertionError, KeyError, ValueError) as error:
                self.errors.append(error)
                return

    @property
    def answers(self) -> Counter[int]:
        return sum((client.statuses for client in self.clients), Counter())

    @property
    def times(self) -> list[float]:
        return [seconds for client in self.clients for seconds in client.times]

    @property
    def slowest(self) -> float:
        return max(self.times, default=0.0)

    def until(self, answers: int, seconds: float = 30) -> None:
        """Let them work until so many answers came."""
        end = time.monotonic() + seconds
        while sum(self.answers.values()) < answers and time.monotonic() < end:
            time.sleep(0.005)

    def end(self) -> None:
        """Let each finish what it is doing."""
        self._ending.set()
        for thread in self._threads:
            thread.join(30)
        for client in self.clients:
            client.close()


def compare(home: Path, folder: Path, *, export: bool = False) -> Books:
    """Open the home as a restart does and hold it against every ledger in *folder*."""
    lines = read(folder)
    acknowledged = [line for line in lines if line[0] == "ACK" and line[3]]
    try:
        guard = build(load(home, environment={}))
    except GuardError as error:
        books = Books(unopened=True)
        books.verdict.lost += [line[3] for line in acknowledged]
        books.verdict.faults.append(f"the home does not open: {error.code} {error.detail}")
        return books
    with closing(guard):
        notes = {line[4] for line in lines if line[:2] == ["ACK", "checkpoints.latest"] and line[4]}
        books = examine(guard.store, guard.log, sizes(notes))
        books.promised(notes, guard.log.verifier)
        for line in lines:
            if line[:2] == ["ACK", "bulk"]:
                books.acknowledged(line[4])
        _records(books, acknowledged)
        _tokens(books, guard, acknowledged)
        _keys(books, guard, acknowledged)
        _values(books, guard, acknowledged)
        if export:
            verify_export(books, guard)
    return books


def _records(books: Books, acknowledged: list) -> None:
    """Each answered request has one record that says how it ended."""
    found = Counter(body.get("request", {}).get("id", "") for body in books.records if body["phase"] in ENDED)
    books.verdict.lost += [f"{line[1]} {line[3]}" for line in acknowledged if not found[line[3]]]
    ours = {line[3] for line in acknowledged}
    books.verdict.doubled += sum(found[one] - 1 for one in ours if found[one] > 1)


def done(books: Books, action: str, tenant: str) -> list[dict]:
    """What the records say was done: the data of each success of an action."""
    return [
        body["data"]
        for body in books.records
        if (body["action"], body["tenant"], body.get("result", {}).get("status")) == (action, tenant, "ok")
    ]


def _tokens(books: Books, guard: Guard, acknowledged: list) -> None:
    with guard.store.read() as tx:
        rows = tx.exec_driver_sql("SELECT handle FROM tokens WHERE subject LIKE 'svc:%' AND tenant = 'dev'")
        stored = {handle for (handle,) in rows}
    recorded = {data["handle"] for data in done(books, "tokens.create", "dev")}
    books.verdict.expect(stored == recorded, f"tokens without their record or the reverse: {stored ^ recorded}")
    told = {line[4] for line in acknowledged if line[1] == "tokens.create" and line[2] == 200}
    books.verdict.lost += sorted(told - stored)


def _keys(books: Books, guard: Guard, acknowledged: list) -> None:
    with suppress(GuardError):
        view = guard.gate.call_named("keys.read", {"key": ROTATED}, DEVELOPER, "ledger")
        stored = {row.version for row in view.versions} - {1}
        recorded = [data["version"] for data in done(books, "keys.rotate", "dev")]
        books.verdict.doubled += len(recorded) - len(set(recorded))
        books.verdict.expect(stored == set(recorded), f"key versions without their record: {stored ^ set(recorded)}")
        told = {line[4] for line in acknowledged if line[1] == "keys.rotate" and line[2] == 200}
        books.verdict.lost += [f"version {version} of {ROTATED}" for version in sorted(told - stored)]


def _values(books: Books, guard: Guard, acknowledged: list) -> None:
    """What was sealed opens to what was given; the newest, which a kill could have hurt, first."""
    sealed = [line[4:7] for line in acknowledged if line[1] == "fields.encrypt" and line[2] == 200]
    for row, value, ciphertext in sealed[-OPENED:]:
        item = {"field": FIELD, "context": {"row": row}, "ciphertext": ciphertext}
        try:
            answer = guard.gate.call_named("fields.decrypt", {"purpose": "billing", "items": [item]}, DEVELOPER, "l")
            opened = base64.b64decode(answer["results"][0]["plaintext"]).decode()
        except (GuardError, KeyError) as error:
            opened = repr(error)
        if opened != value:
            books.verdict.lost.append(f"the value of row {row}: {opened}")


def verify_export(books: Books, guard: Guard) -> None:
    """An export of the whole log holds up under the offline verifier, with every checkpoint that was kept."""
    with suppress(GuardError):
        guard.gate.call_named("checkpoints.publish", {}, WORKER, "ledger")
    auditor = Actor("user:local|ledger", PLATFORM, "pat")  # whoever worked here may not have come so far
    hire = {"tenant": PLATFORM, "subject": auditor.subject, "roles": ["role:auditor"]}
    guard.gate.call_named("principals.bootstrap", hire, WORKER, "ledger")
    view = guard.gate.call_named("exports.create", {"prove": [0]}, auditor, "ledger")
    loop = guard.worker._scheduler.get_job("exports.step")
    for _ in range(view.parts + 1):  # a large log is exported by a loop, part by part
        guard.worker.beat(*loop.args)
    with tempfile.TemporaryDirectory(prefix="guard-faults-") as place:
        report = verify(exported(guard, view.id, Path(place)), vkeys=[guard.log.verifier.encode()])
    books.verdict.faults += [f"guard verify: {fault}" for fault in report.faults]
    with guard.store.read() as tx:
        kept = tx.exec_driver_sql("SELECT count(*) FROM audit_checkpoints WHERE size < ?", (view.size,)).scalar()
    counts = report.counts
    books.verdict.expect(counts["records"] == view.size, f"{counts['records']} records verified of {view.size}")
    books.verdict.expect(counts["checkpoints"] == kept, f"{counts['checkpoints']} checkpoints verified of {kept}")


def exported(guard: Guard, export: str, place: Path) -> Path:
    """The archive of an export, or *place* with the files of its parts where it was too large for one."""
    archive = guard.settings.home / "exports" / f"{export}.zip"
    if archive.exists():
        return archive
    folder = archive.with_suffix("")
    for part in (*sorted((folder / "parts").glob("*.zip")), folder / "frame.zip"):
        with zipfile.ZipFile(part) as opened:
            opened.extractall(place)
    return place
