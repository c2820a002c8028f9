"""Bodies of the routes that change the catalogue."""

from datetime import date, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from closedloop.kpi.backtest_schemas import Breaches
from closedloop.kpi.domain.report import Judgement
from closedloop.kpi.domain.versions import Saved
from closedloop.kpi.effects import Effect, Outcome
from closedloop.kpi.reports.schemas import AmountView

Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500, pattern=r"^[^\x00]*$")]


class NewEntry(BaseModel):
    """An entry, written as in a catalogue file but for `version`, which the service gives, and why it is saved."""

    model_config = ConfigDict(extra="forbid")

    entry: dict[str, Any] = Field(examples=[{"id": "web_failure_rate", "name_en": "Web failure rate", "topic": "orders"}])
    reason: Reason


class OutcomeView(BaseModel):
    """An entry's last month."""

    amount: AmountView
    judgement: Judgement
    breaches: Breaches

    @classmethod
    def of(cls, outcome: Outcome) -> "OutcomeView":
        """As it is shown."""
        return cls(
            amount=AmountView.model_validate(outcome.amount), judgement=outcome.judgement, breaches=Breaches.of(outcome.breaches)
        )


class EffectView(BaseModel):
    """What the entry would have said of last month, beside the one in force. Nothing was saved."""

    indicator_id: str
    month: str
    before: OutcomeView | None
    after: OutcomeView
    read: Literal["kept", "topic"] = Field(description="kept: from what is counted already; topic: its records were read again")
    records: int = Field(description="read again from the topic")
    is_whole: bool = Field(
        description="false where only the oldest 1,000,000 records of the month were read, or the topic has let go of its beginning"
    )
    kept_from: datetime | None = Field(
        description="where it has: when the oldest record that it still has was appended; what happened before is not in `after`"
    )

    @classmethod
    def of(cls, indicator_id: str, effect: Effect) -> "EffectView":
        """As it is shown."""
        return cls(
            indicator_id=indicator_id,
            month=effect.month,
            before=None if effect.before is None else OutcomeView.of(effect.before),
            after=OutcomeView.of(effect.after),
            read=effect.read,
            records=effect.records,
            is_whole=effect.is_whole,
            kept_from=effect.kept_from,
        )


class VersionView(BaseModel):
    """A version that was saved. `entry` is null where the indicator was retired; `counted_from`: where its formula was not counted
    before, values are whole from then on."""

    model_config = ConfigDict(from_attributes=True)

    indicator_id: str
    version: int
    entry: dict[str, Any] | None
    valid_from: date
    counted_from: datetime | None
    saved_by: str
    saved_at: datetime
    reason: str


class Versions(BaseModel):
    """All that were saved of one indicator, the newest first. The one of the file, if there is one, is not among them."""

    items: list[VersionView]

    @classmethod
    def of(cls, saved: list[Saved]) -> "Versions":
        """As they are shown."""
        return cls(items=[VersionView.model_validate(one) for one in saved])
