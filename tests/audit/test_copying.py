"""When the copying loop tries again and looks, which names it looks at, and which address a bucket is found by."""

import pytest

from guard.audit.anchor_settings import located
from guard.audit.copier import IDLE_SECONDS, LOOK_EVERY, Copier
from guard.audit.copies import FIRST_PAUSE, GROUP, LONGEST_PAUSE, Copies, group_prefix
from guard.audit.tiles import Tile, tiles_of
from guard.errors import InvalidSetting
from guard.wire.copies import Copied, Looked

MILLION = 1_000_000


def rounds(copies, first, end):
    """The tiles of a whole round."""
    copies.next_group(first, end)
    found = []
    while group := copies.next_group(first, end):
        found.append(group)
    return found


@pytest.mark.parametrize("end", [0, 256, 25_600, 25_856, 65_536, 300 * 256, 1100 * 256, MILLION // 256 * 256])
def test_a_round_looks_at_every_full_tile_once(end):
    groups = rounds(Copies(), 0, end)
    found = [tile for group in groups for tile in group]
    assert len(found) == len(set(found))
    assert set(found) == {tile for tile in tiles_of(end) if tile.width == 256}


@pytest.mark.parametrize("end", [25_600, 1100 * 256, MILLION // 256 * 256])
def test_the_names_of_a_group_share_one_prefix_and_no_other_tile_of_the_level_has_it(end):
    for group in rounds(Copies(), 0, end):
        prefix = group_prefix(group[0])
        assert all(tile.path().startswith(prefix) for tile in group)
        others = [
            Tile(group[0].level, n) for n in range(0, end // 256 + GROUP, 7) if Tile(group[0].level, n) not in group
        ]
        same = [one for one in others if one.path().startswith(prefix)]
        assert all(one.n // GROUP == group[0].n // GROUP for one in same)


def test_pruned_bundles_are_left_out_and_their_hashes_are_not():
    found = {tile for group in rounds(Copies(), 512, 1024) for tile in group}
    assert found == {Tile(None, 2), Tile(None, 3), *(Tile(0, n) for n in range(4))}


class Script:
    """Answers calls as they are given, and remembers what was called."""

    def __init__(self, copies, *answers):
        self.copies, self.answers, self.called = copies, list(answers), []

    def __call__(self, name):
        self.called.append(name)
        answer = self.answers.pop(0)
        if getattr(answer, "alarm", ""):
            self.copies.lost(answer.alarm)
        return answer


def test_it_goes_on_at_once_while_more_waits_then_rests_and_looks_now_and_then():
    copies = Copies()
    idle = [Copied(size=9, more=False)] * LOOK_EVERY
    call = Script(copies, Copied(size=5, more=True), *idle, Looked(objects=3, faults=[]))
    copier = Copier(call, copies, lambda: True)
    assert copier.step() == 0
    assert {copier.step() for _ in range(LOOK_EVERY)} == {IDLE_SECONDS}
    assert call.called == ["log.copy"] * (LOOK_EVERY + 1) + ["copies.look"]


def test_it_tries_later_and_later_while_the_bucket_does_not_answer():
    copies = Copies()
    copier = Copier(Script(copies, *[Copied(size=0, more=False, alarm="down")] * 9), copies, lambda: True)
    pauses = [copier.step() for _ in range(9)]
    assert pauses[0] == FIRST_PAUSE
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_PAUSE


def test_it_rests_while_the_service_does_not_serve():
    call = Script(Copies())
    assert Copier(call, call.copies, lambda: False).step() == IDLE_SECONDS
    assert call.called == []


def test_a_bucket_that_was_lost_while_nothing_waits_is_asked_again_by_a_look():
    copies = Copies()
    copies.lost("down")
    call = Script(copies, Copied(size=9, more=False), Looked(objects=0, faults=[]))
    assert Copier(call, copies, lambda: True).step() == FIRST_PAUSE
    assert call.called == ["log.copy", "copies.look"]


def test_what_is_known_is_told_in_few_words():
    copies = Copies()
    assert copies.remark(0) == ""
    assert copies.lost("no answer")
    assert not copies.lost("no answer")
    assert copies.found("a", "missing")
    assert not copies.found("a", "missing")
    assert copies.found("a", "deleted")
    assert copies.remark(7) == "7 records in files wait; no answer; a: deleted"
    for name in "bcd":
        copies.found(name, "missing")
    assert copies.remark(0).endswith("and more")
    assert copies.reached()
    assert not copies.reached()


@pytest.mark.parametrize(
    ("address", "bucket", "prefix"),
    [
        ("s3://guard-worm", "guard-worm", "kept"),
        ("s3://guard-worm/", "guard-worm", "kept"),
        ("s3://guard-worm/guard", "guard-worm", "guard"),
        ("s3://guard-worm/a/b/", "guard-worm", "a/b"),
    ],
)
def test_an_address_names_bucket_and_prefix_and_the_settings_the_rest(address, bucket, prefix):
    found = located({"bucket": "other", "retention_days": 7, "prefix": "kept", "region": "eu-1"}, address)
    assert (found.bucket, found.prefix, found.region) == (bucket, prefix, "eu-1")
    assert located({}, "s3://guard-worm").prefix == "guard"


@pytest.mark.parametrize("address", ["", "guard-worm", "s3:/x", "s3://", "s3://Worm", "s3://worm/a b", "s3://worm//x"])
def test_an_address_of_another_form_is_refused(address):
    with pytest.raises(InvalidSetting, match="s3://BUCKET"):
        located({}, address)
