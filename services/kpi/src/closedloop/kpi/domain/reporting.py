"""What a report of one figure must say. A row is a mapping of field names to texts or numbers, as it came in JSON or CSV:

period, the indicator's dimensions, its quantities (numerator and denominator, or numerator, or value), file, method, reason
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Final

from closedloop.common.events.rules import CODE, TOPIC_PATH, Refused
from closedloop.kpi.domain.catalogue import ReportedIndicator
from closedloop.kpi.domain.columns import CLOSED_LISTS
from closedloop.kpi.domain.expressions import suggestion
from closedloop.kpi.domain.measures import LARGEST
from closedloop.kpi.domain.periods import Period, period_of

LONGEST: Final = {"file": 255, "method": 1000, "reason": 500}
"""The texts of a report and how many characters each may have."""
CHOICES: Final = {name: choices for lists in CLOSED_LISTS.values() for name, choices in lists.items()}
_REGION: Final = "region"
_NUMBER: Final = re.compile(r"[+-]?\d{1,30}(?:\.\d{1,30})?(?:[eE][+-]?\d{1,3})?\Z", re.ASCII)
_UNPRINTABLE: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")

Key = tuple[str, tuple[tuple[str, str], ...]]
"""What a figure is of, within its indicator: the period and the dimensions."""
Figures = tuple[float | None, float | None, float | None]
"""(numerator, denominator, value); None where the indicator does not ask for it."""


class OtherRegion(Refused):
    """A figure of a region that the token does not cover."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One reported figure, checked. Without a region among its dimensions it is the whole operator's."""

    period: Period
    dimensions: Mapping[str, str]
    numerator: float | None
    denominator: float | None
    value: float | None
    file: str | None
    method: str | None
    reason: str | None

    @property
    def key(self) -> Key:
        """What it is of."""
        return self.period.text, tuple(sorted(self.dimensions.items()))

    @property
    def figures(self) -> Figures:
        """What it says."""
        return self.numerator, self.denominator, self.value


def fields_of(indicator: ReportedIndicator) -> tuple[str, ...]:
    """The fields that a report of the indicator has, in the template's order."""
    return ("period", *indicator.dimensions, *indicator.quantities, *LONGEST)


def read_measurement(
    row: Mapping[str, object], indicator: ReportedIndicator, regions: frozenset[str] | None, today: date
) -> Measurement:
    """The figure that a row reports. `regions`: those that the token covers, None for all. Raises Refused (OtherRegion), which
    names the field, the problem and the way out."""
    fields = fields_of(indicator)
    for name in row:
        if name not in fields:
            raise Refused(str(name)[:64], f"unknown field{suggestion(str(name), fields)} (there are {', '.join(fields)})")
    period = _period(_text(row, "period"), indicator, today)
    dimensions = {name: code for name in indicator.dimensions if (code := _code(row, name)) is not None}
    region = dimensions.get(_REGION)
    if regions is not None and (region is None or region not in regions):
        problem = "is needed: only a token for all regions may report the whole operator" if region is None else None
        raise OtherRegion(_REGION, problem or f"the token does not cover {region}")
    numerator, denominator, value = (
        _number(row, name) if name in indicator.quantities else None for name in ("numerator", "denominator", "value")
    )
    for name, number in (("numerator", numerator), ("denominator", denominator)):
        if number is not None and number < 0:
            raise Refused(name, f"must be 0 or more, not {number:g}")
    if denominator == 0 and numerator:
        raise Refused("denominator", f"is 0 where the numerator is {numerator:g}; where nothing happened both are 0")
    texts = {name: _long_text(row, name, most) for name, most in LONGEST.items()}
    if texts["file"] is None and texts["method"] is None:
        raise Refused("file", "is missing; name the file that it was taken from, or say in `method` how it was got")
    return Measurement(period, dimensions, numerator, denominator, value, **texts)


def changes(known: Figures | None, new: Measurement) -> bool:
    """Whether the figure is a new version of what is known of it. Raises Refused where it corrects that and does not say why."""
    if known is None:
        return True
    if known == new.figures:
        return False
    if new.reason is None:
        told = " / ".join(f"{figure:.15g}" for figure in known if figure is not None)
        raise Refused("reason", f"is needed: {told} was reported for it before, and a correction says why")
    return True


def _period(text: str | None, indicator: ReportedIndicator, today: date) -> Period:
    if text is None:
        raise Refused("period", f"is missing; say the {indicator.granularity}")
    try:
        period = period_of(text, indicator.granularity)
    except ValueError as problem:
        raise Refused("period", str(problem)) from None
    if period.first > today:
        raise Refused("period", f"`{text}` has not begun; report it when it is over")
    return period


def _code(row: Mapping[str, object], name: str) -> str | None:
    text = _text(row, name)
    if text is None:
        return None
    if name in CHOICES and text not in CHOICES[name]:
        choices = CHOICES[name]
        raise Refused(name, f"must be one of {', '.join(choices)}, not `{text[:40]}`{suggestion(text, choices)}")
    if name == "topic_path":
        if not TOPIC_PATH.match(text):
            raise Refused(name, "must have 1 to 200 characters, none of them a control character")
    elif not CODE.match(text):
        raise Refused(name, f"must match [A-Za-z0-9_.-]{{1,64}}, not `{text[:40]}`")
    return text


def _number(row: Mapping[str, object], name: str) -> float:
    given = row.get(name)
    if given is None or given == "":
        raise Refused(name, "is missing")
    if isinstance(given, str):
        if not _NUMBER.match(given.strip()):
            raise Refused(name, f"must be a number such as 1234.5, without separators, units or %, not `{given[:40]}`")
        given = float(given)
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise Refused(name, "must be a number")
    if not abs(given) <= LARGEST or not math.isfinite(given):
        raise Refused(name, f"must lie within ±{LARGEST:g}")
    return float(given)


def _text(row: Mapping[str, object], name: str) -> str | None:
    given = row.get(name)
    if given is None:
        return None
    if not isinstance(given, str):
        raise Refused(name, "must be text")
    return given.strip() or None


def _long_text(row: Mapping[str, object], name: str, most: int) -> str | None:
    text = _text(row, name)
    if text is None:
        return None
    if len(text) > most:
        raise Refused(name, f"has {len(text)} characters; the limit is {most}")
    if _UNPRINTABLE.search(text):
        raise Refused(name, "has a control character; take it out")
    return text
