"""What each holder of a root key refuses, and how that is told: no token, no key, no answer, another form."""

import socket
import threading

import pytest

from guard.errors import CustodyUnreachable, InternalError, InvalidInput, InvalidSetting, RootKeyMissing, WrongRootKey
from guard.vault.custody import RANDOMNESS_BYTES, aws_kms, azure_kv, gcp_kms, pkcs11, shares, slip39, transit
from guard.vault.seal import NEXT, SealState, move

RECORD = b'{"slot":"x"}'
SECRET = bytes(range(64))
RANDOM = bytes(range(256)) * 2


@pytest.fixture
def bao(custody_peers):
    return custody_peers.options("transit")


@pytest.fixture
def hsm(custody_peers):
    return custody_peers.options("pkcs11")


def test_transit_without_a_token_or_with_another(bao, tmp_path):
    wrapped = transit.attach(bao).wrap(RECORD, SECRET)
    with pytest.raises(RootKeyMissing, match="Expected to read a token"):
        transit.attach(bao | {"token_file": str(tmp_path / "absent")}).unwrap(RECORD, wrapped)
    (tmp_path / "token").write_text("s.another\n")
    with pytest.raises(RootKeyMissing, match="refuses the token") as caught:
        transit.attach(bao | {"token_file": str(tmp_path / "token")}).unwrap(RECORD, wrapped)
    assert "s.another" not in f"{caught.value.detail} {caught.value.hint}"
    (tmp_path / "token").write_text("")
    with pytest.raises(RootKeyMissing, match="Expected a token"):
        transit.attach(bao | {"token_file": str(tmp_path / "token")}).wrap(RECORD, SECRET)


def test_transit_wraps_open_after_its_key_was_rotated(custody_peers, bao):
    slot = transit.attach(bao)
    wrapped = slot.wrap(RECORD, SECRET)
    custody_peers.bao().ask("POST", f"transit/keys/{bao['key']}/rotate")
    assert slot.wrap(RECORD, SECRET).startswith(b"vault:v2:")
    assert slot.unwrap(RECORD, wrapped) == SECRET


@pytest.mark.parametrize("address", ["http://bao.example.com:8200", "ftp://127.0.0.1", "bao:8200", "//127.0.0.1"])
def test_a_token_is_not_sent_in_clear_to_another_host(bao, address):
    with pytest.raises(InvalidSetting, match="https://"):
        transit.attach(bao | {"address": address})


def test_nobody_listens(bao, custody_peers):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{probe.getsockname()[1]}"
        with pytest.raises(CustodyUnreachable, match="does not answer"):
            transit.attach(bao | {"address": address}).wrap(RECORD, SECRET)
        with pytest.raises(CustodyUnreachable, match="AWS KMS does not answer"):
            aws_kms.attach(custody_peers.options("aws_kms") | {"endpoint": address}).wrap(RECORD, SECRET)


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]", b"HTTP/1.1 302 Found\r\nlocation: /x\r\n\r\n", b"garbage"],
)
def test_something_else_listens(bao, answer):
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()

        def serve():
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises((CustodyUnreachable, RootKeyMissing)):
            transit.attach(bao | {"address": f"http://127.0.0.1:{server.getsockname()[1]}"}).wrap(RECORD, SECRET)
        thread.join(10)


def test_a_kms_key_that_is_not_there(custody_peers):
    absent = custody_peers.options("aws_kms") | {"key_id": "00000000-0000-0000-0000-000000000000"}
    with pytest.raises(RootKeyMissing, match="NotFoundException"):
        aws_kms.attach(absent).wrap(RECORD, SECRET)


def test_a_region_that_is_none(custody_peers):
    with pytest.raises((InvalidSetting, CustodyUnreachable)):
        aws_kms.attach({"key_id": "k", "region": "no region"}).wrap(RECORD, SECRET)


def test_a_token_with_another_label_pin_or_key(hsm, tmp_path):
    slot = pkcs11.create(hsm, RANDOM)
    wrapped = slot.wrap(RECORD, SECRET)
    (tmp_path / "pin").write_text("111111\n")
    for changed, message in (
        ({"token": "absent"}, "NoSuchToken"),
        ({"pin_file": str(tmp_path / "pin")}, "PinIncorrect"),
        ({"key": "absent"}, "has no key absent"),
    ):
        with pytest.raises(RootKeyMissing, match=message):
            pkcs11.attach(hsm | changed).unwrap(RECORD, wrapped)
    with pytest.raises(CustodyUnreachable, match="does not answer"):
        pkcs11.attach(hsm | {"library": str(tmp_path / "absent.so")}).unwrap(RECORD, wrapped)
    assert slot.unwrap(RECORD, wrapped) == SECRET


def test_the_key_of_a_token_is_made_once_and_cannot_leave_it(hsm):
    import pkcs11 as library

    for _ in range(2):
        pkcs11.create(hsm | {"key": "made-once"}, RANDOM)
    module = library.lib(hsm["library"])
    with module.get_token(token_label=hsm["token"]).open(user_pin="246802") as session:
        key = session.get_key(label="made-once", object_class=library.ObjectClass.SECRET_KEY)
        assert (key[library.Attribute.SENSITIVE], key[library.Attribute.EXTRACTABLE]) == (True, False)
        with pytest.raises(library.PKCS11Error):
            key[library.Attribute.VALUE]


def test_a_key_that_can_be_taken_out_is_refused(hsm):
    import pkcs11 as library

    module = library.lib(hsm["library"])
    with module.get_token(token_label=hsm["token"]).open(rw=True, user_pin="246802") as session:
        session.generate_key(
            library.KeyType.AES,
            256,
            label="loose",
            store=True,
            template={library.Attribute.EXTRACTABLE: True, library.Attribute.SENSITIVE: False},
        )
    with pytest.raises(InvalidSetting, match="can be taken out"):
        pkcs11.create(hsm | {"key": "loose"}, RANDOM)


@pytest.mark.parametrize("module", [gcp_kms, azure_kv])
def test_the_clouds_refuse_in_their_own_ways(custody_peers, module, tmp_path):
    name = module.__name__.rpartition(".")[2]
    options = custody_peers.options(name)
    wrapped = module.create(options, RANDOM).wrap(RECORD, SECRET)
    (tmp_path / "token").write_text("another\n")
    with pytest.raises(RootKeyMissing, match="401"):
        module.attach(options | {"token_file": str(tmp_path / "token")}).unwrap(RECORD, wrapped)
    clouds = custody_peers.clouds()
    for status, error in (
        (429, CustodyUnreachable),
        (500, CustodyUnreachable),
        (404, RootKeyMissing),
        (403, RootKeyMissing),
    ):
        clouds.status = status
        try:
            with pytest.raises(error, match=str(status)):
                module.attach(options).unwrap(RECORD, wrapped)
        finally:
            clouds.status = 0
    with pytest.raises(InvalidSetting, match="correct it"):
        module.attach(options | {"key": "guard"})


def test_an_azure_slot_that_was_found_again_has_no_key_to_wrap_with(custody_peers):
    with pytest.raises(InternalError, match="new key"):
        azure_kv.attach(custody_peers.options("azure_kv")).wrap(RECORD, SECRET)


def test_words_name_what_is_wrong_with_them():
    made, other = (
        slip39.create({"threshold": "2", "count": "3"}, bytes([n]) * RANDOMNESS_BYTES).handout for n in (1, 2)
    )
    mistyped = " ".join(["academic", *made[1].split()[1:]])
    for given, message in (
        ([made[0], mistyped], "Share 2 has a mistyped word"),
        ([made[0]], "Expected 2 different shares, got 1"),
        ([made[0], made[0]], "Expected 2 different shares, got 1"),
        ([made[0], other[1]], "different sets"),
        ([made[0], "academic acid"], "33 words each"),
    ):
        with pytest.raises(InvalidInput, match=message) as caught:
            slip39.attach({"shares": "\n".join(given)})
        assert made[0].split()[5] not in str(caught.value).split()
    assert len(made[0].split()) == 33
    slot = slip39.attach({"shares": f"{made[2].upper()}\n\n  {made[0]}"})
    assert slot.unwrap(RECORD, slot.wrap(RECORD, SECRET)) == SECRET


def test_shares_are_read_in_hexadecimal_and_base64():
    import base64

    made = shares.create({"threshold": "2", "count": "2"}, RANDOM)
    mixed = f"{made.handout[0].upper()}\n{base64.b64encode(bytes.fromhex(made.handout[1])).decode()}"
    assert shares.attach({"shares": mixed}).unwrap(RECORD, made.wrap(RECORD, SECRET)) == SECRET
    with pytest.raises(InvalidInput, match="Share 2 is neither"):
        shares.attach({"shares": f"{made.handout[0]}\nno share!"})
    with pytest.raises(WrongRootKey, match="do not open this data"):
        shares.attach({"shares": f"{made.handout[0]}\n{'ab' * 33}"}).unwrap(RECORD, made.wrap(RECORD, SECRET))


def test_the_seal_moves_in_one_direction_only():
    allowed = {(one, to) for one, following in NEXT.items() for to in following}
    for one in SealState:
        for to in SealState:
            if (one, to) in allowed:
                assert move(one, to) is to
            else:
                with pytest.raises(InternalError, match="goes from"):
                    move(one, to)
    assert (SealState.UNSEALED, SealState.SEALED) in allowed
    assert not any(to is SealState.UNINITIALISED for _, to in allowed)
