"""What text models would run on here, beside where their weights are."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from headrace.cli.models.standing import Standing
from schemas.settings.models import ModelSettings, TextModelSettings


def add_backends(found: Sequence[Standing], models: Mapping[str, ModelSettings]) -> None:
    """Add the backend of each text model whose weights are here, and why it was chosen."""
    for each in found:
        settings = models.get(each["model"])
        if isinstance(settings, TextModelSettings) and each["state"] == "here":
            each["backend"], each["backend_reason"] = _backend_here(settings, Path(each["path"]))


def _backend_here(settings: TextModelSettings, path: Path) -> tuple[str, str]:
    # PyTorch and the libraries take seconds to import, and the other commands do not need them.
    from serve_models.text.backends.loading import backend_of  # noqa: PLC0415 - see above

    choice, _ = backend_of(settings, path, has_gpu=settings.num_gpus > 0)
    return choice.backend, choice.reason
