"""Which ticket first: from urgency, from how many customers it touches, and from how hard the improvement is."""

from typing import Literal, get_args

Difficulty = Literal["easy", "medium", "hard"]
DIFFICULTIES: tuple[Difficulty, ...] = get_args(Difficulty)
LEAST_URGENCY, MOST_URGENCY = 0, 3
HIGHEST, LOWEST = 1, 4

_REACH_STEPS = (10, 100, 1000)
_EASE = {"easy": 1, "medium": 0, "hard": -1}


def priority(urgency: int, customers: int, difficulty: Difficulty | None) -> int:
    """1 (first) to 4. What is urgent, touches many and is easily improved comes first; an unknown difficulty is medium."""
    reach = sum(customers >= step for step in _REACH_STEPS)
    points = min(max(urgency, LEAST_URGENCY), MOST_URGENCY) + reach + _EASE[difficulty or "medium"]
    if points >= 5:
        return 1
    if points >= 3:
        return 2
    return 3 if points >= 1 else LOWEST


def urgency_of_excess(observed: float, expected: float) -> int:
    """How urgent a burst or a hot subject is: by how many times what was expected (or set) was seen."""
    return sum(observed >= times * max(expected, 1e-9) for times in (1.5, 3.0, 10.0))


def urgency_of_breach(value: float | None, threshold: float) -> int:
    """How urgent an indicator's breach is: by its distance from the threshold, as a share of it."""
    if value is None:
        return 1
    distance = abs(value - threshold) / max(abs(threshold), 1e-9)
    return 1 + sum(distance >= share for share in (0.2, 0.5))
