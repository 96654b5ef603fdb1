"""``headrace models convert`` and ``list``: what text models run on, and conversions for it."""

from typing import Annotated, Any

import typer

from headrace.cli.options import ConfigOption, JsonOption, read_settings
from headrace.cli.output import print_json, print_table, step_progress
from headrace.errors import UserError
from headrace.settings.problems import alternatives
from headrace_client.cli.completion import complete_model
from schemas.settings.models import TextModelSettings

_COLUMNS = ("model", "backend", "why", "agreement, mean", "minimum", "where")

NamesArgument = Annotated[
    list[str] | None,
    typer.Argument(help="Models of the settings; else all.", autocompletion=complete_model),
]


def convert(
    names: NamesArgument = None, config: ConfigOption = None, json: JsonOption = False
) -> None:
    """Convert models for their backends (openvino, onnx), and print how they agree with float32.

    What is converted already is only compared with the setting least_agreement.
    """
    _show(names, config, json, converts=True)


def list_backends(
    names: NamesArgument = None, config: ConfigOption = None, json: JsonOption = False
) -> None:
    """Show what each text model would run on here, and why; converts nothing."""
    _show(names, config, json, converts=False)


def _show(
    names: list[str] | None, config: ConfigOption, json: JsonOption, *, converts: bool
) -> None:
    shown = [
        backend_of_model(name, settings, converts=converts)
        for name, settings in _with_progress(_text_models(names, config), shows=converts)
    ]
    if json:
        print_json(shown)
        return
    print_table(*_COLUMNS, rows=[_row(each) for each in shown])


def backend_of_model(name: str, settings: TextModelSettings, *, converts: bool) -> dict[str, Any]:
    """Return what a model runs on here; raises ``UserError``, which names it."""
    # PyTorch and the libraries take seconds to import, and the other commands do not need them.
    from serve_models.text.backends.loading import (  # noqa: PLC0415 - see above
        backend_of,
        load_text_model,
    )
    from serve_models.text.models.base import ModelSettingsError  # noqa: PLC0415 - see above
    from serve_models.weights.sources import ModelSourceError, resolve  # noqa: PLC0415 - see above

    try:
        path = resolve(settings.source)
        choice, device = backend_of(settings, path)
        report: dict[str, Any] = {
            "model": name,
            "backend": choice.backend,
            "reason": choice.reason,
            "agreement": None,
            "path": str(path),
        }
        if converts and choice.is_converted:
            loaded = load_text_model(path, settings, device, choice.backend)
            if loaded.agreement is not None:
                report["agreement"] = loaded.agreement.to_dict()
            report["path"] = str(loaded.directory)
    except (ModelSettingsError, ModelSourceError) as error:
        raise UserError(f"{name}: {error}") from None
    return report


def _text_models(names: list[str] | None, config: ConfigOption) -> dict[str, TextModelSettings]:
    models = read_settings(config).models
    for name in names or ():
        if name not in models:
            raise UserError(f"no model '{name}' in the settings{alternatives(name, models)}")
    chosen = {name: models[name] for name in names or models}
    return {name: each for name, each in chosen.items() if isinstance(each, TextModelSettings)}


def _with_progress(models: dict[str, TextModelSettings], *, shows: bool) -> Any:
    with step_progress() as progress:
        bar = progress.add_task("models", total=len(models), visible=shows)
        for name, settings in models.items():
            progress.update(bar, description=name)
            yield name, settings
            progress.advance(bar)


def _row(report: dict[str, Any]) -> tuple[str, ...]:
    agreement = report["agreement"]
    figures = (
        ("-", "-")
        if agreement is None
        else tuple(f"{agreement[which]:.4f}" for which in ("mean", "minimum"))
    )
    return report["model"], report["backend"], report["reason"], *figures, report["path"]
