"""The kpi service, put together."""

import contextlib
import gc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final, cast

from fastapi import FastAPI

from closedloop.common.auth.tokens import Authenticator
from closedloop.common.consuming import Parts, consuming, operations_routes
from closedloop.common.http.app import Health, create_app
from closedloop.common.kafka.client import KafkaSettings
from closedloop.common.postgres.migrations import migrate as migrate_schema
from closedloop.common.service import Every, Job
from closedloop.common.service import serve as serve_app
from closedloop.common.settings import AuthSettings, OperatorSettings
from closedloop.kpi import api
from closedloop.kpi.catalogue_files import CatalogueRefused, load_catalogue
from closedloop.kpi.compaction import Compaction
from closedloop.kpi.consumer import KpiProcessor
from closedloop.kpi.counting import Counting
from closedloop.kpi.domain.catalogue import Catalogue
from closedloop.kpi.domain.cover import Calendar
from closedloop.kpi.domain.windows import Window
from closedloop.kpi.event_values import EventValues
from closedloop.kpi.gauges import Gauges
from closedloop.kpi.reading import BucketReader
from closedloop.kpi.rollup import RollUp
from closedloop.kpi.settings import MEGABYTE, KpiSettings
from closedloop.kpi.statements import Statements
from closedloop.kpi.values import Values

SERVICE: Final = "kpi"
MIGRATIONS: Final = Path(__file__).parent / "migrations"
GAUGES_S: Final = 15.0
COMPACT_S: Final = 5.0
ROLL_UP_S: Final = 60.0
FORGET_S: Final = 600.0


def build(
    settings: KpiSettings, kafka: KafkaSettings, auth: AuthSettings, operator: OperatorSettings, catalogue: Catalogue
) -> FastAPI:
    """The app; its lifespan runs the consumer, the relay and the jobs."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        def wire(parts: Parts) -> tuple[KpiProcessor, dict[str, Job]]:
            reader = BucketReader(parts.pool, catalogue, settings.bucket_cache_mb * MEGABYTE, operator.zone)
            app.state.values = Values(EventValues(reader, catalogue, operator.zone))
            counting = Counting(catalogue, settings.seen_cache_mb * MEGABYTE, settings.dissatisfied_below)
            compaction = Compaction(parts.pool, settings.retention)
            window = cast(Window, settings.gauge_window)
            gauges = Gauges(reader, catalogue, window, operator.zone, settings.max_region_labels)
            jobs: dict[str, Job] = {
                "statements": Statements(parts.pool, parts.frontier.read, catalogue, reader, parts.relay.wake),
                "gauges": Every(GAUGES_S, gauges.refresh),
                "compaction": Every(COMPACT_S, compaction.compact),
                "roll-up": Every(ROLL_UP_S, RollUp(parts.pool, Calendar(operator.zone)).roll_up),
                "forget": Every(FORGET_S, compaction.forget),
            }
            return KpiProcessor(catalogue, counting, settings.retention), jobs

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
        routers=[api.router, operations_routes()],
        lifespan=lifespan,
    )
    app.state.catalogue = catalogue
    app.state.zone = operator.zone
    return app


def calm_collector() -> None:
    """What was made up to here stays, and records by the hundred thousand hold no cycles: the collector need not look at them
    with each few hundred that come."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def serve() -> None:
    """Run until SIGTERM."""
    settings = KpiSettings()
    try:
        catalogue = load_catalogue(settings.catalogue_dir)
    except CatalogueRefused as refused:
        raise SystemExit(str(refused)) from None
    serve_app(SERVICE, build(settings, KafkaSettings(), AuthSettings(), OperatorSettings(), catalogue), settings)


def migrate() -> None:
    """Create or upgrade the schema and the role."""
    migrate_schema(SERVICE, KpiSettings().database_url.get_secret_value(), MIGRATIONS)
