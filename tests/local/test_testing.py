"""The fixtures that all other tests stand on."""

import asyncpg
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError


async def test_each_test_has_a_database_of_its_own(database_url: str, unique_name: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        assert await connection.fetchval("SELECT current_database()") == unique_name
        assert await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0
        assert (await connection.fetchval("SELECT version()")).startswith("PostgreSQL 18.")
    finally:
        await connection.close()


async def test_the_broker_takes_events_of_a_megabyte_and_creates_no_topic_by_itself(
    kafka_bootstrap: str, topic_prefix: str
) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic_prefix + "events", 3, 1)])
    finally:
        await admin.close()
    producer = AIOKafkaProducer(bootstrap_servers=kafka_bootstrap, acks="all", max_request_size=2_000_000, request_timeout_ms=2_000)
    await producer.start()
    try:
        sent = await producer.send_and_wait(topic_prefix + "events", b"x" * 1_000_000, key=b"C1")
        assert sent.offset == 0
        try:
            await producer.send_and_wait(topic_prefix + "unknown", b"x")
        except KafkaError:
            created = False
        else:
            created = True
        assert not created
    finally:
        await producer.stop()
