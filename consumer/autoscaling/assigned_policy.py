"""The policy that Serve's configuration names; it applies the status board's latest task.

Serve restarts the replicas of a config file's application if the policy or its arguments in it
change. This policy's never change: bounds and aims reach it through Ray's key-value store.
"""

import logging
import math
from collections.abc import Callable
from typing import Any

from consumer.autoscaling.kv import assigned_task
from consumer.autoscaling.serve_policy import ServeScalingPolicy
from consumer.autoscaling.task import ScalingTask
from handoff.clock import Clock, SystemClock

# Serve's controller shows its own loggers only.
log = logging.getLogger("ray.serve")

LOOK_EVERY_S = 2.0


class AssignedScalingPolicy:
    """Scales one deployment; a new task starts a new policy, which learns again."""

    def __init__(
        self,
        deployment: str,
        *,
        clock: Clock | None = None,
        ask: Callable[[str], ScalingTask | None] = assigned_task,
    ) -> None:
        self._deployment = deployment
        self._clock = clock or SystemClock()
        self._ask = ask
        self._look_at_s = -math.inf
        self._task: ScalingTask | None = None
        self._policy: Callable[[Any], tuple[int, dict[str, Any]]] | None = None

    def __call__(self, context: Any) -> tuple[int, dict[str, Any]]:
        """Return the target; it is held until there is a task."""
        now_s = self._clock.monotonic()
        if now_s >= self._look_at_s:
            self._look_at_s = now_s + LOOK_EVERY_S
            self._look()
        if self._policy is None:
            return int(context.target_num_replicas), {}
        return self._policy(context)

    def _look(self) -> None:
        try:
            task = self._ask(self._deployment)
        except Exception:  # the old task goes on, and Serve's control loop must
            log.exception(
                "autoscaling %s: its task cannot be read",
                self._deployment,
                extra={"event": "scaling_held", "deployment": self._deployment},
            )
            return
        if task != self._task:
            self._task = task
            self._policy = None if task is None else ServeScalingPolicy(self._deployment, task)
