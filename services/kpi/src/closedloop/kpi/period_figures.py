"""The figures of reported and composed indicators that Prometheus sees: of the newer of the last two periods that are over of which
something is known."""

from zoneinfo import ZoneInfo

from closedloop.common.postgres.pool import Pool
from closedloop.kpi import measurement_store
from closedloop.kpi.domain.catalogue import Catalogue, EventIndicator, Indicator
from closedloop.kpi.domain.exporting import SAMPLE, Row
from closedloop.kpi.domain.period_states import PeriodAmount, last_ends, newest_known, window_of
from closedloop.kpi.period_statements import AGAIN_AFTER_MINUTES
from closedloop.kpi.values import Values


class PeriodFigures:
    """Asked again once a figure was reported, and as often as the states of periods are looked at: a composite's parts may be of
    events, and those that come late say so nowhere."""

    def __init__(self, pool: Pool, values: Values, catalogue: Catalogue, zone: ZoneInfo) -> None:
        self._pool = pool
        self._values = values
        self._catalogue = catalogue
        self._zone = zone
        self._known: tuple[int, int, list[Row]] | None = None

    async def rows(self, minute: int) -> list[Row]:
        """One row per indicator, the whole operator's, as it is known at this minute."""
        async with self._pool.acquire() as connection:
            last_report = await measurement_store.read_last_id(connection)
        if self._known is None or self._known[0] != last_report or minute >= self._known[1] + AGAIN_AFTER_MINUTES:
            asked = [await self._row(one, minute) for one in self._catalogue.indicators if not isinstance(one, EventIndicator)]
            self._known = last_report, minute, [row for row in asked if row is not None]
        return self._known[2]

    async def _row(self, indicator: Indicator, minute: int) -> Row | None:
        window = window_of(indicator)
        values = await self._values.series(indicator, window, last_ends(window, minute, self._zone), (), {})
        newest = newest_known(indicator, [PeriodAmount(value.end, value.amount) for value in values])
        if newest is None:
            return None
        amount = newest.amount
        figures = {"value": amount.value, "numerator": amount.numerator, "denominator": amount.denominator, SAMPLE: amount.sample}
        return Row(indicator.id, (), {name: figure for name, figure in figures.items() if figure is not None})
