"""JSON that every reader understands alike: no duplicate keys, no NUL, no lone surrogates, UTF-8, bounded depth.

msgspec is fast but takes the last of two duplicate keys and lets `\\u0000` through, which PostgreSQL then refuses. A full
strict parse costs three times the decode, so `is_plainly_strict` proves the common case (no escapes, no duplicates) by counting.
"""

from typing import Final

import jiter
import numpy as np
from msgspec import Struct
from msgspec.structs import astuple

from closedloop.common.events.rules import Refused

JSON_PROBLEM_MAX_CHARS: Final = 160
_TAB, _NEWLINE, _RETURN, _SPACE, _QUOTE, _COLON, _BACKSLASH = b'\t\n\r ":\\'
_MANY_BYTES: Final = 4096


def keys_of(*objects: Struct) -> int:
    """How many keys these objects had in JSON, if each had only known ones and none was null."""
    total = 0
    for obj in objects:
        fields = astuple(obj)
        total += len(fields) - fields.count(None)
    return total


def is_plain(raw: bytes) -> bool:
    """True where `raw` surely has neither escapes nor white space before a colon: then each `":` ends a key, and each key so.

    Single characters go first, and as numbers: searched so, they cost a tenth of a search for bytes.
    """
    return (
        _BACKSLASH not in raw
        and _TAB not in raw
        and _NEWLINE not in raw
        and _RETURN not in raw
        and (_SPACE not in raw or b" :" not in raw)
    )


def keys_in_plain(raw: bytes) -> int:
    """How many keys stand in plain JSON."""
    if len(raw) < _MANY_BYTES:
        return raw.count(b'":')
    octets = np.frombuffer(raw, np.uint8)
    return int(np.count_nonzero((octets[:-1] == _QUOTE) & (octets[1:] == _COLON)))


def is_plainly_strict(raw: bytes, keys: int) -> bool:
    """True where `raw`, which decoded to objects with `keys` present keys, surely has neither escapes nor duplicate keys.

    Where `raw` is plain and has as many keys as were decoded, none stood twice. False means only that a full parse must decide.
    """
    return is_plain(raw) and raw.count(b'":') == keys


def check_strict(raw: bytes) -> None:
    """The full check. Raises Refused with the kind of problem and its place, never the payload."""
    try:
        value = jiter.from_json(raw, allow_inf_nan=False, catch_duplicate_keys=True, cache_mode="none")
    except ValueError as error:
        raise Refused("", f"is not strict JSON: {_without_content(str(error))}") from None
    if b"\\u0000" in raw and _has_nul(value):
        raise Refused("", "holds a NUL character (\\u0000), which cannot be stored")


def _without_content(problem: str) -> str:
    # jiter quotes the duplicate key; a key may be personal data as well
    if problem.startswith("Detected duplicate key"):
        return "duplicate key" + problem[problem.rfind(" at line") :]
    return problem[:JSON_PROBLEM_MAX_CHARS]


def _has_nul(value: object) -> bool:
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            if "\0" in item:
                return True
        elif isinstance(item, dict):
            stack.extend(item.keys())
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
    return False
