"""Converts text models for their backends, and shows how they agree with the checkpoint."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from headrace.cli.output import print_table, step_progress
from headrace.errors import UserError
from schemas.settings.models import ModelSettings, TextModelSettings, text_weights

Conversion = dict[str, Any]


def convert_each(models: Mapping[str, ModelSettings], cache_dir: Path | None) -> list[Conversion]:
    """Convert each text model whose backend needs that; raises ``UserError``, which names it."""
    return [
        _convert(name, settings, cache_dir)
        for name, settings in _with_progress(
            {name: each for name, each in models.items() if isinstance(each, TextModelSettings)}
        )
    ]


def show_conversions(found: list[Conversion]) -> None:
    print_table(
        *("model", "backend", "why", "agreement, mean", "minimum", "where"),
        rows=[
            (each["model"], each["backend"], each["reason"], *_figures(each), each["path"])
            for each in found
        ],
    )


def _convert(name: str, settings: TextModelSettings, cache_dir: Path | None) -> Conversion:
    # PyTorch and the libraries take seconds to import, and the other commands do not need them.
    from serve_models.text.backends.loading import (  # noqa: PLC0415 - see above
        backend_of,
        load_text_model,
    )
    from serve_models.text.models.base import ModelSettingsError  # noqa: PLC0415 - see above
    from serve_models.weights.sources import ModelSourceError, resolve  # noqa: PLC0415 - see above

    try:
        path = resolve(text_weights(settings), cache_dir)
        choice, device = backend_of(settings, path, has_gpu=settings.num_gpus > 0)
        conversion: Conversion = {
            "model": name,
            "backend": choice.backend,
            "reason": choice.reason,
            "agreement": None,
            "path": str(path),
        }
        if choice.is_converted:
            loaded = load_text_model(path, settings, device, choice.backend, cache_dir)
            if loaded.agreement is not None:
                conversion["agreement"] = loaded.agreement.to_dict()
            conversion["path"] = str(loaded.directory)
    except (ModelSettingsError, ModelSourceError) as error:
        raise UserError(f"{name}: {error}") from None
    return conversion


def _with_progress(
    models: Mapping[str, TextModelSettings],
) -> Iterator[tuple[str, TextModelSettings]]:
    with step_progress() as progress:
        bar = progress.add_task("models", total=len(models))
        for name, settings in models.items():
            progress.update(bar, description=name)
            yield name, settings
            progress.advance(bar)


def _figures(conversion: Conversion) -> tuple[str, str]:
    agreement = conversion["agreement"]
    if agreement is None:
        return "-", "-"
    return f"{agreement['mean']:.4f}", f"{agreement['minimum']:.4f}"
