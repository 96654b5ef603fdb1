"""Ray Serve's own pattern for batching: ``@serve.batch`` around the model, one call a text."""

import asyncio
from collections.abc import Sequence
from typing import Any

from ray import serve

from benchmarks.baselines.offline_encode import load_model
from handoff.clock import SystemClock

MAX_BATCH_TEXTS = 64
BATCH_WAIT_S = 0.05
CALLS_IN_FLIGHT = 512


class BatchEmbedder:
    """Embeds texts in the batches that ``serve.batch`` gathers.

    Args:
        directory: The model's files.
        dtype: A torch dtype's name.
        threads: Threads for torch.
    """

    def __init__(self, directory: str, dtype: str, threads: int) -> None:
        self._model = load_model(directory, dtype, threads)

    @serve.batch(max_batch_size=MAX_BATCH_TEXTS, batch_wait_timeout_s=BATCH_WAIT_S)
    async def embed(self, texts: list[str]) -> list[list[float]]:
        """Embed the texts of one batch; a caller passes one text and gets one vector."""
        vectors: list[list[float]] = self._model.encode(texts, batch_size=MAX_BATCH_TEXTS).tolist()
        return vectors


def bind(directory: str, dtype: str, threads: int) -> serve.Application:
    """Return the deployment, bound to a model."""
    deployment: Any = serve.deployment(
        name="serve-batch",
        num_replicas=1,
        max_ongoing_requests=2 * CALLS_IN_FLIGHT,
        ray_actor_options={"num_cpus": threads},
    )(BatchEmbedder)
    application: serve.Application = deployment.bind(directory, dtype, threads)
    return application


async def texts_per_s(handle: Any, texts: Sequence[str]) -> float:
    """Embed every text by a call of its own, many in flight, and return the rate."""
    clock = SystemClock()
    slots = asyncio.Semaphore(CALLS_IN_FLIGHT)

    async def embed(text: str) -> None:
        async with slots:
            await handle.embed.remote(text)

    started_s = clock.monotonic()
    await asyncio.gather(*(embed(text) for text in texts))
    return len(texts) / (clock.monotonic() - started_s)
