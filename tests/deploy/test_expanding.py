"""Migrations only expand, so that processes of the version before go on; those that do not are declared and documented."""

from pathlib import Path

import pytest

from deploy.expanding import ROOT, SERVICES, contracting, migrations_of, statements_of, stops_of

# what a step of before this rule does, although nothing had to stop for it: the old processes never ask for an index by its name
LET_PASS = {"ticketing 0002_forget_by_age": ["drops"]}
STEPS = [(service, path) for service in SERVICES for path in migrations_of(service)]


@pytest.mark.parametrize(("service", "path"), STEPS, ids=[f"{service}-{path.stem}" for service, path in STEPS])
def test_a_step_only_expands_or_says_who_must_stop(service: str, path: Path) -> None:
    found = contracting(statements_of(path))
    if stops_of(path):
        assert found, f"{path} stops {stops_of(path)} for nothing that is seen here"
    else:
        assert found == LET_PASS.get(f"{service} {path.stem}", []), (
            f"{path}: add it with a later version, or declare `stop: {service}`"
        )


def test_whoever_must_stop_is_named_where_it_is_operated() -> None:
    page = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
    stopping = {f"{service}_{path.stem[:4]}": stops_of(path) for service, path in STEPS if stops_of(path)}
    assert stopping, "nothing declares a stop: then this test and the page's table can go"
    for step, services in stopping.items():
        [line] = [line for line in page.splitlines() if line.startswith(f"| `{step}` ")]
        assert line.split("|")[2].strip() == ", ".join(sorted(services))


def test_each_step_follows_the_one_before_it_in_the_folder() -> None:
    """One that is put between two others never runs where the later one has."""
    for service in SERVICES:
        revisions = [path.read_text(encoding="utf-8") for path in migrations_of(service)]
        for number, text in enumerate(revisions, 1):
            before = f'"{service}_{number - 1:04d}"' if number > 1 else "None"
            assert f'\nrevision = "{service}_{number:04d}"\ndown_revision = {before}\n' in text


@pytest.mark.parametrize(
    ("statement", "kinds"),
    [
        ("ALTER TABLE t DROP COLUMN a", ["drops"]),
        ("ALTER TABLE t ALTER a DROP DEFAULT", ["drops"]),
        ("DROP INDEX i", ["drops"]),
        ("ALTER TABLE t RENAME COLUMN a TO b", ["renames"]),
        ("ALTER TABLE t ALTER COLUMN a TYPE bigint", ["changes a type"]),
        ("ALTER TABLE t ALTER a SET DATA TYPE bigint", ["changes a type"]),
        ("ALTER TABLE t ALTER COLUMN a SET NOT NULL", ["wants a value"]),
        ("ALTER TABLE t ADD COLUMN a int,\n ADD COLUMN b text NOT NULL", ["wants a value"]),
        ("ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0)", ["constrains"]),
        ("ALTER TABLE t ADD UNIQUE (a)", ["constrains"]),
        ("ALTER TABLE t ADD COLUMN a int GENERATED ALWAYS AS (b * 2) STORED", ["writes the table anew"]),
        ("CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS $$ SELECT 1 $$", ["replaces"]),
        ("REVOKE UPDATE ON t FROM r", ["takes rights"]),
        ("UPDATE t SET a = 1", ["touches rows"]),
        ("CREATE UNIQUE INDEX i ON t (a)", ["keeps unique"]),
        ("CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()", ["guards by a trigger"]),
        ("ALTER TABLE t ALTER COLUMN a DROP NOT NULL", []),
        ("ALTER TABLE t ADD COLUMN a text NOT NULL DEFAULT 'rename, drop'", []),
        ("ALTER TABLE t ADD COLUMN a text -- nothing to drop", []),
        ("ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0) NOT VALID", []),
        ("CREATE INDEX i ON t (a)", []),
        ("CREATE FUNCTION f() RETURNS void LANGUAGE sql AS $$ DELETE FROM t $$", []),
    ],
)
def test_what_is_taken_for_contracting(statement: str, kinds: list[str]) -> None:
    assert contracting([statement]) == kinds


def test_a_table_of_the_same_step_may_be_guarded() -> None:
    made = [
        "CREATE TABLE t (a int NOT NULL UNIQUE)",
        "CREATE UNIQUE INDEX i ON t (a)",
        "CREATE TRIGGER g BEFORE DELETE ON t EXECUTE f()",
    ]
    assert contracting(made) == []
