"""Turns texts and pairs of texts into token ids, and token ids into a batch's tensors.

Texts are tokenized when they arrive, and padded later in their batch.
"""

from array import array
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

_UNLIMITED_TOKENS = 1_000_000
"""Tokenizers without a limit have 1e30 as theirs."""
_MOST_CHARACTERS_TOGETHER = 1_048_576
"""Rust takes about 100 bytes per token of all texts of a call, including what is cut off."""

Features = dict[str, Any]
TextInput = str | tuple[str, str]
"""A text, or a pair that the model reads together."""


@dataclass(slots=True)
class TokenizedText:
    """A text or a pair of texts, ready for a batch.

    Attributes:
        tokens: Its cost: tokens with prompt and special tokens, after truncation.
        truncated: Whether it was over the model's length.
        ids: Its token ids; empty where the library tokenizes again in the batch. An array: a list
            takes nine times the memory, and longer to pad.
        type_ids: To which of the pair each token belongs; empty where all are 0.
        text: The text, where the library tokenizes again; empty otherwise.
        prompt: The prompt before it, where the library tokenizes again.
        prompt_tokens: Leading tokens that pooling leaves out.
        task: What the library routes it by.
        image: The encoded image, where the input is one; empty otherwise.
    """

    tokens: int
    truncated: bool
    ids: Sequence[int] = ()
    type_ids: Sequence[int] = ()
    text: TextInput = ""
    prompt: str = ""
    prompt_tokens: int = 0
    task: str | None = None
    image: bytes = b""


def limit_of(max_tokens: float | None) -> int | None:
    return None if max_tokens is None or max_tokens >= _UNLIMITED_TOKENS else int(max_tokens)


def take_token_ids(
    ids: Sequence[int], max_tokens: int | None, special_ids: Collection[int]
) -> TokenizedText:
    """Return a text that arrived as token ids, cut at its end if over the model's length.

    A last special token stays the last, as in a tokenizer, because models pool by it.
    """
    if max_tokens is None or len(ids) <= max_tokens:
        return TokenizedText(tokens=len(ids), truncated=False, ids=array("i", ids))
    end = ids[-1:] if ids[-1] in special_ids else ids[:0]
    cut = array("i", [*ids[: max_tokens - len(end)], *end])
    return TokenizedText(tokens=len(cut), truncated=True, ids=cut)


def parts_of(inputs: Sequence[TextInput], most_characters: int) -> Iterator[Sequence[TextInput]]:
    """Cut texts into runs of at most so many characters; a longer text is a run of its own."""
    start = characters = 0
    for position, text in enumerate(inputs):
        length = len(text) if isinstance(text, str) else len(text[0]) + len(text[1])
        if position > start and characters + length > most_characters:
            yield inputs[start:position]
            start, characters = position, 0
        characters += length
    yield inputs[start:]


def join_ids(texts: Sequence[TokenizedText]) -> NDArray[np.int32]:
    """Return the token ids of texts one behind the other."""
    # Each has the bytes of 32-bit integers, as an array or as a part of a frame.
    return np.frombuffer(b"".join([text.ids for text in texts]), np.int32)  # type: ignore[misc]


class TextTokenizer(Protocol):
    """Tokenizes without padding. Safe in several threads."""

    def encode(self, inputs: Sequence[TextInput]) -> list[TokenizedText]:
        """Tokenize texts, or pairs of texts, of which the longer is cut first."""
        ...


def text_tokenizer_of(tokenizer: Any, max_tokens: int | None) -> TextTokenizer:
    if isinstance(getattr(tokenizer, "backend_tokenizer", None), Tokenizer):
        return RustTokenizer(RustTokenizerSpec.of(tokenizer, max_tokens))
    return PythonTokenizer(tokenizer, max_tokens)


@dataclass(frozen=True, slots=True)
class RustTokenizerSpec:
    """What makes a ``RustTokenizer``, in another process too.

    Attributes:
        json: The Rust tokenizer's own description.
        splits_special_tokens: Whether special tokens in a text are read as plain text.
        max_tokens: Longer texts are cut; ``None`` for no limit.
        truncation_side: Where they are cut.
        has_type_ids: Whether the model reads type ids.
    """

    json: str
    splits_special_tokens: bool
    max_tokens: int | None
    truncation_side: str
    has_type_ids: bool

    @classmethod
    def of(cls, tokenizer: Any, max_tokens: int | None) -> "RustTokenizerSpec":
        return cls(
            json=tokenizer.backend_tokenizer.to_str(),
            splits_special_tokens=bool(tokenizer.split_special_tokens),
            max_tokens=max_tokens,
            truncation_side=tokenizer.truncation_side,
            has_type_ids="token_type_ids" in tokenizer.model_input_names,
        )


class RustTokenizer:
    """A copy of a tokenizer's Rust part.

    A copy, because truncation and padding are state of a tokenizer, and the libraries change theirs
    at each call.
    """

    def __init__(self, spec: RustTokenizerSpec) -> None:
        self.spec = spec
        self._tokenizer = Tokenizer.from_str(spec.json)
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._tokenizer.encode_special_tokens = spec.splits_special_tokens
        self._max_tokens = spec.max_tokens
        if spec.max_tokens is not None:
            self._tokenizer.enable_truncation(
                spec.max_tokens, strategy="longest_first", direction=spec.truncation_side
            )
        self._keeps_type_ids_of_pairs = spec.has_type_ids
        self._keeps_type_ids_of_texts = spec.has_type_ids and any(
            self._tokenizer.encode("a").type_ids
        )

    def encode(self, inputs: Sequence[TextInput]) -> list[TokenizedText]:
        tokenized = []
        for encoding, text in zip(self._encodings(inputs), inputs, strict=True):
            ids = array("i", encoding.ids)
            keeps_type_ids = (
                self._keeps_type_ids_of_texts
                if isinstance(text, str)
                else self._keeps_type_ids_of_pairs
            )
            tokenized.append(
                TokenizedText(
                    tokens=len(ids),
                    truncated=len(ids) == self._max_tokens and bool(encoding.overflowing),
                    ids=ids,
                    type_ids=array("b", encoding.type_ids) if keeps_type_ids else (),
                )
            )
        return tokenized

    def _encodings(self, inputs: Sequence[TextInput]) -> Iterator[Encoding]:
        for part in parts_of(inputs, _MOST_CHARACTERS_TOGETHER):
            yield from self._tokenizer.encode_batch_fast(part)

    def encode_ids(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text).ids
        return ids


class PythonTokenizer:
    """A tokenizer without a Rust part, used unchanged, one call at a time."""

    def __init__(self, tokenizer: Any, max_tokens: int | None) -> None:
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens
        self._has_type_ids = "token_type_ids" in tokenizer.model_input_names
        self._one_at_a_time = Lock()

    def encode(self, inputs: Sequence[TextInput]) -> list[TokenizedText]:
        tokenized = []
        for text in inputs:
            ids, type_ids = self._call(text, self._max_tokens)
            is_full = len(ids) == self._max_tokens
            tokenized.append(
                TokenizedText(
                    tokens=len(ids),
                    truncated=is_full and len(self._call(text, None)[0]) > len(ids),
                    ids=array("i", ids),
                    type_ids=array("b", type_ids),
                )
            )
        return tokenized

    def _call(self, text: TextInput, max_tokens: int | None) -> tuple[list[int], list[int]]:
        texts = (text,) if isinstance(text, str) else text
        truncation = {} if max_tokens is None else {"truncation": True, "max_length": max_tokens}
        with self._one_at_a_time:
            encoding = self._tokenizer(
                *texts, return_token_type_ids=self._has_type_ids, verbose=False, **truncation
            )
        return encoding["input_ids"], encoding["token_type_ids"] if self._has_type_ids else []


class Padding:
    """Makes tensors of tokenized texts, as a checkpoint's tokenizer would pad them."""

    def __init__(self, tokenizer: Any) -> None:
        self._pad_id = int(tokenizer.pad_token_id)
        self._pads_left = tokenizer.padding_side == "left"
        self._has_type_ids = "token_type_ids" in tokenizer.model_input_names
        self._pad_type_id = int(tokenizer.pad_token_type_id)

    def features(self, texts: Sequence[TokenizedText]) -> Features:
        """Return int64 tensors [len(texts), longest].

        They are ``input_ids`` and ``attention_mask``, and ``token_type_ids`` where the model reads
        them.
        """
        # Front processes import this module, and load no torch.
        import torch  # noqa: PLC0415 - see above

        lengths = np.array([len(text.ids) for text in texts])
        longest = int(lengths.max())
        places = np.arange(longest)
        if self._pads_left:
            holds_token = places >= longest - lengths[:, np.newaxis]
        else:
            holds_token = places < lengths[:, np.newaxis]
        ids: NDArray[np.int64] = np.full(holds_token.shape, self._pad_id, dtype=np.int64)
        ids[holds_token] = join_ids(texts)
        mask = holds_token.astype(np.int64)
        features: Features = {
            "input_ids": torch.from_numpy(ids),
            "attention_mask": torch.from_numpy(mask),
        }
        if self._has_type_ids:
            type_ids = (1 - mask) * self._pad_type_id
            for number, text in enumerate(texts):
                if len(text.type_ids):
                    type_ids[number, self._place(text, longest)] = text.type_ids
            features["token_type_ids"] = torch.from_numpy(type_ids)
        return features

    def _place(self, text: TokenizedText, longest: int) -> slice:
        tokens = len(text.ids)
        return slice(longest - tokens, None) if self._pads_left else slice(tokens)
