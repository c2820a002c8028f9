"""Use case: a breach that stands, and that nobody has acknowledged, is said again."""

from collections.abc import Callable
from datetime import datetime

import msgspec
import structlog
from prometheus_client import Counter

from closedloop.common.events.model import IndicatorBreachData, IndicatorEscalated, IndicatorEscalationData
from closedloop.common.outbox.store import Outgoing, own_event, put
from closedloop.common.postgres.pool import Pool
from closedloop.kpi import state_store as store
from closedloop.kpi.domain.catalogue import Catalogue, EventIndicator
from closedloop.kpi.domain.escalation import is_due
from closedloop.kpi.domain.period_states import ESCALATE_AFTER_MINUTES as AFTER_A_PERIOD
from closedloop.kpi.domain.statement import series_key
from closedloop.kpi.domain.thresholds import ESCALATE_AFTER_MINUTES
from closedloop.kpi.saying import SOURCE

log = structlog.get_logger()
AT_ONCE = 500

ESCALATED = Counter("kpi_escalations", "Breaches said again, as nobody had acknowledged them", ["indicator"])


class Escalations:
    """Looks at the standing breaches, by the database's clock."""

    def __init__(self, pool: Pool, catalogue: Catalogue, said: Callable[[], None] = lambda: None) -> None:
        self._pool = pool
        self._catalogue = catalogue
        self._said = said

    async def look(self) -> None:
        """Say again what is due, in one transaction."""
        made: list[str] = []
        async with self._pool.acquire() as connection, connection.transaction():
            now = await store.now(connection)
            late = [row["series"] for row in await store.read_unanswered(connection) if self._is_due(row, now)]
            for row in await store.lock_unanswered(connection, late[:AT_ONCE]):
                if not self._is_due(row, now):
                    continue  # another process has just said it
                step = row["escalations"] + 1
                stated = msgspec.convert(row["said"], IndicatorBreachData)
                data = IndicatorEscalationData(
                    **msgspec.structs.asdict(stated),
                    breach_id=row["breach_id"],
                    minutes=int((now - row["breached_at"]).total_seconds() // 60),
                    escalation=step,
                )
                subject = series_key(stated.indicator_id, stated.dimensions)
                event = own_event(
                    IndicatorEscalated,
                    id=f"{row['breach_id']}.escalated.{step}",
                    source=SOURCE,
                    at=now,
                    subject=subject,
                    sequence=row["sequence"],
                    data=data,
                )
                await store.escalate(connection, row, step, event.id, msgspec.to_builtins(data), now)
                await put(connection, [Outgoing(subject, event)])
                made.append(stated.indicator_id)
                log.info("escalated", series=row["series"], step=step)
        for indicator_id in made:
            ESCALATED.labels(indicator_id).inc()
        if made:
            self._said()

    def _is_due(self, row: store.Row, now: datetime) -> bool:
        after = self._after(row["indicator_id"], row["judged_by"])
        return is_due(row["breached_at"], row["escalated_at"], row["escalations"], after, now)

    def _after(self, indicator_id: str, judged_by: str) -> int:
        indicator = self._catalogue.get(indicator_id)
        if indicator is not None and indicator.is_judged_by_period:
            return AFTER_A_PERIOD
        if judged_by == "control" or not isinstance(indicator, EventIndicator) or indicator.threshold is None:
            return ESCALATE_AFTER_MINUTES
        return indicator.threshold.escalate_after_minutes
