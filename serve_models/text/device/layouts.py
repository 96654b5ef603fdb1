"""How a batch's texts lie in memory: packed, or padded. On the way to the device as int32 alone.

Each layout writes one array of integers on the host, which is one copy to the device, and makes the
model's features of it there. Nothing that it does makes the host wait for the device.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer

from serve_models.text.device.shapes import length_bucket, rows_bucket
from serve_models.text.models.tokenizing import Features, TokenizedText, join_ids

Ints = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a batch in its array of integers.

    Attributes:
        texts: The batch's.
        rows: Rows that the model computes; more than ``texts`` where batches are filled up.
        tokens: Padded: each row's. Packed: all texts'.
        longest: The longest text's.
        is_even: Whether all rows have as many tokens, so that nothing is padding.
        has_type_ids: Whether type ids are there.
    """

    texts: int
    rows: int
    tokens: int
    longest: int
    is_even: bool
    has_type_ids: bool

    @property
    def outputs(self) -> int:
        """Rows that come out of the model."""
        return self.rows


class Layout(Protocol):
    """One way to lay out a batch.

    Attributes:
        name: What a log says of it.
    """

    name: str

    def shape_of(self, texts: Sequence[TokenizedText]) -> Shape: ...

    def size(self, shape: Shape) -> int:
        """Return how many integers the batch takes."""
        ...

    def fill(self, texts: Sequence[TokenizedText], shape: Shape, into: Ints) -> None:
        """Write the batch to an array of ``size`` integers."""
        ...

    def forward(self, model: SentenceTransformer, ints: torch.Tensor, shape: Shape) -> Features:
        """Run the model on the integers, where they are now."""
        ...


class PackedLayout:
    """Texts one behind the other; attention computes each by itself (``device.varlen``).

    The integers are the ids, positions and text numbers of all tokens, the type ids where there
    are some, then where each text begins.
    """

    name = "packed"

    def __init__(self, position_offset: int) -> None:
        self._position_offset = position_offset

    def shape_of(self, texts: Sequence[TokenizedText]) -> Shape:
        lengths = [len(text.ids) for text in texts]
        return Shape(
            texts=len(texts),
            rows=len(texts),
            tokens=sum(lengths),
            longest=max(lengths),
            is_even=True,
            has_type_ids=any(len(text.type_ids) for text in texts),
        )

    def size(self, shape: Shape) -> int:
        return (3 + shape.has_type_ids) * shape.tokens + shape.rows + 1

    def fill(self, texts: Sequence[TokenizedText], shape: Shape, into: Ints) -> None:
        tokens = shape.tokens
        lengths = np.fromiter((len(text.ids) for text in texts), np.int32, len(texts))
        starts = into[self.size(shape) - shape.rows - 1 : self.size(shape)]
        starts[0] = 0
        np.cumsum(lengths, out=starts[1:])
        numbers = np.repeat(np.arange(len(texts), dtype=np.int32), lengths)
        into[2 * tokens : 3 * tokens] = numbers
        first = np.arange(tokens, dtype=np.int32) - np.repeat(starts[:-1], lengths)
        into[tokens : 2 * tokens] = first + self._position_offset
        into[:tokens] = join_ids(texts)
        if shape.has_type_ids:
            types = into[3 * tokens : 4 * tokens]
            types[:] = 0
            for text, start in zip(texts, starts.tolist(), strict=False):
                if len(text.type_ids):
                    types[start : start + len(text.type_ids)] = text.type_ids

    def forward(self, model: SentenceTransformer, ints: torch.Tensor, shape: Shape) -> Features:
        tokens = shape.tokens
        starts = ints[self.size(shape) - shape.rows - 1 : self.size(shape)]
        features: Features = {
            "input_ids": ints[:tokens].long()[None],
            "position_ids": ints[tokens : 2 * tokens].long()[None],
            "seq_idx": ints[2 * tokens : 3 * tokens][None],
            "cu_seq_lens_q": starts,
            "cu_seq_lens_k": starts,
            "max_length_q": shape.longest,
            "max_length_k": shape.longest,
            "modality": "text",
        }
        if shape.has_type_ids:
            features["token_type_ids"] = ints[3 * tokens : 4 * tokens].long()[None]
        return dict(model(features))


@dataclass(frozen=True, slots=True)
class PaddingIds:
    """How a checkpoint's tokenizer pads.

    Attributes:
        ids: Of padding tokens.
        type_ids: Of padding tokens; ``None`` for a model that reads no type ids.
        pads_left: Whether padding comes before a text.
    """

    ids: int
    type_ids: int | None
    pads_left: bool


class PaddedLayout:
    """A row for each text, padded to the longest.

    The integers are the ids of all rows, their type ids where the model reads some, then the number
    of tokens of each row. With ``prepares_mask`` it makes the attention's mask itself: the
    library's way looks at the mask's content, and so waits for the device in every batch. With
    ``few_shapes`` rows and lengths are filled up to one of a few sizes; ``most_tokens`` is what
    the model can read.
    """

    def __init__(
        self,
        padding: PaddingIds,
        *,
        prepares_mask: bool,
        few_shapes: bool = False,
        most_tokens: int | None = None,
    ) -> None:
        self.name = "padded" if prepares_mask else "padded, with the library's mask"
        self._padding = padding
        self._prepares_mask = prepares_mask
        self._few_shapes = few_shapes
        self._most_tokens = most_tokens

    def shape_of(self, texts: Sequence[TokenizedText]) -> Shape:
        longest = max(len(text.ids) for text in texts)
        rows, tokens = len(texts), longest
        if self._few_shapes:
            rows, tokens = rows_bucket(rows), length_bucket(longest, self._most_tokens)
        is_even = all(len(text.ids) == tokens for text in texts)
        return Shape(
            texts=len(texts),
            rows=rows,
            tokens=tokens,
            longest=longest,
            # Of few shapes none is a special case.
            is_even=is_even and rows == len(texts) and not self._few_shapes,
            has_type_ids=self._padding.type_ids is not None,
        )

    def size(self, shape: Shape) -> int:
        return (1 + shape.has_type_ids) * shape.rows * shape.tokens + shape.rows

    def fill(self, texts: Sequence[TokenizedText], shape: Shape, into: Ints) -> None:
        padding, area = self._padding, shape.rows * shape.tokens
        ids = into[:area].reshape(shape.rows, shape.tokens)
        ids[:] = padding.ids
        lengths = into[self.size(shape) - shape.rows : self.size(shape)]
        # A row without any token would make its attention divide by zero.
        lengths[:] = 1
        lengths[: len(texts)] = [len(text.ids) for text in texts]
        ids[: len(texts)][self._holds_token(lengths[: len(texts)], shape)] = join_ids(texts)
        if padding.type_ids is None:
            return
        types = into[area : 2 * area].reshape(shape.rows, shape.tokens)
        types[:] = padding.type_ids
        if padding.type_ids == 0 and not any(len(text.type_ids) for text in texts):
            return
        for row, text in enumerate(texts):
            types[row, self._place(text, shape.tokens)] = text.type_ids if len(text.type_ids) else 0

    def forward(self, model: SentenceTransformer, ints: torch.Tensor, shape: Shape) -> Features:
        area = shape.rows * shape.tokens
        features: Features = {
            "input_ids": ints[:area].long().view(shape.rows, shape.tokens),
            "modality": "text",
        }
        if shape.has_type_ids:
            types = ints[area : 2 * area]
            features["token_type_ids"] = types.long().view(shape.rows, shape.tokens)
        lengths = ints[self.size(shape) - shape.rows : self.size(shape)]
        mask = self._mask(lengths, shape)
        if not self._prepares_mask:
            features["attention_mask"] = mask.long()
            return dict(model(features))
        first, *others = model.children()
        if not shape.is_even:
            features["attention_mask"] = mask[:, None, None, :]
        features = first(features)
        features["attention_mask"] = mask.long()
        for module in others:
            features = module(features)
        return features

    def _mask(self, lengths: torch.Tensor, shape: Shape) -> torch.Tensor:
        """Return which places hold a token, bool [rows, tokens]."""
        places = torch.arange(shape.tokens, device=lengths.device)[None, :]
        if self._padding.pads_left:
            return places >= shape.tokens - lengths[:, None]
        return places < lengths[:, None]

    def _holds_token(self, lengths: Ints, shape: Shape) -> NDArray[np.bool_]:
        places = np.arange(shape.tokens)[None, :]
        if self._padding.pads_left:
            return places >= shape.tokens - lengths[:, None]
        return places < lengths[:, None]

    def _place(self, text: TokenizedText, tokens: int) -> slice:
        length = len(text.ids)
        return slice(tokens - length, None) if self._padding.pads_left else slice(length)


def padding_ids_of(transformer: Transformer) -> PaddingIds:
    tokenizer = transformer.processor
    reads_types = "token_type_ids" in tokenizer.model_input_names
    return PaddingIds(
        ids=int(tokenizer.pad_token_id),
        type_ids=int(tokenizer.pad_token_type_id) if reads_types else None,
        pads_left=tokenizer.padding_side == "left",
    )
