"""Reaching Kafka and PostgreSQL; what stands in the way becomes a sentence."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import asyncpg
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError, KafkaError
from pydantic import ValidationError

from closedloop.cli.problems import CommandFailed
from closedloop.common.kafka.client import KafkaSettings
from closedloop.common.kafka.refusals import refusal as refused_by_kafka
from closedloop.common.postgres.refusals import refusal as refused_by_postgres
from closedloop.common.settings import wrong_settings

T = TypeVar("T")
STOP_TIMEOUT_S: Final = 10.0
NOT_YET_S: Final = 15.0


def on_kafka(work: Callable[[KafkaSettings], Coroutine[Any, Any, T]]) -> T:
    """Run `work` against the Kafka that the environment names. CommandFailed where it cannot be reached or refuses."""
    try:
        kafka = KafkaSettings()
        options = kafka.client_options()
    except (ValidationError, OSError, ValueError) as error:
        what = wrong_settings(error) if isinstance(error, ValidationError) else error
        raise CommandFailed(f"The settings for Kafka are not right: {what}.") from None

    async def explaining() -> T:
        try:
            return await work(kafka)
        except KafkaError as error:
            if said := await refused_by_kafka(error, kafka):
                raise CommandFailed(f"{said}.") from None
            raise

    try:
        return asyncio.run(explaining())
    except KafkaConnectionError:
        raise CommandFailed(
            f"No Kafka answers at {options['bootstrap_servers']}; start it (make run), or name it with KAFKA_BOOTSTRAP "
            "or --env-file."
        ) from None
    except (KafkaError, TimeoutError) as error:
        raise CommandFailed(f"Kafka at {options['bootstrap_servers']} did not do it: {error or type(error).__name__}.") from None


async def answered(ask: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Ask again for some seconds while Kafka says "not yet", as it does about groups when it has just started."""
    deadline = time.monotonic() + NOT_YET_S
    while True:
        try:
            return await ask()
        except KafkaError as error:
            if not error.retriable or isinstance(error, KafkaConnectionError) or time.monotonic() > deadline:
                raise
        await asyncio.sleep(0.2)


@contextlib.asynccontextmanager
async def administering(kafka: KafkaSettings) -> AsyncIterator[AIOKafkaAdminClient]:
    """A started admin client. Raises KafkaError."""
    admin = AIOKafkaAdminClient(**kafka.client_options())
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


@contextlib.asynccontextmanager
async def reading(kafka: KafkaSettings, group: str | None = None, max_poll_records: int = 500) -> AsyncIterator[AIOKafkaConsumer]:
    """A started consumer that joins no group (a group only keeps its commits). Raises KafkaError."""
    consumer = AIOKafkaConsumer(
        **kafka.client_options(),
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="none",
        isolation_level="read_committed",
        max_poll_records=max_poll_records,
    )
    try:
        await consumer.start()
        yield consumer
    finally:
        with contextlib.suppress(KafkaError, TimeoutError, OSError):
            await asyncio.wait_for(consumer.stop(), STOP_TIMEOUT_S)


@contextlib.asynccontextmanager
async def connected(url: str, variable: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """A connection to a service's schema. CommandFailed names the variable where the server does not let us in."""
    where = urlsplit(url)
    try:
        connection = await asyncpg.connect(url, timeout=10, command_timeout=60)
    except (OSError, TimeoutError) as error:
        if said := refused_by_postgres(error, variable):
            raise CommandFailed(f"{said}.") from None
        raise CommandFailed(
            f"No PostgreSQL answers at {where.hostname}:{where.port or 5432}; start it, or correct {variable}."
        ) from None
    except (asyncpg.PostgresError, ValueError) as error:
        if said := refused_by_postgres(error, variable):
            raise CommandFailed(f"{said}.") from None
        reason = str(error).partition("\n")[0] if isinstance(error, asyncpg.PostgresError) else "it is not a postgresql:// address"
        raise CommandFailed(f"PostgreSQL does not let us in with {variable}: {reason}.") from None
    try:
        yield connection
    finally:
        await connection.close(timeout=5)
