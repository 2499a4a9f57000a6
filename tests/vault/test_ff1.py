"""FF1: every published vector, and what the construction promises beside them."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.vault import ff1

KEY = bytes(range(32))
FILES = {"aes_ff1_radix10_test.json": (10, 3845), "aes_ff1_radix26_test.json": (26, 3076)}


def cases(conformance, name):
    path = conformance / "wycheproof" / name
    if not path.is_file():
        pytest.skip(f"no FF1 vectors at {path}")
    return json.loads(path.read_text())


@pytest.mark.parametrize("name", FILES)
def test_every_published_vector(conformance, name):
    """Small messages are valid below the bound of revision 1, which is the field policy's to keep."""
    radix, expected = FILES[name]
    seen = {"valid": 0, "invalid": 0}
    for group in cases(conformance, name)["testGroups"]:
        for case in group["tests"]:
            seen[case["result"]] += 1
            key, tweak = bytes.fromhex(case["key"]), bytes.fromhex(case["tweak"])
            if case["result"] == "valid":
                assert ff1.encrypt(key, group.get("radix", radix), tweak, case["msg"]) == case["ct"]
                assert ff1.decrypt(key, radix, tweak, case["ct"]) == case["msg"]
            else:
                with pytest.raises(ValueError, match="FF1 takes"):
                    ff1.encrypt(key, radix, tweak, case["msg"])
    assert sum(seen.values()) == expected
    assert seen["invalid"] > 400


@pytest.mark.parametrize(
    ("key", "tweak", "radix", "plain", "sealed"),
    [
        ("2b7e151628aed2a6abf7158809cf4f3c", "", 10, "0123456789", "2433477484"),
        ("2b7e151628aed2a6abf7158809cf4f3c", "39383736353433323130", 10, "0123456789", "6124200773"),
        (
            "2b7e151628aed2a6abf7158809cf4f3c",
            "3737373770717273373737",
            36,
            "0123456789abcdefghi",
            "a9tv40mll9kdu509eum",
        ),
    ],
    ids=["sample 1", "sample 2", "sample 3"],
)
def test_samples_of_nist(key, tweak, radix, plain, sealed):
    digits = [int(one, 36) for one in plain]
    answer = ff1.encrypt(bytes.fromhex(key), radix, bytes.fromhex(tweak), digits)
    assert answer == [int(one, 36) for one in sealed]


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_there_and_back(data):
    radix = data.draw(st.sampled_from([2, 3, 10, 26, 36, 255, 256, 257, 65536]))
    least = next(length for length in range(2, 20) if radix**length >= ff1.MIN_DOMAIN)
    digits = data.draw(st.lists(st.integers(0, radix - 1), min_size=least, max_size=60))
    tweak, key = data.draw(st.binary(max_size=40)), data.draw(st.binary(min_size=32, max_size=32))
    sealed = ff1.encrypt(key, radix, tweak, digits)
    assert len(sealed) == len(digits)
    assert all(0 <= digit < radix for digit in sealed)
    assert ff1.decrypt(key, radix, tweak, sealed) == digits


def test_a_whole_domain_is_permuted():
    values = {tuple(ff1.encrypt(KEY, 10, b"t", [a, b, c])) for a in range(10) for b in range(10) for c in range(10)}
    assert len(values) == 1000


def test_tweak_and_key_change_the_answer():
    digits = [1] * 12
    answers = {tuple(ff1.encrypt(KEY, 10, bytes([number]), digits)) for number in range(50)}
    answers |= {tuple(ff1.encrypt(bytes([number]) * 32, 10, b"\0", digits)) for number in range(50)}
    assert len(answers) == 100


@pytest.mark.parametrize(
    ("key", "radix", "digits"),
    [
        (bytes(15), 10, [0] * 8),
        (bytes(33), 10, [0] * 8),
        (KEY, 1, [0] * 8),
        (KEY, 65537, [0] * 8),
        (KEY, 10, [0]),
        (KEY, 10, []),
        (KEY, 2, [0] * 6),
        (KEY, 10, [0] * 7 + [10]),
        (KEY, 10, [0] * 7 + [-1]),
        (KEY, 10, [0] * 4097),
    ],
)
def test_what_ff1_does_not_take(key, radix, digits):
    for use in (ff1.encrypt, ff1.decrypt):
        with pytest.raises(ValueError, match="FF1 takes"):
            use(key, radix, b"", digits)
