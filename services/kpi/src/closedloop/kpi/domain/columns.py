"""The frame on which an indicator's expressions run: per topic its columns and their types, made from the event structs.

A frame holds all types of one topic; a field that an event's type does not have, or that was left out, is null. Free text and phone
numbers are no columns: an indicator never needs them, and what is not read cannot leak.
"""

from types import NoneType, UnionType
from typing import Final, Literal, Union, get_args, get_origin, get_type_hints

import polars as pl

from closedloop.common.events.rules import DEFAULT_SCALE
from closedloop.common.events.topics import TOPICS, TYPE_BY_NAME, Topic, data_type

SERVICE: Final = "kpi"
CONSUMED: Final[tuple[Topic, ...]] = tuple(topic for topic in TOPICS if SERVICE in topic.consumers)
PERSONAL: Final = frozenset({"phone", "text", "comment"})
DISSATISFIED_BELOW: Final = 0.5
"""Place on the scale, 0 (worst) to 1, below which a score says dissatisfied. A setting; this is its default."""

TYPE: Final = "type"
AT: Final = "at"
MINUTE: Final = "minute"
ENVELOPE: Final[dict[str, pl.DataType]] = {TYPE: pl.String(), AT: pl.Datetime("us", "UTC")}
"""`type` is the event type's full name, `at` the event's time in UTC."""

_SCALARS: Final[dict[object, pl.DataType]] = {str: pl.String(), bool: pl.Boolean(), int: pl.Int64(), float: pl.Float64()}
_SHARED_DIMENSIONS: Final = ("region", "customer_class", "product", "process", "channel")
_OWN_DIMENSIONS: Final = {
    "evaluations": ("kind",),
    "complaints": ("topic_path",),
    "orders": ("order_type",),
    "tickets": ("trigger",),
    "recoveries": ("segment",),
}


def _dtype(annotation: object) -> pl.DataType | None:
    """The column type of a struct field, or None where it cannot be a column (a mapping)."""
    if get_origin(annotation) is Literal:
        return pl.String()
    if get_origin(annotation) in (Union, UnionType):
        kinds = {_dtype(arm) for arm in get_args(annotation) if arm is not NoneType}
        # a field that may be text or a number (an escalation's level) is text
        return kinds.pop() if len(kinds) == 1 else pl.String()
    if get_origin(annotation) is list:
        return pl.List(pl.String())
    return _SCALARS.get(annotation)


def _data_columns(topic: Topic) -> dict[str, pl.DataType]:
    columns: dict[str, pl.DataType] = {}
    for cls in topic.types:
        for name, annotation in get_type_hints(data_type(cls)).items():
            dtype = _dtype(annotation)
            if dtype is None or name in PERSONAL:
                continue
            if columns.setdefault(name, dtype) != dtype:
                raise TypeError(f"{topic.name}.{name} has two types, {columns[name]} and {dtype}")
    return columns


COLUMNS: Final[dict[str, dict[str, pl.DataType]]] = {topic.name: {**ENVELOPE, **_data_columns(topic)} for topic in CONSUMED}
"""Topic → the columns of its raw frame: the envelope's, then the data fields of all its types."""


def _choices(annotation: object) -> tuple[str, ...]:
    """The closed list of a field, empty where it has none."""
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    return next((choices for arm in get_args(annotation) if (choices := _choices(arm))), ())


CLOSED_LISTS: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    topic.name: {TYPE: tuple(name for name, cls in TYPE_BY_NAME.items() if cls in topic.types)}
    | {
        name: choices
        for cls in topic.types
        for name, annotation in get_type_hints(data_type(cls)).items()
        if (choices := _choices(annotation))
    }
    for topic in CONSUMED
}
"""Topic → the columns that can hold only certain values, and those values."""


def _satisfaction() -> pl.Expr:
    """Place of the score on its scale, 0 (worst) to 1 (best); null without a score."""
    low = pl.col("scale_min").fill_null(DEFAULT_SCALE[0])
    high = pl.col("scale_max").fill_null(DEFAULT_SCALE[1])
    # a scale as wide as all numbers makes infinity or no number; nothing can be said about such a score
    return ((pl.col("score") - low) / (high - low)).fill_nan(None)


def _derived(topic: str, dissatisfied_below: float) -> dict[str, tuple[pl.DataType, tuple[str, ...], pl.Expr]]:
    derived: dict[str, tuple[pl.DataType, tuple[str, ...], pl.Expr]] = {
        MINUTE: (pl.Int32(), (AT,), (pl.col(AT).dt.epoch("us") // 60_000_000).cast(pl.Int32))
    }
    if topic == "evaluations":
        score = ("score", "scale_min", "scale_max")
        derived["satisfaction"] = (pl.Float64(), score, _satisfaction())
        # the rule of closedloop.common.events.rules.is_dissatisfied
        by_score = (_satisfaction() < dissatisfied_below).fill_null(False)
        derived["dissatisfied"] = (pl.Boolean(), ("satisfied", *score), (~pl.col("satisfied")).fill_null(by_score))
    if topic == "tickets":
        only = pl.when(pl.col("regions").list.len() == 1).then(pl.col("regions").list.first())
        derived["region"] = (pl.String(), ("regions",), only)
    return derived


DERIVED: Final[dict[str, dict[str, pl.DataType]]] = {
    topic: {name: dtype for name, (dtype, _, _) in _derived(topic, DISSATISFIED_BELOW).items()} for topic in COLUMNS
}
"""Topic → the columns that `with_derived` adds.

`minute`: whole minutes of event time since 1970. evaluations: `satisfaction` (the score's place on its scale, 0 to 1, null without
a score) and `dissatisfied`. tickets: `region`, the ticket's region where it has exactly one (null where its cause spans several, so
that a ticket is counted once; only who may see all regions sees those).
"""

SCHEMA: Final[dict[str, dict[str, pl.DataType]]] = {topic: {**COLUMNS[topic], **DERIVED[topic]} for topic in COLUMNS}
"""Topic → all columns that an expression may name."""

DIMENSIONS: Final[dict[str, tuple[str, ...]]] = {
    topic: tuple(name for name in (*_SHARED_DIMENSIONS, *_OWN_DIMENSIONS[topic]) if name in SCHEMA[topic]) for topic in SCHEMA
}
"""Topic → the columns by which an indicator may be told apart: codes and closed lists, all text."""


def raw_columns(topic: str, needed: frozenset[str]) -> frozenset[str]:
    """The raw columns that must be decoded so that the `needed` ones, derived ones among them, can stand in the frame."""
    derived = _derived(topic, DISSATISFIED_BELOW)
    sources = {source for name in needed if name in derived for source in derived[name][1]}
    return (needed - derived.keys()) | sources


def with_derived(
    frame: pl.DataFrame,
    topic: str,
    needed: frozenset[str] | None = None,
    dissatisfied_below: float = DISSATISFIED_BELOW,
) -> pl.DataFrame:
    """The raw frame of a topic with its derived columns added: all of them, or those of `needed`."""
    derived = _derived(topic, dissatisfied_below)
    return frame.with_columns(**{name: expr for name, (_, _, expr) in derived.items() if needed is None or name in needed})
