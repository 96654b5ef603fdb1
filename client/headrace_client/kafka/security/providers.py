"""Token providers of the user's own: ``package.module:function`` in the settings.

The settings file is trusted, as it is with custom model classes: what it names is imported and run.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from headrace_client.errors import SettingsError
from headrace_client.kafka.security.token_endpoint import Token, check_token

_SETTING = "kafka.sasl.oauth.token_provider"


def provider_of(path: str, options: Mapping[str, Any]) -> Callable[[], Token]:
    """Import a provider, and return what calls it with the settings' ``options``.

    The provider returns a token and the epoch seconds at which it expires, and may block. Raises
    ``SettingsError`` if it cannot be imported.
    """
    module_name, _, name = path.partition(":")
    try:
        provider = getattr(import_module(module_name), name)
    except (ImportError, AttributeError) as error:
        raise SettingsError(
            f"{_SETTING}: cannot import {path}: {error}; install its package where the replicas "
            "run, and see that it is on PYTHONPATH"
        ) from error
    if not callable(provider):
        raise SettingsError(f"{_SETTING}: {path} is no function")

    def ask() -> Token:
        answer = provider(**options)
        if not isinstance(answer, tuple) or len(answer) != 2:
            raise TypeError(f"{path} must return (token, epoch seconds at which it expires)")
        value, expires_at_s = answer
        if isinstance(expires_at_s, bool) or not isinstance(expires_at_s, int | float):
            raise TypeError(f"{path}: the second value must be epoch seconds")
        return check_token(value, float(expires_at_s))

    return ask
