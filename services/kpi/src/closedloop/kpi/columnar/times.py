"""RFC 3339 texts → microseconds since 1970, many at once, where they have one of the usual forms."""

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Micros: TypeAlias = NDArray[np.int64]
Mask: TypeAlias = NDArray[np.bool_]
SECOND: Final = 1_000_000
MINUTE: Final = 60 * SECOND
DAY: Final = 24 * 60 * MINUTE
_BASE: Final = 19  # YYYY-MM-DDTHH:MM:SS
_SEPARATORS: Final = ((4, "-"), (7, "-"), (10, "T"), (13, ":"), (16, ":"))
_MAX_FRACTION: Final = 6
_YEARS: Final = (1971, 2199)
_DAYS_IN_MONTH: Final = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])
_ZERO: Final = ord("0")


def parse_times(texts: Sequence[str]) -> tuple[Micros, Mask]:
    """(microseconds in UTC, proved). Where not proved the value means nothing and `rules.parse_time` must decide."""
    lengths = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
    micros = np.zeros(len(texts), dtype=np.int64)
    proved = np.zeros(len(texts), dtype=np.bool_)
    for length in np.unique(lengths):
        rows = np.flatnonzero(lengths == length)
        if not _BASE < length <= _BASE + 1 + _MAX_FRACTION + 6:
            continue
        joined = "".join(texts if rows.size == len(texts) else [texts[row] for row in rows.tolist()])
        if not joined.isascii():
            rows = np.array([row for row in rows.tolist() if texts[row].isascii()], dtype=np.int64)
            joined = "".join([texts[row] for row in rows.tolist()])
        characters = np.frombuffer(joined.encode(), dtype=np.uint8).reshape(rows.size, length)
        zulu = characters[:, -1] == ord("Z")
        for part, zone in ((zulu, 1), (~zulu, 6)):
            if length >= _BASE + zone and part.any():
                chosen = slice(None) if part.all() else part
                micros[rows[chosen]], proved[rows[chosen]] = _parse(characters[chosen], zone)
    return micros, proved


def _parse(characters: NDArray[np.uint8], zone: int) -> tuple[Micros, Mask]:
    """Texts of one length whose last `zone` characters are the offset: `Z` or `+HH:MM`."""
    columns: NDArray[Any] = characters.T
    fine = np.ones(len(characters), dtype=np.bool_)

    def number(start: int, end: int) -> NDArray[np.int64]:
        value = np.zeros(len(characters), dtype=np.int64)
        for column in columns[start:end]:
            digit = column.astype(np.int64) - _ZERO
            np.logical_and(fine, (digit >= 0) & (digit <= 9), out=fine)
            value = value * 10 + digit
        return value

    for place, separator in _SEPARATORS:
        fine &= columns[place] == ord(separator)
    year, month, day = number(0, 4), number(5, 7), number(8, 10)
    hour, minute, second = number(11, 13), number(14, 16), number(17, 19)
    fine &= (year >= _YEARS[0]) & (year <= _YEARS[1]) & (month >= 1) & (month <= 12) & (day >= 1)
    fine &= (hour <= 23) & (minute <= 59) & (second <= 59)
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    fine &= day <= _DAYS_IN_MONTH[np.clip(month, 0, 12)] + (leap & (month == 2))
    micros = _days(year, month, day) * DAY + (hour * 3600 + minute * 60 + second) * SECOND
    length = characters.shape[1]
    fraction = length - _BASE - zone  # with its point
    if fraction and not 1 < fraction <= 1 + _MAX_FRACTION:
        return micros, np.zeros_like(fine)
    if fraction:
        fine &= columns[_BASE] == ord(".")
        micros += number(_BASE + 1, _BASE + fraction) * 10 ** (_MAX_FRACTION + 1 - fraction)
    if zone > 1:
        sign = columns[length - 6]
        fine &= ((sign == ord("+")) | (sign == ord("-"))) & (columns[length - 3] == ord(":"))
        hours, minutes = number(length - 5, length - 3), number(length - 2, length)
        fine &= (hours <= 23) & (minutes <= 59)
        micros -= np.where(sign == ord("-"), -1, 1) * (hours * 60 + minutes) * MINUTE
    return micros, fine


def _days(year: NDArray[np.int64], month: NDArray[np.int64], day: NDArray[np.int64]) -> NDArray[np.int64]:
    """Days since 1970-01-01 of a date of the Gregorian calendar (years begin in March, so that the leap day is the last)."""
    shifted = year - (month <= 2)
    era = shifted // 400
    of_era = shifted - era * 400
    of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    days: NDArray[np.int64] = era * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719_468
    return days
