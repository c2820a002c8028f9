"""Reads the fields of one mapping of a catalogue file; collects every problem, each as `place: entry: field: what is wrong`."""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from typing import Any, Final, TypeVar

from closedloop.common.events.rules import CODE
from closedloop.kpi.domain.expressions import suggestion

T = TypeVar("T")
_ID: Final = re.compile(r"[a-z][a-z0-9_]{2,63}\Z")
_DURATION: Final = re.compile(r"([1-9][0-9]{0,4})(m|h|d)\Z")
_MINUTES: Final = {"m": 1, "h": 60, "d": 24 * 60}
_TEXT_MAX: Final = 300


class Wrong(Exception):
    """A field's problem, in words."""


class EntryReader:
    """One mapping of a file and the problems found in it."""

    def __init__(self, entry: Mapping[object, object], where: str, problems: list[str] | None = None) -> None:
        self.entry = entry
        self._where = where
        self.problems: list[str] = [] if problems is None else problems

    def complain(self, field: str, problem: str) -> None:
        """Note a problem of the field."""
        self.problems.append(f"{self._where}: {field}: {problem}")

    def has(self, field: str) -> bool:
        """Whether the field was written, whatever it holds."""
        return field in self.entry

    def check_keys(self, required: Iterable[str], optional: Iterable[str]) -> None:
        """Complain of unknown keys and of missing ones."""
        required = tuple(required)
        known = (*required, *optional)
        for key in self.entry:
            if key not in known:
                self.complain(str(key), "unknown key" + (suggestion(str(key), known) or f" (there are {', '.join(known)})"))
        for key in required:
            if key not in self.entry:
                self.complain(key, "is missing")

    def take(self, field: str, read: Callable[[object], T]) -> T | None:
        """The field read, or None where it is absent or wrong."""
        if field not in self.entry:
            return None
        try:
            return read(self.entry[field])
        except Wrong as wrong:
            self.complain(field, str(wrong))
            return None

    def inside(self, field: str, entry: Mapping[object, object]) -> "EntryReader":
        """The reader of a mapping in this one's field."""
        return EntryReader(entry, f"{self._where}: {field}", self.problems)


def text(value: object) -> str:
    """Raises Wrong, like all below."""
    if not isinstance(value, str) or not value.strip() or len(value) > _TEXT_MAX:
        raise Wrong(f"must be text of 1 to {_TEXT_MAX} characters, not {shown(value)}")
    return value


def identifier(value: object) -> str:
    """An indicator's id."""
    if not isinstance(value, str) or not _ID.match(value):
        raise Wrong(f"must match [a-z][a-z0-9_]{{2,63}}, not {shown(value)}")
    return value


def code(value: object) -> str:
    """A code of the contract."""
    if not isinstance(value, str) or not CODE.match(value):
        raise Wrong(f"must match [A-Za-z0-9_.-]{{1,64}}, not {shown(value)}")
    return value


def number(value: object) -> float:
    """A finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise Wrong(f"must be a number, not {shown(value)}")
    return float(value)


def whole(value: object) -> int:
    """1, 2, 3, …"""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise Wrong(f"must be a whole number from 1 on, not {shown(value)}")
    return value


def day(value: object) -> date:
    """YAML reads 2026-11-20 as a date by itself; over REST it comes as text."""
    if isinstance(value, str):
        try:
            value = date.fromisoformat(value)
        except ValueError:
            raise Wrong(f"must be a day such as 2026-11-20, not {shown(value)}") from None
    if type(value) is not date:
        raise Wrong(f"must be a day such as 2026-11-20, not {shown(value)}")
    return value


def minutes(value: object) -> int:
    """A duration such as 5m, 2h, 1d, in minutes."""
    match = _DURATION.match(value) if isinstance(value, str) else None
    if match is None:
        raise Wrong(f"must be a duration such as 5m, 2h or 1d, not {shown(value)}")
    return int(match[1]) * _MINUTES[match[2]]


def one_of(choices: tuple[str, ...]) -> Callable[[object], Any]:
    """One of the choices."""

    def read(value: object) -> str:
        if value not in choices:
            close = suggestion(str(value), choices)
            raise Wrong(f"must be one of {', '.join(choices)}, not {shown(value)}{close}")
        return str(value)

    return read


def names(value: object, known: tuple[str, ...], what: str) -> tuple[Any, ...]:
    """A list of names, each once."""
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise Wrong(f"must be a list of names, such as [{', '.join(known[:2])}], not {shown(value)}")
    for name in value:
        if name not in known:
            raise Wrong(f"`{name}` is no {what}{suggestion(name, known)} (there are {', '.join(known)})")
    if len(set(value)) < len(value):
        raise Wrong(f"names a {what.split(' ')[0]} twice")
    return tuple(value)


def mapping(value: object, such_as: str) -> Mapping[object, object]:
    """A mapping; `such_as` says what it would hold."""
    if not isinstance(value, Mapping):
        raise Wrong(f"must be a mapping with {such_as}")
    return value


def shown(value: object) -> str:
    """A value as a message shows it."""
    written = "nothing" if value is None else f"`{value}`"
    return written if len(written) <= 80 else f"{written[:80]}…`"
