"""All that is made from one catalogue, and replaced with it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast
from zoneinfo import ZoneInfo

from closedloop.common.consumer.frontier import ReadFrontier
from closedloop.common.postgres.pool import Pool
from closedloop.kpi.backtests import Backtests
from closedloop.kpi.catalogue_history import CatalogueHistory
from closedloop.kpi.charts import Charts
from closedloop.kpi.consumer import KpiProcessor
from closedloop.kpi.counting import Counting
from closedloop.kpi.domain.catalogue import Catalogue
from closedloop.kpi.domain.windows import Window
from closedloop.kpi.escalations import Escalations
from closedloop.kpi.event_values import EventValues
from closedloop.kpi.gauges import Gauges
from closedloop.kpi.measurements import Measurements
from closedloop.kpi.period_figures import PeriodFigures
from closedloop.kpi.period_statements import PeriodStatements
from closedloop.kpi.reading import BucketReader
from closedloop.kpi.reported_values import ReportedValues
from closedloop.kpi.reports.gathering import Gathering
from closedloop.kpi.reports.service import Reports
from closedloop.kpi.settings import MEGABYTE, KpiSettings
from closedloop.kpi.statements import Statements
from closedloop.kpi.states import States
from closedloop.kpi.values import Values


@dataclass(frozen=True)
class Assembly:
    """What was made from one catalogue."""

    catalogue: Catalogue
    processor: KpiProcessor
    statements: Statements
    period_statements: PeriodStatements
    escalations: Escalations
    gauges: Gauges
    values: Values
    reports: Reports
    states: States
    backtests: Backtests
    charts: Charts


class Assembler:
    """Makes them; all share the pool, the frontier and the settings. `said` is called after statements were committed."""

    def __init__(
        self,
        pool: Pool,
        frontier: ReadFrontier,
        history: CatalogueHistory,
        settings: KpiSettings,
        zone: ZoneInfo,
        said: Callable[[], None],
    ) -> None:
        self._pool = pool
        self._frontier = frontier
        self._history = history
        self._settings = settings
        self._zone = zone
        self._said = said

    def assemble(self, catalogue: Catalogue) -> Assembly:
        """Of this catalogue."""
        pool, zone, settings, frontier, said = self._pool, self._zone, self._settings, self._frontier, self._said
        reader = BucketReader(pool, catalogue, settings.bucket_cache_mb * MEGABYTE, zone)
        values = self._values(catalogue, reader)
        counting = Counting(catalogue, settings.seen_cache_mb * MEGABYTE, settings.dissatisfied_below)

        def gathering_by(other: Catalogue) -> Gathering:
            return Gathering(values if other is catalogue else self._values(other, reader), other, zone)

        return Assembly(
            catalogue=catalogue,
            processor=KpiProcessor(catalogue, counting, settings.retention),
            statements=Statements(pool, frontier, catalogue, reader, zone, said),
            period_statements=PeriodStatements(pool, frontier, catalogue, values, zone, said),
            escalations=Escalations(pool, catalogue, said),
            gauges=Gauges(
                pool,
                reader,
                PeriodFigures(pool, values, catalogue, zone),
                catalogue,
                cast(Window, settings.gauge_window),
                zone,
                settings.max_exported_series,
            ),
            values=values,
            reports=Reports(pool, gathering_by, catalogue, self._history, zone, settings.retention),
            states=States(pool, catalogue),
            backtests=Backtests(pool, reader, values, zone),
            charts=Charts(reader, zone),
        )

    def _values(self, catalogue: Catalogue, reader: BucketReader) -> Values:
        reported = ReportedValues(Measurements(self._pool, self._zone), self._zone)
        return Values(EventValues(reader, catalogue, self._zone), reported, catalogue)
