"""The console in the manifests: its port, its tokens, and who reaches it. Pure.

On this machine's own address, its default, a pod shows it to `kubectl port-forward` alone. Where it
is bound to others, a Service is rendered, and pods that have the label ``CLIENT_LABEL`` reach it.
"""

from typing import Any

from headrace.kubernetes.names import CONSOLE_SECRET, CONSOLE_TLS_SECRET, PART_OF
from headrace.kubernetes.pods.secret_files import SecretFile
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


def console_files(console: ConsoleSettings) -> list[SecretFile]:
    """Return the files of tokens and TLS that the settings name."""
    if not console.enabled:
        return []
    tls = console.tls
    named = [
        ("read_token_file", console.read_token_file, CONSOLE_SECRET, "read-token"),
        ("act_token_file", console.act_token_file, CONSOLE_SECRET, "act-token"),
        ("tls.cert_file", None if tls is None else tls.cert_file, CONSOLE_TLS_SECRET, "tls.crt"),
        ("tls.key_file", None if tls is None else tls.key_file, CONSOLE_TLS_SECRET, "tls.key"),
    ]
    return [
        SecretFile(f"console.{setting}", path, secret, key)
        for setting, path, secret, key in named
        if path is not None
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
