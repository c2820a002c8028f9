"""Bodies of a backtest."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, field_validator

from closedloop.common.events.rules import Refused, parse_time
from closedloop.kpi.domain.backtest import Breach
from closedloop.kpi.domain.statement import minute_at
from closedloop.kpi.domain.thresholds import Level

MOST_BREACHES: Final = 1_000


class LevelsOrder(BaseModel):
    """Levels of a period, one of them at least."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    warning: float | None = None
    critical: float | None = None


class BacktestOrder(BaseModel):
    """What to run over [from, to) of event time: a threshold, a control chart, levels of a period, or some of them, written as in
    the catalogue."""

    model_config = ConfigDict(extra="forbid")

    threshold: dict[str, Any] | None = Field(
        None, examples=[{"window": "1h", "critical": 15, "minimum_sample": 50, "for": "10m", "by": ["region"]}]
    )
    control: dict[str, Any] | None = Field(None, examples=[{"chart": "p", "period": "day", "rules": ["beyond_limit"]}])
    levels: LevelsOrder | None = Field(
        None, examples=[{"warning": 96, "critical": 94}], description="of the month, quarter or year"
    )
    start: datetime = Field(alias="from")
    to: datetime

    @field_validator("start", "to", mode="before")
    @classmethod
    def _with_offset(cls, value: object) -> object:
        if not isinstance(value, str):
            raise ValueError("must be a time in RFC 3339 with an offset, such as 2026-11-20T08:00:00+08:00")
        try:
            return parse_time(value, "it")
        except Refused as refused:
            raise ValueError(str(refused)) from None


class BreachView(BaseModel):
    """A time at a level. `end` is null where it went on; value, threshold and the sums are those of its beginning."""

    series: str
    dimensions: dict[str, str]
    begin: datetime
    end: datetime | None
    level: Level
    rule: str | None
    value: float | None
    threshold: float
    numerator: float
    denominator: float
    sample: int
    ended: str | None = Field(description="why")
    series_url: str | None

    @classmethod
    def of(cls, breach: Breach) -> "BreachView":
        """As it is shown."""
        data = breach.data
        return cls(
            series=breach.series,
            dimensions=data.dimensions,
            begin=minute_at(breach.begin),
            end=None if breach.end is None else minute_at(breach.end),
            level=breach.level,
            rule=data.rule,
            value=data.value,
            threshold=data.threshold,
            numerator=data.numerator,
            denominator=data.denominator,
            sample=data.sample,
            ended=breach.reason,
            series_url=data.series_url,
        )


class Breaches(BaseModel):
    """The first of them, and how many there are."""

    count: int
    items: list[BreachView]

    @classmethod
    def of(cls, breaches: Sequence[Breach]) -> "Breaches":
        """As they are shown."""
        return cls(count=len(breaches), items=[BreachView.of(breach) for breach in breaches[:MOST_BREACHES]])


class BacktestView(BaseModel):
    """What the rules would have raised, and what was really stated in that time."""

    indicator_id: str
    raised: Breaches
    stated: Breaches
