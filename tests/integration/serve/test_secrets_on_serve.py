"""No secret of the settings is in what Ray stores or logs, while a service runs on it."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
from ray import serve
from ray.experimental.internal_kv import (
    _internal_kv_del,
    _internal_kv_get,
    _internal_kv_list,
    _internal_kv_put,
)

from headrace.service.app import application_of
from headrace.service.applications import specs_of
from headrace.service.running import serve_details
from headrace.service.stopping import delete_applications
from headrace.settings.file import parse_settings

pytestmark = pytest.mark.serve

PATIENCE_S = 60.0
SECRETS = ("planted-password-61c2", "planted-key-9d07", "planted-client-e3f4")
CANARY = "planted-canary-5a5a"
SETTINGS = f"""
kafka:
  bootstrap: 127.0.0.1:1
  tls: {{cert_file: /none.pem, key_file: /none.key, key_password: {SECRETS[1]}}}
  sasl: {{username: bob, password: {SECRETS[0]}}}
results_kafka:
  bootstrap: 127.0.0.1:1
  sasl:
    mechanism: OAUTHBEARER
    oauth: {{token_url: "https://id.example/t", client_id: c, client_secret: {SECRETS[2]}}}
models: {{m: {{kind: embedder, source: "wheel:x"}}}}
routes:
  r: {{model: m, group: g, requests_topic: a, results_topic: b, dead_letters_topic: c,
    autoscaling: {{max_replicas: 2}}}}
"""


@pytest.fixture
def deployed(local_serve: None) -> Iterator[None]:
    """The status board and the consumers of a route; without a broker these fail to start."""
    settings = parse_settings(SETTINGS.encode())
    for spec in specs_of(settings):
        if not spec.name.startswith("headrace-model-"):
            application = application_of(spec, settings.kafka)
            serve._run(application, name=spec.name, route_prefix=None, _blocking=False)
    yield
    delete_applications(PATIENCE_S)


def stored() -> dict[str, bytes]:
    """Return what Ray's store has: Serve's checkpoints, tasks of policies, functions, actors."""
    namespaces: tuple[bytes | None, ...] = (
        None, b"serve", b"ray_serve", b"fun", b"cls", b"job", b"session", b"dashboard",
        b"headrace-autoscaling", b"headrace-measures", b"headrace-scaling-tasks",
    )  # fmt: skip
    found: dict[str, bytes] = {}
    for namespace in namespaces:
        for key in _internal_kv_list(b"", namespace=namespace):
            value = _internal_kv_get(key, namespace=namespace)
            found[f"{namespace!r} {key!r}"] = bytes(value or b"")
    return found


def logged() -> dict[str, bytes]:
    node: Any = ray._private.worker._global_node
    session = Path(node.get_session_dir_path())
    return {
        str(path): path.read_bytes()
        for path in session.rglob("*")
        if path.is_file() and not path.is_symlink() and "sockets" not in path.parts
    }


def memory_of(name: str) -> bytes:
    """Return the writable memory of Ray's own process of that name."""
    mine = {each.pid for each in psutil.Process().children(recursive=True)}
    [process] = [
        each for each in psutil.process_iter(["name"]) if each.info["name"] == name
        and each.pid in mine
    ]  # fmt: skip
    found = bytearray()
    maps = Path(f"/proc/{process.pid}/maps").read_text().splitlines()
    with Path(f"/proc/{process.pid}/mem").open("rb") as memory:
        for line in maps:
            bounds, rights, *_ = line.split()
            start, end = (int(each, 16) for each in bounds.split("-"))
            if rights.startswith("rw") and end - start < 1 << 28:
                try:
                    memory.seek(start)
                    found += memory.read(end - start)
                except OSError:
                    continue
    return bytes(found)


def holding(secret: str, places: dict[str, bytes]) -> list[str]:
    return [name for name, content in places.items() if secret.encode() in content]


def until_replicas_fail() -> str:
    end_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < end_s:
        told = json.dumps(serve_details(), default=str)
        if "is not set in the environment" in told:
            return told
        time.sleep(0.5)
    raise AssertionError(told)


def test_ray_stores_and_logs_names_of_variables_and_no_secrets(deployed: None) -> None:
    told = until_replicas_fail()
    places: dict[str, bytes] = {
        **stored(),
        **logged(),
        "serve's details": told.encode(),
        "memory of gcs_server": memory_of("gcs_server"),
    }

    for secret in SECRETS:
        assert holding(secret, places) == [], secret
    # Where these are found, secrets would have been too.
    reference = "HEADRACE_KAFKA__SASL__PASSWORD"
    found = holding(reference, places)
    assert any("headrace-scaling-tasks" in each for each in found), found
    assert "serve's details" in found
    assert "memory of gcs_server" in found


def test_the_search_finds_what_is_planted(local_serve: None) -> None:
    _internal_kv_put(b"canary", CANARY.encode(), overwrite=True, namespace=b"headrace-measures")
    try:
        assert holding(CANARY, stored()) != []
        assert holding(CANARY, {"memory": memory_of("gcs_server")}) == ["memory"]
    finally:
        _internal_kv_del(b"canary", namespace=b"headrace-measures")
