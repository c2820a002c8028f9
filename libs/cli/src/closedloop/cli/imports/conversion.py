"""A row of an export → one event, checked by the same rules as everywhere."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from closedloop.cli.imports.cells import Cell, constant, converter, text_of
from closedloop.cli.imports.exports import Row
from closedloop.cli.imports.mapping import FieldSpec, Mapping, field_types
from closedloop.cli.imports.times import TimeReader
from closedloop.common.events.decoder import check, decode_structured
from closedloop.common.events.rules import IDENTIFIER, Refused

MAX_ID_CHARS: Final = 256


@dataclass(frozen=True, slots=True)
class Converted:
    """What a row says: the event's id and time, and the object that ingest takes."""

    id: str
    at: datetime
    json: bytes


class Converter:
    """Rows of one export → events. `clock` gives the present, which no event may be ahead of."""

    def __init__(self, mapping: Mapping, header: Sequence[str], clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        place = {name: index for index, name in enumerate(header)}
        classes = mapping.types()
        types = field_types(classes)
        missing = frozenset(mapping.missing)
        self._source = mapping.source
        self._clock = clock
        self._columns = {field: spec.column for field, spec in mapping.fields.items()}
        self._constants = {field: constant(field, value, types[field]) for field, value in mapping.constants.items()}
        self._fields = [
            (field, place[spec.column], converter(field, spec, types.get(field, str), mapping.time, missing))
            for field, spec in (*mapping.fields.items(), *mapping.extra.items())
        ]
        self._time = TimeReader(mapping.time.format, mapping.time.zone, "time")
        self._time_places = [place[column] for column in mapping.time.columns]
        self._time_columns = mapping.time.columns
        self._id_columns = mapping.id.columns
        self._id_places = [place[column] for column in mapping.id.columns]
        self._verbatim = place[mapping.id.verbatim] if mapping.id.verbatim else None
        self._fixed_type = str(classes[0].__struct_config__.tag)
        self._type: tuple[int, Callable[[Cell], Any]] | None = None
        if isinstance(mapping.event_type, str):
            self._fixed_type = mapping.event_type
        elif isinstance(mapping.event_type, FieldSpec):
            self._type = place[mapping.event_type.column], converter("type", mapping.event_type, str, mapping.time, missing)

    def convert(self, row: Row) -> Converted:
        """The row as an event. Raises Refused with a reason in the mapping's and the contract's words."""
        if row.problem is not None:
            raise Refused("", row.problem)
        try:
            return self._convert(row)
        except UnicodeEncodeError:
            raise Refused("", "has half a character (a lone surrogate), which is no text") from None

    def _convert(self, row: Row) -> Converted:
        cells = row.cells
        type_ = self._type_of(cells)
        id_ = self._id_of(cells, type_)
        at = self._time_of(cells)
        time = at.isoformat()
        data = dict(self._constants)
        for field, place, convert in self._fields:
            value = self._value(field, convert, cells[place])
            if value is not None:
                data[field] = value
        envelope = {"specversion": "1.0", "id": id_, "source": self._source, "type": type_, "time": time, "data": data}
        try:
            check(decode_structured(msgspec.json.encode(envelope)), self._clock())
        except Refused as refused:
            raise self._named(refused) from None
        return Converted(
            id_, at, msgspec.json.encode({"id": id_, "source": self._source, "type": type_, "occurred_at": time, **data})
        )

    def _type_of(self, cells: Sequence[Cell]) -> str:
        if self._type is None:
            return self._fixed_type
        place, convert = self._type
        found = convert(cells[place])
        if found is None:
            raise Refused("type", "has an empty cell")
        return str(found)

    def _id_of(self, cells: Sequence[Cell], type_: str) -> str:
        if self._verbatim is not None:
            found = text_of(cells[self._verbatim])
            if not found:
                raise Refused("id", "has an empty cell")
            return found
        return event_id(type_, [text_of(cells[place]) for place in self._id_places], self._id_columns)

    def _time_of(self, cells: Sequence[Cell]) -> datetime:
        if len(self._time_places) == 1:
            cell = cells[self._time_places[0]]
            if isinstance(cell, datetime):
                return self._time.read(cell)
            text = cell.strip()
        else:
            # a workbook's date cell has midnight in it; its time stands in the next cell
            parts = [cells[place] for place in self._time_places]
            text = " ".join(f"{part:%Y-%m-%d}" if isinstance(part, datetime) else part.strip() for part in parts).strip()
        if not text:
            raise Refused("time", f"is empty (column {', '.join(self._time_columns)})")
        return self._time.read(text)

    def _value(self, field: str, convert: Callable[[Cell], Any], cell: Cell) -> Any:
        try:
            return convert(cell)
        except Refused as refused:
            raise self._named(refused) from None

    def _named(self, refused: Refused) -> Refused:
        """The same, with the column that the field comes from."""
        field = refused.field.removeprefix("data.")
        column = self._columns.get(field)
        return Refused(f"{field} (column {column})" if column else field, refused.problem)


def event_id(type_: str, values: Sequence[str], columns: Sequence[str] = ()) -> str:
    """An id that these values have for ever, and that no other values have. Raises Refused where all are empty."""
    if not any(values):
        raise Refused("id", f"is empty (column {', '.join(columns)})")
    plain = "/".join([type_, *(value.replace("%", "%25").replace("/", "%2F") for value in values)])
    if len(plain) <= MAX_ID_CHARS and IDENTIFIER.match(plain):
        return plain
    return f"{type_}/sha256-{hashlib.sha256(plain.encode()).hexdigest()}"
