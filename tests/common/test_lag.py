"""What Prometheus is told about how far behind a consumer is."""

from collections.abc import AsyncIterator

import pytest
from prometheus_client import REGISTRY

from closedloop.common.consumer.brake import Brake
from closedloop.common.kafka.sink import Message
from common.consumer_bench import Bench, made, read_all, until


@pytest.fixture
async def bench(kafka_bootstrap: str, database_url: str, unique_name: str) -> AsyncIterator[Bench]:
    async with made(kafka_bootstrap, database_url, unique_name) as bench:
        yield bench


async def test_the_lag_grows_while_a_consumer_stands_still_and_ends_when_it_has_read_all(bench: Bench) -> None:
    def seconds() -> float | None:
        return REGISTRY.get_sample_value("consumer_lag_seconds", {"topic": bench.topic})

    def records() -> float | None:
        return REGISTRY.get_sample_value("consumer_lag_records", {"topic": bench.topic, "partition": "0"})

    await bench.sink.publish([Message(bench.topic, b"k", b"poison-%d" % i, partition=0) for i in range(10)])
    async with bench.loop(brake=Brake(in_a_row=3)) as (loop, _):

        async def paused() -> bool:
            return loop.braked is not None

        await until(paused)
        assert records() == 10

        async def older() -> bool:
            return (seconds() or 0) > before + 0.3

        before = seconds() or 0
        await until(older)
        loop.resume()
        await read_all(bench, 10)

        async def told() -> bool:
            return (records(), seconds()) == (0, 0)

        await until(told)
    assert (records(), seconds()) == (None, None), "who has stopped says nothing"
