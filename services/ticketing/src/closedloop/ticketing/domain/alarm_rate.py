"""How sure a burst must be, from the false alarms that staff accept."""

from dataclasses import dataclass
from datetime import timedelta
from math import exp, log

import numpy as np

from closedloop.ticketing.domain.bins import BINS_PER_DAY

WINDOWS = (
    timedelta(minutes=30),
    timedelta(hours=1),
    timedelta(hours=2),
    timedelta(hours=3),
    timedelta(hours=6),
    timedelta(hours=24),
)
STEPS_PER_MONTH = 30 * BINS_PER_DAY

# (complaints a day, F) for a target of 0.1 false alarms per subject and month. F is how many a month there would be if
# every test of every window were apart from the others; overlapping windows give fewer, swings that are not quite
# known give more, so F is measured: benchmarks/burst_false_alarms.py --subjects 400 gave at most 0.10 in each of 33
# cells (2 to 10,000 complaints a day; Poisson, hourly and daily swings), 0.04 on average, the most from 60 a day on
# with swings. Below that, counts are too small to come near the target.
_F_BY_VOLUME = ((60.0, 0.5), (240.0, 0.3))
_TARGET_OF_TABLE = 0.1
# Alarms fall slower than F where they come from swings, and rise almost with it where they come from chance: below
# the table's target F goes with its square, above with the power that gave at most 1.0 a month for a target of 1.
_POWER_BELOW, _POWER_ABOVE = 2.0, 1.3
GREATEST_TARGET = 1.0
_LOG_VOLUMES, _LOG_F = np.log(np.array(_F_BY_VOLUME)).T


@dataclass(frozen=True)
class BurstSettings:
    """What staff set. S subjects give about S × `false_alarms_per_month` false alarms a month."""

    false_alarms_per_month: float = 0.1
    """Accepted per subject and month of 30 days."""
    least_customers: int = 5
    """A batch has at least this many distinct customers."""
    least_ratio: float = 1.5
    """A batch has at least this many times what was expected."""

    def __post_init__(self) -> None:
        if not 0 < self.false_alarms_per_month <= GREATEST_TARGET:
            raise ValueError(
                f"false_alarms_per_month is {self.false_alarms_per_month}: set it above 0 and at most "
                f"{GREATEST_TARGET:g}, e.g. 0.1 (one in ten months per subject)"
            )
        if self.least_customers < 1:
            raise ValueError(f"least_customers is {self.least_customers}: set it to 1 or more, e.g. 5")
        if not self.least_ratio >= 1:
            raise ValueError(f"least_ratio is {self.least_ratio}: set it to 1 or more, e.g. 1.5")

    def p_limit(self, complaints_per_day: float) -> float:
        """A window fires at this p-value or a smaller one."""
        f = exp(float(np.interp(log(max(complaints_per_day, 1.0)), _LOG_VOLUMES, _LOG_F)))
        target = self.false_alarms_per_month / _TARGET_OF_TABLE
        power = _POWER_BELOW if target < 1 else _POWER_ABOVE
        return f * exp(power * log(target)) / (STEPS_PER_MONTH * len(WINDOWS))
