"""The schema of recovery, and the role that uses it."""

from pathlib import Path
from typing import Final

from closedloop.common.postgres.migrations import migrate as migrate_schema
from closedloop.recovery.settings import RecoverySettings

MIGRATIONS: Final = Path(__file__).parent / "migrations"


def migrate() -> None:
    """Create or upgrade both."""
    migrate_schema("recovery", RecoverySettings().database_url.get_secret_value(), MIGRATIONS)
