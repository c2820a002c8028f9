"""What holds breaches back in one round of statements: the calendar, people's silences, and parents that stand breached."""

from collections.abc import Iterable, Mapping, Sequence
from zoneinfo import ZoneInfo

from closedloop.common.postgres.pool import Pool
from closedloop.kpi import statement_store as store
from closedloop.kpi.domain.catalogue import Catalogue, EventIndicator, Indicator
from closedloop.kpi.domain.masks import Mask, Masks, Silence, inhibited, muted
from closedloop.kpi.domain.statement import Statement, series_key
from closedloop.kpi.domain.stating import NO_MASKS, MasksOf, Watch


class Masking:
    """The masks over the minutes in (since, upto]."""

    def __init__(self, pool: Pool, catalogue: Catalogue, zone: ZoneInfo, since: int, upto: int) -> None:
        self._pool = pool
        self._catalogue = catalogue
        self._zone = zone
        self._since = since
        self._upto = upto
        self._silences: list[Silence] = []

    async def read_silences(self) -> None:
        """As people have made them up to now."""
        async with self._pool.acquire() as connection:
            self._silences = await store.read_silences(connection, self._since, self._upto)

    def silenced(self, indicator: Indicator) -> MasksOf:
        """The masks of an indicator's series that nothing but silences holds back."""
        silences = [silence for silence in self._silences if silence.indicator_id in (None, indicator.id)]
        return lambda dimensions: Masks(_silenced(silences, indicator, dimensions)) if silences else NO_MASKS

    async def over(self, watch: Watch, made: Iterable[Statement]) -> MasksOf:
        """The masks of the watch's series. `made`: what was stated in this round, of its parent too."""
        calendar = muted(watch.by_rule.mute, self._zone, self._since, self._upto)
        silences = [silence for silence in self._silences if silence.indicator_id in (None, watch.indicator.id)]
        parent = self._catalogue.counted(watch.indicator.parent) if watch.indicator.parent is not None else None
        steps = {} if parent is None else await self._steps(parent, made)
        if not silences and not steps:
            shared = Masks(calendar) if calendar else NO_MASKS
            return lambda _: shared

        def masks_of(dimensions: Mapping[str, str]) -> Masks:
            return Masks([*calendar, *_silenced(silences, watch.indicator, dimensions), *_inhibited(parent, steps, dimensions)])

        return masks_of

    async def _steps(self, parent: EventIndicator, made: Iterable[Statement]) -> dict[str, list[tuple[int, int]]]:
        """Where the parent's series stood from minute to minute."""
        async with self._pool.acquire() as connection:
            steps = await store.read_steps(connection, parent.id, self._since)
        for statement in made:
            if statement.data.indicator_id == parent.id and statement.judged_by == "threshold":
                steps.setdefault(statement.series, []).append((statement.end, statement.rank))
        return {series: sorted(found) for series, found in steps.items()}


def _silenced(silences: Iterable[Silence], indicator: Indicator, dimensions: Mapping[str, str]) -> list[Mask]:
    return [Mask(s.start, s.end, "silenced") for s in silences if s.matches(indicator.id, dimensions)]


def _inhibited(
    parent: EventIndicator | None, steps: Mapping[str, Sequence[tuple[int, int]]], dimensions: Mapping[str, str]
) -> list[Mask]:
    if parent is None or parent.threshold is None or not set(parent.threshold.by) <= dimensions.keys():
        return []
    return inhibited(steps.get(series_key(parent.id, {name: dimensions[name] for name in parent.threshold.by}), ()))
