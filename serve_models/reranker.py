"""The reranker as a Ray Serve deployment's class."""

from schemas.model_settings import RerankerSettings
from serve_models.reranking_model import RerankingModel
from serve_models.text_endpoints import reranker_endpoints
from serve_models.text_replica import TextReplica


class Reranker(TextReplica):
    """One replica: loads the model, then answers chunks (``schemas.handoff.ChunkModel``).

    Args:
        name: The model's name in the settings.
        settings: What to load and how to run it.

    Raises:
        ModelSourceError: The weights are not here.
        ModelSettingsError: A setting does not fit the checkpoint.
    """

    # Ray Serve awaits the constructor.
    async def __init__(  # type: ignore[misc]
        self, name: str, settings: RerankerSettings
    ) -> None:
        await self.load(
            settings, RerankingModel, lambda model: reranker_endpoints(model, name, settings)
        )
