"""The key file: how it is written, and every state in which it is not used."""

import os
import stat

import pytest

from guard.errors import AlreadyExists, RootKeyMissing
from guard.vault.custody import file
from guard.vault.suites import CBL256

KEY = bytes(range(32))
RECORD = b"record"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "custody" / "root.key"


def create(path, key=KEY):
    return file.create({"path": str(path)}, key)


def attach(path):
    return file.attach({"path": str(path)})


def put(path, content, mode=0o600):
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)


def missing(path, message):
    with pytest.raises(RootKeyMissing) as caught:
        attach(path)
    assert message in caught.value.detail
    assert str(path) in caught.value.detail
    assert KEY.hex()[:16] not in f"{caught.value.detail} {caught.value.hint}"
    return caught.value


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_the_file_is_hexadecimal_text_for_its_owner_alone(path):
    create(path)
    assert path.read_text() == KEY.hex() + "\n"
    assert mode(path) == 0o600
    assert mode(path.parent) == 0o700
    assert [one.name for one in path.parent.iterdir()] == ["root.key"]


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_modes_do_not_depend_on_the_umask(path, umask):
    before = os.umask(umask)
    try:
        create(path)
    finally:
        os.umask(before)
    assert mode(path) == 0o600
    assert mode(path.parent) == 0o700


def test_only_the_first_32_bytes_of_the_randomness_are_the_key(path):
    create(path, KEY + bytes(32))
    assert path.read_text() == KEY.hex() + "\n"


def test_the_wrap_is_cbl256_under_the_key_and_the_record(path):
    wrapped = create(path).wrap(RECORD, b"secret")
    assert CBL256.open(KEY, RECORD, wrapped) == b"secret"
    assert len(wrapped) == len(b"secret") + 72


def test_an_existing_file_is_not_replaced(path):
    create(path)
    with pytest.raises(AlreadyExists, match="is not replaced"):
        create(path, bytes(32))
    assert path.read_text() == KEY.hex() + "\n"
    assert [one.name for one in path.parent.iterdir()] == ["root.key"]


@pytest.mark.parametrize(
    "make", [lambda path: path.write_text(""), lambda path: path.mkdir(), lambda path: path.symlink_to("/nowhere")]
)
def test_whatever_stands_at_the_path_is_left_alone(path, make):
    path.parent.mkdir(mode=0o700)
    make(path)
    with pytest.raises(AlreadyExists):
        create(path)
    assert [one.name for one in path.parent.iterdir()] == ["root.key"]


def test_what_a_crash_left_behind_does_not_matter(path):
    path.parent.mkdir(mode=0o700)
    (path.parent / ".root.key.new").write_text("half a k")
    create(path)
    assert path.read_text() == KEY.hex() + "\n"
    assert [one.name for one in path.parent.iterdir()] == ["root.key"]


def test_a_planted_link_in_place_of_the_temporary_file_is_not_followed(path, tmp_path):
    path.parent.mkdir(mode=0o700)
    target = tmp_path / "target"
    (path.parent / ".root.key.new").symlink_to(target)
    create(path)
    assert not target.exists()
    assert path.read_text() == KEY.hex() + "\n"


@pytest.mark.parametrize("loose", [0o755, 0o750, 0o701, 0o770, 0o777])
def test_a_directory_that_others_may_enter_is_refused(path, loose):
    path.parent.mkdir()
    path.parent.chmod(loose)
    with pytest.raises(RootKeyMissing, match=f"open to others \\(mode {loose:04o}\\)"):
        create(path)
    assert list(path.parent.iterdir()) == []


def test_a_directory_that_cannot_be_made_is_said_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises((RootKeyMissing, AlreadyExists)):
        create(tmp_path / "file" / "root.key")


@pytest.mark.parametrize("ending", [b"\n", b""])
def test_a_file_is_read_with_and_without_its_line_end(path, ending):
    put(path, KEY.hex().encode() + ending)
    assert CBL256.open(KEY, RECORD, attach(path).wrap(RECORD, b"secret")) == b"secret"


def test_capital_digits_are_the_same_key(path):
    key = bytes(range(200, 232))
    put(path, key.hex().upper().encode() + b"\n")
    assert CBL256.open(key, RECORD, attach(path).wrap(RECORD, b"secret")) == b"secret"


def test_a_file_that_only_its_owner_may_read_is_enough(path):
    put(path, KEY.hex().encode(), 0o400)
    attach(path)


def test_a_link_to_a_private_file_is_followed(path, tmp_path):
    put(path, KEY.hex().encode())
    link = tmp_path / "link"
    link.symlink_to(path)
    attach(link)


def test_no_file(path):
    assert missing(path, "There is no key file at").hint


@pytest.mark.parametrize("loose", [0o640, 0o604, 0o660, 0o644, 0o666, 0o620, 0o601, 0o777])
def test_a_file_that_is_open_to_group_or_others(path, loose):
    put(path, KEY.hex().encode() + b"\n", loose)
    error = missing(path, f"is open to group or others (mode {loose:04o})")
    assert error.hint.startswith(f"chmod 600 {path}")


def test_an_empty_file(path):
    put(path, b"")
    missing(path, "is empty")


@pytest.mark.parametrize(
    "content",
    [
        b"\n",
        KEY,
        KEY.hex().encode()[:-1],
        KEY.hex().encode()[:-2] + b"\n",
        KEY.hex().encode() + b"00\n",
        KEY.hex().encode() + b"\n\n",
        KEY.hex().encode() + b"\r\n",
        b" " + KEY.hex().encode(),
        KEY.hex(" ").encode(),
        b"0x" + KEY.hex().encode()[2:],
        b"g" * 64,
        b"\xff" * 64,
        "é".encode() * 32,
        KEY.hex().encode() * 1000,
    ],
    ids=lambda content: repr(content)[:24],
)
def test_a_file_of_another_form(path, content):
    put(path, content)
    missing(path, "expected 64 hexadecimal digits and a newline")


def test_a_directory_in_place_of_the_file(path):
    path.mkdir(parents=True, mode=0o700)
    missing(path, "is not a regular file")


def test_a_pipe_does_not_hang_the_start(path):
    path.parent.mkdir(mode=0o700)
    os.mkfifo(path, 0o600)
    missing(path, "is not a regular file")


def test_a_file_that_cannot_be_read(path):
    path.parent.mkdir(mode=0o700)
    path.symlink_to(path)
    missing(path, "cannot be read: ")


def test_a_slot_shows_where_its_key_is_and_not_the_key(path):
    slot = create(path)
    assert KEY.hex()[:8] not in repr(slot)
    assert repr(slot._key) == f"<Secret root key of {path}>"
