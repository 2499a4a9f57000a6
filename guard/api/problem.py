"""Errors as `application/problem+json` (RFC 9457). The only place that knows an HTTP status. No I/O.

Law: a problem carries code, title, detail, hint and request id, and ids and counts; never a submitted value.
"""

from collections.abc import Mapping
from http import HTTPStatus

import orjson

from guard.errors import (
    BodyTooLarge,
    GuardError,
    InternalError,
    InvalidRequest,
    Kind,
    MalformedBody,
    MethodNotAllowed,
    RouteNotFound,
    UnsupportedMedia,
)

STATUS = {
    Kind.MALFORMED: 400,
    Kind.UNAUTHENTICATED: 401,
    Kind.DENIED: 403,
    Kind.NOT_FOUND: 404,
    Kind.METHOD_NOT_ALLOWED: 405,
    Kind.CONFLICT: 409,
    Kind.GONE: 410,
    Kind.PRECONDITION: 412,
    Kind.TOO_LARGE: 413,
    Kind.UNSUPPORTED_MEDIA: 415,
    Kind.INVALID: 422,
    Kind.LOCKED: 423,
    Kind.PRECONDITION_MISSING: 428,
    Kind.RATE_LIMITED: 429,
    Kind.INTERNAL: 500,
    Kind.VERIFICATION: 500,
    Kind.UNAVAILABLE: 503,
    Kind.UNREACHABLE: 503,
    Kind.FULL: 507,
}
FRAMEWORK = {
    404: RouteNotFound,
    405: MethodNotAllowed,
    400: MalformedBody,
    413: BodyTooLarge,
    415: UnsupportedMedia,
    422: InvalidRequest,
}
REASONS = {status: HTTPStatus(status).phrase for status in STATUS.values()}
PROBLEM = "application/problem+json"


def problem(error: GuardError, request_id: str) -> tuple[int, bytes, Mapping[str, str]]:
    """Status, body and headers of *error*."""
    status = STATUS[error.kind]
    members: dict[str, object] = {
        "type": f"urn:guard:error:{error.code}",
        "title": error.title,
        "status": status,
        "detail": error.detail,
        "code": error.code,
        "request_id": request_id,
    }
    if error.hint:
        members["hint"] = error.hint
    members |= error.extra
    headers = {"content-type": PROBLEM}
    if status == STATUS[Kind.UNAUTHENTICATED]:
        headers["www-authenticate"] = "Bearer"
    retry_after = error.extra.get("retry_after_seconds")
    if retry_after is not None:
        headers["retry-after"] = str(retry_after)
    return status, orjson.dumps(members, default=str), headers


def from_framework(status: int) -> GuardError:
    """The error that stands for a refusal of the web framework itself."""
    kind = FRAMEWORK.get(status, InternalError)
    return kind("The web server refused this request; check the path and method against /openapi.json.")
