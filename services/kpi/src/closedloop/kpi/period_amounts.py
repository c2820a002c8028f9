"""The figures of whole periods by which an indicator is judged: the whole operator's, and each region's."""

from collections.abc import Sequence

from closedloop.kpi.domain.catalogue import Indicator
from closedloop.kpi.domain.period_states import Dimensions, PeriodAmount, window_of
from closedloop.kpi.value import REGION
from closedloop.kpi.values import Values


async def period_amounts(values: Values, indicator: Indicator, ends: Sequence[int]) -> dict[Dimensions, list[PeriodAmount]]:
    """Group → the figures of the periods that end there, in that order. What has no region is part of the whole only. Raises
    TooManyPoints."""
    window = window_of(indicator)
    found: dict[Dimensions, list[PeriodAmount]] = {}
    for group_by in ((), (REGION,)):
        for value in await values.series(indicator, window, ends, group_by, {}):
            group = [(name, code) for name, code in sorted(value.group.items()) if code is not None]
            if len(group) == len(value.group):
                found.setdefault(tuple(group), []).append(PeriodAmount(value.end, value.amount))
    return found
