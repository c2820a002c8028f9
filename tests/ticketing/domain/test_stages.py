"""A ticket's life: whatever staff try, it goes as the table of stages says, and its history tells it."""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from closedloop.ticketing.domain import ticket as life
from closedloop.ticketing.domain.cause import of_name, of_topic
from closedloop.ticketing.domain.priority import Difficulty
from closedloop.ticketing.domain.stages import RULES, STAGES, STEPS, Stage, Step, StepRefused, Verdict, allowed, move
from closedloop.ticketing.domain.ticket import Actor, Change, Ticket

ANN = Actor("ann", "console")
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


def fresh() -> Change:
    return life.opened(
        id=uuid.UUID(int=1),
        cause=of_topic("top_up"),
        title="top-ups are not credited",
        trigger="manual",
        unit=None,
        urgency=1,
        customers=20,
        regions=("NJ",),
        at=NOW,
        actor=ANN,
        reason="seen at the desk",
    )


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("step", STEPS)
def test_a_step_is_taken_exactly_where_the_table_allows_it(stage: Stage, step: Step) -> None:
    if step in RULES[stage]:
        assert move(stage, step).to == RULES[stage][step]
    else:
        with pytest.raises(StepRefused) as refused:
            move(stage, step)
        assert all(other in str(refused.value) for other in allowed(stage))


def test_the_straight_way_goes_through_all_four_stages_in_order() -> None:
    change = fresh()
    way = [entry.to_stage for entry in change.entries]
    steps: tuple[Callable[[Ticket], Change], ...] = (
        lambda t: life.analysed(t, {"root_cause": "x"}, "medium", ANN, NOW),
        lambda t: life.improved(t, {"measures": []}, True, ANN, NOW),
        lambda t: life.evaluated(t, {}, "effective", ANN, NOW),
    )
    for step in steps:
        change = step(change.ticket)
        way += [entry.to_stage for entry in change.entries]
    assert way == ["discover", "analyse", "improve", "evaluate", "closed"]
    assert change.ticket.outcome == "effective"
    assert change.ticket.closed_at == NOW


def test_an_evaluation_that_is_not_passed_begins_another_round_with_empty_pages() -> None:
    ticket = life.analysed(fresh().ticket, {"root_cause": "x"}, "hard", ANN, NOW).ticket
    ticket = life.improved(ticket, {"measures": []}, True, ANN, NOW).ticket
    again = life.evaluated(ticket, {"text": "no change"}, "not_effective", ANN, NOW)
    assert (again.ticket.stage, again.ticket.round) == ("analyse", 2)
    assert (again.ticket.analysis, again.ticket.improvement, again.ticket.evaluation) == (None, None, None)
    assert again.entries[-1].content == {"text": "no change"}


def test_a_plan_that_is_not_carried_out_keeps_the_ticket_in_improve() -> None:
    ticket = life.analysed(fresh().ticket, {}, "easy", ANN, NOW).ticket
    planned = life.improved(ticket, {"measures": [1]}, False, ANN, NOW).ticket
    assert (planned.stage, planned.improvement, planned.improved_at) == ("improve", {"measures": [1]}, None)
    assert planned.version == ticket.version + 1


def test_a_dispatched_ticket_is_analysed_by_its_unit() -> None:
    sent = life.transferred(fresh().ticket, "billing", None, ANN, NOW).ticket
    assert (sent.stage, sent.unit) == ("analyse", "billing")
    assert life.transferred(sent, "network", "not ours", ANN, NOW).ticket.stage == "analyse"


@given(st.text(max_size=20))
def test_a_cause_named_by_hand_is_the_one_that_triggers_name(path: str) -> None:
    assert of_name("topic:" + path) == of_topic(path)


class Life(RuleBasedStateMachine):
    """Any steps in any order against a model of four lines."""

    @initialize()
    def open(self) -> None:
        change = fresh()
        self.ticket: Ticket = change.ticket
        self.history = list(change.entries)
        self.clock = NOW

    def attempt(self, step: Step, act: Callable[[Ticket], Change]) -> None:
        self.clock += timedelta(minutes=1)
        before = self.ticket
        try:
            change = act(before)
        except StepRefused:
            assert step not in RULES[before.stage]
            return
        assert step in RULES[before.stage]
        self.ticket = change.ticket
        self.history += change.entries

    @rule(difficulty=st.sampled_from(["easy", "medium", "hard"]))
    def analyse(self, difficulty: Difficulty) -> None:
        self.attempt("analysis", lambda t: life.analysed(t, {"by": "analysis"}, difficulty, ANN, self.clock))

    @rule(carried_out=st.booleans())
    def improve(self, carried_out: bool) -> None:
        self.attempt("improvement", lambda t: life.improved(t, {"by": "improvement"}, carried_out, ANN, self.clock))

    @rule(verdict=st.sampled_from(["effective", "not_effective"]))
    def evaluate(self, verdict: Verdict) -> None:
        self.attempt("evaluation", lambda t: life.evaluated(t, {"by": "evaluation"}, verdict, ANN, self.clock))

    @rule()
    def send_back(self) -> None:
        self.attempt("return", lambda t: life.returned(t, "not enough", ANN, self.clock))

    @rule(unit=st.sampled_from(["billing", "network"]))
    def transfer(self, unit: str) -> None:
        self.attempt("transfer", lambda t: life.transferred(t, unit, None, ANN, self.clock))

    @precondition(lambda self: self.ticket.version > 6)
    @rule()
    def close(self) -> None:
        self.attempt("close", lambda t: life.closed(t, "duplicate", "of another", ANN, self.clock))

    @invariant()
    def history_tells_the_ticket(self) -> None:
        if not hasattr(self, "ticket"):
            return
        versions = [entry.version for entry in self.history]
        assert versions == list(range(1, self.ticket.version + 1))
        stage = None
        for entry in self.history:
            assert entry.from_stage == stage
            stage = entry.to_stage
        assert stage == self.ticket.stage
        rounds = sum(e.action == "evaluation" and e.to_stage == "analyse" for e in self.history)
        assert self.ticket.round == 1 + rounds
        assert (self.ticket.stage == "closed") == (self.ticket.closed_at is not None) == (self.ticket.outcome is not None)

    @invariant()
    def what_a_stage_needs_is_there(self) -> None:
        if hasattr(self, "ticket"):
            if self.ticket.stage in ("improve", "evaluate"):
                assert self.ticket.analysis is not None
            if self.ticket.stage == "evaluate":
                assert self.ticket.improved_at is not None


TestLife = Life.TestCase
