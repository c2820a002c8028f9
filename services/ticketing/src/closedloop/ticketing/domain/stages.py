"""A ticket's life as one table: which step is allowed in which stage, and where it leads."""

from dataclasses import dataclass
from typing import Literal, get_args

Stage = Literal["discover", "analyse", "improve", "evaluate", "closed"]
Step = Literal["analysis", "improvement", "evaluation", "return", "transfer", "close"]
STAGES: tuple[Stage, ...] = get_args(Stage)
STEPS: tuple[Step, ...] = get_args(Step)
Verdict = Literal["effective", "not_effective"]

RULES: dict[Stage, dict[Step, Stage]] = {
    # Discovery is done when it is raised with evidence. A transfer dispatches it to the department that analyses;
    # a department that sends its analysis at once has taken it up by that.
    "discover": {"analysis": "improve", "transfer": "analyse", "close": "closed"},
    "analyse": {"analysis": "improve", "return": "discover", "transfer": "analyse", "close": "closed"},
    "improve": {"improvement": "evaluate", "return": "analyse", "transfer": "improve", "close": "closed"},
    "evaluate": {"evaluation": "closed", "return": "improve", "transfer": "evaluate", "close": "closed"},
    "closed": {},
}
"""Two steps may lead elsewhere: an improvement that is planned but not carried out stays; an evaluation that is not passed goes
back to `analyse` for another round."""


class StepRefused(Exception):
    """The stage does not allow the step. The text says what is allowed."""

    def __init__(self, stage: Stage, step: Step) -> None:
        super().__init__(f"A ticket in stage {stage} takes {_listed(allowed(stage))}, not {step}.")
        self.stage = stage
        self.step = step


@dataclass(frozen=True)
class Move:
    """Where a step leads: the stages passed through, the last one first reached at the end, and whether a new round begins."""

    path: tuple[Stage, ...]
    next_round: bool = False

    @property
    def to(self) -> Stage:
        return self.path[-1]


def allowed(stage: Stage) -> list[Step]:
    """The steps that a ticket in this stage takes."""
    return sorted(RULES[stage])


def move(stage: Stage, step: Step, *, carried_out: bool = True, verdict: Verdict = "effective") -> Move:
    """Where `step` leads from `stage`. Raises StepRefused."""
    if step not in RULES[stage]:
        raise StepRefused(stage, step)
    if step == "improvement" and not carried_out:
        return Move((stage,))
    if step == "evaluation" and verdict == "not_effective":
        return Move(("analyse",), next_round=True)
    if stage == "discover" and step == "analysis":
        return Move(("analyse", "improve"))
    return Move((RULES[stage][step],))


def _listed(steps: list[Step]) -> str:
    return "no further step; a new firing on its cause opens a new ticket" if not steps else " or ".join(steps)
