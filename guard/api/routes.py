"""Catalogue -> FastAPI routes. Every operation with a path gets one route; nothing else below `/api/v1` exists.

Law: 401 comes before the body is read, validation after it; the answer leaves after the record is durable.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from guard import __version__
from guard.api import body as bodies
from guard.api.openapi import document
from guard.api.problem import from_framework, problem
from guard.catalogue import Operation
from guard.db.unit import Unit
from guard.errors import (
    GuardError,
    InvalidRequest,
    MalformedBody,
    MethodNotAllowed,
    StoreUnavailable,
    Unauthenticated,
)
from guard.gate import Gate
from guard.wire.model import Attachment, Content, Model

PUBLIC = {
    "/livez": "The process runs.",
    "/readyz": "The service can take writes.",
    "/version": "The release.",
    "/openapi.json": "This document.",
}

SPANNING = "{tile}"  # the one parameter that holds slashes: c2sp.org/tlog-tiles numbers a tile by a path

Endpoint = Callable[[Request], Awaitable[Response]]


def build(gate: Gate, ready: Callable[[], Mapping[str, bool]], max_body_bytes: int) -> FastAPI:
    """The FastAPI application of *gate*; *ready* names the checks of `/readyz`."""
    app = FastAPI(
        title="guard",
        version=__version__,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry={"logs": False, "operation_spans": False},
    )
    for operation in gate.operations.values():
        if operation.path is not None and operation.method is not None:
            app.add_api_route(
                operation.path.replace(SPANNING, SPANNING[:-1] + ":path}"),
                endpoint(gate, operation, max_body_bytes),
                methods=[operation.method],
                operation_id=operation.operation_id,
                summary=operation.summary,
                response_class=Response,
                response_model=None,
            )
    text = orjson.dumps(document(gate.operations.values(), PUBLIC))
    _public(app, ready, text)
    app.add_exception_handler(HTTPException, _refusal)
    app.add_exception_handler(GuardError, _refusal)
    app.add_exception_handler(Exception, _refusal)
    return app


def endpoint(gate: Gate, operation: Operation, max_body_bytes: int) -> Endpoint:
    """The handler of one operation: identify, read, parse, call, answer."""
    limit = 0 if operation.public else max_body_bytes  # nobody without a credential sends a body

    async def handle(request: Request) -> Response:
        request_id: str = request.scope["guard.request_id"]
        try:
            actor = gate.enter(operation, request.headers.get("authorization"), peer(request.scope))
        except Unauthenticated as error:
            unit = gate.refused(operation, error, request_id, peer=peer(request.scope))
            return _answer(await gate.settle(unit), request_id)
        try:
            received = await _read(request, limit)
            bodies.media_type(request.headers.get("content-type", ""), received)
            wanted = bodies.parse(operation, received, request.path_params, _query(request))
        except GuardError as error:
            return _answer(await gate.settle(gate.refused(operation, error, request_id, actor)), request_id)
        return _answer(await gate.call(operation, wanted, actor, request_id), request_id)

    handle.__name__ = operation.operation_id
    return handle


def encode(answer: Any) -> bytes:
    """JSON bytes of an operation's answer: a wire model, or a plain mapping of the same shape."""
    if isinstance(answer, Model):
        return answer.model_dump_json().encode()
    return orjson.dumps(answer)


def peer(scope: Mapping[str, Any]) -> str:
    """The address of the connection's other end; forwarded headers are not believed."""
    client = scope.get("client")
    return client[0] if client else "local"


def _answer(unit: Unit, request_id: str) -> Response:
    """The answer of a durable unit, or its problem; either names its record and promises that it is in the log."""
    response = _response(unit.result) if unit.error is None else _problem(unit.error, request_id)
    for name, value in evidence(unit):
        response.headers[name] = value
    return response


def evidence(unit: Unit) -> Iterator[tuple[str, str]]:
    """The headers that name the record of a durable unit and carry its receipt."""
    receipt = unit.receipt()
    if unit.record is not None and receipt is not None:
        yield "guard-audit-id", unit.record.id
        yield "guard-audit-receipt", receipt


def _response(answer: Any) -> Response:
    if isinstance(answer, Attachment):
        headers = {"etag": f'"{answer.sha256}"'} if answer.sha256 else {}
        return FileResponse(answer.path, media_type=answer.media_type, filename=answer.file_name, headers=headers)
    if isinstance(answer, Content):
        return Response(answer.content, headers={"content-type": answer.media_type, "cache-control": answer.cache})
    return Response(encode(answer), media_type="application/json")


def _problem(error: BaseException, request_id: str) -> Response:
    known = error if isinstance(error, GuardError) else from_framework(500)
    code, content, headers = problem(known, request_id)
    return Response(content, status_code=code, headers=dict(headers))


def _query(request: Request) -> Mapping[str, str]:
    pairs = request.query_params.multi_items()
    if len(dict(pairs)) != len(pairs):
        raise InvalidRequest("Expected each query parameter once, got one of them again; send it once.")
    return dict(pairs)


async def _read(request: Request, limit: int) -> bytes:
    declared = request.headers.get("content-length", "0")
    bodies.size(int(declared) if declared.isdecimal() else 0, limit)
    parts, length = [], 0
    try:
        async for part in request.stream():
            length += len(part)
            bodies.size(length, limit)
            parts.append(part)
    except ClientDisconnect:
        raise MalformedBody("The connection ended before the body was complete; send it again.") from None
    return b"".join(parts)


def _public(app: FastAPI, ready: Callable[[], Mapping[str, bool]], openapi: bytes) -> None:
    async def livez() -> JSONResponse:
        return JSONResponse({"status": "ok"})

    async def readyz() -> JSONResponse:
        checks = ready()
        if not all(checks.values()):
            failing = ", ".join(name for name, holds in checks.items() if not holds)
            raise StoreUnavailable(f"Not ready: {failing}; see the operator's log.")
        return JSONResponse({"status": "ok", "checks": dict(checks)})

    async def version() -> JSONResponse:
        return JSONResponse({"version": __version__})

    async def openapi_json() -> Response:
        return Response(openapi, media_type="application/json")

    handlers = {"/livez": livez, "/readyz": readyz, "/version": version, "/openapi.json": openapi_json}
    for path, handler in handlers.items():
        app.add_api_route(path, handler, methods=["GET"], response_model=None)


async def _refusal(request: Request, error: Exception) -> Response:
    known = error if isinstance(error, GuardError) else from_framework(getattr(error, "status_code", 500))
    response = _problem(known, request.scope["guard.request_id"])
    if isinstance(known, MethodNotAllowed):
        response.headers["allow"] = _allowed(request)
    return response


def _allowed(request: Request) -> str:
    """The methods of every route with this path (RFC 9110 section 15.5.6); the framework names those of one."""
    here = [route for route in request.app.routes if route.path_regex.match(request.scope["path"])]
    return ", ".join(sorted({method for route in here for method in route.methods}))
