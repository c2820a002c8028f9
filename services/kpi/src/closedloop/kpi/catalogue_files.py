"""Reads the catalogue: the files shipped with the service, and the operator's own from KPI_CATALOGUE_DIR."""

from collections.abc import Iterable, Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

import yaml

from closedloop.kpi.domain.catalogue import Catalogue, CatalogueProblem, Indicator
from closedloop.kpi.domain.entries import read_entry
from closedloop.kpi.domain.expressions import suggestion
from closedloop.kpi.domain.versions import Written

SUFFIXES: Final = (".yaml", ".yml")
SHIPPED: Final = files("closedloop.kpi") / "catalogue"
_TOP: Final = "indicators"


class CatalogueRefused(ValueError):
    """The catalogue cannot be taken; `problems` names file, entry and word of each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(["the indicator catalogue has problems:", *(f"  {problem}" for problem in problems)]))
        self.problems = problems


def load_catalogue(operators_own: Path | None = None, shipped: Traversable = SHIPPED) -> Catalogue:
    """The shipped indicators and those of the operator's folder beside them. Raises CatalogueRefused with all problems."""
    return catalogue_of(*read_files(operators_own, shipped))


def read_files(operators_own: Path | None = None, shipped: Traversable = SHIPPED) -> tuple[list[Written], list[str]]:
    """(the entries as they stand in the files, the problems of what is no entry)."""
    problems: list[str] = []
    if operators_own is not None and not operators_own.is_dir():
        problems.append(f"{operators_own}: is no folder; KPI_CATALOGUE_DIR must name one that holds .yaml files, or be left out")
        operators_own = None
    written: list[Written] = []
    for file in [*_files(shipped), *(_files(operators_own) if operators_own is not None else ())]:
        written += _entries(file, problems)
    return written, problems


def catalogue_of(written: Iterable[Written], problems: Iterable[str] = ()) -> Catalogue:
    """The catalogue that entries make. Raises CatalogueRefused with all problems, those that were found before among them."""
    indicators: list[Indicator] = []
    found = list(problems)
    first_places: dict[str, str] = {}
    for place, entry in written:
        indicator, wrong = read_entry(entry, place)
        found += wrong
        entry_id = entry.get("id") if isinstance(entry, dict) else None
        if isinstance(entry_id, str) and entry_id in first_places:
            found.append(f"{place}: {entry_id}: id: is taken by the entry at {first_places[entry_id]}")
        elif isinstance(entry_id, str):
            first_places[entry_id] = place
        if indicator is not None:
            indicators.append(indicator)
    if found:
        raise CatalogueRefused(sorted(found, key=lambda problem: problem.partition(":")[0]))  # file by file
    try:
        return Catalogue(indicators)
    except CatalogueProblem as refused:
        raise CatalogueRefused(refused.problems) from None


def _files(folder: Traversable) -> list[Traversable]:
    return sorted((file for file in folder.iterdir() if file.name.endswith(SUFFIXES)), key=lambda file: file.name)


class _Loader(yaml.SafeLoader):
    """YAML's plain types, no duplicate keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"`{key.value}` stands twice in one entry", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def _entries(file: Traversable, problems: list[str]) -> Iterator[tuple[str, object]]:
    """(place, entry) of each entry of the list `indicators`."""
    name = file.name
    try:
        loader = _Loader(file.read_text("utf-8"))
        root = loader.get_single_node()
        lists = _lists(root, name, problems)
        for node in lists:
            place = f"{name}:{node.start_mark.line + 1}"
            try:
                yield place, loader.construct_object(node, deep=True)
            except yaml.MarkedYAMLError as error:
                problems.append(f"{name}:{_line(error)}: {error.problem}")
    except yaml.MarkedYAMLError as error:
        problems.append(f"{name}:{_line(error)}: is not YAML: {error.problem}")
    except (yaml.YAMLError, UnicodeDecodeError):
        problems.append(f"{name}: is not YAML in UTF-8")
    except RecursionError:
        problems.append(f"{name}: is nested too deeply, or holds itself")


def _lists(root: yaml.Node | None, name: str, problems: list[str]) -> list[yaml.Node]:
    if root is None:
        return []
    if not isinstance(root, yaml.MappingNode):
        problems.append(f"{name}: must begin with `{_TOP}:` and a list of entries below it")
        return []
    found: list[yaml.Node] = []
    for key, value in root.value:
        if key.value != _TOP:
            close = suggestion(str(key.value), (_TOP,))
            problems.append(f"{name}:{key.start_mark.line + 1}: unknown key `{key.value}`{close}")
        elif not isinstance(value, yaml.SequenceNode):
            problems.append(f"{name}:{key.start_mark.line + 1}: `{_TOP}` must be a list of entries, each beginning with `- id:`")
        else:
            found += value.value
    return found


def _line(error: yaml.MarkedYAMLError) -> int:
    return error.problem_mark.line + 1 if error.problem_mark is not None else 1
