"""The policy of the service and its two baselines, as the simulator drives them."""

import math
from collections import deque

from benchmarks.autoscaling.simulator import Service, View
from consumer.autoscaling.decision import Decision
from consumer.autoscaling.policy import DrainPolicy, Signals

SERVE_LOOK_BACK_S = 30.0
SERVE_UPSCALE_DELAY_S = 30.0
SERVE_DOWNSCALE_DELAY_S = 600.0
KEDA_POLLING_S = 30.0
KEDA_COOLDOWN_S = 300.0
HPA_SYNC_S = 15.0
HPA_STABILIZATION_S = 300.0
HPA_TOLERANCE = 0.1


class Headrace:
    """The service's own policy.

    Args:
        service: What is scaled.
    """

    def __init__(self, service: Service) -> None:
        self._partitions = service.partitions
        self._policy = DrainPolicy(
            min_replicas=service.min_replicas,
            max_replicas=service.max_replicas,
            drain_target_s=service.drain_target_s,
        )
        self.last: Decision | None = None

    def decide(self, view: View, target: int) -> int:
        """Return the policy's target."""
        self.last = self._policy.decide(
            Signals(
                now_s=view.now_s,
                running=view.running,
                remaining_records=view.remaining_records,
                arrived_records=view.arrived_records,
                done_records=view.done_records,
                partitions=self._partitions,
            ),
            target,
        )
        return self.last.target


class ServeDefault:
    """Ray Serve 2.60's ``replica_queue_length_autoscaling_policy`` with its delays.

    It sees all that waits as ongoing requests, which is more than real handles hold. A test
    compares the delays and the arithmetic with Ray's own functions.

    Args:
        target_ongoing_requests: Records that a replica should have, waiting ones included.
        upscale_delay_s: For how long more must be wanted.
        downscale_delay_s: For how long less must be wanted.
    """

    def __init__(
        self,
        target_ongoing_requests: float,
        upscale_delay_s: float = SERVE_UPSCALE_DELAY_S,
        downscale_delay_s: float = SERVE_DOWNSCALE_DELAY_S,
    ) -> None:
        self._target_ongoing = target_ongoing_requests
        self._upscale_delay_s = upscale_delay_s
        self._downscale_delay_s = downscale_delay_s
        self._seen: deque[tuple[float, int]] = deque()
        self._sum = 0
        self._direction = 0
        self._since_s = 0.0

    def decide(self, view: View, target: int) -> int:
        """Return the target by the mean of what was ongoing over the look-back period."""
        self._seen.append((view.now_s, view.remaining_records))
        self._sum += view.remaining_records
        while self._seen[0][0] <= view.now_s - SERVE_LOOK_BACK_S:
            self._sum -= self._seen.popleft()[1]
        ongoing = self._sum / len(self._seen)
        if not view.running:
            if view.remaining_records:
                return max(1, target)
            desired = target
        else:
            desired = math.ceil(ongoing / self._target_ongoing)
        return self.delayed(desired, target, view.now_s)

    def delayed(self, desired: int, target: int, now_s: float) -> int:
        """Return ``desired`` once it has been on the same side of the target for long enough."""
        direction = (desired > target) - (desired < target)
        if direction != self._direction:
            self._direction, self._since_s = direction, now_s
        if not direction:
            return target
        delay_s = self._upscale_delay_s if direction > 0 else self._downscale_delay_s
        if now_s - self._since_s + 1e-6 < delay_s:
            return target
        self._direction = 0
        return max(1, desired) if direction < 0 and target > 1 else desired


class LagThreshold:
    """KEDA's Kafka scaler with the defaults of KEDA 2 and of the horizontal pod autoscaler.

    Replicas are lag over threshold, every 15 s, from a lag that is 30 s old at most. From zero it
    scales at once; to zero after 300 s without lag. It goes up to at most twice as many (or four
    more) every 15 s, and down to the most of the last 300 s.

    Args:
        lag_threshold_records: KEDA's ``lagThreshold``.
        stabilization_s: For how long the most that was wanted counts on the way down.
        partitions: Of the topic; no more replicas than these.
    """

    def __init__(
        self,
        lag_threshold_records: float,
        stabilization_s: float = HPA_STABILIZATION_S,
        partitions: int | None = None,
    ) -> None:
        self._threshold = lag_threshold_records
        self._stabilization_s = stabilization_s
        self._partitions = partitions
        self._lag = 0
        self._polled_at_s = -math.inf
        self._synced_at_s = -math.inf
        self._lag_seen_at_s = -math.inf
        self._wanted: deque[tuple[float, int]] = deque()

    def decide(self, view: View, target: int) -> int:
        """Return the target of the last synchronization, or a new one."""
        now_s = view.now_s
        if now_s - self._polled_at_s >= KEDA_POLLING_S:
            self._polled_at_s, self._lag = now_s, view.remaining_records
        if self._lag:
            self._lag_seen_at_s = now_s
        if not target:
            return 1 if self._lag else 0
        if now_s - self._synced_at_s < HPA_SYNC_S:
            return target
        self._synced_at_s = now_s
        desired = self._lag / self._threshold
        if abs(desired / target - 1) <= HPA_TOLERANCE:
            desired = target
        wanted = min(math.ceil(desired), max(2 * target, target + 4))
        if self._partitions is not None:
            wanted = min(wanted, self._partitions)
        while self._wanted and self._wanted[-1][1] <= wanted:
            self._wanted.pop()
        self._wanted.append((now_s, wanted))
        while self._wanted[0][0] < now_s - self._stabilization_s:
            self._wanted.popleft()
        if wanted < target:
            wanted = min(target, self._wanted[0][1])
        if wanted < 1:
            return 0 if now_s - self._lag_seen_at_s >= KEDA_COOLDOWN_S else 1
        return wanted
