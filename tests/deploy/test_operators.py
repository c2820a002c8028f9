"""The operators' custom resources against the definitions that the operators publish, and against the code.

Checked: fields, types, required fields, closed lists. Not checked: rules in CEL, and what an operator makes of them on a cluster.
"""

import copy
import functools
import importlib.util
from typing import Any

import jsonschema_rs
import pytest
import yaml

from closedloop.common.events.topics import TOPICS, dead_letter_topics
from closedloop.common.kafka.acls import ACLS
from closedloop.local.places import workspace
from deploy.manifests import K8S, Resource, built, of_kind, resources, tool

DEFINITIONS = {
    "kafka.strimzi.io": lambda kind: f"crds/strimzi-1.2.0/{kind}.yaml",
    "keda.sh": lambda kind: f"crds/keda-v2.21.0/keda.sh_{kind.lower()}s.yaml",
}


@functools.cache
def definition_of(api_version: str, kind: str) -> Any:
    """A validator of a custom resource, for which a field that is not named is an error."""
    group, version = api_version.split("/")
    file = tool(DEFINITIONS[group](kind), f"the operator's definition of {kind}")
    definition = yaml.load(file.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 (both are safe)
    [schema] = [v["schema"]["openAPIV3Schema"] for v in definition["spec"]["versions"] if v["name"] == version]
    schema["properties"]["metadata"] = {"type": "object", "required": ["name"]}
    return jsonschema_rs.validator_for(closed(schema))


def closed(schema: Any) -> Any:
    """Kubernetes would drop unknown fields in silence."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: closed(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and "type" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        result.setdefault("additionalProperties", False)
    return result


def wrong_with(resource: Resource) -> list[str]:
    errors = definition_of(resource["apiVersion"], resource["kind"]).iter_errors(resource)
    return [f"{'/'.join(map(str, error.instance_path))}: {error.message}" for error in errors]


@pytest.mark.parametrize("overlay", ["dev", "prod"])
def test_the_operators_take_their_resources(overlay: str) -> None:
    custom = [one for one in built(overlay) if one["apiVersion"].split("/")[0] in DEFINITIONS]
    assert len(custom) > len(TOPICS)
    assert {f"{one['kind']}/{one['metadata']['name']}": wrong for one in custom if (wrong := wrong_with(one))} == {}


@pytest.mark.parametrize(
    ("folder", "kind", "path"),
    [
        ("strimzi", "KafkaTopic", ("partitionz",)),
        ("strimzi", "KafkaUser", ("authorization", "type")),
        ("strimzi", "Kafka", ("kafka", "listener")),
        ("strimzi", "KafkaNodePool", ("template", "pod", "topologySpread")),
        ("keda", "ScaledObject", ("minReplicas",)),
        ("keda", "TriggerAuthentication", ("secretTarget",)),
    ],
)
def test_a_misspelt_field_is_found(folder: str, kind: str, path: tuple[str, ...]) -> None:
    wrong = copy.deepcopy(next(iter(of_kind(resources(f"components/{folder}"), kind).values())))
    inner = wrong["spec"]
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = "mistyped"
    assert wrong_with(wrong)


def test_no_two_brokers_share_a_node() -> None:
    [pool] = of_kind(built("prod"), "KafkaNodePool").values()
    spreads = pool["spec"]["template"]["pod"]["topologySpreadConstraints"]
    [spread] = [one for one in spreads if one["topologyKey"] == "kubernetes.io/hostname"]
    assert (spread["maxSkew"], spread["minDomains"], spread["whenUnsatisfiable"]) == (1, pool["spec"]["replicas"], "DoNotSchedule")
    # the labels that Strimzi gives the pods of a pool
    assert spread["labelSelector"]["matchLabels"] == {
        "strimzi.io/cluster": pool["metadata"]["labels"]["strimzi.io/cluster"],
        "strimzi.io/pool-name": pool["metadata"]["name"],
    }


@pytest.mark.parametrize("overlay", ["dev", "prod"])
def test_brokers_tell_what_the_boards_ask_for(overlay: str) -> None:
    found = built(overlay)
    where = of_kind(found, "Kafka")["closedloop"]["spec"]["kafka"]["metricsConfig"]["valueFrom"]["configMapKeyRef"]
    text = of_kind(found, "ConfigMap")[where["name"]]["data"][where["key"]]
    # the rules with which the tests' own broker is asked
    assert text == (K8S / "components/strimzi/metrics.yml").read_text()


def test_the_topics_are_those_of_the_code() -> None:
    found = of_kind(resources("components/strimzi/topics.yaml"), "KafkaTopic")
    wanted = {topic.name: topic for topic in (*TOPICS, *dead_letter_topics())}
    assert set(found) == set(wanted)
    for name, one in found.items():
        assert one["spec"]["partitions"] == wanted[name].partitions
        assert {key: str(value) for key, value in one["spec"]["config"].items()} == wanted[name].config()


def test_a_principal_may_do_what_the_code_says_and_no_more() -> None:
    found = of_kind(resources("components/strimzi/users.yaml"), "KafkaUser")
    told = {
        (name, rule["resource"]["type"], rule["resource"]["name"], tuple(rule["operations"]))
        for name, user in found.items()
        for rule in user["spec"]["authorization"]["acls"]
    }
    keda = {one for one in told if one[0] == "closedloop-keda"}
    assert told - keda == {(acl.principal, acl.resource, acl.name, acl.operations) for acl in ACLS}
    assert {operations for *_, operations in keda} == {("Describe",)}
    assert {user["spec"]["authentication"]["type"] for user in found.values()} == {"scram-sha-512"}
    assert all(
        rule["resource"]["patternType"] == "literal" for user in found.values() for rule in user["spec"]["authorization"]["acls"]
    )


@pytest.mark.parametrize("name", ["topics", "users"])
def test_what_is_written_from_the_code_is_up_to_date(name: str) -> None:
    path = workspace() / "deploy" / "tools" / "strimzi_resources.py"
    spec = importlib.util.spec_from_file_location("strimzi_resources", path)
    assert spec is not None
    assert spec.loader is not None
    writer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(writer)
    assert (writer.FOLDER / f"{name}.yaml").read_text() == writer.text(getattr(writer, name)()), "run make manifests"
