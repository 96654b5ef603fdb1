"""Asks the status board of a running service for the overview."""

from typing import Any

import msgspec
import ray
from ray import serve

from headrace.errors import ServiceError
from headrace.overview.snapshot import Overview, PartitionOverview
from headrace.service.applications import STATUS_APPLICATION

ANSWER_S = 15.0
"""Longer than the brokers and Serve may take to answer the board."""


def read_overview() -> Overview:
    """Return the overview of the connected service; raises ``ServiceError`` without an answer."""
    return Overview.from_dict(_ask("overview"))


def read_partitions(route: str) -> list[PartitionOverview]:
    """Return one route's partitions; raises ``ServiceError`` without an answer."""
    return msgspec.convert(_ask("partitions", route), list[PartitionOverview])


def _ask(method: str, *arguments: str) -> Any:
    try:
        handle = serve.get_app_handle(STATUS_APPLICATION)
        asked = getattr(handle, method).remote(*arguments)
        return asked.result(timeout_s=ANSWER_S)
    except AttributeError as error:
        raise ServiceError(
            "the service that runs is of an earlier release, which has no overview: `headrace up` "
            "brings it up to date"
        ) from error
    except (serve.exceptions.RayServeException, TimeoutError, ray.exceptions.RayError) as error:
        raise ServiceError(f"the status board does not answer: {error}") from error
