"""Makes the record of an operation: who, what, on what, by which rule, with which outcome. Values never enter it.

Law: the clear data of a record are the request fields that the catalogue names and the notes that the operation took;
both hold ids, names, counts and enums only.
"""

from collections.abc import Callable, Mapping
from typing import Any

from guard.audit.entry import Record, body
from guard.audit.frame import Frame
from guard.catalogue import Actor, Context, Decision, Operation
from guard.db.entry import Entry
from guard.errors import GuardError
from guard.wire.ids import uuid7

ID_BYTES = 10
SALT_BYTES = 16
MAX_FRAMES = 4096  # of about 1 kB each; then all are made anew
MAX_RESOURCES = 8  # of a batch; the record says how many more there were


class Recorder:
    """Builds entries for the commit pipeline; *node* names this process in each record."""

    def __init__(self, clock: Callable[[], int], random: Callable[[int], bytes], node: str) -> None:
        self._clock = clock
        self._random = random
        self._node = node
        self._frames: dict[tuple[object, ...], Frame] = {}

    def entry(
        self,
        operation: Operation,
        request: Any,
        context: Context,
        decision: Decision | None = None,
        error: GuardError | None = None,
        *,
        phase: str = "event",
        intent: str | None = None,
    ) -> Entry:
        """The record of *operation* as *context* leaves it; *error* makes it a refusal."""
        if error is None and decision is not None and phase == "event":
            return self._framed(operation, context, decision, _facts(operation, request, context))
        code = None if error is None else error.code
        return self._write(
            context.actor,
            operation.name,
            " ".join(context.resources[:MAX_RESOURCES]),
            decision,
            "ok" if error is None else "refused",
            code,
            context.request_id,
            _facts(operation, request, context),
            phase,
            intent,
        )

    def _framed(
        self, operation: Operation, context: Context, decision: Decision, data: Mapping[str, Any] | None
    ) -> Entry:
        """The record of a success, which is nearly every record: from a frame that is kept."""
        actor = context.actor
        names = context.resources
        resource = names[0] if len(names) == 1 else " ".join(names[:MAX_RESOURCES])
        key = (
            operation.name,
            actor.subject,
            actor.tenant,
            actor.kind,
            actor.credential,
            resource,
            decision.rule,
            decision.version,
        )
        frame = self._frames.get(key)
        if frame is None:
            if len(self._frames) >= MAX_FRAMES:
                self._frames.clear()
            frame = self._frames[key] = Frame(
                action=operation.name,
                actor={"id": actor.subject, "type": actor.kind, "auth": actor.credential},
                decision=_decided(decision),
                node=self._node,
                resource=resource,
                result={"status": "ok"},
                tenant=actor.tenant,
            )
        now_us = self._clock()
        random = self._random(ID_BYTES + SALT_BYTES)
        record_id = uuid7(now_us, random)
        body = frame.body(
            record_id=record_id, salt=random[ID_BYTES:], time_us=now_us, request_id=context.request_id, data=data
        )
        return Entry(
            body,
            record_id,
            actor.tenant,
            now_us,
            "event",
            None,
            actor.subject,
            operation.name,
            resource,
            True,
            "ok",
            None,
        )

    def unknown(self, actor: Actor, action: str, intent: str, request_id: str) -> Entry:
        """The record that an intent's outcome is not known: its process ended before it could say."""
        return self._write(actor, action, "", None, "unknown", None, request_id, None, "unknown", intent)

    def _write(
        self,
        actor: Actor,
        action: str,
        resource: str,
        decision: Decision | None,
        status: str,
        code: str | None,
        request_id: str,
        data: Mapping[str, Any] | None,
        phase: str,
        intent: str | None,
    ) -> Entry:
        now_us = self._clock()
        random = self._random(ID_BYTES + SALT_BYTES)
        record_id = uuid7(now_us, random)
        record = Record(
            id=record_id,
            salt=random[ID_BYTES:],
            tenant=actor.tenant,
            time_us=now_us,
            phase=phase,
            intent=intent,
            node=self._node,
            actor={"id": actor.subject, "type": actor.kind, "auth": actor.credential},
            action=action,
            resource={"id": resource},
            decision=_decided(decision),
            request={"id": request_id},
            result={"status": status} if code is None else {"status": status, "code": code},
            data=data,
        )
        allowed = decision is not None and decision.allow
        names = (actor.subject, action, resource, allowed, status, code)
        return Entry(body(record), record_id, actor.tenant, now_us, phase, intent, *names)


def _decided(decision: Decision | None) -> Mapping[str, Any]:
    if decision is None:
        return {"allow": False}
    return {"allow": decision.allow, "rule": decision.rule, "policy": decision.version}


def _facts(operation: Operation, request: Any, context: Context) -> Mapping[str, Any] | None:
    facts = context.notes
    if operation.audit:
        named = {name: value for name in operation.audit if (value := getattr(request, name, None)) is not None}
        facts = named | facts
    more = len(context.resources) - MAX_RESOURCES
    if more > 0:
        facts = facts | {"more_resources": more}
    return facts or None
