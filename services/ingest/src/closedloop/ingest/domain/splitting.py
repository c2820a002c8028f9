"""A body → the raw JSON of each event or object in it, untouched, so that what was sent can be forwarded."""

from typing import Final

import msgspec

from closedloop.common.events.decoder import refusal_of

_array: Final[msgspec.json.Decoder[list[msgspec.Raw]]] = msgspec.json.Decoder(list[msgspec.Raw])
_WHITE_SPACE: Final = b" \t\r\n"


def split_array(body: bytes) -> list[bytes]:
    """The items of a JSON array. Raises Refused where the body is none."""
    try:
        return list(map(bytes, _array.decode(body)))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise refusal_of(error, body) from None


def split_lines(body: bytes) -> list[bytes]:
    """The lines of NDJSON; empty ones are left out."""
    return [line for line in body.split(b"\n") if line and not line.isspace()]


def split_one_or_many(body: bytes) -> tuple[list[bytes], bool]:
    """A JSON array's items, or the one object that the body is; and whether it was an array. Raises Refused."""
    if body.lstrip(_WHITE_SPACE)[:1] == b"[":
        return split_array(body), True
    return [body], False
