"""The instance ids of a consumer group's static members."""

import hashlib
import re

_MOST_GROUP_CHARACTERS = 200
_DIGEST_CHARACTERS = 8


def name_instance(group: str, *, cluster: str, application: str, rank: int) -> str:
    """Return the ``group.instance.id`` of a consumer replica.

    A replica that replaces another has the same id. Any two other replicas of the group have
    different ones, also those of two applications, or of two clusters during an upgrade.

    Args:
        group: The consumer group.
        cluster: Identifies the Ray cluster for as long as it lives.
        application: The Serve application.
        rank: The replica's rank among those of its deployment.
    """
    service = hashlib.sha256(f"{cluster}\n{application}".encode()).hexdigest()[:_DIGEST_CHARACTERS]
    # Kafka takes these characters only, and 249 of them at most.
    legal = re.sub(r"[^A-Za-z0-9._-]", "_", group)[:_MOST_GROUP_CHARACTERS]
    return f"{legal}-{service}-{rank}"
