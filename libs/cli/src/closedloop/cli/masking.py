"""Telephone numbers are never printed: whatever looks like one is masked, in any text."""

import re
from typing import Final

# a date or a time is left readable; a telephone number is seven digits or more, with what people write between them
_DAY: Final = r"(?<!\d)(?:19|20)\d\d-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])"
_DATE: Final = _DAY + r"(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:[+-]\d\d:\d\d)?)?(?!\d)"
_DIGITS: Final = r"\d(?:[\s().\-\x00]{0,3}\d){6,}"
_CANDIDATE: Final = re.compile(f"(?P<date>{_DATE})|{_DIGITS}")
_NAMED: Final = re.compile(r'("[^"]*(?:phone|mobile|msisdn|tel)[^"]*"\s*:\s*)("(?:\\.|[^"\\])*"?|[^,}\]\s]+)', re.IGNORECASE)
_ESCAPED_DIGIT: Final = re.compile(r"\\u(?:00|ff)(?:2b|0b|3([0-9])|1([0-9]))", re.IGNORECASE)
_SHOWN_DIGITS: Final = 2


def masked(text: str) -> str:
    """The text with every telephone number's digits but the last two as `*`. JSON escapes of digits are written out before."""
    plain = _ESCAPED_DIGIT.sub(lambda found: found[1] or found[2] or "+", text)
    plain = _NAMED.sub(lambda found: found[1] + _hidden(found[2]), plain)
    return _CANDIDATE.sub(lambda found: found[0] if found["date"] else _hidden(found[0]), plain)


def shown_bytes(raw: bytes | None, limit: int) -> str:
    """A payload for people: masked, what is no text as escapes, cut after `limit` characters."""
    if raw is None:
        return "(no value: a tombstone)"
    # masked whole and then cut: half a number would no longer look like one
    text = masked(raw[: 4 * limit + 64].decode("utf-8", "backslashreplace"))
    text = "".join(char if char.isprintable() or char == " " else repr(char)[1:-1] for char in text)
    return text if len(text) <= limit else f"{text[:limit]}… ({len(raw)} bytes in all)"


def _hidden(text: str) -> str:
    to_hide = sum(char.isdigit() for char in text) - _SHOWN_DIGITS
    out = []
    for char in text:
        hide = char.isdigit() and to_hide > 0
        to_hide -= char.isdigit()
        out.append("*" if hide else char)
    return "".join(out)
