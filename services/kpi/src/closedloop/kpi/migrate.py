"""The schema of kpi, and the role that uses it."""

from pathlib import Path
from typing import Final

from closedloop.common.postgres.migrations import migrate as migrate_schema
from closedloop.kpi.settings import KpiSettings

MIGRATIONS: Final = Path(__file__).parent / "migrations"


def migrate() -> None:
    """Create or upgrade both."""
    migrate_schema("kpi", KpiSettings().database_url.get_secret_value(), MIGRATIONS)
