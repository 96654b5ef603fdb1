"""Tells the runners of jobs; ``headrace jobs`` does the same."""

from collections.abc import Mapping

from consumer.kafka.client.connection import connection_of
from headrace_client.registry import telling
from headrace_client.registry.announcements import Action
from headrace_client.routes import Route, Routes
from headrace_client.settings import ClientSettings
from schemas.settings.file import KafkaSettings


class KafkaJobs:
    """Jobs of the service's cluster."""

    def __init__(self, kafka: KafkaSettings, topic: str) -> None:
        self._connection = connection_of(kafka)
        self._topic = topic
        self._routes = Routes(())

    def set_routes(self, routes: Mapping[str, Route]) -> None:
        """Take the routes that run: a job may need the control topic of its."""
        self._routes = Routes(routes.values())

    async def tell(self, job: str, action: Action, by: str) -> list[str]:
        """Tell a job's runner; return what follows, a line each. Raises ``ClientError``."""
        settings = ClientSettings(
            connection=self._connection, routes=self._routes, jobs_topic=self._topic
        )
        if action is Action.CANCEL:
            # With the service's rights nothing is published to a topic that a runner names.
            return await telling.cancel(settings, job, None, by=by, takes_announced_topic=False)
        return await telling.tell(settings, job, action, by=by)
