"""Sinks in `guard.toml`: what a table may say, and that nothing else than the file can say it."""

import pytest

from guard.errors import InvalidSetting
from guard.settings import ENVIRONMENT, MAX_SINKS, Sink, load

ONE = '[[sinks]]\nname = "siem"\nplugin = "syslog"\naddress = "tls://siem.example.org:6514"\nca_file = "/etc/guard/siem.pem"\n'


def loaded(tmp_path, text):
    (tmp_path / "guard.toml").write_text(text)
    return load(tmp_path, environment={}).sinks


def test_a_table_is_a_sink_with_the_defaults_of_the_rest(tmp_path):
    (sink,) = loaded(tmp_path, ONE)
    assert sink == Sink("siem", "syslog", "tls://siem.example.org:6514", ca_file="/etc/guard/siem.pem")
    assert (sink.begin, sink.total_seconds, sink.alarm_seconds) == ("first", 30, 45)


def test_without_a_table_there_is_none(tmp_path):
    assert loaded(tmp_path, "") == ()


def test_no_variable_sets_a_sink():
    assert "sinks" not in ENVIRONMENT.values()
    with pytest.raises(InvalidSetting):
        load(__import__("pathlib").Path("/nowhere"), environment={"GUARD_SINKS": "x"})


@pytest.mark.parametrize(
    "text",
    [
        "sinks = 5",
        'sinks = ["siem"]',
        "[sinks]\nname = 'x'",
        "[[sinks]]\nname = 'x'",
        "[[sinks]]\nplugin = 'file'",
        ONE + "adress = 'x'",
        ONE + "filter = 'x'",
        ONE + "total_seconds = '5'",
        ONE + "total_seconds = true",
        ONE + "total_seconds = 0",
        ONE + "alarm_seconds = 56",
        ONE + "begin = 'yesterday'",
        ONE + ONE,
        "[[sinks]]\nname = 'SIEM'\nplugin = 'file'",
        "[[sinks]]\nname = ''\nplugin = 'file'",
        "[[sinks]]\nname = 'a/b'\nplugin = 'file'",
        "".join(f"[[sinks]]\nname = 's{number}'\nplugin = 'file'\n" for number in range(MAX_SINKS + 1)),
    ],
)
def test_a_table_of_another_form_is_refused(tmp_path, text):
    with pytest.raises(InvalidSetting) as raised:
        loaded(tmp_path, text)
    assert raised.value.detail.endswith(".")


def test_a_misspelt_option_is_told_with_the_right_one(tmp_path):
    with pytest.raises(InvalidSetting) as raised:
        loaded(tmp_path, ONE + "adress = 'x'")
    assert "did you mean address?" in raised.value.detail
