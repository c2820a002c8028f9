"""How sure a burst must be, from the false alarms that staff accept."""

from dataclasses import dataclass
from datetime import timedelta
from math import exp, isfinite, log

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

# (complaints a day, F) that gave at most 0.1 false alarms per subject and month in benchmarks/burst_false_alarms.py.
_F_BY_VOLUME = ((20.0, 0.4), (60.0, 0.3), (240.0, 0.1), (10_000.0, 0.1))
_TARGET_OF_TABLE = 0.1
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
        if not (isfinite(self.false_alarms_per_month) and self.false_alarms_per_month > 0):
            raise ValueError(f"false_alarms_per_month is {self.false_alarms_per_month}: set it above 0, e.g. 0.1")
        if self.least_customers < 1:
            raise ValueError(f"least_customers is {self.least_customers}: set it to 1 or more, e.g. 5")
        if not self.least_ratio >= 1:
            raise ValueError(f"least_ratio is {self.least_ratio}: set it to 1 or more, e.g. 1.5")

    def p_limit(self, complaints_per_day: float) -> float:
        """A window fires at this p-value or a smaller one. F is the rate of false alarms that independent tests would
        give; tests of overlapping windows on streams that swing give another, which is why F is measured."""
        log_f = np.interp(log(max(complaints_per_day, 1.0)), _LOG_VOLUMES, _LOG_F)
        f = exp(float(log_f)) * (self.false_alarms_per_month / _TARGET_OF_TABLE) ** 2
        return min(f, 1.0) / (STEPS_PER_MONTH * len(WINDOWS))
