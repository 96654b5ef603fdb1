"""TCP ports that stay reserved while their process is down."""

import random
import socket

# Below the range for outgoing connections: a broker must get its port back.
_FIRST, _LAST = 20_000, 32_000
_ATTEMPTS = 1_000
_given: set[int] = set()


def reserve_port() -> int:
    """Return a port on 127.0.0.1 that nothing uses and that was not returned before.

    Raises:
        RuntimeError: There is none.
    """
    rng = random.SystemRandom()
    for _ in range(_ATTEMPTS):
        port = rng.randrange(_FIRST, _LAST)
        if port not in _given and _is_free(port):
            _given.add(port)
            return port
    raise RuntimeError(f"no free port between {_FIRST} and {_LAST}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
