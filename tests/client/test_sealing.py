"""What the SDK seals under a public key is what the server opens: one envelope, one context."""

import base64
import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.client.sealing import FieldSealer, _context
from guard.errors import DoesNotOpen, InvalidInput
from guard.vault import context, hpke
from guard.vault.envelope import SuiteId
from guard.vault.hpke import Kem
from guard.vault.keys import KeyVersion, Secret
from guard.vault.sealing import open_text
from guard.vault.versions import State

COLUMN = {"tenant": "acme", "table": "users", "column": "email"}
each_kem = pytest.mark.parametrize("kem", Kem, ids=lambda kem: kem.value)


def pair(kem, bind=("row",), pad_step=0):
    """A key version, and what the server publishes of it."""
    private = secrets.token_bytes(hpke.private_bytes(kem))
    key = KeyVersion(
        secrets.token_bytes(8), "users.email.ingest", "acme", 3, State.ACTIVE, SuiteId.SEAL, Secret(private, "k")
    )
    public = base64.b64encode(hpke.public_key(kem, private)).decode()
    shown = {"bind": list(bind), "kem": kem.value, "header": key.header.hex(), "public_key": public}
    return key, COLUMN | shown | {"pad_step": pad_step}


@given(
    st.binary(min_size=16, max_size=16),
    st.dictionaries(
        st.sampled_from(["row", "subject", "tenant"]), st.text(max_size=40) | st.integers(-(2**63), 2**63 - 1)
    ),
)
def test_its_context_is_the_servers(header, fields):
    assert _context(header, fields) == context.encode(header, fields)


@each_kem
@pytest.mark.parametrize("pad_step", [0, 16, 32, 64])
@pytest.mark.parametrize("value", ["", "ana@example.org", "陈美", b"\x80\x00" * 40], ids=repr)
def test_the_server_opens_it_in_its_cell_only(kem, pad_step, value):
    key, shown = pair(kem, pad_step=pad_step)
    text = FieldSealer(shown).seal(value, row="17")
    raw = value.encode() if isinstance(value, str) else value
    assert open_text(key, COLUMN | {"row": "17"}, text) == raw
    for other in ({"row": "18"}, {"row": 17}, {"row": "17", "column": "phone"}, {"row": "17", "tenant": "acme2"}):
        with pytest.raises(DoesNotOpen):
            open_text(key, COLUMN | other, text)


@pytest.mark.parametrize(
    ("bind", "cell"), [((), {}), (("subject",), {"subject": "u-1"}), (("subject", "row"), {"row": 5, "subject": "u-1"})]
)
def test_every_way_to_bind(bind, cell):
    key, shown = pair(Kem.X25519, bind)
    assert open_text(key, COLUMN | cell, FieldSealer(shown).seal("x", **cell)) == b"x"


@pytest.mark.parametrize(
    "cell",
    [{}, {"subject": "1"}, {"row": ""}, {"row": "1", "subject": "2"}, {"row": "\ud800"}, {"row": 2**63}],
    ids=repr,
)
def test_a_cell_that_is_not_named_as_the_policy_binds_it(cell):
    with pytest.raises(InvalidInput):
        FieldSealer(pair(Kem.X25519)[1]).seal("x", **cell)


@pytest.mark.parametrize(
    "changed",
    [
        {"kem": "p256"},
        {"public_key": "AAAA"},
        {"public_key": "!"},
        {"header": "zz"},
        {"pad_step": None},
        {"bind": None},
    ],
    ids=repr,
)
def test_what_is_no_published_key_is_refused(changed):
    with pytest.raises(InvalidInput, match="ask for it again"):
        FieldSealer(pair(Kem.X25519)[1] | changed)


def test_the_sealer_cannot_open_what_it_sealed():
    """It holds nothing secret: neither attribute nor closure has a private key in it."""
    key, shown = pair(Kem.X25519)
    private = key.material.expose()
    sealer = FieldSealer(shown)
    held = [getattr(sealer, name) for name in vars(sealer)]
    assert all(private not in repr(one).encode() for one in held)
    assert not any(hasattr(cell.cell_contents, "private_bytes_raw") for cell in sealer._encrypt.__closure__)
