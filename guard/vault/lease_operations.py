"""What the catalogue lists of leases: give a data key to a client, renew it, revoke it, seal for its holder.

Law: a fresh key is given only to who may store, since its holder can seal with it, and the key of what was sealed
before only to who may read for the purpose; both are asked again at each renewal. What was sealed under a lease stays
data of its field: it opens here after the lease ended. Records carry lease, fields and purpose, never a key.
"""

from binascii import a2b_base64
from typing import Any
from uuid import UUID

from guard.catalogue import Context, Effect, operation
from guard.errors import (
    Conflict,
    DoesNotOpen,
    InvalidEnvelope,
    InvalidRequest,
    KeyStateConflict,
    NotFound,
    SubjectForgotten,
)
from guard.vault import batches, dek_store, keyed, lease_store, leases, suites
from guard.vault.context import Value
from guard.vault.envelope import FLAG_SUBJECT_KEY, HEADER_BYTES, SuiteId, parse_header
from guard.vault.keys import KeyVersion, Secret
from guard.vault.leases import Lease
from guard.vault.operations import STORE, digest
from guard.vault.policy import Bind, FieldPolicy
from guard.vault.sealing import Sealer, refused
from guard.vault.vault import Vault
from guard.vault.versions import State, may_decrypt, may_encrypt
from guard.wire import leases as wire
from guard.wire.vault import Encrypted

US = 1_000_000
KEPT_US = 7 * 86_400 * US
"""Ended leases are listed no more but kept a week, for who looks into what happened."""
MAX_LISTED = 100_000
UNKNOWN = "Expected the id of a lease of yours that did not end long ago, got another; take a new lease."


def _used(request: wire.CreateLease | wire.RenewLease) -> tuple[str, ...]:
    """The fields for the purpose, and for storing where a fresh key is given."""
    opens = bool(request.start) if isinstance(request, wire.CreateLease) else request.opens
    purposes = {request.purpose} if opens else {STORE, request.purpose}
    return tuple(f"fields/{field}/{purpose}" for field in sorted(set(request.fields)) for purpose in sorted(purposes))


def _stored(request: wire.EncryptForLease) -> tuple[str, ...]:
    return tuple(f"fields/{field}/{STORE}" for field in batches.fields_of(request.items))


@operation(
    "leases.create",
    "POST /api/v1/leases",
    takes=wire.CreateLease,
    gives=wire.LeaseGiven,
    effect=Effect.WRITE,
    resource=_used,
    audit=("purpose", "ttl_seconds", "max_uses"),
    sealed=("subject",),
    subject="subject",
    example={"fields": ["customers.email"], "purpose": "store"},
)
def create_lease(ctx: Context, request: wire.CreateLease) -> wire.LeaseGiven:
    """Give a data key for a while, with which the client seals, or opens what was sealed with it."""
    fields = sorted(set(request.fields))
    policies = [_policy(ctx, field, request.purpose) for field in fields]
    _make_room(ctx)
    lease_id = ctx.new_id("lse")
    if request.start:
        key, starts = _again(ctx, request, policies)
    else:
        key, starts = _fresh(ctx, request, policies, UUID(lease_id.removeprefix("lse_")).bytes)
    lease = Lease(
        id=lease_id,
        tenant=ctx.tenant,
        holder=ctx.actor.subject,
        purpose=request.purpose,
        opens=bool(request.start),
        starts=starts,
        epochs=lease_store.epochs(ctx.tx, ctx.tenant, fields),
        created_us=ctx.now_us,
        expires_us=ctx.now_us + request.ttl_seconds * US,
        max_uses=request.max_uses,
    )
    lease_store.add(ctx.tx, lease)
    ctx.note(lease=lease.id, fields=" ".join(fields), opens=lease.opens)
    return _given(request, lease, policies, key)


@operation(
    "leases.renew",
    "POST /api/v1/leases/{lease}/renew",
    takes=wire.RenewLease,
    gives=wire.LeaseState,
    effect=Effect.WRITE,
    resource=_used,
    audit=("lease", "purpose", "used", "ttl_seconds"),
    example={"fields": ["customers.email"], "purpose": "store", "used": 0},
)
def renew_lease(ctx: Context, request: wire.RenewLease) -> wire.LeaseState:
    """Report the uses of a lease and keep it for another time, or give it back."""
    lease = lease_store.find(ctx.tx, ctx.tenant, request.lease)
    asked = (sorted(set(request.fields)), request.purpose, request.opens, ctx.actor.subject)
    if lease is None or asked != (lease.fields, lease.purpose, lease.opens, lease.holder):
        raise NotFound(UNKNOWN)
    ctx.note(fields=" ".join(lease.fields))
    if request.used > lease.max_uses:
        raise InvalidRequest(f"Expected at most the {lease.max_uses} uses of the lease, got more; take a new lease.")
    lease.check(lease_store.epochs(ctx.tx, ctx.tenant, lease.fields), ctx.now_us)
    used = max(request.used, lease.used)
    seconds = 0 if used == lease.max_uses else request.ttl_seconds
    if seconds:
        for field in lease.fields:
            _check_key(ctx, _policy(ctx, field, lease.purpose), lease)
    last_us = lease.created_us + leases.MAX_LIFETIME_SECONDS * US
    expires_us = min(ctx.now_us + seconds * US, last_us)
    lease_store.renew(ctx.tx, lease, expires_us, used)
    left = (expires_us - ctx.now_us) // US
    return wire.LeaseState(lease_id=lease.id, ttl_seconds=left, used=used, max_uses=lease.max_uses)


@operation(
    "leases.revoke",
    "POST /api/v1/leases/revoke",
    takes=wire.RevokeLeases,
    gives=wire.Revoked,
    effect=Effect.WRITE,
    resource="leases/all",
    audit=("lease", "field"),
    example={"field": "customers.email"},
)
def revoke_leases(ctx: Context, request: wire.RevokeLeases) -> wire.Revoked:
    """End a lease, or all of a field, at once; a client that is offline stops at the end of its time."""
    if bool(request.lease) == bool(request.field):
        raise InvalidRequest("Expected either a lease or a field whose leases all end; give one of them.")
    if request.field:
        ctx.part(Vault).policy(request.field)
        live = lease_store.live(ctx.tx, ctx.tenant, ctx.now_us, MAX_LISTED)
        ended = [one for one in live if request.field in one.starts and _holds(ctx, one)]
        ctx.note(epoch=lease_store.next_epoch(ctx.tx, ctx.tenant, request.field, ctx.now_us))
    else:
        found = lease_store.find(ctx.tx, ctx.tenant, request.lease)
        if found is None:
            raise NotFound(f"Expected the id of a lease, got {request.lease}; see guard leases list.")
        ended = [found] if _holds(ctx, found) else []
        lease_store.revoke(ctx.tx, found.id, ctx.now_us)
    until_us = max((one.expires_us for one in ended), default=None)
    ctx.note(revoked=len(ended))
    return wire.Revoked(revoked=len(ended), until_us=until_us)


@operation(
    "leases.list",
    "GET /api/v1/leases",
    takes=wire.ListLeases,
    gives=wire.LeaseList,
    effect=Effect.READ,
    resource="leases/all",
)
def list_leases(ctx: Context, request: wire.ListLeases) -> wire.LeaseList:
    """List leases whose time is not over: who holds one, for what, and how far it was used."""
    return wire.LeaseList(
        data=[
            wire.LeaseView(
                lease_id=one.id,
                holder=one.holder,
                fields=one.fields,
                purpose=one.purpose,
                opens=one.opens,
                state="live" if _holds(ctx, one) else "revoked",
                created_us=one.created_us,
                expires_us=one.expires_us,
                used=one.used,
                max_uses=one.max_uses,
            )
            for one in lease_store.live(ctx.tx, ctx.tenant, ctx.now_us, request.limit)
        ]
    )


@operation(
    "leases.encrypt",
    "POST /api/v1/leases/{lease}/encrypt",
    takes=wire.EncryptForLease,
    gives=Encrypted,
    effect=Effect.READ,
    resource=_stored,
    audit=("lease",),
    example={"items": [{"field": "customers.email", "context": {"row": "17"}, "plaintext": "YW5hQGV4YW1wbGUub3Jn"}]},
)
def encrypt_for_lease(ctx: Context, request: wire.EncryptForLease) -> Encrypted:
    """Seal values under the key of a lease, so that its holder opens them by himself."""
    lease = lease_store.find(ctx.tx, ctx.tenant, request.lease)
    if lease is None:
        raise NotFound(f"Expected the id of a lease, got {request.lease}; see guard leases list.")
    lease.check(lease_store.epochs(ctx.tx, ctx.tenant, lease.fields), ctx.now_us)
    results: batches.Results = [{}] * len(request.items)
    for field, places in batches.by_field(request.items).items():
        if field not in lease.starts:
            raise InvalidRequest(f"Expected values of {', '.join(lease.fields)}, which the lease is for, got {field}.")
        policy = ctx.part(Vault).policy(field)
        with keyed.use(ctx, policy) as keys:
            key, leased = _open_start(ctx, keys, policy, lease.starts[field], _subject_of(policy, request, places))
            if not may_encrypt(key.state, compromised=key.compromised):  # or rows would come under a key that is to go
                raise leases.ended(lease.id, "is under a key that was rotated")
            batches.seal(_sealer(ctx, key, policy, lease, leased), key.version, policy, request.items, results, places)
    ctx.note(**batches.summary(results), sealed=digest(one.get("ciphertext", "") for one in results))
    return Encrypted.model_validate({"results": results})


def _policy(ctx: Context, field: str, purpose: str) -> FieldPolicy:
    vault = ctx.part(Vault)
    policy = vault.policy(field) if purpose == STORE else vault.policy_for(field, purpose)
    if policy.suite is not SuiteId.CBL256:
        raise InvalidRequest(
            f"Expected a field of the suite cbl256, which alone takes leased keys, got {field}; seal through the API."
        )
    return policy


def _make_room(ctx: Context) -> None:
    lease_store.sweep(ctx.tx, ctx.tenant, ctx.now_us - KEPT_US)
    if lease_store.count_live(ctx.tx, ctx.tenant, ctx.actor.subject, ctx.now_us) >= leases.MAX_LIVE:
        raise Conflict(
            f"Expected at most {leases.MAX_LIVE} leases of one holder at a time; keep a lease and use it, or end some."
        )


def _fresh(
    ctx: Context, request: wire.CreateLease, policies: list[FieldPolicy], lease: bytes
) -> tuple[bytes, dict[str, bytes]]:
    """A new key, and how values of each field begin under it."""
    leased, starts = ctx.random(leases.KEY_BYTES), {}
    for policy in policies:
        if policy.keyed_by_subject != bool(request.subject):
            raise InvalidRequest(
                f"Expected {'the person whose key it is' if policy.keyed_by_subject else 'no person'} for "
                f"{policy.name} in 'subject'; correct it.",
                keyed_by="subject" if policy.keyed_by_subject else "field",
            )
        with keyed.use(ctx, policy) as keys:
            if policy.keyed_by_subject:
                key = keys.sealing(request.subject)
                keys.settle(ctx.tx)
            else:
                key = ctx.part(Vault).keyring.active(ctx.tenant, policy.key)
        if key.suite is not policy.suite:
            raise KeyStateConflict(f"Expected the key {key.name} to have the suite of its field; rotate the key.")
        starts[policy.name] = leases.start(key, lease, _cell(ctx, policy, request.subject), leased)
    return leased, starts


def _again(ctx: Context, request: wire.CreateLease, policies: list[FieldPolicy]) -> tuple[bytes, dict[str, bytes]]:
    """The key of a value that was sealed under an earlier lease."""
    if request.purpose == STORE or len(policies) != 1:
        raise InvalidRequest("Expected one field and a purpose other than store beside 'start', which is for reading.")
    try:
        raw = a2b_base64(request.start, strict_mode=True)
    except ValueError:
        raise InvalidRequest("Expected 'start' in standard base64, got another form; encode it again.") from None
    if len(raw) != leases.START_BYTES:
        raise InvalidRequest(f"Expected 'start' of {leases.START_BYTES} bytes, got {len(raw)}; cut the value there.")
    start = leases.bare(raw[:HEADER_BYTES]) + raw[HEADER_BYTES:]
    with keyed.use(ctx, policies[0]) as keys:
        _, leased = _open_start(ctx, keys, policies[0], start, request.subject)
        keys.settle(ctx.tx)
    return leased, {policies[0].name: start}


def _open_start(
    ctx: Context, keys: keyed.Use, policy: FieldPolicy, start: bytes, subject: str
) -> tuple[KeyVersion, bytes]:
    """The field's key that a leased value is under, and the leased key in it. Whatever is wrong has one text."""
    try:
        header = parse_header(start)
        if header.flags & FLAG_SUBJECT_KEY and not policy.keyed_by_subject:
            raise DoesNotOpen(suites.DOES_NOT_OPEN)
        key = keys.find(ctx.tenant, header.key_id, header.key_version)
    except (NotFound, InvalidEnvelope):
        raise DoesNotOpen(suites.DOES_NOT_OPEN) from None
    if key.name != policy.key:
        raise DoesNotOpen(suites.DOES_NOT_OPEN)
    if not may_decrypt(key.state, compromised=key.compromised):
        raise refused(key, "does not open values")
    unwrap, cell = suites.CBL256.opener(key.material.expose()), _cell(ctx, policy, subject)
    leased, _ = leases.subkey(unwrap, key.header, start[:HEADER_BYTES], cell, start[HEADER_BYTES:])
    return key, leased


def _cell(ctx: Context, policy: FieldPolicy, subject: str) -> dict[str, Value]:
    return {**batches.shared(ctx.tenant, policy), "subject": subject}


def _subject_of(policy: FieldPolicy, request: wire.EncryptForLease, places: list[int]) -> str:
    """The one person whom values of a field are about, where the key is a person's."""
    found = {str(request.items[at]["context"].get(Bind.SUBJECT.value, "")) for at in places}
    if policy.keyed_by_subject and len(found) != 1:
        raise InvalidRequest(f"Expected values of {policy.name} about one person, for whom the lease is, got several.")
    return found.pop()


def _check_key(ctx: Context, policy: FieldPolicy, lease: Lease) -> None:
    """See that the key that a lease is under is still the one to use."""
    header = parse_header(lease.starts[policy.name])
    if header.flags & FLAG_SUBJECT_KEY:
        row = dek_store.by_id(ctx.tx, ctx.tenant, header.key_id)
        if row is None or row.revoked_us is not None:
            raise SubjectForgotten("The key of this person is revoked or destroyed, so its leases are not renewed.")
        return
    key = ctx.part(Vault).keyring.find(ctx.tenant, header.key_id, header.key_version)
    if lease.opens:
        if not may_decrypt(key.state, compromised=key.compromised):
            raise refused(key, "does not open values")
    elif not may_encrypt(key.state, compromised=key.compromised):
        raise leases.ended(lease.id, "is under a key that was rotated")


def _holds(ctx: Context, lease: Lease) -> bool:
    now = lease_store.epochs(ctx.tx, ctx.tenant, lease.fields)
    return lease.revoked_us is None and now == lease.epochs and ctx.now_us < lease.expires_us


def _sealer(ctx: Context, key: KeyVersion, policy: FieldPolicy, lease: Lease, leased: bytes) -> Sealer:
    secret = Secret(leased, f"lease {lease.id}")
    version = KeyVersion(key.key_id, key.name, key.tenant, key.version, State.ACTIVE, SuiteId.CBL256, secret)
    shared, names = batches.shared(ctx.tenant, policy), batches.binding(policy)
    start = lease.starts[policy.name]
    return Sealer(version, shared, names, portable=policy.portable, pad_step=policy.pad_step, start=start)


def _given(request: wire.CreateLease, lease: Lease, policies: list[FieldPolicy], key: bytes) -> wire.LeaseGiven:
    fields: list[Any] = [
        wire.LeasedField(
            field=policy.name,
            table=policy.table,
            column=policy.column,
            bind=list(batches.binding(policy)),
            pad_step=policy.pad_step,
            start=batches.encoded(lease.starts[policy.name]),
        )
        for policy in policies
    ]
    return wire.LeaseGiven(
        lease_id=lease.id,
        tenant=lease.tenant,
        key=batches.encoded(key),
        purpose=lease.purpose,
        opens=lease.opens,
        ttl_seconds=request.ttl_seconds,
        max_uses=lease.max_uses,
        fields=fields,
    )
