"""Sums over many overlapping windows at once."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from closedloop.kpi.domain.columns import MINUTE

_EXACT: Final = 2.0**53
"""Whole numbers up to this are exact in a double."""


def over_windows(buckets: pl.DataFrame, keys: Sequence[str], windows: Sequence[tuple[int, int]]) -> pl.DataFrame:
    """Buckets (`keys`, `minute`, sums) → one row per group and window [start, end): `keys`, `window` (its number), sums.

    Each group has a row for each window, with zeros where nothing happened; without keys there is one group, even without buckets.
    """
    names = [name for name in buckets.columns if name not in keys and name != MINUTE]
    groups = buckets.select(keys).unique(maintain_order=True).sort(keys, nulls_last=True) if keys else pl.DataFrame({"": [0]})
    edges = np.unique(np.array(windows, dtype=np.int64).ravel())
    rows = _group_numbers(buckets, groups, keys)
    columns = np.searchsorted(edges, buckets[MINUTE].to_numpy(), side="right") - 1
    inside = (columns >= 0) & (columns < len(edges) - 1)
    starts, ends = np.searchsorted(edges, np.array(windows, dtype=np.int64)).T
    result = groups.join(pl.DataFrame({"window": np.arange(len(windows))}), how="cross") if len(windows) else groups.clear()
    for name in names:
        between = np.zeros((len(groups), max(1, len(edges) - 1)))
        np.add.at(between, (rows[inside], columns[inside]), buckets[name].to_numpy()[inside])
        result = result.with_columns(pl.Series(name, _sums(between, starts, ends).ravel()))
    return result.select(*keys, "window", *names)


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
