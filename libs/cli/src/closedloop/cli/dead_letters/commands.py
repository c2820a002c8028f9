"""`closedloop dlq list|show|replay`."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Final

import typer
from rich import box
from rich.markup import escape
from rich.table import Table

from closedloop.cli.connections import on_kafka, reading
from closedloop.cli.dead_letters.letters import Copies, Letter, Span, dead_letter_names, extents, partitions_of, read, wanted
from closedloop.cli.dead_letters.marks import load_marks
from closedloop.cli.dead_letters.replay import Plan, Selection, is_replayed, plan, replay
from closedloop.cli.masking import masked, shown_bytes
from closedloop.cli.screen import err, out
from closedloop.common.kafka.client import KafkaSettings

PAYLOAD_CHARS: Final = 2000
Stage = Annotated[str | None, typer.Option(help="Only of this stage: decode, rules, data, late or bug.")]
Reason = Annotated[str | None, typer.Option(help="Only of this reason, as `dlq list` names it, such as data.score.")]

app = typer.Typer(no_args_is_help=True, help="Dead letters: what services could not take. Look, put the cause right, replay.")


@dataclass
class _Count:
    """The dead letters of one topic, by what was found of them."""

    total: int = 0
    looked_at: int = 0
    replayed: int = 0
    oldest: datetime | None = None
    newest: datetime | None = None
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, letter: Letter, replayed: bool) -> None:
        self.looked_at += 1
        self.replayed += replayed
        self.oldest = min(self.oldest or letter.at, letter.at)
        self.newest = max(self.newest or letter.at, letter.at)
        self.reasons[letter.stage, letter.reason] += 1


@app.command("list")
def list_command(
    scan: Annotated[int, typer.Option(min=1, help="Look at so many of the newest letters of each partition.")] = 20_000,
) -> None:
    """How many dead letters each topic has, by stage and reason, and how many were replayed."""

    async def work(kafka: KafkaSettings) -> dict[str, _Count]:
        marks = await load_marks(kafka)
        found = {}
        partitions = await partitions_of(kafka, await dead_letter_names(kafka))
        async with reading(kafka) as consumer:
            for topic in partitions:
                kept = await extents(consumer, topic, partitions)
                counted = found[topic] = _Count(total=sum(last - first for first, last in kept.values()))
                async for letter in read(consumer, topic, _newest(kept, scan)):
                    counted.add(letter, is_replayed(letter, marks))
        return found

    found = on_kafka(work)
    if not any(counted.total for counted in found.values()):
        out.print(
            f"No dead letters in {len(found)} topics." if found else "Kafka has no dead-letter topics; see `closedloop topics`."
        )
        return
    table = Table(box=box.SIMPLE, pad_edge=False)
    for name in ("topic", "stage", "reason"):
        table.add_column(name, overflow="fold")
    for name in ("letters", "replayed"):
        table.add_column(name, justify="right")
    table.add_column("oldest")
    table.add_column("newest")
    for topic, counted in found.items():
        if not counted.total:
            continue
        replayed = f"{counted.replayed:,}"
        table.add_row(topic, "", "", f"{counted.total:,}", replayed, _time(counted.oldest), _time(counted.newest), style="bold")
        for (stage, reason), count in counted.reasons.most_common():
            table.add_row("", escape(stage), escape(masked(reason)), f"{count:,}")
        if counted.looked_at < counted.total:
            table.add_row("", "", f"(of the newest {counted.looked_at:,} only; see --scan)")
    out.print(table)


@app.command(
    epilog=(
        "Examples:\n\n  closedloop dlq show evaluations-kpi-dlq\n\n"
        "  closedloop dlq show evaluations-kpi-dlq --reason data.score --limit 3"
    )
)
def show(
    topic: Annotated[str, typer.Argument(help="A dead-letter topic, as `dlq list` names it.", show_default=False)],
    partition: Annotated[int | None, typer.Option(min=0, help="Only of this partition.")] = None,
    offset: Annotated[int | None, typer.Option(min=0, help="From this offset on; otherwise the newest.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 10,
    stage: Stage = None,
    reason: Reason = None,
    scan: Annotated[int, typer.Option(min=1, help="Look for stage and reason in so many of a partition's letters.")] = 20_000,
) -> None:
    """Print dead letters, each once: origin, reason, payload. Telephone numbers are masked."""
    select = wanted(stage, reason)
    copies = Copies()
    depth = limit if stage is None and reason is None else scan

    async def work(kafka: KafkaSettings) -> list[tuple[Letter, bool]]:
        marks = await load_marks(kafka)
        async with reading(kafka, max_poll_records=100) as consumer:
            kept = await extents(consumer, topic, await partitions_of(kafka, [topic]))
            kept = {p: extent for p, extent in kept.items() if partition in (None, p)}
            if offset is None:
                spans = _newest(kept, depth)
            else:
                spans = {p: (max(first, offset), min(last, max(first, offset) + depth)) for p, (first, last) in kept.items()}
            found: list[Letter] = []
            async for letter in read(consumer, topic, spans):
                if select(letter) and not copies.has(letter):
                    found.append(letter)
                    found.sort(key=lambda item: (item.at, item.partition, item.offset))
                    # memory holds no more than what will be printed
                    del found[: -limit if offset is None else 0]
                    del found[limit:]
        return [(letter, is_replayed(letter, marks)) for letter in found]

    letters = on_kafka(work)
    for letter, replayed in letters:
        _print(letter, replayed)
    if not letters:
        out.print("No dead letter there is like that.")
    if copies.count:
        out.print(copies.sentence())


@app.command(
    "replay",
    epilog=(
        "Examples:\n\n  closedloop dlq replay evaluations-kpi-dlq --dry-run\n\n"
        "  closedloop dlq replay evaluations-kpi-dlq --stage bug --yes\n\n"
        "  closedloop dlq replay complaints-ticketing-dlq --partition 3 --from 120 --to 140"
    ),
)
def replay_command(
    topic: Annotated[str, typer.Argument(help="A dead-letter topic, as `dlq list` names it.", show_default=False)],
    stage: Stage = None,
    reason: Reason = None,
    partition: Annotated[int | None, typer.Option(min=0, help="Only of this partition.")] = None,
    from_offset: Annotated[int | None, typer.Option("--from", min=0, help="Only from this offset on.")] = None,
    to_offset: Annotated[int | None, typer.Option("--to", min=0, help="Only up to this offset, itself included.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Also those that were replayed before.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be published; publish nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Publish dead letters again to the topic and partition that they came from, bytes, key and headers unchanged.

    Put the cause right first: what is still refused becomes a dead letter again, and a hundred in a row pause the service.
    Every reader of the topic gets them; what a reader counted already it counts once. What was replayed is remembered (for
    7 days after the last replay, Kafka's offsets.retention.minutes) and left out the next time.
    """
    selection = Selection(wanted(stage, reason), partition, from_offset, to_offset, again)
    planned = on_kafka(lambda kafka: plan(kafka, topic, selection))
    _print_plan(planned)
    if planned.count == 0 or dry_run:
        return
    if not yes:
        typer.confirm(f"Publish {planned.count} records to {', '.join(sorted(planned.origins))}?", abort=True, err=True)
    done = on_kafka(lambda kafka: replay(kafka, planned, selection))
    out.print(f"Published {done} records to {', '.join(sorted(planned.origins))}.")


def _newest(kept: dict[int, Span], count: int) -> dict[int, Span]:
    return {partition: (max(first, last - count), last) for partition, (first, last) in kept.items()}


def _time(at: datetime | None) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%SZ") if at else ""


def _print(letter: Letter, replayed: bool) -> None:
    said = letter.error
    came_from = "{}/{} @ {}".format(*letter.origin) if letter.origin else "it does not say where"
    lines = [
        ("origin", came_from),
        ("refused", f"by {said.get('consumer', '?')}, {letter.stage}: {masked(letter.reason)}"),
        ("because", masked(said.get("message", ""))),
        ("seen", f"first {said.get('first-seen', '?')}, tries: {said.get('attempts', '?')}"),
        ("key", shown_bytes(letter.key, 256) if letter.key is not None else "(none)"),
        *((f"header {name}", shown_bytes(value, 256)) for name, value in letter.headers),
    ]
    mark = " (replayed)" if replayed else ""
    out.print(f"{letter.topic}/{letter.partition} @ {letter.offset}, {_time(letter.at)}{mark}", style="bold", markup=False)
    for name, value in lines:
        out.print(f"  {name:<8} {value}", markup=False)
    out.print(f"  payload  {shown_bytes(letter.value, PAYLOAD_CHARS)}\n", markup=False)


def _print_plan(planned: Plan) -> None:
    for (stage, reason), count in planned.reasons.most_common():
        out.print(f"{count:>8,}  {stage}: {masked(reason)}", markup=False)
    if planned.replayed_before:
        out.print(f"{planned.replayed_before:,} were replayed before and are left out (--again takes them too).")
    if planned.copies.count:
        out.print(planned.copies.sentence())
    if planned.without_origin:
        err.print(f"{planned.without_origin:,} do not say where they came from and are left out.")
    if planned.count == 0:
        out.print("Nothing to replay.")
    else:
        out.print(f"{planned.count:,} to replay to {', '.join(sorted(planned.origins))}.")
