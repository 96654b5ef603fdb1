"""What a static member of a consumer group is called."""

import hashlib
import re

_MOST_GROUP_CHARACTERS = 200
_DIGEST_CHARACTERS = 8


def name_instance(group: str, *, cluster: str, application: str, rank: int) -> str:
    """Return the ``group.instance.id`` of a consumer replica.

    The same for a replica that is started again in another's place, and different for every other
    replica of the group: two applications, or two clusters side by side in an upgrade, must not
    take each other's places.

    Args:
        group: The consumer group.
        cluster: Names the Ray cluster, for as long as it lives.
        application: The Serve application.
        rank: The replica's rank among those of its deployment.
    """
    service = hashlib.sha256(f"{cluster}\n{application}".encode()).hexdigest()[:_DIGEST_CHARACTERS]
    # Kafka takes these characters only, and 249 of them at most.
    legal = re.sub(r"[^A-Za-z0-9._-]", "_", group)[:_MOST_GROUP_CHARACTERS]
    return f"{legal}-{service}-{rank}"
