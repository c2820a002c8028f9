"""Since when what an indicator needs is counted: a formula begins with the catalogue that knows it, not with the events."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, TypeAlias

from closedloop.kpi.domain.catalogue import Catalogue, EventIndicator, Indicator

Counted: TypeAlias = Mapping[tuple[str, str], datetime | None]
"""(topic, column of its buckets) → since when, None as long as anything of the topic; what is not there is not counted yet."""
FAR: Final = datetime(9999, 1, 1, tzinfo=UTC)
"""When it is counted that is not counted yet."""


def counted_from(indicator: Indicator, counted: Counted, catalogue: Catalogue, missing: datetime | None = FAR) -> datetime | None:
    """Since when all is counted that it or, of a composite, its parts in the `catalogue` need. None: from ever, or nothing is.
    `missing`: what holds of a column of which nothing is noted."""
    needed = [indicator] if isinstance(indicator, EventIndicator) else [catalogue.counted(id_) for id_ in indicator.sources]
    times = [counted.get(column, missing) for one in needed if one is not None for column in one.counted_columns]
    return max((time for time in times if time is not None), default=None)
