"""A topic of the job's own for its results, where the route allows one."""

from collections.abc import Sequence

from headrace_client.kafka.topics import TopicAdmin
from headrace_client.routes import Route
from headrace_client.settings import Connection

_MOST_CHARACTERS = 249
_ANY = "*"


def own_topic(patterns: Sequence[str], job: str) -> str | None:
    """Return the name of a job's own topic under the first prefix; ``None`` if there is none."""
    for pattern in patterns:
        name = pattern.removesuffix(_ANY) + job
        if pattern.endswith(_ANY) and len(name) <= _MOST_CHARACTERS:
            return name
    return None


async def create_own_topic(connection: Connection, route: Route, topic: str) -> None:
    """Create it like the route's results topic; raises ``KafkaError`` if that is refused."""
    async with TopicAdmin(connection) as admin:
        like = (await admin.describe([route.results_topic]))[route.results_topic]
        if like is not None:
            await admin.create(topic, like)


async def delete_own_topic(connection: Connection, topic: str) -> None:
    async with TopicAdmin(connection) as admin:
        await admin.delete([topic])
