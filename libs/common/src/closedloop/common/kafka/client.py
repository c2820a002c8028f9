"""How every client of ours reaches Kafka."""

import ssl
from pathlib import Path
from typing import Any, Final, Literal, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import SettingsConfigDict

from closedloop.common.settings import Settings

CLUSTER_DEFAULT: Final = -1


class KafkaSettings(Settings):
    """Connection to the user's Kafka; the defaults are the local stack's."""

    model_config = SettingsConfigDict(env_prefix="KAFKA_", extra="ignore", frozen=True, env_ignore_empty=True)

    bootstrap: str = Field("127.0.0.1:9092", description="host:port, several separated by commas")
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="SASL_SSL in production: a user and a password, over TLS"
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    sasl_username: str | None = Field(None, description="the Kafka user of this service, such as closedloop-kpi")
    sasl_password: SecretStr | None = None
    ssl_ca_file: Path | None = Field(
        None, description="PEM of the authority that signed the brokers; else the system's are trusted"
    )
    ssl_certificate_file: Path | None = Field(None, description="PEM of a client's certificate, where the brokers want one")
    ssl_key_file: Path | None = Field(None, description="PEM of its key, without a passphrase")
    topic_replication_factor: int = Field(
        CLUSTER_DEFAULT, ge=-1, description="copies of a topic that is created; -1: the cluster's default.replication.factor"
    )

    @model_validator(mode="after")
    def _security_fits(self) -> Self:
        protocol = f"KAFKA_SECURITY_PROTOCOL={self.security_protocol}"
        if self.security_protocol.startswith("SASL"):
            for value, variable in ((self.sasl_username, "KAFKA_SASL_USERNAME"), (self.sasl_password, "KAFKA_SASL_PASSWORD")):
                if not value:
                    raise ValueError(f"{variable} must be set with {protocol}")
        elif self.sasl_username:
            raise ValueError(f"KAFKA_SASL_USERNAME is not used with {protocol}: set that to SASL_SSL")
        if not self.security_protocol.endswith("SSL"):
            if self.ssl_ca_file or self.ssl_certificate_file or self.ssl_key_file:
                raise ValueError(f"KAFKA_SSL_… is not used with {protocol}: set that to SASL_SSL or SSL")
        elif (self.ssl_certificate_file is None) != (self.ssl_key_file is None):
            raise ValueError("KAFKA_SSL_CERTIFICATE_FILE and KAFKA_SSL_KEY_FILE belong together: set both or none")
        else:
            self._ssl_context()
        return self

    def _ssl_context(self) -> ssl.SSLContext:
        """Raises ValueError naming the file that cannot be used."""
        variable, path = "KAFKA_SSL_CA_FILE", self.ssl_ca_file
        try:
            context = ssl.create_default_context(cafile=path)
            if self.ssl_certificate_file is not None:
                variable, path = "KAFKA_SSL_CERTIFICATE_FILE or KAFKA_SSL_KEY_FILE", self.ssl_certificate_file
                context.load_cert_chain(self.ssl_certificate_file, self.ssl_key_file)
        except OSError as error:
            why = "it is no such PEM file" if isinstance(error, ssl.SSLError) else error.strerror
            raise ValueError(f"{variable}: {path} cannot be used ({why})") from None
        return context

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
            options["ssl_context"] = self._ssl_context()
        return options
