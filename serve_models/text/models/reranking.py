"""Runs a cross-encoder batch by batch over pairs of texts."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch
from sentence_transformers import CrossEncoder

from schemas.settings.models import RerankerSettings
from serve_models.devices.dtypes import torch_dtype
from serve_models.text.backends.graphs import Converted, TextGraph, library_graph
from serve_models.text.models.base import ModelSettingsError, Rows, TextModel
from serve_models.text.models.positions import check_runs, longest_text
from serve_models.text.models.preprocessing import front_end_of, padding_of
from serve_models.text.models.thread_safety import runs_in_parallel
from serve_models.text.models.tokenizing import TokenizedText, limit_of
from serve_models.text.models.torch_batches import cut_texts, run_batch


class PairModel(TextModel, Protocol):
    """What the reranker's endpoints need of a model. Its rows are one raw output each."""

    def tokenize_pairs(self, pairs: Sequence[tuple[str, str]]) -> list[TokenizedText]:
        """Tokenize pairs of a query and a document; if a pair is too long, cut the longer text."""
        ...

    def activate(self, outputs: Rows) -> Rows:
        """Turn raw outputs, float32 [pairs, 1], into scores of the same shape."""
        ...


class RerankingModel:
    """A loaded ``CrossEncoder`` of Sentence Transformers with one output (``PairModel``).

    Raises ``ModelSettingsError`` if the checkpoint is none, or a setting does not fit it.
    """

    width = 1

    def __init__(self, path: Path, settings: RerankerSettings, device: str) -> None:
        _check_has_scores(path)
        self._converted: Converted | None = None
        self._model = CrossEncoder(
            str(path),
            device=device,
            trust_remote_code=settings.trust_remote_code,
            local_files_only=True,
            model_kwargs={"dtype": torch_dtype(settings.dtype, device), "use_safetensors": True},
        ).eval()
        if self._model.num_labels != 1:
            raise ModelSettingsError(
                f"source: the checkpoint gives {self._model.num_labels} labels for a pair, and a "
                "reranker needs one score; take a cross-encoder that was trained to rank, or "
                "kind: classifier for labels of single texts"
            )
        cut_texts(self._model, settings.max_seq_length_tokens)
        self.runs_in_parallel = runs_in_parallel(self._model)
        self.max_seq_length_tokens = limit_of(self._model.max_seq_length)
        default = self._model.default_prompt_name
        self._prompt = "" if default is None else self._model.prompts[default] or ""
        self._front_end = front_end_of(self._model)
        # The first forward pays for lazy initialisation; a model that cannot run must not start.
        self.run([self.probe()])
        longest = longest_text(self.max_seq_length_tokens, device)
        check_runs(self.run, self.tokenize_pairs([(longest, longest)])[0])

    def tokenize_pairs(self, pairs: Sequence[tuple[str, str]]) -> list[TokenizedText]:
        return self._front_end.tokenize(pairs, [self._prompt] * len(pairs), [None] * len(pairs))

    def probe(self) -> TokenizedText:
        return self.tokenize_pairs([("probe", "probe")])[0]

    def run(self, texts: Sequence[TokenizedText]) -> Rows:
        if self._converted is not None:
            return self._converted.run(texts)
        return run_batch(self._model, self._front_end, texts, "scores")

    def graph(self) -> TextGraph | None:
        """Return the model as a graph; ``None`` if it is more than one of token ids."""
        return library_graph(self._model, padding_of(self._front_end), "scores", self.probe)

    def run_with(self, converted: Converted) -> None:
        """Run batches with a converted model from now on; PyTorch's weights are freed."""
        self._converted, self.runs_in_parallel = converted, True
        self._model.to("meta")

    def activate(self, outputs: Rows) -> Rows:
        """Apply the checkpoint's activation as ``CrossEncoder.predict`` does: a sigmoid if none."""
        scores: Rows = self._model.activation_fn(torch.from_numpy(outputs)).numpy()
        return scores


def _check_has_scores(path: Path) -> None:
    """Raise ``ModelSettingsError`` for a checkpoint without a head of its own.

    The library would give it a new one with random weights.
    """
    library_config = _read_json(path / "config_sentence_transformers.json")
    if (path / "modules.json").is_file():
        kind = library_config.get("model_type", "SentenceTransformer")
        if kind != "CrossEncoder":
            raise ModelSettingsError(
                f"source: the checkpoint is a {kind}, not a CrossEncoder; with kind: embedder it "
                "answers /v1/rerank and /v1/score too"
            )
        return
    architectures = _read_json(path / "config.json").get("architectures")
    architecture = architectures[0] if isinstance(architectures, list) and architectures else None
    if not str(architecture).endswith("ForSequenceClassification"):
        raise ModelSettingsError(
            f"source: the checkpoint's architecture is {architecture}, and a reranker needs "
            "one that ends in ForSequenceClassification, or a CrossEncoder with modules.json"
        )


def _read_json(file: Path) -> dict[str, object]:
    if not file.is_file():
        return {}
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelSettingsError(f"source: {file} cannot be read: {error}") from None
    return content if isinstance(content, dict) else {}
