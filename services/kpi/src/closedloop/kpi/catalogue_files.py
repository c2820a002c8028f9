"""Reads the catalogue: the files shipped with the service, and the operator's own from KPI_CATALOGUE_DIR."""

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

import yaml

from closedloop.kpi.domain.catalogue import Catalogue, CatalogueProblem, EventIndicator, Indicator
from closedloop.kpi.domain.entries import read_entry
from closedloop.kpi.domain.expressions import suggestion
from closedloop.kpi.domain.versions import Written, days_of_change, in_force, version_of

SUFFIXES: Final = (".yaml", ".yml")
SHIPPED: Final = files("closedloop.kpi") / "catalogue"
SHIPPED_NAMES: Final = frozenset(file.name for file in SHIPPED.iterdir() if file.name.endswith(SUFFIXES))
_TOP: Final = "indicators"


class CatalogueRefused(ValueError):
    """The catalogue cannot be taken; `problems` names file, entry and word of each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(["the indicator catalogue has problems:", *(f"  {problem}" for problem in problems)]))
        self.problems = problems


def load_catalogue(operators_own: Path | None = None, shipped: Traversable = SHIPPED, day: date | None = None) -> Catalogue:
    """What of the shipped files and of the operator's folder is in force on a day (None: today, in UTC). Raises CatalogueRefused
    with all problems."""
    day = day or datetime.now(UTC).date()
    return catalogue_of(in_force(checked(*read_files(operators_own, shipped), day), (), day))


def read_files(operators_own: Path | None = None, shipped: Traversable = SHIPPED) -> tuple[list[Written], list[str]]:
    """(the entries as they stand in the files, the problems of what is no entry)."""
    problems: list[str] = []
    if operators_own is not None and not operators_own.is_dir():
        problems.append(f"{operators_own}: is no folder; KPI_CATALOGUE_DIR must name one that holds .yaml files, or be left out")
        operators_own = None
    written: list[Written] = []
    for file in [*_files(shipped), *(_files(operators_own) if operators_own is not None else ())]:
        found, wrong = read_text(file.name, file.read_bytes())
        written += found
        problems += wrong
    return written, problems


def read_text(name: str, text: bytes) -> tuple[list[Written], list[str]]:
    """The same of one file's bytes."""
    problems: list[str] = []
    return list(_entries(name, text, problems)), problems


def checked(written: list[Written], problems: Iterable[str], today: date) -> list[Written]:
    """All versions, where each is right by itself, none stands twice, and those of today and of every later day fit together.
    Raises CatalogueRefused with all problems, those that were found before among them."""
    indicators, wrong = _read(written)
    found = [*problems, *wrong]
    first_places: dict[tuple[str, int], str] = {}
    for place, entry in written:
        version = version_of((place, entry))
        if version in first_places:
            taken = f"is taken by the entry at {first_places[version]}"
            found.append(f"{place}: {version[0]}: id: {taken}; a changed one needs a higher `version` (and `valid_from`)")
        else:
            first_places[version] = place
    if found:
        raise _refused(found)
    made = dict(zip(map(version_of, written), indicators, strict=True))
    for day in (today, *days_of_change(written, (), today)):
        try:
            Catalogue([made[version_of(one)] for one in in_force(written, (), day)])
        except CatalogueProblem as refused:
            raise _refused(p if day == today else f"{p} (from {day} on)" for p in refused.problems) from None
    return written


def catalogue_of(written: Iterable[Written], beside: Iterable[Written] = ()) -> Catalogue:
    """The catalogue that entries make, of one version each. `beside`: versions of other days, of which the formulas are counted
    too; those that no release understands any more are left out. Raises CatalogueRefused with all problems."""
    indicators, problems = _read(written)
    if problems:
        raise _refused(problems)
    try:
        return Catalogue(indicators, [one for one in _read(beside)[0] if isinstance(one, EventIndicator)])
    except CatalogueProblem as refused:
        raise CatalogueRefused(refused.problems) from None


def _read(written: Iterable[Written]) -> tuple[list[Indicator], list[str]]:
    """(the entries as indicators, the problems of those that are none)."""
    read = [read_entry(entry, place) for place, entry in written]
    return [one for one, _ in read if one is not None], [problem for _, wrong in read for problem in wrong]


def _refused(problems: Iterable[str]) -> CatalogueRefused:
    return CatalogueRefused(sorted(problems, key=lambda problem: problem.partition(":")[0]))  # file by file


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


def _entries(name: str, text: bytes, problems: list[str]) -> Iterator[Written]:
    """Each entry of the list `indicators`."""
    try:
        loader = _Loader(text.decode())
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
