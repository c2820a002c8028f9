"""Which version of an entry is in force: files and what was saved are one history."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from closedloop.kpi.domain.versions import Saved, days_of_change, in_force, known_since

TODAY = date(2026, 11, 20)
FILE: list[tuple[str, object]] = [("a.yaml:1", {"id": "one"}), ("a.yaml:9", {"id": "two", "version": 3})]


def saved(id_: str, version: int, days: int = 0, entry: dict[str, Any] | None = None, retired: bool = False) -> Saved:
    written = None if retired else {"id": id_, "mark": version, **(entry or {})}
    return Saved(id_, version, written, TODAY + timedelta(days=days), None, "ann", datetime(2026, 11, 1, tzinfo=UTC), "why")


def marks(*changes: Saved, day: date = TODAY) -> dict[str, object]:
    return {entry["id"]: entry.get("mark", "file") for _, entry in in_force(FILE, changes, day) if isinstance(entry, dict)}


def test_what_was_saved_takes_the_place_of_the_file_and_new_ones_follow() -> None:
    assert marks() == {"one": "file", "two": "file"}
    assert marks(saved("one", 2), saved("three", 1)) == {"one": 2, "two": "file", "three": 1}
    [(place, entry)] = [item for item in in_force(FILE, [saved("one", 2)], TODAY) if item[0].startswith("saved")]
    assert (place, entry) == ("saved version 2", {"id": "one", "mark": 2, "version": 2, "valid_from": TODAY})


def test_a_later_release_may_bring_a_higher_version() -> None:
    assert marks(saved("two", 2)) == {"one": "file", "two": "file"}
    assert marks(saved("two", 4)) == {"one": "file", "two": 4}


def test_a_file_may_hold_the_versions_of_several_times() -> None:
    file: list[tuple[str, object]] = [
        ("a.yaml:1", {"id": "one", "mark": 1}),
        ("a.yaml:9", {"id": "one", "version": 2, "valid_from": TODAY, "mark": 2}),
        ("b.yaml:1", {"id": "one", "version": 3, "valid_from": (TODAY + timedelta(days=1)).isoformat(), "mark": 3}),
        ("b.yaml:9", {"id": "two", "valid_from": TODAY}),
    ]

    def of(day: date, *changes: Saved) -> list[object]:
        return [entry.get("mark", entry["id"]) for _, entry in in_force(file, changes, day) if isinstance(entry, dict)]

    assert of(TODAY - timedelta(days=1)) == [1]
    assert of(TODAY) == [2, "two"]
    assert of(TODAY + timedelta(days=1)) == [3, "two"]
    # of one number what was saved counts
    assert of(TODAY, saved("one", 2)) == [2, "two"]
    assert of(TODAY, saved("one", 2, retired=True)) == ["two"]
    assert days_of_change(file, [saved("one", 4, 5)], TODAY) == [TODAY + timedelta(days=1), TODAY + timedelta(days=5)]


def test_what_is_known_since_a_day_is_what_held_then_and_all_that_came_after() -> None:
    def found(day: date) -> list[object]:
        known = known_since(FILE, [saved("one", 2, -5), saved("one", 3), saved("one", 4), saved("one", 5, +5)], day)
        return [(entry["id"], entry.get("mark", "file")) for _, entry in known if isinstance(entry, dict)]

    of_one = [("one", 3), ("one", 4), ("one", 5)]  # of one day both: one may have been in force for hours
    assert found(TODAY - timedelta(days=1)) == [("one", 2), ("two", "file"), *of_one]
    assert found(TODAY) == [("one", 4), ("two", "file"), ("one", 5)]


def test_a_version_waits_for_its_first_day() -> None:
    changes = (saved("one", 2, -5), saved("one", 3, +1))
    assert marks(*changes) == {"one": 2, "two": "file"}
    assert marks(*changes, day=TODAY + timedelta(days=1)) == {"one": 3, "two": "file"}
    assert marks(*changes, day=TODAY - timedelta(days=6)) == {"one": "file", "two": "file"}


def test_what_was_retired_is_gone_until_it_is_saved_again() -> None:
    assert marks(saved("one", 2, retired=True)) == {"two": "file"}
    assert marks(saved("one", 2, retired=True), saved("one", 3)) == {"one": 3, "two": "file"}
    assert marks(saved("three", 1), saved("three", 2, retired=True)) == {"one": "file", "two": "file"}


@given(st.lists(st.tuples(st.sampled_from(["one", "two", "three"]), st.integers(-3, 3), st.booleans()), max_size=12), st.randoms())
def test_the_order_of_rows_says_nothing(made: list[tuple[str, int, bool]], random: Any) -> None:
    versions: dict[str, int] = {"one": 1, "two": 3}
    changes = []
    for id_, days, retired in made:
        versions[id_] = versions.get(id_, 0) + 1
        changes.append(saved(id_, versions[id_], days, retired=retired))
    shuffled = list(changes)
    random.shuffle(shuffled)
    assert marks(*changes) == marks(*shuffled)
    ids = [entry["id"] for _, entry in in_force(FILE, changes, TODAY) if isinstance(entry, dict)]
    assert len(ids) == len(set(ids))
