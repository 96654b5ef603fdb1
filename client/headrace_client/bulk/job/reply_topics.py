"""A topic of the job's own for its results, where the route allows one."""

from collections.abc import Callable, Sequence

from headrace_client.errors import KafkaError
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


async def find_results_topic(
    connection: Connection, route: Route, job: str, *, kept: str | None, say: Callable[[str], None]
) -> str:
    """Return where a job's results come: a topic of its own, which is there then, or the route's.

    Raises ``KafkaError`` if the topic of its own, which ``kept`` says it has, cannot be made again.
    """
    own = own_topic(route.reply_topics, job)
    if own is None or kept == route.results_topic:
        return route.results_topic
    try:
        async with TopicAdmin(connection) as admin:
            like = (await admin.describe([route.results_topic]))[route.results_topic]
            if like is not None:
                await admin.create(own, like)
    except KafkaError as error:
        if kept == own:
            raise
        say(f"results come on {route.results_topic}: {error}")
        return route.results_topic
    return own


async def delete_own_topic(connection: Connection, topic: str, say: Callable[[str], None]) -> None:
    """All is written: a topic of the job's own is of no more use."""
    try:
        async with TopicAdmin(connection) as admin:
            await admin.delete([topic])
    except KafkaError as error:
        say(f"topic {topic} stays: {error}")
