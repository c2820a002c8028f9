"""What a migration does to processes of the version before, as far as its SQL shows it.

Not seen: how long a lock is held (an index of a large table keeps its writers out while it is built), what a function's body does,
what a NOT VALID constraint refuses of new rows, and whether the versions understand each other's rows. `deploy/upgrade/drill.py`
runs the two beside each other and sees some of that.
"""

import importlib.util
import re
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ("kpi", "ticketing", "recovery")

CONTRACTING = {
    # what the processes of before read or write is gone, is another, or is asked for more
    "drops": r"\bDROP\b(?! NOT NULL)",
    "renames": r"\bRENAME\b",
    "changes a type": r"\bALTER (?:COLUMN )?\S+ (?:SET DATA )?TYPE\b",
    "wants a value": r"\bSET NOT NULL\b|\bADD (?:COLUMN )?(?!CONSTRAINT)(?![^,]*(?:\bDEFAULT\b|\bGENERATED\b))[^,]*\bNOT NULL\b",
    "constrains": r"\bADD (?:CONSTRAINT|CHECK|UNIQUE|PRIMARY|FOREIGN|EXCLUDE)\b(?!.*\bNOT VALID\b)",
    "writes the table anew": r"\bADD (?:COLUMN )?[^,]*\bSTORED\b",
    "replaces": r"\bCREATE OR REPLACE\b",
    "takes rights": r"\bREVOKE\b",
    "touches rows": r"^\s*(?:WITH|UPDATE|DELETE|TRUNCATE)\b",
}
GUARDS = {
    # the same where the table was there before
    "keeps unique": r"CREATE UNIQUE INDEX .*? ON (\S+)",
    "guards by a trigger": r"CREATE (?:CONSTRAINT )?TRIGGER .*? ON (\S+)",
}
STOP = re.compile(r"^stop: (\w+)$", re.M)


def migrations_of(service: str, root: Path = ROOT) -> list[Path]:
    """The service's steps in their order, in the checkout at `root`."""
    folder = root / "services" / service / "src" / "closedloop" / service / "migrations"
    return sorted(folder.glob("[0-9]*.py"))


def stops_of(migration: Path) -> set[str]:
    """The services that must not run during this step, by its docstring: a line `stop: <service>`."""
    return set(STOP.findall(_loaded(migration).__doc__ or ""))


def statements_of(migration: Path) -> list[str]:
    """The SQL that its `upgrade` executes."""
    said: list[str] = []

    class Recorder:
        execute = staticmethod(said.append)

    module = _loaded(migration)
    module.__dict__["op"] = Recorder
    module.upgrade()
    assert said, f"{migration} executes nothing through op.execute: this check cannot see what it does"
    return said


def contracting(statements: Iterable[str]) -> list[str]:
    """What in these statements of one step the processes of before may not survive; each kind once, in order."""
    texts = [" ".join(_bare(statement).split()) for statement in statements]
    made = {name for text in texts for name in re.findall(r"CREATE TABLE (?:IF NOT EXISTS )?(\S+)", text, re.I)}
    found = {kind: None for text in texts for kind, pattern in CONTRACTING.items() if re.search(pattern, text, re.I)}
    for text in texts:
        for kind, pattern in GUARDS.items():
            table = re.search(pattern, text, re.I)
            if table and table[1] not in made:
                found[kind] = None
    return list(found)


def _loaded(migration: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"migration_{migration.parent.parent.name}_{migration.stem}", migration)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _bare(statement: str) -> str:
    """Without functions' bodies, comments and texts."""
    for pattern in (r"\$\$.*?\$\$", r"--[^\n]*", r"'[^']*'"):
        statement = re.sub(pattern, " ", statement, flags=re.S)
    return statement
