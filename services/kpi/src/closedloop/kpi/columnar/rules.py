"""The rules of `common.events.rules` over columns: which rows are surely fine. The others are judged one by one.

Lengths and control characters of identifiers are not looked at here: the raw text's proof (see `strictness`) covers them.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

from closedloop.common.events.model import (
    ComplaintClosedData,
    ComplaintEscalatedData,
    ComplaintRegisteredData,
    EnquiryRegisteredData,
    EvaluationData,
    OrderStatusChangedData,
)
from closedloop.common.events.rules import CODE, CODE_FIELDS, DEFAULT_SCALE, TOPIC_PATH
from closedloop.kpi.columnar.dictionary import Accepts
from closedloop.kpi.columnar.fields import Fields
from closedloop.kpi.columnar.times import parse_times

Mask: TypeAlias = NDArray[np.bool_]

VALUE_RULES: Final[Mapping[str, Accepts]] = {
    **dict.fromkeys((*CODE_FIELDS, "order_type", "step"), CODE.match),
    "topic_path": TOPIC_PATH.match,
    "severity": frozenset({1, 2, 3, 4}).__contains__,
}
"""Field → the rule that one of its values keeps or not. They have few different ones."""
_E164: Final = r"^\+[1-9][0-9]{6,14}$"


def doubtful(fields: Fields) -> Mask:
    """True where these events are *not* shown to keep all rules of their data. Own events have none."""
    mask = np.zeros(len(fields), dtype=np.bool_)
    if fields.data not in _RULES:
        return mask
    for name in fields.data.__struct_fields__:
        if name in VALUE_RULES:
            mask |= fields.coded(name).refused
    phones = fields.texts("phone")
    if phones.present:
        mask |= (~pl.Series(phones.values, dtype=pl.String).str.contains(_E164)).fill_null(False).to_numpy()
    for rule in _RULES[fields.data]:
        mask |= rule(fields)
    return mask


def _off_scale(fields: Fields) -> Mask:
    score, low, high = (fields.numbers(name).values for name in ("score", "scale_min", "scale_max"))
    low = np.where(np.isnan(low), DEFAULT_SCALE[0], low)
    high = np.where(np.isnan(high), DEFAULT_SCALE[1], high)
    fine = (low < high) & (low <= score) & (score <= high)  # false where there is no score
    without = np.isnan(score)
    if without.any():
        fine |= without & ~fields.coded("satisfied").is_null
    return ~fine


def _negative_duration(fields: Fields) -> Mask:
    return fields.numbers("duration_s").values < 0


def _no_expected_time(fields: Fields) -> Mask:
    texts = fields.texts("expected_by").values
    mask = np.zeros(len(texts), dtype=np.bool_)
    given = np.array([row for row, text in enumerate(texts) if text is not None], dtype=np.int64)
    if given.size:
        _, proved = parse_times([texts[row] for row in given])
        mask[given[~proved]] = True
    return mask


_RULES: Final[dict[type[Any], tuple[Callable[[Fields], Mask], ...]]] = {
    EvaluationData: (_off_scale,),
    ComplaintRegisteredData: (),
    ComplaintEscalatedData: (),
    ComplaintClosedData: (),
    EnquiryRegisteredData: (),
    OrderStatusChangedData: (_negative_duration, _no_expected_time),
}
