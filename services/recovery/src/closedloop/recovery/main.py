"""The recovery service, put together."""

import contextlib
from collections.abc import AsyncIterator
from typing import Final

from fastapi import FastAPI

from closedloop.common.auth.tokens import Authenticator
from closedloop.common.consumer.rows import RowProcessor
from closedloop.common.consuming import Parts, consuming, operations_routes
from closedloop.common.http.app import Health, create_app
from closedloop.common.kafka.client import KafkaSettings
from closedloop.common.service import Every, Job
from closedloop.common.service import serve as serve_app
from closedloop.common.settings import AuthSettings
from closedloop.recovery import api, reservations_api
from closedloop.recovery.claiming import Claims
from closedloop.recovery.consumer import processor
from closedloop.recovery.intake import Intake
from closedloop.recovery.reservations import Reservations
from closedloop.recovery.service import Recoveries
from closedloop.recovery.settings import RecoverySettings
from closedloop.recovery.store.clock import Clock
from closedloop.recovery.upkeep import Upkeep

SERVICE: Final = "recovery"
TEND_S: Final = 1.0
MEASURE_S: Final = 5.0
FORGET_S: Final = 600.0


def build(settings: RecoverySettings, kafka: KafkaSettings, auth: AuthSettings) -> FastAPI:
    """The app; its lifespan runs the consumer, the relay and the jobs."""
    rules, clock = settings.rules(), Clock()

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        def wire(parts: Parts) -> tuple[RowProcessor, dict[str, Job]]:
            app.state.claims = Claims(parts.pool, rules, clock)
            app.state.recoveries = Recoveries(parts.pool, rules, clock, parts.relay.wake)
            app.state.reservations = Reservations(parts.pool, rules, clock)
            upkeep = Upkeep(parts.pool, clock, settings.kept(), settings.max_region_labels)
            jobs: dict[str, Job] = {
                "tend": Every(TEND_S, upkeep.tend),
                "measure": Every(MEASURE_S, upkeep.measure),
                "forget": Every(FORGET_S, upkeep.forget),
            }
            return processor(Intake(rules, clock, parts.relay.wake)), jobs

        async with consuming(app, SERVICE, settings, kafka, wire, pool_size=settings.pool_size):
            yield

    return create_app(
        SERVICE,
        "First contact with dissatisfied customers within two hours",
        authenticator=Authenticator(auth),
        health=Health(),
        routers=[api.router, reservations_api.router, operations_routes()],
        lifespan=lifespan,
    )


def serve() -> None:
    """Run until SIGTERM."""
    settings = RecoverySettings()
    serve_app(SERVICE, build(settings, KafkaSettings(), AuthSettings()), settings)
