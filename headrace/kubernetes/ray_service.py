"""The RayService that runs a settings file's application. Pure.

Its pods run without root, with a file system that is read-only except for the places named here,
and drain before they end.
"""

from collections.abc import Sequence
from typing import Any

from headrace.kubernetes.console import (
    console_environment,
    console_files,
    console_port,
)
from headrace.kubernetes.kafka import CLIENT_LABEL
from headrace.kubernetes.names import (
    PART_OF,
    RAY_SERVICE,
    SETTINGS_DIGEST,
    TRACING_SECRET,
    StrimziCluster,
    settings_map_name,
)
from headrace.kubernetes.pods import kafka_secrets
from headrace.kubernetes.pods.placement import placed, ray_start_params
from headrace.kubernetes.pods.quantities import resources
from headrace.kubernetes.pods.secret_files import (
    SecretFile,
    check_places,
    mounts,
    volumes,
)
from headrace.kubernetes.pods.upgrades import gcs_fault_tolerance, upgrade_strategy
from headrace.kubernetes.weights import with_weights
from headrace.kubernetes.worker_groups import WorkerGroup
from schemas.settings.file import Settings
from schemas.settings.kubernetes import PodSettings

CPU_IMAGE = "headrace"
GPU_IMAGE = "headrace-gpu"
USER_ID = 1000
HOME = "/home/headrace"
SETTINGS_DIR = "/etc/headrace"
METRICS_PORT = 8080
START_MARGIN_S = 15
"""For the drain's own process to start, and for `ray stop`."""
END_MARGIN_S = 30
"""Between the end of the drain's wait and the kubelet's SIGKILL."""

_AGENT_PORT = 52365
_DASHBOARD_PORT = 8265


def termination_grace_s(stop_timeout_s: float) -> int:
    """Return the pods' grace period: the drain's own time and what surrounds it."""
    return round(stop_timeout_s) + START_MARGIN_S + END_MARGIN_S


def ray_service(
    settings: Settings,
    *,
    serve_config_text: str,
    groups: list[WorkerGroup],
    cluster: StrimziCluster | None,
    stop_timeout_s: float,
    settings_digest: str,
    version: str,
    ray_version: str,
) -> dict[str, Any]:
    """Return the ``RayService``; its drain must end within ``stop_timeout_s``.

    Without a Strimzi ``cluster`` it takes the Secrets of a Kafka from elsewhere. ``version`` is
    Headrace's, the images' tag; ``ray_version`` is Ray's, in the images.
    """
    kubernetes = settings.kubernetes
    pods = _Pods(settings, cluster, stop_timeout_s, settings_digest, version)
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayService",
        "metadata": {
            "name": RAY_SERVICE,
            "labels": {"app.kubernetes.io/part-of": PART_OF},
            "annotations": {SETTINGS_DIGEST: settings_digest},
        },
        "spec": {
            "upgradeStrategy": upgrade_strategy(kubernetes.upgrade),
            "rayClusterDeletionDelaySeconds": 60,
            "excludeHeadPodFromServeSvc": True,
            "serveConfigV2": serve_config_text,
            "rayClusterConfig": {
                "rayVersion": ray_version,
                # Calls to Ray's ports without the token are refused; KubeRay creates it.
                "authOptions": {"mode": "token"},
                **gcs_fault_tolerance(kubernetes.gcs),
                "enableInTreeAutoscaling": True,
                "autoscalerOptions": {
                    "version": "v2",
                    "idleTimeoutSeconds": 300,
                    "securityContext": _container_security(),
                    "resources": {
                        "requests": {"cpu": "200m", "memory": "512Mi"},
                        "limits": {"cpu": "500m", "memory": "1Gi"},
                    },
                },
                "headGroupSpec": {
                    # No replica runs beside the head, where using up its memory would end the whole
                    # cluster.
                    "rayStartParams": {"num-cpus": "0", "dashboard-host": "0.0.0.0"},  # noqa: S104
                    "template": pods.head(),
                },
                "workerGroupSpecs": [
                    {
                        "groupName": group.name,
                        "replicas": group.pods,
                        "minReplicas": group.least_pods,
                        "maxReplicas": group.most_pods,
                        "rayStartParams": ray_start_params(pods.settings_of(group)),
                        **_ray_node(group),
                        "template": pods.worker(group),
                    }
                    for group in groups
                ],
            },
        },
    }


def _ray_node(group: WorkerGroup) -> dict[str, Any]:
    """Return what Ray is to know of a group's nodes, and the autoscaler before there is one."""
    found: dict[str, Any] = {}
    if group.labels:
        found["labels"] = dict(group.labels)
    if group.resources:
        found["resources"] = {name: str(amount) for name, amount in group.resources.items()}
    return found


class _Pods:
    def __init__(
        self,
        settings: Settings,
        cluster: StrimziCluster | None,
        stop_timeout_s: float,
        settings_digest: str,
        version: str,
    ) -> None:
        self._settings = settings
        self._cluster = cluster
        self._stop_timeout_s = stop_timeout_s
        self._settings_map = settings_map_name(settings.kubernetes.upgrade, settings_digest)
        self._version = version
        self._files = [*kafka_secrets.files(settings, cluster), *_tracing_files(settings)]
        self._head_files = [*self._files, *console_files(settings.console)]
        check_places(self._head_files, (SETTINGS_DIR, "/tmp", HOME))  # noqa: S108 - a volume

    def head(self) -> dict[str, Any]:
        size = self._settings.kubernetes.head
        role = "head" if self._settings.kubernetes.gcs is None else "outlived-head"
        console = self._settings.console
        base = self._container("ray-head", CPU_IMAGE, role)
        container = {
            **base,
            "env": [*base["env"], *console_environment(console)],
            "volumeMounts": self._mounts(self._head_files),
            "ports": [
                {"name": "gcs", "containerPort": 6379},
                {"name": "dashboard", "containerPort": _DASHBOARD_PORT},
                {"name": "client", "containerPort": 10001},
                {"name": "serve", "containerPort": 8000},
                {"name": "metrics", "containerPort": METRICS_PORT},
                *console_port(console),
            ],
            "readinessProbe": _probe("/api/gcs_healthz", _DASHBOARD_PORT, failures=10),
            "livenessProbe": _probe("/api/gcs_healthz", _DASHBOARD_PORT, failures=120),
            "resources": resources(size.cpus, size.memory_gib),
        }
        template = self._template("head", container, {})
        template["spec"]["volumes"] = self._volumes(self._head_files)
        return placed(template, size, has_gpus=False)

    def worker(self, group: WorkerGroup) -> dict[str, Any]:
        image = GPU_IMAGE if group.gpus else CPU_IMAGE
        gpus = {"nvidia.com/gpu": str(group.gpus)} if group.gpus else {}
        container = {
            **self._container("ray-worker", image, "worker"),
            "ports": [{"name": "metrics", "containerPort": METRICS_PORT}],
            # KubeRay's own probe would ask for an HTTP proxy, and none runs here.
            "readinessProbe": _probe("/api/local_raylet_healthz", _AGENT_PORT, failures=10),
            "livenessProbe": _probe("/api/local_raylet_healthz", _AGENT_PORT, failures=120),
            "resources": resources(group.cpus, group.memory_gib, gpus),
        }
        template = self._template("worker", container, {"automountServiceAccountToken": False})
        on_nodes = placed(
            template, self.settings_of(group), has_gpus=group.gpus > 0, labels=group.labels
        )
        return with_weights(on_nodes, self._settings, group)

    def settings_of(self, group: WorkerGroup) -> PodSettings:
        kubernetes = self._settings.kubernetes
        return kubernetes.gpu_pods if group.gpus else kubernetes.cpu_pods

    def _container(self, name: str, image: str, role: str) -> dict[str, Any]:
        drain = [
            "python",
            "-m",
            "headrace.kubernetes.drain",
            role,
            "--timeout-s",
            str(round(self._stop_timeout_s)),
        ]
        return {
            "name": name,
            "image": f"{image}:{self._version}",
            "env": self._environment(),
            "volumeMounts": self._mounts(self._files),
            "securityContext": _container_security(),
            "lifecycle": {"preStop": {"exec": {"command": drain}}},
        }

    def _template(
        self, component: str, container: dict[str, Any], extra: dict[str, Any]
    ) -> dict[str, Any]:
        return {
            "metadata": {
                "labels": {
                    "app.kubernetes.io/part-of": PART_OF,
                    "app.kubernetes.io/component": component,
                    CLIENT_LABEL: "true",
                },
                # The autoscaler replaces pods; others must leave running replicas where they are.
                "annotations": {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"},
            },
            "spec": {
                "terminationGracePeriodSeconds": termination_grace_s(self._stop_timeout_s),
                "enableServiceLinks": False,
                "securityContext": {
                    "runAsNonRoot": True,
                    "runAsUser": USER_ID,
                    "runAsGroup": USER_ID,
                    "fsGroup": USER_ID,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                **extra,
                "containers": [container],
                "volumes": self._volumes(self._files),
            },
        }

    def _environment(self) -> list[dict[str, Any]]:
        environment: list[dict[str, Any]] = [
            {"name": "HEADRACE_CONFIG", "value": f"{SETTINGS_DIR}/headrace.yaml"},
            {"name": "HOME", "value": HOME},
            {"name": "HF_HOME", "value": f"{HOME}/.cache/huggingface"},
            {"name": "RAY_USAGE_STATS_ENABLED", "value": "0"},
            # Ray's own is 15, and a pod shares its CPUs with no broker.
            {"name": "RAY_worker_niceness", "value": "0"},
        ]
        environment += kafka_secrets.environment(self._settings, self._cluster)
        for name, value in self._settings.kubernetes.environment.items():
            environment.append(
                {"name": name, "value": value}
                if isinstance(value, str)
                else {
                    "name": name,
                    "valueFrom": {"secretKeyRef": {"name": value.secret, "key": value.key}},
                }
            )
        return environment

    def _mounts(self, files: Sequence[SecretFile]) -> list[dict[str, Any]]:
        return [
            {"name": "settings", "mountPath": SETTINGS_DIR, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a volume of the pod's own
            {"name": "home", "mountPath": HOME},
            *mounts(files),
        ]

    def _volumes(self, files: Sequence[SecretFile]) -> list[dict[str, Any]]:
        return [
            {"name": "settings", "configMap": {"name": self._settings_map}},
            # Ray's sockets, logs and spilled objects.
            {"name": "tmp", "emptyDir": {"sizeLimit": "20Gi"}},
            # Kernels that vLLM compiles, and a checkpoint's code that the settings trust.
            {"name": "home", "emptyDir": {"sizeLimit": "20Gi"}},
            *volumes(files),
        ]


def _tracing_files(settings: Settings) -> list[SecretFile]:
    path = settings.tracing.headers_file
    if not settings.tracing.enabled or path is None:
        return []
    # Without the Secret pods run without traces, and say so.
    return [SecretFile("tracing.headers_file", path, TRACING_SECRET, "headers", is_optional=True)]


def _container_security() -> dict[str, Any]:
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def _probe(path: str, port: int, *, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": port},
        "initialDelaySeconds": 10,
        "periodSeconds": 5,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }
