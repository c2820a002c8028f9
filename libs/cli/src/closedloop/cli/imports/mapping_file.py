"""Reading a mapping file: checked entry by entry before any row of the export is read; a mistake is told with its line."""

import difflib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from msgspec.structs import fields as struct_fields
from pydantic import BaseModel, ValidationError

from closedloop.cli.imports import strict_yaml
from closedloop.cli.imports.mapping import ENVELOPE, FieldSpec, FileSpec, IdSpec, Mapping, TimeSpec, field_types
from closedloop.cli.problems import CommandFailed
from closedloop.common.events import model
from closedloop.common.events.topics import data_type


def load_mapping(path: Path) -> Mapping:
    """Read and check a mapping file. CommandFailed names file, line, entry and word."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise CommandFailed(
            f"There is no mapping file {path}; `closedloop import --init complaints > {path.name}` makes one to start from."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise CommandFailed(f"The mapping file {path} cannot be read as UTF-8 text ({type(error).__name__}).") from None
    return parse_mapping(text, str(path))


def parse_mapping(text: str, name: str) -> Mapping:
    """The mapping in `text`; `name` is the file's, for messages."""
    document, lines = strict_yaml.load(text, name)
    if not isinstance(document, dict):
        raise CommandFailed(f"{name}: a mapping file must have the entries kind, source, id, time and fields.")

    def failed(path: strict_yaml.Path, problem: str) -> CommandFailed:
        at = path
        while at and at not in lines:
            at = at[:-1]
        entry = ".".join(str(part) for part in path)
        return CommandFailed(f"{name}:{lines.get(at, 1)}: {entry}: {problem}.")

    try:
        mapping = Mapping.model_validate(document, strict=False)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        path = _path(first["loc"], document)
        raise failed(path, _problem(first, path)) from None
    for path, problem in _contradictions(mapping):
        raise failed(path, problem)
    return mapping


def _path(location: tuple[int | str, ...], document: Any) -> strict_yaml.Path:
    """Pydantic's location without the names that it gives to a union's members."""
    path: list[str | int] = []
    for part in location:
        if part in ("str", "int", "float", "bool", "FieldSpec", "constrained-str", "[key]"):
            continue
        path.append("column" if part == "columns" and path == ["time"] else part)
    return tuple(path)


_NAMES: Final[dict[str, type[BaseModel]]] = {"": Mapping, "id": IdSpec, "time": TimeSpec, "file": FileSpec}


def _problem(error: Any, path: strict_yaml.Path) -> str:
    kind = error["type"]
    if kind == "extra_forbidden":
        owner = FieldSpec if len(path) == 3 or path[:1] == ("type",) else _NAMES.get(str(path[0]) if len(path) > 1 else "", Mapping)
        known = [field.alias or name for name, field in owner.model_fields.items()]
        return _unknown(str(path[-1]), known)
    if kind == "missing":
        return "is missing"
    if kind == "literal_error":
        return f"'{error['input']}' is not known; it must be {error['ctx']['expected'].replace(chr(39), '')}"
    if kind in ("model_type", "dict_type", "tuple_type", "model_attributes_type"):
        return "must be entries, as in {column: name}" if kind != "tuple_type" else "must be a column or a list of columns"
    message = str(error["msg"]).removeprefix("Value error, ")
    shown = error.get("input")
    return f"'{shown}': {message}" if isinstance(shown, str | int | float) and repr(shown) not in message else message


def _unknown(word: str, known: Iterable[str]) -> str:
    options = sorted(known)
    close = difflib.get_close_matches(word, options, 1)
    return f"'{word}' is not known; " + (f"is {close[0]} meant?" if close else f"it may be {', '.join(options)}")


def _contradictions(mapping: Mapping) -> Iterator[tuple[strict_yaml.Path, str]]:
    """What fits the form but makes no event."""
    if bool(mapping.id.columns) == bool(mapping.id.verbatim):
        yield ("id",), "name the columns that identify a row, or `verbatim` with the column that holds the event's id"
    if "\0" in mapping.source or not mapping.source.isprintable():
        yield ("source",), "must not have control characters"
    try:
        classes = mapping.types()
    except ValueError as error:
        yield ("type",), str(error)
        return
    known = field_types(classes)
    named = ", ".join(str(cls.__struct_config__.tag) for cls in classes)
    for section, names in (("fields", mapping.fields), ("constants", mapping.constants)):
        for field in names:
            if field not in known:
                problem = _unknown(field, known)
                yield (section, field), f"{problem} (what {named} does not have goes under `extra`)"
    for field in mapping.constants.keys() & mapping.fields.keys():
        yield ("constants", field), "stands under `fields` too; use `default` there for empty cells"
    for field in mapping.extra:
        if field in known or field in ENVELOPE:
            yield ("extra", field), "is a name of the contract; put it under `fields`, or give it another name"
    given = mapping.constants.keys() | mapping.fields.keys()
    for cls in classes:
        needed = [f.name for f in _required(cls)]
        for field in needed:
            if field not in given:
                yield ("fields",), f"{cls.__struct_config__.tag} needs {field}; add its column here, or a value under `constants`"
    if mapping.kind == "evaluations" and not given & {"score", "satisfied"}:
        yield ("fields",), "an evaluation needs `score` or `satisfied`; add its column here"
    for field, spec in mapping.fields.items():
        if (spec.format or spec.zone) and field != "expected_by":
            yield ("fields", field), "`format` and `zone` are for times (expected_by); the event's own time stands under `time`"
        if spec.otherwise is not None and spec.map is None:
            yield ("fields", field, "otherwise"), "is for words that `map` does not have; there is no `map` here"


def _required(cls: type[model.Event]) -> list[Any]:
    return [field for field in struct_fields(data_type(cls)) if field.required]
