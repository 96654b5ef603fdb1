"""A model and a clock whose behaviour the test decides."""

import threading
from collections.abc import Callable, Sequence

import numpy as np
import orjson
import torch
from numpy.typing import NDArray

from schemas.settings.models import EmbedderSettings, Similarity
from serve_models.chunks.chunk_server import Host
from serve_models.text.endpoints.probabilities import Activation, apply_activation
from serve_models.text.models.prompts import Prompts, Role
from serve_models.text.models.tokenizing import TokenizedText

FAKE_DIMS = 8


class FakeClock:
    def __init__(self) -> None:
        self.now_s = 0.0
        self.now_ms = 1_000_000

    def monotonic(self) -> float:
        return self.now_s

    def epoch_ms(self) -> int:
        return self.now_ms


def host(clock: FakeClock | None = None, on_death: Callable[[], None] | None = None) -> Host:
    return Host("replica-1", clock or FakeClock(), on_death)


def fake_vector(text: str) -> NDArray[np.float32]:
    rng = np.random.default_rng(abs(hash(text)) % 2**32)
    return rng.normal(size=FAKE_DIMS).astype(np.float32)


class FakePanicError(BaseException):
    """As a Rust panic reaches Python: no ``Exception``."""


class FakeModel:
    """One token a character; ``hold`` keeps batches waiting until ``release`` is set."""

    width = FAKE_DIMS
    max_seq_length_tokens: int | None = 32
    vocabulary_tokens = 128
    similarity: Similarity = "cosine"
    runs_in_parallel = True

    def __init__(self) -> None:
        self.sample = fake_vector("probe")
        self.prompts = Prompts({}, {"query": "query: "})
        self.batches: list[list[str]] = []
        self.tokenized_texts = 0
        self.at_work = 0
        self.most_at_work = 0
        self._counting = threading.Lock()
        self.is_broken = False
        self.poison_breaks = False
        self.memory_tokens = 1_000_000
        self.poison = "poison"
        self.not_a_number = "nan!"
        self.untokenizable = "untokenizable"
        self.tokenizer_panic = "tokenizer panic"
        self.model_panic = "model panic"
        self.running = threading.Event()
        self.release = threading.Event()
        self.release.set()

    def tokenize(
        self, texts: Sequence[str], prompt_names: Sequence[str | None]
    ) -> list[TokenizedText]:
        if any(self.untokenizable in text for text in texts):
            raise RuntimeError("cannot tokenize")
        if any("tokenizer's value" in text for text in texts):
            raise ValueError("a value that cannot be tokenized")
        if any(self.tokenizer_panic in text for text in texts):
            raise FakePanicError("slice index")
        prompted = [
            (self.prompts.find_or_default(name)) + text
            for text, name in zip(texts, prompt_names, strict=True)
        ]
        self.tokenized_texts += len(texts)
        return [
            TokenizedText(tokens=min(len(text), 32) or 1, truncated=len(text) > 32, text=text)
            for text in prompted
        ]

    def tokenize_roles(self, texts: Sequence[str], roles: Sequence[Role]) -> list[TokenizedText]:
        return self.tokenize(texts, ["query" if role == "query" else None for role in roles])

    def take_token_ids(self, ids: Sequence[Sequence[int]]) -> list[TokenizedText]:
        texts = ["".join(map(chr, each)) for each in ids]
        return self.tokenize(texts, [None] * len(texts))

    def probe(self) -> TokenizedText:
        return self.tokenize(["probe"], [None])[0]

    def run(self, texts: Sequence[TokenizedText]) -> NDArray[np.float32]:
        with self._counting:
            self.at_work += 1
            self.most_at_work = max(self.most_at_work, self.at_work)
        self.running.set()
        assert self.release.wait(20)
        with self._counting:
            self.at_work -= 1
        self.batches.append([str(text.text) for text in texts])
        is_poisoned = any(self.poison in str(text.text) for text in texts)
        if self.is_broken or is_poisoned:
            self.is_broken = self.is_broken or self.poison_breaks
            raise RuntimeError("device-side assert")
        if len(texts) * max(text.tokens for text in texts) > self.memory_tokens:
            raise torch.OutOfMemoryError("Tried to allocate 2.00 GiB")
        if any("beyond the table" in str(text.text) for text in texts):
            raise IndexError("index out of range in self")
        if any(self.model_panic in str(text.text) for text in texts):
            raise FakePanicError("unwrap on None")
        vectors = np.stack([fake_vector(str(text.text)) for text in texts])
        for row, text in zip(vectors, texts, strict=True):
            if self.not_a_number in str(text.text):
                row[0] = np.nan
        return vectors


def settings(**changes: object) -> EmbedderSettings:
    values = {
        "kind": "embedder",
        "source": "path:/nowhere",
        # The libraries' own, to compare with; the default is the CPU's.
        "dtype": "float32",
        "outcome_linger_ms": 0.0,
        **changes,
    }
    return EmbedderSettings.model_validate(values)


def line(text: object, **body: object) -> bytes:
    return orjson.dumps(
        {
            "custom_id": "c",
            "method": "POST",
            "url": "/v1/embeddings",
            "body": {"input": text, **body},
        }
    )


LABELS = ("safe", "unsafe")


def fake_score(text: str) -> float:
    """A logit that tells texts apart: one for each exclamation mark."""
    return float(text.count("!")) - 1


class FakeClassifier:
    """Two classes, or one: a text's logits count its exclamation marks."""

    max_seq_length_tokens: int | None = 32

    def __init__(
        self, activation: Activation = Activation.SOFTMAX, labels: Sequence[str] = LABELS
    ) -> None:
        self.activation = activation
        self.labels = labels
        self.width = len(labels)

    def tokenize(self, texts: Sequence[str]) -> list[TokenizedText]:
        return [
            TokenizedText(tokens=min(len(text), 32) or 1, truncated=len(text) > 32, text=text)
            for text in texts
        ]

    def probe(self) -> TokenizedText:
        return self.tokenize(["probe"])[0]

    def run(self, texts: Sequence[TokenizedText]) -> NDArray[np.float32]:
        scores = np.array([fake_score(str(text.text)) for text in texts], dtype=np.float32)
        return np.stack([-scores, scores][-self.width :], axis=1)


class FakePairModel:
    """A document is as relevant as it has exclamation marks, and one more with its query in it."""

    max_seq_length_tokens: int | None = 32
    width = 1
    runs_in_parallel = True

    def tokenize_pairs(self, pairs: Sequence[tuple[str, str]]) -> list[TokenizedText]:
        return [
            TokenizedText(
                tokens=min(len(query + document), 32),
                truncated=len(query + document) > 32,
                text=(query, document),
            )
            for query, document in pairs
        ]

    def probe(self) -> TokenizedText:
        return self.tokenize_pairs([("probe", "probe")])[0]

    def run(self, texts: Sequence[TokenizedText]) -> NDArray[np.float32]:
        if any("poison" in text.text[1] for text in texts):
            raise RuntimeError("device-side assert")
        rows = [[fake_score(text.text[1]) + (text.text[0] in text.text[1])] for text in texts]
        return np.array(rows, dtype=np.float32)

    def activate(self, outputs: NDArray[np.float32]) -> NDArray[np.float32]:
        return apply_activation(outputs, Activation.SIGMOID)


def request_line(url: str, body: object) -> bytes:
    return orjson.dumps({"custom_id": "c", "method": "POST", "url": url, "body": body})
