"""From a catalogue file's entry to an indicator: every problem of an entry is found and said at once, in the file's own words."""

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, Final, get_args

from closedloop.kpi.domain import aggregates
from closedloop.kpi.domain.catalogue import (
    Better,
    CompositeIndicator,
    EventIndicator,
    Granularity,
    Indicator,
    IndicatorClass,
    Phase,
    ReportedIndicator,
)
from closedloop.kpi.domain.columns import DIMENSIONS, SCHEMA
from closedloop.kpi.domain.composition import Composition, composition
from closedloop.kpi.domain.entry_reader import EntryReader, Wrong, code, day, identifier, names, number, one_of, shown, text, whole
from closedloop.kpi.domain.entry_reader import mapping as mapping_of
from closedloop.kpi.domain.expressions import Formula, FormulaRefused, Kind, formula
from closedloop.kpi.domain.threshold_entries import control_of, is_worse, threshold_of

REQUIRED: Final = ("id", "name_en", "name_zh", "phase", "class", "unit", "better", "owner", "dimensions")
OPTIONAL: Final = (
    *("process", "product", "factor", "target", "warning", "critical", "minimum_sample"),
    *("formula", "note", "version", "valid_from", "export"),
)
_EVENT_REQUIRED: Final = ("topic", "filter", "numerator")
_EVENT_OPTIONAL: Final = ("denominator", "threshold", "control", "parent")
_REPORTED_REQUIRED: Final = ("reported", "collection", "granularity")
_REPORTS: Final = ("system_extract", "mystery_customer", "third_party", "survey")
_PERIODS: Final = ("day", "month", "quarter", "year")
ALL_DIMENSIONS: Final = tuple(dict.fromkeys(name for own in DIMENSIONS.values() for name in own))
"""Every dimension that an event may have; reported figures and composites may be told apart by any."""


def read_entry(entry: object, place: str) -> tuple[Indicator | None, list[str]]:
    """The indicator of one entry, or None and its problems, each `place: indicator: field: what is wrong`."""
    if not isinstance(entry, Mapping):
        return None, [f"{place}: an entry must be a mapping that begins with `id:`"]
    reader = EntryReader(entry, f"{place}: {entry.get('id', 'entry without id')}")
    if reader.has("reported"):
        indicator: Indicator | None = _reported(reader, place)
    elif reader.has("composite"):
        indicator = _composite(reader, place)
    else:
        indicator = _from_events(reader, place)
    return (None, reader.problems) if reader.problems else (indicator, [])


def _from_events(reader: EntryReader, place: str) -> Indicator | None:
    reader.check_keys((*REQUIRED, *_EVENT_REQUIRED), (*OPTIONAL, *_EVENT_OPTIONAL))
    topic = reader.take("topic", one_of(tuple(SCHEMA)))
    known = DIMENSIONS[topic] if topic is not None else ALL_DIMENSIONS
    common = _common(reader, known, f"dimension of {topic}" if topic else "dimension")
    dimensions, better = common["dimensions"], common["better"]
    own: dict[str, Any] = {
        "filter": reader.take("filter", _formula(topic, "condition")),
        "numerator": reader.take("numerator", aggregates.quantity_of(topic, _formula(topic, "quantity"))),
        "denominator": reader.take("denominator", aggregates.quantity_of(topic, _formula(topic, "quantity"))),
        "threshold": reader.take("threshold", lambda value: threshold_of(value, reader, dimensions, better)),
        "control": reader.take("control", lambda value: control_of(value, reader, dimensions)),
        "parent": reader.take("parent", identifier),
    }
    aggregates.check(reader, own["numerator"], own["denominator"])
    threshold, target = own["threshold"], common["target"]
    if threshold is not None and target is not None and better and is_worse(target, threshold.critical, better):
        reader.inside("threshold", {}).complain(
            "critical", f"{threshold.critical:g} is better than the target {target:g}, although `better` is {better}"
        )
    if reader.problems or topic is None:
        return None
    return EventIndicator(**common, **own, topic=topic, collection="events", granularity="minute", place=place)


def _reported(reader: EntryReader, place: str) -> Indicator | None:
    reader.check_keys((*REQUIRED, *_REPORTED_REQUIRED), OPTIONAL)
    common = _common(reader, ALL_DIMENSIONS, "dimension")
    own: dict[str, Any] = {
        "collection": reader.take("collection", one_of(_REPORTS)),
        "granularity": reader.take("granularity", one_of(_PERIODS)),
    }
    template = reader.take("reported", lambda value: mapping_of(value, "by, and with numerator, or numerator and denominator"))
    inner = reader.inside("reported", template or {})
    if template is not None:
        inner.check_keys(("by",), ("numerator", "denominator", "level"))
    own |= {
        "reported_by": inner.take("by", text),
        "numerator": inner.take("numerator", text),
        "denominator": inner.take("denominator", text),
        "is_level": inner.take("level", _truth) or False,
    }
    if inner.has("denominator") and not inner.has("numerator"):
        inner.complain(
            "numerator",
            "is missing; a ratio has numerator and denominator, a count the numerator alone, and where the value itself is "
            "reported both are left out",
        )
    return None if reader.problems else ReportedIndicator(**common, **own, place=place)


def _composite(reader: EntryReader, place: str) -> Indicator | None:
    reader.check_keys((*REQUIRED, "composite", "granularity"), OPTIONAL)
    common = _common(reader, ALL_DIMENSIONS, "dimension")
    granularity = reader.take("granularity", one_of(get_args(Granularity)))
    formula_ = reader.take("composite", _composition)
    if reader.problems or formula_ is None or granularity is None:
        return None
    return CompositeIndicator(**common, granularity=granularity, collection="derived", composite=formula_, place=place)


def _common(reader: EntryReader, known: tuple[str, ...], what: str) -> dict[str, Any]:
    """What every kind of indicator has. Where a field is wrong the reader has been told."""
    better = reader.take("better", one_of(get_args(Better)))
    dimensions = reader.take("dimensions", lambda value: _dimensions(value, known, what)) or ()
    found: dict[str, Any] = {
        "id": reader.take("id", identifier),
        "name_en": reader.take("name_en", text),
        "name_zh": reader.take("name_zh", text),
        "process": reader.take("process", code),
        "product": reader.take("product", code),
        "factor": reader.take("factor", code),
        "phase": reader.take("phase", one_of(get_args(Phase))),
        "indicator_class": reader.take("class", one_of(get_args(IndicatorClass))),
        "unit": reader.take("unit", text),
        "better": better,
        "owner": reader.take("owner", code),
        "dimensions": dimensions,
        "export": reader.take("export", lambda value: names(value, dimensions, "dimension of this indicator")) or (),
        "target": reader.take("target", number),
        "warning": reader.take("warning", number),
        "critical": reader.take("critical", number),
        "minimum_sample": reader.take("minimum_sample", whole),
        "formula": reader.take("formula", text),
        "note": reader.take("note", text),
        "version": reader.take("version", whole) or 1,
        "valid_from": reader.take("valid_from", day),
    }
    if not reader.has("process") and not reader.has("product"):
        reader.complain("process", "is missing; say the `process` or the `product` that the indicator belongs to")
    levels = [(name, found[name]) for name in ("target", "warning", "critical") if found[name] is not None]
    for (milder, mild), (worse, bad) in pairwise(levels):
        if better is not None and is_worse(mild, bad, better):
            reader.complain(worse, f"{bad:g} is better than the {milder} {mild:g}, although `better` is {better}")
    return found


def _formula(topic: str | None, kind: Kind) -> Callable[[object], Formula | None]:
    def read(value: object) -> Formula | None:
        # a bare `1` or `true` is a number or a truth in YAML, and a formula all the same
        written = str(value) if isinstance(value, int | float) else value
        if not isinstance(written, str):
            raise Wrong(f"must be a formula, not {shown(value)}")
        if topic is None:
            return None  # its own problem; without a topic there are no columns to check against
        try:
            return formula(written, topic, kind)
        except FormulaRefused as refused:
            raise Wrong(str(refused)) from None

    return read


def _composition(value: object) -> Composition:
    if not isinstance(value, str):
        raise Wrong(f"must be a formula over ids of indicators, not {shown(value)}")
    try:
        return composition(value)
    except FormulaRefused as refused:
        raise Wrong(str(refused)) from None


def _dimensions(value: object, known: tuple[str, ...], what: str) -> tuple[str, ...]:
    found = names(value, known, what)
    if "region" not in found:
        raise Wrong("must name `region`: staff see only the regions of their token")
    return found


def _truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise Wrong(f"must be true or false, not {shown(value)}")
    return value
