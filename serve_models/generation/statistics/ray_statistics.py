"""vLLM's statistics as Ray's metrics."""

from typing import Any

from vllm.v1.metrics.ray_wrappers import RayPrometheusStatLogger

from serve_models.generation.statistics.thinning import Thinning


class RayStatistics(RayPrometheusStatLogger):
    """vLLM's own logger for Ray, with fewer observations. Needs a process of Ray's."""

    def __init__(self, *args: Any, **values: Any) -> None:
        super().__init__(*args, **values)
        self._thinning = Thinning()

    def record(self, scheduler_stats: Any, iteration_stats: Any, *args: Any, **values: Any) -> None:
        if iteration_stats is not None:
            left_out = self._thinning.thin(iteration_stats)
            engine = values.get("engine_idx", 0)
            for reason, requests in left_out.items():
                self.counter_request_success[reason][engine].inc(requests)
        super().record(scheduler_stats, iteration_stats, *args, **values)
