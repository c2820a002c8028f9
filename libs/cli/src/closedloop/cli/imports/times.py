"""Times as exports write them → times with an offset."""

import re
from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo

from closedloop.common.events.rules import EARLIEST, Refused

EPOCHS: Final = {"epoch_s": 1, "epoch_ms": 1000}
_HAS_TIME_OF_DAY: Final = re.compile(r"\d{4}-?\d\d-?\d\d[T ]\d\d")


class TimeReader:
    """Reads times of one format. A time without an offset is in `zone`; where the clock was put back, its first passing counts.

    `format`: `iso`, `epoch_s`, `epoch_ms`, or a pattern of strptime such as `%d.%m.%Y %H:%M`.
    """

    def __init__(self, format_: str, zone: str | None, field: str) -> None:
        self._format = format_
        self._zone = ZoneInfo(zone) if zone else None
        self._field = field

    def read(self, cell: str | datetime) -> datetime:
        """An aware datetime from 2000 on. Raises Refused."""
        at = self._parse(cell)
        if at.tzinfo is None:
            at = self._placed(at)
        if at < EARLIEST:
            raise Refused(self._field, "is before 2000-01-01")
        return at

    def _parse(self, cell: str | datetime) -> datetime:
        if isinstance(cell, datetime):
            return cell
        try:
            if self._format == "iso":
                if not _HAS_TIME_OF_DAY.match(cell):
                    raise Refused(
                        self._field, f"'{cell[:40]}' is not an ISO 8601 date and time; give its pattern as `format` in the mapping"
                    )
                return datetime.fromisoformat(cell)
            if self._format in EPOCHS:
                return datetime.fromtimestamp(float(cell) / EPOCHS[self._format], UTC)
            return datetime.strptime(cell, self._format)  # noqa: DTZ007 (placed in the mapping's zone by `read`)
        except Refused:
            raise
        except (ValueError, OverflowError, OSError):
            shape = "an ISO 8601 date and time" if self._format == "iso" else f"of the form {self._format}"
            raise Refused(self._field, f"'{cell[:40]}' is not {shape}") from None

    def _placed(self, at: datetime) -> datetime:
        if self._zone is None:
            raise Refused(self._field, f"'{at}' has no offset; give the `zone` of such times in the mapping")
        try:
            placed = at.replace(tzinfo=self._zone)
            if placed.astimezone(UTC).astimezone(self._zone).replace(tzinfo=None) != at:
                raise Refused(self._field, f"'{at}' did not exist in {self._zone.key}: the clock was put forward over it")
        except OverflowError:
            raise Refused(self._field, f"'{at}' is not a time that can be used") from None
        return placed
