"""The hunt for leaks with a few values, and that it would find one. `make leaks` plants 10,000."""

import base64
import secrets

import pytest

from tests.vault.leaks import forms, hits, hunt, needles, search

COUNT = 240


def test_nothing_that_was_planted_is_found(tmp_path):
    told = hunt(tmp_path, COUNT)
    assert told["found"] == {}
    assert told["plaintexts"] >= COUNT + 200
    assert told["keys"] >= 60
    names = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert {"guard.db", "guard.db-wal", "keys.db", "application.db", "answers.txt", "output.txt"} <= names
    assert (tmp_path / "seen" / "answers.txt").stat().st_size > 100_000
    assert b"unforeseen_error" in (tmp_path / "seen" / "output.txt").read_bytes()
    assert (tmp_path / "export" / "checkpoint").exists()


@pytest.mark.parametrize("number", range(9))
@pytest.mark.parametrize("before", [b"", b"x", b"xy", b"some other text "])
def test_each_form_of_a_value_is_found(tmp_path, number, before):
    value = secrets.token_bytes(40)
    wanted = needles([value], [])
    form = list(forms(value))[number]
    (tmp_path / "file").write_bytes(before + form + b"after")
    _, _, found = search(tmp_path, wanted)
    assert form in found["file"]
    assert hits(before + b"after", wanted) == []


@pytest.mark.parametrize("before", range(7))
def test_base64_of_a_whole_document_hides_nothing(before):
    value = secrets.token_bytes(33)
    document = secrets.token_bytes(before) + value + b"}"
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        assert hits(b'{"v":"' + encode(document) + b'"}', needles([value], []))


def test_half_a_key_is_found(tmp_path):
    key = secrets.token_bytes(64)
    for part in (key[:16], key[48:]):
        assert hits(b"prefix" + part, needles([], [key]))
    (tmp_path / "root.key").write_bytes(key)
    assert search(tmp_path, needles([], [key])) == (0, 0, {})
