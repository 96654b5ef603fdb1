"""Names by which the manifests refer to each other."""

import hashlib
import re
from dataclasses import dataclass

from headrace.errors import UserError
from schemas.settings.file import KafkaSettings
from schemas.settings.kubernetes import UpgradeSettings

PART_OF = "headrace"
RAY_SERVICE = "headrace"
SETTINGS_CONFIG_MAP = "headrace-settings"
SETTINGS_DIGEST = "headrace.io/settings-sha256"
"""Annotation: of which settings file the resource, and the pods and arguments in it, are."""
EXTERNAL_KAFKA_SECRET = "headrace-kafka"  # noqa: S105 - a name, no secret
"""For a Kafka that is not Strimzi's. Keys: password, or client-secret (OAUTHBEARER); ca.crt; and of
other files that the settings name tls.crt, tls.key, key-password (a variable too) and
oauth-ca.crt."""
RESULTS_KAFKA_SECRET = "headrace-results-kafka"  # noqa: S105 - a name, no secret
"""The same for results_kafka."""
CONSOLE_SECRET = "headrace-console"  # noqa: S105 - a name, no secret
"""With keys read-token and act-token; where the settings name such tokens."""
CONSOLE_TLS_SECRET = "headrace-console-tls"  # noqa: S105 - a name, no secret
"""Of the type kubernetes.io/tls; where the settings have console.tls."""
TRACING_SECRET = "headrace-tracing"  # noqa: S105 - a name, no secret
"""With key headers; where the settings have tracing.headers_file; optional."""
HUB_SECRET = "headrace-hub"  # noqa: S105 - a name, no secret
"""With key token, for gated models; optional."""

_STRIMZI_BOOTSTRAP = re.compile(r"^(?P<cluster>[a-z0-9-]+)-kafka-bootstrap(\.[a-z0-9.-]+)?:(\d+)$")
MOST_WORD_CHARACTERS = 200
"""A name has at most 253 characters, and a legal topic at most 249."""


def settings_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def settings_map_name(upgrade: UpgradeSettings, digest: str) -> str:
    """Return the name of the settings' ConfigMap.

    With a new name for each content, pods never see a file that they were not made for, and a
    change of the file is a change of the pods. Under one name it reaches the pods that run, as the
    changed arguments reach the applications in them.
    """
    if upgrade.settings == "in_place":
        return SETTINGS_CONFIG_MAP
    return f"{SETTINGS_CONFIG_MAP}-{digest[:10]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StrimziCluster:
    name: str
    port: int

    @property
    def ca_secret(self) -> str:
        return f"{self.name}-cluster-ca-cert"


def strimzi_cluster(kafka: KafkaSettings) -> StrimziCluster | None:
    """Return the Strimzi cluster of the settings, ``None`` for any other Kafka.

    Raises ``UserError`` if they do not use SCRAM over TLS, which its listener requires.
    """
    match = _STRIMZI_BOOTSTRAP.match(kafka.bootstrap)
    if match is None:
        return None
    if kafka.sasl is None or kafka.sasl.mechanism != "SCRAM-SHA-512":
        raise UserError(
            "kafka.sasl: Strimzi's users authenticate by SCRAM; set mechanism: SCRAM-SHA-512 and "
            "username (the password comes from the user's Secret)"
        )
    if kafka.tls is None or kafka.tls.ca_file is None or kafka.tls.ca_file.name != "ca.crt":
        raise UserError(
            "kafka.tls.ca_file: Strimzi's CA is mounted as ca.crt; set it to e.g. "
            "/etc/headrace/kafka/ca.crt"
        )
    return StrimziCluster(name=match["cluster"], port=int(match[3]))


def resource_name(topic: str) -> str:
    """Return a Kubernetes name for a topic: its own if that is legal, else a similar one."""
    if re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", topic) and ".." not in topic:
        return topic
    words = re.sub(r"[^a-z0-9]+", "-", topic.lower()).strip("-")[:MOST_WORD_CHARACTERS]
    digest = hashlib.sha256(topic.encode()).hexdigest()[:8]
    return f"{words}-{digest}".strip("-")
