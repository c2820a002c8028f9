"""Bodies of the REST answers."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Annotated, Any

import msgspec
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from closedloop.kpi.domain.catalogue import (
    Better,
    Collection,
    CompositeIndicator,
    EventIndicator,
    Granularity,
    Indicator,
    IndicatorClass,
    Phase,
    ReportedIndicator,
)
from closedloop.kpi.domain.exporting import exported_by
from closedloop.kpi.domain.threshold_entries import written
from closedloop.kpi.domain.thresholds import Chart, Level, Period, Rule
from closedloop.kpi.domain.windows import Window, time_of
from closedloop.kpi.value import Value

Mutes = Annotated[
    list[str],
    BeforeValidator(lambda mutes: [written(mute) for mute in mutes]),
    Field(description="times on the operator's clock in which no breach begins, such as `sat,sun 00:00-24:00`"),
]


class ThresholdView(BaseModel):
    """When it is breached: the value over `window` is worse than `critical` (or `warning`), from `minimum_sample` events on, for
    `for_minutes`, per group of `by`; and over when it is better than that by `hysteresis`."""

    model_config = ConfigDict(from_attributes=True)

    window: str
    warning: float | None
    critical: float
    hysteresis: float
    for_minutes: int
    minimum_sample: int
    by: list[str]
    escalate_after_minutes: int
    mute: Mutes


class ControlView(BaseModel):
    """The control chart: its kind, its periods, how many of them its limits come from, and its rules, per group of `by`."""

    model_config = ConfigDict(from_attributes=True)

    chart: Chart
    period: Period
    baseline: int
    rules: list[Rule]
    by: list[str]
    level: Level
    mute: Mutes


class IndicatorView(BaseModel):
    """One entry of the catalogue. `topic` to `parent` belong to one that is computed from events, `reported_by` and `is_level` to
    one that is reported, `composite` to one that is composed of others."""

    id: str
    name_en: str
    name_zh: str
    process: str | None
    product: str | None
    factor: str | None
    phase: Phase
    indicator_class: IndicatorClass = Field(serialization_alias="class")
    unit: str
    better: Better
    target: float | None
    warning: float | None
    critical: float | None
    minimum_sample: int | None = Field(description="a period of which less is known is not judged; null: the usual")
    owner: str
    collection: Collection
    granularity: Granularity
    dimensions: list[str]
    export: list[str] = Field(description="by which Prometheus tells it apart")
    formula: str | None
    note: str | None
    version: int
    valid_from: date | None
    topic: str | None = None
    filter: str | None = None
    numerator: str | None = None
    denominator: str | None = None
    threshold: ThresholdView | None = None
    control: ControlView | None = None
    parent: str | None = None
    reported_by: str | None = None
    is_level: bool | None = None
    composite: str | None = None

    @classmethod
    def of(cls, indicator: Indicator) -> "IndicatorView":
        """The entry as it is shown."""
        listed = {"dimensions": list(indicator.dimensions), "export": list(exported_by(indicator))}
        return cls(**{name: getattr(indicator, name) for name in _PLAIN}, **listed, **_own(indicator))


_PLAIN = (
    *("id", "name_en", "name_zh", "process", "product", "factor", "phase", "indicator_class", "unit", "better"),
    *(
        "target",
        "warning",
        "critical",
        "minimum_sample",
        "owner",
        "collection",
        "granularity",
        "formula",
        "note",
        "version",
        "valid_from",
    ),
)


def _own(indicator: Indicator) -> dict[str, Any]:
    """What only this kind of indicator has."""
    if isinstance(indicator, EventIndicator):
        return {
            "topic": indicator.topic,
            "filter": indicator.filter.text,
            "numerator": indicator.numerator.text,
            "denominator": indicator.denominator.text if indicator.denominator is not None else None,
            "threshold": ThresholdView.model_validate(indicator.threshold) if indicator.threshold is not None else None,
            "control": ControlView.model_validate(indicator.control) if indicator.control is not None else None,
            "parent": indicator.parent,
        }
    if isinstance(indicator, ReportedIndicator):
        return {
            "reported_by": indicator.reported_by,
            "numerator": indicator.numerator,
            "denominator": indicator.denominator,
            "is_level": indicator.is_level,
        }
    return {"composite": indicator.composite.text} if isinstance(indicator, CompositeIndicator) else {}


class PartView(BaseModel):
    """A composite's part over the same window, for the same regions and groups."""

    value: float | None
    numerator: float | None
    denominator: float | None
    sample: int
    note: str | None = None


class ValueView(BaseModel):
    """An indicator over [from, to). `value` is null where nothing happened, or was reported, that it could be computed from."""

    start: datetime = Field(serialization_alias="from")
    end: datetime = Field(serialization_alias="to")
    value: float | None
    numerator: float | None = Field(description="null where there is none: a composite, or a value that was reported alone")
    denominator: float | None = Field(description="null for a count or a sum")
    sample: int = Field(description="events, or reported figures, that stand in the value")
    note: str | None = Field(None, description="what must be known of the value")
    parts: dict[str, PartView] | None = Field(None, description="of a composite: the indicators that it is composed of")


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

    def encoded(self, values: Sequence[Value]) -> bytes:
        """This as JSON with these values for its points. Thousands of them are not worth a checked object each."""
        times = _Times()
        points = [
            _Point(
                times[value.start],
                times[value.end],
                value.value,
                value.numerator,
                value.denominator,
                value.sample,
                value.note,
                {part: _Part(*_quantities(known)) for part, known in value.parts.items()} if value.parts else None,
                value.group,
            )
            for value in values
        ]
        return msgspec.json.encode(self.model_dump(exclude={"points"}) | {"points": points})


class _Part(msgspec.Struct, frozen=True, gc=False):
    """As PartView, and quicker made."""

    value: float | None
    numerator: float | None
    denominator: float | None
    sample: int
    note: str | None


class _Point(msgspec.Struct, frozen=True, gc=False, rename={"start": "from", "end": "to"}):
    """As Point."""

    start: str
    end: str
    value: float | None
    numerator: float | None
    denominator: float | None
    sample: int
    note: str | None
    parts: Mapping[str, _Part] | None
    group: Mapping[str, str | None]


class _Times(dict[int, str]):
    """Minute → as it is written; each is worked out once."""

    def __missing__(self, minute: int) -> str:
        text: str = msgspec.to_builtins(time_of(minute))
        self[minute] = text
        return text


def _quantities(value: Value) -> tuple[float | None, float | None, float | None, int, str | None]:
    return value.value, value.numerator, value.denominator, value.sample, value.note


def _figures(value: Value) -> dict[str, Any]:
    parts = {part: PartView(**_named(known)) for part, known in value.parts.items()}
    return {"start": time_of(value.start), "end": time_of(value.end), "parts": parts or None, **_named(value)}


def _named(value: Value) -> dict[str, Any]:
    return dict(zip(PartView.model_fields, _quantities(value), strict=True))
