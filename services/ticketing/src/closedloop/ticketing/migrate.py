"""The schema of ticketing, and the role that uses it."""

from pathlib import Path
from typing import Final

from closedloop.common.postgres.migrations import migrate as migrate_schema
from closedloop.ticketing.settings import TicketingSettings

MIGRATIONS: Final = Path(__file__).parent / "migrations"


def migrate() -> None:
    """Create or upgrade both."""
    migrate_schema("ticketing", TicketingSettings().database_url.get_secret_value(), MIGRATIONS)
