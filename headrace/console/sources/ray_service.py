"""The service, as its status board and Serve know it."""

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx2
import msgspec
import ray
from ray import serve

from headrace.console.sources.running_settings import shown_settings
from headrace.errors import ServiceError
from headrace.overview.snapshot import Overview, PartitionOverview
from headrace.service.changes import RunningApplication
from headrace.service.running import running_applications
from schemas.settings.console import ConsoleSettings
from schemas.settings.file import KafkaSettings

ANSWER_WITHIN_S = 8.0
MOST_EXPOSITION_BYTES = 64 * 1024 * 1024


class RayService:
    """Asks the status board by ``status``, its handle, and Serve's controller.

    ``clusters`` are by the name of their section.
    """

    def __init__(
        self, status: Any, clusters: Mapping[str, KafkaSettings], console: ConsoleSettings
    ) -> None:
        self._status = status
        self._clusters = clusters
        self._console = console

    async def overview(self) -> Overview:
        """Return the overview of this moment; raises ``ServiceError`` without an answer."""
        return Overview.from_dict(await self._asked("overview"))

    async def partitions(self, route: str) -> list[PartitionOverview]:
        return msgspec.convert(await self._asked("partitions", route), list[PartitionOverview])

    async def applications(self) -> Mapping[str, RunningApplication]:
        """Return what runs, by the name of the application."""
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                return await asyncio.to_thread(running_applications)
        except (ray.exceptions.RayError, TimeoutError) as error:
            raise ServiceError(f"Serve does not say what runs: {error}") from error

    async def settings(self) -> dict[str, Any]:
        """Return what runs, as sections of the settings file, without secrets."""
        return shown_settings(await self.applications(), self._clusters, self._console)

    async def exposition(self) -> tuple[bytes, str]:
        """Return this node's metrics as Ray's agent exports them, and their content type."""
        url = await asyncio.to_thread(_metrics_url)
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S), httpx2.AsyncClient() as client:
                answer = await client.get(url, headers={"accept": "text/plain; version=0.0.4"})
                answer.raise_for_status()
        except (httpx2.HTTPError, TimeoutError) as error:
            raise ServiceError(f"Ray's metrics agent at {url} does not answer: {error}") from error
        if len(answer.content) > MOST_EXPOSITION_BYTES:
            raise ServiceError(f"Ray's metrics agent at {url} answers with too much")
        return answer.content, answer.headers.get("content-type", "text/plain; version=0.0.4")

    async def _asked(self, method: str, *arguments: Any) -> Any:
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                return await getattr(self._status, method).remote(*arguments)
        except TimeoutError as error:
            raise ServiceError(
                f"the status board has not answered within {ANSWER_WITHIN_S:g} s"
            ) from error
        except ray.exceptions.RayTaskError as error:
            raise ServiceError(str(error.cause or error).splitlines()[0]) from error
        except (serve.exceptions.RayServeException, ray.exceptions.RayError) as error:
            raise ServiceError(f"the status board does not answer: {error}") from error


def _metrics_url() -> str:
    here = ray.get_runtime_context().get_node_id()
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    for node in nodes:
        if node["NodeID"] == here:
            return f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    raise ServiceError("Ray does not know the node on which the console runs")
