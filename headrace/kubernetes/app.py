"""A Serve application as a RayService runs it: settings from its args, secrets from the pod."""

from typing import Any

from pydantic import ValidationError
from ray import serve

from headrace.service.app import bound
from headrace.service.applications import deployment_name
from headrace.settings.environment import apply_environment
from headrace.settings.messages import describe_errors
from headrace.settings.problems import SettingsError
from schemas.settings.file import KafkaSettings
from schemas.settings.section import Section


def application(args: dict[str, Any]) -> serve.Application:
    """Compose one application; Serve calls it with the config's ``args``.

    ``args`` are the application's name, and what its replicas are built from, without secrets.
    Replicas, autoscaling and live settings are in the config's ``deployments``. Raises
    ``SettingsError`` if a secret is missing from the pod's environment, or something is illegal.
    """
    built = dict(args)
    name = built.pop("application")
    kafka = kafka_of(built["kafka"]) if "kafka" in built else None
    options = {"name": deployment_name(name)}
    return bound(name, built, kafka, options)


class _KafkaArgs(Section):
    kafka: KafkaSettings


def kafka_of(values: dict[str, Any]) -> KafkaSettings:
    """Check the rendered ``kafka`` section with the pod's environment; raises ``SettingsError``."""
    merged, where = apply_environment({"kafka": values})
    try:
        return _KafkaArgs(kafka=merged["kafka"]).kafka
    except ValidationError as error:
        found = describe_errors(error, where)
    # Outside the handler: pydantic's own error quotes its input, secrets included.
    raise SettingsError(found)
