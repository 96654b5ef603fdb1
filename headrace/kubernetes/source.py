"""Reads a settings file for rendering: the file alone, and no secret in it.

The environment is left out, so that the same file renders to the same manifests everywhere. Secrets
reach the pods by environment variables from Kubernetes Secrets. So a file that carries a secret is
refused: the secret would end up in manifests.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace.settings.file import check_settings, read_file
from headrace.settings.problems import Problem, SettingsError
from headrace.settings.yaml_lines import read_document
from schemas.settings.file import Settings
from schemas.settings.option_secrets import REFERENCE
from schemas.settings.secrets import KAFKA, RESULTS_KAFKA, SECRET_PATHS, variable_of

SECRETS = {
    (section, *path): variable_of(section, path)
    for section in (KAFKA, RESULTS_KAFKA)
    for path in SECRET_PATHS
}
"""Each secret of the settings, and the variable that a pod takes it from."""

_PLACEHOLDER = "from-a-kubernetes-secret"


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderSource:
    """A settings file, ready to be rendered.

    Attributes:
        text: The file unchanged.
        data: Its content as plain values, without secrets.
        settings: The same, checked; secrets are placeholders.
    """

    text: str
    data: dict[str, Any]
    settings: Settings


def read_source(path: Path) -> RenderSource:
    """Read and check a settings file.

    Raises ``SettingsError`` if it is unreadable or illegal, has a secret, or asks for a local
    broker.
    """
    return parse_source(read_file(path), str(path))


def parse_source(content: bytes, name: str) -> RenderSource:
    """Check a settings file's content, as ``read_source`` does; ``name`` is for messages."""
    document = read_document(content, name)
    carried = [
        Problem(
            ".".join(path),
            f"is a secret; take it out of the file and give it to the pods as {variable}",
            document.where.get(path, name),
        )
        for path, variable in SECRETS.items()
        if _is_secret(_at(document.data, path))
    ]
    if carried:
        raise SettingsError(carried)
    settings = check_settings(_with_placeholder(document.data), document.where)
    if settings.kafka.broker != "external":
        message = (
            f"'{settings.kafka.broker}' is a broker on one machine; set external, and bootstrap to "
            "the cluster's address"
        )
        where = document.where.get(("kafka", "broker"), name)
        raise SettingsError([Problem("kafka.broker", message, where)])
    return RenderSource(text=content.decode(), data=document.data, settings=settings)


def _with_placeholder(data: Mapping[str, Any]) -> dict[str, Any]:
    merged = copy.deepcopy(dict(data))
    for section in (KAFKA, RESULTS_KAFKA):
        sasl, oauth = _at(merged, (section, "sasl")), _at(merged, (section, "sasl", "oauth"))
        if isinstance(oauth, dict):
            if "token_url" in oauth and "client_secret_file" not in oauth:
                oauth.setdefault("client_secret", _PLACEHOLDER)
        elif isinstance(sasl, dict) and "password_file" not in sasl:
            sasl.setdefault("password", _PLACEHOLDER)
    return merged


def _is_secret(value: Any) -> bool:
    """Tell a secret from none, and from ``${NAME}``, which the pods' environment has to have."""
    return value is not None and not (isinstance(value, str) and REFERENCE.fullmatch(value))


def _at(data: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    value: Any = data
    for key in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value
