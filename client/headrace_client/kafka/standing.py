"""Why no result comes: whether anybody reads the requests, and how many are before ours."""

import asyncio
from collections.abc import Collection

from headrace_client.errors import ClientError
from headrace_client.kafka.topics import GroupStanding, TopicAdmin
from headrace_client.routes import Route
from headrace_client.settings import Connection
from headrace_client.wire.names import Place

_ANSWER_S = 5.0


async def explain_silence(
    connection: Connection,
    route: Route,
    places: Collection[Place],
    *,
    unacknowledged: int = 0,
    results_topic: str | None = None,
) -> str:
    """Return a sentence: what stands between these requests and their results.

    ``places`` are requests without a result; ``unacknowledged`` requests have no place yet. Takes
    5 s at most, and raises nothing.
    """
    if not places and unacknowledged:
        return (
            f"no broker has acknowledged the request on {route.requests_topic} yet: the brokers "
            f"of kafka.bootstrap ({connection.bootstrap}), or the partitions' leaders, are away"
        )
    if route.group is None:
        return (
            f"whether anybody reads {route.requests_topic} is not known, as the route's group is "
            "not: give group=, or the settings file"
        )
    try:
        async with asyncio.timeout(_ANSWER_S), TopicAdmin(connection) as admin:
            standing = await admin.group(route.group, route.requests_topic)
    except (ClientError, TimeoutError) as error:
        return f"the cluster does not say who reads {route.requests_topic} ({error})"
    return describe_standing(
        standing,
        route.group,
        route.requests_topic,
        places,
        results_topic=results_topic or route.results_topic,
    )


def describe_standing(
    standing: GroupStanding,
    group: str,
    requests_topic: str,
    places: Collection[Place],
    *,
    results_topic: str,
) -> str:
    """Say in words what a group's standing means for the requests at ``places``. Pure."""
    if standing.members == 0:
        return (
            f"nobody reads {requests_topic}: group {group} has no members. Is the service running "
            "(`headrace up`, `headrace status`)? Requests stay in the topic, and are answered once "
            "it runs"
        )
    first: dict[int, int] = {}
    for place in places:
        first[place.partition] = min(place.offset, first.get(place.partition, place.offset))
    before = {number: at - standing.committed.get(number, 0) for number, at in first.items()}
    waiting = sum(max(0, count) for count in before.values())
    if waiting or any(count >= 0 for count in before.values()):
        return (
            f"the service works (group {group} has {standing.members} "
            f"member{'' if standing.members == 1 else 's'}); {waiting:,} earlier "
            f"request{'' if waiting == 1 else 's'} of {requests_topic} are not finished"
        )
    return (
        f"group {group} has finished these requests, and no result came on {results_topic}: check "
        "that this is the route's results topic, that the service allows it as a reply topic, and "
        "that this user may read it; or look at `headrace dlq list`"
    )
