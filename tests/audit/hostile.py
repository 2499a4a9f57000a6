"""Records that somebody wrote to break a reader: each value in every free place of a record."""

from guard.audit.entry import body, entry
from guard.audit.row import Row
from tests.audit.building import record

VALUES = (
    "a\rb",
    "a\nb",
    "a\r\nCEF:0|forged|forged|1|x|x|1|",
    'a\n{"entry":{},"index":7}',
    "nul\x00in",
    "\x00first",
    "\x1b[2J\x1b[31mred",
    "line\u2028separator\u2029paragraph\x85next",
    "right\u202eto left\u2066isolate\u2069",
    '=HYPERLINK("http://x.example","click")',
    "+1+1",
    "-2+3",
    "@SUM(1)",
    "\t=1",
    "\r=1",
    "'=1",
    "pipe|pipe\\|",
    "a=b=c cs1=forged act=forged",
    "back\\slash\\n\\\\",
    'quote"quote""',
    "bracket]bracket\\]",
    "",
    " ",
    "comma,semicolon;",
    "中文 and 🜁",
    "\x07\x08\x0b\x0c\x7f\x9b31m",
)
LONG = "x" * 30_000 + "\n="  # the largest body is 32 KiB; what is larger never becomes a record
TENANT = "acme"


def rows():
    """Each value as actor, resource, rule, request id, trace and data; then ordinary records of every shape."""
    made = []
    for number, value in enumerate([*VALUES, LONG]):
        parts = {
            "resource": {"id": value},
            "data": {
                "stream": value,
                "subject": value,
                "member": value,
                "role": value,
                "count": 2**53 - 1,
                "none": None,
            },
        }
        if value is not LONG:
            parts |= {
                "actor": {"id": value, "type": "human", "auth": value},
                "decision": {"allow": False, "rule": value},
                "request": {"id": value},
                "result": {"status": "refused", "code": value},
            }
        else:
            parts["data"] = {"n": 1}
        made.append(record(number, **parts))
    shapes = [
        {"phase": "intent"},
        {"phase": "outcome", "intent": "0197c2a4-5b1c-7def-8a12-000000000001"},
        {"result": {"status": "unknown"}, "phase": "unknown", "intent": "0197c2a4-5b1c-7def-8a12-000000000002"},
        {"decision": None, "request": None, "result": None, "resource": None},
        {"hmac": {"a": "b"}, "sealed": {"c": "d"}, "behalf": {"id": "x"}, "clock": {"sync": True, "off_us": -3}},
        {"action": "grants.add", "data": {"member": "user:local|ana", "role": "role:support"}},
        {"action": "grants.remove", "data": {"member": "user:local|ana", "role": "role:support"}},
        {"action": "principals.bootstrap", "data": {"tenant": "acme", "subject": "svc:billing", "kind": "svc"}},
        {"action": "tokens.create", "data": {"subject": "svc:billing", "kind": "svc"}},
        {"action": "tokens.revoke", "data": {"handle": "0123456789AB"}},
        {"action": "tokens.exchange", "data": None},
        {"action": "tenants.create", "data": {"tenant": "globex"}},
        {"action": "fields.encrypt", "data": {"sealed": ["x"]}},
        {"action": "fields.mask"},
        {"action": "indexes.compute"},
        {"action": "events.push", "data": {"stream": "shop", "alerts": 2, "decisions": 1}},
        {"action": "events.push", "data": {"stream": "shop", "alerts": 0}},
        {"action": "keys.rotate", "result": {"status": "refused", "code": "GRD-AUTHN-001"}},
        {"action": "something.unheard_of"},
    ]
    made += [record(len(made) + at, **shape) for at, shape in enumerate(shapes)]
    return [Row.of(index + 1000, entry(body(one), index)) for index, one in enumerate(made)]
