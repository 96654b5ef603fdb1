"""What Serve says of a deployment that lacks replicas, in a line. Pure."""

from collections.abc import Mapping

MOST_CHARACTERS = 200
_WELL = "HEALTHY"
_RUNNING = "RUNNING"
_STOPPING = "STOPPING"


def missing_replicas(status: str, replica_states: Mapping[str, int], message: str) -> str | None:
    """Return what a deployment waits for, or ``None`` where all of its replicas run.

    Args:
        status: Serve's word for it.
        replica_states: How many replicas are in each of Serve's states.
        message: Serve's explanation; may be many lines, or none.
    """
    running = replica_states.get(_RUNNING, 0)
    wanted = sum(number for state, number in replica_states.items() if state != _STOPPING)
    if status == _WELL or running >= max(wanted, 1):
        return None
    # The last line of a traceback says most; Serve's own messages have one line.
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    why = lines[-1] if lines else "they are starting"
    if len(why) > MOST_CHARACTERS:
        why = f"{why[: MOST_CHARACTERS - 1]}…"
    return f"{running} of {max(wanted, 1)} replicas run: {why} (`serve status` tells all)"
