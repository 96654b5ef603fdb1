"""What surrounds the rendered pods, against them; and the command that renders."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from headrace.cli import main
from headrace.kubernetes.manifests import render_files
from headrace.kubernetes.serve_config import serve_config
from headrace.kubernetes.source import read_source

K8S = Path(__file__).parents[4] / "k8s"
PRODUCTION = K8S / "overlays" / "production"
SETTINGS = str(PRODUCTION / "headrace.yaml")


def around(kind: str) -> list[dict[str, Any]]:
    """What is rendered of a kind for the production settings."""
    files = render_files(read_source(Path(SETTINGS)))
    documents = [each for text in files.values() for each in yaml.safe_load_all(text)]
    found = [each for each in documents if each["kind"] == kind]
    assert found
    return found


def pods() -> dict[str, dict[str, Any]]:
    text = render_files(read_source(Path(SETTINGS)))["rayservice.yaml"]
    cluster = yaml.safe_load(text)["spec"]["rayClusterConfig"]
    head = cluster["headGroupSpec"]["template"]
    workers = {each["groupName"]: each["template"] for each in cluster["workerGroupSpecs"]}
    return {"head": head, **workers}


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    equal = selector.get("matchLabels", {}).items() <= labels.items()
    return equal and all(
        labels.get(each["key"]) in each["values"] for each in selector.get("matchExpressions", [])
    )


def selected(selector: dict[str, Any]) -> set[str]:
    return {name for name, pod in pods().items() if selects(selector, pod["metadata"]["labels"])}


def test_the_pod_monitor_finds_every_pod_and_its_port() -> None:
    [monitor] = [each for each in around("PodMonitor") if each["metadata"]["name"] == "headrace"]

    assert selected(monitor["spec"]["selector"]) == {"head", "cpu", "gpu"}
    [endpoint] = monitor["spec"]["podMetricsEndpoints"]
    for pod in pods().values():
        [container] = pod["spec"]["containers"]
        assert endpoint["port"] in {port["name"] for port in container["ports"]}


def test_the_network_policy_is_about_every_pod_and_lets_kafka_through() -> None:
    policies = {each["metadata"]["name"]: each["spec"] for each in around("NetworkPolicy")}
    settings = read_source(Path(SETTINGS)).settings

    assert selected(policies["headrace-ray"]["podSelector"]) == {"head", "cpu", "gpu"}
    assert selected(policies["headrace-autoscaler"]["podSelector"]) == {"head"}
    ports = {
        port["port"]
        for rule in policies["headrace-ray"]["egress"]
        for port in rule.get("ports", [])
    }
    assert int(settings.kafka.bootstrap.rpartition(":")[2]) in ports


@pytest.mark.parametrize("name", ["kuberay-operator", "kuberay"], ids=["helm", "kustomize"])
def test_the_network_policy_lets_the_operator_in_however_it_was_installed(name: str) -> None:
    [policy] = [
        each["spec"]
        for each in around("NetworkPolicy")
        if each["metadata"]["name"] == "headrace-ray"
    ]
    operator = {
        "app.kubernetes.io/name": name,
        "app.kubernetes.io/component": "kuberay-operator",
    }

    ports = {
        port["port"]
        for rule in policy["ingress"]
        for peer in rule["from"]
        if selects(peer["podSelector"], operator)
        for port in rule.get("ports", [])
    }
    assert ports == {8265, 8000}


def test_the_listener_admits_the_pods() -> None:
    text = render_files(read_source(Path(SETTINGS)))["kafka.yaml"]
    kafka = next(each for each in yaml.safe_load_all(text) if each["kind"] == "Kafka")
    [listener] = kafka["spec"]["kafka"]["listeners"]

    [peer] = listener["networkPolicyPeers"]
    assert selected(peer["podSelector"]) == {"head", "cpu", "gpu"}


def test_disruption_budgets_hold_the_head_and_the_workers() -> None:
    budgets = {each["metadata"]["name"]: each["spec"] for each in around("PodDisruptionBudget")}

    assert selected(budgets["headrace-head"]["selector"]) == {"head"}
    assert selected(budgets["headrace-workers"]["selector"]) == {"cpu", "gpu"}
    # Kubernetes takes nothing else for pods without a controller of its own.
    assert all(isinstance(each["minAvailable"], int) for each in budgets.values())


def test_kafka_nodes_of_one_pool_never_share_a_machine() -> None:
    apart = set()
    for pool in around("KafkaNodePool"):
        rules = pool["spec"]["template"]["pod"]["affinity"]["podAntiAffinity"]
        [rule] = rules["requiredDuringSchedulingIgnoredDuringExecution"]
        name = pool["metadata"]["name"]
        assert rule["labelSelector"]["matchLabels"]["strimzi.io/pool-name"] == name
        assert rule["topologyKey"] == "kubernetes.io/hostname"
        apart.add(name)
    assert apart == {"brokers", "controllers"}


def test_every_kustomization_names_what_is_there() -> None:
    for path in K8S.rglob("kustomization.yaml"):
        for resource in yaml.safe_load(path.read_text())["resources"]:
            assert (path.parent / resource).exists(), f"{path}: {resource}"


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    return int(caught.value.code or 0)


def test_the_command_writes_what_check_then_accepts(tmp_path: Path) -> None:
    output = str(tmp_path / "rendered")

    assert run("render", "k8s", "-c", SETTINGS, "-o", output, "--check") == 1
    assert not Path(output).exists()
    assert run("render", "k8s", "-c", SETTINGS, "-o", output) == 0
    assert run("render", "k8s", "-c", SETTINGS, "-o", output, "--check") == 0
    (tmp_path / "rendered" / "topics.yaml").write_text("edited")
    assert run("render", "k8s", "-c", SETTINGS, "-o", output, "--check") == 1


def test_the_command_prints_what_kubectl_and_serve_take(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("render", "k8s", "-c", SETTINGS) == 0
    kinds = {each["kind"] for each in yaml.safe_load_all(capsys.readouterr().out)}
    assert {"RayService", "Kafka", "KafkaTopic", "KafkaUser", "PrometheusRule"} <= kinds

    assert run("render", "serve", "-c", SETTINGS) == 0
    config = yaml.safe_load(capsys.readouterr().out)
    assert config["applications"][0]["import_path"] == "headrace.kubernetes.app:application"


def test_production_scales_every_replica_and_has_the_cpus_and_gpus_for_the_most() -> None:
    text = render_files(read_source(Path(SETTINGS)))["rayservice.yaml"]
    spec = yaml.safe_load(text)["spec"]
    settings = read_source(Path(SETTINGS)).settings
    room = {"cpu": 0.0, "nvidia.com/gpu": 0.0}
    for group in spec["rayClusterConfig"]["workerGroupSpecs"]:
        [container] = group["template"]["spec"]["containers"]
        for resource in room:
            each = float(container["resources"]["limits"].get(resource, 0))
            room[resource] += group["maxReplicas"] * each

    routes, models = settings.routes.values(), settings.models.values()
    cpus = gpus = 0.0
    for route in routes:
        assert route.autoscaling is not None
        assert route.autoscaling.min_replicas < route.autoscaling.max_replicas
        assert route.autoscaling.max_replicas <= route.topics.partitions
        cpus += route.autoscaling.max_replicas * route.consumer_num_cpus
    for model in models:
        assert model.autoscaling is not None
        assert model.autoscaling.min_replicas < model.autoscaling.max_replicas
        cpus += model.autoscaling.max_replicas * model.num_cpus
        gpus += model.autoscaling.max_replicas * model.num_gpus
    assert cpus <= room["cpu"]
    assert gpus <= room["nvidia.com/gpu"]


def test_serve_takes_the_config() -> None:
    schema = ServeDeploySchema.model_validate(serve_config(read_source(Path(SETTINGS)).settings))

    assert schema.applications[0].route_prefix is None


def test_a_file_that_does_not_fit_is_a_message(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("render", "k8s", "-c", str(K8S.parent / "headrace.yaml")) == 2
    assert "kafka.broker" in capsys.readouterr().err
