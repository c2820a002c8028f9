"""RFC 3339 texts → microseconds since 1970, many at once, where they have one of the usual forms."""

from collections.abc import Sequence
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Micros: TypeAlias = NDArray[np.int64]
Mask: TypeAlias = NDArray[np.bool_]
SECOND: Final = 1_000_000
MINUTE: Final = 60 * SECOND
DAY: Final = 24 * 60 * MINUTE
_BASE: Final = 19  # YYYY-MM-DDTHH:MM:SS
_DIGITS: Final = (0, 1, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15, 17, 18)
_SEPARATORS: Final = ((4, "-"), (7, "-"), (10, "T"), (13, ":"), (16, ":"))
_MAX_FRACTION: Final = 6
_YEARS: Final = (1971, 2199)
_DAYS_IN_MONTH: Final = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31], dtype=np.int32)
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
    length = characters.shape[1]
    fraction = length - _BASE - zone  # with its point
    if fraction and not 1 < fraction <= 1 + _MAX_FRACTION:
        return np.zeros(len(characters), dtype=np.int64), np.zeros(len(characters), dtype=np.bool_)
    places = [
        *_DIGITS,
        *range(_BASE + 1, _BASE + fraction),
        *((length - 5, length - 4, length - 2, length - 1) if zone > 1 else ()),
    ]
    digits = characters[:, places] - np.uint8(_ZERO)  # what is no digit becomes more than 9
    fine = (digits <= 9).all(axis=1)
    columns: NDArray[np.int32] = digits.T.astype(np.int32)
    for place, separator in _SEPARATORS:
        fine &= characters[:, place] == ord(separator)
    year = columns[0] * 1000 + columns[1] * 100 + columns[2] * 10 + columns[3]
    month, day, hour, minute, second = (columns[n] * 10 + columns[n + 1] for n in (4, 6, 8, 10, 12))
    fine &= (year >= _YEARS[0]) & (year <= _YEARS[1]) & (month >= 1) & (month <= 12) & (day >= 1)
    fine &= (hour <= 23) & (minute <= 59) & (second <= 59)
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    fine &= day <= _DAYS_IN_MONTH[np.clip(month, 0, 12)] + (leap & (month == 2))
    seconds = hour * 3600 + minute * 60 + second
    if zone > 1:
        sign = characters[:, length - 6]
        fine &= ((sign == ord("+")) | (sign == ord("-"))) & (characters[:, length - 3] == ord(":"))
        hours, minutes = columns[-4] * 10 + columns[-3], columns[-2] * 10 + columns[-1]
        fine &= (hours <= 23) & (minutes <= 59)
        seconds -= np.where(sign == ord("-"), -60, 60) * (hours * 60 + minutes)
    micros: Micros = _days(year, month, day).astype(np.int64) * DAY + seconds.astype(np.int64) * SECOND
    if fraction:
        fine &= characters[:, _BASE] == ord(".")
        for n in range(fraction - 1):
            micros += columns[len(_DIGITS) + n].astype(np.int64) * 10 ** (_MAX_FRACTION - 1 - n)
    return micros, fine


def _days(year: NDArray[np.int32], month: NDArray[np.int32], day: NDArray[np.int32]) -> NDArray[np.int32]:
    """Days since 1970-01-01 of a date of the Gregorian calendar (years begin in March, so that the leap day is the last)."""
    shifted = year - (month <= 2)
    era = shifted // 400
    of_era = shifted - era * 400
    of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    days: NDArray[np.int32] = era * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719_468
    return days
