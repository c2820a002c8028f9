"""JSON that every reader understands alike: no duplicate keys, no NUL, no lone surrogates, UTF-8, bounded depth.

msgspec is fast but takes the last of two duplicate keys and lets `\\u0000` through, which PostgreSQL then refuses. A full
strict parse costs three times the decode, so `is_plainly_strict` proves the common case (no escapes, no duplicates) by counting.
"""

from typing import Final

import jiter
from msgspec import Struct
from msgspec.structs import astuple

from closedloop.common.events.rules import Refused

JSON_PROBLEM_MAX_CHARS: Final = 160
_SPACE_BEFORE_COLON: Final = (b" :", b"\t", b"\n", b"\r")


def keys_of(*objects: Struct) -> int:
    """How many keys these objects had in JSON, if each had only known ones and none was null."""
    total = 0
    for obj in objects:
        fields = astuple(obj)
        total += len(fields) - fields.count(None)
    return total


def is_plainly_strict(raw: bytes, keys: int) -> bool:
    """True where `raw`, which decoded to objects with `keys` present keys, surely has neither escapes nor duplicate keys.

    Without a backslash each `":` ends a key; without white space before a colon these are all the keys; so when they are as
    many as were decoded, none stood twice. False means only that a full parse must decide.
    """
    return b"\\" not in raw and raw.count(b'":') == keys and not any(mark in raw for mark in _SPACE_BEFORE_COLON)


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
