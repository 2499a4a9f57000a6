"""A frame writes the very bytes of the general way."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.audit.entry import MAX_BODY_BYTES, Record, body
from guard.audit.frame import Frame
from guard.errors import BodyTooLarge, InvalidRequest
from guard.wire.ids import uuid7

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
NAME = st.text("abcdefghijklmnopqrstuvwxyz.", min_size=1, max_size=20)
DATA = st.none() | st.dictionaries(
    st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=12),
    TEXT | st.integers(-(2**53) + 1, 2**53 - 1) | st.booleans() | st.none(),
    max_size=6,
)
TIMES = st.integers(0, 4_102_444_800_000_000)


@settings(max_examples=200, deadline=None)
@given(
    action=NAME,
    subject=TEXT,
    rule=TEXT,
    resource=TEXT,
    tenant=NAME,
    request_id=TEXT,
    data=DATA,
    time_us=TIMES,
    random=st.binary(min_size=26, max_size=26),
)
def test_a_frame_equals_the_general_body(action, subject, rule, resource, tenant, request_id, data, time_us, random):
    actor = {"id": subject, "type": "svc", "auth": "0123456789AB"}
    decision = {"allow": True, "rule": rule, "policy": 7}
    frame = Frame(
        action=action,
        actor=actor,
        decision=decision,
        node="guard-1",
        resource=resource,
        result={"status": "ok"},
        tenant=tenant,
    )
    record_id = uuid7(time_us, random)
    written = frame.body(record_id=record_id, salt=random[10:], time_us=time_us, request_id=request_id, data=data)
    record = Record(
        id=record_id,
        salt=random[10:],
        tenant=tenant,
        time_us=time_us,
        phase="event",
        node="guard-1",
        actor=actor,
        action=action,
        resource={"id": resource},
        decision=decision,
        request={"id": request_id},
        result={"status": "ok"},
        data=data,
    )
    assert written == body(record)


def made() -> Frame:
    actor = {"id": "svc:a", "type": "svc", "auth": ""}
    return Frame(
        action="keys.rotate",
        actor=actor,
        decision={"allow": True},
        node="n",
        resource="keys/a",
        result={"status": "ok"},
        tenant="acme",
    )


@pytest.mark.parametrize("data", [{"a": 1.5}, {"A": 1}, {"a": 2**53}, {"a": "\ud800"}, {"a": object()}])
def test_what_no_record_may_hold_is_refused(data):
    with pytest.raises(InvalidRequest):
        made().body(record_id=uuid7(0, bytes(10)), salt=bytes(16), time_us=0, request_id="r", data=data)


def test_a_body_over_the_limit_is_refused():
    with pytest.raises(BodyTooLarge):
        made().body(
            record_id=uuid7(0, bytes(10)), salt=bytes(16), time_us=0, request_id="r", data={"a": "x" * MAX_BODY_BYTES}
        )
