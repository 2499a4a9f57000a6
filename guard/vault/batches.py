"""Batches of fields: each item answered in its place, with its value or its problem. No I/O.

Law: one bad item never spoils its neighbours; values of one field and key share the work that is the same for all.
"""

from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from guard.errors import DoesNotOpen, GuardError, InvalidContext, InvalidEnvelope, InvalidRequest, NotFound
from guard.vault.context import Value, from_json
from guard.vault.envelope import FLAG_SUBJECT_KEY, HEADER_BYTES, Header, from_text, header_of
from guard.vault.formats import FormatOpener, FormatSealer
from guard.vault.honey import Honey
from guard.vault.keys import Keyring, KeyVersion
from guard.vault.policy import FieldPolicy
from guard.vault.sealing import Opener, Sealer, Varying
from guard.vault.suites import DOES_NOT_OPEN

Item = Mapping[str, Any]
Results = list[dict[str, Any]]


class Finder(Protocol):
    """Where the key of a header is looked up: the keyring, or the keys of persons beside it."""

    def find(self, tenant: str, key_id: bytes, version: int) -> KeyVersion:
        """The version that a header names; raises NotFound."""
        ...


NOT_BASE64 = "Expected plaintext in standard padded base64, got another form; encode it again."


def by_field(items: Sequence[Item]) -> dict[str, list[int]]:
    """Positions of the items of each field, in order."""
    groups: dict[str, list[int]] = {}
    if len({item["field"] for item in items}) == 1:
        return {items[0]["field"]: list(range(len(items)))}
    for position, item in enumerate(items):
        groups.setdefault(item["field"], []).append(position)
    return groups


def fields_of(items: Iterable[Item]) -> list[str]:
    """The distinct fields, sorted."""
    return sorted({item["field"] for item in items})


def seal(
    sealer: Sealer | FormatSealer,
    version: int,
    policy: FieldPolicy,
    items: Sequence[Item],
    results: Results,
    at: Sequence[int],
) -> None:
    """Seal the items at the positions *at*, all of one field, into *results*."""
    ready: list[tuple[Varying, bytes]] = []
    places: list[int] = []
    names = binding(policy)
    only = names[0] if len(names) == 1 else ""
    for position in at:
        item = items[position]
        given = item["context"]
        try:
            # The usual item is bound to one text; asking for it here instead of calling `varying` and `decoded` for
            # each saves a sixth of a batch's time.
            value = given.get(only) if len(given) == 1 else None
            bound = (value,) if type(value) is str else () if not given and not names else varying(names, given)
            ready.append((bound, a2b_base64(item["plaintext"], strict_mode=True)))
            places.append(position)
        except GuardError as error:
            results[position] = {"problem": problem(error)}
        except ValueError:  # binascii.Error, and text that is not ASCII
            results[position] = {"problem": problem(InvalidRequest(NOT_BASE64))}
    for position, answer in zip(places, sealer.seal_many(ready), strict=True):
        if isinstance(answer, str):
            results[position] = {"ciphertext": answer, "key_version": version}
        else:
            results[position] = {"problem": problem(answer)}


def seal_one(sealer: Sealer | FormatSealer, version: int, policy: FieldPolicy, item: Item) -> dict[str, Any]:
    """The answer for a batch of one, without what only a batch needs."""
    try:
        bound = varying(binding(policy), item["context"])
        text = sealer.seal(bound, a2b_base64(item["plaintext"], strict_mode=True))
    except GuardError as error:
        return {"problem": problem(error)}
    except ValueError:  # see seal
        return {"problem": problem(InvalidRequest(NOT_BASE64))}
    return {"ciphertext": text, "key_version": version}


def unseal(
    keyring: Finder,
    tenant: str,
    policy: FieldPolicy,
    items: Sequence[Item],
    results: Results,
    at: Sequence[int],
    show: Callable[[bytes], dict[str, Any]],
    grant: Callable[[str], None],
) -> set[int]:
    """Open the items at the positions *at*, all of one field; *show* makes the answer of a value.

    *grant* is asked once before the first value of a compromised version of the key that it names, and raises where it
    must not be opened. The versions of the named key that opened something are given back.
    """
    if policy.format is not None and isinstance(keyring, Keyring):  # values of a person have a header
        return _unseal_formatted(keyring, tenant, policy, items, results, at, show, grant)
    names = binding(policy)
    used: set[int] = set()
    openers: dict[tuple[bytes, int], Opener] = {}
    for position in at:
        item = items[position]
        try:
            header = header_in(item["ciphertext"])
            place = (header.key_id, header.key_version)
            opener = openers.get(place)
            if opener is None:
                opener = openers[place] = _opener(keyring, tenant, policy, header, grant)
            plaintext = opener.open(varying(names, item["context"]), item["ciphertext"])
            results[position] = show(plaintext)
            if not header.flags & FLAG_SUBJECT_KEY:  # a person's key has no version that could be retired
                used.add(header.key_version)
        except GuardError as error:
            results[position] = {"problem": problem(error)}
    return used


def _unseal_formatted(
    keyring: Keyring,
    tenant: str,
    policy: FieldPolicy,
    items: Sequence[Item],
    results: Results,
    at: Sequence[int],
    show: Callable[[bytes], dict[str, Any]],
    grant: Callable[[str], None],
) -> set[int]:
    """As `unseal`, for values without a header: the item says under which key version it was sealed."""
    form, names = policy.format, binding(policy)
    used: set[int] = set()
    openers: dict[int, FormatOpener] = {}
    for position in at:
        item = items[position]
        try:
            version = item.get("key_version")
            if form is None or version is None:
                raise InvalidRequest("Expected key_version, as encrypting gave it, beside a value that has no header.")
            opener = openers.get(version)
            if opener is None:
                key = keyring.find_named(tenant, policy.key, version)
                if key.compromised:
                    grant(key.name)
                opener = openers[version] = FormatOpener(
                    form, key, shared(tenant, policy), names, compromised_granted=key.compromised
                )
            results[position] = show(opener.open(varying(names, item["context"]), item["ciphertext"]))
            used.add(version)
        except GuardError as error:
            results[position] = {"problem": problem(error)}
    return used


def reseal(
    keyring: Keyring, tenant: str, policy: FieldPolicy, sealer: Sealer | FormatSealer, version: int, item: Item
) -> dict[str, Any]:
    """The answer for one value that another sealed for the field's ingest key: the value under the field's own key."""
    try:
        key = named_key(keyring, tenant, header_in(item["ciphertext"]))
        if policy.ingest is None or key.name != policy.ingest_key:
            raise DoesNotOpen(DOES_NOT_OPEN)
        names = binding(policy)
        bound = varying(names, item["context"])
        # As in re-encryption: who sends it in is shown nothing, so a compromised version needs no grant.
        opener = Opener(key, shared(tenant, policy), names, compromised_granted=True)
        plaintext = opener.open(bound, item["ciphertext"])
        return {"ciphertext": sealer.seal(bound, plaintext), "key_version": version}
    except GuardError as error:
        return {"problem": problem(error)}


def planted(
    honey: Honey, tenant: str, policies: Mapping[str, FieldPolicy], items: Sequence[Item], results: Results
) -> Iterator[bytes]:
    """The marks of planted rows among the items that opened."""
    for item, answer in zip(items, results, strict=True):
        if "problem" not in answer:
            policy = policies[item["field"]]
            names = binding(policy)
            found = honey.planted_row(tenant, policy.table, zip(names, varying(names, item["context"]), strict=True))
            if found is not None:
                yield found


def shared(tenant: str, policy: FieldPolicy) -> dict[str, Value]:
    """The part of the context that all values of a field in a tenant share."""
    return {"tenant": tenant, "table": policy.table, "column": policy.column}


def binding(policy: FieldPolicy) -> tuple[str, ...]:
    """The names that an item's context gives, sorted."""
    return tuple(bind.value for bind in policy.bind)


def varying(names: tuple[str, ...], given: Mapping[str, Any]) -> Varying:
    """The values of *names* in an item's context.

    Raises:
        InvalidContext: other names came, or a value has no canonical form.
    """
    if len(given) != len(names):
        raise _wrong_names(names)
    try:
        return tuple(value if type(value) is str else from_json(value) for value in [given[name] for name in names])
    except KeyError:
        raise _wrong_names(names) from None


def encoded(raw: bytes) -> str:
    """Standard base64."""
    return b2a_base64(raw, newline=False).decode("ascii")


def problem(error: GuardError) -> dict[str, str]:
    """What stands in the place of an item that failed."""
    return {"code": error.code, "title": error.title, "detail": error.detail}


def summary(results: Results) -> dict[str, Any]:
    """Counts for the record: items, and failures by code."""
    failed: dict[str, int] = {}
    for result in results:
        if "problem" in result:
            code = result["problem"]["code"].lower().replace("-", "_")
            failed[code] = failed.get(code, 0) + 1
    facts: dict[str, Any] = {"items": len(results)}
    if failed:
        facts["failed"] = failed
    return facts


def _opener(keyring: Finder, tenant: str, policy: FieldPolicy, header: Header, grant: Callable[[str], None]) -> Opener:
    key = named_key(keyring, tenant, header)
    if key.name != policy.key:
        raise DoesNotOpen(DOES_NOT_OPEN)
    if key.compromised:
        grant(key.name)
    return Opener(key, shared(tenant, policy), binding(policy), compromised_granted=key.compromised)


def header_in(text: str) -> Header:
    """The header of a sealed text. A changed bit in it answers as one in the body does; what is no such text, does not.

    Raises:
        DoesNotOpen: the bytes begin with no header. InvalidEnvelope: the text is none, or too short for one.
    """
    try:
        return header_of(text)
    except InvalidEnvelope:
        if len(from_text(text)) < HEADER_BYTES:
            raise
        raise DoesNotOpen(DOES_NOT_OPEN) from None


def named_key(keyring: Finder, tenant: str, header: Header) -> KeyVersion:
    """The version that a header names.

    Raises:
        DoesNotOpen: there is none.
    """
    # A key that is unknown, another tenant's, or named by a changed bit: whoever tries bits learns nothing from that.
    try:
        return keyring.find(tenant, header.key_id, header.key_version)
    except NotFound:
        raise DoesNotOpen(DOES_NOT_OPEN) from None


def _wrong_names(names: tuple[str, ...]) -> InvalidContext:
    return InvalidContext(
        f"Expected a context of exactly {', '.join(names) or 'nothing'}, got other names; correct it."
    )
