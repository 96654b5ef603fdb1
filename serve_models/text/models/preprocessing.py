"""Makes features of texts for Sentence Transformers models: the fast way, and the library's own."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from threading import Lock
from typing import Any, Protocol, TypeVar

from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.base.modules import Router, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from tokenizers import Tokenizer

from serve_models.text.front.prompted_tokenizer import PromptedTokenizer
from serve_models.text.models.tokenizing import (
    Features,
    Padding,
    RustTokenizer,
    RustTokenizerSpec,
    TextInput,
    TokenizedText,
    limit_of,
)

_PADDED_INPUTS = frozenset({"input_ids", "attention_mask", "token_type_ids"})
_TASKS = frozenset({"query", "document"})

Key = TypeVar("Key", bound=Hashable)
LibraryModel = SentenceTransformer | CrossEncoder


class FrontEnd(Protocol):
    def tokenize(
        self, texts: Sequence[TextInput], prompts: Sequence[str], tasks: Sequence[str | None]
    ) -> list[TokenizedText]:
        """Tokenize each text behind its prompt. Safe beside ``batches`` in another thread."""
        ...

    def batches(self, texts: Sequence[TokenizedText]) -> Iterator[tuple[list[int], Features]]:
        """Yield what to run for a batch: the positions in ``texts`` and the model's features."""
        ...


def front_end_of(model: LibraryModel) -> FrontEnd:
    """Return the fast front end where it gives the library's results, else the library's."""
    first = model[0]
    if isinstance(first, Transformer) and _takes_plain_token_ids(first):
        return FastFrontEnd(first, excludes_prompt=_pooling_excludes_prompt(model))
    return LibraryFrontEnd(model)


def _takes_plain_token_ids(transformer: Transformer) -> bool:
    """Whether the model reads the tokenizer's ids, attention mask and type ids, and no more."""
    tokenizer = transformer.processor
    return (
        isinstance(getattr(tokenizer, "backend_tokenizer", None), Tokenizer)
        and set(transformer.modality_config) == {"text"}
        and set(tokenizer.model_input_names) <= _PADDED_INPUTS
        and tokenizer.pad_token_id is not None
        and not transformer.can_flatten_inputs
        and not transformer.processing_kwargs
    )


def _pooling_excludes_prompt(model: LibraryModel) -> bool:
    return any(isinstance(module, Pooling) and not module.include_prompt for module in model)


class FastFrontEnd:
    """Tokenizes once, in Rust, without padding.

    Attributes:
        texts: Its part that needs no torch.
    """

    def __init__(self, transformer: Transformer, *, excludes_prompt: bool) -> None:
        tokenizer = transformer.processor
        self.transformer = transformer
        self.texts = PromptedTokenizer(
            RustTokenizer(RustTokenizerSpec.of(tokenizer, limit_of(transformer.max_seq_length))),
            special_ids=tokenizer.all_special_ids,
            counts_prompts=excludes_prompt,
        )
        self.padding = Padding(tokenizer)
        self.excludes_prompt = excludes_prompt

    def tokenize(
        self,
        texts: Sequence[TextInput],
        prompts: Sequence[str],
        tasks: Sequence[str | None],  # noqa: ARG002 -- a plain transformer knows no tasks
    ) -> list[TokenizedText]:
        return self.texts.tokenize(texts, prompts)

    def take_token_ids(self, ids: Sequence[Sequence[int]]) -> list[TokenizedText]:
        return self.texts.take_token_ids(ids)

    def batches(self, texts: Sequence[TokenizedText]) -> Iterator[tuple[list[int], Features]]:
        """Yield one batch, or one for each prompt length where pooling leaves prompts out."""
        positions_by_prompt = _group(text.prompt_tokens for text in texts)
        for prompt_tokens, positions in positions_by_prompt.items():
            features = self.padding.features([texts[position] for position in positions])
            features["modality"] = "text"
            if prompt_tokens:
                features["prompt_length"] = prompt_tokens
            yield positions, features


class LibraryFrontEnd:
    """For other kinds of model: the library tokenizes, once to count and again in the batch."""

    def __init__(self, model: LibraryModel) -> None:
        self._model = model
        self._routes_by_task = isinstance(model[0], Router)
        self._max_tokens = limit_of(model.max_seq_length)
        self._one_at_a_time = Lock()

    def tokenize(
        self, texts: Sequence[TextInput], prompts: Sequence[str], tasks: Sequence[str | None]
    ) -> list[TokenizedText]:
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
        self, texts: Sequence[TextInput], prompt: str, task: str | None, **options: Any
    ) -> Features:
        if task is not None:
            options["task"] = task
        with self._one_at_a_time:
            return dict(self._model.preprocess(texts, prompt=prompt or None, **options))

    def _was_truncated(self, text: TextInput, prompt: str, task: str | None, tokens: int) -> bool:
        if self._max_tokens is None or tokens < self._max_tokens:
            return False
        if not _takes_max_length(self._model[0]):
            return True
        longer = self._preprocess([text], prompt, task, max_length=self._max_tokens + 1)
        return _count_tokens(longer, text) > tokens


def _takes_max_length(first: Any) -> bool:
    if isinstance(first, Router):
        return all(
            isinstance(next(modules.children()), Transformer)
            for modules in first.sub_modules.values()
        )
    return isinstance(first, Transformer)


def _count_tokens(features: Features, text: TextInput) -> int:
    if "attention_mask" in features:
        return max(1, int(features["attention_mask"].sum()))
    if "input_ids" in features:
        return max(1, int(features["input_ids"].numel()))
    return max(1, len(" ".join([text] if isinstance(text, str) else text).split()))


def _group(keys: Iterable[Key]) -> dict[Key, list[int]]:
    positions: defaultdict[Key, list[int]] = defaultdict(list)
    for position, key in enumerate(keys):
        positions[key].append(position)
    return positions
