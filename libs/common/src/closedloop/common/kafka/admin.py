"""Topics made from `closedloop.common.events.topics`, and checked when they exist already."""

import asyncio
from dataclasses import dataclass

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import for_code

from closedloop.common.events.topics import TOPICS, Topic, dead_letter_topics
from closedloop.common.kafka.client import CLUSTER_DEFAULT, KafkaSettings

VISIBLE_TIMEOUT_S = 20.0
_TOPIC_ALREADY_EXISTS = 36


@dataclass(frozen=True)
class TopicDifference:
    """A topic that exists with other properties than the contract's."""

    topic: str
    setting: str
    expected: str
    found: str


async def ensure_topics(kafka: KafkaSettings, topics: tuple[Topic, ...] | None = None) -> list[str]:
    """Create what is missing (by default the contract's topics and their dead letters); return the names created.

    Topics that exist are left as they are: `differences` tells where they are not as declared. Raises KafkaError.
    """
    wanted = (*TOPICS, *dead_letter_topics()) if topics is None else topics
    admin = AIOKafkaAdminClient(**kafka.client_options())
    await admin.start()
    try:
        existing = set(await admin.list_topics())
        missing = [topic for topic in wanted if topic.name not in existing]
        if missing:
            response = await admin.create_topics([_new(t, kafka.topic_replication_factor) for t in missing])
            for name, code, said in response.topic_errors:
                if code not in (0, _TOPIC_ALREADY_EXISTS):
                    raise for_code(code)(f"the topic {name} was not created: {said}")
        async with asyncio.timeout(VISIBLE_TIMEOUT_S):
            while not {topic.name for topic in wanted} <= set(await admin.list_topics()):
                await asyncio.sleep(0.05)
        return [topic.name for topic in missing]
    finally:
        await admin.close()


async def differences(kafka: KafkaSettings, topics: tuple[Topic, ...] | None = None) -> list[TopicDifference]:
    """Where existing topics differ from the contract. A missing topic is a difference too. Raises KafkaError."""
    wanted = (*TOPICS, *dead_letter_topics()) if topics is None else topics
    admin = AIOKafkaAdminClient(**kafka.client_options())
    await admin.start()
    try:
        described = {t["topic"]: t for t in await admin.describe_topics([t.name for t in wanted])}
        found: list[TopicDifference] = []
        for topic in wanted:
            state = described.get(topic.name)
            if state is None or state["error_code"] != 0:
                found.append(TopicDifference(topic.name, "topic", "exists", "missing"))
                continue
            if len(state["partitions"]) != topic.partitions:
                found.append(TopicDifference(topic.name, "partitions", str(topic.partitions), str(len(state["partitions"]))))
            resource = ConfigResource(ConfigResourceType.TOPIC, topic.name)
            [answer] = await admin.describe_configs([resource])
            config = {entry[0]: entry[1] for entry in answer.resources[0][4]}
            found.extend(
                TopicDifference(topic.name, key, value, str(config.get(key)))
                for key, value in topic.config().items()
                if config.get(key) != value
            )
        return found
    finally:
        await admin.close()


def _new(topic: Topic, replication_factor: int) -> NewTopic:
    # aiokafka takes the cluster's default (-1) only where assignments are given; none are
    assignments: dict[int, list[int]] | None = {} if replication_factor == CLUSTER_DEFAULT else None
    return NewTopic(topic.name, topic.partitions, replication_factor, assignments, topic.config())
