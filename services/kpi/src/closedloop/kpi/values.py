"""Use cases: an indicator's value over a window, and its series, however its figures are got."""

from collections.abc import Sequence

from closedloop.kpi.domain.catalogue import EventIndicator
from closedloop.kpi.domain.windows import Window
from closedloop.kpi.event_values import EventValues
from closedloop.kpi.value import Filters, Value


class Values:
    """Asks whoever has the indicator's figures."""

    def __init__(self, from_events: EventValues) -> None:
        self._from_events = from_events

    def keeps_regions(self, indicator: EventIndicator) -> bool:
        """Whether its figures can be told apart by region."""
        return self._from_events.keeps_regions(indicator)

    async def value(self, indicator: EventIndicator, window: Window, end: int, filters: Filters) -> Value:
        """Over all that the filters let through."""
        return await self._from_events.value(indicator, window, end, filters)

    async def series(
        self, indicator: EventIndicator, window: Window, ends: Sequence[int], group_by: Sequence[str], filters: Filters
    ) -> list[Value]:
        """One value per group and end, group by group. Raises TooManyPoints."""
        return await self._from_events.series(indicator, window, ends, group_by, filters)
