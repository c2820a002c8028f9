"""How the routes stand in OpenAPI. The bodies' schemas are made from the event types that are checked."""

import json
from typing import Any, Final, get_args

from fastapi import FastAPI

from closedloop.common.events.contract import example_file, schema_of
from closedloop.common.events.model import InputEvent
from closedloop.common.events.topics import data_type
from closedloop.ingest.domain.media import Media

_REF: Final = "#/components/schemas/{name}"
_INPUT_TYPES: Final = get_args(InputEvent)
_DATA_OF: Final = {
    "/v1/evaluations": ("EvaluationData",),
    "/v1/complaints": ("ComplaintRegisteredData", "ComplaintEscalatedData", "ComplaintClosedData", "EnquiryRegisteredData"),
    "/v1/enquiries": ("EnquiryRegisteredData",),
    "/v1/orders": ("OrderStatusChangedData",),
}
_ENVELOPE: Final = {
    "id": {"type": "string", "description": "left out: derived, so that a retry is the same event"},
    "source": {"type": "string", "description": "left out: the token's client"},
    "type": {"type": "string", "description": "left out: the route's own"},
    "occurred_at": {"type": "string", "format": "date-time", "description": "with an offset; left out: now"},
}
_PROBLEM: Final = {"content": {"application/problem+json": {"schema": {"$ref": _REF.format(name="Problem")}}}}
_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    202: {
        "description": "Kafka has what was accepted; `rejected` lists at most 100 others, `rejected_total` counts them all.",
        "content": {"application/json": {"schema": {"$ref": _REF.format(name="Taken")}}},
    },
    400: {"description": "The body cannot be read.", **_PROBLEM},
    401: {"description": "No valid token.", **_PROBLEM},
    403: {"description": "The token lacks the scope events:write.", **_PROBLEM},
    408: {"description": "The body did not arrive in time.", **_PROBLEM},
    413: {"description": "The body, the event or the batch is over its limit.", **_PROBLEM},
    415: {"description": "Another media type or coding than those taken.", **_PROBLEM},
    422: {"description": "No event of the request can be taken; `rejected` as in 202.", **_PROBLEM},
    429: {"description": "The client is over its rate; see Retry-After.", **_PROBLEM},
    503: {
        "description": "Kafka did not acknowledge, or too much waits for it. Send the same request again after Retry-After: "
        "events that were written already count once.",
        **_PROBLEM,
    },
}
_COMPONENTS: Final[dict[str, Any]] = {
    "Problem": {
        "type": "object",
        "title": "RFC 9457 problem",
        "required": ["type", "title", "status"],
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "field": {"type": "string"},
        },
    },
    "Taken": {
        "type": "object",
        "required": ["accepted", "rejected"],
        "properties": {
            "accepted": {"type": "integer"},
            "rejected": {
                "type": "array",
                "maxItems": 100,
                "items": {
                    "type": "object",
                    "required": ["index", "problem"],
                    "properties": {"index": {"type": "integer"}, "problem": {"$ref": _REF.format(name="Problem")}},
                },
            },
            "rejected_total": {"type": "integer"},
        },
    },
}


def _event_schemas() -> dict[str, Any]:
    """Each input type and its data, by the name of its Struct, from the contract."""
    found: dict[str, Any] = {}
    for cls in _INPUT_TYPES:
        event = {key: value for key, value in schema_of(cls).items() if key != "$schema"}
        example = json.loads(example_file(event["title"]).read_text(encoding="utf-8"))
        found[cls.__name__] = event | {"examples": [example]}
        found[data_type(cls).__name__] = event["properties"]["data"] | {"examples": [example["data"]]}
    return found


def _body(content: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": content}, "security": [{"HTTPBearer": []}]}


def _array(of: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": of}


_EVENT: Final = {"oneOf": [{"$ref": _REF.format(name=cls.__name__)} for cls in _INPUT_TYPES]}
_DATA: Final = {"oneOf": [{"$ref": _REF.format(name=data_type(cls).__name__)} for cls in _INPUT_TYPES]}
EVENTS_DOCS: Final[dict[str, Any]] = {
    "summary": "CloudEvents over HTTP: structured, batched or binary mode",
    "responses": _RESPONSES,
    "openapi_extra": _body(
        {
            Media.STRUCTURED.value: {"schema": _EVENT},
            Media.BATCH.value: {"schema": _array(_EVENT)},
            Media.JSON.value: {"schema": _DATA},
        }
    ),
}


def docs_of(path: str) -> dict[str, Any]:
    """For a route that takes bare objects."""
    shapes: list[dict[str, Any]] = [{"$ref": _REF.format(name=name)} for name in _DATA_OF[path]]
    one = {"allOf": [{"anyOf": shapes}, {"type": "object", "properties": _ENVELOPE}]}
    return {
        "summary": f"One object, an array or NDJSON of {path.rpartition('/')[2]}, without CloudEvents",
        "responses": _RESPONSES,
        "openapi_extra": _body(
            {
                Media.JSON.value: {"schema": {"oneOf": [one, _array(one)]}},
                Media.NDJSON.value: {"schema": one},
            }
        ),
    }


def describe(app: FastAPI) -> None:
    """Put the event types and the token's scheme among the app's OpenAPI components."""
    made = app.openapi

    def with_events() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = made()
            parts = schema.setdefault("components", {})
            schemas = parts.setdefault("schemas", {})
            schemas.pop("HTTPValidationError", None)  # no route here has what FastAPI would validate
            schemas.update(_event_schemas() | _COMPONENTS)
            parts.setdefault("securitySchemes", {})["HTTPBearer"] = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = with_events  # type: ignore[method-assign]
