"""Bodies of the REST answers."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from closedloop.kpi.domain.catalogue import Better, Indicator, IndicatorClass, Phase
from closedloop.kpi.domain.windows import Window, time_of
from closedloop.kpi.values import Value


class ThresholdView(BaseModel):
    """When it is breached: the value over `window` is worse than `critical`, from `minimum_sample` events on, per group of `by`."""

    window: str
    critical: float
    minimum_sample: int
    by: list[str]


class IndicatorView(BaseModel):
    """One entry of the catalogue."""

    id: str
    name_en: str
    name_zh: str
    process: str | None
    product: str | None
    phase: Phase
    indicator_class: IndicatorClass = Field(serialization_alias="class")
    unit: str
    better: Better
    target: float | None
    owner: str
    topic: str
    filter: str
    numerator: str
    denominator: str | None
    dimensions: list[str]
    threshold: ThresholdView | None
    formula: str | None
    note: str | None

    @classmethod
    def of(cls, indicator: Indicator) -> "IndicatorView":
        """The entry as it is shown."""
        threshold = indicator.threshold
        return cls(
            **{name: getattr(indicator, name) for name in _PLAIN},
            filter=indicator.filter.text,
            numerator=indicator.numerator.text,
            denominator=indicator.denominator.text if indicator.denominator is not None else None,
            dimensions=list(indicator.dimensions),
            threshold=None
            if threshold is None
            else ThresholdView(
                window=threshold.window,
                critical=threshold.critical,
                minimum_sample=threshold.minimum_sample,
                by=list(threshold.by),
            ),
        )


_PLAIN = (
    *("id", "name_en", "name_zh", "process", "product", "phase", "indicator_class", "unit", "better", "target", "owner"),
    *("topic", "formula", "note"),
)


class ValueView(BaseModel):
    """An indicator over [from, to). `value` is null where nothing happened that it could be computed from."""

    start: datetime = Field(serialization_alias="from")
    end: datetime = Field(serialization_alias="to")
    value: float | None
    numerator: float
    denominator: float | None = Field(description="null for a count or a sum")
    sample: int = Field(description="events that stand in the value")


class IndicatorValue(ValueView):
    """One value."""

    indicator_id: str
    window: Window
    unit: str
    better: Better
    target: float | None

    @classmethod
    def of(cls, indicator: Indicator, window: Window, value: Value) -> "IndicatorValue":
        """The value as it is shown."""
        return cls(
            **_figures(value),
            indicator_id=indicator.id,
            window=window,
            unit=indicator.unit,
            better=indicator.better,
            target=indicator.target,
        )


class Point(ValueView):
    """One window of a series; `group` holds the dimensions of `group_by`, null where an event did not say."""

    group: dict[str, str | None]

    @classmethod
    def of(cls, value: Value) -> "Point":
        """The value as it is shown."""
        return cls(**_figures(value), group=dict(value.group))


class Series(BaseModel):
    """Values over a window that moves by `step`, group by group in order of time."""

    indicator_id: str
    window: Window
    step: str
    unit: str
    better: Better
    target: float | None
    group_by: list[str]
    points: list[Point]


def _figures(value: Value) -> dict[Literal["start", "end", "value", "numerator", "denominator", "sample"], object]:
    return {
        "start": time_of(value.start),
        "end": time_of(value.end),
        "value": value.value,
        "numerator": value.numerator,
        "denominator": value.denominator,
        "sample": value.sample,
    }
