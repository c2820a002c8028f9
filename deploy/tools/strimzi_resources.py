"""Writes deploy/k8s/components/strimzi/{topics,users}.yaml from the code: `make manifests`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from closedloop.common.events.topics import SERVICES, TOPICS, Topic, dead_letter_topics
from closedloop.common.kafka.acls import ACLS, Acl, principal_of

CLUSTER: Final = "closedloop"
API: Final = "kafka.strimzi.io/v1"
FOLDER: Final = Path(__file__).resolve().parents[1] / "k8s" / "components" / "strimzi"
HEADER: Final = """# Written from the code by deploy/tools/strimzi_resources.py (make manifests): do not edit.
# NOT run on a cluster: see kafka.yaml.
"""
KEDA: Final = "closedloop-keda"
_NUMBERS: Final = ("retention.ms", "max.message.bytes")


def topics() -> list[dict[str, Any]]:
    """A KafkaTopic for each topic of the contract and for its dead letters; as many copies as the cluster's default."""
    return [_topic(topic) for topic in (*TOPICS, *dead_letter_topics())]


def users() -> list[dict[str, Any]]:
    """A KafkaUser for each principal, and one that lets KEDA look at lags."""
    acls = (*ACLS, *_acls_of_keda())
    return [_user(principal, acls) for principal in dict.fromkeys(acl.principal for acl in acls)]


def _acls_of_keda() -> Iterator[Acl]:
    read = {topic.name: [s for s in SERVICES if s in topic.consumers] for topic in TOPICS}
    for topic in read:
        yield Acl(KEDA, "topic", topic, ("Describe",))
    for service in dict.fromkeys(service for services in read.values() for service in services):
        yield Acl(KEDA, "group", principal_of(service), ("Describe",))


def _topic(topic: Topic) -> dict[str, Any]:
    config = {key: int(value) if key in _NUMBERS else value for key, value in topic.config().items()}
    return _resource("KafkaTopic", topic.name, {"partitions": topic.partitions, "config": config})


def _user(principal: str, acls: tuple[Acl, ...]) -> dict[str, Any]:
    rules = [
        {
            "resource": {"type": acl.resource, "name": acl.name, "patternType": "literal"},
            "operations": list(acl.operations),
            "host": "*",
        }
        for acl in acls
        if acl.principal == principal
    ]
    spec = {"authentication": {"type": "scram-sha-512"}, "authorization": {"type": "simple", "acls": rules}}
    return _resource("KafkaUser", principal, spec)


def _resource(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": API, "kind": kind, "metadata": {"name": name, "labels": {"strimzi.io/cluster": CLUSTER}}, "spec": spec}


def text(resources: list[dict[str, Any]]) -> str:
    """The file's content."""
    return HEADER + yaml.safe_dump_all(resources, sort_keys=False, width=128)


if __name__ == "__main__":
    (FOLDER / "topics.yaml").write_text(text(topics()))
    (FOLDER / "users.yaml").write_text(text(users()))
