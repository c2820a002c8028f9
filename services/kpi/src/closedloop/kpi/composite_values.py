"""Values and series of indicators that are composed of others, from their parts' values for the same windows and groups."""

from collections.abc import Mapping, Sequence

from closedloop.kpi.domain.catalogue import CompositeIndicator, EventIndicator, Indicator
from closedloop.kpi.domain.windows import MOST_POINTS, TooManyPoints
from closedloop.kpi.value import Value

Codes = tuple[str | None, ...]


def composed(indicator: CompositeIndicator, places: Sequence[Mapping[str, Value]]) -> list[Value]:
    """The composite at each place; every place has all its parts, over one window and group."""
    ids = indicator.composite.parts
    values = indicator.composite.values({part: [place[part].value for place in places] for part in ids})
    return [_value(value, {part: place[part] for part in ids}) for value, place in zip(values, places, strict=True)]


def composed_series(
    indicator: CompositeIndicator, parts: Mapping[Indicator, Sequence[Value]], group_by: Sequence[str], length: int
) -> list[Value]:
    """From the parts' series of the same windows, `length` of them: one value per group that any part has, and window.

    Raises TooManyPoints.
    """
    lines = {part: _by_group(series, group_by) for part, series in parts.items()}
    groups = sorted(
        {codes for line in lines.values() for codes in line}, key=lambda codes: [(code is None, code or "") for code in codes]
    )
    if group_by and len(groups) * length > MOST_POINTS:
        raise TooManyPoints
    places: list[dict[str, Value]] = []
    for codes in groups:
        known = next(line[codes] for line in lines.values() if codes in line)
        for n, window in enumerate(known):
            places.append({part.id: line[codes][n] if codes in line else _nothing(part, window) for part, line in lines.items()})
    return composed(indicator, places)


def _by_group(series: Sequence[Value], group_by: Sequence[str]) -> dict[Codes, list[Value]]:
    found: dict[Codes, list[Value]] = {}
    for value in series:
        found.setdefault(tuple(value.group[name] for name in group_by), []).append(value)
    return found


def _nothing(part: Indicator, window: Value) -> Value:
    """What a part is in a group of which it knows nothing: no event is a count of 0, no report is unknown."""
    if not isinstance(part, EventIndicator):
        return Value(window.start, window.end, None, None, None, 0, window.group)
    denominator = None if part.denominator is None else 0.0
    return Value(window.start, window.end, part.value(0.0, denominator), 0.0, denominator, 0, window.group)


def _value(value: float | None, parts: Mapping[str, Value]) -> Value:
    one = next(iter(parts.values()))
    return Value(one.start, one.end, value, None, None, sum(part.sample for part in parts.values()), one.group, parts=parts)
