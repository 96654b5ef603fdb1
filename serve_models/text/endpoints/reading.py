"""What an embedder's endpoints need of a model: all but running it."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from schemas.settings.models import Similarity
from serve_models.text.models.prompts import Prompts, Role
from serve_models.text.models.tokenizing import TokenizedText


class ReadingModel(Protocol):
    """Tokenizes texts, and knows its vectors' size.

    Attributes:
        width: Components of a text's vector.
        max_seq_length_tokens: A longer text is truncated; ``None`` where there is no limit.
        sample: The vector of a harmless text, float32 [width].
        prompts: Prompts by the names that a request may give.
        similarity: The measure for comparing its vectors.
        vocabulary_tokens: Token ids are below this; 0 where the model takes none.
        takes_images: Whether it reads images too.
    """

    width: int
    max_seq_length_tokens: int | None
    sample: NDArray[np.float32]
    prompts: Prompts
    similarity: Similarity
    vocabulary_tokens: int
    takes_images: bool

    def tokenize(
        self, texts: Sequence[str], prompt_names: Sequence[str | None]
    ) -> list[TokenizedText]:
        """Tokenize each text behind the prompt of its name.

        ``None``, or a name without a prompt, is the default prompt.
        """
        ...

    def tokenize_roles(self, texts: Sequence[str], roles: Sequence[Role]) -> list[TokenizedText]:
        """Tokenize each text as ``encode_query`` and ``encode_document`` would.

        Each goes behind the prompt of its role, or the default prompt if there is none.
        """
        ...

    def take_token_ids(self, ids: Sequence[Sequence[int]]) -> list[TokenizedText]:
        """Cut token ids to the model's length; ``TypeError`` if it takes texts only."""
        ...

    def take_images(
        self, images: Sequence[bytes], prompt_names: Sequence[str | None]
    ) -> list[TokenizedText]:
        """Make images, encoded and known to be readable, ready; ``TypeError`` if it takes none."""
        ...
