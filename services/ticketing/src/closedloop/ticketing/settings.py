"""This service's settings: TICKETING_…"""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from closedloop.common.settings import ServerSettings
from closedloop.ticketing.domain.alarm_rate import GREATEST_TARGET, BurstSettings


class TicketingSettings(ServerSettings):
    """Defaults are what is shipped; staff set the triggers."""

    model_config = SettingsConfigDict(env_prefix="TICKETING_", extra="ignore", frozen=True)

    port: int = Field(8103, ge=1, le=65535)

    false_alarms_per_month: float = Field(
        0.1,
        gt=0,
        le=GREATEST_TARGET,
        description="batch: accepted per subject and month of 30 days; S subjects give about S times as many",
    )
    batch_least_customers: int = Field(5, ge=1, description="batch: at least so many distinct customers")
    batch_least_ratio: float = Field(1.5, ge=1, description="batch: at least so many times what was expected")
    hot_customers: int = Field(100, ge=2, description="hot: so many distinct customers with a complaint within 24 h")
    hot_enquirers: int = Field(300, ge=2, description="hot enquiries: so many distinct customers with an enquiry within 24 h")

    max_subjects: int = Field(
        20_000, ge=1, description="subjects counted; complaints on further ones are not, and a metric says so"
    )
    retention_days: int = Field(
        120, ge=40, description="how long complaints are kept after they were received (baselines need 36 days)"
    )
    settle_s: float = Field(
        10.0, ge=0, description="statements wait until old complaints (an import) have stopped coming for so long"
    )
    settle_at_most_s: float = Field(1800.0, ge=0, description="but no longer than this")
    evidence_complaints: int = Field(100, ge=0, le=1000, description="complaints listed with a firing")

    @property
    def burst(self) -> BurstSettings:
        """The batch trigger's part."""
        return BurstSettings(self.false_alarms_per_month, self.batch_least_customers, self.batch_least_ratio)
