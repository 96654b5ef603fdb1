"""Texts to token ids, and waiting texts to a batch's tensors.

Tokenizing is parted from padding, because texts are tokenized as they come and padded only in the
batch that they end up in.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Router, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from tokenizers import Tokenizer

_UNLIMITED_TOKENS = 1_000_000
"""Tokenizers that know no limit carry 1e30 as theirs."""
_PADDED_INPUTS = frozenset({"input_ids", "attention_mask", "token_type_ids"})
_TASKS = frozenset({"query", "document"})

Features = dict[str, Any]
Key = TypeVar("Key", bound=Hashable)


@dataclass(slots=True)
class TokenizedText:
    """A text, ready for a batch.

    Attributes:
        tokens: What it costs the model: tokens with prompt and special tokens, after truncation.
        truncated: Whether it was over the model's length.
        ids: Its token ids; empty where the library tokenizes again in the batch.
        text: The text, where the library tokenizes again; empty otherwise.
        prompt: The prompt before it, where the library tokenizes again.
        prompt_tokens: Leading tokens that pooling leaves out.
        task: What the library routes it by.
    """

    tokens: int
    truncated: bool
    ids: Sequence[int] = ()
    text: str = ""
    prompt: str = ""
    prompt_tokens: int = 0
    task: str | None = None


class FrontEnd(Protocol):
    """How a model's texts become tensors."""

    def tokenize(
        self, texts: Sequence[str], prompts: Sequence[str], tasks: Sequence[str | None]
    ) -> list[TokenizedText]:
        """Tokenize each text behind its prompt. Safe beside ``batches`` in another thread."""
        ...

    def batches(self, texts: Sequence[TokenizedText]) -> Iterator[tuple[list[int], Features]]:
        """Yield what to run for a batch: the positions in ``texts`` and the model's features."""
        ...


def front_end_of(model: SentenceTransformer) -> FrontEnd:
    """Return the fast front end where it gives what the library would, else the library's."""
    first = model[0]
    if isinstance(first, Transformer) and _takes_plain_token_ids(first):
        return FastFrontEnd(first, excludes_prompt=_pooling_excludes_prompt(model))
    return LibraryFrontEnd(model)


def _takes_plain_token_ids(transformer: Transformer) -> bool:
    """Whether right ids, attention mask and zero type ids are all that the model is fed."""
    tokenizer = transformer.processor
    backend = getattr(tokenizer, "backend_tokenizer", None)
    return (
        isinstance(backend, Tokenizer)
        and set(transformer.modality_config) == {"text"}
        and set(tokenizer.model_input_names) <= _PADDED_INPUTS
        and tokenizer.pad_token_id is not None
        and not transformer.can_flatten_inputs
        and not transformer.processing_kwargs
        and not any(backend.encode("a").type_ids)
    )


def _pooling_excludes_prompt(model: SentenceTransformer) -> bool:
    return any(isinstance(module, Pooling) and not module.include_prompt for module in model)


class FastFrontEnd:
    """Tokenizes once, in Rust, without padding.

    It owns a copy of the tokenizer, because truncation and padding are state of a tokenizer and
    the library changes its own at each call.
    """

    def __init__(self, transformer: Transformer, *, excludes_prompt: bool) -> None:
        tokenizer = transformer.processor
        self._tokenizer = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._tokenizer.encode_special_tokens = tokenizer.split_special_tokens
        limit = transformer.max_seq_length
        self._max_tokens = int(limit) if limit is not None and limit < _UNLIMITED_TOKENS else None
        if self._max_tokens is not None:
            self._tokenizer.enable_truncation(
                self._max_tokens, strategy="longest_first", direction=tokenizer.truncation_side
            )
        self._pad_id = int(tokenizer.pad_token_id)
        self._pads_left = tokenizer.padding_side == "left"
        self._has_type_ids = "token_type_ids" in tokenizer.model_input_names
        self._pad_type_id = int(tokenizer.pad_token_type_id)
        self._special_ids = frozenset(tokenizer.all_special_ids)
        self._excludes_prompt = excludes_prompt
        self._prompt_tokens: dict[str, int] = {"": 0}

    def tokenize(
        self,
        texts: Sequence[str],
        prompts: Sequence[str],
        tasks: Sequence[str | None],  # noqa: ARG002 -- a plain transformer knows no tasks
    ) -> list[TokenizedText]:
        """Tokenize each text behind its prompt."""
        encodings = self._tokenizer.encode_batch_fast(
            [prompt + text for prompt, text in zip(prompts, texts, strict=True)]
        )
        tokenized = []
        for encoding, prompt in zip(encodings, prompts, strict=True):
            ids = encoding.ids
            tokenized.append(
                TokenizedText(
                    tokens=len(ids),
                    truncated=len(ids) == self._max_tokens and bool(encoding.overflowing),
                    ids=ids,
                    prompt_tokens=self._count_prompt(prompt) if self._excludes_prompt else 0,
                )
            )
        return tokenized

    def batches(self, texts: Sequence[TokenizedText]) -> Iterator[tuple[list[int], Features]]:
        """Yield one batch, or one for each prompt length where pooling leaves prompts out."""
        positions_by_prompt = _group(text.prompt_tokens for text in texts)
        for prompt_tokens, positions in positions_by_prompt.items():
            features = self._pad([texts[position].ids for position in positions])
            if prompt_tokens:
                features["prompt_length"] = prompt_tokens
            yield positions, features

    def _pad(self, rows: Sequence[Sequence[int]]) -> Features:
        longest = max(map(len, rows))
        ids = np.full((len(rows), longest), self._pad_id, dtype=np.int64)
        mask = np.zeros((len(rows), longest), dtype=np.int64)
        for number, row in enumerate(rows):
            place = slice(longest - len(row), None) if self._pads_left else slice(len(row))
            ids[number, place] = row
            mask[number, place] = 1
        features: Features = {
            "input_ids": torch.from_numpy(ids),
            "attention_mask": torch.from_numpy(mask),
            "modality": "text",
        }
        if self._has_type_ids:
            features["token_type_ids"] = torch.from_numpy((1 - mask) * self._pad_type_id)
        return features

    def _count_prompt(self, prompt: str) -> int:
        """Count as the library does: a trailing special token is not the prompt's."""
        if prompt not in self._prompt_tokens:
            ids = self._tokenizer.encode(prompt).ids
            self._prompt_tokens[prompt] = len(ids) - (ids[-1] in self._special_ids)
        return self._prompt_tokens[prompt]


class LibraryFrontEnd:
    """For other kinds of model: the library tokenizes, once to count and again in the batch."""

    def __init__(self, model: SentenceTransformer) -> None:
        self._model = model
        self._routes_by_task = isinstance(model[0], Router)
        limit = model.max_seq_length
        self._max_tokens = int(limit) if limit is not None and limit < _UNLIMITED_TOKENS else None
        self._one_at_a_time = Lock()

    def tokenize(
        self, texts: Sequence[str], prompts: Sequence[str], tasks: Sequence[str | None]
    ) -> list[TokenizedText]:
        """Count each text's tokens behind its prompt."""
        tokenized = []
        for text, prompt, asked_task in zip(texts, prompts, tasks, strict=True):
            task = asked_task if self._routes_by_task and asked_task in _TASKS else None
            tokens = _count_tokens(self._preprocess([text], prompt, task), text)
            tokenized.append(
                TokenizedText(
                    tokens=tokens,
                    truncated=self._was_truncated(text, prompt, task, tokens),
                    text=text,
                    prompt=prompt,
                    task=task,
                )
            )
        return tokenized

    def batches(self, texts: Sequence[TokenizedText]) -> Iterator[tuple[list[int], Features]]:
        """Yield one batch for each prompt and task: the library takes one of each per call."""
        for (prompt, task), positions in _group((text.prompt, text.task) for text in texts).items():
            yield positions, self._preprocess([texts[at].text for at in positions], prompt, task)

    def _preprocess(
        self, texts: list[str], prompt: str, task: str | None, **options: Any
    ) -> Features:
        if task is not None:
            options["task"] = task
        with self._one_at_a_time:
            return dict(self._model.preprocess(texts, prompt=prompt or None, **options))

    def _was_truncated(self, text: str, prompt: str, task: str | None, tokens: int) -> bool:
        if self._max_tokens is None or tokens < self._max_tokens:
            return False
        if not isinstance(self._model[0], Transformer):
            return True
        longer = self._preprocess([text], prompt, task, max_length=self._max_tokens + 1)
        return _count_tokens(longer, text) > tokens


def _count_tokens(features: Features, text: str) -> int:
    if "attention_mask" in features:
        return max(1, int(features["attention_mask"].sum()))
    if "input_ids" in features:
        return max(1, int(features["input_ids"].numel()))
    return max(1, len(text.split()))


def _group(keys: Iterable[Key]) -> dict[Key, list[int]]:
    positions: defaultdict[Key, list[int]] = defaultdict(list)
    for position, key in enumerate(keys):
        positions[key].append(position)
    return positions
