"""Settings of ingest; the environment variables begin with INGEST_."""

from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import SettingsConfigDict

from closedloop.common.events.rules import MAX_EVENT_BYTES
from closedloop.common.settings import ServerSettings


class IngestSettings(ServerSettings):
    """What ingest takes at once, how long it waits for Kafka, and how much may wait."""

    model_config = SettingsConfigDict(env_prefix="INGEST_", extra="ignore", frozen=True)

    port: int = Field(8101, ge=1, le=65535)
    max_body_bytes: int = Field(16 * 1024 * 1024, ge=1024, description="largest body, before and after decompression")
    max_event_bytes: int = Field(MAX_EVENT_BYTES, ge=256, le=MAX_EVENT_BYTES, description="largest event")
    max_batch_events: int = Field(10_000, ge=1, description="most events in one request")
    body_timeout_s: float = Field(30.0, gt=0, description="time that a client may take to send its body")
    rate_events_per_s: float = Field(100_000, gt=0, description="events a second that one client may send to one process")
    rate_burst_events: float = Field(200_000, ge=1, description="events that one client may send at once before the rate holds")
    max_held_bytes: int = Field(128 * 1024 * 1024, ge=1024, description="bodies in hand; more are answered with 503")
    max_unacknowledged_events: int = Field(100_000, ge=1, description="events Kafka has not acknowledged; more get 503")
    ack_timeout_s: float = Field(5.0, gt=0, description="how long a request waits for Kafka before it gets 503")
    retry_after_s: int = Field(2, ge=1, description="Retry-After of a 503")
    compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] = Field("zstd", description="of the batches in Kafka")

    @model_validator(mode="after")
    def _limits_fit(self) -> Self:
        if self.max_unacknowledged_events < self.max_batch_events:
            raise ValueError(
                "INGEST_MAX_UNACKNOWLEDGED_EVENTS must not be below INGEST_MAX_BATCH_EVENTS: such a batch could never pass"
            )
        if self.max_held_bytes < 2 * self.max_body_bytes:
            raise ValueError(
                "INGEST_MAX_HELD_BYTES must be twice INGEST_MAX_BODY_BYTES or more: a gzip body is held packed and unpacked"
            )
        return self
