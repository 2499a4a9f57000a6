"""A row shows what the entry says, and refuses what is no entry."""

import pytest

from guard.audit.row import Row
from guard.audit.tree import leaf_hash
from guard.errors import StoreDamaged
from tests.audit.building import entries_of


def test_a_row_is_read_from_its_entry():
    entry = entries_of(3)[2]
    row = Row.of(7, entry)
    assert (row.index, row.n, row.leaf) == (7, 2, leaf_hash(entry))
    assert row.body["tenant"] == "acme"


@pytest.mark.parametrize("entry", [b"", b"[]", b'{"b":{}}', b'{"n":1}', b"\xff"])
def test_other_bytes_are_named_with_their_index(entry):
    with pytest.raises(StoreDamaged, match="index 7"):
        Row.of(7, entry)
