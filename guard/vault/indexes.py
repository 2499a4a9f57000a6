"""The live versions of each blind index, each with its own key and its own definition.

Law: tokens of a version are made as that version was defined, whatever the policy says today; a changed declaration
comes into force with the next version (`indexes.rotate`). So no edit of a policy makes rows silently unfindable.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from guard.db.engine import Tx
from guard.errors import InvalidRequest, StoreDamaged
from guard.vault import index_store, terms
from guard.vault.domains import Domain
from guard.vault.index import Definition
from guard.vault.index_store import Place
from guard.vault.keys import IndexKey, Keyring
from guard.vault.normalisers import NORMALISERS, Normaliser
from guard.vault.terms import Query, Values

KEPT = ("table", "column", "name", "kind", "bits", "unique", "partitions")


@dataclass(frozen=True, slots=True)
class Version:
    """One live version of an index."""

    definition: Definition
    key: IndexKey

    def stored(self, values: Values, row: str = "") -> list[bytes]:
        """The tokens that a row with these values carries.

        Raises:
            InvalidRequest: a value has no form in this index, or the row is not named and decides over the partition.
        """
        if self.definition.partitions > 1 and not row:
            raise InvalidRequest(f"Expected the row's id in 'row' for the index {self.definition.name}, got none.")
        partition = self.definition.partition(row)
        return self._cut(terms.stored(self.definition, values), partition)

    def asked(self, query: Query) -> list[list[bytes]]:
        """Alternatives, each the tokens that a hit carries all of.

        Raises:
            InvalidRequest: the query does not fit.
        """
        found = [
            self._cut(alternative, partition)
            for alternative in terms.asked(self.definition, query)
            for partition in self.definition.all_partitions()
        ]
        return sorted(found)  # in no order of the values: else it would tell which piece of a range each token is

    def _cut(self, wanted: Iterable[bytes], partition: str) -> list[bytes]:
        raw = self.key.material.expose()
        return [self.definition.cut(raw, self.key.version, term, partition) for term in wanted]


class Definitions:
    """How every version of every index is defined. Readers take one reference; the writer replaces it."""

    def __init__(self) -> None:
        self._known: Mapping[Place, Definition] = {}

    def load(self, tx: Tx, declared: Mapping[str, Definition], keys: Iterable[IndexKey]) -> None:
        """Read all; a key from before definitions were kept is as the policy declares it today."""
        known = {place: from_text(text) for place, text in index_store.list_definitions(tx).items()}
        for key in keys:
            place = (key.tenant, key.index, key.version)
            if place not in known and key.index in declared:
                known[place] = declared[key.index]
                index_store.add_definition(tx, place, to_text(declared[key.index]))
        self._known = known

    def add(self, place: Place, definition: Definition) -> None:
        """After a commit, by the writer only."""
        self._known = {**self._known, place: definition}

    def remove(self, place: Place) -> None:
        """After a commit, by the writer only."""
        self._known = {other: one for other, one in self._known.items() if other != place}

    def live(self, keyring: Keyring, tenant: str, declared: Definition) -> list[Version]:
        """The live versions of a declared index, newest first: new rows get the first, queries ask under all.

        Raises:
            NotFound: the tenant has no key for it.
        """
        return [
            Version(self._known.get((tenant, one.index, one.version), declared), one)
            for one in keyring.index_keys(tenant, declared.key_name)
        ]


def to_text(one: Definition) -> str:
    """A definition as JSON."""
    kept: dict[str, object] = {name: getattr(one, name) for name in KEPT}
    kept["normaliser"] = _reference(one.normaliser)
    kept["lengths"] = list(one.lengths)
    kept["parts"] = [[column, _reference(rule)] for column, rule in one.parts]
    if (domain := one.domain) is not None:
        kept["domain"] = [domain.of, domain.low, domain.high, domain.step]
    return json.dumps(kept, sort_keys=True)


def from_text(text: str) -> Definition:
    """The definition of a JSON text.

    Raises:
        StoreDamaged: it is none.
    """
    try:
        kept = json.loads(text)
        least, greatest = kept["lengths"]
        return Definition(
            **{name: kept[name] for name in KEPT},
            normaliser=_normaliser(kept["normaliser"]),
            lengths=(least, greatest),
            parts=tuple((column, _normaliser(rule)) for column, rule in kept["parts"]),
            domain=Domain(*kept["domain"]) if "domain" in kept else None,
        )
    except (ValueError, KeyError, TypeError):
        raise StoreDamaged(
            "The definition of an index in the store is no such text; restore the last backup."
        ) from None


def _reference(rule: Normaliser) -> str:
    return f"{rule.name}@{rule.version}"


def _normaliser(reference: str) -> Normaliser:
    name, version = reference.split("@")
    return NORMALISERS[name, int(version)]
