"""`guard logs try` and `guard logs replay` on files of every kind; counts add up, and reading twice changes nothing."""

import gzip
import json
import re
import resource

import pytest

from guard.cli.logs import MAX_LINE_BYTES, PIECE_LINES, fingerprint_of, pieces, try_log
from guard.cli.session import Output, Session
from guard.detect.traffic import generate
from guard.errors import InvalidInput
from tests.cli.processes import guard, told

CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")
BAD = (
    b"this is no request\n",
    b"\n",
    b"\xff\xfe\xfa\n",
    b'192.0.2.1 - - [nonsense] "GET /" 200 1\n',
    b"192.0.2.1 - -\n",
)
HOSTILE = (
    b'192.0.2.9 - - [01/Dec/2026:10:02:00 +0000] "GET / HTTP/1.1" 200 1 "-" "\x1b[2J\x1b]0;owned\x07 \xc2\x9b2J"\n'
)
PRIVATE = b'192.0.2.9 - - [01/Dec/2026:10:02:00 +0000] "GET /?email=wanda.canary@example.org\n'
START_US = 1_795_000_000_000_000


def tried(path, log_format: str = "combined") -> dict:
    """What `guard logs try` answers; the verb itself is run in `test_the_verb_answers_what_its_function_says`."""
    answer = try_log(Session(None, "client", Output.JSON), path, log_format)
    assert answer["lines"] == answer["strict"] + answer["lenient"] + answer["rejected"]
    assert sum(answer["reasons"].values()) == answer["rejected"]
    assert len(answer["samples"]) == min(3, answer["rejected"])
    return answer


def test_the_verb_answers_what_its_function_says(log_file):
    log_file.write_bytes(log_file.read_bytes() + b"".join(BAD))
    done = guard("logs", "try", str(log_file))
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout) == tried(log_file)


def test_bad_lines_are_counted_and_shown_with_their_numbers(log_file):
    good = log_file.read_bytes().splitlines(keepends=True)
    log_file.write_bytes(b"".join([*good[:10], BAD[0], *good[10:], *BAD[1:]]))
    answer = tried(log_file)
    assert (answer["lines"], answer["rejected"]) == (25, 5)
    assert answer["samples"][0] | {"reason": "x"} == {"line": 11, "reason": "x", "beginning": "this is no request"}
    assert [sample["line"] for sample in answer["samples"]] == [11, 22, 23]


def test_trying_keeps_nothing_and_needs_no_server(log_file, tmp_path):
    before = sorted(path.name for path in tmp_path.iterdir())
    done = guard("logs", "try", str(log_file), cwd=tmp_path)
    assert done.returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_both_ends_of_line_are_read(log_file, end):
    log_file.write_bytes(log_file.read_bytes().replace(b"\n", end))
    answer = tried(log_file)
    assert (answer["lines"], answer["rejected"]) == (20, 0)


def test_a_last_line_without_its_end_is_read(log_file):
    log_file.write_bytes(log_file.read_bytes().rstrip(b"\n"))
    assert tried(log_file)["lines"] == 20


def test_gzip_is_read_as_what_it_holds(log_file):
    packed = log_file.with_name("access.log.gz")
    packed.write_bytes(gzip.compress(log_file.read_bytes()))
    plain, unpacked = tried(log_file), tried(packed)
    assert plain | {"file": ""} == unpacked | {"file": ""}
    assert fingerprint_of(log_file) == fingerprint_of(packed)


def test_an_empty_file_has_no_lines(tmp_path):
    (tmp_path / "empty.log").write_bytes(b"")
    assert tried(tmp_path / "empty.log")["lines"] == 0


def test_a_binary_file_is_refused_line_by_line_and_shown_inert(tmp_path):
    path = tmp_path / "program"
    path.write_bytes(bytes(range(256)) * 40)
    answer = tried(path)
    assert answer["rejected"] == answer["lines"] > 0
    assert CONTROL.findall("".join(sample["beginning"] for sample in answer["samples"])) == []


@pytest.mark.parametrize(
    ("name", "content", "shown"),
    [
        ("missing.log", None, "No such file"),
        ("missing.gz", None, "No such file"),
        ("no gzip.gz", b"192.0.2.1 - - ", "read"),
        ("broken.gz", gzip.compress(bytes(range(256)) * 99, mtime=0)[:30] + b"\xff" * 60, "read"),
        ("cut off.gz", gzip.compress(b"x\n" * 100_000, mtime=0)[:60], "cut off"),
        ("one line.log", b"x" * (MAX_LINE_BYTES + 1), "longer"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(tmp_path, name, content, shown):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidInput) as refusal:
        tried(path)
    assert shown in refusal.value.detail
    assert str(path) in refusal.value.detail
    assert "None" not in refusal.value.detail


@pytest.mark.parametrize("verb", ["try", "replay"])
def test_the_verbs_refuse_such_a_file_with_2(dev, tmp_path, verb):
    (tmp_path / "cut off.gz").write_bytes(gzip.compress(b"x\n" * 100_000, mtime=0)[:60])
    done = dev.run("logs", verb, str(tmp_path / "cut off.gz"))
    assert (done.returncode, done.stdout) == (2, b"")
    assert "cut off" in told(done)


def test_a_bomb_of_gzip_is_one_long_line_and_no_memory(tmp_path):
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(b"\0" * (64 << 20)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InvalidInput, match="longer"):
        tried(path)
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown_kib < 48 << 10, "the file holds 64 MiB"


def test_a_hostile_user_agent_is_inert_wherever_it_is_shown(dev, log_file):
    log_file.write_bytes(log_file.read_bytes() + HOSTILE + HOSTILE[:60] + b"\x1b[2J\n")
    dev.json("logs", "replay", str(log_file), "--stream", "hostile")
    for arguments in (["logs", "try", str(log_file)], ["logs", "rejects", "hostile"]):
        for output in ("table", "json"):
            done = dev.run(*arguments, "-o", output)
            assert done.returncode == 0
            assert CONTROL.findall(done.stdout.decode()) == []


def test_replaying_twice_gives_nothing_new(dev, tmp_path):
    path = tmp_path / "shop.log"
    path.write_bytes(b"\n".join(generate(20_261, 20_000, START_US, 2).lines) + b"\n" + b"".join(BAD))
    first = dev.json("logs", "replay", str(path), "--stream", "replayed")
    again = dev.json("logs", "replay", str(path), "--stream", "replayed")
    moved = path.rename(path.with_name("shop.log.1"))
    once_more = dev.json("logs", "replay", str(moved), "--stream", "replayed")
    assert first["lines"] == 20_000 + len(BAD) == first["strict"] + first["lenient"] + first["rejected"]
    assert first["alerts"] > 0
    assert first["decisions"] > 0
    for later in (again, once_more):
        assert (later["alerts"], later["decisions"], later["incidents"], later["spared"]) == (0, 0, 0, 0)
        assert later["lines"] == first["lines"]
    kept = dev.json("logs", "rejects", "replayed", "--limit", "100")["data"]
    assert len(kept) == len(BAD), "a line that does not parse is kept once"
    streams = {one["stream"]: one for one in dev.json("logs", "streams")["data"]}
    assert streams["replayed"]["lines"] >= first["lines"]


def test_a_personal_value_in_a_line_that_fails_is_not_in_the_audit_log(dev, log_file, tmp_path):
    log_file.write_bytes(PRIVATE)
    answer = dev.json("logs", "replay", str(log_file), "--stream", "private")
    assert answer["rejected"] == 1
    dev.json("audit", "checkpoint", "--as", "admin")
    dev.json("audit", "export", str(tmp_path / "evidence"), "--as", "admin")
    evidence = b"".join(path.read_bytes() for path in (tmp_path / "evidence").rglob("*") if path.is_file())
    assert b"events.push" in evidence
    assert b"canary" not in evidence


def test_pieces_are_whole_lines_whose_offsets_add_up(tmp_path):
    path = tmp_path / "long.log"
    lines = [b"line %d" % number for number in range(2 * PIECE_LINES + 7)]
    path.write_bytes(b"\n".join(lines))
    found = list(pieces(path))
    assert [len(piece.splitlines()) for _, piece in found] == [PIECE_LINES, PIECE_LINES, 7]
    assert b"".join(piece for _, piece in found) == b"\n".join(lines) + b"\n"
    assert [offset for offset, _ in found] == [0, len(found[0][1]), len(found[0][1]) + len(found[1][1])]
    assert all(piece.endswith(b"\n") for _, piece in found)


def test_a_directory_is_no_log(tmp_path):
    with pytest.raises(InvalidInput, match="directory"):
        list(pieces(tmp_path))
