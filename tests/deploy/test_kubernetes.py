"""The manifests say what the code says, and Kubernetes would take what kustomize makes of them.

No cluster is here: what was never tried on one, such as the roll-out, is named in deploy/k8s/README.md.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import SecretStr

from closedloop.common import consuming, service
from closedloop.common.auth.roles import ALL_SCOPES, SCOPES_BY_ROLE
from closedloop.common.events.topics import TOPICS
from closedloop.common.kafka.acls import OPERATOR, principal_of
from closedloop.common.kafka.client import KafkaSettings
from closedloop.common.settings import AdministratorSettings, AuthSettings, OperatorSettings, ServerSettings, Settings
from closedloop.ingest.settings import IngestSettings
from closedloop.kpi.settings import KpiSettings
from closedloop.local.testing_containers import POSTGRES_IMAGE
from closedloop.recovery.settings import RecoverySettings
from closedloop.ticketing.settings import TicketingSettings
from deploy.compose_file import SERVICES as COMPOSE
from deploy.manifests import K8S, OVERLAYS, Resource, built, of_kind, pods, projected, resources, tool

KUBERNETES = "1.37"
SERVICES: dict[str, type[ServerSettings]] = {
    "ingest": IngestSettings,
    "kpi": KpiSettings,
    "ticketing": TicketingSettings,
    "recovery": RecoverySettings,
}
CONSUMERS = [name for name in SERVICES if name != "ingest"]
SHARED: tuple[type[Settings], ...] = (KafkaSettings, AuthSettings, OperatorSettings)
# read by the process itself, not through a class of settings
BESIDE_CLASSES = {"LOG_LEVEL", "SECRETS_DIR", "POLARS_MAX_THREADS"}
# their defaults are good for one machine only
NEVER_BY_DEFAULT = {
    "KAFKA_BOOTSTRAP",
    "KAFKA_SECURITY_PROTOCOL",
    "KAFKA_SASL_USERNAME",
    "AUTH_ISSUER",
    "AUTH_JWKS_URL",
    "AUTH_ALGORITHMS",
}
BUILT_IN_API = re.compile(r"^(v1|apps/v1|batch/v1|policy/v1|autoscaling/v2|networking\.k8s\.io/v1)$")


def variables(*classes: type[Settings]) -> set[str]:
    return {f"{cls.model_config['env_prefix']}{field}".upper() for cls in classes for field in cls.model_fields}


def secrets_of(*classes: type[Settings]) -> set[str]:
    return {
        f"{cls.model_config['env_prefix']}{name}".upper()
        for cls in classes
        for name, field in cls.model_fields.items()
        if SecretStr in (field.annotation, *getattr(field.annotation, "__args__", ()))
    }


def config(text: str) -> dict[str, str]:
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


OPERATING = (K8S.parents[1] / "docs" / "operating.md").read_text()
SHARED_CONFIG = config((K8S / "base" / "config.env").read_text())


def workload(name: str) -> Resource:
    return of_kind(resources(f"base/{name}.yaml"), "Deployment", "StatefulSet")[name]


def environment(name: str) -> dict[str, str]:
    """What the container of a service is given, but for the secrets."""
    [container] = workload(name)["spec"]["template"]["spec"]["containers"]
    own = {entry["name"]: entry.get("value", "a pod's name") for entry in container["env"]}
    return SHARED_CONFIG | own


@pytest.mark.parametrize("name", SERVICES)
def test_every_variable_names_a_setting(name: str) -> None:
    known = variables(*SHARED, SERVICES[name]) | BESIDE_CLASSES
    assert set(environment(name)) <= known
    secrets = {path for path in projected(workload(name)["spec"]["template"]) if not path.endswith(".crt")}
    assert secrets <= known


@pytest.mark.parametrize("name", SERVICES)
def test_what_has_no_good_default_is_set_and_secrets_come_as_files(name: str) -> None:
    given, files = environment(name), projected(workload(name)["spec"]["template"])
    needed = secrets_of(KafkaSettings, SERVICES[name]) - ({"INGEST_DATABASE_URL"} if name == "ingest" else set())
    assert needed <= set(files), "as files, in no environment that kubectl describe shows"
    assert not needed & set(given)
    member = {f"{name.upper()}_GROUP_MEMBER"} if name in CONSUMERS else set()
    assert {f"{name.upper()}_HOST", f"{name.upper()}_PORT"} | NEVER_BY_DEFAULT | member <= set(given)
    assert given["SECRETS_DIR"] == _mount(K8S / "base" / "pod.yaml", "secrets")
    assert Path(given["KAFKA_SSL_CA_FILE"]).parent == Path(given["SECRETS_DIR"])
    assert Path(given["KAFKA_SSL_CA_FILE"]).name in files


def _mount(patch: Path, volume: str) -> str:
    [container] = yaml.safe_load(patch.read_text())["spec"]["template"]["spec"]["containers"]
    [path] = [str(mount["mountPath"]) for mount in container["volumeMounts"] if mount["name"] == volume]
    return path


@pytest.mark.parametrize("overlay", ["base", "dev", "prod"])
@pytest.mark.parametrize("name", SERVICES)
def test_the_services_accept_the_values(name: str, overlay: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    literals: list[str] = []
    if overlay != "base":
        [generator] = yaml.safe_load((K8S / "overlays" / overlay / "kustomization.yaml").read_text())["configMapGenerator"]
        literals = generator["literals"]
    given = environment(name) | config("\n".join(literals))
    assert set(given) <= variables(*SHARED, SERVICES[name]) | BESIDE_CLASSES
    given |= {"SECRETS_DIR": str(tmp_path), "KAFKA_SSL_CA_FILE": _authority()}
    for path in projected(workload(name)["spec"]["template"]):
        (tmp_path / path).write_text("a secret")
    for variable in [v for v in os.environ if v in variables(*SHARED, *SERVICES.values())]:
        monkeypatch.delenv(variable)
    for variable, value in given.items():
        monkeypatch.setenv(variable, value)
    own = SERVICES[name]()
    assert own.host == "0.0.0.0"  # noqa: S104 (a pod's own address is not known before)
    assert own.database_url.get_secret_value() == ("a secret" if name in CONSUMERS else "")
    kafka = KafkaSettings()
    assert kafka.security_protocol == "SASL_SSL"
    assert kafka.sasl_password is not None
    assert AuthSettings().jwks_url
    assert OperatorSettings().zone.key


def _authority() -> str:
    import certifi

    return certifi.where()


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_those_of_the_code(name: str) -> None:
    port = SERVICES[name].model_fields["port"].default
    found = workload(name)
    [container] = found["spec"]["template"]["spec"]["containers"]
    assert container["ports"] == [{"name": "http", "containerPort": port}]
    assert environment(name)[f"{name.upper()}_PORT"] == str(port)
    assert found["spec"]["template"]["metadata"]["annotations"]["prometheus.io/port"] == str(port)
    entrance = of_kind(resources(f"base/{name}.yaml"), "Service")[name]
    assert [(p["port"], p["targetPort"]) for p in entrance["spec"]["ports"]] == [(port, "http")]


def test_consumers_are_stateful_sets_whose_pods_are_lasting_members() -> None:
    for name in SERVICES:
        assert workload(name)["kind"] == ("StatefulSet" if name in CONSUMERS else "Deployment")
    for name in CONSUMERS:
        [container] = workload(name)["spec"]["template"]["spec"]["containers"]
        [member] = [entry for entry in container["env"] if entry["name"] == f"{name.upper()}_GROUP_MEMBER"]
        assert member["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_its_own_principal_in_kafka(name: str) -> None:
    assert environment(name)["KAFKA_SASL_USERNAME"] == principal_of(name)
    assert projected(workload(name)["spec"]["template"])["KAFKA_SASL_PASSWORD"] == (principal_of(name), "password")


def test_there_is_time_to_stop() -> None:
    pod = yaml.safe_load((K8S / "base" / "pod.yaml").read_text())["spec"]["template"]["spec"]
    before = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    own = 8 + service.STOP_JOBS_S + service.STOP_LATE_JOB_S + consuming.CLOSE_POOL_S  # 8 s: uvicorn's requests
    assert before + own < pod["terminationGracePeriodSeconds"]
    session_s = ServerSettings.model_fields["session_timeout_ms"].default / 1000
    assert before + 20 < session_s, "a pod that is replaced must be back before its group misses it"


def test_migrations_get_the_administrators_url_and_the_role_of_their_service() -> None:
    jobs = of_kind(resources("migrations/jobs.yaml"), "Job")
    assert set(jobs) == {f"{name}-migrate" for name in CONSUMERS}
    for name in CONSUMERS:
        pod = jobs[f"{name}-migrate"]["spec"]["template"]
        [container] = pod["spec"]["containers"]
        assert (container["image"], container["args"]) == (f"closedloop-{name}", ["migrate"])
        assert {path for path in projected(pod) if not path.endswith(".crt")} == variables(AdministratorSettings) | {
            f"{name.upper()}_DATABASE_URL"
        }
    for name in SERVICES:
        assert "DATABASE_URL" not in projected(workload(name)["spec"]["template"]), "the administrator's is for migrations only"


def test_the_tools_have_what_the_command_reads_and_only_postgres_own_have_the_administrators_url() -> None:
    cron = of_kind(resources("components/tools"), "CronJob")["tools"]
    assert cron["spec"]["suspend"] is True, "it runs only when somebody starts it"
    [(_, pod)] = pods([cron])
    command, postgres = pod["spec"]["containers"]
    given = SHARED_CONFIG | {entry["name"]: entry["value"] for entry in command["env"]}
    assert given["KAFKA_SASL_USERNAME"] == OPERATOR
    assert [one["configMapRef"]["name"] for one in command["envFrom"]] == ["closedloop-config"]
    files = {
        volume["name"]: {path: secret for path, secret in projected({"spec": {"volumes": [volume]}}).items() if ".crt" not in path}
        for volume in pod["spec"]["volumes"]
    }
    assert files["secrets"] == {"KAFKA_SASL_PASSWORD": (OPERATOR, "password")} | {
        f"{name.upper()}_DATABASE_URL": (f"{name}-database", "url") for name in CONSUMERS
    }
    assert set(files["administrator"]) == variables(AdministratorSettings)
    mounted = [{mount["name"]: mount["mountPath"] for mount in one["volumeMounts"]} for one in (command, postgres)]
    assert mounted[0] == {"secrets": given["SECRETS_DIR"], "tmp": "/tmp"}  # noqa: S108 (a volume of the pod's own)
    assert mounted[1] == {"administrator": given["SECRETS_DIR"], "tmp": "/tmp"}  # noqa: S108


@pytest.mark.parametrize("overlay", ["dev", "prod"])
def test_the_tools_reach_kafka_and_postgres(overlay: str) -> None:
    found = built(overlay)
    [(_, pod)] = pods([of_kind(found, "CronJob")["tools"]])
    labels = pod["metadata"]["labels"]
    policies = of_kind([*found, *built(f"{overlay}/migrations")], "NetworkPolicy")
    assert all(_selects(policies[way]["spec"]["podSelector"], labels) for way in ("dns", "to-kafka", "to-postgres"))
    [listener] = of_kind(found, "Kafka")["closedloop"]["spec"]["kafka"]["listeners"]
    into = [*listener["networkPolicyPeers"]]
    assert any(_selects(peer["podSelector"], labels) for peer in into if "podSelector" in peer)
    if overlay == "dev":
        [rule] = policies["postgres"]["spec"]["ingress"]
        assert any(_selects(peer["podSelector"], labels) for peer in rule["from"])


@pytest.mark.parametrize("overlay", ["dev", "prod"])
def test_postgres_exporter_is_that_of_compose_reaches_postgres_and_is_reached_by_prometheus(overlay: str) -> None:
    found = built(overlay)
    [(_, pod)] = pods([of_kind(found, "Deployment")["postgres-exporter"]])
    [container] = pod["spec"]["containers"]
    compose = COMPOSE["postgres-exporter"]
    assert (container["image"], container["args"]) == (compose["image"], compose["command"])
    given = {entry["name"]: entry["value"] for entry in container["env"]}
    assert given["DATA_SOURCE_USER"] == compose["environment"]["DATA_SOURCE_USER"]
    [mount] = container["volumeMounts"]
    files = {f"{mount['mountPath']}/{path}": secret for path, secret in projected(pod).items()}
    assert files[given["DATA_SOURCE_URI_FILE"]] == ("monitor-database", "uri")
    assert files[given["DATA_SOURCE_PASS_FILE"]] == ("monitor-database", "password")
    assert not {"postgres-admin", *(f"{name}-database" for name in CONSUMERS)} & {secret for secret, _ in files.values()}
    labels = pod["metadata"]["labels"]
    policies = of_kind([*found, *built(f"{overlay}/migrations")], "NetworkPolicy")
    assert {name for name, one in policies.items() if _selects(one["spec"]["podSelector"], labels)} == {
        *("default-deny", "dns", "to-postgres", "prometheus")
    }
    if overlay == "dev":
        [rule] = policies["postgres"]["spec"]["ingress"]
        assert any(_selects(peer["podSelector"], labels) for peer in rule["from"])


def test_keda_watches_the_topics_that_a_service_reads() -> None:
    scaled = of_kind(resources("components/keda"), "ScaledObject")
    assert set(scaled) == set(CONSUMERS)
    for name, found in scaled.items():
        read = {topic.name: topic.partitions for topic in TOPICS if name in topic.consumers}
        triggers = [trigger["metadata"] for trigger in found["spec"]["triggers"]]
        assert [trigger["topic"] for trigger in triggers] == list(read)
        assert {trigger["consumerGroup"] for trigger in triggers} == {principal_of(name)}
        assert {trigger["bootstrapServersFromEnv"] for trigger in triggers} == {"KAFKA_BOOTSTRAP"}
        assert found["spec"]["maxReplicaCount"] <= max(read.values()), "more members than partitions have nothing to do"
        assert found["spec"]["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": name}
        [threshold] = {int(trigger["lagThreshold"]) for trigger in triggers}
        assert f"| {name} | records behind, per process | {threshold:,} |" in OPERATING


def test_the_table_of_scopes_for_the_issuer_is_that_of_the_code() -> None:
    _, _, table = (K8S / "README.md").read_text().partition("| role | scopes |")
    rows = re.findall(r"^\| `(\w+)` \| (.+) \|$", table, re.MULTILINE)
    told = {role: frozenset(re.findall(r"`([a-z:-]+)`", scopes)) for role, scopes in rows}
    told = {role: ALL_SCOPES if "all of them" in dict(rows)[role] else scopes for role, scopes in told.items()}
    assert told == SCOPES_BY_ROLE


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kubernetes_takes_what_kustomize_builds(overlay: str, tmp_path: Path) -> None:
    ours = [one for one in built(overlay) if BUILT_IN_API.match(one["apiVersion"])]
    others = {one["apiVersion"] for one in built(overlay)} - {one["apiVersion"] for one in ours}
    assert others <= {"kafka.strimzi.io/v1", "keda.sh/v1alpha1"}, "nobody checks these"
    assert refusals(ours, tmp_path) == []


def test_a_misspelt_field_is_found(tmp_path: Path) -> None:
    wrong = of_kind(built("prod"), "Deployment")["ingest"]
    wrong = json.loads(json.dumps(wrong))
    wrong["spec"]["template"]["spec"]["containers"][0]["readinessProb"] = {}
    [refusal] = refusals([wrong], tmp_path)
    assert "readinessProb" in refusal


def refusals(found: list[Resource], folder: Path) -> list[str]:
    """What kubernetes-validate has against them."""
    library = tool(f"kubernetes-validate-1.37.0-{sys.implementation.cache_tag}", "kubernetes-validate")
    file = folder / "resources.yaml"
    file.write_text(yaml.safe_dump_all(found))
    command = [sys.executable, "-m", "kubernetes_validate", "--strict", "-k", KUBERNETES, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(library)})
    said = (done.stdout + done.stderr).splitlines()
    assert len([line for line in said if line.startswith(("INFO", "ERROR", "WARN"))]) == len(found), said
    return [line for line in said if not line.startswith("INFO")]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_pod_holds_to_the_restricted_profile_and_to_its_own(overlay: str) -> None:
    checked = 0
    for name, pod in pods(built(overlay)):
        spec, security = pod["spec"], pod["spec"]["securityContext"]
        assert (security["runAsNonRoot"], security["seccompProfile"]) == (True, {"type": "RuntimeDefault"}), name
        assert security["runAsUser"] > 0
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["enableServiceLinks"] is False, "else Kubernetes sets KPI_PORT=tcp://…"
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
        assert {kind for volume in spec["volumes"] for kind in volume if kind != "name"} <= {
            "projected",
            "emptyDir",
            "configMap",
            "secret",
        }
        for container in spec["containers"]:
            limits: dict[str, Any] = container["securityContext"]
            assert limits == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            assert {"cpu", "memory"} <= set(container["resources"]["requests"])
            assert "memory" in container["resources"]["limits"]
            assert re.search(r":(?!latest)[\w.-]+$", container["image"]), f"{container['image']}: name a version"
            checked += 1
    assert checked >= len(CONSUMERS)


@pytest.mark.parametrize("overlay", ["dev", "prod"])
def test_every_service_is_probed_spread_and_guarded(overlay: str) -> None:
    found = built(overlay)
    budgets = of_kind(found, "PodDisruptionBudget")
    for name in SERVICES:
        [workload] = of_kind([one for one in found if one["metadata"]["name"] == name], "Deployment", "StatefulSet").values()
        pod = workload["spec"]["template"]
        [container] = pod["spec"]["containers"]
        probes = {probe: container[probe]["httpGet"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")}
        assert {probe: get["path"] for probe, get in probes.items()} == {
            "startupProbe": "/livez",
            "livenessProbe": "/livez",
            "readinessProbe": "/readyz",
        }
        assert {get["port"] for get in probes.values()} == {"http"}
        assert {one["topologyKey"] for one in pod["spec"]["topologySpreadConstraints"]} == {
            "topology.kubernetes.io/zone",
            "kubernetes.io/hostname",
        }
        assert budgets[name]["spec"]["selector"] == workload["spec"]["selector"]
        assert pod["spec"]["serviceAccountName"] == name
        assert of_kind(found, "ServiceAccount")[name]["automountServiceAccountToken"] is False


@pytest.mark.parametrize("overlay", ["dev", "prod"])
def test_the_network_denies_by_default_and_each_rule_is_about_somebody(overlay: str) -> None:
    found = built(overlay)
    policies = of_kind(found, "NetworkPolicy")
    assert policies["default-deny"]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    labels = [pod["metadata"]["labels"] for _, pod in pods([*found, *built(f"{overlay}/migrations")])]
    labels += [
        {"strimzi.io/cluster": "closedloop", "strimzi.io/name": f"closedloop-{part}"} for part in ("kafka", "entity-operator")
    ]
    for name, policy in policies.items():
        assert any(_selects(policy["spec"]["podSelector"], one) for one in labels), f"{name} selects no pod"
    for kafkas in labels[-2:]:  # brokers and operators alike ask the API server
        assert _selects(policies["kafka-to-api-server"]["spec"]["podSelector"], kafkas)
    reach = {
        name for name in SERVICES if _selects(policies["to-postgres"]["spec"]["podSelector"], {"app.kubernetes.io/name": name})
    }
    assert reach == set(CONSUMERS), "ingest has no database"


def _selects(selector: Resource, labels: dict[str, str]) -> bool:
    exact = all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())
    return exact and all(
        rule["operator"] == "In" and labels.get(rule["key"]) in rule["values"] for rule in selector.get("matchExpressions", [])
    )


@pytest.mark.parametrize("overlay", ["dev", "prod"])
def test_what_a_pod_mounts_is_made_or_asked_for_in_the_readme(overlay: str) -> None:
    found = [*built(overlay), *built(f"{overlay}/migrations")]
    made = set(of_kind(found, "Secret", "ConfigMap", "KafkaUser")) | {"closedloop-cluster-ca-cert"}  # the last: Strimzi's
    asked = set(re.findall(r"create (?:secret generic|configmap) ([a-z-]+)", (K8S / "README.md").read_text()))
    asked |= set(re.findall(r"create configmap ([a-z-]+)", (K8S / "overlays" / "dev" / "local-issuer.yaml").read_text()))
    for name, pod in pods(found):
        volumes, containers = pod["spec"]["volumes"], pod["spec"]["containers"]
        used = {secret for secret, _ in projected(pod).values()}
        used |= {v["secret"]["secretName"] for v in volumes if "secret" in v} | {
            v["configMap"]["name"] for v in volumes if "configMap" in v
        }
        used |= {one["configMapRef"]["name"] for container in containers for one in container.get("envFrom", [])}
        assert used <= made | asked, name


def test_what_a_job_before_the_sync_names_is_there_before_it() -> None:
    found = built("prod/migrations")
    early = [
        (one["kind"], one["metadata"]["name"])
        for one in found
        if one["metadata"].get("annotations", {}).get("argocd.argoproj.io/hook") == "PreSync"
        and one["metadata"]["annotations"].get("argocd.argoproj.io/sync-wave") == "-1"
    ]
    for name, pod in pods(found):
        volumes = pod["spec"]["volumes"]
        named = {("ServiceAccount", pod["spec"]["serviceAccountName"])}
        named |= {("ConfigMap", volume["configMap"]["name"]) for volume in volumes if "configMap" in volume}
        assert named <= set(early), name


def test_postgres_is_the_same_release_everywhere() -> None:
    images = {
        container["image"]
        for overlay in OVERLAYS
        for _, pod in pods(built(overlay))
        for container in pod["spec"]["containers"]
        if container["image"].startswith("postgres:")
    }
    assert images == {POSTGRES_IMAGE}


def test_production_makes_no_secret_and_scales_each_workload_once() -> None:
    found = built("prod")
    assert not of_kind([*found, *built("prod/migrations")], "Secret")
    keda = {one["spec"]["scaleTargetRef"]["name"] for one in of_kind(found, "ScaledObject").values()}
    cpu = {one["spec"]["scaleTargetRef"]["name"] for one in of_kind(found, "HorizontalPodAutoscaler").values()}
    assert (keda, cpu) == (set(CONSUMERS), {"ingest"})
    for name in SERVICES:
        [workload] = of_kind([one for one in found if one["metadata"]["name"] == name], "Deployment", "StatefulSet").values()
        assert "replicas" not in workload["spec"], "a roll-out must not set back what a scaler chose"


def test_dev_says_that_its_passwords_are_known_to_all() -> None:
    secrets = of_kind(built("dev"), "Secret")
    assert {f"{name}-database" for name in CONSUMERS} <= set(secrets)
    assert all("closedloop/warning" in one["metadata"]["annotations"] for one in secrets.values())


MIGRATED = [f"{name}-migrate SuccessCriteriaMet Complete" for name in CONSUMERS]


@pytest.fixture
def cluster(tmp_path: Path) -> Path:
    """A `kubectl` that writes down what it is told. Asked about jobs it tells what stands in `jobs_1`, then in `jobs_2`, …, the
    last for good; without such a file the API server does not answer. `sleep` only counts."""
    _program(
        tmp_path / "kubectl",
        f"""
        cd {tmp_path}
        echo "$*" >> told
        [[ " $* " == *" get job "* ]] || exit 0
        asked=$(grep -c ' get job ' told)
        cat "$(ls jobs_* | head -n "$asked" | tail -1)"
    """,
    )
    _program(tmp_path / "sleep", f"echo sleep >> {tmp_path}/told")
    jobs(tmp_path, MIGRATED)
    return tmp_path


def _program(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/bash\nset -eu\n{script}\n")
    path.chmod(0o755)


def jobs(cluster: Path, *answers: list[str]) -> None:
    """Name and true conditions of each, as the jsonpath of roll-out.sh asks for them: at each question the next."""
    for number, answer in enumerate(answers, 1):
        (cluster / f"jobs_{number}").write_text("".join(f"{line}\n" for line in answer))


def roll_out(cluster: Path) -> tuple[int, list[str], str]:
    """(exit code, what kubectl was told, what stands in stderr)"""
    script, overlay = K8S / "roll-out.sh", K8S / "overlays" / "prod"
    path = f"{cluster}:{os.environ['PATH']}"
    done = subprocess.run([script, overlay], capture_output=True, text=True, env={**os.environ, "PATH": path}, timeout=30)
    return done.returncode, (cluster / "told").read_text().splitlines(), done.stderr


def test_a_roll_out_migrates_first(cluster: Path) -> None:
    started = [f"{name}-migrate" for name in CONSUMERS]
    jobs(cluster, started, [MIGRATED[0], *started[1:]], MIGRATED)
    code, told, _ = roll_out(cluster)
    assert code == 0
    assert [line.partition(" ")[0] == "sleep" for line in told].count(True) == 2, "asked until all three were complete"
    prod = f"apply -k {K8S}/overlays/prod"
    order = [next(i for i, line in enumerate(told) if part in line) for part in ("delete job", f"{prod}/migrations", " get job")]
    assert [*order, told.index(prod)] == sorted([*order, told.index(prod)])
    last_question = max(i for i, line in enumerate(told) if " get job " in line)
    assert last_question < told.index(prod)
    assert {line.split("rollout status ")[1].split()[0] for line in told if "rollout status" in line} == {
        "deployment/ingest",
        *(f"statefulset/{name}" for name in CONSUMERS),
    }


def test_a_migration_that_fails_ends_the_roll_out_at_once_and_leaves_the_services_as_they_are(cluster: Path) -> None:
    jobs(cluster, ["kpi-migrate", *MIGRATED[1:]], ["kpi-migrate FailureTarget Failed", *MIGRATED[1:]])
    code, told, said = roll_out(cluster)
    assert code == 1
    assert f"apply -k {K8S}/overlays/prod" not in told
    assert told[-1].startswith("-n closedloop logs "), "it shows why"
    assert told.count("sleep") == 1
    assert "The migration kpi-migrate failed: see its log above. The services in closedloop are as they were" in said


@pytest.mark.parametrize("jobs_known", [True, False])
def test_without_an_answer_about_the_migrations_no_service_is_touched(cluster: Path, jobs_known: bool) -> None:
    if jobs_known:
        (cluster / "jobs_1").unlink()  # the API server does not answer
    else:
        jobs(cluster, [])
    code, told, _ = roll_out(cluster)
    assert code != 0
    assert f"apply -k {K8S}/overlays/prod" not in told
