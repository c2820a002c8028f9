"""The composition root of ingest."""

import gc
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from fastapi import FastAPI

from closedloop.common.auth.tokens import Authenticator
from closedloop.common.events.topics import INPUT_TOPICS
from closedloop.common.http.app import Health, create_app
from closedloop.common.kafka.client import KafkaSettings
from closedloop.common.service import Every, jobs_running
from closedloop.common.service import serve as serve_app
from closedloop.common.settings import AuthSettings
from closedloop.ingest import metrics
from closedloop.ingest.api import Doors, openapi_routes
from closedloop.ingest.asyncapi import asyncapi_routes
from closedloop.ingest.bodies import Bodies
from closedloop.ingest.domain.rate import Rates
from closedloop.ingest.express import Express, Front
from closedloop.ingest.group_commit import GroupCommit
from closedloop.ingest.intake import Intake
from closedloop.ingest.schemas import describe
from closedloop.ingest.settings import IngestSettings

GC_THRESHOLDS: Final = (20_000, 20, 20)
SWITCH_INTERVAL_S: Final = 0.0002
"""The compressor comes back for the interpreter's lock after each batch: with Python's 5 ms, 20 batches would wait 0.1 s."""


def build(settings: IngestSettings, kafka: KafkaSettings, auth: AuthSettings) -> FastAPI:
    """The whole service, not yet started."""
    health = Health()
    authenticator = Authenticator(auth)
    commit = GroupCommit(
        kafka,
        [topic.name for topic in INPUT_TOPICS],
        ack_timeout_s=settings.ack_timeout_s,
        max_unacknowledged=settings.max_unacknowledged_events,
        compression=settings.compression,
    )
    metrics.UNACKNOWLEDGED.set_function(lambda: commit.unacknowledged)
    rates = Rates(settings.rate_events_per_s, settings.rate_burst_events)
    bodies = Bodies(settings.max_body_bytes, settings.max_held_bytes, settings.body_timeout_s, settings.retry_after_s)
    express = Express(Doors(authenticator, rates, bodies, Intake(commit, settings)).handlers())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        health.ready["kafka"] = commit.not_ready
        async with jobs_running(slow_bodies=Every(1.0, bodies.end_slow_ones), commit=commit):
            yield
            health.stopping = True

    app = create_app(
        "ingest",
        "Takes events over REST and answers when Kafka has them.",
        authenticator=authenticator,
        health=health,
        routers=[openapi_routes(), asyncapi_routes()],
        lifespan=lifespan,
        max_body_bytes=settings.max_body_bytes,
    )
    app.state.express = express
    describe(app)
    return app


def serve() -> None:
    """Serve until SIGTERM."""
    settings = IngestSettings()
    app = build(settings, KafkaSettings(), AuthSettings())
    # what was made until here stays; what a request makes dies with it, mostly without the collector's help
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    serve_app("ingest", Front(app, app.state.express), settings)
