"""Bodies of states and silences."""

import uuid
from datetime import datetime
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from closedloop.common.events.rules import Refused, parse_time
from closedloop.kpi.domain.masks import Suppression
from closedloop.kpi.domain.statement import Judge
from closedloop.kpi.domain.states import State
from closedloop.kpi.domain.thresholds import Level

NO_CONTROLS: Final = r"^[^\x00-\x1f\x7f]*$"
Comment = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1000, pattern=r"^[^\x00]*$")]
Code = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=NO_CONTROLS)]
MOST_DIMENSIONS: Final = 16


class StateView(BaseModel):
    """How one series stands at `stated_until` of event time. `version` is its ETag."""

    id: uuid.UUID
    series: str
    indicator_id: str
    dimensions: dict[str, str]
    judged_by: Judge
    state: State
    since: datetime | None = Field(description="event time from which it has been in this state")
    pending_until: datetime | None = Field(description="when a level begins, if the value stays as bad and nothing suppresses it")
    suppressed_by: Suppression | None = Field(description="why no breach may begin: a mute calendar, a silence, a parent's breach")
    level: Level | None
    value: float | None
    numerator: float | None
    denominator: float | None
    sample: int | None
    rule: str | None = Field(description="of a control chart, that was broken")
    unit: str
    owner: str
    stated_until: datetime
    series_url: str | None = Field(description="shows the values around the last statement")
    acknowledged_by: str | None
    acknowledged_at: datetime | None
    comment: str | None
    escalations: int
    version: int


class StateLine(BaseModel):
    """Who said or did what about a series, when and why. `at`: event time of a statement, the clock of what people do."""

    event_id: str
    series: str
    indicator_id: str
    kind: Literal["breached", "recovered", "acknowledged", "escalated"]
    reason: str
    at: datetime
    by: str
    recorded_at: datetime
    comment: str | None
    data: dict[str, Any]


class Acknowledgement(BaseModel):
    """What whoever takes care of it has to say."""

    model_config = ConfigDict(extra="forbid")

    comment: Comment


class NewSilence(BaseModel):
    """The series of an indicator, those with some dimensions, or both, in [from, until) of event time."""

    model_config = ConfigDict(extra="forbid")

    indicator_id: Code | None = None
    dimensions: dict[Code, Code] = Field(default_factory=dict, max_length=MOST_DIMENSIONS)
    start: datetime | None = Field(None, alias="from", description="left out: now")
    until: datetime
    comment: Comment

    @field_validator("start", "until", mode="before")
    @classmethod
    def _with_offset(cls, value: object) -> object:
        if not isinstance(value, str):
            raise ValueError("must be a time in RFC 3339 with an offset, such as 2026-11-20T08:00:00+08:00")
        try:
            return parse_time(value, "it")
        except Refused as refused:
            raise ValueError(str(refused)) from None

    @model_validator(mode="after")
    def _names_something(self) -> Self:
        if self.indicator_id is None and not self.dimensions:
            raise ValueError("name an indicator_id, or dimensions, or both: a silence over everything is refused")
        if self.start is not None and self.until <= self.start:
            raise ValueError("until: must be after `from`")
        return self


class EndOfSilence(BaseModel):
    """Why it ends before its time."""

    model_config = ConfigDict(extra="forbid")

    comment: Comment


class SilenceView(BaseModel):
    """A silence. `version` is its ETag."""

    id: uuid.UUID
    indicator_id: str | None
    dimensions: dict[str, str]
    start: datetime = Field(serialization_alias="from")
    until: datetime
    comment: str
    made_by: str
    made_at: datetime
    ended_by: str | None = Field(description="who let it end before its time")
    version: int
