"""W3C trace context in and out, over HTTP and Kafka, whether or not spans are exported."""

import re
import secrets
from contextvars import ContextVar
from typing import Final

TRACEPARENT: Final = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}\Z")
current: ContextVar[str | None] = ContextVar("traceparent", default=None)


def continue_or_start(incoming: str | None) -> str:
    """A traceparent of the incoming trace with a span id of our own; a new trace where there is none or it is malformed."""
    if incoming is not None and TRACEPARENT.match(incoming):
        version, trace, _, flags = incoming.split("-")
        return f"{version}-{trace}-{secrets.token_hex(8)}-{flags}"
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-00"
