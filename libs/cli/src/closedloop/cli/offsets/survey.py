"""Reading both sides: the positions in a service's schema, and Kafka."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg
from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from pydantic import SecretStr

from closedloop.cli.connections import administering, answered, connected, reading
from closedloop.cli.offsets.positions import Present, Stored
from closedloop.cli.problems import CommandFailed
from closedloop.common.events.topics import TOPICS
from closedloop.common.kafka.client import KafkaSettings
from closedloop.common.kafka.topic_identity import read_identity
from closedloop.common.settings import Settings

SERVICES: Final = tuple(dict.fromkeys(service for topic in TOPICS for service in topic.consumers))


@dataclass(frozen=True)
class Survey:
    """One service's positions and what Kafka has for them, by (topic, partition); `members`: how many consumers run."""

    service: str
    members: int
    stored: Mapping[TopicPartition, Stored]
    present: Mapping[TopicPartition, Present]

    def partitions(self) -> list[TopicPartition]:
        """All that either side knows, in order."""
        return sorted(self.stored.keys() | self.present.keys())


def topics_of(service: str) -> list[str]:
    """The topics that a service reads. CommandFailed where there is no such service."""
    if service not in SERVICES:
        raise CommandFailed(f"'{service}' is not a service that reads topics; it is one of {', '.join(SERVICES)}.")
    return [topic.name for topic in TOPICS if service in topic.consumers]


def database_variable(service: str) -> str:
    """The environment variable with the URL of the service's role."""
    return f"{service.upper()}_DATABASE_URL"


def given_url(service: str) -> str:
    """Its value, or what stands in the file of that name in SECRETS_DIR; empty where neither is there."""

    class Role(Settings, env_prefix=f"{service.upper()}_", extra="ignore"):
        database_url: SecretStr = SecretStr("")

    return Role().database_url.get_secret_value()


def database_url(service: str) -> str:
    """The same. CommandFailed where it is not set."""
    variable = database_variable(service)
    url = given_url(service)
    if not url:
        raise CommandFailed(
            f"{variable} is not set: it names the database that holds the positions of {service}. "
            "For the local stack: closedloop --env-file var/env offsets show."
        )
    return url


async def survey(kafka: KafkaSettings, service: str) -> Survey:
    """Look at both sides. CommandFailed where one is not there; raises KafkaError."""
    topics = topics_of(service)
    variable = database_variable(service)
    async with connected(database_url(service), variable) as connection:
        stored = await _stored(connection, service)
    return Survey(service, await members(kafka, f"closedloop-{service}"), stored, await _present(kafka, topics))


async def members(kafka: KafkaSettings, group: str) -> int:
    """How many consumers are in a group. One that was killed counts until its session has ended (45 s)."""
    async with administering(kafka) as admin:
        answers = await answered(lambda: admin.describe_consumer_groups([group]))
    return sum(len(description[5]) for answer in answers for description in answer.groups)


async def _stored(connection: "asyncpg.Connection[asyncpg.Record]", service: str) -> dict[TopicPartition, Stored]:
    try:
        rows = await connection.fetch(
            "SELECT topic, partition, next_offset, cluster_id, topic_id, watermark, moved_at FROM consumer_offset"
        )
    except asyncpg.UndefinedTableError:
        raise CommandFailed(
            f"The database of {service} has no positions: it was never migrated (python -m closedloop.{service} migrate)."
        ) from None
    return {TopicPartition(row["topic"], row["partition"]): Stored(**dict(row)) for row in rows}


async def _present(kafka: KafkaSettings, topics: Sequence[str]) -> dict[TopicPartition, Present]:
    client = AIOKafkaClient(**kafka.client_options())
    try:
        await client.bootstrap()
        cluster_id, topic_ids = await read_identity(client, list(topics))
    finally:
        await client.close()
    async with administering(kafka) as admin:
        described = [t for t in await admin.describe_topics(list(topics)) if t["error_code"] == 0]
    held = [TopicPartition(t["topic"], p["partition"]) for t in described for p in t["partitions"]]
    async with reading(kafka) as consumer:
        first, last = await consumer.beginning_offsets(held), await consumer.end_offsets(held)
    return {tp: Present(first[tp], last[tp], cluster_id, topic_ids.get(tp.topic, "")) for tp in held}
