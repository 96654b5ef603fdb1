"""The rendered manifests against the settings, and the committed ones against a new rendering."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from headrace.errors import UserError
from headrace.kubernetes.manifests import render_files
from headrace.kubernetes.source import RenderSource, parse_source, read_source
from headrace.kubernetes.worker_groups import worker_groups
from headrace.service.applications import specs_of
from headrace.service.stop_times import service_stop_timeout_s
from headrace.topics import wanted_topics
from schemas.metrics import ALL

K8S = Path(__file__).parents[4] / "k8s"
OVERLAYS = sorted(path.name for path in (K8S / "overlays").iterdir())
SMALL = (K8S / "overlays" / "small" / "headrace.yaml").read_text()


def source_of(overlay: str) -> RenderSource:
    return read_source(K8S / "overlays" / overlay / "headrace.yaml")


def documents(files: dict[str, str]) -> list[dict[str, Any]]:
    return [each for text in files.values() for each in yaml.safe_load_all(text)]


def of_kind(found: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [each for each in found if each["kind"] == kind]


@pytest.fixture(params=OVERLAYS)
def source(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> RenderSource:
    # Rendering must not see it.
    monkeypatch.setenv("HEADRACE_KAFKA__SASL__PASSWORD", "hunter2")
    return source_of(request.param)


@pytest.fixture
def rendered(source: RenderSource) -> list[dict[str, Any]]:
    return documents(render_files(source))


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_is_committed_is_what_the_settings_render_to(overlay: str) -> None:
    folder = K8S / "overlays" / overlay / "rendered"
    committed = {path.name: path.read_text() for path in folder.iterdir()}

    assert committed == render_files(source_of(overlay)), (
        f"run: headrace render k8s -c k8s/overlays/{overlay}/headrace.yaml -o {folder}"
    )


def test_the_serve_config_has_an_application_a_model_and_a_route_and_no_secret(
    source: RenderSource, rendered: list[dict[str, Any]]
) -> None:
    [service] = of_kind(rendered, "RayService")
    config = yaml.safe_load(service["spec"]["serveConfigV2"])

    specs = {spec.name: spec for spec in specs_of(source.settings)}
    assert [each["name"] for each in config["applications"]] == list(specs)
    for application in config["applications"]:
        spec = specs[application["name"]]
        assert application["args"] == {"application": spec.name, **spec.built}
        [deployment] = application["deployments"]
        assert deployment == {
            "name": spec.deployment,
            **spec.options,
            "user_config": {"live": spec.live},
        }
    assert "hunter2" not in str(rendered)
    assert "password" not in source.data["kafka"]["sasl"]


def test_every_topic_of_the_settings_has_its_resource(
    source: RenderSource, rendered: list[dict[str, Any]]
) -> None:
    found = {
        topic["spec"]["topicName"]: (topic["spec"]["partitions"], topic["spec"]["replicas"])
        for topic in of_kind(rendered, "KafkaTopic")
    }
    named = {
        topic
        for route in source.settings.routes.values()
        for topic in (
            route.requests_topic,
            route.results_topic,
            route.dead_letters_topic,
            route.control_topic,
        )
        if topic is not None
    }

    handled = {f"{route.dead_letters_topic}-handled" for route in source.settings.routes.values()}
    assert set(found) == {*named, *handled, source.settings.jobs.topic}
    wanted = wanted_topics(source.settings).items()
    assert {name: found[name] for name, _ in wanted} == {
        name: (info.partitions, info.replication_factor) for name, info in wanted
    }


def test_the_brokers_can_hold_the_topics_and_allow_the_limits(
    source: RenderSource, rendered: list[dict[str, Any]]
) -> None:
    [kafka] = of_kind(rendered, "Kafka")
    brokers = sum(
        pool["spec"]["replicas"]
        for pool in of_kind(rendered, "KafkaNodePool")
        if "broker" in pool["spec"]["roles"]
    )
    config = kafka["spec"]["kafka"]["config"]

    assert all(topic["spec"]["replicas"] <= brokers for topic in of_kind(rendered, "KafkaTopic"))
    assert config["offset.metadata.max.bytes"] == source.settings.kafka.offset_metadata_max_bytes
    for route in source.settings.routes.values():
        session_ms = route.membership.session_timeout_ms
        assert config["group.min.session.timeout.ms"] <= session_ms
        assert config["group.max.session.timeout.ms"] >= session_ms
        assert config["transaction.max.timeout.ms"] >= route.transactions.timeout_ms
    for pool in of_kind(rendered, "KafkaNodePool"):
        assert pool["metadata"]["labels"]["strimzi.io/cluster"] == kafka["metadata"]["name"]


def test_the_service_user_may_do_what_its_routes_do_and_no_more(
    source: RenderSource, rendered: list[dict[str, Any]]
) -> None:
    assert source.settings.kafka.sasl is not None
    users = {user["metadata"]["name"]: user for user in of_kind(rendered, "KafkaUser")}
    acls = users[source.settings.kafka.sasl.username]["spec"]["authorization"]["acls"]
    granted = {
        (acl["resource"]["type"], acl["resource"]["name"], acl["resource"]["patternType"]): set(
            acl["operations"]
        )
        for acl in acls
    }

    for route in source.settings.routes.values():
        assert "Read" in granted["group", route.group, "literal"]
        assert granted["topic", route.requests_topic, "literal"] == {"Read", "Describe"}
        # Without Read the brokers do not say which transactions a restart left open there.
        reading = {"Read"} if route.delivery == "exactly_once" else set()
        for topic in (route.results_topic, route.dead_letters_topic):
            writing = {"Write", "Describe", "DescribeConfigs"}
            assert granted["topic", topic, "literal"] == writing | reading
        if route.control_topic is not None:
            assert granted["topic", route.control_topic, "literal"] == {"Read", "Describe"}
        for separator in "/-":  # an upgrade fences who still publishes under the earlier ids
            prefix = f"headrace-{route.group}{separator}{route.requests_topic}{separator}"
            transactions = ("transactionalId", prefix, "prefix")
            if route.delivery == "exactly_once":
                assert granted[transactions] == {"Describe", "Write"}
            else:
                assert transactions not in granted
    assert not {kind for kind, _, _ in granted} - {"group", "topic", "transactionalId"}


def test_a_pod_has_the_time_that_a_drain_may_take(
    source: RenderSource, rendered: list[dict[str, Any]]
) -> None:
    [service] = of_kind(rendered, "RayService")
    stop_s = service_stop_timeout_s(source.settings)

    for template in pod_templates(service):
        [container] = template["spec"]["containers"]
        command = container["lifecycle"]["preStop"]["exec"]["command"]
        assert float(command[command.index("--timeout-s") + 1]) >= stop_s
        assert template["spec"]["terminationGracePeriodSeconds"] > stop_s


def test_pods_run_as_nobody_special(rendered: list[dict[str, Any]]) -> None:
    [service] = of_kind(rendered, "RayService")

    for template in pod_templates(service):
        pod = template["spec"]
        [container] = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        volumes = {volume["name"] for volume in pod["volumes"]}
        assert {mount["name"] for mount in container["volumeMounts"]} == volumes
        assert {"cpu", "memory"} <= set(container["resources"]["limits"])


def test_kafka_runs_as_nobody_special(rendered: list[dict[str, Any]]) -> None:
    for pool in of_kind(rendered, "KafkaNodePool"):
        template = pool["spec"]["template"]
        pod = template["pod"]["securityContext"]
        assert pod["runAsNonRoot"] is True
        assert pod["fsGroup"] == pod["runAsUser"] != 0
        assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
        assert template["kafkaContainer"]["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        }


def test_secrets_come_by_reference(rendered: list[dict[str, Any]]) -> None:
    [service] = of_kind(rendered, "RayService")

    for template in pod_templates(service):
        [container] = template["spec"]["containers"]
        variables = {each["name"]: each for each in container["env"]}
        reference = variables["HEADRACE_KAFKA__SASL__PASSWORD"]["valueFrom"]["secretKeyRef"]
        assert reference == {"name": "headrace", "key": "password"}


def test_replicas_with_gpus_get_a_group_of_gpu_pods() -> None:
    groups = {
        overlay: {
            group["groupName"]: group["template"]["spec"]["containers"][0]
            for group in of_kind(documents(render_files(source_of(overlay))), "RayService")[0][
                "spec"
            ]["rayClusterConfig"]["workerGroupSpecs"]
        }
        for overlay in OVERLAYS
    }

    assert set(groups["small"]) == {"cpu"}
    assert set(groups["production"]) == {"cpu", "gpu"}
    assert groups["production"]["gpu"]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert "nvidia.com/gpu" not in groups["production"]["cpu"]["resources"]["limits"]


def test_the_cluster_keeps_and_reaches_what_the_settings_ask_for(
    source: RenderSource, rendered: list[dict[str, Any]]
) -> None:
    [service] = of_kind(rendered, "RayService")
    found = {
        group["groupName"]: (group["minReplicas"], group["replicas"], group["maxReplicas"])
        for group in service["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    }

    assert found == {
        group.name: (group.least_pods, group.pods, group.most_pods)
        for group in worker_groups(source.settings)
    }
    assert all(least <= pods <= most for least, pods, most in found.values())


def test_alerts_ask_for_metrics_that_exist(
    source: RenderSource, rendered: list[dict[str, Any]]
) -> None:
    known = {each.exported for each in ALL}
    [rule] = of_kind(rendered, "PrometheusRule")
    rules = [each for group in rule["spec"]["groups"] for each in group["rules"]]

    asked = {name for each in rules for name in re.findall(r"ray_headrace_\w+", each["expr"])}
    assert asked
    assert asked <= known
    assert {each["labels"].get("route") for each in rules} >= set(source.settings.routes)
    assert {each["labels"].get("model") for each in rules} >= set(source.settings.called_models)


def test_an_unassigned_partition_is_counted_against_the_settings() -> None:
    source = source_of("production")
    [rule] = of_kind(documents(render_files(source)), "PrometheusRule")

    for name, route in source.settings.routes.items():
        [group] = [each for each in rule["spec"]["groups"] if each["name"] == f"headrace-{name}"]
        [alert] = [
            each for each in group["rules"] if each["alert"] == "HeadracePartitionsUnassigned"
        ]
        assert f"< {route.topics.partitions} unless" in alert["expr"]


def test_kafka_from_elsewhere_is_not_rendered() -> None:
    text = SMALL.replace("kafka-kafka-bootstrap:9093", "broker-1.example.com:9093")

    files = render_files(parse_source(text.encode(), "headrace.yaml"))

    assert not set(files) & {"kafka.yaml", "topics.yaml", "users.yaml"}
    found = documents(files)
    [service] = of_kind(found, "RayService")
    [template, *_] = pod_templates(service)
    assert "headrace-kafka" in str(template["spec"]["containers"][0]["env"])


@pytest.mark.parametrize(
    ("before", "after", "field"),
    [
        ("mechanism: SCRAM-SHA-512", "mechanism: PLAIN", "kafka.sasl"),
        ("ca.crt ", "ca.pem ", "kafka.tls.ca_file"),
    ],
)
def test_settings_that_cannot_work_there_are_refused(before: str, after: str, field: str) -> None:
    assert before in SMALL
    source = parse_source(SMALL.replace(before, after).encode(), "headrace.yaml")

    with pytest.raises(UserError, match=field):
        render_files(source)


def test_an_alert_on_stalled_records_fires_before_any_was_counted() -> None:
    [rule] = of_kind(documents(render_files(source_of("small"))), "PrometheusRule")
    rules = {each["alert"]: each["expr"] for each in rule["spec"]["groups"][0]["rules"]}

    # `== 0` would be empty, and silent, while the counter does not exist.
    assert " unless " in rules["HeadraceStalled"]


def pod_templates(service: dict[str, Any]) -> list[dict[str, Any]]:
    cluster = service["spec"]["rayClusterConfig"]
    groups = cluster["workerGroupSpecs"]
    return [cluster["headGroupSpec"]["template"], *(group["template"] for group in groups)]


def test_the_registry_of_jobs_is_compacted_and_open_to_clients(
    source: RenderSource, rendered: list[dict[str, Any]]
) -> None:
    topic = source.settings.jobs.topic
    [spec] = [
        each["spec"]
        for each in of_kind(rendered, "KafkaTopic")
        if each["spec"]["topicName"] == topic
    ]
    assert spec["partitions"] == 1
    assert spec["config"]["cleanup.policy"] == "compact"
    writers = [
        user["metadata"]["name"]
        for user in of_kind(rendered, "KafkaUser")
        for acl in user["spec"]["authorization"]["acls"]
        if acl["resource"]["name"] == topic and "Write" in acl["operations"]
    ]
    assert len(writers) == 1
    assert writers[0].endswith("-client")
