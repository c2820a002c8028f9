"""What a use case answered, as a response."""

from typing import Any, Final

import msgspec
from fastapi import Response

from closedloop.recovery.service import NO_CONTENT, Answer

PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    "4XX": {
        "description": "What was wrong, as RFC 9457 says it; `errors` names the fields.",
        "content": {"application/problem+json": {"schema": {"type": "object", "required": ["type", "title", "status"]}}},
    },
    "5XX": {
        "description": "Not available at the moment (503: try again after Retry-After), or a defect.",
        "content": {"application/problem+json": {"schema": {"type": "object", "required": ["type", "title", "status"]}}},
    },
}
_encode: Final = msgspec.json.Encoder().encode


def answered(answer: Answer) -> Response:
    """Status and body, the same as are kept for a repetition."""
    status, body = answer
    if status == NO_CONTENT:
        return Response(status_code=status)
    return Response(_encode(body), status, media_type="application/json")
