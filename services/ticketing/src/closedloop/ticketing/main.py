"""The composition root: settings → app."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from fastapi import FastAPI

from closedloop.common.auth.tokens import Authenticator
from closedloop.common.consumer.rows import RowProcessor
from closedloop.common.consuming import Parts, consuming, operations_routes
from closedloop.common.http.app import Health, create_app
from closedloop.common.kafka.client import KafkaSettings
from closedloop.common.service import Every, Job
from closedloop.common.service import serve as serve_app
from closedloop.common.settings import AuthSettings, OperatorSettings
from closedloop.ticketing import triggers, upkeep
from closedloop.ticketing.api import router
from closedloop.ticketing.consumer import Intake, processor
from closedloop.ticketing.service import Tickets
from closedloop.ticketing.settings import TicketingSettings

SERVICE = "ticketing"


def build(settings: TicketingSettings, kafka: KafkaSettings, auth: AuthSettings, operator: OperatorSettings) -> FastAPI:
    """The app with its consumer, its relay and its statement loop."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        def wire(parts: Parts) -> tuple[RowProcessor, Mapping[str, Job]]:
            app.state.tickets = Tickets(parts.pool, parts.relay.wake)
            statements = triggers.Statements(parts.pool, parts.frontier.read, settings, operator.zone, parts.relay.wake)
            keeping = upkeep.Upkeep(parts.pool, settings, operator.zone)
            return processor(Intake(settings), parts.relay.wake), {
                "statements": Every(triggers.EVERY_S, statements.run_once),
                "figures": Every(upkeep.FIGURES_EVERY_S, keeping.figures),
                "forgetting": Every(upkeep.FORGET_EVERY_S, keeping.forget),
            }

        async with consuming(app, SERVICE, settings, kafka, wire):
            yield

    return create_app(
        SERVICE,
        "Root-cause tickets: discover, analyse, improve, evaluate.",
        authenticator=Authenticator(auth),
        health=Health(),
        routers=[router, operations_routes()],
        lifespan=lifespan,
    )


def serve() -> None:
    """Run until SIGTERM."""
    settings = TicketingSettings()
    serve_app(SERVICE, build(settings, KafkaSettings(), AuthSettings(), OperatorSettings()), settings)
