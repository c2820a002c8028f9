"""A consuming service's parts, wired the same everywhere: pool, sink, relay, consumer loop, its own jobs."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, get_args

import asyncpg
from fastapi import APIRouter, Depends, FastAPI, Request

from closedloop.common.auth.access import Requires, Router
from closedloop.common.auth.principal import Principal
from closedloop.common.auth.roles import OPERATIONS
from closedloop.common.consumer.dead_letters import DeadLetters
from closedloop.common.consumer.failures import Stage
from closedloop.common.consumer.frontier import Frontier
from closedloop.common.consumer.loop import ConsumerLoop
from closedloop.common.consumer.processor import Processor
from closedloop.common.http.app import Health
from closedloop.common.kafka.client import KafkaSettings
from closedloop.common.kafka.end_offsets import EndOffsets
from closedloop.common.kafka.sink import KafkaSink
from closedloop.common.kafka.source import KafkaSource
from closedloop.common.outbox.relay import Relay
from closedloop.common.postgres.figures import EVERY_S as FIGURES_S
from closedloop.common.postgres.figures import Figures
from closedloop.common.postgres.pool import Pool, create_pool
from closedloop.common.postgres.refusals import refusal
from closedloop.common.service import Every, Job, jobs_running
from closedloop.common.settings import ServerSettings
from closedloop.common.telemetry import metrics

CLOSE_POOL_S: Final = 5.0


@dataclass(frozen=True)
class Parts:
    """What use cases need."""

    pool: Pool
    relay: Relay
    frontier: Frontier


Build = Callable[[Parts], tuple[Processor[Any], Mapping[str, Job]]]


@contextlib.asynccontextmanager
async def consuming(
    app: FastAPI,
    service: str,
    settings: ServerSettings,
    kafka: KafkaSettings,
    build: Build,
    *,
    max_batch: int = 5_000,
    linger_s: float = 0.0,
    pool_size: int = 10,
) -> AsyncIterator[Parts]:
    """Run the consumer loop, the relay and the service's own jobs (from `build`) while the app serves.

    Sets readiness and liveness on the app's Health. On exit: not ready, jobs stopped (consumer first, relay last), clients closed.
    """
    health: Health = app.state.health
    pool = await create_pool(settings.database_url.get_secret_value(), service, max_size=pool_size)
    sink = KafkaSink(kafka, f"closedloop-{service}")
    relay = Relay(pool, sink)
    ends = EndOffsets(kafka)
    parts = Parts(pool, relay, Frontier(pool, ends))
    processor, jobs = build(parts)
    source = KafkaSource(
        kafka,
        f"closedloop-{service}",
        processor.topics,
        member=settings.group_member,
        session_timeout_ms=settings.session_timeout_ms,
    )
    loop = ConsumerLoop(source, pool, DeadLetters(kafka, sink, service), processor, max_batch=max_batch, linger_s=linger_s)

    async def consumer_ready() -> str | None:
        return loop.not_ready()

    async def postgres_ready() -> str | None:
        try:
            await pool.fetchval("SELECT 1")
        except (OSError, asyncpg.PostgresError) as error:
            if (said := refusal(error, f"{service.upper()}_DATABASE_URL")) is None:
                raise
            return said
        return None

    health.alive.append(lambda: loop.watchdog.alive)
    health.ready |= {"consumer": consumer_ready, "postgres": postgres_ready}
    health.notes["consumer"] = loop.idle_because
    for topic in processor.topics:
        # an increase from nothing is no increase to Prometheus
        metrics.MISPLACED.labels(topic)
        for stage in get_args(Stage):
            metrics.DEAD_LETTERS.labels(topic, stage)
    metrics.WAITING.set_function(lambda: loop.idle_because() is not None)
    app.state.consumer = loop
    try:
        async with jobs_running(consumer=loop, **jobs, database=Every(FIGURES_S, Figures(pool).measure), relay=relay):
            yield parts
            health.stopping = True
    finally:
        await ends.stop()
        await sink.stop()
        try:
            await asyncio.wait_for(pool.close(), CLOSE_POOL_S)
        except TimeoutError:
            pool.terminate()


def operations_routes() -> APIRouter:
    """What an operator may tell a consumer."""
    router = Router(prefix="/v1/consumer", tags=["operations"])

    @router.post("/resume", summary="Go on after too many rejections had paused it; for 15 minutes nothing pauses it again")
    async def resume(request: Request, _: Annotated[Principal, Depends(Requires(OPERATIONS))]) -> dict[str, str | None]:
        loop: ConsumerLoop[Any] = request.app.state.consumer
        was = loop.braked
        loop.resume()
        return {"was_paused_because": was}

    return router
