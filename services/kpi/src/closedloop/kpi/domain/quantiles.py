"""Quantiles by a sketch that adds up: how many quantities fall into each of logarithmic bins.

DDSketch (Masson, Rim, Lee: "DDSketch: A fast and fully-mergeable quantile sketch with relative-error guarantees", PVLDB 12(12),
2019). Bin i holds (γ^(i−1), γ^i] with γ = (1 + α) / (1 − α), and stands for 2γ^i / (γ + 1), relatively at most α away from each.
Bins of two sets are added number by number, so a sketch is the same however its quantities were cut, ordered or merged.
"""

import math
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

ERROR: Final = 0.01
"""α: an answer is at most so far from the quantity at its rank, relatively."""
NEGLIGIBLE: Final = 1e-9
"""Nearer to 0 than this is 0."""
_GAMMA: Final = (1 + ERROR) / (1 - ERROR)
_SHIFT: Final = 1100
"""Makes the number of every bin positive: the lowest is -1036. Bins of negative quantities are the negative numbers, 0 is 0."""


def sketched(quantity: pl.Expr) -> pl.Expr:
    """A struct of the quantity's bin, `cell`, and `number`, 1; `cell` is null where the quantity is."""
    return pl.struct(cell=bin_of(quantity), number=pl.lit(1.0))


def bin_of(quantity: pl.Expr) -> pl.Expr:
    """The bin of a quantity of at most ±10¹², an Int16 that ascends with it; null where the quantity is."""
    size = quantity.abs()
    above = (size.log() / math.log(_GAMMA)).ceil() + _SHIFT
    return pl.when(size < NEGLIGIBLE).then(0.0).otherwise(above * quantity.sign()).cast(pl.Int16)


def middles(bins: NDArray[np.int16]) -> NDArray[np.float64]:
    """What stands for the bins' quantities."""
    numbers = bins.astype(np.float64)
    middle: NDArray[np.float64] = np.sign(numbers) * 2 * _GAMMA ** (np.abs(numbers) - _SHIFT) / (_GAMMA + 1)
    return middle


def quantiles(q: float, bins: NDArray[np.int16], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each column of `counts` (one row for each of the ascending `bins`) the quantity at rank ⌊q (n − 1)⌋ of 0 … n − 1; NaN
    where the column is empty."""
    if not bins.size:
        return np.full(counts.shape[1], np.nan)
    upto = counts.cumsum(axis=0)
    total = upto[-1]
    # the products of a rank such as 0.95 × 20 fall a little short of the whole number that is meant
    rank = np.floor(q * (total - 1) + 1e-9)
    at = np.argmax(upto > rank, axis=0)
    return np.where(total > 0, middles(bins)[at], np.nan)
