"""Settings that all services share. Each service adds its own in its `settings.py`; the environment is the contract."""

import os
from pathlib import Path
from zoneinfo import ZoneInfo

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SecretsSettingsSource, SettingsConfigDict


class Settings(BaseSettings):
    """From environment variables, and for what is not set there from files of the variables' names in the folder SECRETS_DIR."""

    # an error would repeat what was set, passwords too
    model_config = SettingsConfigDict(hide_input_in_errors=True)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Raises SystemExit where SECRETS_DIR is no folder."""
        folder = os.environ.get("SECRETS_DIR")
        if not folder:
            return init_settings, env_settings
        if not Path(folder).is_dir():
            raise SystemExit(f"SECRETS_DIR: {folder} is not a folder; mount the secrets there, or set the variables themselves.")
        return init_settings, env_settings, SecretsSettingsSource(settings_cls, secrets_dir=folder)


def wrong_settings(error: ValidationError) -> str:
    """What must be set otherwise, by the variables' names. A settings class is called after their prefix: KafkaSettings reads
    KAFKA_…"""
    prefix = error.title.removesuffix("Settings").upper()
    wrong = []
    for item in error.errors(include_input=False, include_url=False):
        variable = "_".join([prefix, *(str(part).upper() for part in item["loc"][:1])])
        said = item["msg"].removeprefix("Value error, ")
        wrong.append(said if said.startswith(prefix) else f"{variable}: {said}")
    return "; ".join(wrong)


class AdministratorSettings(Settings):
    """For migrations only."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True)

    database_url: SecretStr = Field(SecretStr(""), description="postgresql://… of the administrator, who owns the schemas")


class OperatorSettings(Settings):
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


class AuthSettings(Settings):
    """Whose tokens are believed."""

    model_config = SettingsConfigDict(env_prefix="AUTH_", extra="ignore", frozen=True)

    issuer: str = Field("closedloop-local", description="the `iss` that tokens must have")
    audience: str = Field("closedloop", description="the `aud` that tokens must have")
    jwks_url: str = Field("", description="https://… of the issuer's key set, or file:///… for the local stack's")
    algorithms: tuple[str, ...] = Field(("ES256",), description='pinned signature algorithms, such as ["RS256"]')


class ServerSettings(Settings):
    """Where a service listens and how it logs; subclassed with the service's env_prefix."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True)

    host: str = "127.0.0.1"
    port: int = Field(8100, ge=1, le=65535)
    database_url: SecretStr = Field(
        SecretStr(""), description="postgresql://role:password@host:port/database of the service's role"
    )
    log_level: str = Field(default_factory=lambda: os.environ.get("LOG_LEVEL", "INFO"), description="LOG_LEVEL is for all services")
    group_member: str | None = Field(None, description="static member id of the consumer group, such as the pod's name")
    session_timeout_ms: int = Field(45_000, ge=6_000, le=1_800_000)
