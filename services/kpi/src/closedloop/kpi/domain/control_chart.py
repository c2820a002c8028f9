"""Control charts: whether a period's value strays from what the periods before it show, further than chance would let it.

Sources: D. C. Montgomery, Introduction to Statistical Quality Control (charts for individuals, fraction nonconforming,
nonconformities per unit); Western Electric, Statistical Quality Control Handbook (1956), for the rules; L. S. Nelson, The Shewhart
Control Chart - Tests for Special Causes, Journal of Quality Technology 16 (1984).

    xmr   centre: mean of the values; σ: mean moving range / 1.128, so the limits are centre ± 2.66 mean moving ranges
    p     centre: p̄ = Σ numerators / Σ denominators; σ of a period of n: sqrt(p̄ (1 - p̄) / n)
    u     centre: ū, got alike; σ of a period of n: sqrt(ū / n)

Only the side that is worse is looked at. Each period is compared with limits from the `baseline` periods before the one that is
judged (or from the same hour of so many days), whatever these were: a chart that had signalled has its signals in the next
limits. A period in which nothing happened is left out.
"""

from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from closedloop.kpi.domain.catalogue import Better
from closedloop.kpi.domain.thresholds import Chart, Rule

Numbers: TypeAlias = npt.NDArray[np.float64]
Truths: TypeAlias = npt.NDArray[np.bool_]
LEAST: Final = 8
"""Periods of a baseline with a value, and half of it, without which there are no limits."""
MOVING_RANGE_TO_SIGMA: Final = 1.128
"""d₂ for ranges of two."""
_RUN: Final = 8
"""The longest run that a rule looks at."""
NO_RULE: Final = ""


@dataclass(frozen=True, slots=True)
class Signals:
    """Per judged period: whether there were limits and a value, the rule that was broken or NO_RULE; centre, σ, and the limit of
    three σ on the side that is worse, in the numerator's unit per denominator."""

    is_judged: Truths
    rule: npt.NDArray[np.str_]
    limit: Numbers
    centre: Numbers
    sigma: Numbers


def signals(
    chart: Chart,
    rules: tuple[Rule, ...],
    better: Better,
    baseline: int,
    numerator: Numbers,
    denominator: Numbers | None,
    every: int = 1,
) -> Signals:
    """Of all periods but the first `baseline` × `every`, of consecutive ones; each is compared with every so-many-th before it.
    `denominator`: None for a count or a sum, which begins with its first period that is not 0. p and u need one."""

    def before_each(numbers: Numbers) -> Numbers:
        return np.lib.stride_tricks.sliding_window_view(numbers, baseline * every + 1)[:, ::every]

    numerators = before_each(numerator)
    if denominator is None:
        known = np.cumsum(numerators != 0, axis=1) > 0
        values = numerators
        denominators = np.ones_like(numerators)
    else:
        denominators = before_each(denominator)
        known = denominators > 0
        values = np.divide(numerators, denominators, out=np.zeros(numerators.shape), where=known)
    before = known[:, :-1]
    if chart == "xmr":
        centre, sigma = _individuals(values[:, :-1], before)
        spread = np.repeat(sigma[:, np.newaxis], _RUN, axis=1)
    else:
        totals = np.where(before, denominators[:, :-1], 0.0).sum(axis=1)
        centre = np.divide(
            np.where(before, numerators[:, :-1], 0.0).sum(axis=1), totals, out=np.zeros(totals.shape), where=totals > 0
        )
        # a share outside of 0 to 1 has no binomial spread, and 0 tells that there are no limits
        variance = np.maximum(centre * (1 - centre), 0.0) if chart == "p" else np.maximum(centre, 0.0)
        sizes = np.where(known[:, -_RUN:], denominators[:, -_RUN:], np.inf)
        spread = np.sqrt(variance[:, np.newaxis] / sizes)
    side = 1.0 if better == "lower" else -1.0
    is_judged = (before.sum(axis=1) >= max(LEAST, baseline / 2)) & known[:, -1] & (spread[:, -1] > 0)
    deviation = side * (values[:, -_RUN:] - centre[:, np.newaxis])
    usable = known[:, -_RUN:] & (spread > 0)
    sigmas = np.divide(deviation, spread, out=np.full(deviation.shape, -np.inf), where=usable)
    rule = np.full(len(centre), NO_RULE, dtype="<U17")
    for name in reversed(rules):
        rule[is_judged & _broken(name, sigmas)] = name
    return Signals(is_judged, rule, centre + side * 3 * spread[:, -1], centre, spread[:, -1])


def _individuals(values: Numbers, known: Truths) -> tuple[Numbers, Numbers]:
    """Mean and σ of each row; moving ranges of neighbours that are both known."""
    numbers = np.maximum(known.sum(axis=1), 1)
    centre = np.where(known, values, 0.0).sum(axis=1) / numbers
    pairs = known[:, 1:] & known[:, :-1]
    ranges = np.where(pairs, np.abs(np.diff(values, axis=1)), 0.0)
    return centre, ranges.sum(axis=1) / np.maximum(pairs.sum(axis=1), 1) / MOVING_RANGE_TO_SIGMA


def _broken(rule: Rule, sigmas: Numbers) -> Truths:
    """Whether the last point of each row of points, in σ to the side that is worse, completes the rule's pattern."""
    last = sigmas[:, -1]
    if rule == "beyond_limit":
        return np.asarray(last > 3)
    if rule == "two_of_three":
        return np.asarray((last > 2) & ((sigmas[:, -3:] > 2).sum(axis=1) >= 2))
    if rule == "four_of_five":
        return np.asarray((last > 1) & ((sigmas[:, -5:] > 1).sum(axis=1) >= 4))
    return np.asarray((sigmas > 0).all(axis=1))
