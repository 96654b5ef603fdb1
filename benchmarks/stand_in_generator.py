"""A replica of a generator whose engine is a stand-in."""

import asyncio

from benchmarks.stand_in_engine import StandInEngine
from serve_models.generation.engine import GenerationEngine
from serve_models.replicas.base import Replica, this_replica


class StandInGenerator(Replica):
    """One replica of a generator over a stand-in engine.

    Args:
        max_num_seqs: The slots.
        step_ms: The time of a step.
        in_flight_ratio: As in the settings of a generator.
        outcome_linger_ms: The same.
    """

    # Ray Serve awaits the constructor.
    async def __init__(  # type: ignore[misc]
        self,
        *,
        max_num_seqs: int,
        step_ms: float = 1.0,
        in_flight_ratio: float = 1.25,
        outcome_linger_ms: float = 10.0,
    ) -> None:
        self._engine = StandInEngine(max_num_seqs)
        self._server = GenerationEngine(
            self._engine,
            in_flight_ratio=in_flight_ratio,
            outcome_linger_ms=outcome_linger_ms,
            host=this_replica(),
        )
        steps = self._engine.run(step_ms / 1000)
        self._stepping = asyncio.get_running_loop().create_task(steps)
