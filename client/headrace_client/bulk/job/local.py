"""Finds the service that runs a job on this machine, where it is installed."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol

from headrace_client.errors import ClientError

LOCAL_SERVICES = "headrace.local"
"""The group of entry points in which the service's distribution names what starts it."""

_OWN_SERVICE = "headrace.service.local_job"


class LocalServiceMissingError(ClientError):
    """The service is not installed here."""


class StartsLocalService(Protocol):
    """Starts a broker and a model for one job; yields a document as of ``headrace.yaml``."""

    def __call__(
        self, *, config: Path | None, route: str | None, say: Callable[[str], None]
    ) -> AbstractContextManager[dict[str, Any]]: ...


def find_local_service() -> StartsLocalService:
    """Return what starts the service; raises ``LocalServiceMissingError``."""
    for point in entry_points(group=LOCAL_SERVICES):
        found: StartsLocalService = point.load()
        return found
    try:
        found = import_module(_OWN_SERVICE).local_service
    except ModuleNotFoundError as error:
        raise LocalServiceMissingError(
            "--local starts a broker, Ray and the model on this machine, and the service is not "
            f"installed here (no module {error.name}): pip install 'headrace[demo]'; or name a "
            "service that runs with --config or --bootstrap"
        ) from None
    return found
