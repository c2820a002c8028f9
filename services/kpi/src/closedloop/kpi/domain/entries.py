"""From a catalogue file's entry to an indicator: every problem of an entry is found and said at once, in the file's own words."""

import math
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar, get_args

from closedloop.common.events.rules import CODE
from closedloop.kpi.domain.catalogue import THRESHOLD_WINDOWS, Better, Indicator, IndicatorClass, Phase, Threshold
from closedloop.kpi.domain.columns import DIMENSIONS, SCHEMA
from closedloop.kpi.domain.expressions import Formula, FormulaRefused, Kind, formula, suggestion

T = TypeVar("T")
REQUIRED: Final = (
    *("id", "name_en", "name_zh", "phase", "class", "unit", "better", "owner"),
    *("topic", "filter", "numerator", "dimensions"),
)
OPTIONAL: Final = ("process", "product", "target", "denominator", "threshold", "formula", "note")
_THRESHOLD_REQUIRED: Final = ("window", "critical", "minimum_sample")
_THRESHOLD_OPTIONAL: Final = ("by",)
_ID: Final = re.compile(r"[a-z][a-z0-9_]{2,63}\Z")
_NAME_MAX: Final = 200


class _Wrong(Exception):
    """A field's problem, in words."""


def read_entry(entry: object, place: str) -> tuple[Indicator | None, list[str]]:
    """The indicator of one entry, or None and its problems, each `place: indicator: field: what is wrong`."""
    if not isinstance(entry, Mapping):
        return None, [f"{place}: an entry must be a mapping that begins with `id:`"]
    reader = _Reader(entry, f"{place}: {entry.get('id', 'entry without id')}")
    reader.check_keys(REQUIRED, OPTIONAL)
    indicator = _indicator(reader, place)
    return (None, reader.problems) if reader.problems else (indicator, [])


def _indicator(reader: "_Reader", place: str) -> Indicator | None:
    topic = reader.take("topic", _one_of(tuple(SCHEMA)))
    dimensions = reader.take("dimensions", _dimensions(topic)) or ()
    better = reader.take("better", _one_of(get_args(Better)))
    target = reader.take("target", _number)
    fields: dict[str, Any] = {
        "id": reader.take("id", _id),
        "name_en": reader.take("name_en", _text),
        "name_zh": reader.take("name_zh", _text),
        "process": reader.take("process", _code),
        "product": reader.take("product", _code),
        "phase": reader.take("phase", _one_of(get_args(Phase))),
        "indicator_class": reader.take("class", _one_of(get_args(IndicatorClass))),
        "unit": reader.take("unit", _text),
        "owner": reader.take("owner", _code),
        "filter": reader.take("filter", _formula(topic, "condition")),
        "numerator": reader.take("numerator", _formula(topic, "quantity")),
        "denominator": reader.take("denominator", _formula(topic, "quantity")),
        "threshold": reader.take("threshold", lambda value: _threshold(value, reader, dimensions, better, target)),
        "formula": reader.take("formula", _text),
        "note": reader.take("note", _text),
    }
    if reader.missing("process") and reader.missing("product"):
        reader.complain("process", "is missing; say the `process` or the `product` that the indicator belongs to")
    if reader.problems or topic is None or better is None:
        return None
    return Indicator(**fields, topic=topic, dimensions=dimensions, better=better, target=target, place=place)


class _Reader:
    """One mapping of a file and the problems found in it."""

    def __init__(self, entry: Mapping[object, object], where: str, problems: list[str] | None = None) -> None:
        self._entry = entry
        self._where = where
        self.problems: list[str] = [] if problems is None else problems

    def complain(self, field: str, problem: str) -> None:
        self.problems.append(f"{self._where}: {field}: {problem}")

    def missing(self, field: str) -> bool:
        return field not in self._entry

    def check_keys(self, required: tuple[str, ...], optional: tuple[str, ...]) -> None:
        known = (*required, *optional)
        for key in self._entry:
            if key not in known:
                self.complain(str(key), "unknown key" + (suggestion(str(key), known) or f" (there are {', '.join(known)})"))
        for key in required:
            if key not in self._entry:
                self.complain(key, "is missing")

    def take(self, field: str, read: Callable[[object], T]) -> T | None:
        """The field read, or None where it is absent or wrong."""
        if field not in self._entry:
            return None
        try:
            return read(self._entry[field])
        except _Wrong as wrong:
            self.complain(field, str(wrong))
            return None

    def inside(self, field: str, entry: Mapping[object, object]) -> "_Reader":
        return _Reader(entry, f"{self._where}: {field}", self.problems)


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > _NAME_MAX:
        raise _Wrong(f"must be text of 1 to {_NAME_MAX} characters, not {_shown(value)}")
    return value


def _id(value: object) -> str:
    if not isinstance(value, str) or not _ID.match(value):
        raise _Wrong(f"must match [a-z][a-z0-9_]{{2,63}}, not {_shown(value)}")
    return value


def _code(value: object) -> str:
    if not isinstance(value, str) or not CODE.match(value):
        raise _Wrong(f"must match [A-Za-z0-9_.-]{{1,64}}, not {_shown(value)}")
    return value


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _Wrong(f"must be a number, not {_shown(value)}")
    return float(value)


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise _Wrong(f"must be a whole number from 1 on, not {_shown(value)}")
    return value


def _one_of(choices: tuple[str, ...]) -> Callable[[object], Any]:
    def read(value: object) -> str:
        if value not in choices:
            close = suggestion(str(value), choices)
            raise _Wrong(f"must be one of {', '.join(choices)}, not {_shown(value)}{close}")
        return str(value)

    return read


def _formula(topic: str | None, kind: Kind) -> Callable[[object], Formula | None]:
    def read(value: object) -> Formula | None:
        # a bare `1` or `true` is a number or a truth in YAML, and a formula all the same
        text = str(value) if isinstance(value, int | float) else value
        if not isinstance(text, str):
            raise _Wrong(f"must be a formula, not {_shown(value)}")
        if topic is None:
            return None  # its own problem; without a topic there are no columns to check against
        try:
            return formula(text, topic, kind)
        except FormulaRefused as refused:
            raise _Wrong(str(refused)) from None

    return read


def _names(value: object, known: tuple[str, ...], what: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise _Wrong(f"must be a list of names, such as [{', '.join(known[:2])}], not {_shown(value)}")
    for name in value:
        if name not in known:
            raise _Wrong(f"`{name}` is no {what}{suggestion(name, known)} (there are {', '.join(known)})")
    if len(set(value)) < len(value):
        raise _Wrong("names a dimension twice")
    return tuple(value)


def _dimensions(topic: str | None) -> Callable[[object], tuple[str, ...]]:
    def read(value: object) -> tuple[str, ...]:
        known = (
            DIMENSIONS[topic] if topic is not None else tuple(dict.fromkeys(name for own in DIMENSIONS.values() for name in own))
        )
        names = _names(value, known, f"dimension of {topic}" if topic else "dimension")
        if "region" not in names:
            raise _Wrong("must name `region`: staff see only the regions of their token")
        return names

    return read


def _threshold(
    value: object, reader: _Reader, dimensions: tuple[str, ...], better: Better | None, target: float | None
) -> Threshold | None:
    if not isinstance(value, Mapping):
        raise _Wrong("must be a mapping with window, critical, minimum_sample and, per group, by")
    inner = reader.inside("threshold", value)
    inner.check_keys(_THRESHOLD_REQUIRED, _THRESHOLD_OPTIONAL)
    window = inner.take("window", _one_of(tuple(THRESHOLD_WINDOWS)))
    critical = inner.take("critical", _number)
    sample = inner.take("minimum_sample", _whole)
    by = inner.take("by", lambda names: _names(names, dimensions, "dimension of this indicator"))
    is_beyond = {"higher": operator.gt, "lower": operator.lt}
    if critical is not None and target is not None and better is not None and is_beyond[better](critical, target):
        inner.complain("critical", f"{critical:g} is better than the target {target:g}, although `better` is {better}")
    if window is None or critical is None or sample is None:
        return None
    return Threshold(window, critical, sample, by or ())


def _shown(value: object) -> str:
    text = "nothing" if value is None else f"`{value}`"
    return text if len(text) <= 80 else f"{text[:80]}…`"
