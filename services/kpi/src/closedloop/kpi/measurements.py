"""Use cases: figures are reported, each version kept with who, when and why; and what was known at a time is read again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from closedloop.common.auth.principal import Principal
from closedloop.common.events.rules import Refused
from closedloop.common.http.preconditions import once
from closedloop.common.http.problems import Forbidden, InvalidRequest
from closedloop.common.postgres.pool import Connection, Pool
from closedloop.kpi import measurement_store as store
from closedloop.kpi.domain.catalogue import ReportedIndicator
from closedloop.kpi.domain.periods import Period
from closedloop.kpi.domain.reported import Known
from closedloop.kpi.domain.reporting import Measurement, OtherRegion, changes, read_measurement
from closedloop.kpi.domain.windows import time_of
from closedloop.kpi.value import Filters

MOST_ROWS: Final = 5_000
"""What one request may report."""
MOST_LISTED: Final = 100
"""How many rejected rows an answer lists; it counts them all."""
Answered = tuple[int, Any]


@dataclass(frozen=True, slots=True)
class Report:
    """What somebody reports: rows, each a mapping or the problem that made it unreadable. `request` identifies it for `key`."""

    principal: Principal
    rows: Sequence[Mapping[str, object] | Refused]
    key: str | None
    request: bytes
    is_dry_run: bool = False


class Measurements:
    """Reported figures, in the operator's calendar."""

    def __init__(self, pool: Pool, zone: ZoneInfo) -> None:
        self._pool = pool
        self._zone = zone

    async def take(self, indicator: ReportedIndicator, report: Report) -> Answered:
        """Keep all good rows in one transaction: (status, body). Raises InvalidRequest where no row can be taken."""
        if len(report.rows) > MOST_ROWS:
            raise InvalidRequest(f"The request has {len(report.rows):,} rows; the limit is {MOST_ROWS:,}: send them in parts.")
        async with self._pool.acquire() as connection, connection.transaction():
            # a key that is looked at while nothing is written would keep the real report out later
            key = None if report.is_dry_run else report.key
            return await once(
                connection, key, report.principal.subject, report.request, lambda: self._take(connection, indicator, report)
            )

    async def _take(self, connection: Connection, indicator: ReportedIndicator, report: Report) -> Answered:
        await store.lock(connection, indicator.id)
        today = (await store.read_now(connection)).astimezone(self._zone).date()
        good, refused = _read(report, indicator, today)
        known = await store.read_latest(connection, indicator.id, {one.period.text for _, one in good})
        new: list[tuple[Measurement, int]] = []
        for index, one in good:
            latest = known.get(one.key)
            try:
                if changes(latest.figures if latest else None, one):
                    version = latest.version + 1 if latest else 1
                    new.append((one, version))
                    known[one.key] = store.Latest(version, one.figures)
            except Refused as problem:
                refused.append((index, problem))
        accepted = len(report.rows) - len(refused)
        body = {"accepted": accepted, "unchanged": accepted - len(new), **_told(refused)}
        if refused and not accepted:
            first = refused[0][1]
            detail = str(first) if len(refused) == 1 else f"None of the {len(refused)} rows can be taken. The first: {first}"
            raise InvalidRequest(detail, field=first.field, **body)
        if not report.is_dry_run:
            await store.append(connection, indicator.id, indicator.granularity, new, report.principal.subject)
        return (201 if new and not report.is_dry_run else 200), body

    async def known(
        self, indicator: ReportedIndicator, first: int, last: int, filters: Filters, as_of: datetime | None
    ) -> list[Known]:
        """The last version, as of a time, of each figure that could stand in a window within [first, last)."""
        days = self._day(first) - timedelta(days=1), self._day(last)
        async with self._pool.acquire() as connection, connection.transaction(readonly=True):
            await self._settled(connection, indicator, as_of)
            found = await store.read_known(
                connection, indicator.id, indicator.granularity, filters, days, as_of, with_last_before=indicator.is_level
            )
        return [
            Known(
                *Period("", row["first_day"], row["after_day"]).minutes(self._zone),
                row["dimensions"],
                row["numerator"],
                row["denominator"],
                row["value"],
            )
            for row in found
        ]

    async def versions(
        self,
        indicator: ReportedIndicator,
        filters: Filters,
        period: str | None,
        as_of: datetime | None,
        before_id: int | None,
        limit: int,
    ) -> Sequence[Mapping[str, Any]]:
        """Versions of figures, the newest first."""
        async with self._pool.acquire() as connection, connection.transaction(readonly=True):
            await self._settled(connection, indicator, as_of)
            return await store.read_versions(connection, indicator.id, filters, period, as_of, before_id, limit)

    async def _settled(self, connection: Connection, indicator: ReportedIndicator, as_of: datetime | None) -> None:
        """What was known at a time must be the same whenever it is asked."""
        if as_of is not None:
            await store.wait_for_reports(connection, indicator.id)
            if as_of > await store.read_now(connection):
                raise InvalidRequest("asOf: lies in the future; leave it out for what is known now", field="asOf")

    def _day(self, minute: int) -> date:
        return time_of(minute).astimezone(self._zone).date()


def _read(
    report: Report, indicator: ReportedIndicator, today: date
) -> tuple[list[tuple[int, Measurement]], list[tuple[int, Refused]]]:
    good: list[tuple[int, Measurement]] = []
    refused: list[tuple[int, Refused]] = []
    for index, row in enumerate(report.rows):
        try:
            if isinstance(row, Refused):
                raise row
            good.append((index, read_measurement(row, indicator, report.principal.regions, today)))
        except Refused as problem:
            refused.append((index, problem))
    return good, refused


def _told(refused: list[tuple[int, Refused]]) -> dict[str, Any]:
    refused.sort(key=lambda one: one[0])
    listed = [
        {
            "index": index,
            "problem": (Forbidden if isinstance(one, OtherRegion) else InvalidRequest)(str(one), field=one.field).marshal(),
        }
        for index, one in refused[:MOST_LISTED]
    ]
    return {"rejected": listed} | ({"rejected_total": len(refused)} if refused else {})
