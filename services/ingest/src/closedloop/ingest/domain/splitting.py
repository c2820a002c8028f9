"""A body → the raw JSON of each event or object in it, untouched, so that what was sent can be forwarded."""

import re
from typing import Final

import msgspec

from closedloop.common.events.decoder import refusal_of

_array: Final[msgspec.json.Decoder[list[msgspec.Raw]]] = msgspec.json.Decoder(list[msgspec.Raw])
_WHITE_SPACE: Final = b" \t\r\n"
_TOKEN: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{},]', re.DOTALL)
MAX_SALVAGED_BYTES: Final = 2 * 1024 * 1024
"""In larger bodies one broken item spoils all: to look for it would hold up the other requests."""


def split_array(body: bytes) -> list[bytes]:
    """The items of a JSON array, each of them JSON or not. Raises Refused where the body is no array."""
    try:
        return list(map(bytes, _array.decode(body)))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        items = _split_by_brackets(body) if len(body) <= MAX_SALVAGED_BYTES else None
        if items is None:
            raise refusal_of(error, body) from None
        return items


def _split_by_brackets(body: bytes) -> list[bytes] | None:
    """The items of an array of which one is broken inside (a lone surrogate, too deep): so that it is refused alone.

    None where brackets and quotes do not match up.
    """
    items: list[bytes] = []
    depth = start = 0
    for token in _TOKEN.finditer(body):
        mark = token[0]
        if mark in (b"[", b"{"):
            depth += 1
            if depth == 1:
                if mark == b"{" or body[: token.start()].strip(_WHITE_SPACE):
                    return None
                start = token.end()
        elif mark in (b"]", b"}"):
            depth -= 1
            if depth == 0:
                items.append(body[start : token.start()])
                complete = mark == b"]" and not body[token.end() :].strip(_WHITE_SPACE)
                return items if complete and all(item.strip(_WHITE_SPACE) for item in items) else None
        elif mark == b"," and depth == 1:
            items.append(body[start : token.start()])
            start = token.end()
    return None


def split_lines(body: bytes) -> list[bytes]:
    """The lines of NDJSON; empty ones are left out."""
    return [line for line in body.split(b"\n") if line and not line.isspace()]


def split_one_or_many(body: bytes) -> tuple[list[bytes], bool]:
    """A JSON array's items, or the one object that the body is; and whether it was an array. Raises Refused."""
    if body.lstrip(_WHITE_SPACE)[:1] == b"[":
        return split_array(body), True
    return [body], False
