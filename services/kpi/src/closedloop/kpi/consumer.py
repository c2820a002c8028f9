"""What kpi reads, and how: in columns, all types of the topics that the catalogue looks at."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from closedloop.common.consumer.batch import Batch
from closedloop.common.consumer.failures import Rejection
from closedloop.common.consumer.processor import Decoded
from closedloop.common.postgres.pool import Connection
from closedloop.kpi.columnar.decode import ColumnarDecoder, TopicColumns
from closedloop.kpi.counting import Counted, Counting
from closedloop.kpi.domain.buckets import needed_columns
from closedloop.kpi.domain.catalogue import Catalogue


@dataclass
class Payload:
    """A decoded batch, and what counting it came to, once that was tried."""

    columns: Sequence[TopicColumns]
    late: Sequence[Rejection] = ()
    counted: Counted | None = None


class KpiProcessor:
    """Batches into buckets."""

    def __init__(self, catalogue: Catalogue, counting: Counting, retention: timedelta) -> None:
        self.topics = tuple(sorted(catalogue.topics))
        self._counting = counting
        self._decoder = ColumnarDecoder({topic: needed_columns(catalogue, topic) for topic in self.topics}, retention)

    def decode(self, batch: Batch) -> Decoded[Payload]:
        """Records → columns, rejections, watermarks."""
        columns, refused, watermarks = self._decoder.decode(batch)
        # an import of old events is no bad deployment: what is late is told by `apply`, where it does not pull the brake
        late = [rejection for rejection in refused if rejection.stage == "late"]
        rejections = [rejection for rejection in refused if rejection.stage != "late"] if late else refused
        return Decoded(Payload(columns, late), rejections, watermarks)

    async def apply(self, connection: Connection, payload: Payload) -> Sequence[Rejection]:
        """Count, in the loop's transaction; tell what is too late to be counted."""
        payload.counted = await self._counting.count(connection, payload.columns)
        return payload.late

    def committed(self, payload: Payload) -> None:
        """What was counted holds now."""
        if payload.counted is not None:
            self._counting.committed(payload.counted)

    def reset(self) -> None:
        """Forget what was cached of the database's state."""
        self._counting.reset()
