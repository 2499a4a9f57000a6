"""What `guard keys import` refuses and how it says so: in one sentence, with status 2, and with nothing of the file."""

import base64
import json
import secrets

import pytest

from tests.cli.test_keys_transfer import URL

MATERIAL = b"\x12\x02\x08\x0c\x1a\x20" + secrets.token_bytes(32)


def keyset(**changed):
    data = {"typeUrl": URL, "value": base64.b64encode(MATERIAL).decode(), "keyMaterialType": "SYMMETRIC"}
    entry = {"keyData": data, "status": "ENABLED", "keyId": 7, "outputPrefixType": "TINK"} | changed
    return json.dumps({"primaryKeyId": 7, "key": [entry]}).encode()


@pytest.mark.parametrize(
    ("content", "options", "sentence"),
    [
        (keyset()[:-1] + b',"primaryKeyId":7}', [], "a cleartext keyset"),
        (keyset(keyData={"typeUrl": 7, "value": "", "keyMaterialType": "SYMMETRIC"}), [], "a cleartext keyset"),
        (keyset(status="DISABLED"), [], "one enabled primary key"),
        (keyset(), ["--use", "keysets", "--kek", "no.such"], "two persons bring"),
        (keyset(), ["--use", "both"], "use"),
        (keyset(), ["--sealed-before", "-1"], "sealed_before"),
    ],
    ids=["a name twice", "a type of a number", "disabled", "a kek under a kek", "no use", "a count below 0"],
)
def test_a_refusal_has_nothing_of_the_file(dev, content, options, sentence):
    done = dev.run("keys", "import", "-", "--format", "tink", "--key", "refused", *options, stdin=content)
    assert done.returncode not in {0, 1}
    assert base64.b64encode(MATERIAL)[10:30] not in done.stdout + done.stderr
    told = json.loads(done.stderr)
    assert sentence in json.dumps(told)
    assert "refused" not in {one["key"] for one in dev.json("keys", "imported")["data"]}


def test_a_file_without_an_end_is_not_held_whole(dev):
    done = dev.run("keys", "import", "/dev/zero", "--format", "tink", "--key", "endless")
    assert (done.returncode, "1 to 16777216 bytes" in json.loads(done.stderr)["detail"]) == (2, True)


def test_a_kek_is_shown_as_one(dev):
    name = f"kek-{secrets.token_hex(4)}"
    asked = dev.json("keys", "import", "-", "--format", "tink", "--key", name, "--use", "keysets", stdin=keyset())
    assert asked["state"] == "asked"
    [row] = [one for one in dev.json("keys", "imported")["data"] if one["key"] == name]
    assert (row["use"], row["state"]) == ("keysets", "asked")
