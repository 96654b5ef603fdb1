"""Runs a sequence-classification checkpoint batch by batch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from schemas.settings.models import ClassifierSettings
from serve_models.devices.dtypes import torch_dtype
from serve_models.text.backends.graphs import Converted, TextGraph, logits_graph
from serve_models.text.endpoints.probabilities import Activation, activation_of
from serve_models.text.models.base import ModelSettingsError, Rows, TextModel, check_length
from serve_models.text.models.positions import check_runs, longest_text, positions_of
from serve_models.text.models.thread_safety import runs_in_parallel
from serve_models.text.models.tokenizing import Padding, TokenizedText, limit_of, text_tokenizer_of


class LabellingModel(TextModel, Protocol):
    """What the classifier's endpoint needs of a model. Its rows are one logit for each class.

    ``labels`` are the classes' names, by class id.
    """

    labels: Sequence[str]
    activation: Activation

    def tokenize(self, texts: Sequence[str]) -> list[TokenizedText]: ...


class ClassificationModel:
    """A loaded sequence classifier of Transformers (``LabellingModel``).

    Raises ``ModelSettingsError`` if the checkpoint is none, or a setting does not fit it.
    """

    def __init__(self, path: Path, settings: ClassifierSettings, device: str) -> None:
        self._converted: Converted | None = None
        self._device = torch.device(device)
        self._model = _load_model(path, settings, device).to(self._device).eval()
        tokenizer = AutoTokenizer.from_pretrained(
            path, local_files_only=True, trust_remote_code=settings.trust_remote_code
        )
        config = self._model.config
        if tokenizer.pad_token_id is None:
            raise ModelSettingsError(
                "source: the checkpoint's tokenizer has no padding token; name one as pad_token "
                "in its tokenizer_config.json"
            )
        if config.pad_token_id is None:
            # Decoders use it to find a text's last token.
            config.pad_token_id = tokenizer.pad_token_id
        config.use_cache = False
        length = _length_of(settings.max_seq_length_tokens, tokenizer, self._model)
        self.max_seq_length_tokens = length
        self.runs_in_parallel = runs_in_parallel(self._model)
        self.labels: Sequence[str] = labels_of(config)
        self.width = len(self.labels)
        self.activation = activation_of(config.problem_type, self.width)
        self._tokenizer = text_tokenizer_of(tokenizer, length)
        self._padding = Padding(tokenizer)
        # The first forward pays for lazy initialisation; a model that cannot run must not start.
        self.run([self.probe()])
        check_runs(self.run, self.tokenize([longest_text(length, device)])[0])

    def tokenize(self, texts: Sequence[str]) -> list[TokenizedText]:
        return self._tokenizer.encode(texts)

    def probe(self) -> TokenizedText:
        return self.tokenize(["probe"])[0]

    @torch.inference_mode()
    def run(self, texts: Sequence[TokenizedText]) -> Rows:
        """Run one batch; returns the checkpoint's own logits, float32 [len(texts), classes]."""
        if self._converted is not None:
            return self._converted.run(texts)
        features = self._padding.features(texts)
        on_device = {name: tensor.to(self._device) for name, tensor in features.items()}
        logits: Rows = self._model(**on_device).logits.float().cpu().numpy()
        return logits

    def graph(self) -> TextGraph:
        return logits_graph(self._model, self._padding, [self.probe()])

    def run_with(self, converted: Converted) -> None:
        """Run batches with a converted model from now on; PyTorch's weights are freed."""
        self._converted, self.runs_in_parallel = converted, True
        self._model.to("meta")


def _load_model(path: Path, settings: ClassifierSettings, device: str) -> Any:
    try:
        model, loading = AutoModelForSequenceClassification.from_pretrained(
            path,
            dtype=torch_dtype(settings.dtype, device),
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=settings.trust_remote_code,
            output_loading_info=True,
        )
    except ValueError as error:
        # Transformers names the architecture that it has no classifier for.
        raise ModelSettingsError(
            f"source: the checkpoint cannot be loaded as a sequence classifier: {error}"
        ) from error
    absent = sorted(loading["missing_keys"])
    if absent:
        # Transformers fills them with random numbers.
        raise ModelSettingsError(
            f"source: the checkpoint is no sequence classifier: it has no {', '.join(absent[:3])}"
        )
    return model


def _length_of(asked_tokens: int | None, tokenizer: Any, model: Any) -> int | None:
    positions = positions_of(model)
    if asked_tokens is not None:
        check_length(asked_tokens, positions)
        return asked_tokens
    limits = [limit for limit in (limit_of(tokenizer.model_max_length), positions) if limit]
    return min(limits, default=None)


def labels_of(config: Any) -> list[str]:
    """Return the classes' names; ``ModelSettingsError`` if two are the same."""
    labels = [
        str(config.id2label.get(number, f"LABEL_{number}")) for number in range(config.num_labels)
    ]
    if len(set(labels)) < len(labels):
        twice = next(label for label in labels if labels.count(label) > 1)
        raise ModelSettingsError(
            f"source: two classes of the checkpoint are called '{twice}'; give each a name of its "
            "own in id2label of its config.json"
        )
    return labels
