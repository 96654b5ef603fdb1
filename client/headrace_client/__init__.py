"""Send work to Headrace through Kafka, and read the results."""

from importlib import import_module
from typing import Any

_HOME = {
    "ClientSettings": "settings",
    "Connection": "settings",
    "Route": "routes",
    "Routes": "routes",
    "Sasl": "settings",
    "Tls": "settings",
    "load_settings": "settings",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
