"""Why Kafka does not let us in, as a sentence with the way out. No secret stands in it."""

import ssl
from typing import Final

from aiokafka.client import collect_hosts
from aiokafka.conn import create_conn
from aiokafka.errors import (
    AuthenticationFailedError,
    GroupAuthorizationFailedError,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    UnsupportedSaslMechanismError,
)

from closedloop.common.kafka.client import KafkaSettings

ASK_TIMEOUT_MS: Final = 2_000


async def refusal(error: BaseException, kafka: KafkaSettings) -> str | None:
    """None where the error is no refusal, or no Kafka answers at all.

    aiokafka only logs why it cannot connect: where it could not, one more connection is made to hear it.
    """
    if isinstance(error, KafkaConnectionError):
        return await _why_not_connected(kafka)
    if not isinstance(error, TopicAuthorizationFailedError | GroupAuthorizationFailedError):
        return None
    what = "topic" if isinstance(error, TopicAuthorizationFailedError) else "consumer group"
    return (
        f"the Kafka user {kafka.sasl_username or 'ANONYMOUS'} may not use the {what} {_names(error)}: "
        "give it the rules that `closedloop topics --acls` prints"
    )


async def _why_not_connected(kafka: KafkaSettings) -> str | None:
    options = {name: value for name, value in kafka.client_options().items() if name != "bootstrap_servers"}
    said = None
    for host, port, _ in collect_hosts(kafka.bootstrap):
        try:
            connection = await create_conn(host, port, request_timeout_ms=ASK_TIMEOUT_MS, **options)
        except (KafkaError, OSError, TimeoutError) as error:
            said = _sentence(kafka, f"{host}:{port}", error) or said
        else:
            await connection.close()
            return None
    return said


def _sentence(kafka: KafkaSettings, where: str, error: Exception) -> str | None:
    if isinstance(error, SaslAuthenticationFailed | AuthenticationFailedError):
        return (
            f"Kafka at {where} does not accept the password of its user {kafka.sasl_username} ({kafka.sasl_mechanism}): correct "
            "KAFKA_SASL_USERNAME or KAFKA_SASL_PASSWORD and restart, or give that user this password in Kafka"
        )
    if isinstance(error, UnsupportedSaslMechanismError):
        return f"Kafka at {where} does not offer {kafka.sasl_mechanism}: set KAFKA_SASL_MECHANISM to one that its listener has"
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"the certificate of Kafka at {where} is not trusted ({error.verify_message}): KAFKA_SSL_CA_FILE must hold the "
            "authority that signed it, and KAFKA_BOOTSTRAP a name that stands in it"
        )
    if isinstance(error, ssl.SSLError | KafkaConnectionError | ConnectionResetError):
        return f"Kafka at {where} hung up: is {kafka.security_protocol} what that port speaks (KAFKA_SECURITY_PROTOCOL)?"
    return None


def _names(error: KafkaError) -> str:
    named = error.args[0] if error.args else ""
    return ", ".join(sorted(map(str, named))) if isinstance(named, set | frozenset | list | tuple) else str(named)
