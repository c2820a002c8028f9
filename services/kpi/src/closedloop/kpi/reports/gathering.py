"""Gathers a month's report from the indicators' figures and from what people added."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from closedloop.kpi.domain import report
from closedloop.kpi.domain.catalogue import Catalogue, Indicator, ReportedIndicator
from closedloop.kpi.domain.counted import Counted, counted_from
from closedloop.kpi.domain.months import bounds, earlier
from closedloop.kpi.domain.period_states import window_within
from closedloop.kpi.domain.report import Amount, Breach, Comment, Figure, Measure, Month, MonthAmount, Report, Restated, UnitAmount
from closedloop.kpi.domain.windows import time_of, window_start
from closedloop.kpi.value import REGION, Value
from closedloop.kpi.values import Values


@dataclass(frozen=True, slots=True)
class Added:
    """What stands beside the figures of a month, by indicator."""

    breaches: Mapping[str, Sequence[Breach]]
    comments: Mapping[str, Sequence[Comment]]
    measures: Mapping[str, Sequence[Measure]]
    open_since: Mapping[str, Month]
    """Shortcomings that earlier reports left open → the month in which each began."""
    counted: Counted
    uncounted: datetime | None
    """Since when that is counted of which nothing is noted."""


class Gathering:
    """Asks for every indicator's month, the months before, and the regions."""

    def __init__(self, values: Values, catalogue: Catalogue, zone: ZoneInfo) -> None:
        self._values = values
        self._catalogue = catalogue
        self._zone = zone

    async def report(self, month: Month, now: int, gathered_at: datetime, added: Added, restated: Sequence[Restated]) -> Report:
        """The month up to minute `now`, whole where that lies after its end."""
        start, end = bounds(month, self._zone)
        end = min(end, now)
        figures = [
            (indicator, await self._figure(indicator, month, end, added))
            for indicator in sorted(self._catalogue.indicators, key=lambda one: one.id)
        ]
        return Report(
            month=month,
            zone=self._zone.key,
            start=time_of(start),
            end=time_of(end),
            gathered_at=gathered_at,
            sections=report.in_sections(figures),
            restated=restated,
        )

    async def amounts(self, month: Month, figures: Mapping[str, Figure]) -> dict[str, dict[str | None, Amount]]:
        """What a whole month's published figures are now, the whole (None) and the regions that they name; of indicators that the
        catalogue of the month has."""
        _, end = bounds(month, self._zone)
        found: dict[str, dict[str | None, Amount]] = {}
        for indicator_id, figure in figures.items():
            indicator = self._catalogue.get(indicator_id)
            if indicator is not None:
                [value] = await self._series(indicator, [end])
                own: dict[str | None, Amount] = {None: value.amount}
                if figure.worst_units:
                    own |= {unit.region: unit.amount for unit in await self._units(indicator, end)}
                found[indicator_id] = own
        return found

    async def drilled(
        self, indicator: Indicator, month: Month, now: int, group_by: Sequence[str]
    ) -> tuple[tuple[int, int], list[Value]]:
        """The minutes [start, end) that a figure of the month is about, and what stands behind it per group. Raises
        TooManyPoints."""
        end = min(bounds(month, self._zone)[1], now)
        window, until = window_within(indicator, end, self._zone)
        return (window_start(window, until, self._zone), until), await self._series(indicator, [end], group_by)

    def sources(self, indicator_id: str, month: Month) -> list[tuple[ReportedIndicator, tuple[int, int]]]:
        """The reported indicators that stand in its figure of a whole month, itself or a composite's parts, each with the minutes
        [start, end) that it is about."""
        indicator = self._catalogue.get(indicator_id)
        if indicator is None:
            return []
        found = [one for id_ in indicator.sources if isinstance(one := self._catalogue.get(id_), ReportedIndicator)]
        window, end = window_within(indicator, bounds(month, self._zone)[1], self._zone)
        return [(one, (window_start(window, end, self._zone), end)) for one in found]

    async def _figure(self, indicator: Indicator, month: Month, end: int, added: Added) -> Figure:
        months = [earlier(month, back) for back in range(report.TREND_MONTHS - 1, -1, -1)]
        ends = [*(bounds(one, self._zone)[1] for one in months[:-1]), end]
        values = await self._series(indicator, ends)
        trend = [MonthAmount(one, value.amount) for one, value in zip(months, values, strict=True)]
        amount = trend[-1].amount
        judgement = report.judged(indicator, amount)
        return Figure(
            indicator_id=indicator.id,
            name_en=indicator.name_en,
            name_zh=indicator.name_zh,
            factor=indicator.factor,
            phase=indicator.phase,
            indicator_class=indicator.indicator_class,
            collection=indicator.collection,
            unit=indicator.unit,
            better=indicator.better,
            owner=indicator.owner,
            formula=indicator.formula,
            target=indicator.target,
            warning=indicator.warning,
            critical=indicator.critical,
            judgement=judgement,
            amount=amount,
            month_on_month=report.difference(amount, trend[-2].amount),
            year_on_year=report.difference(amount, trend[0].amount),
            trend=trend,
            worst_units=report.worst(indicator, await self._units(indicator, end)),
            breaches=added.breaches.get(indicator.id, ()),
            short_since=report.short_since(judgement, month, added.open_since.get(indicator.id)),
            comments=added.comments.get(indicator.id, ()),
            measures=added.measures.get(indicator.id, ()),
            drill=f"/v1/reports/{month}/figures/{indicator.id}",
            counted_from=self._counted_from(indicator, month, end, added),
        )

    def _counted_from(self, indicator: Indicator, month: Month, end: int, added: Added) -> datetime | None:
        since = counted_from(indicator, added.counted, self._catalogue, added.uncounted)
        if since is None or since <= time_of(bounds(month, self._zone)[0]):
            return None
        return min(since, time_of(end))

    async def _units(self, indicator: Indicator, end: int) -> list[UnitAmount]:
        groups = await self._series(indicator, [end], (REGION,))
        return [UnitAmount(region, value.amount) for value in groups if (region := value.group[REGION]) is not None]

    async def _series(self, indicator: Indicator, ends: Sequence[int], group_by: Sequence[str] = ()) -> list[Value]:
        """One value per group and end, over what a month's report that ends there is about."""
        window, _ = window_within(indicator, ends[0], self._zone)
        return await self._values.series(
            indicator, window, [window_within(indicator, end, self._zone)[1] for end in ends], group_by, {}
        )
