"""Who may do what in Kafka, as data made from the topics: one principal per service, and nothing that its work does not need.

What is not listed here is refused (`StandardAuthorizer`, no `allow.everyone.if.no.acl.found`). The manifests, `closedloop topics
--acls` and the table in docs/security.md are made or checked from here, and a test asks a real broker what each principal may do.
"""

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from closedloop.common.events.topics import INPUT_TOPICS, SERVICES, TOPICS, dead_letter_name, dead_letter_topics

Resource: TypeAlias = Literal["topic", "group"]
Operation: TypeAlias = Literal["Read", "Write", "Describe", "Create", "DescribeConfigs"]

OPERATOR: Final = "closedloop-operator"
"""Who runs the `closedloop` command: makes topics, looks at groups, reads dead letters and publishes them again."""
PRODUCER: Final = "closedloop-producer"
"""An example of a system of the user's that publishes events itself: it may write to the input topics and do nothing else."""
REPLAY_GROUP: Final = "closedloop-dlq-replay"
"""Joined by nobody: its commits say which dead letters were replayed."""


@dataclass(frozen=True)
class Acl:
    """`principal` may do `operations` on the resource of exactly this name, from any host. Kafka adds to it: who may read or write
    may describe, and who may write to any topic may do so with an idempotent producer (KIP-679)."""

    principal: str
    resource: Resource
    name: str
    operations: tuple[Operation, ...]


def principal_of(service: str) -> str:
    """The Kafka user of a service; its consumer group has the same name."""
    return f"closedloop-{service}"


def acls_of_service(service: str) -> tuple[Acl, ...]:
    """Write what it publishes; read what it consumes, in its own group; write its own dead letters, whose tail it reads when it
    starts."""
    principal = principal_of(service)
    consumed = [topic.name for topic in TOPICS if service in topic.consumers]
    return (
        *(Acl(principal, "topic", topic.name, ("Write",)) for topic in TOPICS if service in topic.producers),
        *(Acl(principal, "topic", topic, ("Read",)) for topic in consumed),
        *(Acl(principal, "topic", dead_letter_name(topic, service), ("Read", "Write")) for topic in consumed),
        *(Acl(principal, "group", principal, ("Read",)) for _ in consumed[:1]),
    )


def acls_of_operator() -> tuple[Acl, ...]:
    """Make topics and compare them; look at the groups; read dead letters, publish them again, note that in a group of its own."""
    readers = [service for service in SERVICES if any(service in topic.consumers for topic in TOPICS)]
    return (
        *(Acl(OPERATOR, "topic", topic.name, ("Create", "DescribeConfigs", "Write")) for topic in TOPICS),
        *(Acl(OPERATOR, "topic", topic.name, ("Create", "DescribeConfigs", "Read")) for topic in dead_letter_topics()),
        *(Acl(OPERATOR, "group", principal_of(service), ("Describe",)) for service in readers),
        Acl(OPERATOR, "group", REPLAY_GROUP, ("Read",)),
    )


def acls_of_producer(principal: str = PRODUCER) -> tuple[Acl, ...]:
    """A system that publishes events to Kafka itself."""
    return tuple(Acl(principal, "topic", topic.name, ("Write",)) for topic in INPUT_TOPICS)


ACLS: Final = (*(acl for service in SERVICES for acl in acls_of_service(service)), *acls_of_operator(), *acls_of_producer())


def command_lines() -> list[str]:
    """What adds them, one line for all resources with the same rule; the connection's options are left to the reader."""
    rules: dict[tuple[str, str, tuple[Operation, ...]], list[str]] = {}
    for acl in ACLS:
        rules.setdefault((acl.principal, acl.resource, acl.operations), []).append(acl.name)
    return [
        " ".join(
            [
                f"kafka-acls.sh --add --allow-principal User:{principal}",
                *(f"--operation {operation}" for operation in operations),
                *(f"--{resource} {name}" for name in names),
            ]
        )
        for (principal, resource, operations), names in rules.items()
    ]
