"""Columns of few different values, such as codes: each value gets a number and is looked at once, however many events have it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

from closedloop.kpi.columnar.identity import Hashes, digest

Mask: TypeAlias = NDArray[np.bool_]
Accepts: TypeAlias = Callable[[Any], object]
MOST_VALUES: Final = 10_000
_INT64: Final = 2**63


@dataclass(frozen=True, slots=True)
class _Table:
    """What is known of the values, by their numbers. It is replaced when there are more, so who has one can go on with it."""

    entries: pl.Series
    digests: Hashes
    refused: Mask
    nothing: int | None
    """The number of None, which stands for no value."""


@dataclass(frozen=True, slots=True)
class Coded:
    """One field of some events, by numbers."""

    _numbers: NDArray[np.unsignedinteger[Any]]
    _table: _Table

    @property
    def refused(self) -> Mask:
        """True where the rule does not accept the value."""
        return self._table.refused.take(self._numbers)

    @property
    def digests(self) -> Hashes:
        """64 bits of each value; 0 where there is none."""
        return self._table.digests.take(self._numbers)

    @property
    def present(self) -> int:
        """How many have a value."""
        nothing = self._table.nothing
        return len(self._numbers) - (0 if nothing is None else int(np.count_nonzero(self._numbers == nothing)))

    @property
    def is_null(self) -> Mask:
        """True where there is no value."""
        nothing = self._table.nothing
        return np.zeros(len(self._numbers), dtype=np.bool_) if nothing is None else self._numbers == nothing

    def series(self, name: str) -> pl.Series:
        """As a column."""
        return self._table.entries[pl.Series(self._numbers.astype(np.uint32))].alias(name)


class Dictionary(dict[Any, int]):
    """The different values of one field, numbered as they come. `accepts`: its rule, where it has one; None is always fine."""

    def __init__(self, name: str, dtype: pl.DataType, accepts: Accepts | None) -> None:
        super().__init__()
        if not name.isidentifier():
            raise ValueError(name)
        self._dtype = dtype
        self._accepts = accepts
        self._salt = digest(name.encode())
        # compiled with the name in it, which is nearly twice as fast as attrgetter
        self._numbers: Callable[[Sequence[Any], Dictionary], list[int]] = eval(  # noqa: S307
            f"lambda objects, numbers: [numbers[o.{name}] for o in objects]"
        )
        self._table = self._nothing = _Table(
            entries=pl.Series(dtype=dtype),
            digests=np.array([], dtype=np.uint64),
            refused=np.array([], dtype=np.bool_),
            nothing=None,
        )

    def read(self, objects: Sequence[Any]) -> Coded:
        """The field of these objects."""
        # what is refused may be of any length, and hardly comes again; the memory of the others is bounded
        if len(self) > MOST_VALUES or self._table.refused.any():
            self.clear()
            self._table = self._nothing
        numbers = self._numbers(objects, self)
        if len(self) > len(self._table.entries):
            self._table = self._grown()
        # a list of small numbers becomes bytes twice as fast as an array
        packed = np.frombuffer(bytes(numbers), dtype=np.uint8) if len(self) <= 256 else np.array(numbers, dtype=np.uint32)
        return Coded(packed, self._table)

    def __missing__(self, value: Any) -> int:
        number = self[value] = len(self)
        return number

    def _grown(self) -> _Table:
        known = self._table
        added = list(self)[len(known.entries) :]
        accepts = self._accepts
        fitting = [None if isinstance(v, int) and abs(v) >= _INT64 else v for v in added]
        digests = [0 if v is None else digest(str(v).encode(), self._salt) for v in added]
        refused = [v is not None and accepts is not None and not accepts(v) for v in added]
        return _Table(
            entries=pl.concat([known.entries, pl.Series(fitting, dtype=self._dtype)], rechunk=True),
            digests=np.concatenate([known.digests, np.array(digests, dtype=np.uint64)]),
            refused=np.concatenate([known.refused, np.array(refused, dtype=np.bool_)]),
            nothing=self.get(None),
        )
