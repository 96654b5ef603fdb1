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
from schemas.settings.secrets import KAFKA, RESULTS_KAFKA
from schemas.settings.section import Section


def application(args: dict[str, Any]) -> serve.Application:
    """Compose one application; Serve calls it with the config's ``args``.

    ``args`` are the application's name, and what its replicas are built from, without secrets.
    Replicas, autoscaling and live settings are in the config's ``deployments``. Raises
    ``SettingsError`` if something is illegal.
    """
    built = dict(args)
    name = built.pop("application")
    clusters = {
        section: kafka_of(built[section], section)
        for section in (KAFKA, RESULTS_KAFKA)
        if section in built
    }
    options = {"name": deployment_name(name)}
    return bound(name, built, clusters.get(KAFKA), options, results=clusters.get(RESULTS_KAFKA))


class _KafkaArgs(Section):
    kafka: KafkaSettings = KafkaSettings()
    results_kafka: KafkaSettings = KafkaSettings()


def kafka_of(values: dict[str, Any], section: str = KAFKA) -> KafkaSettings:
    """Check a rendered cluster with the pod's environment; raises ``SettingsError``."""
    merged, where = apply_environment({section: values})
    try:
        found: KafkaSettings = getattr(
            _KafkaArgs.model_validate({section: merged[section]}), section
        )
    except ValidationError as error:
        problems = describe_errors(error, where)
    else:
        return found
    # Outside the handler: pydantic's own error quotes its input, secrets included.
    raise SettingsError(problems)
