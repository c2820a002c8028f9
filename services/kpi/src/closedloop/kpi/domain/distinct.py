"""How many different ones there are, by a sketch that merges: HyperLogLog.

Each text is hashed; the first bits choose a register, and the register keeps the greatest rank (place of the first 1) of the
other bits (Flajolet, Fusy, Gandouet, Meunier: "HyperLogLog", AofA 2007; with hashes of 64 bits, which need no correction for
collisions, as in Heule, Nunkesser, Hall: "HyperLogLog in practice", EDBT 2013). The union of two sets has the greater of both
ranks in each register, so what comes again, in whatever order and cut, changes nothing. The number is estimated by the improved
raw estimator of Ertl ("New cardinality estimation algorithms for HyperLogLog sketches", arXiv:1702.01284, section 4), which
needs no correction for few or many.
"""

import math
from typing import Final

import numpy as np
import polars as pl
import xxhash
from numpy.typing import NDArray

PRECISION: Final = 12
REGISTERS: Final = 1 << PRECISION
STANDARD_ERROR: Final = 1.04 / math.sqrt(REGISTERS)
"""Of an estimate, relatively: 1.6 %."""
_BITS: Final = 64 - PRECISION
MOST_RANK: Final = _BITS + 1
_ALPHA: Final = 1 / (2 * math.log(2))


def sketched(text: pl.Expr) -> pl.Expr:
    """A struct of the register, `cell`, an Int16, and of what the text has to say to it, its rank, `number`, a Float64 from 1 on.
    Both are null where the text is."""
    return text.map_batches(_registers_and_ranks, return_dtype=pl.Struct({"cell": pl.Int16, "number": pl.Float64}))


def _registers_and_ranks(texts: pl.Series) -> pl.Series:
    known = texts.drop_nulls()
    # XXH3 is fixed: registers of any machine and version merge. Polars' own hash may change with its version
    hashes = np.fromiter(map(xxhash.xxh3_64_intdigest, known.cast(pl.Binary).to_list()), dtype=np.uint64, count=len(known))
    rest = hashes & np.uint64((1 << _BITS) - 1)
    _, length = np.frexp(rest.astype(np.float64))  # exact: 52 bits fit in a double
    place = pl.Series(np.cumsum(texts.is_not_null().to_numpy()) - 1).set(texts.is_null(), None)
    cells, ranks = pl.Series((hashes >> np.uint64(_BITS)).astype(np.int16)), pl.Series((MOST_RANK - length).astype(np.float64))
    return pl.DataFrame({"cell": cells.gather(place), "number": ranks.gather(place)}).to_struct(texts.name)


def estimates(unions: NDArray[np.uint8]) -> NDArray[np.float64]:
    """How many different texts made each row of ranks, REGISTERS a row; a whole number."""
    rows = np.arange(len(unions))[:, None] * (MOST_RANK + 1)
    flat = np.bincount((rows + unions).ravel(), minlength=len(unions) * (MOST_RANK + 1))
    having = flat.reshape(len(unions), MOST_RANK + 1) / REGISTERS
    harmonic = _tau(1 - having[:, MOST_RANK])
    for rank in range(_BITS, 0, -1):
        harmonic = (harmonic + having[:, rank]) / 2
    harmonic = harmonic + _sigma(having[:, 0])
    return np.rint(_ALPHA * REGISTERS / harmonic)


def _sigma(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """x + Σ x^(2^k) 2^(k−1): what the empty registers tell. Infinite for 1: nothing was seen."""
    total = np.where(x == 1, np.inf, x)
    power, weight = np.where(x == 1, 0.0, x), 1.0
    while power.any():
        power = power * power
        total, weight = total + power * weight, weight * 2
    return total


def _tau(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """(1 − x − Σ (1 − x^(2^−k))² 2^−k) / 3: what the full registers tell."""
    power, weight = x.copy(), 1.0
    total = np.where((x == 0) | (x == 1), 0.0, 1 - x)
    while weight > 1e-17:
        power, weight = np.sqrt(power), weight / 2
        total = total - np.where((x == 0) | (x == 1), 0.0, (1 - power) ** 2 * weight)
    return total / 3
