"""`closedloop offsets show|reset`."""

import asyncio
import time
from collections.abc import Sequence
from typing import Annotated

import asyncpg
import typer
from aiokafka import TopicPartition
from rich import box
from rich.table import Table

from closedloop.cli.connections import connected, on_kafka
from closedloop.cli.offsets.positions import Fit, Move, fit, lag, target
from closedloop.cli.offsets.survey import SERVICES, Survey, database_url, database_variable, given_url, survey, topics_of
from closedloop.cli.problems import CommandFailed
from closedloop.cli.screen import err, out
from closedloop.common.kafka.client import KafkaSettings

app = typer.Typer(no_args_is_help=True, help="The services' positions in Kafka, as PostgreSQL keeps them.")


@app.command(epilog="Example:\n\n  closedloop --env-file var/env offsets show kpi")
def show(
    service: Annotated[str | None, typer.Argument(help=f"{', '.join(SERVICES)}; otherwise all with a database URL.")] = None,
) -> None:
    """Show each partition's position, how far it is behind, and whether it fits this Kafka. Exit code 1 where one does not."""
    services = [service] if service else [name for name in SERVICES if given_url(name)]
    if not services:
        database_url(SERVICES[0])  # says what to set

    async def work(kafka: KafkaSettings) -> list[Survey]:
        return [await survey(kafka, name) for name in services]

    surveys = on_kafka(work)
    for found in surveys:
        _print(found)
    if not all(_fits(found) for found in surveys):
        raise typer.Exit(1)


@app.command(
    epilog=(
        "Examples:\n\n  closedloop offsets reset kpi --topic evaluations --to earliest\n\n"
        "  closedloop offsets reset kpi --topic orders --partition 3 --to 12000\n\n"
        "  closedloop offsets reset kpi --to adopt"
    )
)
def reset(
    service: Annotated[str, typer.Argument(help=f"{', '.join(SERVICES)}.", show_default=False)],
    to: Annotated[
        str,
        typer.Option(
            help="earliest: all that Kafka keeps; latest: only what is new; adopt: the same offset in this cluster; or an offset.",
            show_default=False,
        ),
    ],
    topic: Annotated[
        list[str] | None, typer.Option(help="Only this topic; may be given again. Otherwise all that it reads.")
    ] = None,
    partition: Annotated[int | None, typer.Option(min=0, help="Only this partition.")] = None,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for Kafka to forget a service that was just stopped.")] = 60,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Set where a stopped service goes on reading.

    Reading again is harmless: what was counted is known. Skipping is not: what is skipped is never counted, no ticket is opened
    and no customer is called because of it. `adopt` is for a cluster that took over with the same offsets, such as a restored one.
    """
    known = topics_of(service)
    for name in topic or ():
        if name not in known:
            raise CommandFailed(f"{service} does not read '{name}'; it reads {', '.join(known)}.")
    if to.isdigit() and (partition is None or len(topic or ()) != 1):
        raise CommandFailed("An offset belongs to one partition: name it with --topic and --partition.")
    found = on_kafka(lambda kafka: _once_stopped(kafka, service, wait))
    moves = _moves(found, topic or known, partition, to)
    for move in moves:
        _print_move(move)
    if not yes:
        typer.confirm(f"Set {len(moves)} positions of {service}?", abort=True, err=True)

    async def write(kafka: KafkaSettings) -> None:
        await _once_stopped(kafka, service, 0)
        async with connected(database_url(service), database_variable(service)) as connection:
            await _write(connection, moves)

    on_kafka(write)
    out.print(f"Set {len(moves)} positions; start {service} now.")


async def _once_stopped(kafka: KafkaSettings, service: str, wait_s: float) -> Survey:
    """The survey, once the consumer group is empty. A member with a fixed id stays in it until its session ends (45 s)."""
    deadline = time.monotonic() + wait_s
    said = False
    while (found := await survey(kafka, service)).members:
        if time.monotonic() >= deadline:
            raise CommandFailed(
                f"{service} runs ({found.members} in its consumer group): stop it first. "
                "One that was just stopped may count for 45 s more (see --wait)."
            )
        if not said:
            err.print(f"{found.members} in the consumer group of {service}; one that was stopped counts for up to 45 s: waiting.")
            said = True
        await asyncio.sleep(1)
    return found


def _moves(found: Survey, topics: Sequence[str], partition: int | None, to: str) -> list[Move]:
    chosen = [tp for tp in found.present if tp.topic in topics and partition in (None, tp.partition)]
    if not chosen:
        raise CommandFailed("Kafka has no such partition; `closedloop topics` shows what it has.")
    moves = []
    for tp in sorted(chosen):
        stored, present = found.stored.get(tp), found.present[tp]
        try:
            offset = target(to, stored, present)
        except ValueError as error:
            raise CommandFailed(f"{tp.topic}/{tp.partition}: {error}.") from None
        moves.append(Move(tp.topic, tp.partition, stored, offset, present))
    return moves


async def _write(connection: "asyncpg.Connection[asyncpg.Record]", moves: Sequence[Move]) -> None:
    """All or none. The watermark stays: what was said about event time up to it is not said again."""
    async with connection.transaction():
        await connection.executemany(
            """INSERT INTO consumer_offset (topic, partition, next_offset, cluster_id, topic_id)
               VALUES ($1, $2, $3, $4, $5)
               ON CONFLICT (topic, partition) DO UPDATE
               SET next_offset = excluded.next_offset, cluster_id = excluded.cluster_id, topic_id = excluded.topic_id""",
            [(m.topic, m.partition, m.after, m.present.cluster_id, m.present.topic_id) for m in moves],
        )


def _fits(found: Survey) -> bool:
    return all(_fit(found, tp) in (Fit.FITS, Fit.NEW) for tp in found.partitions())


def _fit(found: Survey, tp: TopicPartition) -> Fit:
    return fit(found.stored.get(tp), found.present.get(tp))


def _print(found: Survey) -> None:
    out.print(f"{found.service}: {f'{found.members} running' if found.members else 'not running'}", style="bold")
    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column("topic/partition")
    for name in ("position", "Kafka keeps", "behind"):
        table.add_column(name, justify="right")
    for name in ("event time", "moved", "state"):
        table.add_column(name)
    for tp in found.partitions():
        stored, present = found.stored.get(tp), found.present.get(tp)
        behind = lag(stored, present)
        state = _fit(found, tp)
        table.add_row(
            f"{tp.topic}/{tp.partition}",
            f"{stored.next_offset}" if stored else "",
            f"{present.first} to {present.last}" if present else "",
            "" if behind is None else f"{behind:,}",
            f"{stored.watermark:%Y-%m-%d %H:%M:%SZ}" if stored and stored.watermark else "",
            f"{stored.moved_at:%Y-%m-%d %H:%M:%SZ}" if stored and stored.moved_at else "",
            state.value,
            style=None if state in (Fit.FITS, Fit.NEW) else "red",
        )
    out.print(table)
    if not _fits(found):
        out.print(
            f"{found.service} refuses to start like this. Point KAFKA_BOOTSTRAP at the right servers; or stop it and use "
            f"`closedloop offsets reset {found.service} --to earliest` (reads again what Kafka keeps: harmless), "
            "`--to adopt` (same offsets, this cluster) or `--to latest` (loses what was not read)."
        )


def _print_move(move: Move) -> None:
    before = "new" if move.stored is None else str(move.stored.next_offset)
    effect = ""
    if move.skipped:
        effect = f"; {move.skipped:,} records are never read"
    elif move.read_again:
        effect = f"; {move.read_again:,} records are read again"
    out.print(f"{move.topic}/{move.partition}: {before} → {move.after}{effect}")
