"""Lines 1 to 5: keys, fields, roles, search, rotation."""

import base64
import stat
import threading
import time
from typing import Any, Self

from guard.cli.demo.customers import FIELDS, Person, people
from guard.cli.demo.stage import TENANTS, Stage, check, until
from guard.client import Address, Client
from guard.errors import GuardError, Unauthenticated

CUSTOMERS = 500  # in each of two tenants
BATCH = 100
PRIVATE = 0o600


def start(stage: Stage) -> str:
    """Line 1."""
    stage.write_settings()
    seconds = stage.start()
    key, database = stage.home / "root.key", stage.home / "guard.db"
    check(stat.S_IMODE(key.stat().st_mode) == PRIVATE, "the root key file to be readable by its owner alone")
    # A key file is never replaced, so its last change is its creation.
    check(key.stat().st_mtime_ns <= _born_ns(database), "the root key to be older than the first byte of the store")
    try:
        Client(Address(stage.url, "grd_svc_" + "0" * 48)).call("actors.whoami")
        check(False, "a made-up token to be refused")
    except Unauthenticated:
        pass
    for tenant in TENANTS:
        stage.hire(tenant)
    return f"served after {seconds:.1f} s; root key sealed in a file (0600); a made-up token is refused; tenants {' and '.join(TENANTS)}"


def encrypt(stage: Stage) -> str:
    """Line 2."""
    began, sealed = time.monotonic(), ""
    for number, tenant in enumerate(TENANTS):
        persons = people(number, CUSTOMERS)
        stage.people[tenant] = persons
        for at in range(0, CUSTOMERS, BATCH):
            rows = _seal(stage.person(tenant, "shop"), persons[at : at + BATCH])
            stage.customers[tenant].insert(rows)
            sealed = rows[0][1]
    seconds = time.monotonic() - began
    leaks = 0
    for tenant in TENANTS:
        raw = stage.customers[tenant].raw_bytes()
        leaks += sum(value.encode() in raw for person in stage.people[tenant] for value in _values(person))
    check(leaks == 0, f"no value in clear in the application's database, found {leaks}")
    count = len(TENANTS) * CUSTOMERS * len(FIELDS)
    return (
        f"{count:,} values sealed and {len(TENANTS) * CUSTOMERS:,} search tokens made in {seconds:.1f} s, each batch recorded "
        f"before its answer; 0 values in clear\none sealed value: {sealed[:60]}... ({len(sealed)} characters)"
    )


def read_back(stage: Stage) -> str:
    """Line 3."""
    person = stage.people["acme"][6]
    item = {"field": "customers.email", "context": {"row": str(person.id)}}
    item["ciphertext"] = stage.customers["acme"].sealed(person.id, "email")
    masked = _one(stage.person("acme", "support").call("fields.mask", purpose="support", items=[item]))["masked"]
    check("*" in masked and person.email not in masked, "support staff to see a mask")
    billing = stage.person("acme", "billing")
    clear = _plain(_one(billing.call("fields.decrypt", purpose="billing", items=[item])))
    check(clear == person.email, "the billing service to read the value in clear")
    wrong = _refusal(lambda: billing.call("fields.decrypt", purpose="delivery", items=[item]))
    foreign = _one(stage.person("globex", "billing").call("fields.decrypt", purpose="billing", items=[item]))
    check("problem" in foreign, "another tenant to be refused")
    return (
        f"support sees {masked}; billing reads it in clear for the purpose billing\n"
        f"billing for the purpose delivery: refused, {wrong.detail}\n"
        f"another tenant: refused, {foreign['problem']['detail']} [{foreign['problem']['code']}]"
    )


def search(stage: Stage) -> str:
    """Line 4."""
    person, table = stage.people["acme"][123], stage.customers["acme"]
    typed = f"  {person.email.upper()} "
    tokens = _tokens(stage.person("acme", "support"), "support", [typed])[0]
    rows = table.by_index(tokens)
    items = [{"field": "customers.email", "context": {"row": str(i)}, "ciphertext": c} for i, c in rows]
    answers = stage.person("acme", "billing").call("fields.decrypt", purpose="billing", items=items)["results"]
    hits = [row[0] for row, answer in zip(rows, answers, strict=True) if _plain(answer) == person.email]
    check(hits == [person.id], "the blind index to find exactly this customer")
    moved = {"field": "customers.email", "context": {"row": "7"}, "ciphertext": table.sealed(person.id, "email")}
    answer = _one(stage.person("acme", "billing").call("fields.decrypt", purpose="billing", items=[moved]))
    check(answer.get("problem", {}).get("code") == "GRD-CRYPT-001", "a moved ciphertext not to open")
    return (
        f"typed in capitals with blanks, found by token {tokens[0]}: {len(rows)} candidate row(s) of {CUSTOMERS}, 1 customer\n"
        f"its ciphertext moved to row 7: refused, {answer['problem']['detail']}"
    )


def rotate(stage: Stage) -> str:
    """Line 5."""
    admin = stage.person("acme", "keys")
    with _Reader(stage) as reader:
        versions = admin.call("keys.rotate", key="customers.email")["versions"]
        states = [version["state"] for version in versions]
        check(states == ["active", "decrypt_only"], "a new active version beside one that decrypts")
        blocked = _refusal(lambda: admin.call("keys.retire", key="customers.email", version=1))
        job = admin.call("reencryptions.create", source="customers", field="customers.email")["job"]
        admin.call("reencryptions.pause", job=job)
        paused = admin.call("reencryptions.read", job=job)
        admin.call("reencryptions.resume", job=job)
        until("the job to end", 30, lambda: admin.call("reencryptions.read", job=job)["state"] in {"done", "failed"})
        done = admin.call("reencryptions.read", job=job)
    check(done["state"] == "done" and done["failed"] == 0, f"every value re-encrypted, got state {done['state']}")
    census = {row["version"]: row["count"] for row in admin.call("censuses.run", field="customers.email")["data"]}
    check(census == {1: 0, 2: CUSTOMERS}, "the census of version 1 to be zero")
    check(reader.failures == 0 and reader.reads > 0, f"no read to fail during the rotation, {reader.failures} did")
    admin.call("keys.retire", key="customers.email", version=1)
    return (
        f"version 1 -> 2; retiring version 1 too early: refused, {blocked.detail}\n"
        f"job paused at {paused['examined']} rows and resumed; {done['examined']} examined, {done['changed']} re-encrypted, "
        f"0 failed; {reader.reads} reads meanwhile, 0 failed\ncensus: version 1 holds 0, version 2 holds {census[2]}; version 1 retired"
    )


class _Reader(threading.Thread):
    """Reads values in clear, over and over, until the block ends, however it ends."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(daemon=True)
        self._client = Client(stage.person("acme", "billing").address)
        self._table, self._people = stage.customers["acme"], stage.people["acme"]
        self._done = threading.Event()
        self.reads = self.failures = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self.join(10)
        self._client.close()

    def run(self) -> None:
        """Read one value after another."""
        for number in range(1 << 30):
            if self._done.is_set():
                return
            person = self._people[number % CUSTOMERS]
            item = {"field": "customers.email", "context": {"row": str(person.id)}}
            item["ciphertext"] = self._table.sealed(person.id, "email")
            self.reads += 1
            try:
                answer = self._client.call("fields.decrypt", purpose="billing", items=[item])["results"][0]
                self.failures += _plain(answer) != person.email
            except GuardError:
                self.failures += 1


def _seal(shop: Client, persons: list[Person]) -> list[tuple[int, str, str, str, str]]:
    items = [
        {
            "field": f"customers.{name}",
            "context": {"row": str(person.id)},
            "plaintext": base64.b64encode(value.encode()).decode(),
        }
        for person in persons
        for name, value in zip(FIELDS, _values(person), strict=True)
    ]
    sealed = [answer["ciphertext"] for answer in shop.call("fields.encrypt", items=items)["results"]]
    tokens = _tokens(shop, "store", [person.email for person in persons])
    return [(person.id, *sealed[3 * place : 3 * place + 3], tokens[place][0]) for place, person in enumerate(persons)]


def _tokens(client: Client, purpose: str, values: list[str]) -> list[list[str]]:
    items = [{"field": "customers.email", "index": "exact", "value": value} for value in values]
    results = client.call("indexes.compute", purpose=purpose, items=items)["results"]
    return [[token["token"] for token in result["tokens"]] for result in results]


def _values(person: Person) -> tuple[str, str, str]:
    return person.email, person.phone, person.identity_number


def _one(answer: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = answer["results"][0]
    return found


def _plain(answer: dict[str, Any]) -> str:
    return base64.b64decode(answer.get("plaintext", "")).decode()


def _refusal(act: Any) -> GuardError:
    try:
        act()
    except GuardError as error:
        return error
    check(False, "a refusal")
    raise AssertionError


def _born_ns(path: Any) -> int:
    """When the file was made, as near as the file system tells: its WAL is younger, its inode change is not older."""
    found: int = path.stat().st_ctime_ns
    return found
