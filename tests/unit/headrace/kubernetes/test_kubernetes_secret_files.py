"""Files of Secrets: one mount a folder, and no two files at one path."""

from typing import Any

import pytest
import yaml

from headrace.errors import UserError
from tests.unit.headrace.kubernetes.rendering import K8S, ray_pods, rendered, source_of

SMALL = yaml.safe_load((K8S / "overlays" / "small" / "headrace.yaml").read_text())


def pods_with(**sections: Any) -> dict[str, dict[str, Any]]:
    return ray_pods(rendered(source_of({**SMALL, **sections})))


def mounted(pod: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the volumes by the paths that they are mounted at."""
    spec = pod["spec"]
    volumes = {each["name"]: each for each in spec["volumes"]}
    assert len(volumes) == len(spec["volumes"])
    mounts = spec["containers"][0]["volumeMounts"]
    found = {each["mountPath"]: volumes[each["name"]] for each in mounts}
    assert len(found) == len(mounts)
    return found


def paths_of(volume: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Return files of a volume: their Secrets and keys."""
    sources = [each["secret"] for each in volume.get("projected", {"sources": []})["sources"]]
    if "secret" in volume:
        sources = [{**volume["secret"], "name": volume["secret"]["secretName"]}]
    items = [(source["name"], item) for source in sources for item in source["items"]]
    found = {item["path"]: (secret, item["key"]) for secret, item in items}
    assert len(found) == len(items)
    return found


def console_in(folder: str) -> dict[str, Any]:
    return {
        "host": "0.0.0.0",
        "read_token_file": f"{folder}/read",
        "act_token_file": f"{folder}/act",
        "tls": {"cert_file": f"{folder}/tls.crt", "key_file": f"{folder}/tls.key"},
    }


def test_tokens_and_tls_of_the_console_may_lie_in_one_folder() -> None:
    volume = mounted(pods_with(console=console_in("/etc/headrace/console"))["head"])

    assert paths_of(volume["/etc/headrace/console"]) == {
        "read": ("headrace-console", "read-token"),
        "act": ("headrace-console", "act-token"),
        "tls.crt": ("headrace-console-tls", "tls.crt"),
        "tls.key": ("headrace-console-tls", "tls.key"),
    }


def test_so_may_those_of_kafka_and_of_traces() -> None:
    folder = "/etc/headrace-kafka"
    tracing = {"enabled": True, "headers_file": f"{folder}/headers"}
    pods = pods_with(console=console_in(folder), tracing=tracing)

    head = paths_of(mounted(pods.pop("head"))[folder])
    assert {"ca.crt", "read", "act", "tls.crt", "tls.key", "headers"} <= head.keys()
    assert pods
    for pod in pods.values():
        assert set(paths_of(mounted(pod)[folder])) == {"ca.crt", "headers"}


def test_pods_start_without_headers_of_traces() -> None:
    tracing = {"enabled": True, "headers_file": "/etc/headrace/tracing/headers"}
    for pod in pods_with(tracing=tracing).values():
        assert mounted(pod)["/etc/headrace/tracing"]["secret"] == {
            "secretName": "headrace-tracing",
            "items": [{"key": "headers", "path": "headers"}],
            "optional": True,
        }
    for pod in pods_with(tracing={**tracing, "enabled": False}).values():
        assert "headrace-tracing" not in str(pod)


def test_two_clusters_may_share_the_file_of_a_ca() -> None:
    kafka = {"bootstrap": "kafka.example:9093", "tls": {"ca_file": "/etc/ca/ca.crt"}}
    for pod in pods_with(kafka=kafka, results_kafka=kafka).values():
        assert paths_of(mounted(pod)["/etc/ca"]) == {"ca.crt": ("headrace-kafka", "ca.crt")}


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/etc/headrace/read", r"console\.read_token_file: /etc/headrace is mounted already"),
        ("/tmp/read", r"/tmp is mounted already"),
        ("etc/read", "must be absolute"),
        ("/etc/headrace-kafka/ca.crt", r"is kafka\.tls\.ca_file already"),
    ],
)
def test_a_file_where_another_is_is_refused(path: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        pods_with(console={"host": "127.0.0.1", "read_token_file": path})
