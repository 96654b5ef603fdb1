"""The console in the manifests: its port, its tokens, and who reaches it. Pure.

On this machine's own address, its default, a pod shows it to `kubectl port-forward` alone. Where it
is bound to others, a Service is rendered, and pods that have the label ``CLIENT_LABEL`` reach it.
"""

from pathlib import Path
from typing import Any

from headrace.kubernetes.names import CONSOLE_SECRET, CONSOLE_TLS_SECRET, PART_OF
from headrace.kubernetes.policies.selectors import HEAD_POD
from schemas.settings.console import ConsoleSettings

CLIENT_LABEL = "headrace.io/console-client"
SERVICE = "headrace-console"


def console_port(console: ConsoleSettings) -> list[dict[str, Any]]:
    """Return the head's port of the console, if it has one that is known."""
    if not console.enabled or not console.port:
        return []
    return [{"name": "console", "containerPort": console.port}]


def console_environment(console: ConsoleSettings) -> list[dict[str, Any]]:
    """Return the variables that have tokens, from keys of ``CONSOLE_SECRET``."""
    variables = {"read-token": console.read_token_env, "act-token": console.act_token_env}
    return [
        {
            "name": name,
            "valueFrom": {"secretKeyRef": {"name": CONSOLE_SECRET, "key": key}},
        }
        for key, name in variables.items()
        if console.enabled and name is not None
    ]


def console_mounts(console: ConsoleSettings) -> list[dict[str, Any]]:
    return [
        {"name": name, "mountPath": str(folder), "readOnly": True}
        for name, folder, _secret, _items in _mounted(console)
    ]


def console_volumes(console: ConsoleSettings) -> list[dict[str, Any]]:
    return [
        {"name": name, "secret": {"secretName": secret, "items": items}}
        for name, _folder, secret, items in _mounted(console)
    ]


def console_service(console: ConsoleSettings) -> dict[str, Any] | None:
    """Return the Service, where other pods reach the console."""
    if not is_reachable(console):
        return None
    port = {"name": "console", "port": console.port, "targetPort": "console"}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": SERVICE, "labels": {"app.kubernetes.io/part-of": PART_OF}},
        "spec": {"selector": HEAD_POD["matchLabels"], "ports": [port]},
    }


def console_policy(console: ConsoleSettings) -> list[dict[str, Any]]:
    """Return what lets pods with ``CLIENT_LABEL``, of any namespace, reach the head's console."""
    if not is_reachable(console):
        return []
    pods = {"namespaceSelector": {}, "podSelector": {"matchLabels": {CLIENT_LABEL: "true"}}}
    ports = [{"protocol": "TCP", "port": console.port}]
    return [
        {
            "podSelector": HEAD_POD,
            "policyTypes": ["Ingress"],
            "ingress": [{"from": [pods], "ports": ports}],
        }
    ]


def is_reachable(console: ConsoleSettings) -> bool:
    return console.enabled and bool(console.port) and not console.is_loopback


def _mounted(console: ConsoleSettings) -> list[tuple[str, Path, str, list[dict[str, str]]]]:
    """Return volumes: name, folder, Secret, and which key of it is which file there."""
    if not console.enabled:
        return []
    files = [
        (CONSOLE_SECRET, "read-token", console.read_token_file),
        (CONSOLE_SECRET, "act-token", console.act_token_file),
    ]
    if console.tls is not None:
        files += [
            (CONSOLE_TLS_SECRET, "tls.crt", console.tls.cert_file),
            (CONSOLE_TLS_SECRET, "tls.key", console.tls.key_file),
        ]
    found: dict[tuple[str, Path], list[dict[str, str]]] = {}
    for secret, key, path in files:
        if path is not None:
            items = found.setdefault((secret, path.parent), [])
            items.append({"key": key, "path": path.name})
    return [
        (f"console-{number}", folder, secret, items)
        for number, ((secret, folder), items) in enumerate(found.items())
    ]
