import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.detect.documents import MAX_DOCUMENTS, MAX_FILE_CHARS, read_documents
from guard.errors import InvalidRule


def read(text):
    return list(read_documents(text, "f.yaml"))


def refusal(text):
    with pytest.raises(InvalidRule) as found:
        read(text)
    assert found.value.extra == {"file": "f.yaml"}
    assert found.value.detail.startswith("f.yaml: ")
    return found.value.detail


def test_documents_are_numbered_from_one_and_empty_ones_are_passed_over():
    assert read("") == []
    assert read("a: 1\n---\n---\nb: 2\n") == [(1, {"a": 1}), (3, {"b": 2})]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("v: no", "no"),
        ("v: on", "on"),
        ("v: 'true'", "true"),
        ("v: true", True),
        ("v: 010", 10),
        ("v: 0o10", 8),
        ("v: 1_000", 1000),
        ("v: 10s", "10s"),
        ("v: 6f1c2b5e-0001-4d5a-9a11-000000000001", "6f1c2b5e-0001-4d5a-9a11-000000000001"),
        ("v: 192.0.2.1", "192.0.2.1"),
        ("v: ~", None),
        ("v: >-\n  a\n  b", "a b"),
        (r"v: \d+", r"\d+"),
    ],
)
def test_values_are_those_of_yaml_1_2(text, value):
    assert read(text) == [(1, {"v": value})]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: 1\na: 2", 'found duplicate key "a"'),
        ("a: {b: 1, c: {d: 1, d: 2}}", 'found duplicate key "d"'),
        ("a: 1\n---\nb: 1\nb: 1", 'found duplicate key "b"'),
        ("a: [1", "in line"),
        ("a: 'open", "in line"),
        ("\ta: 1", "in line"),
        ("a: !!python/name:os.system", "in line"),
        ("a: !custom 1", "in line"),
        ("a: *unknown", "in line"),
        ("a: \x00", "not valid YAML"),
        ("d: 2024-02-30", "ValueError"),
        ("[" * 3000, "not valid YAML"),
        ("- a", "is a rule as a mapping"),
        ("5", "is a rule as a mapping"),
        ("ok: 1\n---\ntext", "document 2 is a rule as a mapping"),
        ("x: '" + "y" * MAX_FILE_CHARS + "'", "at most"),
        ("a: 1\n---\n" * (MAX_DOCUMENTS + 1), "documents; at most"),
    ],
)
def test_what_is_no_rule_file(text, reason):
    assert reason in refusal(text)


def test_aliases_may_be_used_but_not_unfold_into_a_flood():
    assert read("a: &x [1, 2]\nb: *x\nc: *x") == [(1, {"a": [1, 2], "b": [1, 2], "c": [1, 2]})]
    levels = ["a0: &a0 [1,2,3,4,5,6,7,8,9]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    assert "unfolds into more than" in refusal("\n".join(levels))
    assert "unfolds into more than" in refusal("a: &a [*a]")


@settings(max_examples=200)
@given(st.text(st.sampled_from("ab:{}[],&*!-|>'\"\\ \n\t#%@?0"), max_size=40))
def test_any_text_is_read_or_refused(text):
    try:
        documents = read(text)
    except InvalidRule as error:
        found = error
    else:
        assert all(isinstance(document, dict) for _, document in documents)
        return
    assert found.detail.startswith("f.yaml: ")
    assert "\n" not in found.detail
