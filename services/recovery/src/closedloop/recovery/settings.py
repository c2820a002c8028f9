"""What an operator can set: environment variables RECOVERY_…"""

from datetime import timedelta
from typing import Self

from pydantic import BaseModel, Field, model_validator
from pydantic_settings import SettingsConfigDict

from closedloop.common.settings import ServerSettings
from closedloop.recovery.domain.rules import ContactLimit, Kept, Rules

_DEFAULTS = Rules()


class LimitSetting(BaseModel):
    """At most `at_most` contacts in any `hours`."""

    at_most: int = Field(ge=1, le=1000)
    hours: float = Field(gt=0, le=24 * 366)


class RecoverySettings(ServerSettings):
    """The queue's rules and where the service listens."""

    model_config = SettingsConfigDict(env_prefix="RECOVERY_", extra="ignore", frozen=True)

    port: int = Field(8104, ge=1, le=65535)
    threshold: float = Field(0.5, gt=0, le=1, description="a score's place on its scale below which it is dissatisfied")
    promise_s: int = Field(7200, ge=60, description="from dissatisfaction to the first contact")
    late_after_s: int = Field(86_400, ge=60, description="signals older than this on arrival are kept, not queued")
    lease_s: int = Field(600, ge=5, description="how long a claim holds without a heartbeat")
    follow_up_within_s: int = Field(1800, ge=60, description="a later attempt is due this long after its agreed time")
    retries_s: tuple[int, ...] = Field((3600, 14_400, 86_400), min_length=1, description="waits after attempts without answer")
    reservation_s: int = Field(900, ge=10, description="how long a reserved contact counts before it is confirmed")
    contact_limits: tuple[LimitSetting, ...] = Field(
        tuple(LimitSetting(at_most=limit.at_most, hours=limit.window.total_seconds() / 3600) for limit in _DEFAULTS.limits),
        min_length=1,
        description='contacts with one customer, JSON such as [{"at_most": 3, "hours": 24}]',
    )
    high_value_classes: frozenset[str] = Field(_DEFAULTS.high_value, description="their surveys go to the phone manager")
    county_regions: frozenset[str] = Field(frozenset(), description="regions whose surveys go to the county's callers")
    inbox_days: int = Field(60, ge=36, description="how long the ids of events are remembered; topics keep 35 days")
    retention_days: int = Field(400, ge=90, description="closed recoveries with all that belongs to them, and contacts")
    max_region_labels: int = Field(40, ge=1, le=500, description="regions named in metrics; the rest is `other`")
    pool_size: int = Field(10, ge=2, le=100, description="connections to PostgreSQL")

    @model_validator(mode="after")
    def _limits_are_kept(self) -> Self:
        longest = max(limit.hours for limit in self.contact_limits)
        if longest > self.retention_days * 24:
            raise ValueError(
                f"RECOVERY_RETENTION_DAYS: contacts must be kept for the {longest:g} h that a limit looks back; raise it"
            )
        return self

    def kept(self) -> Kept:
        """How long what is over is kept."""
        return Kept(inbox=timedelta(days=self.inbox_days), closed=timedelta(days=self.retention_days))

    def rules(self) -> Rules:
        """The domain's view of these settings."""
        return Rules(
            threshold=self.threshold,
            promise=timedelta(seconds=self.promise_s),
            late_after=timedelta(seconds=self.late_after_s),
            lease=timedelta(seconds=self.lease_s),
            follow_up_within=timedelta(seconds=self.follow_up_within_s),
            retries=tuple(timedelta(seconds=s) for s in self.retries_s),
            reservation=timedelta(seconds=self.reservation_s),
            limits=tuple(ContactLimit(limit.at_most, timedelta(hours=limit.hours)) for limit in self.contact_limits),
            high_value=self.high_value_classes,
            county_regions=self.county_regions,
        )
