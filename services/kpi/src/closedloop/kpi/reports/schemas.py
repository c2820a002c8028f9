"""Bodies of the reports' routes."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from closedloop.kpi.domain.catalogue import CompositeIndicator, EventIndicator, Indicator, ReportedIndicator
from closedloop.kpi.domain.report import Amount
from closedloop.kpi.domain.windows import time_of
from closedloop.kpi.value import Value

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000, pattern=r"^[^\x00]*$")]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]*$")]


class NewComment(BaseModel):
    """What an owner says of an indicator's month."""

    model_config = ConfigDict(extra="forbid")

    indicator_id: Name
    text: Text


class Publication(BaseModel):
    """Publishing for good. `because` is needed where an indicator that falls short has no comment."""

    model_config = ConfigDict(extra="forbid")

    because: Text | None = None


class NewImprovement(BaseModel):
    """A measure against a shortcoming."""

    model_config = ConfigDict(extra="forbid")

    indicator_id: Name
    text: Text
    owner: Name = Field(description="the unit or person that carries it out")
    due: date


class NewProgress(BaseModel):
    """How far a measure is."""

    model_config = ConfigDict(extra="forbid")

    percent: int = Field(ge=0, le=100)
    state: Literal["open", "done", "dropped"] = "open"
    text: Text


class ReportHead(BaseModel):
    """A report and where it stands. `uncommented` are the indicators that fall short and have no comment (in a draft)."""

    month: str
    version: int
    state: Literal["draft", "commented", "published"]
    published_at: datetime | None = None
    published_by: str | None = None
    sha256: str | None = Field(None, description="of the published JSON, hexadecimal")
    because: str | None = Field(None, description="why it was published although owners had not commented")
    uncommented: list[str] | None = None


class ImprovementView(BaseModel):
    """A measure as it stands."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    version: int
    indicator_id: str
    text: str
    owner: str
    due: date
    state: Literal["open", "done", "dropped"]
    created_by: str
    created_at: datetime
    percent: int = Field(description="as it was said last")
    is_overdue: bool = Field(False, description="open, and its day is over")


class ShortcomingView(BaseModel):
    """An indicator that falls short in published reports from `since` on, until `gone`; and what is done about it.
    `needs_measure`: it is open, and nobody works on it."""

    model_config = ConfigDict(from_attributes=True)

    indicator_id: str
    name_en: str | None = Field(None, description="null where the catalogue has it no longer")
    owner: str | None = None
    since: str
    gone: str | None
    measures_open: int
    measures_overdue: int
    measures_done: int
    next_due: date | None
    needs_measure: bool = False


class AmountView(BaseModel):
    """A figure."""

    model_config = ConfigDict(from_attributes=True)

    value: float | None
    numerator: float | None
    denominator: float | None
    sample: int


class DrilledGroup(AmountView):
    """One group of events or figures."""

    group: dict[str, str | None]
    parts: dict[str, AmountView] = Field(description="of a composite: what it is computed from")


class Drilled(BaseModel):
    """What stands behind a figure of a month, by the entry of that month's last day: what was counted, and how much of it.
    `published` is what the frozen report says; `groups` are as of now."""

    month: str
    indicator_id: str
    name_en: str
    unit: str
    version: int
    begin: datetime
    end: datetime
    filter: str | None = Field(description="which events count; null where it is not computed from events")
    numerator: str | None
    denominator: str | None
    composite: str | None
    published: AmountView | None
    groups: list[DrilledGroup]

    @classmethod
    def of(
        cls, month: str, indicator: Indicator, window: tuple[int, int], values: Sequence[Value], published: Amount | None
    ) -> "Drilled":
        """As it is shown. `window`: [start, end) in minutes since 1970."""
        return cls(
            month=month,
            indicator_id=indicator.id,
            name_en=indicator.name_en,
            unit=indicator.unit,
            version=indicator.version,
            begin=time_of(window[0]),
            end=time_of(window[1]),
            published=None if published is None else AmountView.model_validate(published),
            groups=[
                DrilledGroup(
                    **_amount(value),
                    group=dict(value.group),
                    parts={id_: AmountView(**_amount(part)) for id_, part in value.parts.items()},
                )
                for value in values
            ],
            **_formulas(indicator),
        )


def _formulas(indicator: Indicator) -> dict[str, str | None]:
    found: dict[str, str | None] = dict.fromkeys(("filter", "numerator", "denominator", "composite"))
    if isinstance(indicator, EventIndicator):
        found |= {"filter": indicator.filter.text, "numerator": indicator.numerator.text}
        found["denominator"] = None if indicator.denominator is None else indicator.denominator.text
    elif isinstance(indicator, ReportedIndicator):
        found |= {"numerator": indicator.numerator, "denominator": indicator.denominator}
    elif isinstance(indicator, CompositeIndicator):
        found["composite"] = indicator.composite.text
    return found


def _amount(value: Value) -> dict[str, Any]:
    return {name: getattr(value, name) for name in AmountView.model_fields}


class LaterReportView(BaseModel):
    """What somebody reported after publication, of the indicator or of a part; a correction where there is a `reason`."""

    model_config = ConfigDict(from_attributes=True)

    indicator_id: str
    period: str
    dimensions: dict[str, str]
    reason: str | None
    by: str
    at: datetime


class RestatedItem(BaseModel):
    """A figure that is another one since it was published, and why."""

    model_config = ConfigDict(from_attributes=True)

    month: str
    indicator_id: str
    name_en: str
    unit: str
    region: str | None = Field(description="one that the report named; null: the whole")
    published: AmountView
    now: AmountView
    events: int | None = Field(description="of what is computed from events: so many more than were counted then (they came late)")
    reports: list[LaterReportView] = Field(description="reported after publication, the newest first, 20 at most")


class Restatement(BaseModel):
    """What later data changed in a published report, item by item; empty where nothing did."""

    month: str
    sha256: str = Field(description="of the report as it was published")
    items: list[RestatedItem]
    is_counted: bool = Field(
        description="whether the month's events are still kept (KPI_RETENTION_DAYS); where not, only reported figures are compared"
    )
