"""The long campaign in small: rows rotate while a writer writes, a reader reads, and the worker is killed."""

from dataclasses import replace

import pytest

from tests.bench.rotation_campaign import Found, campaign


def test_no_row_is_lost_and_the_newest_write_wins_under_kills(tmp_path):
    found = campaign(tmp_path / "run", count=900, kills=2)
    assert found.sound, found.line()
    assert found.kills == 2
    assert found.reads > 0
    assert found.writes > 0


@pytest.mark.parametrize(
    "fault",
    [
        {"failed_reads": 1},
        {"lost": 1},
        {"wrong": 1},
        {"doubled": 1},
        {"census": {1: 1, 2: 8}},
        {"census": {1: 0, 2: 8}},
    ],
)
def test_a_campaign_that_found_a_fault_is_not_sound(fault):
    sound = Found(9, census={1: 0, 2: 9})
    assert sound.sound
    assert not replace(sound, **fault).sound
