"""A broker that knows its clients: SASL_SSL with SCRAM-SHA-512, and an authorizer that refuses what no rule allows."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from closedloop.local.certificates import Authority
from closedloop.local.state import StateFolder

ADMIN: Final = "admin"
MECHANISM: Final = "SCRAM-SHA-512"
_BROKER: Final = "kafka"
_LOGIN: Final = "org.apache.kafka.common.security.scram.ScramLoginModule"


@dataclass(frozen=True)
class KafkaSecurity:
    """`passwords` by user, `admin` among them, who alone may do everything; for the others rules must be added. The broker's
    certificate is the authority's; broker and controller know each other by it."""

    authority: Authority
    passwords: Mapping[str, str]

    def format_options(self) -> list[str]:
        """For StorageTool: the users are part of the cluster's first metadata."""
        users = (f"{MECHANISM}=[name={name},password={password}]" for name, password in self.passwords.items())
        return [part for user in users for part in ("--add-scram", user)]

    def properties(self, folder: Path) -> dict[str, str]:
        """Lines of server.properties; writes the broker's key and certificate into `folder`."""
        issued = self.authority.issue(_BROKER)
        store = folder / "broker.pem"
        StateFolder.write_private(store, issued.key.read_text() + issued.certificate.read_text())
        login = f'{_LOGIN} required username="{ADMIN}" password="{self.passwords[ADMIN]}";'
        return {
            "listener.security.protocol.map": "CLIENTS:SASL_SSL,CONTROLLER:SSL",
            "inter.broker.listener.name": "CLIENTS",
            "sasl.enabled.mechanisms": MECHANISM,
            "sasl.mechanism.inter.broker.protocol": MECHANISM,
            f"listener.name.clients.{MECHANISM.lower()}.sasl.jaas.config": login,
            "listener.name.controller.ssl.client.auth": "required",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(store),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.authority.certificate),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": f"User:{ADMIN};User:CN={_BROKER}",
        }
