"""Every export format gives back exactly what was logged, whatever a value holds, and forges no line."""

import base64
import csv
import io
import json
import re
import sys
from datetime import UTC, datetime
from functools import cache

import pytest
from jsonschema import Draft202012Validator
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema
from pyarrow import parquet

from guard import plugins
from guard.audit.columns import NAMES, cells, time_us
from guard.audit.export_work import FOLDER
from guard.audit.exports import parquet as our_parquet
from guard.audit.tree import leaf_hash
from guard.errors import InvalidRequest
from tests.audit import hostile

ROWS = hostile.rows()
FORMATS = plugins.names(FOLDER)
TEXT = [name for name in FORMATS if hasattr(plugins.load(FOLDER, name), "line")]


def written(name, rows=None):
    out = io.BytesIO()
    rows = ROWS if rows is None else rows
    assert plugins.load(FOLDER, name).write(iter(rows), out) == len(rows)
    return out.getvalue()


# every plugin of the folder


def test_the_formats_that_were_promised_are_there():
    assert {"cef", "csv", "jsonl", "ocsf", "parquet"} <= set(FORMATS)


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_says_what_it_is(name):
    plugin = plugins.load(FOLDER, name)
    assert re.fullmatch(r"[a-z]+/[a-z0-9.+-]+(; .+)?", plugin.MEDIA_TYPE)
    assert re.fullmatch(r"[a-z0-9]+(\.[a-z0-9]+)*", plugin.SUFFIX)


@pytest.mark.parametrize("name", FORMATS)
def test_no_records_are_a_file_too(name):
    written(name, [])


@pytest.mark.parametrize("name", FORMATS)
def test_equal_records_give_equal_bytes(name):
    assert written(name) == written(name)


@pytest.mark.parametrize("name", FORMATS)
def test_records_are_taken_one_by_one_and_not_collected(name):
    """A generator that counts how far it was read when something was written first: a format keeps no list of all."""
    seen = []

    class Out(io.BytesIO):
        def write(self, data):
            seen.append(taken)
            return super().write(data)

    taken = 0

    def source():
        nonlocal taken
        for _ in range(400):
            for row in ROWS:
                taken += 1
                yield row

    plugins.load(FOLDER, name).write(source(), Out())
    assert any(0 < at < taken for at in seen)


@pytest.mark.parametrize("name", TEXT)
def test_write_is_the_lines_one_after_the_other(name):
    lines = b"".join(plugins.load(FOLDER, name).line(row) for row in ROWS)
    assert written(name).endswith(lines)
    assert written(name)[: -len(lines)] == written(name, [])


@pytest.mark.parametrize("name", [name for name in TEXT if name != "csv"])
def test_a_record_is_one_line_and_no_value_ends_or_forges_one(name):
    for row in ROWS:
        line = plugins.load(FOLDER, name).line(row)
        assert line.endswith(b"\n")
        assert line.count(b"\n") == 1
        assert b"\r" not in line
        assert not re.search(rb"[\x00-\x08\x0b-\x1f]", line), "a control character would steer a terminal"


# each by a foreign reader


def test_json_lines_are_read_back_with_the_exact_entry():
    for row, line in zip(ROWS, written("jsonl").split(b"\n")[:-1], strict=True):
        found = json.loads(line)
        assert sorted(found) == ["entry", "index", "leaf"]
        again = json.dumps(found["entry"], sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        assert (found["index"], again) == (row.index, row.entry)
        assert base64.b64decode(found["leaf"]) == leaf_hash(again)


def table():
    return list(csv.DictReader(io.StringIO(written("csv").decode(), newline="")))


def test_csv_is_read_back_with_the_exact_entry():
    for row, found in zip(ROWS, table(), strict=True):
        assert (int(found["index"]), int(found["n"])) == (row.index, row.n)
        assert found["entry"].encode() == row.entry
        assert base64.b64decode(found["leaf"]) == leaf_hash(row.entry)


def test_csv_cells_are_the_values_but_for_the_quote_before_a_formula():
    for row, found in zip(ROWS, table(), strict=True):
        for name, value in zip(NAMES, cells(row), strict=True):
            cell = found[name]
            if isinstance(value, str) and value[:1] and value[0] in "=+-@\t\r\0":
                assert cell == "'" + value
            elif isinstance(value, bool):
                assert cell == str(value).lower()
            else:
                assert cell == ("" if value is None else str(value))


def test_no_csv_cell_is_a_formula():
    for found in table():
        assert [cell for cell in found.values() if cell[:1] and cell[0] in "=+-@\t\r\0"] == []


def test_csv_rows_end_as_rfc_4180_says_and_all_have_the_same_number_of_cells():
    content = written("csv").decode()
    rows = list(csv.reader(io.StringIO(content, newline=""), strict=True))
    assert {len(one) for one in rows} == {len(NAMES) + 2}
    outside = re.sub(r'"(?:[^"]|"")*"', "", content)
    assert outside.count("\r\n") == len(ROWS) + 1
    assert outside.replace("\r\n", "").count("\n") == outside.replace("\r\n", "").count("\r") == 0


def test_parquet_is_read_back_and_proves_itself():
    found = parquet.read_table(io.BytesIO(written("parquet"))).to_pylist()
    for row, one in zip(ROWS, found, strict=True):
        assert (one["index"], one["n"], one["entry"], one["leaf"]) == (row.index, row.n, row.entry, row.leaf)
        assert leaf_hash(one["entry"]) == one["leaf"]
        values = dict(zip(NAMES, cells(row), strict=True))
        assert one["time"] == datetime.fromisoformat(values.pop("time"))
        assert one["time"].tzinfo is not None
        assert {name: one[name] for name in values} == values


def test_parquet_is_written_in_row_groups():
    many = [ROWS[0]] * (our_parquet.GROUP * 2 + 5)
    assert parquet.ParquetFile(io.BytesIO(written("parquet", many))).num_row_groups == 3


def test_parquet_without_its_package_is_refused_in_a_plain_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InvalidRequest) as raised:
        our_parquet.write([], io.BytesIO())
    assert "'parquet'" in raised.value.detail


# CEF, by a parser written from the specification alone


def parse_cef(line):
    """Header fields and extension pairs (CEF revision 25): a value runs up to the next ` key=`."""
    fields, at = [""], 0
    while len(fields) < 8:
        if line[at] == "\\":
            fields[-1] += line[at + 1]
            at += 2
        elif line[at] == "|":
            fields.append("")
            at += 1
        else:
            fields[-1] += line[at]
            at += 1
    rest = line[at:]
    starts = list(re.finditer(r"(?:^| )([A-Za-z0-9_]+)=", rest))
    ends = [found.start() for found in starts[1:]] + [len(rest)]
    pairs = {found[1]: unescape(rest[found.end() : end]) for found, end in zip(starts, ends, strict=True)}
    return fields[:7], pairs


def unescape(value):
    return re.sub(r"\\(.)", lambda found: {"n": "\n", "r": "\r"}.get(found[1], found[1]), value)


def numbered(value):
    """What CEF cannot hold stands as its number."""
    return "".join(
        f"\\u{ord(mark):04x}" if not mark.isprintable() and mark not in "\r\n" and ord(mark) < 0x3000 else mark
        for mark in value
    )


def test_cef_is_read_back_with_the_exact_entry():
    for row, line in zip(ROWS, written("cef").decode().split("\n")[:-1], strict=True):
        header, pairs = parse_cef(line)
        assert header[:3] == ["CEF:0", "guard", "guard"]
        assert header[4:6] == [row.body["action"]] * 2
        assert 0 <= int(header[6]) <= 10
        assert base64.b64decode(pairs["cs6"]) == leaf_hash(row.entry)
        assert (int(pairs["cn1"]), pairs["cn1Label"], int(pairs["cn2"])) == (row.index, "index", row.n)
        assert int(pairs["rt"]) == time_us(row) // 1000
        entry = re.sub(
            r"\\u(2028|2029|0085|202e|2066|2069|007f|009b)", lambda m: chr(int(m[1], 16)), pairs["guardEntry"]
        )
        assert entry.encode() == row.entry


def test_cef_fields_are_the_values():
    for row, line in zip(ROWS, written("cef").decode().split("\n")[:-1], strict=True):
        pairs = parse_cef(line)[1]
        actor, resource = row.body.get("actor") or {}, row.body.get("resource") or {}
        assert pairs["suser"] == numbered(actor["id"])
        assert pairs.get("cs2") == (numbered(resource["id"]) if resource else None)
        assert pairs["act"] == row.body["action"]


def test_an_action_cannot_break_out_of_the_cef_header():
    row = ROWS[0]
    forged = type(row)(row.index, row.entry, row.leaf, row.n, {**row.body, "action": "a|b\\c\nd|9|act=x"})
    line = plugins.load(FOLDER, "cef").line(forged).decode()
    header, pairs = parse_cef(line.removesuffix("\n"))
    assert header[4] == "a|b\\c d|9|act=x"
    assert pairs["act"] == "a|b\\c\nd|9|act=x"


# OCSF, by the published schemas


@cache
def validator(class_uid):
    schema = OcsfJsonSchemaEmbedded(get_ocsf_schema("1.8.0"))
    name = schema.lookup_class_name_from_uid(class_uid)
    return Draft202012Validator(schema.get_class_schema(class_name=name, profiles=[]))


def events():
    return [json.loads(line) for line in written("ocsf").split(b"\n")[:-1]]


def test_every_ocsf_event_validates_against_the_published_schema():
    for event in events():
        faults = [
            f"{list(fault.path)}: {fault.message[:200]}" for fault in validator(event["class_uid"]).iter_errors(event)
        ]
        assert faults == [], event["message"]


def test_the_schema_refuses_an_event_that_lacks_something():
    """The control: the validator that passes all of ours does refuse."""
    event = next(one for one in events() if one["class_uid"] == 6003)
    for name in ("actor", "src_endpoint", "time"):
        assert list(validator(6003).iter_errors({key: value for key, value in event.items() if key != name}))
    assert list(validator(6003).iter_errors(event | {"made_up": 1}))


def test_ocsf_keeps_the_exact_entry_with_its_place():
    for row, event in zip(ROWS, events(), strict=True):
        assert event["raw_data"].encode() == row.entry
        assert event["unmapped"]["index"] == event["metadata"]["sequence"] == row.index
        assert base64.b64decode(event["unmapped"]["leaf"]) == leaf_hash(row.entry)
        assert event["time"] == time_us(row) // 1000
        assert event["type_uid"] == event["class_uid"] * 100 + event["activity_id"]


@pytest.mark.parametrize(
    ("action", "class_uid", "activity_id"),
    [
        ("grants.add", 3005, 1),
        ("grants.remove", 3005, 2),
        ("principals.bootstrap", 3001, 1),
        ("tokens.create", 3004, 1),
        ("tokens.exchange", 3002, 1),
        ("tenants.create", 3004, 1),
        ("fields.encrypt", 6005, 5),
        ("something.unheard_of", 6003, 99),
    ],
)
def test_work_on_accounts_roles_and_fields_has_its_class(action, class_uid, activity_id):
    (event,) = [one for one in events() if one["message"] == action]
    assert (event["class_uid"], event["activity_id"]) == (class_uid, activity_id)
    assert event["activity_name"]


def test_pushed_logs_that_raised_alerts_are_findings_and_others_are_not():
    found = [one["class_uid"] for one in events() if one["message"] == "events.push"]
    assert found == [2004, 6003]


def test_who_was_not_known_failed_to_log_on():
    (event,) = [one for one in events() if one["message"] == "keys.rotate"]
    assert (event["class_uid"], event["status_id"]) == (3002, 2)


def test_the_time_is_that_of_the_record():
    row = ROWS[0]
    assert (
        datetime.fromtimestamp(time_us(row) / 1e6, UTC).isoformat(timespec="microseconds")[:19] == row.body["time"][:19]
    )
