"""A hunt for leaks: plaintexts and keys are planted through a guard of its own, then every byte it wrote is searched.

`python -m tests.vault.leaks --count 10000` plants so many values in fields of every suite. The child process does what
people do, with mistakes: it seals, opens, searches, moves, imports and exports keys, forgets a person, changes custody,
and is asked with values in the wrong places. Searched are the home (database, write-ahead log, key store, files of the
log), its copy in full flight, backups, an application's own database, audit exports, all that went to the outputs, and
every answer but those that are meant to hold a value or a key.
"""

import argparse
import base64
import json
import os
import secrets
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

HEAD = 12
PART = 16
ROOT = Path(__file__).resolve().parents[2]
BATCH = 100
PHRASE = "a passphrase of the hunt for leaks"
FIELDS = """
version: 1
table: hunt
rows: 1000000
columns:
  cbl256: {class: contact, suite: cbl256, bind: [row], mask: last4, purposes: [billing, support], ingest: x25519,
           entropy: 60, index: [{name: exact, kind: exact, normalise: nfkc, bits: 18}]}
  padded: {class: contact, suite: cbl256, bind: [row], mask: partial, purposes: [billing], pad: 64}
  xaes: {class: contact, suite: xaes, bind: [row], mask: none, purposes: [billing], ingest: mlkem768_x25519}
  siv: {class: contact, suite: siv, deterministic: true, entropy: 60, bind: [], mask: none, purposes: [billing]}
  person: {class: contact, suite: cbl256, bind: [subject], keyed_by: subject, mask: none, purposes: [billing]}
  card: {class: payment, suite: ff1, deterministic: true, entropy: 53, bind: [], mask: last4, purposes: [billing],
         format: {alphabet: "0123456789", min_length: 16}}
"""
COLUMNS = ("cbl256", "padded", "xaes", "siv", "person")


# the search


def forms(raw: bytes) -> Iterator[bytes]:
    """How bytes may stand in a file: as they are, in hex, and in base64 of both alphabets at each alignment."""
    yield raw
    yield raw.hex().encode()
    yield raw.hex().upper().encode()
    for shift in range(3):
        encoded = base64.b64encode(bytes(shift) + raw)
        whole = encoded[-(-shift * 4 // 3) : (shift + len(raw)) * 4 // 3]
        yield whole
        yield whole.translate(bytes.maketrans(b"+/", b"-_"))


def needles(plaintexts: Iterable[bytes], keys: Iterable[bytes]) -> dict[bytes, list[bytes]]:
    """What to search for, by its first bytes; of a key both ends, since half a key is a leak as well."""
    found: dict[bytes, list[bytes]] = {}
    parts = [*plaintexts, *(part for key in keys for part in (key[:PART], key[-PART:]))]
    for part in parts:
        for form in forms(part):
            if len(form) >= HEAD:
                found.setdefault(form[:HEAD], []).append(form)
    return found


def hits(content: bytes, wanted: dict[bytes, list[bytes]]) -> list[bytes]:
    """The needles that stand in *content*."""
    return [
        form
        for at in range(len(content) - HEAD + 1)
        if (known := wanted.get(content[at : at + HEAD])) is not None
        for form in known
        if content.startswith(form, at)
    ]


def search(folder: Path, wanted: dict[bytes, list[bytes]]) -> tuple[int, int, dict[str, list[bytes]]]:
    """Files and bytes that were read, and what was found in which. The key file holds its own key, and nothing else."""
    files, size, found = 0, 0, {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink() and path.name != "root.key":
            content = path.read_bytes()
            files, size = files + 1, size + len(content)
            if leaked := hits(content, wanted):
                found[str(path.relative_to(folder))] = leaked
    return files, size, found


def hunt(folder: Path, count: int) -> dict:
    """Plant, search, and say what was read and found. What was planted is told through a pipe and is in no file."""
    (folder / "seen").mkdir()
    with (folder / "seen" / "output.txt").open("wb") as output:
        child = subprocess.run(
            [sys.executable, "-m", "tests.vault.leaks", "--child", str(folder), "--count", str(count)],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=output,
            timeout=1800,
            check=True,
        )
    planted = json.loads(child.stdout)
    plaintexts = [text.encode() for text in planted["plaintexts"]]
    keys = [bytes.fromhex(key) for key in planted["keys"]]
    files, size, found = search(folder, needles(plaintexts, keys))
    return {"plaintexts": len(plaintexts), "keys": len(keys), "files": files, "bytes": size, "found": found}


# the child


class Planter:
    """Draws values and remembers them, and the keys."""

    def __init__(self) -> None:
        self.plaintexts: list[str] = []
        self.keys: list[bytes] = []
        self._draw = os.urandom
        os.urandom = self.drawn  # every key of guard is drawn here, so none is forgotten in the search

    def drawn(self, size: int) -> bytes:
        """Random bytes; those that have the size of a key are remembered."""
        raw = self._draw(size)
        if size in {32, 64, 96}:
            self.keys.append(raw)
        return raw

    def value(self) -> str:
        """A fresh value, unlike any other from its first byte on."""
        self.plaintexts.append(f"{secrets.token_hex(12)} Zürich {len(self.plaintexts)}")
        return self.plaintexts[-1]

    def card(self) -> str:
        """A number of sixteen digits."""
        self.plaintexts.append("".join(secrets.choice("0123456789") for _ in range(16)))
        return self.plaintexts[-1]


class Answers:
    """Keeps what came back, as a person, a proxy or an operator would see it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def keep(self, *parts: object) -> None:
        """Append to the file, also as `repr` shows it."""
        with self.path.open("a") as file:
            for part in parts:
                file.write(f"{part}\n{part!r}\n")


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def cell(column: str, number: int) -> dict:
    context = {"siv": {}, "card": {}, "person": {"subject": f"u-{number % 50}"}}.get(column, {"row": str(number)})
    return {"field": f"hunt.{column}", "context": context}


def plant(folder: Path, count: int) -> dict:
    """Everything that people do; what was planted."""
    planter = Planter()
    from tests.vault.movers import Movers
    from tests.vault.shop import policies_with, world

    answers = Answers(folder / "seen" / "answers.txt")
    home = folder / "place" / "home"
    with world(home, policies=policies_with(folder / "place", "hunt.yaml", FIELDS)) as made:
        movers = Movers(made)
        sealed = seal_all(movers, planter, answers, count)
        application(folder, sealed)
        use(movers, planter, answers, sealed)
        mistakes(folder, movers, planter, answers, sealed)
        move_keys(movers, planter, answers)
        change_custody(made, planter, answers)
        leave_the_house(folder, made, answers)
        shutil.copytree(home, folder / "in-flight")  # with the write-ahead logs as they are
        for name in ("guard.db", "keys.db"):
            with closing(sqlite3.connect(home / name)) as source, closing(sqlite3.connect(folder / name)) as backup:
                source.backup(backup)
    planter.keys.append(bytes.fromhex((home / "root.key").read_text().strip()))
    return {"plaintexts": planter.plaintexts, "keys": [key.hex() for key in planter.keys]}


def seal_all(movers, planter: Planter, answers: Answers, count: int) -> list[tuple[dict, str]]:
    """*count* values over all columns; each cell with its sealed value."""
    done = []
    for start in range(0, count, BATCH):
        items = []
        for number in range(start, min(start + BATCH, count)):
            column = (*COLUMNS, "card")[number % 6]
            value = planter.card() if column == "card" else planter.value()
            items.append(cell(column, number) | {"plaintext": b64(value)})
        results = movers.call("storing", "fields.encrypt", items=items)["results"]
        answers.keep(*results)
        for item, one in zip(items, results, strict=True):
            assert "ciphertext" in one, one
            place = {"field": item["field"], "context": item["context"]}
            if item["field"].endswith("card"):
                place["key_version"] = one["key_version"]
            done.append((place, one["ciphertext"]))
    return done


def application(folder: Path, sealed) -> None:
    with closing(sqlite3.connect(folder / "application.db")) as database, database:
        database.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, value TEXT)")
        database.executemany("INSERT INTO t (value) VALUES (?)", [(text,) for _, text in sealed])


def use(movers, planter: Planter, answers: Answers, sealed) -> None:
    """Open and search; what opened is given to nobody here, all else is kept."""
    for start in range(0, len(sealed), BATCH):
        items = [place | {"ciphertext": text} for place, text in sealed[start : start + BATCH]]
        results = movers.call("billing", "fields.decrypt", purpose="billing", items=items)["results"]
        assert all("plaintext" in one for one in results)
    wanted = [{"field": "hunt.cbl256", "index": "exact", "value": value} for value in planter.plaintexts[::6][:250]]
    found = movers.call("support", "indexes.compute", purpose="support", items=wanted)
    answers.keep(*found["results"])
    movers.rotate("hunt.cbl256")
    officer = movers.world.hire("acme", "user:local|olga", "role:privacy-officer")
    answers.keep(movers.world.call("subjects.forget", officer, subject="u-4", reason="asked for by letter"))
    from guard.client.sealing import FieldSealer

    for column in ("cbl256", "xaes"):
        form = movers.world.hire("acme", "svc:form", "role:writing-service")
        key = movers.world.call("fields.read_ingest_key", form, field=f"hunt.{column}").model_dump()
        text = FieldSealer(key).seal(planter.value(), row="1")
        item = {"field": f"hunt.{column}", "context": {"row": "1"}, "ciphertext": text}
        answers.keep(text, movers.world.call("fields.ingest", form, items=[item]))


def mistakes(folder: Path, movers, planter: Planter, answers: Answers, sealed) -> None:
    """Values where they do not belong, through the API, and an error that nobody foresaw."""
    from guard.errors import GuardError
    from tests.api.asking import ask

    front, token = movers.world.guard.front, movers.world.token("acme", "svc:clumsy", "role:billing-service")
    planter.keys.append(token.encode())
    field, context = "hunt.cbl256", {"row": "1"}
    for _ in range(20):
        bodies = [
            {"purpose": "billing", "items": [{"field": field, "context": context, "ciphertext": planter.value()}]},
            {"purpose": planter.value(), "items": [{"field": field, "context": context, "ciphertext": "gd1.RwEB"}]},
            {"purpose": "billing", "items": [{"field": planter.value(), "context": context, "ciphertext": "x"}]},
            {"purpose": "billing", "items": [{"field": field, "context": {planter.value(): "1"}, "ciphertext": "x"}]},
            {"purpose": "billing", "items": planter.value()},
            {planter.value(): planter.value()},
            planter.value().encode(),
            json.dumps({"purpose": "billing", "items": [planter.value()]}).encode()[:-1],
        ]
        for body in bodies:
            for name in ("decrypt", "mask", "encrypt", "ingest"):
                answer = ask(front, "POST", f"/api/v1/fields/{name}", body, token=token)
                assert answer.status >= 200
                answers.keep(answer.status, answer.headers, answer.body.decode())
        for path in ("/metrics", "/readyz", "/api/v1/fields", f"/api/v1/keys/{planter.value().replace(' ', '%20')}"):
            answer = ask(front, "GET", path.encode("ascii", "ignore").decode(), token=token)
            answers.keep(answer.status, answer.headers, answer.body.decode())
    gate = movers.world.gate
    operation = gate.operations["fields.encrypt"]
    for odd in ({"plaintext": [planter.value()]}, {"plaintext": {"v": planter.value()}}):
        request = operation.takes.model_construct(items=[{"field": field, "context": context} | odd])
        try:
            gate.call_sync(operation, request, movers.people["storing"], "req-odd")
        except GuardError as error:
            answers.keep(error.detail, traceback.format_exc())
        else:
            raise AssertionError("an odd request was answered")
    for place, text in sealed[:60]:
        try:
            wrong = place | {"ciphertext": text[:-2], "context": {"row": "other"}}
            answers.keep(movers.call("billing", "fields.decrypt", purpose="billing", items=[wrong]))
        except GuardError:
            answers.keep(traceback.format_exc())


def move_keys(movers, planter: Planter, answers: Answers) -> None:
    """Keys come in and go out; only what the approved export gives out is not kept."""
    from tests.vault.movers import enc

    material = {"AesGcmKey": b"\x1a\x20", "AesSivKey": b"\x12\x40", "XAesGcmKey": b"\x12\x02\x08\x0c\x1a\x20"}
    url = "type.googleapis.com/google.crypto.tink."
    for name, head in material.items():
        key = secrets.token_bytes(head[-1])
        planter.keys.append(key)
        value = base64.b64encode(head + key).decode()
        data = {"typeUrl": url + name, "value": value, "keyMaterialType": "SYMMETRIC"}
        entry = {"keyData": data, "status": "ENABLED", "keyId": 7, "outputPrefixType": "TINK"}
        text = json.dumps({"primaryKeyId": 7, "key": [entry]})
        lower = name.lower()
        answers.keep(movers.bring(lower, text))
        values = [planter.value() for _ in range(20)]
        bodies = movers.sealed(lower, *(one.encode() for one in values), associated=b"row")
        items = [{"ciphertext": enc(body), "associated_data": enc(b"row")} for body in bodies]
        assert movers.opened(lower, *items) == [enc(one.encode()) for one in values]
        moved = [one | cell("xaes", number) for number, one in enumerate(items)]
        answers.keep(movers.call("mover", "imported_keys.convert", key=lower, items=moved))
        answers.keep(movers.call("keys", "imported_keys.rotate", key=lower), movers.versions(lower))
        assert value in movers.take_out(lower)
        waiting = movers.call("keys", "keys.export", key=lower)
        movers.call("keys", "keys.import", key=f"waits.{lower}", format="tink", material=text)
        answers.keep(waiting, movers.call("keys", "key_requests.list"))
        refused(movers, answers, key=f"bad.{lower}", format="tink", material=text[:-1])
        refused(movers, answers, key=f"bad.{lower}", format="openbao", material=text)
    for field in ("hunt.xaes", "hunt.siv"):
        assert movers.take_out(field)


def refused(movers, answers: Answers, **request: str) -> None:
    """An import that is refused, and its traceback."""
    from guard.errors import GuardError

    try:
        movers.call("keys", "keys.import", **request)
    except GuardError:
        answers.keep(traceback.format_exc())
    else:
        raise AssertionError("a damaged keyset was taken")


def change_custody(made, planter: Planter, answers: Answers) -> None:
    """Slots of three kinds; the shares that one answer hands out are not kept."""
    from guard.catalogue import PLATFORM

    eve = made.hire(PLATFORM, "user:local|eve", "role:platform-admin")
    bob = made.hire(PLATFORM, "user:local|bob", "role:platform-admin")
    planter.plaintexts.append(PHRASE)
    for plugin, options, given in (
        ("passphrase", {}, {"passphrase": PHRASE}),
        ("shares", {"threshold": "2", "count": "3"}, {}),
        ("slip39", {"threshold": "2", "count": "3"}, {}),
    ):
        for approve in (True, False):
            asked = made.call("custody.add", eve, plugin=plugin, options=options, secrets=given)
            planter.plaintexts += asked.shares
            if approve:
                made.call("custody.approve", bob, slot=asked.slot)
    answers.keep(made.call("custody.status", eve))


def leave_the_house(folder: Path, made, answers: Answers) -> None:
    """The log as an auditor takes it away, and as he reads it."""
    from guard.catalogue import PLATFORM

    auditor = made.hire(PLATFORM, "user:local|auditor", "role:auditor")
    made.call("checkpoints.publish")
    view = made.call("exports.create", auditor)
    taken = made.call("exports.download", auditor, export=view.id)
    shutil.unpack_archive(taken.path, folder / "export", "zip")
    for tenant in ("acme", PLATFORM):
        answers.keep(*made.call("records.list", auditor, tenant=tenant, limit=500).data)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--child", type=Path, default=None)
    args = parser.parse_args()
    if args.child:
        result = os.dup(1)
        os.dup2(2, 1)  # what anything prints is searched too
        planted = json.dumps(plant(args.child, args.count))
        with os.fdopen(result, "w") as pipe:
            pipe.write(planted)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        told = hunt(Path(folder), args.count)
    where = ", ".join(told["found"]) or "nowhere"
    print(
        f"leaks | {told['plaintexts']} plaintexts and {told['keys']} keys | {told['files']} files, "
        f"{told['bytes']} bytes searched | found {where}"
    )
    return 1 if told["found"] else 0


if __name__ == "__main__":
    sys.exit(main())
