"""Keeps secrets out of what Ray stores: replicas get the names of variables that have them.

Ray Serve keeps the arguments of its deployments, and Headrace the tasks of its scaling policies, in
Ray's own store. A secret that stands in the settings is replaced by ``${NAME}`` on its way there.
Each replica takes it from its own environment, which is that in which Ray was started.
"""

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, SecretStr

from schemas.settings.file import Settings
from schemas.settings.kafka import KafkaSettings, is_reference
from schemas.settings.section import Section

AnySection = TypeVar("AnySection", bound=Section)

KAFKA, RESULTS_KAFKA = "kafka", "results_kafka"
SECRET_PATHS = (("sasl", "password"), ("sasl", "oauth", "client_secret"), ("tls", "key_password"))
"""The secrets of a cluster's section."""


def variable_of(section: str, path: tuple[str, ...]) -> str:
    """Return the variable that overrides a setting."""
    return "HEADRACE_" + "__".join((section, *path)).upper()


def own_secrets(settings: Settings) -> dict[str, str]:
    """Return the secrets that the settings hold themselves, by the variables that override them."""
    found: dict[str, str] = {}
    for section, kafka in clusters_of(settings).items():
        for path in SECRET_PATHS:
            secret = _at(kafka, path)
            if secret is not None and not is_reference(secret):
                found[variable_of(section, path)] = secret.get_secret_value()
    return found


def secret_values(section: BaseModel, environment: Mapping[str, str]) -> Iterator[str]:
    """Yield every secret of a section and of those below it; of a reference what it refers to."""
    for name in type(section).model_fields:
        value = getattr(section, name)
        for each in value.values() if isinstance(value, Mapping) else (value,):
            if isinstance(each, SecretStr):
                secret = each.get_secret_value()
                yield environment.get(secret[2:-1], "") if is_reference(each) else secret
            elif isinstance(each, BaseModel):
                yield from secret_values(each, environment)


def clusters_of(settings: Settings) -> dict[str, KafkaSettings]:
    """Return the clusters by the name of their section."""
    found = {KAFKA: settings.kafka}
    if settings.results_kafka is not None:
        found[RESULTS_KAFKA] = settings.results_kafka
    return found


def with_references(kafka: KafkaSettings, section: str = KAFKA) -> KafkaSettings:
    """Return a cluster without secrets: each is ``${NAME}`` of the variable that overrides it."""
    for path in SECRET_PATHS:
        secret = _at(kafka, path)
        if secret is not None and not is_reference(secret):
            reference = SecretStr(f"${{{variable_of(section, path)}}}")
            kafka = _with(kafka, path, reference)
    return kafka


def _at(section: Any, path: tuple[str, ...]) -> SecretStr | None:
    for key in path:
        section = getattr(section, key, None)
    return section if isinstance(section, SecretStr) else None


def _with(section: AnySection, path: tuple[str, ...], value: SecretStr) -> AnySection:
    key, *below = path
    inner = _with(getattr(section, key), tuple(below), value) if below else value
    return section.model_copy(update={key: inner})
