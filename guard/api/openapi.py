"""The OpenAPI 3.1 document, built from the catalogue alone. No I/O."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic.json_schema import models_json_schema

from guard import __version__
from guard.api.problem import PROBLEM
from guard.catalogue import Operation
from guard.wire.model import Attachment, Content

REF = "#/components/schemas/{model}"
PARAMETER = re.compile(r"\{([a-z_]+)\}")
PROBLEMS = {
    "400": "Malformed request",
    "401": "Not authenticated",
    "403": "Permission denied",
    "404": "Not found",
    "409": "Conflict",
    "413": "Body too large",
    "415": "Unsupported media type",
    "422": "Invalid request",
    "429": "Too many requests",
    "500": "Internal error",
    "503": "Unavailable; nothing was done",
}


def document(operations: Iterable[Operation], public: Mapping[str, str]) -> dict[str, Any]:
    """The whole document; *public* maps the paths outside the catalogue to their summaries."""
    routed = [item for item in operations if item.path]
    models = {(model, "validation") for item in routed for model in (item.takes,)} | {
        (item.gives, "serialization") for item in routed
    }
    references, shared = models_json_schema(sorted(models, key=lambda m: (m[0].__name__, m[1])), ref_template=REF)  # type: ignore[arg-type]
    paths: dict[str, dict[str, Any]] = {}
    for item in routed:
        entry = _entry(item, references)
        paths.setdefault(str(item.path), {})[str(item.method).lower()] = entry
    for path, summary in public.items():
        name = path.strip("/").replace(".", "_")
        paths[path] = {
            "get": {
                "operationId": f"public_{name}",
                "summary": summary,
                "tags": ["service"],
                "security": [],
                "responses": {"200": {"description": "OK"}},
            }
        }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "guard",
            "version": __version__,
            "summary": "Field encryption, roles, abuse detection and incident runbooks behind one audited API.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}],
        "tags": [{"name": name} for name in sorted({_tag(item) for item in routed} | {"service"})],
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": shared.get("$defs", {}) | {"Problem": _problem_schema()},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "grd_..."}},
        },
    }


def _entry(item: Operation, references: Mapping[Any, Any]) -> dict[str, Any]:
    names = PARAMETER.findall(str(item.path))
    schema = item.takes.model_json_schema(ref_template=REF)
    properties = schema.get("properties", {})
    parameters = [
        {"name": n, "in": "path", "required": True, "schema": properties.get(n, {"type": "string"})} for n in names
    ]
    entry: dict[str, Any] = {
        "operationId": item.operation_id,
        "summary": item.summary,
        "tags": [_tag(item)],
        "description": f"Permission `{item.permission}`. Effect {item.effect.value}.",
        "responses": {
            "200": {
                "description": "OK",
                "content": _content(item, references),
            },
            **{
                status: {
                    "description": text,
                    "content": {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}},
                }
                for status, text in PROBLEMS.items()
            },
        },
    }
    if item.method == "GET":
        required = set(schema.get("required", []))
        parameters += [
            {"name": n, "in": "query", "required": n in required, "schema": s}
            for n, s in properties.items()
            if n not in names
        ]
    else:
        body = {key: value for key, value in schema.items() if key != "$defs"}
        body["properties"] = {n: s for n, s in properties.items() if n not in names}
        body["required"] = [n for n in schema.get("required", []) if n not in names]
        entry["requestBody"] = {
            "required": bool(body["required"]),
            "content": {"application/json": {"schema": body, "example": dict(item.example)}},
        }
    if item.public:
        entry["security"] = [{}, {"bearer": []}]
    if parameters:
        entry["parameters"] = parameters
    return entry


def _content(item: Operation, references: Mapping[Any, Any]) -> dict[str, Any]:
    if issubclass(item.gives, Attachment | Content):
        kind = item.gives.documented
        return {kind: {"schema": {"type": "string", "contentMediaType": kind}}}
    return {"application/json": {"schema": references[(item.gives, "serialization")]}}


def _tag(item: Operation) -> str:
    return item.name.split(".", 1)[0]


def _problem_schema() -> dict[str, Any]:
    text = {"type": "string"}
    return {
        "type": "object",
        "description": "RFC 9457 problem. No member holds a submitted value.",
        "required": ["type", "title", "status", "detail", "code", "request_id"],
        "properties": {
            "type": text,
            "title": text,
            "status": {"type": "integer"},
            "detail": text,
            "code": text,
            "request_id": text,
            "hint": text,
            "errors": {"type": "array", "items": {"type": "object"}},
        },
    }
