"""Kafka records for tests, without a broker."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from aiokafka import TopicPartition
from aiokafka.structs import ConsumerRecord

from closedloop.common.consumer.batch import Batch, Slice

APPENDED = datetime(2026, 11, 20, 12, tzinfo=UTC)


def record(
    value: bytes | None,
    topic: str = "evaluations",
    *,
    offset: int = 0,
    partition: int = 0,
    headers: Sequence[tuple[str, bytes]] = (),
    appended: datetime = APPENDED,
) -> ConsumerRecord:
    """One record as the consumer hands it out."""
    size = len(value) if value is not None else -1
    return ConsumerRecord(topic, partition, offset, int(appended.timestamp() * 1000), 1, b"key", value, 0, 1, size, tuple(headers))


def batch(records: Sequence[ConsumerRecord]) -> Batch:
    """Records of one poll, in offset order per partition."""
    parts: dict[TopicPartition, list[ConsumerRecord]] = {}
    for r in records:
        parts.setdefault(TopicPartition(r.topic, r.partition), []).append(r)
    return Batch(tuple(Slice(tp, rs[0].offset, rs) for tp, rs in sorted(parts.items())))


def numbered(values: Sequence[bytes | None], topic: str = "evaluations", appended: datetime = APPENDED) -> Batch:
    """These values as one partition's records from offset 0."""
    return batch([record(value, topic, offset=offset, appended=appended) for offset, value in enumerate(values)])


def envelope(data: dict[str, Any], type_: str = "evaluation.submitted.v1", **attributes: Any) -> dict[str, Any]:
    """A structured-mode event as a mapping."""
    return {
        "specversion": "1.0",
        "id": "e-1",
        "source": "/csp/nanjing",
        "type": type_,
        "time": "2026-11-20T08:00:00+08:00",
        **attributes,
        "data": data,
    }


def rating(**changes: Any) -> dict[str, Any]:
    """An evaluation's data."""
    return {"customer_id": "C0000123", "region": "NJ", "kind": "survey", "score": 7, **changes}


def encoded(event: dict[str, Any], **options: Any) -> bytes:
    """JSON without spaces, as most producers send it."""
    return json.dumps(event, **{"separators": (",", ":"), **options}).encode()
