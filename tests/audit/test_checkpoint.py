"""Checkpoint texts, and when a new one may be published."""

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.audit import checkpoint, tree
from guard.audit.checkpoint import Checkpoint, Head, Verdict, may_publish
from guard.errors import InvalidInput
from tests.audit.building import ORIGIN, T0, naive_root, node_of

ROOT = bytes(range(32))
ROOT_TEXT = base64.b64encode(ROOT).decode()
LEAVES = [tree.leaf_hash(bytes([number])) for number in range(40)]
SECOND = 1_000_000


class TestText:
    def test_a_checkpoint_has_three_lines(self):
        text = Checkpoint(ORIGIN, 2, ROOT).text()
        assert text == f"{ORIGIN}\n2\n{ROOT_TEXT}\n"
        assert checkpoint.parse(text) == Checkpoint(ORIGIN, 2, ROOT)

    @given(st.integers(0, 2**63 - 1), st.binary(min_size=32, max_size=32))
    @settings(max_examples=80)
    def test_text_and_back(self, size, root):
        head = Checkpoint("example.org/日志", size, root)
        assert checkpoint.parse(head.text()) == head

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "\n",
            f"{ORIGIN}\n2\n{ROOT_TEXT}",
            f"{ORIGIN}\n2\n{ROOT_TEXT}\n\n",
            f"{ORIGIN}\n2\n{ROOT_TEXT}\nextension\n",
            f"{ORIGIN}\n2\n",
            f"\n2\n{ROOT_TEXT}\n",
            f"a b\n2\n{ROOT_TEXT}\n",
            f"a+b\n2\n{ROOT_TEXT}\n",
            f"a\u2003b\n2\n{ROOT_TEXT}\n",
            f"a\x7fb\n2\n{ROOT_TEXT}\n",
            f"a\u202eb\n2\n{ROOT_TEXT}\n",
            f"{'a' * 256}\n2\n{ROOT_TEXT}\n",
            f"{'é' * 128}\n2\n{ROOT_TEXT}\n",
        ],
    )
    def test_another_form_is_refused(self, text):
        with pytest.raises(InvalidInput, match="three lines"):
            checkpoint.parse(text)

    @pytest.mark.parametrize(
        "size", ["", "00", "02", "-1", "+2", " 2", "2 ", "0x2", "2.0", "1e3", "٢", "9223372036854775808", "9" * 30]
    )
    def test_another_spelling_of_the_size_is_refused(self, size):
        with pytest.raises(InvalidInput, match="tree size"):
            checkpoint.parse(f"{ORIGIN}\n{size}\n{ROOT_TEXT}\n")

    @pytest.mark.parametrize(
        "root",
        [
            "",
            ROOT_TEXT[:-1],
            ROOT_TEXT + "=",
            ROOT_TEXT[:-2] + "9=",  # the same 32 bytes with other unused bits
            ROOT_TEXT.replace("/", "_").replace("+", "-") + "\r",
            base64.b64encode(ROOT[:31]).decode(),
            base64.b64encode(ROOT + b"a").decode(),
            "é" * 43 + "=",
            " " + ROOT_TEXT,
        ],
    )
    def test_another_spelling_of_the_root_is_refused(self, root):
        with pytest.raises(InvalidInput, match="32-byte root hash"):
            checkpoint.parse(f"{ORIGIN}\n2\n{root}\n")

    @pytest.mark.parametrize("name", ["a", "guard.example/guard/main.2", "日志/审计", "a" * 255, "x~!*'()"])
    def test_names_that_a_log_may_bear(self, name):
        assert checkpoint.is_origin(name)


def head(size, time_us=T0, leaves=LEAVES, origin=ORIGIN):
    return Head(Checkpoint(origin, size, naive_root(leaves[:size])), time_us)


def proof(first, second):
    return tree.consistency_proof(first, second, node_of(LEAVES[:second]))


class TestMayPublish:
    def test_the_first_checkpoint_needs_nothing_before_it(self):
        assert may_publish(None, head(0)) is Verdict.PUBLISH
        assert may_publish(None, head(7)) is Verdict.PUBLISH

    @given(st.integers(1, 40), st.data())
    @settings(max_examples=60)
    def test_a_longer_log_with_a_later_time_is_published(self, second, data):
        first = data.draw(st.integers(0, second))
        assert may_publish(head(first), head(second, T0 + 1), proof(first, second)) is Verdict.PUBLISH

    def test_an_idle_log_renews_its_time(self):
        assert may_publish(head(7), head(7, T0 + 600 * SECOND)) is Verdict.PUBLISH

    @pytest.mark.parametrize(
        ("behind_us", "verdict"),
        [
            (-1, Verdict.PUBLISH),
            (0, Verdict.WAIT),
            (1, Verdict.WAIT),
            (SECOND, Verdict.WAIT),
            (SECOND + 1, Verdict.CLOCK_REGRESSION),
            (3600 * SECOND, Verdict.CLOCK_REGRESSION),
        ],
    )
    def test_the_clock_decides_when(self, behind_us, verdict):
        assert may_publish(head(3), head(9, T0 - behind_us), proof(3, 9)) is verdict

    def test_a_smaller_log_was_rolled_back(self):
        assert may_publish(head(9), head(3, T0 + 1)) is Verdict.ROLLED_BACK
        assert may_publish(head(1), head(0, T0 + 1)) is Verdict.ROLLED_BACK

    @pytest.mark.parametrize(
        ("last", "new", "hashes"),
        [
            (head(7), Head(Checkpoint(ORIGIN, 7, ROOT), T0 + 1), []),
            (head(3, leaves=LEAVES[1:]), head(9, T0 + 1), proof(3, 9)),
            (head(3), head(9, T0 + 1), []),
            (head(3), head(9, T0 + 1), proof(4, 9)),
            (head(3), head(9, T0 + 1, origin="guard.example/guard/other"), proof(3, 9)),
            (Head(Checkpoint(ORIGIN, 0, ROOT), T0), head(3, T0 + 1), []),
            (Head(Checkpoint(ORIGIN, 0, ROOT), T0), Head(Checkpoint(ORIGIN, 0, ROOT), T0 + 1), []),
        ],
    )
    def test_what_is_no_extension_is_a_fork(self, last, new, hashes):
        assert may_publish(last, new, hashes) is Verdict.FORKED

    def test_rollback_and_fork_are_named_whatever_the_clock_says(self):
        yesterday = T0 - 86_400 * SECOND
        assert may_publish(head(9), head(3, yesterday)) is Verdict.ROLLED_BACK
        assert may_publish(head(3), head(9, yesterday), []) is Verdict.FORKED
