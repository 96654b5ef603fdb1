"""The Serve application as a RayService runs it: settings from its args, secrets from the pod."""

from typing import Any

from ray import serve

from headrace.service.app import build
from headrace.settings.environment import apply_environment
from headrace.settings.file import check_settings
from schemas.settings.file import Settings


def application(args: dict[str, Any]) -> serve.Application:
    """Compose the application from rendered settings; Serve calls it with the config's ``args``.

    Args:
        args: ``headrace.yaml`` as plain values, without secrets.

    Raises:
        SettingsError: A secret is missing from the pod's environment, or something is illegal.
    """
    return build(settings_of(args))


def settings_of(args: dict[str, Any]) -> Settings:
    """Lay the pod's environment over rendered settings, and check them.

    Raises:
        SettingsError: As ``application``.
    """
    return check_settings(*apply_environment(args))
