"""The figures of reported and composed indicators that Prometheus sees: of the newer of the last two periods that are over of which
something is known."""

from zoneinfo import ZoneInfo

import structlog

from closedloop.common.postgres.pool import Pool
from closedloop.kpi import measurement_store
from closedloop.kpi.domain.catalogue import Catalogue, EventIndicator, Indicator
from closedloop.kpi.domain.exporting import SAMPLE, Group, Row, exported_by
from closedloop.kpi.domain.period_states import PeriodAmount, last_ends, newest_known, window_of
from closedloop.kpi.domain.report import Amount
from closedloop.kpi.domain.windows import TooManyPoints
from closedloop.kpi.period_statements import AGAIN_AFTER_MINUTES
from closedloop.kpi.values import Values

log = structlog.get_logger()


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
        """The whole operator's, and one row for each combination by which an entry wants to be told apart, as known at this
        minute."""
        async with self._pool.acquire() as connection:
            last_report = await measurement_store.read_last_id(connection)
        if self._known is None or self._known[0] != last_report or minute >= self._known[1] + AGAIN_AFTER_MINUTES:
            rows: list[Row] = []
            for indicator in self._catalogue.indicators:
                if not isinstance(indicator, EventIndicator):
                    for by in dict.fromkeys([(), exported_by(indicator)]):
                        rows += await self._rows(indicator, minute, by)
            self._known = last_report, minute, rows
        return self._known[2]

    async def _rows(self, indicator: Indicator, minute: int, by: tuple[str, ...]) -> list[Row]:
        window = window_of(indicator)
        try:
            values = await self._values.series(indicator, window, last_ends(window, minute, self._zone), by, {})
        except TooManyPoints:
            log.warning("too many groups to be shown", indicator=indicator.id)
            return []
        groups: dict[Group, list[PeriodAmount]] = {}
        for value in values:
            codes = [(name, code) for name in by if (code := value.group[name]) is not None]
            if len(codes) == len(by):
                groups.setdefault(tuple(codes), []).append(PeriodAmount(value.end, value.amount))
        newest = {group: newest_known(indicator, two) for group, two in groups.items()}
        return [Row(indicator.id, group, _figures(known.amount)) for group, known in newest.items() if known is not None]


def _figures(amount: Amount) -> dict[str, float]:
    figures = {"value": amount.value, "numerator": amount.numerator, "denominator": amount.denominator, SAMPLE: amount.sample}
    return {name: figure for name, figure in figures.items() if figure is not None}
