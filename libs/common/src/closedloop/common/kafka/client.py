"""How every client of ours reaches Kafka."""

import ssl
from typing import Any, Final, Literal

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from closedloop.common.settings import Settings

CLUSTER_DEFAULT: Final = -1


class KafkaSettings(Settings):
    """Connection to the user's Kafka; the defaults are the local stack's."""

    model_config = SettingsConfigDict(env_prefix="KAFKA_", extra="ignore", frozen=True)

    bootstrap: str = Field("127.0.0.1:9092", description="host:port, several separated by commas")
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    sasl_username: str | None = None
    sasl_password: SecretStr | None = None
    ssl_cafile: str | None = None
    topic_replication_factor: int = Field(
        CLUSTER_DEFAULT, ge=-1, description="copies of a topic that is created; -1: the cluster's default.replication.factor"
    )

    def client_options(self) -> dict[str, Any]:
        """Options that aiokafka's consumer, producer and admin client share."""
        options: dict[str, Any] = {"bootstrap_servers": self.bootstrap, "security_protocol": self.security_protocol}
        if self.security_protocol.startswith("SASL"):
            options |= {
                "sasl_mechanism": self.sasl_mechanism,
                "sasl_plain_username": self.sasl_username,
                "sasl_plain_password": self.sasl_password.get_secret_value() if self.sasl_password else None,
            }
        if self.security_protocol.endswith("SSL"):
            options["ssl_context"] = ssl.create_default_context(cafile=self.ssl_cafile)
        return options
