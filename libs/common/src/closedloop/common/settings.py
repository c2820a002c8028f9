"""Settings that all services share. Each service adds its own in its `settings.py`; the environment is the contract."""

import os
from zoneinfo import ZoneInfo

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class OperatorSettings(BaseSettings):
    """The operator's own conventions."""

    model_config = SettingsConfigDict(env_prefix="OPERATOR_", extra="ignore", frozen=True)

    tz: str = Field("Asia/Shanghai", description="IANA zone of the operator's days and months")

    @field_validator("tz")
    @classmethod
    def _exists(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError):
            raise ValueError(f"OPERATOR_TZ: {value} is not an IANA time zone, such as Asia/Shanghai") from None
        return value

    @property
    def zone(self) -> ZoneInfo:
        """The zone itself."""
        return ZoneInfo(self.tz)


class AuthSettings(BaseSettings):
    """Whose tokens are believed."""

    model_config = SettingsConfigDict(env_prefix="AUTH_", extra="ignore", frozen=True)

    issuer: str = Field("closedloop-local", description="the `iss` that tokens must have")
    audience: str = Field("closedloop", description="the `aud` that tokens must have")
    jwks_url: str = Field("", description="https://… of the issuer's key set, or file:///… for the local stack's")
    algorithms: tuple[str, ...] = Field(("ES256",), description='pinned signature algorithms, such as ["RS256"]')


class ServerSettings(BaseSettings):
    """Where a service listens and how it logs; subclassed with the service's env_prefix."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True, secrets_dir=None)

    host: str = "127.0.0.1"
    port: int = Field(8100, ge=1, le=65535)
    database_url: SecretStr = Field(
        SecretStr(""), description="postgresql://role:password@host:port/database of the service's role"
    )
    log_level: str = Field(default_factory=lambda: os.environ.get("LOG_LEVEL", "INFO"), description="LOG_LEVEL is for all services")
    group_member: str | None = Field(None, description="static member id of the consumer group, such as the pod's name")
    session_timeout_ms: int = Field(45_000, ge=6_000, le=1_800_000)
