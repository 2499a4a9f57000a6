"""The forms that one value can have in a sealed column: by them a column is searched, and a unique one is checked.

Law: while versions of a key live side by side, equal values of a deterministic column differ by version. Who asks for
equality asks for every form at once, and who writes into a unique column does so in the transaction that writes.
No I/O.
"""

from collections.abc import Iterable

from guard.errors import InvalidRequest
from guard.vault import batches, context, suites
from guard.vault.envelope import to_text
from guard.vault.keys import KeyVersion
from guard.vault.policy import FieldPolicy
from guard.vault.versions import State

LIVE = frozenset({State.ACTIVE, State.DECRYPT_ONLY})


def variants(
    versions: Iterable[KeyVersion], tenant: str, policy: FieldPolicy, plaintext: bytes
) -> list[tuple[int, str]]:
    """(version, sealed text) under each version that a row may still have, the newest first.

    Compromised versions are among them, since rows still carry them; no new row is written with what comes back but
    with the first of an active version.

    Raises:
        InvalidRequest: equal values of this field have unequal forms, so only an index finds them.
    """
    if not policy.deterministic:
        raise InvalidRequest(f"Expected a deterministic field, got {policy.name}; name one of its indexes instead.")
    cell = batches.shared(tenant, policy)
    found = []
    for key in versions:
        if (key.tenant, key.name) == (tenant, policy.key) and key.state in LIVE:
            suite = suites.suite(key.suite)
            if suite.deterministic:
                body = suite.seal(key.material.expose(), context.encode(key.header, cell), plaintext)
                found.append((key.version, to_text(key.header + body)))
    return sorted(found, reverse=True)
