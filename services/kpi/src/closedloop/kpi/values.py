"""Use cases: an indicator's value over a window, and its series, however its figures are got."""

from collections.abc import Sequence
from datetime import datetime
from typing import cast

from closedloop.kpi.composite_values import composed, composed_series
from closedloop.kpi.domain.catalogue import Catalogue, CompositeIndicator, EventIndicator, Indicator, ReportedIndicator
from closedloop.kpi.domain.windows import Window
from closedloop.kpi.event_values import EventValues
from closedloop.kpi.reported_values import ReportedValues
from closedloop.kpi.value import Filters, Value


class Values:
    """Asks whoever has the indicator's figures. `as_of`: reported figures as they were known then; None: now."""

    def __init__(self, from_events: EventValues, reported: ReportedValues, catalogue: Catalogue) -> None:
        self._from_events = from_events
        self._reported = reported
        self._catalogue = catalogue

    def keeps_regions(self, indicator: Indicator) -> bool:
        """Whether its figures can be told apart by region."""
        if isinstance(indicator, EventIndicator):
            return self._from_events.keeps_regions(indicator)
        return all(self.keeps_regions(part) for part in self._parts(indicator))

    async def value(self, indicator: Indicator, window: Window, end: int, filters: Filters, as_of: datetime | None = None) -> Value:
        """Over all that the filters let through."""
        if isinstance(indicator, EventIndicator):
            return await self._from_events.value(indicator, window, end, filters)
        if isinstance(indicator, ReportedIndicator):
            return await self._reported.value(indicator, window, end, filters, as_of)
        parts = {part.id: await self.value(part, window, end, filters, as_of) for part in self._parts(indicator)}
        return composed(cast(CompositeIndicator, indicator), [parts])[0]

    async def series(
        self,
        indicator: Indicator,
        window: Window,
        ends: Sequence[int],
        group_by: Sequence[str],
        filters: Filters,
        as_of: datetime | None = None,
    ) -> list[Value]:
        """One value per group and end, group by group. Raises TooManyPoints."""
        if isinstance(indicator, EventIndicator):
            return await self._from_events.series(indicator, window, ends, group_by, filters)
        if isinstance(indicator, ReportedIndicator):
            return await self._reported.series(indicator, window, ends, group_by, filters, as_of)
        parts = {part: await self.series(part, window, ends, group_by, filters, as_of) for part in self._parts(indicator)}
        return composed_series(cast(CompositeIndicator, indicator), parts, group_by, len(ends))

    def _parts(self, indicator: Indicator) -> list[Indicator]:
        """A composite's parts, none of which is a composite; of all others none."""
        ids = indicator.composite.parts if isinstance(indicator, CompositeIndicator) else ()
        return [part for id_ in ids if (part := self._catalogue.get(id_)) is not None]
