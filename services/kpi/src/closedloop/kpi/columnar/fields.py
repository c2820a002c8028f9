"""The fields of some events of one type. Each is read once, for the rules, for the frame and for the fingerprint."""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from closedloop.common.events.model import Event
from closedloop.common.events.topics import data_type
from closedloop.kpi.columnar.dictionary import Coded, Dictionary
from closedloop.kpi.columnar.identity import Hashes, digest, number_digests
from closedloop.kpi.domain.columns import TYPE


class Numbers:
    """A field of fractions."""

    def __init__(self, values: list[float | None], salt: int) -> None:
        self._series = pl.Series(values, dtype=pl.Float64, strict=True)
        self._salt = salt
        self.values: NDArray[np.float64] = self._series.to_numpy()
        """What is not there is NaN, which JSON cannot hold."""

    @property
    def digests(self) -> Hashes:
        """64 bits of each value; 0 where there is none."""
        return number_digests(self.values, self._salt)

    @property
    def present(self) -> int:
        """How many have a value."""
        return len(self._series) - self._series.null_count()

    def series(self, name: str) -> pl.Series:
        """As a column."""
        return self._series.alias(name)


class Texts:
    """A field of texts (or lists of them) that are mostly different, such as ids."""

    def __init__(self, values: list[Any], dtype: pl.DataType) -> None:
        self.values = values
        self._dtype = dtype

    @property
    def present(self) -> int:
        """How many have a value."""
        return len(self.values) - self.values.count(None)

    def series(self, name: str) -> pl.Series:
        """As a column."""
        return pl.Series(name, self.values, dtype=self._dtype, strict=True)


class Fields:
    """Those of `events`, which are all of one type. `columns`: the topic's; `dictionaries`: of the fields that have one."""

    def __init__(
        self,
        cls: type[Event],
        events: Sequence[Any],
        columns: Mapping[str, pl.DataType],
        dictionaries: Mapping[str, Dictionary],
    ) -> None:
        self.type: Final = str(cls.__struct_config__.tag)
        self.data: Final = data_type(cls)
        self._columns = columns
        self._dictionaries = dictionaries
        self._objects = [event.data for event in events]
        self._read: dict[str, Any] = {}

    def __len__(self) -> int:
        return len(self._objects)

    def coded(self, name: str) -> Coded:
        """A field that has a dictionary."""
        field: Coded = self._once(name, lambda: self._dictionaries[name].read(self._objects))
        return field

    def numbers(self, name: str) -> Numbers:
        """A field of fractions."""
        field: Numbers = self._once(name, lambda: Numbers(_reader(name)(self._objects), digest(name.encode())))
        return field

    def texts(self, name: str) -> Texts:
        """A field of texts."""

        def read() -> Texts:
            values = _reader(name)(self._objects)
            if name == "level":  # the one field that may be text or a number stands as text
                values = [value if value is None else str(value) for value in values]
            return Texts(values, self._columns.get(name, pl.String()))

        field: Texts = self._once(name, read)
        return field

    def series(self, name: str) -> pl.Series:
        """A column of the topic's frame; nulls where this type has no such field."""
        if name == TYPE:
            return pl.repeat(self.type, len(self), dtype=pl.String, eager=True).alias(name)
        if name not in self.data.__struct_fields__:
            return pl.repeat(None, len(self), dtype=self._columns[name], eager=True).alias(name)
        return self._column(name).series(name)

    def contents(self) -> Hashes:
        """64 bits of each event's type, codes and quantities, whichever of them the catalogue asks for."""
        total = np.full(len(self), digest(self.type.encode()), dtype=np.uint64)
        for name in self.data.__struct_fields__:
            if name in self._dictionaries:
                total += self.coded(name).digests
            elif self._columns.get(name) == pl.Float64 and self.numbers(name).present:
                total += self.numbers(name).digests
        return total

    def present(self, names: Collection[str]) -> int:
        """How many values there are of these columns."""
        return sum(self._column(name).present for name in self.data.__struct_fields__ if name in names)

    def _column(self, name: str) -> Coded | Numbers | Texts:
        if name in self._dictionaries:
            return self.coded(name)
        return self.numbers(name) if self._columns[name] == pl.Float64 else self.texts(name)

    def _once(self, name: str, read: Callable[[], Any]) -> Any:
        if name not in self._read:
            self._read[name] = read()
        return self._read[name]


@cache
def _reader(name: str) -> Callable[[Sequence[Any]], list[Any]]:
    """Reads a field of each object. Compiled with the name in it, which is nearly twice as fast as attrgetter."""
    if not name.isidentifier():
        raise ValueError(name)
    reader: Callable[[Sequence[Any]], list[Any]] = eval(f"lambda objects: [o.{name} for o in objects]")  # noqa: S307
    return reader
