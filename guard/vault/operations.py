"""What the catalogue lists of fields and blind indexes. All of it is computed in memory."""

import hashlib
from typing import Any

from guard.catalogue import Context, Effect, operation
from guard.errors import DoesNotOpen, GuardError
from guard.vault import batches, keyed
from guard.vault.alarm import raise_later
from guard.vault.envelope import TEXT_HEADER_CHARACTERS
from guard.vault.indexing import indexed
from guard.vault.mask import mask
from guard.vault.searching import Charged, allowed, equal_tokens, equality_index
from guard.vault.suites import DOES_NOT_OPEN
from guard.vault.vault import Vault
from guard.wire import vault as wire

SALT_AT, SALT_END = TEXT_HEADER_CHARACTERS, TEXT_HEADER_CHARACTERS + 30  # characters of it: 180 bits
STORE = "store"  # what encrypting a field is for; fields/<name>/store is the resource
_ENCRYPT = {"items": [{"field": "customers.email", "context": {"row": "17"}, "plaintext": "YW5hQGV4YW1wbGUub3Jn"}]}
_OPEN = {
    "purpose": "billing",
    "items": [{"field": "customers.email", "context": {"row": "17"}, "ciphertext": "gd1.RwEB"}],
}


def _stored(request: wire.Encrypt) -> tuple[str, ...]:
    items = request.items
    if len(items) == 1:
        return (f"fields/{items[0]['field']}/{STORE}",)
    return tuple(f"fields/{field}/{STORE}" for field in batches.fields_of(items))


def _read(request: wire.Decrypt | wire.ComputeIndexes) -> tuple[str, ...]:
    return tuple(f"fields/{field}/{request.purpose}" for field in batches.fields_of(request.items))


@operation(
    "fields.encrypt",
    "POST /api/v1/fields/encrypt",
    takes=wire.Encrypt,
    gives=wire.Encrypted,
    effect=Effect.NONE,
    resource=_stored,
    hot=True,
    example=_ENCRYPT,
)
def encrypt(ctx: Context, request: wire.Encrypt) -> dict[str, Any]:
    """Seal values, each bound to its field and row or subject."""
    vault = ctx.part(Vault)
    items = request.items
    if len(items) == 1:
        policy = vault.policy(items[0]["field"])
        if policy.keyed_by_subject:
            results: batches.Results = [{}]
            keyed.seal(ctx, policy, items, results, [0])
        else:
            sealer, version = vault.sealer(ctx.tenant, policy)
            results = [batches.seal_one(sealer, version, policy, items[0])]
            vault.life.uses.seal((ctx.tenant, policy.key, version), 1)
        ctx.note(**batches.summary(results), sealed=_named(results))
        return {"results": indexed(ctx, request.indexes, items, results)}
    results = [{}] * len(items)
    for field, places in batches.by_field(items).items():
        policy = vault.policy(field)
        if policy.keyed_by_subject:
            keyed.seal(ctx, policy, items, results, places)
            continue
        sealer, version = vault.sealer(ctx.tenant, policy)
        batches.seal(sealer, version, policy, items, results, places)
        vault.life.uses.seal((ctx.tenant, policy.key, version), len(places))
    ctx.note(**batches.summary(results), sealed=_named(results))
    return {"results": indexed(ctx, request.indexes, items, results)}


@operation(
    "fields.decrypt",
    "POST /api/v1/fields/decrypt",
    takes=wire.Decrypt,
    gives=wire.Decrypted,
    effect=Effect.NONE,
    resource=_read,
    audit=("purpose",),
    hot=True,
    example=_OPEN,
)
def decrypt(ctx: Context, request: wire.Decrypt) -> dict[str, Any]:
    """Open sealed values in clear, for a purpose that role and field policy allow."""
    return _open(ctx, request, lambda _mask, plaintext: {"plaintext": batches.encoded(plaintext)})


@operation(
    "fields.mask",
    "POST /api/v1/fields/mask",
    takes=wire.Mask,
    gives=wire.Masked,
    effect=Effect.NONE,
    resource=_read,
    audit=("purpose",),
    hot=True,
    example={**_OPEN, "purpose": "support"},
)
def show_masked(ctx: Context, request: wire.Mask) -> dict[str, Any]:
    """Show sealed values as the field's policy masks them."""
    return _open(ctx, request, _masked)


@operation(
    "indexes.compute",
    "POST /api/v1/indexes/compute",
    takes=wire.ComputeIndexes,
    gives=wire.ComputedIndexes,
    effect=Effect.NONE,
    resource=_read,
    audit=("purpose",),
    hot=True,
    example={"purpose": "support", "items": [{"field": "customers.email", "index": "exact", "value": "a@example.org"}]},
)
def compute_indexes(ctx: Context, request: wire.ComputeIndexes) -> dict[str, Any]:
    """Compute blind-index tokens, by which sealed columns are searched for equality."""
    results: batches.Results = []
    charged = Charged(storing=request.purpose == STORE)
    policies = {name: allowed(ctx, name, request.purpose) for name in batches.fields_of(request.items)}
    for item in request.items:
        try:
            charged.add(equality_index(policies[item["field"]], item["index"]))
        except GuardError:
            continue  # answered in its place below
    charged.settle(ctx)
    for item in request.items:
        try:
            found = equality_index(policies[item["field"]], item["index"])
            results.append(equal_tokens(ctx, found, item["value"]))
        except GuardError as error:
            results.append({"problem": batches.problem(error)})
    ctx.note(**batches.summary(results))
    return {"results": results}


@operation(
    "fields.list",
    "GET /api/v1/fields",
    takes=wire.ListFields,
    gives=wire.FieldList,
    effect=Effect.NONE,
    resource="fields/all",
)
def list_fields(ctx: Context, request: wire.ListFields) -> wire.FieldList:
    """List the field policies: suite, binding, mask, purposes, indexes."""
    del request
    policies = ctx.part(Vault).policies
    return wire.FieldList(
        data=[
            wire.FieldView(
                name=policy.name,
                data_class=policy.data_class,
                key=policy.key,
                suite=policy.suite.name.lower(),
                bind=list(batches.binding(policy)),
                mask=policy.mask,
                purposes=sorted(policy.purposes),
                indexes=[one.name for one in policy.indexes],
            )
            for _, policy in sorted(policies.items())
        ]
    )


def _open(ctx: Context, request: wire.Decrypt, show: Any) -> dict[str, Any]:
    vault = ctx.part(Vault)
    items, grant = request.items, _Grant(ctx)
    results: batches.Results = [{}] * len(items)
    for field, places in batches.by_field(items).items():
        policy = vault.policy_for(field, request.purpose)
        shown = _Show(show, policy.mask)
        if policy.keyed_by_subject:
            used = keyed.unseal(ctx, policy, items, results, places, shown, grant)
        else:
            used = batches.unseal(vault.keyring, ctx.tenant, policy, items, results, places, shown, grant)
        for version in used:
            vault.life.uses.open((ctx.tenant, policy.key, version), ctx.now_us)
    if vault.honey.watches(ctx.tenant):
        raise_later(ctx, batches.planted(vault.honey, ctx.tenant, vault.policies, items, results))
    # Only what opened is named: what did not may be a value in clear, whose hash could be guessed.
    opened = [
        item["ciphertext"]
        for item, answer in zip(items, results, strict=True)
        if "problem" not in answer and vault.policy(item["field"]).format is None  # those open whatever they are
    ]
    ctx.note(**batches.summary(results), opened=digest(opened))
    return {"results": results}


class _Grant:
    """Asks once in a batch for the permission to open values under a compromised version of a key."""

    __slots__ = ("_answers", "_ctx")

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._answers: dict[str, GuardError | None] = {}

    def __call__(self, key: str) -> None:
        """Raises Denied where it is not granted."""
        if key not in self._answers:
            try:
                self._ctx.call("compromised.open", {"key": key})
                self._answers[key] = None
            except GuardError as error:
                self._answers[key] = error
        if (refused := self._answers[key]) is not None:
            raise refused


class _Show:
    """Binds the way of showing to a field's mask."""

    __slots__ = ("_how", "_mask")

    def __init__(self, how: Any, mask_name: str) -> None:
        self._how = how
        self._mask = mask_name

    def __call__(self, plaintext: bytes) -> dict[str, Any]:
        answer: dict[str, Any] = self._how(self._mask, plaintext)
        return answer


def _masked(mask_name: str, plaintext: bytes) -> dict[str, Any]:
    try:
        return {"masked": mask(mask_name, plaintext.decode())}
    except UnicodeDecodeError:
        raise DoesNotOpen(DOES_NOT_OPEN) from None


def digest(texts: Any) -> str:
    """Names exactly which ciphertexts a record is about; a ciphertext is no personal value without its key."""
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def _named(results: batches.Results) -> str:
    """As `digest`; a single value is named by the random salt that begins its body."""
    if len(results) == 1:
        return str(results[0].get("ciphertext", ""))[SALT_AT:SALT_END]
    return digest([result.get("ciphertext", "") for result in results])
