"""Runs a Sentence Transformers checkpoint batch by batch."""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from schemas.settings.models import EmbedderSettings, Similarity
from serve_models.devices.dtypes import torch_dtype
from serve_models.text.backends.graphs import Converted, TextGraph, library_graph
from serve_models.text.device.choice import Plain, batch_loop
from serve_models.text.device.loop import DeviceLoop
from serve_models.text.endpoints.reading import ReadingModel
from serve_models.text.front.spec import FrontSpec
from serve_models.text.models.base import ModelSettingsError, Rows, TextModel
from serve_models.text.models.positions import check_runs, longest_text, position_offset_of
from serve_models.text.models.preprocessing import (
    FastFrontEnd,
    FrontEnd,
    LibraryFrontEnd,
    front_end_of,
    padding_of,
)
from serve_models.text.models.prompts import Prompts, Role, role_of
from serve_models.text.models.thread_safety import runs_in_parallel
from serve_models.text.models.tokenizing import TokenizedText, limit_of
from serve_models.text.models.torch_batches import cut_texts, run_batch

logger = logging.getLogger(__name__)


class EmbeddingTextModel(TextModel, ReadingModel, Protocol):
    """What the embedder's endpoints need of a model, and running it. Its rows are vectors."""


class EmbeddingModel:
    """A loaded Sentence Transformers model (``EmbeddingTextModel``).

    Raises ``ModelSettingsError`` if a setting does not fit the checkpoint.
    """

    _library: Callable[..., Any] = SentenceTransformer
    """The library's class of this kind of model."""

    def __init__(self, path: Path, settings: EmbedderSettings, device: str) -> None:
        self._loop: DeviceLoop | None = None
        self._converted: Converted | None = None
        self._model = self._library(
            str(path),
            device=device,
            trust_remote_code=settings.trust_remote_code,
            local_files_only=True,
            model_kwargs={"dtype": torch_dtype(settings.dtype, device), "use_safetensors": True},
        ).eval()
        cut_texts(self._model, settings.max_seq_length_tokens)
        self.similarity: Similarity = settings.similarity or self._model.similarity_fn_name
        if self.similarity != "cosine" and "normalize" not in settings.model_fields_set:
            logger.warning(
                "vectors are compared by %s, and /v1/embeddings scales them to length 1: set "
                "normalize to false to get them as they are, or to true to say that this is meant",
                self.similarity,
                extra={"event": "vectors_normalized", "similarity": self.similarity},
            )
        self.take_prompts(settings)
        self.runs_in_parallel = runs_in_parallel(self._model)
        self.max_seq_length_tokens = limit_of(self._model.max_seq_length)
        self._front_end = self._make_front_end()
        self.takes_images = bool(self._model.supports("image"))
        self.vocabulary_tokens = _vocabulary_tokens_of(self._front_end)
        if settings.accept_token_ids and not self.vocabulary_tokens:
            raise ModelSettingsError(
                "accept_token_ids: the checkpoint takes texts only (it is no plain transformer "
                "with a fast tokenizer); set it to false"
            )
        # The first forward pays for lazy initialisation; a model that cannot run must not start.
        self.sample: NDArray[np.float32] = self.run([self.probe()])[0]
        self.width = self._measure_width()
        self._loop = self._batch_loop(settings)
        # One thread of the loop's own runs all forwards.
        if self._loop is not None and self._loop.queues:
            self.runs_in_parallel = True
        longest = longest_text(self.max_seq_length_tokens, device)
        check_runs(self.run, self.tokenize([longest], [None])[0])

    def _make_front_end(self) -> FrontEnd:
        return front_end_of(self._model)

    def _measure_width(self) -> int:
        return int(self.sample.shape[-1])

    def take_prompts(self, settings: EmbedderSettings) -> None:
        """Use the settings' prompts over the checkpoint's.

        Raises ``ModelSettingsError`` if there is no prompt of the default's name.
        """
        checkpoint = {name: prompt or "" for name, prompt in self._model.prompts.items()}
        self.prompts = prompts_of(checkpoint, self._model.default_prompt_name, settings)

    def tokenize(
        self, texts: Sequence[str], prompt_names: Sequence[str | None]
    ) -> list[TokenizedText]:
        return self._front_end.tokenize(
            texts,
            self.prompts.for_names(prompt_names),
            [role_of(name or self.prompts.default_name) for name in prompt_names],
        )

    def tokenize_roles(self, texts: Sequence[str], roles: Sequence[Role]) -> list[TokenizedText]:
        return self._front_end.tokenize(texts, self.prompts.for_roles(roles), roles)

    def take_token_ids(self, ids: Sequence[Sequence[int]]) -> list[TokenizedText]:
        if not isinstance(self._front_end, FastFrontEnd):
            raise TypeError("the model takes texts only")
        return self._front_end.take_token_ids(ids)

    def take_images(
        self, images: Sequence[bytes], prompt_names: Sequence[str | None]
    ) -> list[TokenizedText]:
        if not self.takes_images or not isinstance(self._front_end, LibraryFrontEnd):
            raise TypeError("the model takes no images")
        return self._front_end.take_images(
            images,
            [self.prompts.find_or_default(name) for name in prompt_names],
            [role_of(name or self.prompts.default_name) for name in prompt_names],
        )

    def _plain_front_end(self) -> FastFrontEnd | None:
        """Return what reads texts of a plain transformer whose rows are vectors."""
        # A subclass may have rows and endpoints of its own.
        if type(self) is not EmbeddingModel or not isinstance(self._front_end, FastFrontEnd):
            return None
        return self._front_end

    def _batch_loop(self, settings: EmbedderSettings) -> DeviceLoop | None:
        front_end = self._plain_front_end()
        if front_end is None or front_end.excludes_prompt:
            if settings.unpad_inputs or settings.compile:
                raise ModelSettingsError(
                    f"{'compile' if settings.compile else 'unpad_inputs'}: the checkpoint is no "
                    "plain transformer with a fast tokenizer and one vector for a text, or its "
                    "pooling leaves prompts out; leave it unset"
                )
            return None
        plain = Plain(
            model=self._model,
            transformer=front_end.transformer,
            run=self.run,
            tokenize=lambda texts: self.tokenize(texts, [None] * len(texts)),
            width=self.width,
            position_offset=position_offset_of(self._model),
        )
        return batch_loop(plain, settings)

    def front_spec(self, name: str, settings: EmbedderSettings) -> FrontSpec | None:
        """Return what reads requests and writes answers in another process.

        ``None`` where only this one can, with the library.
        """
        front_end = self._plain_front_end()
        if front_end is None:
            return None
        texts = front_end.texts
        return FrontSpec(
            name=name,
            settings=settings,
            tokenizer=texts.tokenizer.spec,
            special_ids=tuple(texts.special_ids),
            counts_prompts=texts.counts_prompts,
            checkpoint_prompts={key: text or "" for key, text in self._model.prompts.items()},
            default_prompt_name=self.prompts.default_name,
            similarity=self.similarity,
            max_seq_length_tokens=self.max_seq_length_tokens,
            vocabulary_tokens=self.vocabulary_tokens,
            sample=self.sample,
        )

    @property
    def packs_batches(self) -> bool:
        """Whether batches are computed without padding."""
        return self._converted is None and self._loop is not None and self._loop.is_packed

    def probe(self) -> TokenizedText:
        return self.tokenize(["probe"], [None])[0]

    def run(self, texts: Sequence[TokenizedText]) -> Rows:
        """Run one batch, as ``SentenceTransformer.encode`` would: float32 [len(texts), width]."""
        if self._converted is not None:
            return self._converted.run(texts)
        if self._loop is not None:
            return self._loop.run(texts)
        return run_batch(self._model, self._front_end, texts, "sentence_embedding")

    def graph(self) -> TextGraph | None:
        """Return the model as a graph; ``None`` if it is more than one of token ids."""
        return library_graph(
            self._model, padding_of(self._front_end), "sentence_embedding", self.probe
        )

    def run_with(self, converted: Converted) -> None:
        """Run batches with a converted model from now on; PyTorch's weights are freed."""
        self._converted, self.runs_in_parallel = converted, True
        self._model.to("meta")
        self.sample = self.run([self.probe()])[0]


def _vocabulary_tokens_of(front_end: FrontEnd) -> int:
    if not isinstance(front_end, FastFrontEnd):
        return 0
    embeddings = front_end.transformer.auto_model.get_input_embeddings()
    return embeddings.num_embeddings if isinstance(embeddings, torch.nn.Embedding) else 0


def prompts_of(
    checkpoint: Mapping[str, str], checkpoint_default: str | None, settings: EmbedderSettings
) -> Prompts:
    """Return the settings' prompts over the checkpoint's, by name.

    Raises ``ModelSettingsError`` if there is no prompt of the default's name.
    """
    default_name = settings.default_prompt_name or checkpoint_default
    known = {**checkpoint, **settings.prompts}
    if default_name is not None and default_name not in known:
        raise ModelSettingsError(
            f"default_prompt_name: no prompt '{default_name}'; "
            f"prompts has: {', '.join(sorted(known)) or 'none'}"
        )
    return Prompts(checkpoint, settings.prompts, default_name)
