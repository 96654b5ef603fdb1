"""How pods get what authenticates them to Kafka: Secrets as files, and as environment variables.

Files are mounted where the settings look for them. Kubernetes replaces them when a Secret changes,
and connections follow. A variable keeps the value that it had when the pod started.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from headrace.kubernetes.names import (
    EXTERNAL_KAFKA_SECRET,
    RESULTS_KAFKA_SECRET,
    StrimziCluster,
)
from headrace.kubernetes.pods.secret_files import SecretFile
from schemas.settings.file import KafkaSettings, Settings
from schemas.settings.secrets import KAFKA, clusters_of, own_secrets, variable_of

CA, PASSWORD, CLIENT_SECRET = "ca.crt", "password", "client-secret"
KEY_PASSWORD = "key-password"  # noqa: S105 - a name, no secret
_KEY_PASSWORD = ("tls", "key_password")
_KEYS = {
    ("sasl", "password"): PASSWORD,
    ("sasl", "oauth", "client_secret"): CLIENT_SECRET,
    _KEY_PASSWORD: KEY_PASSWORD,
}


def environment(settings: Settings, cluster: StrimziCluster | None) -> list[dict[str, Any]]:
    """Return the variables of the secrets that the settings neither have nor take from a file."""
    own = own_secrets(settings)
    found = []
    for section, kafka in clusters_of(settings).items():
        for path, key in _KEYS.items():
            variable = variable_of(section, path)
            is_optional = path == _KEY_PASSWORD and _may_have_key_password(kafka)
            if variable not in own and not is_optional:
                continue
            reference: dict[str, Any] = {
                "name": _secret_of(section, kafka, key, cluster),
                "key": key,
            }
            if is_optional:
                # Most keys have no password, and the settings do not tell.
                reference["optional"] = True
            found.append({"name": variable, "valueFrom": {"secretKeyRef": reference}})
    return found


def _may_have_key_password(kafka: KafkaSettings) -> bool:
    tls = kafka.tls
    return (
        tls is not None
        and tls.key_file is not None
        and tls.key_password is None
        and tls.key_password_file is None
    )


def files(settings: Settings, cluster: StrimziCluster | None) -> list[SecretFile]:
    """Return the files that the settings name, and the Secrets that have them."""
    return [
        SecretFile(f"{section}.{setting}", path, _secret_of(section, kafka, key, cluster), key)
        for section, kafka in clusters_of(settings).items()
        for setting, path, key in _files_of(kafka)
    ]


def _files_of(kafka: KafkaSettings) -> Iterator[tuple[str, Path, str]]:
    tls, sasl = kafka.tls, kafka.sasl
    named: list[tuple[str, Path | None, str]] = []
    if tls is not None:
        named += [
            ("tls.ca_file", tls.ca_file, CA),
            ("tls.cert_file", tls.cert_file, "tls.crt"),
            ("tls.key_file", tls.key_file, "tls.key"),
            ("tls.key_password_file", tls.key_password_file, KEY_PASSWORD),
        ]
    if sasl is not None:
        named.append(("sasl.password_file", sasl.password_file, PASSWORD))
        if sasl.oauth is not None:
            named += [
                ("sasl.oauth.client_secret_file", sasl.oauth.client_secret_file, CLIENT_SECRET),
                ("sasl.oauth.ca_file", sasl.oauth.ca_file, "oauth-ca.crt"),
            ]
    yield from ((setting, path, key) for setting, path, key in named if path is not None)


def _secret_of(section: str, kafka: KafkaSettings, key: str, cluster: StrimziCluster | None) -> str:
    if section != KAFKA:
        return RESULTS_KAFKA_SECRET
    if cluster is None:
        return EXTERNAL_KAFKA_SECRET
    if key == CA:
        return cluster.ca_secret
    # Strimzi writes a user's password to a Secret of the user's name.
    return (kafka.sasl.username if kafka.sasl else None) or EXTERNAL_KAFKA_SECRET
