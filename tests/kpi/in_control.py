"""Series in control: nothing changes but by chance. What a chart signals on them is a false alarm."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from closedloop.kpi.domain.control_chart import NO_RULE, signals
from closedloop.kpi.domain.thresholds import Chart, Rule

Numbers = NDArray[np.float64]
RULE_SETS: Final[dict[str, tuple[Rule, ...]]] = {
    "beyond_limit": ("beyond_limit",),
    "with two_of_three": ("beyond_limit", "two_of_three"),
    "with four_of_five": ("beyond_limit", "four_of_five"),
    "with eight_on_one_side": ("beyond_limit", "eight_on_one_side"),
    "all four": ("beyond_limit", "two_of_three", "four_of_five", "eight_on_one_side"),
}


@dataclass(frozen=True)
class Kind:
    """How a series is drawn, and by which chart it is judged."""

    name: str
    chart: Chart

    def draw(self, rng: np.random.Generator, periods: int) -> tuple[Numbers, Numbers | None]:
        """Numerator and denominator of so many periods."""
        if self.name == "normal":
            return rng.normal(100, 10, periods), None
        sizes = rng.poisson(400, periods).astype(np.float64) + 1
        if self.name == "poisson":
            return rng.poisson(sizes * 0.05).astype(np.float64), sizes
        rate = np.full(periods, 0.1)
        if self.name == "overdispersed":
            # the rate itself strolls from period to period: 10 % on average, with a standard deviation of 3 points
            rate = rng.beta(10, 90, periods)
        if self.name == "daily rhythm":
            # of hours: 6 % at the quietest, 14 % at the busiest time of the day, and nothing else changes
            rate = 0.1 + 0.04 * np.sin(2 * np.pi * np.arange(periods) / 24)
        return rng.binomial(sizes.astype(np.int64), rate).astype(np.float64), sizes


KINDS: Final = (
    Kind("normal", "xmr"),
    Kind("binomial", "p"),
    Kind("poisson", "u"),
    Kind("overdispersed", "p"),
    Kind("overdispersed", "xmr"),
    Kind("daily rhythm", "p"),
    Kind("daily rhythm", "xmr"),
)


def false_alarms(kind: Kind, rules: tuple[Rule, ...], baseline: int, series: int, periods: int, seed: int, every: int = 1) -> float:
    """The share of judged periods that signal, over so many series of so many judged periods each."""
    rng = np.random.default_rng(seed)
    alarms = judged = 0
    for _ in range(series):
        numerator, denominator = kind.draw(rng, baseline * every + periods)
        found = signals(kind.chart, rules, "lower", baseline, numerator, denominator, every)
        alarms += int((found.rule != NO_RULE).sum())
        judged += int(found.is_judged.sum())
    return alarms / judged
