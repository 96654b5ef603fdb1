"""A text model as one graph of tensors, which other runtimes can run."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from serve_models.text.models.base import Rows
from serve_models.text.models.tokenizing import Features, Padding, TokenizedText


class Converted(Protocol):
    """A model that another runtime runs, in place of PyTorch."""

    def run(self, texts: Sequence[TokenizedText]) -> Rows:
        """Run one batch; several threads may call it at a time."""
        ...


@dataclass(frozen=True, slots=True)
class TextGraph:
    """The graph from a batch's token ids to its rows.

    Attributes:
        module: Takes the tensors of ``names``, int64 [texts, tokens], and returns [texts, width].
        names: The features that the model reads, in the order of the module's arguments.
        padding: Makes the features of a batch.
    """

    module: torch.nn.Module
    names: tuple[str, ...]
    padding: Padding

    def arrays(self, texts: Sequence[TokenizedText]) -> dict[str, Any]:
        """Return the features of a batch as int64 numpy arrays [texts, longest], by name."""
        features = self.padding.features(texts)
        return {name: features[name].numpy() for name in self.names}

    def example(self, texts: Sequence[TokenizedText]) -> tuple[torch.Tensor, ...]:
        """Return the module's arguments for a batch of two texts, as exporters trace them."""
        return tuple(torch.from_numpy(array) for array in self.arrays(texts[:2]).values())


@contextmanager
def tracing() -> Iterator[None]:
    """Trace a graph's module within."""
    with torch.inference_mode(), warnings.catch_warnings():
        # The tracer warns of each shape that it cannot follow; the agreement tells if it matters.
        warnings.simplefilter("ignore")
        yield


class _Rows(torch.nn.Module):
    """Gives a module's rows by position of its features, as exporters call it."""

    def __init__(
        self,
        module: torch.nn.Module,
        names: Sequence[str],
        rows_of: Callable[[Any, Features], torch.Tensor],
    ) -> None:
        super().__init__()
        self.model = module
        self._names = tuple(names)
        self._rows_of = rows_of

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        return self._rows_of(self.model, dict(zip(self._names, tensors, strict=True)))


def library_graph(
    model: torch.nn.Module,
    padding: Padding | None,
    output: str,
    example: Callable[[], TokenizedText],
) -> TextGraph | None:
    """Return the graph of a Sentence Transformers model whose forward yields ``output``.

    ``None`` without ``padding``: the model is more than a graph of token ids.
    """
    if padding is None:
        return None

    def rows_of(module: Any, features: Features) -> torch.Tensor:
        rows: torch.Tensor = module({**features, "modality": "text"})[output]
        return rows

    return _graph(model, padding, rows_of, [example()])


def logits_graph(
    model: torch.nn.Module, padding: Padding, example: Sequence[TokenizedText]
) -> TextGraph:
    """Return the graph of a Transformers model whose rows are its logits."""

    def rows_of(module: Any, features: Features) -> torch.Tensor:
        logits: torch.Tensor = module(**features).logits
        return logits

    return _graph(model, padding, rows_of, example)


def _graph(
    model: torch.nn.Module,
    padding: Padding,
    rows_of: Callable[[Any, Features], torch.Tensor],
    example: Sequence[TokenizedText],
) -> TextGraph:
    features: Mapping[str, Any] = padding.features(example)
    names = tuple(features)
    return TextGraph(_Rows(model, names, rows_of).eval(), names, padding)
