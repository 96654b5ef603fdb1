"""Tells the runners of jobs; ``headrace jobs`` does the same."""

from collections.abc import Mapping
from typing import Any

from pydantic import SecretStr

from headrace_client.registry import telling
from headrace_client.registry.announcements import Action
from headrace_client.routes import Route, Routes
from headrace_client.sections import SectionReader
from headrace_client.settings import ClientSettings, Connection
from schemas.settings.file import KafkaSettings
from schemas.settings.live import plain
from schemas.settings.secrets import SECRET_PATHS


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


def connection_of(kafka: KafkaSettings) -> Connection:
    """Return the cluster as clients know it; a secret is the name of a variable, or itself."""
    values: dict[str, Any] = plain(kafka)
    for path in SECRET_PATHS:
        *parents, key = path
        section: Any = kafka
        place: Any = values
        for name in parents:
            section = getattr(section, name, None)
            place = place.get(name, {})
        secret = getattr(section, key, None)
        if isinstance(secret, SecretStr):
            place[key] = secret.get_secret_value()
    return Connection.from_section(SectionReader(values, "kafka"))
