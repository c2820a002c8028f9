"""The bodies of this service's routes."""

from datetime import date, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from closedloop.ticketing.domain.firing import Trigger
from closedloop.ticketing.domain.priority import Difficulty
from closedloop.ticketing.domain.stages import Stage, Step, Verdict

NO_CONTROLS = r"^[^\x00-\x1f\x7f]*$"
_TEXT = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$"
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=10_000, pattern=_TEXT)]
Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=NO_CONTROLS)]
Region = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
CauseName = Annotated[str, StringConstraints(max_length=600, pattern=r"^[a-z_]{1,32}:[^\x00-\x1f\x7f]{1,560}$")]

ProblemType = Literal["business_support", "business_process", "execution", "collaboration"]
Method = Literal["walk_through", "survey", "field_test"]
CloseOutcome = Literal["duplicate", "unfounded", "withdrawn", "merged"]


class Body(BaseModel):
    """An unknown field is a mistake, not something to lose silently."""

    model_config = ConfigDict(extra="forbid")


class NewTicket(Body):
    """A ticket raised by hand, with its evidence."""

    cause: CauseName = Field(description="topic:<topic_path>, indicator:<id>{dimension=value,…}, or another word and colon")
    title: Line
    evidence: Text = Field(description="what was seen, where and how often; no customer's phone number")
    regions: list[Region] = Field(default=[], max_length=200, description="left out: all of the token's own regions")
    unit: Line | None = None
    urgency: int = Field(1, ge=0, le=3)
    customers: int = Field(0, ge=0, le=1_000_000_000, description="how many it affects, as far as known")


class Analysis(Body):
    """The root cause. Sends the ticket to improve."""

    problem_type: ProblemType
    root_cause: Line
    methods: list[Method] = Field(min_length=1, max_length=3)
    text: Text
    difficulty: Difficulty = Field(description="of the improvement")


class Measure(Body):
    """What is done, by whom, until when."""

    what: Line
    unit: Line = Field(description="the responsible unit")
    due: date
    done: date | None = None


class Improvement(Body):
    """The measures. Without `carried_out` they are a plan and the ticket stays in improve; with it, it goes to evaluate."""

    measures: list[Measure] = Field(min_length=1, max_length=100)
    carried_out: Text | None = Field(None, description="how the measures were carried out")


class Evaluation(Body):
    """Whether the improvement helped. Not effective: the ticket goes round again, from analyse."""

    verdict: Verdict
    before: float | None = Field(
        None, ge=0, allow_inf_nan=False, description="the figure before; left out: complaints a day as this service counted"
    )
    after: float | None = Field(None, ge=0, allow_inf_nan=False)
    figure: Line = Field("complaints a day", description="what before and after count")
    text: Text


class Return(Body):
    """Sends the ticket back one stage."""

    reason: Text


class Transfer(Body):
    """Gives the ticket to another unit; from discover that dispatches it to analyse."""

    unit: Line
    reason: Text | None = None


class Close(Body):
    """Closes a ticket that shall not go through its stages."""

    outcome: CloseOutcome
    reason: Text
    duplicate_of: UUID | None = None


class TicketLine(BaseModel):
    """A ticket as lists show it."""

    id: UUID
    cause: str
    topic_path: str | None
    indicator_id: str | None
    title: str
    trigger: Trigger
    stage: Stage
    round: int
    unit: str | None
    priority: int = Field(description="1 (first) to 4")
    urgency: int
    difficulty: Difficulty | None
    customers: int
    regions: list[str] = Field(description="those that the token covers; empty: the whole operator")
    outcome: str | None
    opened_at: AwareDatetime
    opened_by: str
    improved_at: AwareDatetime | None
    closed_at: AwareDatetime | None
    version: int
    allowed: list[Step] = Field(description="the steps that it takes now")


class ListedComplaint(BaseModel):
    """One of the complaints that made a trigger fire."""

    complaint_id: str
    region: str
    at: AwareDatetime


class FiringView(BaseModel):
    """Evidence: one firing of a trigger."""

    id: UUID
    trigger: Trigger
    at: AwareDatetime
    window_start: AwareDatetime | None
    window_end: AwareDatetime | None
    expected: float | None
    observed: float | None
    customers: int
    regions: dict[str, int] = Field(description="customers per region that the token covers")
    complaints: list[ListedComplaint] = Field(description="some of the complaints, of regions that the token covers")
    details: dict[str, Any]


class Effect(BaseModel):
    """Complaints a day on the ticket's subject, each customer counted once in 24 h."""

    usual: float | None = Field(description="in the 28 days before what opened it")
    before: float | None = Field(description="from then until the improvement was carried out")
    after: float | None = Field(description="since the improvement was carried out")


class TicketView(TicketLine):
    """A ticket with its current content and its evidence."""

    analysis: dict[str, Any] | None
    improvement: dict[str, Any] | None
    evaluation: dict[str, Any] | None
    firings: int = Field(description="how many firings are attached")
    evidence: list[FiringView] = Field(description="the firing that opened it and the newest ones")
    effect: Effect | None = Field(description="only where the cause is a topic")


class HistoryLine(BaseModel):
    """Who did what, when and why."""

    version: int
    at: datetime
    actor: str
    client: str
    action: str
    from_stage: Stage | None
    to_stage: Stage
    reason: str | None
    content: dict[str, Any] | None
