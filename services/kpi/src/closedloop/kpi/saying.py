"""How every round of statements ends: series, history and events in one transaction; then the metrics and the log."""

from collections.abc import Iterable, Sequence
from typing import Final

import structlog
from prometheus_client import Counter, Gauge

from closedloop.common.consumer.crashpoints import crashpoint
from closedloop.common.events.model import IndicatorBreached, IndicatorRecovered
from closedloop.common.outbox.store import Outgoing, own_event, put
from closedloop.common.postgres.pool import Connection
from closedloop.kpi import statement_store as store
from closedloop.kpi.domain.catalogue import Indicator
from closedloop.kpi.domain.statement import Series, Statement

log = structlog.get_logger()
SOURCE: Final = "/closedloop/kpi"

STATEMENTS = Counter("kpi_statements", "Statements made about indicators", ["indicator", "kind"])
BREACHED = Gauge("kpi_breached_series", "Series that stand breached", ["indicator"])
STATED_UNTIL = Gauge("kpi_stated_until_seconds", "Event time up to which statements were made", ["topic"])


async def write(
    connection: Connection,
    topic: str,
    progress: store.Progress,
    moved: Sequence[Series],
    withdrawn: Sequence[Series],
    made: Sequence[Statement],
) -> bool:
    """Write a round in the open transaction: the series that moved, those that nothing judges any more, and what is said, in order
    of time. False, and nothing written, where another process wrote it since `progress` was read."""
    if not await store.advance(connection, topic, progress.version):
        return False
    await store.write_series(connection, topic, moved, progress.series, made)
    await store.drop_series(connection, topic, [series.key for series in withdrawn])
    await store.write_history(connection, made)
    await put(connection, [Outgoing(statement.subject, _event(statement)) for statement in made])
    if made:
        crashpoint("statements.before_commit")
    return True


def tell(topic: str, upto: int, judged: Iterable[Indicator], series: Iterable[Series], made: Sequence[Statement]) -> None:
    """What holds after the commit. `judged`: the indicators that the round was about; `series`: all of theirs."""
    if made:
        crashpoint("statements.after_commit")
    STATED_UNTIL.labels(topic).set(upto * 60)
    breached = dict.fromkeys((indicator.id for indicator in judged), 0)
    for one in series:
        if one.is_breached and one.indicator_id in breached:
            breached[one.indicator_id] += 1
    for indicator_id, number in breached.items():
        BREACHED.labels(indicator_id).set(number)
    for statement in made:
        STATEMENTS.labels(statement.data.indicator_id, statement.kind).inc()
        log.info("statement", series=statement.series, kind=statement.kind, reason=statement.reason, at=statement.at.isoformat())


def _event(statement: Statement) -> IndicatorBreached | IndicatorRecovered:
    event: IndicatorBreached | IndicatorRecovered = own_event(
        IndicatorBreached if statement.kind == "breached" else IndicatorRecovered,
        id=statement.event_id,
        source=SOURCE,
        at=statement.at,
        subject=statement.subject,
        sequence=statement.sequence,
        data=statement.data,
    )
    return event
