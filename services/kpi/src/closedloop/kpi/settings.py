"""What an operator can set: environment variables KPI_…"""

from datetime import timedelta
from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from closedloop.common.settings import ServerSettings, Settings
from closedloop.kpi.domain.columns import DISSATISFIED_BELOW

MEGABYTE = 1 << 20


class CatalogueSettings(Settings):
    """Where the operator's part of the catalogue is."""

    model_config = SettingsConfigDict(env_prefix="KPI_", extra="ignore", frozen=True)

    catalogue_dir: Path | None = Field(None, description="a folder of YAML files with the operator's own indicators")


class KpiSettings(ServerSettings, CatalogueSettings):
    """How indicators are counted and kept, and where the service listens."""

    model_config = SettingsConfigDict(env_prefix="KPI_", extra="ignore", frozen=True)

    port: int = Field(8102, ge=1, le=65535)
    dissatisfied_below: float = Field(
        DISSATISFIED_BELOW, gt=0, le=1, description="a score's place on its scale below which it is dissatisfied"
    )
    retention_days: int = Field(400, ge=2, le=36_500, description="event-time days that are kept; older events are rejected")
    seen_cache_mb: int = Field(
        256, ge=1, description="memory for counted events, 12 bytes each; more is read again from PostgreSQL"
    )
    bucket_cache_mb: int = Field(256, ge=1, description="memory for buckets that were read")
    batch_records: int = Field(50_000, ge=1, le=500_000, description="at most so many records in one transaction")
    batch_linger_s: float = Field(
        0.5, ge=0, le=10, description="a transaction has its price: at most one in this time, unless full"
    )
    gauge_window: str = Field("1h", pattern="^(5m|1h|24h|7d|30d|month)$", description="window of the Prometheus gauges")
    max_exported_series: int = Field(
        5_000, ge=1_000, le=1_000_000, description="time series kpi_indicator_… of one process; what is more is left out, and said"
    )
    pool_size: int = Field(10, ge=4, le=100, description="connections to PostgreSQL")

    @property
    def retention(self) -> timedelta:
        """How old an event may be at its append time."""
        return timedelta(days=self.retention_days)
