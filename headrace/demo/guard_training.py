"""Fine-tunes an encoder into a two-label safety classifier, and measures it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors.torch import load_file
from transformers import BertConfig, BertForSequenceClassification, BertTokenizer
from transformers.utils import logging as library_logging

LABELS: tuple[Literal["safe"], Literal["unsafe"]] = ("safe", "unsafe")
UNSAFE = LABELS.index("unsafe")
THRESHOLD = 0.5
"""The probability of unsafe from which a text counts as unsafe."""

_POOL_BATCHES = 10
_Item = TypeVar("_Item")


class GuardDataError(ValueError):
    """A line of the data cannot be used; the message names the line and the fix."""


class Example(BaseModel):
    """A text that a user might send, and whether it asks for harm."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str = Field(min_length=1)
    label: Literal["safe", "unsafe"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How the classifier is trained.

    AdamW's learning rate rises for ``warmup_ratio`` of the steps, then falls linearly to 0. The
    seed is for the head's first weights, the dropout and the order of the examples.
    """

    epochs: int = 4
    batch_examples: int = 16
    learning_rate: float = 1e-4
    warmup_ratio: float = 0.1
    weight_decay: float = 0.01
    max_length_tokens: int = 128
    seed: int = 0

    def steps(self, examples: int) -> int:
        return self.epochs * -(-examples // self.batch_examples)


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """Counts of the examples of both labels, at ``THRESHOLD``."""

    unsafe_refused: int
    unsafe_passed: int
    safe_refused: int
    safe_passed: int

    @property
    def accuracy(self) -> float:
        right = self.unsafe_refused + self.safe_passed
        return right / (right + self.unsafe_passed + self.safe_refused)

    @property
    def precision(self) -> float:
        refused = self.unsafe_refused + self.safe_refused
        return self.unsafe_refused / refused if refused else 1.0

    @property
    def recall(self) -> float:
        unsafe = self.unsafe_refused + self.unsafe_passed
        return self.unsafe_refused / unsafe if unsafe else 1.0


class Guard(NamedTuple):
    model: BertForSequenceClassification
    tokenizer: BertTokenizer

    def save(self, directory: Path) -> None:
        # The encoder's tokenizer file pads every text to 128 tokens and cuts it there.
        self.tokenizer.backend_tokenizer.no_padding()
        self.tokenizer.backend_tokenizer.no_truncation()
        # Our own bar is on the screen. Any, because the library has no annotations.
        bars: Any = library_logging
        bars.disable_progress_bar()
        self.model.save_pretrained(directory)
        self.tokenizer.save_pretrained(directory)


def read_examples(lines: Iterable[bytes]) -> list[Example]:
    """Read lines of ``{"text": ..., "label": "safe" | "unsafe"}``; raises ``GuardDataError``."""
    examples = []
    for number, line in enumerate(lines, start=1):
        try:
            examples.append(Example.model_validate_json(line))
        except ValidationError as error:
            raise GuardDataError(
                f"line {number}: must be a text that is not empty and a label, safe or unsafe: "
                f"{error}"
            ) from None
    return examples


def train(
    base: Path,
    examples: Sequence[Example],
    recipe: Recipe,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Guard:
    """Fine-tune a BERT encoder, all but its embeddings, under a new head, on the CPU.

    On one machine, with one number of threads, the same arguments give the same weights.
    """
    tokenizer = BertTokenizer.from_pretrained(base, local_files_only=True)
    with _repeatable(recipe.seed):
        model = _new_classifier(base).train()
        trained = [weights for weights in model.parameters() if weights.requires_grad]
        total = recipe.steps(len(examples))
        optimizer = torch.optim.AdamW(
            trained, lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        warmup = max(1, round(total * recipe.warmup_ratio))
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer,
            lambda step: min((step + 1) / warmup, (total - step) / max(1, total - warmup)),
        )
        for done, batch in enumerate(_shuffled_batches(examples, recipe), start=1):
            features = _tokenize(tokenizer, batch, recipe.max_length_tokens)
            labels = torch.tensor([LABELS.index(example.label) for example in batch])
            model(**features, labels=labels).loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            on_progress(done, total)
    return Guard(model.eval(), tokenizer)


@torch.inference_mode()
def measure(guard: Guard, examples: Sequence[Example], *, batch_examples: int = 32) -> Metrics:
    """Count a guard's results on examples, which must not be those it was trained on."""
    counts = dict.fromkeys([(label, refused) for label in LABELS for refused in (False, True)], 0)
    for batch in _batches(examples, batch_examples):
        features = _tokenize(guard.tokenizer, batch, guard.model.config.max_position_embeddings)
        probabilities = guard.model(**features).logits.softmax(-1)[:, UNSAFE].tolist()
        for example, probability in zip(batch, probabilities, strict=True):
            counts[example.label, probability >= THRESHOLD] += 1
    return Metrics(
        unsafe_refused=counts["unsafe", True],
        unsafe_passed=counts["unsafe", False],
        safe_refused=counts["safe", True],
        safe_passed=counts["safe", False],
    )


def _new_classifier(base: Path) -> BertForSequenceClassification:
    config = BertConfig.from_pretrained(base, local_files_only=True)
    config.id2label = dict(enumerate(LABELS))
    config.label2id = {label: number for number, label in enumerate(LABELS)}
    model = BertForSequenceClassification(config)  # type: ignore[no-untyped-call] # its __init__
    weights = load_file(base / "model.safetensors")
    # A constant in checkpoints from before Transformers 4.31.
    weights.pop("embeddings.position_ids", None)
    # Loaded strictly, so that a checkpoint of another architecture is an error, not a guess.
    model.bert.load_state_dict(weights)
    # Half of all weights; so few texts have too few of the words to move them well.
    model.bert.embeddings.requires_grad_(requires_grad=False)
    return model


def _batches(examples: Sequence[Example], size: int) -> Iterator[Sequence[Example]]:
    return (examples[at : at + size] for at in range(0, len(examples), size))


def _shuffled_batches(examples: Sequence[Example], recipe: Recipe) -> Iterator[Sequence[Example]]:
    """Yield batches of texts of about one length, which halves the padding, in random order."""
    order = torch.Generator().manual_seed(recipe.seed)

    def shuffled(items: Sequence[_Item]) -> list[_Item]:
        return [items[at] for at in torch.randperm(len(items), generator=order).tolist()]

    for _ in range(recipe.epochs):
        pools = _batches(shuffled(examples), recipe.batch_examples * _POOL_BATCHES)
        by_length = [sorted(pool, key=lambda example: len(example.text)) for pool in pools]
        batches = [batch for pool in by_length for batch in _batches(pool, recipe.batch_examples)]
        yield from shuffled(batches)


def _tokenize(
    tokenizer: BertTokenizer, examples: Sequence[Example], max_length_tokens: int
) -> dict[str, torch.Tensor]:
    return dict(
        tokenizer(
            [example.text for example in examples],
            padding=True,
            truncation=True,
            max_length=max_length_tokens,
            return_tensors="pt",
        )
    )


@contextmanager
def _repeatable(seed: int) -> Iterator[None]:
    """Seed torch temporarily, then restore its generator and switches."""
    was_deterministic = torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.use_deterministic_algorithms(mode=True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(was_deterministic)
