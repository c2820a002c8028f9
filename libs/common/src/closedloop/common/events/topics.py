"""Topics as data: names, keys, retention, who writes and who reads. The local stack, manifests and documents are made from here."""

from dataclasses import dataclass
from typing import Final, get_args

from msgspec import Struct

from closedloop.common.events import model
from closedloop.common.events.model import Event

DAY_MS: Final = 24 * 3600 * 1000
FOREVER_MS: Final = -1
PARTITIONS: Final = 6
MAX_RECORD_BYTES: Final = 1_048_588
"""Kafka's own default for a record batch; the largest record that can reach an input topic."""


@dataclass(frozen=True)
class Topic:
    """One Kafka topic of the public contract. `producers` and `consumers` are our services; a user's systems may write to the
    input topics, too, and read all."""

    name: str
    key: str
    types: tuple[type[Event], ...]
    consumers: tuple[str, ...]
    description: str
    retention_ms: int = 35 * DAY_MS
    partitions: int = PARTITIONS
    max_message_bytes: int = MAX_RECORD_BYTES
    producers: tuple[str, ...] = ()

    def config(self) -> dict[str, str]:
        """The topic's settings as Kafka names them. `LogAppendTime`: an import of old events must survive the retention."""
        return {
            "message.timestamp.type": "LogAppendTime",
            "cleanup.policy": "delete",
            "retention.ms": str(self.retention_ms),
            "max.message.bytes": str(self.max_message_bytes),
        }


EVALUATIONS: Final = Topic(
    "evaluations",
    key="customer_id",
    types=(model.EvaluationSubmitted,),
    producers=("ingest",),
    consumers=("kpi", "recovery"),
    description="A customer's rating, or a survey answer.",
)
COMPLAINTS: Final = Topic(
    "complaints",
    key="customer_id",
    types=(model.ComplaintRegistered, model.ComplaintEscalated, model.ComplaintClosed, model.EnquiryRegistered),
    producers=("ingest",),
    consumers=("kpi", "ticketing", "recovery"),
    description="A complaint registered, escalated or closed; enquiries too.",
)
ORDERS: Final = Topic(
    "orders",
    key="customer_id",
    types=(model.OrderStatusChanged,),
    producers=("ingest",),
    consumers=("kpi",),
    description="An order or a service event, and its status.",
)
INDICATORS: Final = Topic(
    "indicators",
    key="indicator id and dimensions",
    types=(model.IndicatorBreached, model.IndicatorRecovered, model.IndicatorEscalated),
    producers=("kpi",),
    consumers=("ticketing",),
    description="An indicator breached its threshold, came back, or stands breached and nobody has acknowledged it.",
)
TICKETS: Final = Topic(
    "tickets",
    key="ticket id",
    types=(model.TicketOpened, model.TicketStageChanged, model.TicketClosed),
    producers=("ticketing",),
    consumers=("kpi",),
    description="A root-cause ticket was opened, moved or closed.",
)
RECOVERIES: Final = Topic(
    "recoveries",
    key="customer_id",
    types=(model.RecoveryQueued, model.RecoveryContacted, model.RecoveryClosed),
    producers=("recovery",),
    consumers=("kpi",),
    description="A dissatisfied customer was queued, contacted or done with.",
)

TOPICS: Final = (EVALUATIONS, COMPLAINTS, ORDERS, INDICATORS, TICKETS, RECOVERIES)
INPUT_TOPICS: Final = (EVALUATIONS, COMPLAINTS, ORDERS)
TOPIC_BY_NAME: Final = {topic.name: topic for topic in TOPICS}
TOPIC_OF_TYPE: Final = {cls: topic for topic in TOPICS for cls in topic.types}
SERVICES: Final = tuple(dict.fromkeys(service for topic in TOPICS for service in (*topic.producers, *topic.consumers)))
"""All that write or read topics."""
TYPE_BY_NAME: Final[dict[str, type[Event]]] = {str(cls.__struct_config__.tag): cls for cls in TOPIC_OF_TYPE}


def dead_letter_name(topic: str, service: str) -> str:
    """The topic that takes what `service` could not take from `topic`."""
    return f"{topic}-{service}-dlq"


def dead_letter_topics() -> tuple[Topic, ...]:
    """One per topic and consumer: as many partitions as its topic, no retention limit, room for the reason's headers."""
    return tuple(
        Topic(
            dead_letter_name(topic.name, service),
            key=topic.key,
            types=topic.types,
            producers=(service,),
            consumers=(),
            description=f"What {service} could not take from {topic.name}, bytes unchanged.",
            retention_ms=FOREVER_MS,
            partitions=topic.partitions,
            max_message_bytes=2 * MAX_RECORD_BYTES,
        )
        for topic in TOPICS
        for service in topic.consumers
    )


def data_type(cls: type[Event]) -> type[Struct]:
    """The Struct of an event type's `data`."""
    data: type[Struct] = cls.__annotations__["data"]
    return data


assert set(TOPIC_OF_TYPE) == set(get_args(model.AnyEvent))  # noqa: S101 (a type without a topic must not start)
