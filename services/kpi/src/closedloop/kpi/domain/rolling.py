"""Sums and sketches over many overlapping windows at once."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from closedloop.kpi.domain.buckets import CELL
from closedloop.kpi.domain.columns import MINUTE
from closedloop.kpi.domain.distinct import REGISTERS, estimates
from closedloop.kpi.domain.measures import Measure
from closedloop.kpi.domain.quantiles import quantiles

_EXACT: Final = 2.0**53
"""Whole numbers up to this are exact in a double."""
_AT_ONCE: Final = 256
"""Unions of windows that are estimated in one piece."""
Numbers = NDArray[np.float64]
Places = NDArray[np.int64]


def figures_over_windows(
    frames: Sequence[pl.DataFrame], keys: Sequence[str], windows: Sequence[tuple[int, int]], parts: Mapping[str, Measure]
) -> pl.DataFrame:
    """Buckets (`keys`, `minute`, `cell` where there are sketches, measures; each measure in one of the frames) → one row per group
    and window [start, end): `keys`, `window` (its number), and what `parts` names: sums, estimated distinct numbers, quantiles
    (null where there is nothing).

    Each group has a row for each window, with zeros where nothing happened; without keys there is one group, even without buckets.
    """
    groups = _groups(frames, keys) if keys else pl.DataFrame({"": [0]})
    named = groups.with_columns(pl.col(key).cast(pl.String) for key in keys)
    result = named.join(pl.DataFrame({"window": np.arange(len(windows))}), how="cross") if windows else named.clear()
    for frame in frames:
        mine = {name: measure for name, measure in parts.items() if measure.name in frame.columns}
        grid = _Grid(frame, groups, keys, windows)
        result = result.with_columns(pl.Series(name, grid.figures(one).ravel()).fill_nan(None) for name, one in mine.items())
    return result.select(*keys, "window", *parts)


class _Grid:
    """Where buckets fall: groups by the stretches between neighbouring edges of windows."""

    def __init__(
        self, buckets: pl.DataFrame, groups: pl.DataFrame, keys: Sequence[str], windows: Sequence[tuple[int, int]]
    ) -> None:
        self._buckets = buckets
        self._height = len(groups)
        bounds = np.array(windows, dtype=np.int64).reshape(-1, 2)
        edges = np.unique(bounds)
        self._starts, self._ends = np.searchsorted(edges, bounds).T
        self._width = max(1, len(edges) - 1)
        stretches = np.searchsorted(edges, buckets[MINUTE].to_numpy(), side="right") - 1
        self._inside = (stretches >= 0) & (stretches < len(edges) - 1)
        self._stretches = stretches[self._inside]
        self._rows = _group_numbers(buckets, groups, keys)[self._inside]

    def figures(self, measure: Measure) -> Numbers:
        """Per group and window the sum, the distinct number or the quantile, which is NaN where there is none."""
        numbers = self._buckets[measure.name].to_numpy()[self._inside]
        if measure.is_sketch:
            return self._sketched(measure, numbers)
        return _sums(self._added(self._rows, numbers, self._stretches, self._height), self._starts, self._ends)

    def _sketched(self, measure: Measure, numbers: Numbers) -> Numbers:
        cells = self._buckets[CELL].fill_null(0).to_numpy()[self._inside]
        found = np.empty((self._height, len(self._starts)))
        for group in range(self._height):
            mine = (self._rows == group) & (numbers != 0)
            if measure.quantile is None:
                found[group] = self._distinct(cells[mine], numbers[mine], self._stretches[mine])
            else:
                bins, places = np.unique(cells[mine], return_inverse=True)
                counts = self._added(places, numbers[mine], self._stretches[mine], len(bins))
                found[group] = quantiles(measure.quantile, bins, _sums(counts, self._starts, self._ends))
        return found

    def _added(self, rows: Places, numbers: Numbers, stretches: Places, height: int) -> Numbers:
        flat = np.bincount(rows * self._width + stretches, weights=numbers, minlength=height * self._width)
        return flat.astype(np.float64, copy=False).reshape(height, self._width)

    def _distinct(self, registers: NDArray[np.int16], ranks: Numbers, stretches: Places) -> Numbers:
        """Of each window the union's estimate. A union of n stretches is that of two that overlap, each 2^⌊log2 n⌋ long."""
        unions = np.zeros((self._width, REGISTERS), dtype=np.uint8)
        ascending = np.argsort(ranks, kind="stable")  # of those that meet in a place the last one stays
        unions[stretches[ascending], registers[ascending]] = ranks[ascending]
        found = np.zeros(len(self._starts))
        lengths = self._ends - self._starts
        span = 1
        while (lengths >= span).any():
            these = np.flatnonzero((lengths >= span) & (lengths < 2 * span))
            for few in np.array_split(these, max(1, len(these) // _AT_ONCE)):
                both = np.maximum(unions[self._starts[few]], unions[self._ends[few] - span])
                found[few] = estimates(both)
            unions = np.maximum(unions[:-span], unions[span:])
            span *= 2
        return found


def _groups(frames: Sequence[pl.DataFrame], keys: Sequence[str]) -> pl.DataFrame:
    """Each once, in order of their names; of strings or categories."""
    met = pl.concat([frame.select(keys).unique() for frame in frames]).unique()
    return met[met.select(pl.arg_sort_by([pl.col(key).cast(pl.String) for key in keys], nulls_last=True)).to_series()]


def _group_numbers(buckets: pl.DataFrame, groups: pl.DataFrame, keys: Sequence[str]) -> NDArray[np.int64]:
    if not keys:
        return np.zeros(len(buckets), dtype=np.int64)
    numbered = groups.with_row_index("_group")
    joined = buckets.select(keys).join(numbered, on=list(keys), how="left", nulls_equal=True, maintain_order="left")
    return joined["_group"].to_numpy().astype(np.int64)


def _sums(between: NDArray[np.float64], starts: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.float64]:
    """Per row the sums of between[start:end] for each window. Whole numbers by differences of running sums, which are exact."""
    if np.all(between == np.floor(between)) and np.abs(between).sum() < _EXACT:
        running = np.concatenate([np.zeros((len(between), 1)), np.cumsum(between, axis=1)], axis=1)
        differences: NDArray[np.float64] = running[:, ends] - running[:, starts]
        return differences
    # differences of fractions would leave dust where there is nothing
    return np.stack([between[:, start:end].sum(axis=1) for start, end in zip(starts, ends, strict=True)], axis=1)
