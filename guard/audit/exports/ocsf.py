"""OCSF 1.8.0 events as JSON lines, one for each record, of the class that fits what was done. No I/O.

Law: every event validates against the published schema of its class, without profiles. The exact entry is `raw_data`;
index, leaf and number stand in `unmapped`, where the schema leaves room. guard records no address of a caller, so
`src_endpoint`, which the schema asks for, says so.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, BinaryIO

import orjson

from guard import __version__
from guard.audit.columns import leaf_text, part, text, time_us
from guard.audit.row import Row

MEDIA_TYPE = "application/jsonl"
SUFFIX = "ocsf.jsonl"
VERSION = "1.8.0"
ACCOUNT, AUTHENTICATION, ENTITY, ACCESS = 3001, 3002, 3004, 3005
API, DATASTORE, FINDING = 6003, 6005, 2004
CREATE, READ, UPDATE, DELETE, OTHER = 1, 2, 3, 4, 99
NOT_RECORDED = MappingProxyType({"name": "not recorded"})
CATEGORIES = {2: "Findings", 3: "Identity & Access Management", 6: "Application Activity"}
CLASSES = {
    ACCOUNT: "Account Change",
    AUTHENTICATION: "Authentication",
    ENTITY: "Entity Management",
    ACCESS: "User Access Management",
    API: "API Activity",
    DATASTORE: "Datastore Activity",
    FINDING: "Detection Finding",
}
KINDS = {
    "fields.decrypt": (DATASTORE, 1, "Read"),
    "fields.encrypt": (DATASTORE, 5, "Write"),
    "fields.mask": (DATASTORE, 1, "Read"),
    "fields.search": (DATASTORE, 4, "Query"),
    "grants.add": (ACCESS, 1, "Assign Privileges"),
    "grants.remove": (ACCESS, 2, "Revoke Privileges"),
    "indexes.compute": (DATASTORE, 4, "Query"),
    "principals.bootstrap": (ACCOUNT, 1, "Create"),
    "sources.search": (DATASTORE, 4, "Query"),
    "tenants.create": (ENTITY, 1, "Create"),
    "tokens.create": (ENTITY, 1, "Create"),
    "tokens.exchange": (AUTHENTICATION, 1, "Logon"),
    "tokens.revoke": (ENTITY, 4, "Delete"),
}
"""Actions that are work on accounts, roles, tokens or fields; all others are calls of an API."""
VERBS = {
    **dict.fromkeys(("add", "append", "create", "open", "push", "start"), (CREATE, "Create")),
    **dict.fromkeys(("check", "download", "evaluate", "latest", "list", "prove", "read", "search"), (READ, "Read")),
    **dict.fromkeys(("advance", "command", "pause", "resume", "rotate", "step", "transition"), (UPDATE, "Update")),
    **dict.fromkeys(("cancel", "delete", "remove", "retire", "revoke"), (DELETE, "Delete")),
}
STATUS = {"ok": (1, "Success"), "refused": (2, "Failure")}
INFORMATIONAL, MEDIUM = (1, "Informational"), (3, "Medium")
UNAUTHENTICATED = "GRD-AUTHN-001"


def line(row: Row) -> bytes:
    """The event of a record, with its newline."""
    return orjson.dumps(event(row)) + b"\n"


def write(rows: Iterable[Row], out: BinaryIO) -> int:
    """Write the lines of *rows*; how many."""
    count = 0
    for row in rows:
        out.write(line(row))
        count += 1
    return count


def event(row: Row) -> dict[str, Any]:
    """The OCSF event of a record."""
    body = row.body
    class_uid, activity_id, activity = _kind(body)
    status_id, status = STATUS.get(str(part(body, "result").get("status")), (0, "Unknown"))
    severity_id, severity = MEDIUM if class_uid == FINDING or status_id != 1 else INFORMATIONAL
    told = {
        "activity_id": activity_id,
        "activity_name": activity,
        "category_name": CATEGORIES[class_uid // 1000],
        "category_uid": class_uid // 1000,
        "class_name": CLASSES[class_uid],
        "class_uid": class_uid,
        "message": _text(body.get("action")),
        "metadata": _metadata(row),
        "raw_data": row.entry.decode(),
        "severity": severity,
        "severity_id": severity_id,
        "status": status,
        "status_id": status_id,
        "time": time_us(row) // 1000,
        "type_name": f"{CLASSES[class_uid]}: {activity}",
        "type_uid": class_uid * 100 + activity_id,
        "unmapped": {"index": row.index, "leaf": leaf_text(row), "n": row.n, "phase": _text(body.get("phase"))},
    }
    code = part(body, "result").get("code")
    return told | ({"status_code": _text(code)} if code is not None else {}) | _PARTS[class_uid](row)


def _kind(body: Mapping[str, Any]) -> tuple[int, int, str]:
    action = _text(body.get("action"))
    if part(body, "result").get("code") == UNAUTHENTICATED:
        return AUTHENTICATION, 1, "Logon"
    if part(body, "data").get("alerts"):  # what was pushed raised some
        return FINDING, CREATE, "Create"
    if action in KINDS:
        return KINDS[action]
    return API, *VERBS.get(action.rpartition(".")[2], (OTHER, "Other"))


def _metadata(row: Row) -> dict[str, Any]:
    body = row.body
    return {
        "event_code": _text(body.get("action")),
        "log_name": "guard audit",
        "original_time": _text(body.get("time")),
        "product": {"name": "guard", "vendor_name": "guard", "version": __version__},
        "sequence": row.index,
        "tenant_uid": _text(body.get("tenant")),
        "uid": _text(body.get("id")),
        "version": VERSION,
    } | ({"correlation_uid": _text(body["intent"])} if body.get("intent") else {})


def _actor(row: Row) -> dict[str, Any]:
    actor, decision = part(row.body, "actor"), part(row.body, "decision")
    allowed = {"decision": "allow" if decision.get("allow") else "deny"}
    rule = {"policy": {"uid": _text(decision["rule"])}} if decision.get("rule") else {}
    session = {"session": {"uid": _text(actor["auth"])}} if actor.get("auth") else {}
    return {"user": _subject(actor.get("id"), actor.get("type")), "authorizations": [allowed | rule]} | session


def _subject(name: object, kind: object = None) -> dict[str, Any]:
    found: dict[str, Any] = {"uid": _text(name)}
    return found | ({"type": _text(kind), "type_id": OTHER} if kind else {})


def _call(row: Row) -> dict[str, Any]:
    api: dict[str, Any] = {"operation": _text(row.body.get("action")), "service": {"name": "guard"}}
    if request := part(row.body, "request").get("id"):
        api["request"] = {"uid": _text(request)}
    return {"actor": _actor(row), "api": api, "src_endpoint": dict(NOT_RECORDED), "resources": _resources(row)}


def _resources(row: Row) -> list[dict[str, Any]]:
    names = _text(part(row.body, "resource").get("id")).split(" ")
    return [{"uid": name} for name in names]


def _datastore(row: Row) -> dict[str, Any]:
    column = _text(part(row.body, "resource").get("id")).removeprefix("fields/").partition("/")[0]
    table = column.partition(".")[0]
    return {"actor": _actor(row), "src_endpoint": dict(NOT_RECORDED), "table": {"name": table, "uid": column}}


def _account(row: Row) -> dict[str, Any]:
    return {"actor": _actor(row), "user": _subject(part(row.body, "data").get("subject"))}


def _access(row: Row) -> dict[str, Any]:
    data = part(row.body, "data")
    return {"actor": _actor(row), "privileges": [_text(data.get("role"))], "user": _subject(data.get("member"))}


def _entity(row: Row) -> dict[str, Any]:
    data, action = part(row.body, "data"), _text(row.body.get("action"))
    name = data.get("handle") or data.get("subject") or data.get("tenant")
    entity = {"name": _text(name) or "unknown", "type": action.partition(".")[0].removesuffix("s"), "type_id": OTHER}
    return {"actor": _actor(row), "entity": entity}


def _logon(row: Row) -> dict[str, Any]:
    actor = part(row.body, "actor")
    return {"actor": _actor(row), "user": _subject(actor.get("id")), "service": {"name": "guard"}}


def _finding(row: Row) -> dict[str, Any]:
    body = row.body
    stream = _text(part(body, "data").get("stream"))
    return {"finding_info": {"uid": _text(body.get("id")), "title": f"Alerts in stream {stream}"}}


def _text(value: object) -> str:
    return text(value) or ""


_PARTS = {
    ACCOUNT: _account,
    AUTHENTICATION: _logon,
    ENTITY: _entity,
    ACCESS: _access,
    API: _call,
    DATASTORE: _datastore,
    FINDING: _finding,
}
