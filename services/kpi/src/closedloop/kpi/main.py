"""The kpi service, put together."""

import contextlib
import gc
from collections.abc import AsyncIterator, Sequence
from typing import Final, cast

from fastapi import FastAPI

from closedloop.common.auth.tokens import Authenticator
from closedloop.common.consuming import Parts, consuming, operations_routes
from closedloop.common.http.app import Health, create_app
from closedloop.common.kafka.client import KafkaSettings
from closedloop.common.service import Every, Job
from closedloop.common.service import serve as serve_app
from closedloop.common.settings import AuthSettings, OperatorSettings
from closedloop.kpi import api, backtest_api, entries_api, measurements_api, states_api
from closedloop.kpi.backtests import Backtests
from closedloop.kpi.catalogue_changes import CatalogueChanges
from closedloop.kpi.catalogue_files import CatalogueRefused, catalogue_of, read_files
from closedloop.kpi.compaction import Compaction
from closedloop.kpi.consumer import KpiProcessor
from closedloop.kpi.counting import Counting
from closedloop.kpi.domain.catalogue import Catalogue
from closedloop.kpi.domain.cover import Calendar
from closedloop.kpi.domain.versions import Written
from closedloop.kpi.domain.windows import Window
from closedloop.kpi.effects import Effects
from closedloop.kpi.escalations import Escalations
from closedloop.kpi.event_values import EventValues
from closedloop.kpi.gauges import Gauges
from closedloop.kpi.live import Assembly, CatalogueWatch, Live, LiveProcessor, LiveStatements
from closedloop.kpi.measurements import Measurements
from closedloop.kpi.period_statements import PeriodStatements
from closedloop.kpi.reading import BucketReader
from closedloop.kpi.reported_values import ReportedValues
from closedloop.kpi.reports import api as reports
from closedloop.kpi.reports.gathering import Gathering
from closedloop.kpi.reports.service import Reports
from closedloop.kpi.rollup import RollUp
from closedloop.kpi.settings import MEGABYTE, CatalogueSettings, KpiSettings
from closedloop.kpi.statements import Statements
from closedloop.kpi.states import States
from closedloop.kpi.values import Values

SERVICE: Final = "kpi"
GAUGES_S: Final = 15.0
PERIODS_S: Final = 15.0
ESCALATE_S: Final = 15.0
COMPACT_S: Final = 5.0
WATCH_S: Final = 2.0
ROLL_UP_S: Final = 60.0
FORGET_S: Final = 600.0


def build(
    settings: KpiSettings, kafka: KafkaSettings, auth: AuthSettings, operator: OperatorSettings, files: Sequence[Written]
) -> FastAPI:
    """The app; its lifespan runs the consumer, the relay and the jobs. `files`: the entries of the catalogue's files."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        def wire(parts: Parts) -> tuple[LiveProcessor, dict[str, Job]]:
            pool, zone = parts.pool, operator.zone
            measurements = app.state.measurements = Measurements(pool, zone)

            def assemble(catalogue: Catalogue) -> Assembly:
                reader = BucketReader(pool, catalogue, settings.bucket_cache_mb * MEGABYTE, zone)
                values = Values(EventValues(reader, catalogue, zone), ReportedValues(measurements, zone), catalogue)
                counting = Counting(catalogue, settings.seen_cache_mb * MEGABYTE, settings.dissatisfied_below)
                return Assembly(
                    catalogue=catalogue,
                    processor=KpiProcessor(catalogue, counting, settings.retention),
                    statements=Statements(pool, parts.frontier.read, catalogue, reader, zone, parts.relay.wake),
                    period_statements=PeriodStatements(pool, parts.frontier.read, catalogue, values, zone, parts.relay.wake),
                    escalations=Escalations(pool, catalogue, parts.relay.wake),
                    gauges=Gauges(pool, reader, catalogue, cast(Window, settings.gauge_window), zone, settings.max_exported_series),
                    values=values,
                    reports=Reports(pool, Gathering(values, catalogue, zone), catalogue, zone),
                    states=States(pool, catalogue),
                    backtests=Backtests(pool, reader, zone),
                )

            def put(assembly: Assembly) -> None:
                for name in ("catalogue", "values", "reports", "states", "backtests"):
                    setattr(app.state, name, getattr(assembly, name))

            live = Live(files, zone, assemble, put)
            app.state.catalogue_changes = CatalogueChanges(pool, live, Effects(pool, kafka, settings, zone), zone)
            compaction = Compaction(pool, settings.retention)
            jobs: dict[str, Job] = {
                "catalogue": Every(WATCH_S, CatalogueWatch(pool, live).look),
                "statements": LiveStatements(live),
                "period statements": Every(PERIODS_S, lambda: live.now.period_statements.look()),
                "escalations": Every(ESCALATE_S, lambda: live.now.escalations.look()),
                "gauges": Every(GAUGES_S, lambda: live.now.gauges.refresh()),
                "compaction": Every(COMPACT_S, compaction.compact),
                "roll-up": Every(ROLL_UP_S, RollUp(pool, Calendar(zone)).roll_up),
                "forget": Every(FORGET_S, compaction.forget),
                "forget_keys": Every(FORGET_S, lambda: live.now.states.forget_keys()),
            }
            return LiveProcessor(live), jobs

        calm_collector()
        async with consuming(
            app,
            SERVICE,
            settings,
            kafka,
            wire,
            max_batch=settings.batch_records,
            linger_s=settings.batch_linger_s,
            pool_size=settings.pool_size,
        ):
            yield

    app = create_app(
        SERVICE,
        "Rolling indicators of service quality, and their breaches",
        authenticator=Authenticator(auth),
        health=Health(),
        routers=[
            api.router,
            entries_api.router,
            backtest_api.router,
            measurements_api.router,
            states_api.router,
            reports.router,
            operations_routes(),
        ],
        lifespan=lifespan,
    )
    app.state.zone = operator.zone
    return app


def calm_collector() -> None:
    """What was made up to here stays, and records by the hundred thousand hold no cycles: the collector need not look at them
    with each few hundred that come."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def read_entries() -> tuple[list[Written], Catalogue]:
    """The shipped entries and the operator's, and the catalogue that they make. Ends the process with their problems where there
    are any."""
    try:
        written, problems = read_files(CatalogueSettings().catalogue_dir)
        return written, catalogue_of(written, problems)
    except CatalogueRefused as refused:
        raise SystemExit(str(refused)) from None


def serve() -> None:
    """Run until SIGTERM."""
    settings = KpiSettings()
    files, _ = read_entries()
    serve_app(SERVICE, build(settings, KafkaSettings(), AuthSettings(), OperatorSettings(), files), settings)
