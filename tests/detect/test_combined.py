import json
from datetime import datetime, timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from guard.detect.event import Fields, Parse
from guard.detect.formats import MAX_LINE_BYTES, Reason, Rejected
from guard.detect.formats.combined import MONTHS, parse

TIME = "[17/May/2015:10:05:03 +0000]"
TS = 1_431_857_103_000_000


def line(
    request="GET / HTTP/1.1", *, ip="203.0.113.7", user="-", status="200", size="5", referer="-", agent="UA", time=TIME
):
    return f'{ip} - {user} {time} "{request}" {status} {size} "{referer}" "{agent}"'.encode("latin-1")


def strict(data):
    fields = parse(data)
    assert isinstance(fields, Fields), fields
    assert fields.parse is Parse.STRICT, fields.flags
    return fields


def lenient(data):
    fields = parse(data)
    assert isinstance(fields, Fields), fields
    assert fields.parse is Parse.LENIENT
    return fields


def test_every_column_of_a_common_line():
    assert strict(
        line(
            "GET /a/b.html?x=1&token=s3cret HTTP/1.1", user="Alice", referer="https://x.example/?code=9", agent="curl/8"
        )
    )._asdict() == {
        "ts": TS,
        "ip": "203.0.113.7",
        "ip_key": "203.0.113.7",
        "user": "Alice",
        "user_key": "alice",
        "method": "GET",
        "target": "/a/b.html?x=1&token=s3cret",
        "decoded": "/a/b.html?x=1&token=s3cret",
        "path_raw": "/a/b.html",
        "path": "/a/b.html",
        "query": "x=1&token=***",
        "host": None,
        "proto": "HTTP/1.1",
        "status": 200,
        "bytes_out": 5,
        "referer": "https://x.example/?code=***",
        "ua": "curl/8",
        "parse": Parse.STRICT,
        "flags": ("secret",),
    }


def test_a_dash_is_null():
    fields = strict(line(size="-", agent="-"))
    assert (fields.user, fields.user_key, fields.bytes_out, fields.referer, fields.ua) == (None,) * 5
    assert fields.query is None


@pytest.mark.parametrize(
    ("request_line", "method", "path", "query", "host", "proto"),
    [
        ("GET / HTTP/1.1", "GET", "/", None, None, "HTTP/1.1"),
        ("GET /? HTTP/2", "GET", "/", "", None, "HTTP/2"),
        ("GET ?a=1 HTTP/1.1", "GET", "/", "a=1", None, "HTTP/1.1"),
        ("GET /old", "GET", "/old", None, None, None),
        ("GET /a b c HTTP/1.0", "GET", "/a b c", None, None, "HTTP/1.0"),
        ("OPTIONS * HTTP/1.1", "OPTIONS", "*", None, None, "HTTP/1.1"),
        ("GET http://Shop.Example/a?b HTTP/1.1", "GET", "/a", "b", "shop.example", "HTTP/1.1"),
        ("GET http://u:p@shop.example HTTP/1.1", "GET", "/", None, "shop.example", "HTTP/1.1"),
        ("CONNECT shop.example:443 HTTP/1.1", "CONNECT", None, None, "shop.example:443", "HTTP/1.1"),
        ("PROPFIND /dav/ HTTP/1.1", "PROPFIND", "/dav/", None, None, "HTTP/1.1"),
        ("GET //pma//x.php HTTP/1.1", "GET", "/pma/x.php", None, None, "HTTP/1.1"),
    ],
)
def test_request_lines(request_line, method, path, query, host, proto):
    fields = strict(line(request_line))
    assert (fields.method, fields.path, fields.query, fields.host, fields.proto) == (method, path, query, host, proto)
    assert "no_request" not in fields.flags


@pytest.mark.parametrize(
    "request_line", ["", "-", "HELP", "batman", "hello there", r"\x16\x03\x01\x00\xee", "GET  / HTTP/1.1", "\\n", " "]
)
def test_what_is_no_request_is_counted_and_stays_visible(request_line):
    fields = strict(line(request_line, status="400"))
    assert (fields.method, fields.path, fields.status) == (None, None, 400)
    assert "no_request" in fields.flags
    assert (fields.target is None) == (request_line in {"", "-"})


@pytest.mark.parametrize(
    ("stamp", "offset_us"),
    [
        ("17/May/2015:10:05:03 +0000", 0),
        ("17/May/2015:12:05:03 +0200", 0),
        ("17/May/2015:04:35:03 -0530", 0),
        ("17/May/2015:10:05:04 +0000", 1_000_000),
        ("16/May/2015:10:05:03 +0000", -86_400_000_000),
        ("17/May/2015:10:04:60 +0000", -3_000_000),
        ("01/Jan/1970:00:00:00 +0000", -TS),
        ("31/Dec/1969:23:59:59 +0000", -TS - 1_000_000),
        ("29/Feb/2016:00:00:00 +0000", 1_456_704_000_000_000 - TS),
    ],
)
def test_times(stamp, offset_us):
    assert strict(line(time=f"[{stamp}]")).ts == TS + offset_us


@pytest.mark.parametrize(
    "stamp",
    [
        "17/May/2015:10:05:03 +000",
        "17/Mai/2015:10:05:03 +0000",
        "29/Feb/2015:10:05:03 +0000",
        "00/May/2015:10:05:03 +0000",
        "17/May/2015:24:05:03 +0000",
        "17/May/2015:10:60:03 +0000",
        "17/May/2015:10:05:61 +0000",
        "17/May/2015:10:05:03 +1500",
        "17-May-2015:10:05:03 +0000",
        "17/May/2015:10:05:0a +0000",
        "17/May/0000:10:05:03 +0000",
        "17/May/2015 10:05:03 +0000",
    ],
)
def test_what_is_no_time_is_rejected_as_such(stamp):
    expected = Reason.TIME if len(stamp) == 26 else Reason.HEAD
    assert parse(line(time=f"[{stamp}]")) == Rejected(expected)


@given(st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1)), st.integers(-14 * 60, 14 * 60))
def test_times_agree_with_the_standard_library(when, zone):
    sign, minutes = ("-" if zone < 0 else "+"), abs(zone)
    stamp = (
        f"{when.day:02}/{MONTHS[when.month - 1]}/{when.year}:{when:%H:%M:%S} {sign}{minutes // 60:02}{minutes % 60:02}"
    )
    seconds = (when.replace(microsecond=0) - timedelta(minutes=zone) - datetime(1970, 1, 1)) // timedelta(seconds=1)
    assert strict(line(time=f"[{stamp}]")).ts == seconds * 1_000_000


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", Reason.EMPTY),
        (b"   ", Reason.EMPTY),
        (b"hello", Reason.HEAD),
        (b'203.0.113.7 - - "GET / HTTP/1.1" 200 5 "-" "-"', Reason.HEAD),
        (line(ip="shop.example"), Reason.ADDRESS),
        (line(ip="203.0.113.07"), Reason.ADDRESS),
        (line(ip="203.0.113.7:8080"), Reason.ADDRESS),
        (line(status="OK"), Reason.STATUS),
        (line(status="20"), Reason.STATUS),
        (f'203.0.113.7 - - {TIME} "GET /'.encode(), Reason.STATUS),
        (f'203.0.113.7 - - {TIME} "GET / HTTP/1.1"'.encode(), Reason.STATUS),
        (f"203.0.113.7 - - {TIME} GET / 200 5".encode(), Reason.HEAD),
        (
            b'2018/09/14 19:03:05 [error] 2035#2035: *9134 forbidden, client: 203.0.113.7, request: "GET / HTTP/1.1"',
            Reason.HEAD,
        ),
        (b'{"remote_addr":"203.0.113.7"}', Reason.HEAD),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", Reason.HEAD),
    ],
)
def test_rejections_have_a_reason(data, reason):
    assert parse(data) == Rejected(reason)


@pytest.mark.parametrize(
    "head",
    [
        "203.0.113.7 - - (17/May/2015:10:05:03 +0000] ",
        "203.0.113.7 - -x[17/May/2015:10:05:03 +0000] ",
        "203.0.113.7 - - [17/May/2015:10:05:03 +0000) ",
        "203.0.113.7 - - [17/May/2015:10:05:03 +0000]",
        "203.0.113.7 - [17/May/2015:10:05:03 +0000] ",
        "203.0.113.7  - - [17/May/2015:10:05:03 +0000] ",
        " 203.0.113.7 - - [17/May/2015:10:05:03 +0000] ",
        "- - [17/May/2015:10:05:03 +0000] ",
    ],
)
def test_a_head_of_another_form_is_no_head(head):
    data = f'{head}"GET / HTTP/1.1" 200 5 "-" "UA"'.encode()
    assert isinstance(parse(data), Rejected)


@pytest.mark.parametrize(
    ("data", "flags"),
    [
        (f'203.0.113.7 - - {TIME} "GET / HTTP/1.1" 200 5'.encode(), ("short",)),
        (f'203.0.113.7 - - {TIME} "GET / HTTP/1.1" 200 5 "-" "Mozilla/5.0 (brok'.encode(), ("short",)),
        (line() + b" 0.003 upstream", ("extra",)),
        (line(agent="caf\xe9"), ("raw_bytes",)),
        (line(agent="tab\there"), ("raw_bytes",)),
        (line(agent="nul\x00"), ("raw_bytes",)),
        (line(agent="esc\x1b[2J"), ("raw_bytes",)),
        (line(agent='a "quoted" name'), ("extra", "raw_bytes")[:1]),
        (line('GET /"x" HTTP/1.1'), ("broken_quotes", "no_request")),
    ],
)
def test_lenient_lines_say_why(data, flags):
    fields = lenient(data)
    assert fields.flags == flags
    assert (fields.ip, fields.ts, fields.status) == ("203.0.113.7", TS, 200)


def test_nginx_main_with_its_fourth_quoted_field_is_strict():
    fields = strict(line() + b' "198.51.100.9"')
    assert fields.ip == "203.0.113.7"
    assert fields.ua == "UA"


def test_raw_quotes_leave_the_request_visible_to_predicates():
    fields = lenient(line("GET /?q=\" onload='x' HTTP/1.1"))
    assert fields.path is None
    assert "onload" in fields.target


@pytest.mark.parametrize(
    ("logged", "text"),
    [
        (r"a\"b", 'a"b'),
        (r"a\\b", "a\\b"),
        (r"a\x22b", 'a"b'),
        (r"a\x5Cb", "a\\b"),
        (r"a\n\t\r\v\bb", "a\n\t\r\v\bb"),
        (r"caf\xc3\xa9", "caf\u00e9"),
        (r"\xe4\xe5", "\u00e4\u00e5"),
        (r"a\\x22b", "a\\x22b"),
        (r"a\q", "a\\q"),
        (r"a\x2", "a\\x2"),
    ],
)
def test_escapes_are_undone_once(logged, text):
    assert strict(line(agent=logged)).ua == text


FAKE = r"203.0.113.99 - - [01/Jan/2026:00:00:00 +0000] \"GET /fake HTTP/1.1\" 404 1 \"-\" \"-\""


@pytest.mark.parametrize("place", ["request", "referer", "agent", "user"])
@pytest.mark.parametrize(
    "hostile",
    [
        FAKE,
        FAKE.replace('\\"', r"\x22"),
        r"\n" + FAKE,
        r"\r\n" + FAKE,
        r"x\x0a" + FAKE,
        "[17/May/2099:10:05:03 +0000]",
        "203.0.113.99",
        "203.0.113.99 - - [17/May/2099:10:05:03 +0000]",
        "%0a203.0.113.99",
        r"\x00\x1b[2J",
        r"\xe2\x80\xa8",
        "] [",
        r"\\",
    ],
)
def test_what_a_client_writes_moves_neither_address_nor_time_nor_status(place, hostile):
    data = line(f"GET /{hostile} HTTP/1.1") if place == "request" else line(**{place: hostile})
    fields = parse(data)
    assert isinstance(fields, Fields)
    assert (fields.ip, fields.ts, fields.status) == ("203.0.113.7", TS, 200)


def test_the_user_name_may_be_anything():
    assert strict(line(user="two words [here]")).user == "two words [here]"
    assert strict(line(user='""')).user == ""
    assert strict(line(user=r"quo\"te")).user == 'quo"te'


@pytest.mark.parametrize("separator", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028".encode().decode("latin-1"), "\r"])
def test_only_lf_ends_a_line(separator):
    fields = lenient(line(agent=f"a{separator}203.0.113.99 - - x"))
    assert fields.ip == "203.0.113.7"


def test_a_cr_before_the_line_end_is_taken_off():
    assert strict(line() + b"\r") == strict(line())


def test_a_megabyte_is_counted_and_not_lost():
    fields = lenient(line("GET /" + "a" * (1 << 20) + " HTTP/1.1"))
    assert "truncated" in fields.flags
    assert (fields.ip, fields.status) == ("203.0.113.7", None)
    assert len(fields.target) < MAX_LINE_BYTES
    assert "truncated" in lenient(line(agent="b" * (1 << 20))).flags
    assert lenient(line(agent="b" * (1 << 20))).status == 200


def test_the_longest_line_is_read_whole():
    data = line(agent="b" * (MAX_LINE_BYTES - len(line(agent=""))))
    assert len(data) == MAX_LINE_BYTES
    assert strict(data).ua[-1] == "b"


def test_hostile_repetition_is_read_in_linear_time():
    import time

    for unit in (
        '"',
        "\\",
        '\\"',
        "[",
        '] "',
        " ",
        '" 200 5 "',
        "[17/May/2015:10:05:03 +0000] ",
        "%25",
        "../",
        "a=",
        "token=",
        ";",
        "://@",
        "\\x",
    ):
        data = f"203.0.113.7 - - {TIME} ".encode() + (unit * MAX_LINE_BYTES).encode()[:MAX_LINE_BYTES]
        begin = time.process_time()
        parse(data)
        parse(line("GET /?" + (unit * MAX_LINE_BYTES)[: MAX_LINE_BYTES - 200] + " HTTP/1.1"))
        assert time.process_time() - begin < 2, unit


@settings(max_examples=300)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.text(st.sampled_from('"\\[] -/:+0123abcxMayGET\x00\né%'), max_size=120).map(str.encode),
    )
)
@example(b'203.0.113.7 - - [17/May/2015:10:05:03 +0000] "')
def test_any_bytes_are_an_event_or_a_rejection(data):
    assert isinstance(parse(data), Fields | Rejected)


@settings(max_examples=300)
@given(st.binary(max_size=60).filter(lambda raw: b"\n" not in raw), st.sampled_from(["request", "referer", "agent"]))
def test_any_bytes_in_a_quoted_field_leave_the_head_alone(raw, place):
    fields = (
        parse(line(**{place: "\0"}).replace(b"\0", raw))
        if place != "request"
        else parse(line("\0").replace(b"\0", raw))
    )
    assert isinstance(fields, Rejected) or (fields.ip, fields.ts) == ("203.0.113.7", TS)


@settings(max_examples=200)
@given(st.text(st.characters(max_codepoint=255), max_size=40), st.sampled_from(["nginx", "apache"]))
def test_what_a_server_escapes_comes_back(text, server):
    raw = text.encode()
    if server == "nginx":
        logged = "".join(chr(b) if 32 <= b < 127 and b not in b'"\\' else f"\\x{b:02X}" for b in raw)
    else:
        short = {0x22: '\\"', 0x5C: "\\\\", 8: "\\b", 10: "\\n", 13: "\\r", 9: "\\t", 11: "\\v"}
        logged = "".join(short.get(b) or (chr(b) if 32 <= b < 127 else f"\\x{b:02x}") for b in raw)
    fields = strict(line(agent=logged))
    assert fields.ua == (None if text == "-" else text)


def test_the_quick_way_and_the_careful_way_agree(apache_log):
    from guard.detect.formats.combined import _careful, _quick

    for data in apache_log:
        if data.isascii() and b"\\" not in data:
            quick = _quick(data.decode("ascii"))
            assert quick is None or quick == _careful(data, ())


pieces = st.sampled_from(
    [
        " ",
        "-",
        '"',
        "[",
        "]",
        "203.0.113.7",
        "[17/May/2015:10:05:03 +0000]",
        " - - ",
        '"GET / HTTP/1.1"',
        " 200 5 ",
        '"-"',
        '"UA"',
        "x",
        "400",
        "/",
    ]
)


@settings(max_examples=400)
@given(st.lists(pieces, max_size=14), st.integers(0, 100), st.sampled_from(["", " ", "-", '"', "x", "]"]))
def test_the_quick_way_accepts_nothing_that_the_careful_way_reads_otherwise(mixed, at, inserted):
    from guard.detect.formats.combined import _careful, _quick

    good = line(user="u ser", referer="https://x.example/").decode()
    for text in ("".join(mixed), good[:at] + inserted + good[at:], good[:at] + good[at + 1 :]):
        quick = _quick(text)
        assert quick is None or quick == _careful(text.encode(), ())


def test_ten_thousand_real_lines_are_all_accounted_for(apache_log):
    parsed = [parse(data) for data in apache_log]
    by_kind = {kind: sum(isinstance(p, Fields) and p.parse is kind for p in parsed) for kind in Parse}
    rejected = sum(isinstance(p, Rejected) for p in parsed)
    assert len(apache_log) == 10_000 == by_kind[Parse.STRICT] + by_kind[Parse.LENIENT] + rejected
    assert (by_kind[Parse.STRICT], by_kind[Parse.LENIENT], rejected) == (9_999, 1, 0)
    assert len({p.ip for p in parsed}) == 1_753
    (broken,) = [p for p in parsed if p.parse is Parse.LENIENT]
    assert (broken.flags, broken.ip, broken.path) == (
        ("short",),
        "46.118.127.106",
        "/scripts/grok-py-test/configlib.py",
    )


# Lines in combined format, and lines of other formats (error logs, a virtual host before the address).
FAIL2BAN = {"apache-badbots": (3, 1), "nginx-bad-request": (8, 0), "nginx-botsearch": (8, 6), "php-url-fopen": (1, 0)}


@pytest.mark.parametrize("name", FAIL2BAN)
def test_addresses_of_fail2ban_samples(conformance, name):
    path = conformance(f"fail2ban/{name}")
    expected, read, others = {}, 0, 0
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if text.startswith("# failJSON:"):
            expected = json.loads(text.partition(":")[2])
        elif text and not text.startswith("#"):
            fields = parse(text.encode())
            if isinstance(fields, Fields):
                assert fields.ip == expected["host"], text
                read += 1
            else:
                others += 1
    assert (read, others) == FAIL2BAN[name]


@pytest.mark.parametrize(
    "name", ["apache-auth", "nginx-http-auth", "apache-fakegooglebot", "apache-modsecurity", "nginx-limit-req"]
)
def test_lines_of_other_formats_name_nobody(conformance, name):
    """Error logs hold injected addresses; none may be taken for that of a client."""
    path = conformance(f"fail2ban/{name}")
    lines = [text for text in path.read_bytes().split(b"\n") if text and not text.startswith(b"#")]
    assert lines
    assert all(isinstance(parse(text), Rejected) for text in lines)
