"""Keys pressed in the terminal, one at a time and without Enter."""

import contextlib
import os
import select
import sys
import threading
from collections.abc import Iterator

_LOOK_S = 0.1
QUITS = frozenset("qQ\x1b\x03")
"""q, Escape and Ctrl-C."""


class Keys:
    """Reads keys from stdin; ``has_keys`` is false where that is no terminal."""

    def __init__(self) -> None:
        self.has_keys = sys.stdin.isatty()

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Have keys come at once and unseen; the terminal is as before afterwards."""
        if not self.has_keys:
            yield
            return
        import termios  # noqa: PLC0415 - Windows has none
        import tty  # noqa: PLC0415 - the same

        descriptor = sys.stdin.fileno()
        before = termios.tcgetattr(descriptor)
        try:
            tty.setcbreak(descriptor)
            yield
        finally:
            termios.tcsetattr(descriptor, termios.TCSADRAIN, before)

    def pressed(self, timeout_s: float) -> str:
        """Return the keys pressed within ``timeout_s``; empty without any."""
        if not self.has_keys:
            threading.Event().wait(timeout_s)
            return ""
        ready, _, _ = select.select([sys.stdin], [], [], timeout_s)
        if not ready:
            return ""
        pressed = os.read(sys.stdin.fileno(), 64).decode(errors="replace")
        if not pressed:
            # The terminal is gone, as after a connection that broke.
            return "q"
        return pressed
