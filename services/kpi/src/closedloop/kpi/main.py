"""The kpi service, put together."""

import contextlib
import gc
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from fastapi import FastAPI

from closedloop.common.auth.tokens import Authenticator
from closedloop.common.consuming import Parts, consuming, operations_routes
from closedloop.common.http.app import Health, create_app
from closedloop.common.kafka.client import KafkaSettings
from closedloop.common.service import Every, Job
from closedloop.common.service import serve as serve_app
from closedloop.common.settings import AuthSettings, OperatorSettings
from closedloop.kpi import api, backtest_api, chart_api, entries_api, measurements_api, states_api
from closedloop.kpi.assembly import Assembler, Assembly
from closedloop.kpi.catalogue_changes import CatalogueChanges
from closedloop.kpi.catalogue_files import CatalogueRefused, checked, read_files
from closedloop.kpi.catalogue_history import CatalogueHistory
from closedloop.kpi.compaction import Compaction
from closedloop.kpi.domain.catalogue import Catalogue
from closedloop.kpi.domain.cover import Calendar
from closedloop.kpi.domain.versions import Written
from closedloop.kpi.effects import Effects
from closedloop.kpi.live import CatalogueWatch, Live, LiveProcessor, LiveStatements
from closedloop.kpi.measurements import Measurements
from closedloop.kpi.reports import api as reports
from closedloop.kpi.rollup import RollUp
from closedloop.kpi.settings import CatalogueSettings, KpiSettings

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
            app.state.measurements = Measurements(pool, zone)
            history = CatalogueHistory(files)
            assembler = Assembler(pool, parts.frontier.read, history, settings, zone, parts.relay.wake)

            def put(assembly: Assembly) -> None:
                for name in ("catalogue", "values", "reports", "states", "backtests", "charts"):
                    setattr(app.state, name, getattr(assembly, name))

            live = Live(history, zone, assembler.assemble, put)
            changes = CatalogueChanges(pool, live, history, Effects(pool, kafka, settings, zone), zone)
            app.state.catalogue_changes, app.state.latest_version = changes, changes.latest
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
            api.rules_router,
            entries_api.router,
            backtest_api.router,
            chart_api.router,
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


def read_entries(zone: ZoneInfo) -> list[Written]:
    """Every version in the shipped files and the operator's. Ends the process with their problems where there are any."""
    try:
        return checked(*read_files(CatalogueSettings().catalogue_dir), datetime.now(zone).date())
    except CatalogueRefused as refused:
        raise SystemExit(str(refused)) from None


def catalogue_of_files() -> Catalogue:
    """What of them is in force today."""
    zone = OperatorSettings().zone
    return CatalogueHistory(read_entries(zone)).of_files(datetime.now(zone).date())


def serve() -> None:
    """Run until SIGTERM."""
    settings, operator = KpiSettings(), OperatorSettings()
    files = read_entries(operator.zone)
    serve_app(SERVICE, build(settings, KafkaSettings(), AuthSettings(), operator, files), settings)
