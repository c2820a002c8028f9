"""JSON that every reader understands alike: no duplicate keys, no NUL, no lone surrogates, UTF-8, bounded depth.

msgspec is fast but takes the last of two duplicate keys and lets `\\u0000` through, which PostgreSQL then refuses. A full
strict parse costs three times the decode, so `is_plainly_strict` proves the common case (no escapes, no duplicates) by counting.
"""

from collections.abc import Sequence
from typing import Final

import jiter
import msgspec
import numpy as np
from msgspec import Struct

from closedloop.common.events.rules import Refused

JSON_PROBLEM_MAX_CHARS: Final = 160
_TAB, _NEWLINE, _RETURN, _SPACE, _QUOTE, _COLON, _BACKSLASH = b'\t\n\r ":\\'
_DEL: Final = 0x7F
_MANY_BYTES: Final = 4096
_BLOCK: Final = 128


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


def is_plainly_strict(raw: bytes, decoded: Struct | Sequence[Struct]) -> bool:
    """True where `raw`, which was decoded so, surely has neither escapes nor duplicate keys.

    Where `raw` is plain and has as many keys as what was decoded has when it is encoded again (absent fields left out), none stood
    twice. False means only that a full parse must decide: an unknown key or a null does that, too.
    """
    return is_plain(raw) and keys_in_plain(raw) == keys_in_plain(msgspec.json.encode(decoded))


def has_only_short_strings(plain: bytes) -> bool:
    """True where all strings in plain JSON surely have 1 to 254 bytes and no DEL: identifiers may be so.

    A string of 255 bytes covers, wherever it begins, a whole block of 128 bytes in which there is no quote.
    """
    octets = np.frombuffer(plain, np.uint8)
    quotes = octets == _QUOTE
    blocks = quotes[: len(quotes) // _BLOCK * _BLOCK].reshape(-1, _BLOCK)
    return _DEL not in plain and not bool((quotes[:-1] & quotes[1:]).any()) and bool(blocks.any(axis=1).all())


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
