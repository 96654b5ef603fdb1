"""What a front process needs to know of a model, as JSON."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from schemas.settings.models import EmbedderSettings, Similarity
from serve_models.text.front.prompted_tokenizer import PromptedTokenizer
from serve_models.text.models.tokenizing import RustTokenizer, RustTokenizerSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontSpec:
    """An embedder without its weights.

    Attributes:
        name: The model's name.
        settings: The model's.
        tokenizer: What its tokenizer is made of.
        special_ids: The ids of special tokens.
        counts_prompts: Whether pooling leaves prompts out.
        checkpoint_prompts: The checkpoint's prompts by name.
        default_prompt_name: The prompt of a request that names none.
        similarity: How it compares vectors.
        max_seq_length_tokens: Longer texts are cut.
        vocabulary_tokens: Token ids are below this; 0 where it takes none.
        sample: The vector of a harmless text, float32 [width].
    """

    name: str
    settings: EmbedderSettings
    tokenizer: RustTokenizerSpec
    special_ids: tuple[int, ...]
    counts_prompts: bool
    checkpoint_prompts: Mapping[str, str]
    default_prompt_name: str | None
    similarity: Similarity
    max_seq_length_tokens: int | None
    vocabulary_tokens: int
    sample: NDArray[np.float32]

    def prompted_tokenizer(self) -> PromptedTokenizer:
        return PromptedTokenizer(
            RustTokenizer(self.tokenizer),
            special_ids=self.special_ids,
            counts_prompts=self.counts_prompts,
        )

    def to_json(self) -> bytes:
        tokenizer = self.tokenizer
        return orjson.dumps(
            {
                "name": self.name,
                "settings": self.settings.model_dump(mode="json", exclude_unset=True),
                "tokenizer": {
                    "json": tokenizer.json,
                    "splits_special_tokens": tokenizer.splits_special_tokens,
                    "max_tokens": tokenizer.max_tokens,
                    "truncation_side": tokenizer.truncation_side,
                    "has_type_ids": tokenizer.has_type_ids,
                },
                "special_ids": list(self.special_ids),
                "counts_prompts": self.counts_prompts,
                "checkpoint_prompts": dict(self.checkpoint_prompts),
                "default_prompt_name": self.default_prompt_name,
                "similarity": self.similarity,
                "max_seq_length_tokens": self.max_seq_length_tokens,
                "vocabulary_tokens": self.vocabulary_tokens,
                "sample": self.sample,
            },
            option=orjson.OPT_SERIALIZE_NUMPY,
        )

    @classmethod
    def from_json(cls, content: bytes | memoryview) -> "FrontSpec":
        values: dict[str, Any] = orjson.loads(content)
        values["settings"] = EmbedderSettings.model_validate_json(orjson.dumps(values["settings"]))
        values["tokenizer"] = RustTokenizerSpec(**values["tokenizer"])
        values["special_ids"] = tuple(values["special_ids"])
        values["sample"] = np.array(values["sample"], dtype=np.float32)
        return cls(**values)
