"""`closedloop topics`: the declared topics beside those that Kafka has."""

from datetime import timedelta
from typing import Annotated

import typer
from rich import box
from rich.table import Table

from closedloop.cli.connections import on_kafka
from closedloop.cli.screen import out
from closedloop.common.events.topics import FOREVER_MS, TOPICS, Topic, dead_letter_topics
from closedloop.common.kafka.acls import command_lines
from closedloop.common.kafka.admin import TopicDifference, differences, ensure_topics
from closedloop.common.kafka.client import KafkaSettings


def topics_command(
    create: Annotated[bool, typer.Option("--create", help="Create the topics that are missing; change none that exists.")] = False,
    acls: Annotated[
        bool, typer.Option("--acls", help="Print what each Kafka user may do, as arguments of kafka-acls.sh; asks no Kafka.")
    ] = False,
    replication_factor: Annotated[
        int | None,
        typer.Option(
            envvar="KAFKA_TOPIC_REPLICATION_FACTOR",
            help="Copies of a topic that is created; without it the cluster's default.replication.factor.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Show every declared topic and where the cluster differs; exit code 1 where it does.

    In production a topic has 3 copies, and the cluster min.insync.replicas=2: then what ingest has accepted survives the loss of
    a broker, and a broker can be restarted while events come in. With 1 copy it is lost with its broker; with
    min.insync.replicas=1 it can be lost, too, when two brokers fail in a row.
    """

    if acls:
        print("\n".join(command_lines()))
        return

    async def work(kafka: KafkaSettings) -> tuple[list[str], list[TopicDifference]]:
        if replication_factor is not None:
            kafka = kafka.model_copy(update={"topic_replication_factor": replication_factor})
        created = await ensure_topics(kafka) if create else []
        return created, await differences(kafka)

    created, found = on_kafka(work)
    for name in created:
        out.print(f"created {name}")
    _print(found)
    if found:
        raise typer.Exit(1)


def _print(found: list[TopicDifference]) -> None:
    table = Table(box=box.SIMPLE, pad_edge=False)
    for name, justify in (("topic", "left"), ("partitions", "right"), ("kept", "right"), ("key", "left"), ("read by", "left")):
        table.add_column(name, justify="right" if justify == "right" else "left")
    table.add_column("in Kafka", overflow="fold")
    for topic in (*TOPICS, *dead_letter_topics()):
        state = "; ".join(_difference(d) for d in found if d.topic == topic.name) or "as declared"
        readers = ", ".join(topic.consumers) or "people: closedloop dlq"
        table.add_row(topic.name, str(topic.partitions), _kept(topic), topic.key, readers, state)
    out.print(table)
    if any(d.setting == "topic" for d in found):
        out.print("What is missing is made by `closedloop topics --create`.")
    if any(d.setting == "partitions" for d in found):
        out.print(
            "Partitions cannot be changed while events are kept: key order and dedup are per partition. See the operating manual."
        )


def _difference(difference: TopicDifference) -> str:
    if difference.setting == "topic":
        return "missing"
    return f"{difference.setting} is {difference.found}, declared {difference.expected}"


def _kept(topic: Topic) -> str:
    return "for ever" if topic.retention_ms == FOREVER_MS else f"{timedelta(milliseconds=topic.retention_ms).days} days"
