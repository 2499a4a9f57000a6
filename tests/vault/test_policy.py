"""Field policies: the shipped file, what each key means, and that every refusal names its line."""

import textwrap
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.errors import InvalidPolicy
from guard.vault import policy, suites
from guard.vault.envelope import SuiteId
from guard.vault.formats import Format
from guard.vault.normalisers import NORMALISERS
from guard.vault.policy import Bind

SHIPPED = Path(__file__).resolve().parents[2] / "policies" / "fields"

MINIMAL = """\
version: 1
table: users
columns:
  email:
    class: contact
    suite: cbl256
    bind: [row]
    mask: email
    purposes: [support]
"""
INDEXED = MINIMAL + "    index: [{name: exact, kind: exact, normalise: email, bits: 18}]\n"
DETERMINISTIC = """\
version: 1
table: users
rows: 1000
columns:
  code:
    class: internal
    suite: siv
    deterministic: true
    entropy: 40
    bind: []
    mask: none
    purposes: [support]
"""


def parse_one(text):
    [found] = policy.parse(text, "users.yaml")
    return found


def refusal(text):
    with pytest.raises(InvalidPolicy) as caught:
        policy.parse(text, "users.yaml")
    return caught.value


def edited(text, old, new):
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times"
    return text.replace(old, new)


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.yaml")), ids=lambda path: path.name)
def test_shipped_files_load(path):
    policies = policy.parse(path.read_text(), path.name)
    assert {one.table for one in policies} == {path.stem}


def test_shipped_customers():
    found = {one.column: one for one in policy.parse((SHIPPED / "customers.yaml").read_text(), "customers.yaml")}
    assert set(found) == {"email", "phone", "identity_number"}
    email = found["email"]
    assert (email.name, email.table, email.key) == ("customers.email", "customers", "customers.email")
    assert (email.data_class, email.suite, email.bind, email.mask) == ("contact", SuiteId.CBL256, (Bind.ROW,), "email")
    assert email.purposes == {"support", "billing", "delivery"}
    [index] = email.indexes
    assert (index.table, index.column, index.name, index.kind) == ("customers", "email", "exact", "exact")
    assert (index.normaliser, index.bits, index.unique) == (NORMALISERS["email", 1], 18, False)
    assert index.key_name == "customers.email.exact"
    assert not any(one.portable or one.deterministic for one in found.values())


def test_defaults():
    found = parse_one(MINIMAL)
    assert (found.key, found.indexes, found.pad_step, found.portable, found.deterministic) == (
        "users.email",
        (),
        0,
        False,
        False,
    )


@pytest.mark.parametrize(
    ("old", "new", "attribute", "value"),
    [
        ("    mask: email\n", "    mask: email\n    key: shared-key.v2\n", "key", "shared-key.v2"),
        ("bind: [row]", "bind: [subject]", "bind", (Bind.SUBJECT,)),
        ("bind: [row]", "bind: [subject, row]", "bind", (Bind.ROW, Bind.SUBJECT)),
        ("bind: [row]", "bind: []\n    portable: true", "bind", ()),
        ("bind: [row]", "bind: []\n    portable: true", "portable", True),
        ("bind: [row]", "bind: [row]\n    portable: false", "portable", False),
        ("mask: email", "mask: last4", "mask", "last4"),
        ("[support]", "[support, billing, support]", "purposes", {"support", "billing"}),
        ("mask: email", "mask: email\n    pad: 32", "pad_step", 32),
        ("mask: email", "mask: email\n    index: []", "indexes", ()),
        ("class: contact", "class: health_data", "data_class", "health_data"),
    ],
)
def test_what_each_key_means(old, new, attribute, value):
    assert getattr(parse_one(edited(MINIMAL, old, new)), attribute) == value


FORMATTED = MINIMAL.replace("cbl256", "ff1") + '    format: {alphabet: "0123456789", min_length: 10, keep_last: 4}\n'


def test_a_field_that_keeps_its_format():
    found = parse_one(FORMATTED)
    assert (found.suite, found.deterministic, found.bind) == (SuiteId.FF1, False, (Bind.ROW,))
    assert found.format == Format("0123456789", 10, 0, 4)
    assert found.keys == {"users.email": suites.FF1}


def test_a_format_without_a_row_is_deterministic():
    text = edited(edited(FORMATTED, "bind: [row]", "bind: []"), "version: 1\n", "version: 1\nrows: 1000\n")
    assert "'deterministic: true'" in refusal(text).detail
    found = parse_one(text + "    deterministic: true\n    entropy: 20\n")
    assert found.deterministic
    assert "repeat too often" in refusal(text + "    deterministic: true\n    entropy: 5\n").detail


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("keep_last: 4", "keep_last: 5", "at least 1000000 values; 5 characters of 10 came"),
        ("keep_last: 4", "keep_last: 10", "0 characters of 10 came"),
        ("keep_last: 4", "keep_first: 2, keep_last: 3", "5 characters of 10 came"),
        ("min_length: 10", "min_length: 9", "5 characters of 10 came"),
        ("min_length: 10", "min_length: 1", "an integer from 2 to 256"),
        ("min_length: 10", "min_length: 257", "an integer from 2 to 256"),
        ('"0123456789"', '"0123456789" ', ""),
        ('"0123456789"', '"01234567890"', "different characters"),
        ('"0123456789"', '"0"', "different characters"),
        ('"0123456789"', '"01234\\t56789"', "printable characters"),
        ('"0123456789"', "5", "the characters in their order"),
        ("suite: ff1", "suite: xaes", "no 'format' beside a suite other than ff1"),
        ("mask: email", "mask: email\n    pad: 16", "keeps the length"),
        ("min_length: 10, ", "", "'min_length'"),
    ],
)
def test_formats_that_are_refused(old, new, message):
    text = edited(FORMATTED, old, new)
    if message:
        assert message in refusal(text).detail
    else:
        assert parse_one(text).format == Format("0123456789", 10, 0, 4)


@pytest.mark.parametrize("kem", ["x25519", "mlkem768_x25519"])
def test_a_field_that_takes_sealed_values_in(kem):
    found = parse_one(MINIMAL + f"    ingest: {kem}\n")
    assert found.ingest.value == kem
    assert {name: suite.name for name, suite in found.keys.items()} == {
        "users.email": "cbl256",
        "users.email.ingest": f"seal_{kem}",
    }
    assert "a way to seal (mlkem768_x25519, x25519); 'p256' came" in refusal(MINIMAL + "    ingest: p256\n").detail


def test_columns_keep_their_order():
    text = MINIMAL + MINIMAL.split("columns:\n")[1].replace("email:", "address:").replace("mask: email", "mask: none")
    assert [one.column for one in policy.parse(edited(text, "mask: email", "mask: full"), "f")] == ["email", "address"]


@pytest.mark.parametrize("reference", ["trim", "casefold", "nfkc", "digits", "email", "email@1"])
def test_normalisers_by_name(reference):
    [index] = parse_one(edited(INDEXED, "normalise: email", f"normalise: {reference}")).indexes
    assert index.normaliser is NORMALISERS[reference.partition("@")[0], 1]


def test_unique_index():
    [index] = parse_one(edited(INDEXED, "bits: 18", "bits: 128, unique: true")).indexes
    assert (index.bits, index.unique) == (128, True)


def test_deterministic_column():
    found = parse_one(DETERMINISTIC)
    assert found.deterministic
    assert found.suite is SuiteId.SIV
    assert found.bind == ()


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("version: 1", "version: 2", 1, "integer from 1 to 1; 2 came"),
        ("version: 1", "version: '1'", 1, "integer from 1 to 1; '1' came"),
        ("version: 1", "version: true", 1, "integer from 1 to 1; True came"),
        ("version: 1\n", "", 1, "the key 'version' here; it is missing"),
        ("table: users", "table: Users", 2, "the name of the table in lower case"),
        ("table: users", "table: 5", 2, "the name of the table; 5 came"),
        ("table: users", "tabel: users", 2, "one of the keys columns, rows, table, version; 'tabel' came"),
        ("table: users", "table: users\nrows: 7", 3, "integer from 8"),
        ("table: users", "table: users\nrows: lots", 3, "integer from 8"),
        ("  email:", "  Email:", 4, "a column name in lower case; 'Email' came"),
        ("class: contact", "class: a b", 5, "the name of the class in lower case"),
        ("    class: contact\n", "", 4, "the key 'class' here; it is missing"),
        ("    purposes: [support]\n", "", 4, "the key 'purposes' here; it is missing"),
        ("    mask: email\n", "", 4, "the key 'mask' here; it is missing"),
        ("    suite: cbl256\n", "", 4, "the key 'suite' here; it is missing"),
        ("mask: email", "mask: email\n    masks: none", 9, "one of the keys bind, class,"),
        ("suite: cbl256", "suite: gcm96", 6, "96-bit nonce"),
        ("suite: cbl256", "suite: ff1", 6, "'format' with the 'alphabet' beside the suite ff1"),
        ("suite: cbl256", "suite: ff3-1", 6, "withdrawn by NIST"),
        ("suite: cbl256", "suite: ff3", 6, "withdrawn by NIST"),
        ("suite: cbl256", "suite: aes", 6, "a suite (cbl256, ff1, siv, xaes); 'aes' came"),
        ("suite: cbl256", "suite: 1", 6, "the name of a suite; 1 came"),
        ("suite: cbl256", "suite:", 6, "nothing came"),
        ("bind: [row]", "bind: row", 7, "a list of at most 2 items; 'row' came"),
        ("bind: [row]", "bind: [table]", 7, "what to bind to (row, subject); 'table' came"),
        ("bind: [row]", "bind: [row, row]", 7, "each of row and subject once"),
        ("bind: [row]", "bind: [row, subject, row]", 7, "a list of at most 2 items; a list of 3 came"),
        ("bind: [row]", "bind: []", 7, "or [] together with 'portable: true'"),
        ("bind: [row]", "bind: [row]\n    portable: true", 7, "or [] together with 'portable: true'"),
        ("bind: [row]", "bind: []\n    portable: yes", 8, "true or false; 'yes' came"),
        ("mask: email", "mask: half", 8, "a mask (email, full, last4, none, partial); 'half' came"),
        ("[support]", "[]", 9, "at least one purpose"),
        ("[support]", "support", 9, "a list of at most 32 items; 'support' came"),
        ("[support]", "[Support]", 9, "a purpose as a name in lower case"),
        ("[support]", f"[{', '.join(f'p{number}' for number in range(33))}]", 9, "at most 32 items; a list of 33 came"),
        ("mask: email", "mask: email\n    key: 'bad key'", 9, "the name of a key in lower case"),
        ("mask: email", "mask: email\n    pad: 8", 9, "a padding step of 0, 16, 32, 64 bytes; 8 came"),
        ("mask: email", "mask: email\n    pad: 128", 9, "integer from 0 to 64; 128 came"),
        ("mask: email", "mask: email\n    suite: siv", 9, "each key once; 'suite' came twice"),
        ("mask: email", "mask: email\n    index: exact", 9, "a list of at most 8 items; 'exact' came"),
        ("mask: email", "mask: email\n    index: [exact]", 9, "a mapping of keys to values; 'exact' came"),
    ],
)
def test_refusals_of_a_table(old, new, line, message):
    error = refusal(edited(MINIMAL, old, new))
    assert error.detail.startswith(f"users.yaml:{line}: expected ")
    assert message in error.detail
    assert error.extra == {"file": "users.yaml", "line": line}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("name: exact", "name: 'x y'", "the name of the index in lower case"),
        ("name: exact, ", "", "the key 'name' here; it is missing"),
        (
            "kind: exact",
            "kind: substring",
            "a kind of index (compound, exact, prefix, range, suffix); 'substring' came",
        ),
        (
            "normalise: email",
            "normalise: soundex",
            "a normaliser (casefold, digits, email, nfkc, trim); 'soundex' came",
        ),
        ("normalise: email", "normalise: email@2", "a normaliser"),
        ("normalise: email", "normalise: 1", "the name of a normaliser; 1 came"),
        ("bits: 18", "bits: 0", "integer from 1 to 32; 0 came"),
        ("bits: 18", "bits: 33", "integer from 1 to 32; 33 came"),
        ("bits: 18", "bits: 127, unique: true", "integer from 128 to 256; 127 came"),
        ("bits: 18", "bits: 18, unique: true", "integer from 128 to 256; 18 came"),
        (
            "bits: 18",
            "bits: 18, slow: true",
            "one of the keys bits, budget, entropy, kind, name, normalise, partitions, unique; 'slow' came",
        ),
        (
            "bits: 18}",
            "bits: 18}, {name: exact, kind: exact, normalise: trim, bits: 4}",
            "indexes with different names; a list of 2 came",
        ),
    ],
)
def test_refusals_of_an_index(old, new, message):
    error = refusal(edited(INDEXED, old, new))
    assert error.detail.startswith("users.yaml:10: expected ")
    assert message in error.detail


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("    deterministic: true\n", "", 7, "'deterministic: true' beside a suite that shows"),
        ("deterministic: true", "deterministic: false", 7, "'deterministic: true' beside a suite that shows"),
        ("    entropy: 40\n", "", 5, "'rows' of the table and 'entropy' of the column"),
        ("rows: 1000\n", "", 4, "'rows' of the table and 'entropy' of the column"),
        ("entropy: 40", "entropy: 9", 9, "10 bits are needed"),
        ("entropy: 40", "entropy: 300", 9, "integer from 0 to 256"),
        ("bind: []", "bind: [row]", 10, "[] and no 'portable' for a deterministic column"),
        ("bind: []", "bind: [subject]", 10, "[] and no 'portable' for a deterministic column"),
        ("bind: []", "bind: []\n    portable: true", 10, "[] and no 'portable' for a deterministic column"),
    ],
)
def test_refusals_of_a_deterministic_column(old, new, line, message):
    error = refusal(edited(DETERMINISTIC, old, new))
    assert error.detail.startswith(f"users.yaml:{line}: ")
    assert message in error.detail


@pytest.mark.parametrize(
    ("rows", "entropy", "message"),
    [
        (1000000, None, "'entropy' of a column with indexes"),
        (10000, 28, "7 to 12 bits are useful"),
        (1000000, 5, "names its value"),
    ],
)
def test_unsafe_indexes_are_refused_when_the_table_gives_its_rows(rows, entropy, message):
    text = edited(INDEXED, "table: users", f"table: users\nrows: {rows}")
    if entropy is not None:
        text = edited(text, "mask: email", f"mask: email\n    entropy: {entropy}")
    error = refusal(text)
    assert error.detail.startswith("users.yaml:5: ")
    assert message in error.detail


def test_safe_indexes_pass_when_the_table_gives_its_rows():
    text = edited(INDEXED, "table: users", "table: users\nrows: 1000000")
    assert parse_one(edited(text, "mask: email", "mask: email\n    entropy: 28")).indexes[0].bits == 18


def test_a_table_has_columns_and_not_too_many():
    head = MINIMAL.split("  email:", maxsplit=1)[0]
    assert "1 to 256 columns" in refusal(head.rstrip() + " {}\n").detail
    one = "class: c, suite: cbl256, bind: [row], mask: none, purposes: [p]"
    assert len(policy.parse(head + "".join(f"  c{number}: {{{one}}}\n" for number in range(256)), "f")) == 256
    assert "1 to 256 columns" in refusal(head + "".join(f"  c{number}: {{{one}}}\n" for number in range(257))).detail


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 1, "an empty file came"),
        ("# only a comment\n", 1, "an empty file came"),
        ("- a\n- b\n", 1, "a mapping of keys to values; a list of 2 came"),
        ("just text", 1, "a mapping of keys to values; 'just text' came"),
        ("version: 1\ntable: [a\n", 3, "well-formed YAML"),
        ("version: 1\n\ttable: a\n", 2, "well-formed YAML"),
        ("version: 1\n---\nversion: 1\n", 2, "well-formed YAML"),
        ("version: 1\ntable: a\nversion: 1\n", 3, "each key once; 'version' came twice"),
        ("version: &a 1\ntable: users\n", 1, "the anchor 'a' came"),
        ("version: 1\ntable: *a\n", 2, "well-formed YAML"),
        ("version: !!float 1\n", 1, "a text, a decimal integer, true or false; '1' came"),
        ("version: !!python/object:os.system x\n", 1, "a decimal integer"),
        ("version: !secret {}\n", 1, "the tag !secret came"),
        ("version: 1.5\n", 1, "'1.5' came"),
        ("version: 0x10\n", 1, "'0x10' came"),
        ("version: 1_000\n", 1, "'1_000' came"),
        ("version: 2001-01-01\n", 1, "'2001-01-01' came"),
        ("version: " + "1" * 5000 + "\n", 1, "came"),
        ("1: a\n", 1, "a key that is a text; 1 came"),
        ("[a]: 1\n", 1, "a key that is a text"),
        ("version: \x07\n", 1, "without control characters"),
        ("[" * 5000, 1, "few levels of nesting"),
        ("a: " * 5000, 1, "well-formed YAML"),
        ("#" * 300_000, 1, "at most 262144 characters; 300000 came"),
    ],
    ids=lambda item: repr(item)[:40],
)
def test_files_that_are_no_policy(text, line, message):
    error = refusal(text)
    assert error.detail.startswith(f"users.yaml:{line}: expected ")
    assert message in error.detail


def test_an_alias_cannot_grow_a_file():
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{number}: &a{number} [{', '.join([f'*a{number - 1}'] * 9)}]" for number in range(1, 30)]
    assert "anchor" in refusal("\n".join(rows)).detail


def test_what_came_is_shown_shortened():
    error = refusal(edited(MINIMAL, "mask: email", "mask: " + "x" * 500))
    assert len(error.detail) < 150


@given(st.text(alphabet=": -[]{}&*!|>'\"#%@`\n\tab1,?~", max_size=60))
@settings(max_examples=300)
def test_no_text_causes_another_error(tail):
    for text in (tail, MINIMAL + tail, textwrap.indent(tail, "  ")):
        try:
            policy.parse(text, "users.yaml")
        except InvalidPolicy as error:
            assert error.detail.startswith("users.yaml:")  # noqa: PT017  # the error is one of two good outcomes


class TestKeyedBySubject:
    TEXT = MINIMAL.replace("bind: [row]", "bind: [row, subject]") + "    keyed_by: subject\n"

    def test_it_is_declared_and_off_by_default(self):
        assert parse_one(self.TEXT).keyed_by_subject
        assert not parse_one(MINIMAL).keyed_by_subject

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("keyed_by: subject", "keyed_by: tenant"),
            ("bind: [row, subject]", "bind: [row]"),
            ("bind: [row, subject]", "bind: []\n    portable: true"),
        ],
    )
    def test_what_has_no_person_is_refused_with_its_line(self, old, new):
        error = refusal(edited(self.TEXT, old, new))
        assert "subject" in error.detail
        assert "keyed_by" in error.detail or "whose key" in error.detail

    def test_another_suite_is_refused(self):
        text = edited(DETERMINISTIC, "    bind: []\n", "    bind: []\n    keyed_by: subject\n")
        assert "cbl256" in refusal(text).detail
