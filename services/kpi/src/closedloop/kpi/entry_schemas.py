"""Bodies of the routes that change the catalogue."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from closedloop.kpi.backtest_schemas import Breaches
from closedloop.kpi.domain.report import Judgement
from closedloop.kpi.domain.versions import Saved, Written
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
    counted_from: datetime | None = Field(description="since when it is counted, where that is not the whole month")

    @classmethod
    def of(cls, outcome: Outcome) -> "OutcomeView":
        """As it is shown."""
        return cls(
            amount=AmountView.model_validate(outcome.amount),
            judgement=outcome.judgement,
            breaches=Breaches.of(outcome.breaches),
            counted_from=outcome.counted_from,
        )


class EffectView(BaseModel):
    """What the entry would have said of last month, beside the one in force. Nothing was saved."""

    indicator_id: str
    month: str
    before: OutcomeView | None
    after: OutcomeView
    read: Literal["kept", "topic"] = Field(description="kept: from what is counted already; topic: its records were read again")
    records: int = Field(description="read again from the topic")
    is_whole: bool = Field(description="false where only the oldest 1,000,000 records were read, or the topic has let go of some")
    kept_from: datetime | None = Field(
        description="where it has: when the oldest record that it still has was appended; what happened before is not in `after`"
    )
    read_from: datetime | None = Field(
        description="the event time from which records were read again: before the month where windows and baselines reach back, "
        "unless there were more than 1,000,000"
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
            read_from=effect.read_from,
        )


class FileEffects(BaseModel):
    """What a file's entries would have said of last month, as if all were in force. `unchanged` say what is in force already."""

    items: list[EffectView]
    unchanged: list[str]


class VersionView(BaseModel):
    """A version that was saved, or stands in a file: then `place` says where, and who, when and why are the file's matter.
    `entry` is null where the indicator was retired; `valid_from` is null where it holds from ever; `counted_from`: where its
    formula was not counted before, values are whole from then on."""

    model_config = ConfigDict(from_attributes=True)

    indicator_id: str
    version: int
    entry: dict[str, Any] | None
    valid_from: date | None
    place: str | None = None
    counted_from: datetime | None = None
    saved_by: str | None = None
    saved_at: datetime | None = None
    reason: str | None = None


class Versions(BaseModel):
    """All of one indicator, the newest first."""

    items: list[VersionView]

    @classmethod
    def of(cls, indicator_id: str, saved: list[Saved], files: list[Written]) -> "Versions":
        """As they are shown; of one number what was saved counts, and stands first."""
        found = [VersionView.model_validate(one) for one in saved]
        for place, entry in files:
            said = dict(cast(Mapping[str, Any], entry))
            version, first = said.pop("version", 1), said.pop("valid_from", None)
            found.append(VersionView(indicator_id=indicator_id, version=version, entry=said, valid_from=first, place=place))
        return cls(items=sorted(found, key=lambda one: one.version, reverse=True))
