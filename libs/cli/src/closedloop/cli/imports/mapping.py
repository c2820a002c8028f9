"""The form of a mapping file: which column of an export says what. `mapping_file` reads one."""

import types
from collections.abc import Iterable
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin
from zoneinfo import ZoneInfo

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, field_validator

from closedloop.common.events import model
from closedloop.common.events.topics import data_type

Scalar = str | int | float | bool
Text = Annotated[str, StringConstraints(min_length=1)]
Kind = Literal["complaints", "evaluations", "enquiries", "orders"]
TYPES_OF_KIND: Final[dict[Kind, tuple[type[model.Event], ...]]] = {
    "complaints": (model.ComplaintRegistered, model.ComplaintEscalated, model.ComplaintClosed),
    "evaluations": (model.EvaluationSubmitted,),
    "enquiries": (model.EnquiryRegistered,),
    "orders": (model.OrderStatusChanged,),
}
EventClass = type[model.Event]
ENVELOPE: Final = frozenset({"id", "source", "type", "occurred_at"})
"""Names that ingest reads as the event's envelope, not as its data."""


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _column(value: object) -> object:
    return {"column": value} if isinstance(value, str) else value


def _id_columns(value: object) -> object:
    return {"columns": _listed(value)} if isinstance(value, str | list) else value


def _known_zone(zone: str | None) -> str | None:
    if zone is not None:
        try:
            ZoneInfo(zone)
        except (KeyError, ValueError, OSError):
            raise ValueError(f"'{zone}' is not an IANA time zone, such as Asia/Shanghai") from None
    return zone


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class IdSpec(_Entry):
    """The columns that make a row's event id; or the one that holds the id which a live feed of the same source sends."""

    columns: Annotated[tuple[Text, ...], BeforeValidator(_listed)] = ()
    verbatim: Text | None = None


class TimeSpec(_Entry):
    """When it happened. `columns` are joined with a blank (date and time apart)."""

    columns: Annotated[tuple[Text, ...], BeforeValidator(_listed), Field(alias="column", min_length=1)]
    format: Text = "iso"
    zone: str | None = None

    _zone = field_validator("zone")(_known_zone)


class FieldSpec(_Entry):
    """One column and what to make of its cells."""

    column: Text
    map: dict[str, Scalar] | None = None
    otherwise: Scalar | None = None
    default: Scalar | None = None
    transform: Literal["slug", "upper", "lower", "phone"] | None = None
    country: Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")] = "CN"
    format: Text | None = None
    zone: str | None = None

    _zone = field_validator("zone")(_known_zone)


class FileSpec(_Entry):
    """How the export is written, where that is not found out by itself."""

    encoding: Text | None = None
    delimiter: Text | None = None
    sheet: Text | None = None
    header_row: Annotated[int, Field(ge=1)] = 1


ColumnOrSpec = Annotated[FieldSpec, BeforeValidator(_column)]


class Mapping(_Entry):
    """A checked mapping file."""

    kind: Kind
    source: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    event_type: Text | FieldSpec | None = Field(None, alias="type")
    id: Annotated[IdSpec, BeforeValidator(_id_columns)]
    time: TimeSpec
    constants: dict[str, Scalar] = Field(default_factory=dict)
    fields: dict[str, ColumnOrSpec]
    extra: dict[str, ColumnOrSpec] = Field(default_factory=dict)
    missing: tuple[str, ...] = ()
    file: FileSpec = Field(default_factory=FileSpec)

    def types(self) -> tuple[EventClass, ...]:
        """The event types that rows may become. Raises ValueError on a type of another kind."""
        of_kind = {str(cls.__struct_config__.tag): cls for cls in TYPES_OF_KIND[self.kind]}
        if self.event_type is None:
            return TYPES_OF_KIND[self.kind][:1]
        spec = self.event_type
        named = [spec] if isinstance(spec, str) else [*(spec.map or {}).values(), spec.otherwise, spec.default]
        for name in named:
            if name is not None and name not in of_kind:
                raise ValueError(f"'{name}' is no event type of {self.kind}: {', '.join(of_kind)}")
        found = tuple(dict.fromkeys(of_kind[str(name)] for name in named if name is not None))
        if not found:
            raise ValueError("needs a `map` from the cells' words to event types")
        return found

    def columns(self) -> list[str]:
        """Every column that the mapping names, once, in its order."""
        verbatim = [self.id.verbatim] if self.id.verbatim else []
        specs = [*self.fields.values(), *self.extra.values()]
        typed = [self.event_type.column] if isinstance(self.event_type, FieldSpec) else []
        return list(dict.fromkeys([*self.id.columns, *verbatim, *self.time.columns, *typed, *(spec.column for spec in specs)]))

    def fingerprint(self) -> str:
        """Equal for mappings that make the same events of the same rows."""
        return self.model_dump_json(by_alias=True)


def field_types(classes: Iterable[type[model.Event]]) -> dict[str, Any]:
    """The data fields of these event types, each with its Python type (without None)."""
    found: dict[str, Any] = {}
    for cls in classes:
        for struct in reversed(data_type(cls).__mro__):
            for name, hint in getattr(struct, "__annotations__", {}).items():
                if not name.startswith("__"):
                    found[name] = _without_none(hint)
    return found


def _without_none(hint: Any) -> Any:
    if get_origin(hint) in (types.UnionType, Union):
        left = [part for part in get_args(hint) if part is not type(None)]
        return left[0]
    return hint
