"""The embedder as a Ray Serve deployment's class."""

from schemas.settings.models import EmbedderSettings
from serve_models.replicas.text import TextReplica
from serve_models.text.endpoints.table import embedder_endpoints
from serve_models.text.models.embedding import EmbeddingModel


class Embedder(TextReplica):
    """One replica: loads the model, then answers chunks (``handoff.chunk.ChunkModel``).

    Args:
        name: The model's name in the settings.
        settings: What to load and how to run it.

    Raises:
        ModelSourceError: The weights are not here.
        ModelSettingsError: A setting does not fit the checkpoint.
    """

    # Ray Serve awaits the constructor.
    async def __init__(  # type: ignore[misc]
        self, name: str, settings: EmbedderSettings
    ) -> None:
        await self.load(
            settings, EmbeddingModel, lambda model: embedder_endpoints(model, name, settings)
        )
