"""What a use case answered, as a response."""

from typing import Final

import msgspec
from fastapi import Response

from closedloop.recovery.service import NO_CONTENT, Answer

_encode: Final = msgspec.json.Encoder().encode


def answered(answer: Answer) -> Response:
    """Status and body, the same as are kept for a repetition."""
    status, body = answer
    if status == NO_CONTENT:
        return Response(status_code=status)
    return Response(_encode(body), status, media_type="application/json")
