"""The rules of `common.events.rules` over columns: which rows are surely fine. The others are judged one by one.

Lengths and control characters of identifiers are not looked at here: the raw text's proof (see `strictness`) covers them.
"""

from collections.abc import Callable, Sequence
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
from closedloop.common.events.rules import CODE, DEFAULT_SCALE, TOPIC_PATH
from closedloop.kpi.columnar.times import parse_times

Mask: TypeAlias = NDArray[np.bool_]
Column: TypeAlias = Callable[[str], Sequence[Any]]
"""Field name → the values of all rows of one event type; asked for only where a rule needs it."""

_CODES: Final = ("region", "product", "process", "channel")
_SEVERITIES: Final = frozenset({1, 2, 3, 4})
_E164: Final = r"^\+[1-9][0-9]{6,14}$"


def doubtful(data: type[Any], column: Column, rows: int) -> Mask:
    """True where these events of one type are *not* shown to keep all rules of their data. Own events have none."""
    mask = np.zeros(rows, dtype=np.bool_)
    if data not in _RULES:
        return mask
    for name in _CODES:
        _doubt_codes(mask, column(name), CODE.match)
    _doubt_phones(mask, column("phone"))
    for rule in _RULES[data]:
        rule(mask, column)
    return mask


def _doubt_codes(mask: Mask, values: Sequence[Any], match: Callable[[Any], object]) -> None:
    """Few different values, each looked at once."""
    refused = {value for value in set(values) if value is not None and not match(value)}
    if refused:
        mask |= np.fromiter((value in refused for value in values), dtype=np.bool_, count=len(values))


def _doubt_phones(mask: Mask, values: Sequence[str | None]) -> None:
    if values.count(None) < len(values):
        mask |= (~pl.Series(values, dtype=pl.String).str.contains(_E164)).fill_null(False).to_numpy()


def _topic_path(mask: Mask, column: Column) -> None:
    _doubt_codes(mask, column("topic_path"), TOPIC_PATH.match)


def _score(mask: Mask, column: Column) -> None:
    score = _floats(column("score"))
    low = _floats(column("scale_min"))
    high = _floats(column("scale_max"))
    low[np.isnan(low)] = DEFAULT_SCALE[0]
    high[np.isnan(high)] = DEFAULT_SCALE[1]
    fine = (low < high) & (low <= score) & (score <= high)  # false where there is no score
    without = np.isnan(score)
    if without.any():
        told = ~pl.Series(column("satisfied"), dtype=pl.Boolean).is_null().to_numpy()
        fine |= without & told
    mask |= ~fine


def _severity(mask: Mask, column: Column) -> None:
    _doubt_codes(mask, column("severity"), _SEVERITIES.__contains__)


def _order(mask: Mask, column: Column) -> None:
    _doubt_codes(mask, column("order_type"), CODE.match)
    _doubt_codes(mask, column("step"), CODE.match)
    mask |= _floats(column("duration_s")) < 0
    expected = column("expected_by")
    given = np.array([row for row, text in enumerate(expected) if text is not None], dtype=np.int64)
    if given.size:
        _, proved = parse_times([expected[row] for row in given])
        mask[given[~proved]] = True


def _floats(values: Sequence[float | None]) -> NDArray[np.float64]:
    """Missing ones as NaN, which JSON cannot hold."""
    return pl.Series(values, dtype=pl.Float64, strict=False).fill_null(float("nan")).to_numpy().copy()


_RULES: Final[dict[type[Any], tuple[Callable[[Mask, Column], None], ...]]] = {
    EvaluationData: (_score,),
    ComplaintRegisteredData: (_topic_path, _severity),
    ComplaintEscalatedData: (_topic_path,),
    ComplaintClosedData: (_topic_path,),
    EnquiryRegisteredData: (_topic_path,),
    OrderStatusChangedData: (_order,),
}
