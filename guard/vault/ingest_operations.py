"""What the catalogue lists of write-only ingestion: publish a field's public key, and take in what was sealed under it.

Law: the caller of neither operation learns a plaintext; the private key never leaves this process. HPKE base mode does
not prove the sender, so whoever hands a value in is named by the gate, and the value must fit the cell it is meant for.
"""

from typing import Any

from guard.catalogue import Context, Effect, operation
from guard.errors import InvalidRequest
from guard.vault import batches, hpke, keyed
from guard.vault.envelope import header_of
from guard.vault.operations import STORE, digest
from guard.vault.policy import FieldPolicy
from guard.vault.vault import Vault
from guard.wire import ingest as wire


def _taken_in(request: wire.Ingest) -> tuple[str, ...]:
    return tuple(f"fields/{field}/{STORE}" for field in batches.fields_of(request.items))


@operation(
    "fields.read_ingest_key",
    "GET /api/v1/fields/{field}/ingest_key",
    takes=wire.ReadIngestKey,
    gives=wire.IngestKeyView,
    effect=Effect.NONE,
    resource="fields/{field}/store",
    audit=("field",),
)
def read_ingest_key(ctx: Context, request: wire.ReadIngestKey) -> wire.IngestKeyView:
    """Show the public key under which a service seals values of a field that it cannot read back."""
    vault = ctx.part(Vault)
    policy = vault.policy(request.field)
    if policy.ingest is None:
        raise InvalidRequest(f"Field {policy.name} takes no sealed values in; declare `ingest` in its policy.")
    key = vault.keyring.active(ctx.tenant, policy.ingest_key)
    ctx.note(version=key.version)
    return wire.IngestKeyView(
        field=policy.name,
        tenant=ctx.tenant,
        table=policy.table,
        column=policy.column,
        bind=list(batches.binding(policy)),
        kem=policy.ingest.value,
        key_version=key.version,
        header=key.header.hex(),
        public_key=batches.encoded(hpke.public_key(policy.ingest, key.material.expose())),
        pad_step=policy.pad_step,
    )


@operation(
    "fields.ingest",
    "POST /api/v1/fields/ingest",
    takes=wire.Ingest,
    gives=wire.Ingested,
    effect=Effect.NONE,
    resource=_taken_in,
    example={"items": [{"field": "customers.identity_number", "context": {"row": "17"}, "ciphertext": "gd1.RwEF"}]},
)
def ingest(ctx: Context, request: wire.Ingest) -> wire.Ingested:
    """Seal values under their fields' own keys that came sealed under the fields' public keys."""
    vault = ctx.part(Vault)
    results: list[dict[str, Any]] = [{}] * len(request.items)
    for field, places in batches.by_field(request.items).items():
        policy = vault.policy(field)
        if policy.keyed_by_subject:
            keyed.reseal(ctx, policy, request.items, results, places)
        else:
            _under_the_fields_key(ctx, policy, request, results, places)
        taken = [header_of(request.items[at]["ciphertext"]) for at in places if "problem" not in results[at]]
        for opened in {header.key_version for header in taken}:  # services may still seal under this public key
            vault.life.uses.open((ctx.tenant, policy.ingest_key, opened), ctx.now_us)
    ctx.note(**batches.summary(results), sealed=digest(result.get("ciphertext", "") for result in results))
    return wire.Ingested.model_validate({"results": results})


def _under_the_fields_key(
    ctx: Context, policy: FieldPolicy, request: wire.Ingest, results: batches.Results, places: list[int]
) -> None:
    vault = ctx.part(Vault)
    sealer, version = vault.sealer(ctx.tenant, policy)
    for at in places:
        results[at] = batches.reseal(vault.keyring, ctx.tenant, policy, sealer, version, request.items[at])
    vault.life.uses.seal((ctx.tenant, policy.key, version), sum("problem" not in results[at] for at in places))
